//! Charters whose noise gives what they state, and others.
#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;

fn charter(changes: &[(&str, &str)]) -> Charter {
    let mut text = protocol::charter::SAMPLE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    Charter::parse(&text).unwrap()
}

fn refusal(changes: &[(&str, &str)]) -> PrivacyTermsError {
    match check(&charter(changes)) {
        Err(TermsError::Privacy(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Six layers and the head: 42 / sqrt(7) is 15.9, 43 / sqrt(7) is 16.3.
#[test]
fn layers_that_clipping_leaves_next_to_nothing_are_refused_with_the_norm_that_would_do() {
    let with = |norm: &'static str| {
        charter(&[("clipping = \"flat\"", "clipping = \"per-layer\""), ("integer_norm = 4096", norm)])
    };
    let error = check(&with("integer_norm = 42")).unwrap_err();
    let TermsError::Privacy(found) = error else { panic!("{error}") };
    assert_eq!(found, PrivacyTermsError::LayersTooFine { layers: 7, norm: 15, least: 16, needed: 43 });
    check(&with("integer_norm = 43")).unwrap();
}

#[test]
fn the_sample_charter_states_an_epsilon_that_its_noise_gives() {
    check(&charter(&[])).unwrap();
}

#[test]
fn a_charter_whose_noise_does_not_give_its_epsilon_is_refused_and_the_advice_is_taken() {
    let stated = ("epsilon = 3.0", "epsilon = 1.0");
    let PrivacyTermsError::Epsilon { given, needed, noise_multiplier, .. } = refusal(&[stated]) else { panic!() };
    assert!(given > 1.0 && noise_multiplier == 0.81, "{given}");
    check(&charter(&[stated, ("noise_multiplier = 0.81", &format!("noise_multiplier = {needed}"))])).unwrap();
    // Half a percent less noise than advised is not enough: the advice is no exaggeration.
    let less = format!("noise_multiplier = {}", needed.parse::<f64>().unwrap() * 0.995);
    assert!(matches!(refusal(&[stated, ("noise_multiplier = 0.81", &less)]), PrivacyTermsError::Epsilon { .. }));
    let at_given = format!("epsilon = {}", (given * 1e4).ceil() / 1e4);
    check(&charter(&[("epsilon = 3.0", &at_given)])).unwrap();
}

#[test]
fn every_attempt_and_every_local_step_that_is_charged_counts() {
    let exact = refusal(&[("epsilon = 3.0", "epsilon = 0.1")]);
    let PrivacyTermsError::Epsilon { given, .. } = exact else { panic!() };
    let more = refusal(&[("epsilon = 3.0", "epsilon = 0.1"), ("charged = 60", "charged = 240")]);
    let PrivacyTermsError::Epsilon { given: charged, .. } = more else { panic!() };
    let local = "mode = \"record-local\"";
    let steps = ("# [local]\n# steps = 4\n# learning_rate = 0.5", "[local]\nsteps = 4\nlearning_rate = 0.5");
    let change = [("epsilon = 3.0", "epsilon = 0.1"), ("mode = \"record-shared\"\n", local), steps];
    let change = change.map(|(from, to)| (from, to.to_owned() + if from.ends_with("shared\"\n") { "\n" } else { "" }));
    let change: Vec<(&str, &str)> = change.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let PrivacyTermsError::Epsilon { given: stepped, .. } = refusal(&change) else { panic!() };
    assert!(charged > given * 1.2);
    // 60 rounds of 4 steps are 240 steps; the two differ in how many shares the grid holds only.
    assert!((stepped / charged - 1.0).abs() < 1e-6, "{stepped} {charged}");
}

#[test]
fn a_share_below_four_grid_units_is_refused_with_the_norm_that_is_enough() {
    let narrow = ("integer_norm = 4096", "integer_norm = 6");
    let PrivacyTermsError::ShareTooNarrow { expected, needed, .. } = refusal(&[narrow]) else { panic!() };
    assert_eq!(expected, 4);
    // 4 = 0.81 D / sqrt(2) gives D = 6.98.
    assert_eq!(needed, 7);
    let enough = charter(&[("integer_norm = 4096", "integer_norm = 7"), ("clamp = 32768", "clamp = 70")]);
    assert!(!matches!(check(&enough), Err(TermsError::Privacy(PrivacyTermsError::ShareTooNarrow { .. }))));
}

/// What Renyi divergences put above the stated epsilon, loss distributions may prove to be below it.
#[test]
fn a_charter_is_held_to_the_accountant_that_it_names() {
    let less = ("noise_multiplier = 0.81", "noise_multiplier = 0.79");
    let PrivacyTermsError::Epsilon { given, .. } = refusal(&[less]) else { panic!() };
    let by_pld = charter(&[less, ("accountant = \"rdp\"", "accountant = \"pld\"")]);
    check(&by_pld).unwrap();
    let pld = epsilon(&by_pld, 0.02, 1000).unwrap();
    // dp-accounting 0.6.0's PLD accountant says 2.3720 of 60 rounds at rate 0.02 and noise 0.79.
    assert!(given > 3.0 && (pld / 2.3720 - 1.0).abs() < 0.01, "{pld} {given}");
    let stated = ("epsilon = 3.0", "epsilon = 2.0");
    let refused = refusal(&[stated, less, ("accountant = \"rdp\"", "accountant = \"pld\"")]);
    let PrivacyTermsError::Epsilon { needed, .. } = refused else { panic!() };
    let advised = format!("noise_multiplier = {needed}");
    let pld = ("accountant = \"rdp\"", "accountant = \"pld\"");
    check(&charter(&[stated, pld, ("noise_multiplier = 0.81", &advised)])).unwrap();
}

const EVALUATION: &str =
    "[evaluation]\nevery = 10\nheld_out = 0.1\nnoise_multiplier = 20.0\nloss_bound = 8.0\n[[house]]";

fn evaluated(changes: &[(&str, &str)]) -> String {
    let text = protocol::charter::SAMPLE.replacen("[[house]]", EVALUATION, 1);
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    })
}

/// By hand: 60 rounds of which every tenth evaluates, and attempts that are charged beyond may all be at those.
#[test]
fn evaluations_are_charged_at_rate_one_beside_the_training() {
    let clamp = ("clamp = 32768", "clamp = 65536");
    for (charged, times) in [("charged = 60", 6), ("charged = 75", 21)] {
        let charter = Charter::parse(&evaluated(&[clamp, ("charged = 60", charged)])).unwrap();
        let run = whole_run(&charter, 0.02, 4, 1000);
        assert_eq!((run[1].rate, run[1].noise_multiplier, run[1].rounds), (1.0, 20.0, times));
        let both = accountant::epsilon(&run, 1e-5).unwrap().epsilon;
        let training = accountant::epsilon(&run[..1], 1e-5).unwrap().epsilon;
        assert!(both > training && epsilon(&charter, 0.02, 1000).unwrap() >= both);
    }
    let charter = Charter::parse(&evaluated(&[clamp, ("epsilon = 3.0", "epsilon = 3.2")])).unwrap();
    check(&charter).unwrap();
}

#[test]
fn evaluations_that_the_grid_or_the_clamp_would_cut_are_refused_with_what_is_enough() {
    let error = |text: &str| match check(&Charter::parse(text).unwrap()) {
        Err(TermsError::Privacy(error)) => error,
        other => panic!("{other:?}"),
    };
    // A tenth of 64 / 0.02 units, each 0.81 * 4096 / 20 = 165 long.
    assert_eq!(error(&evaluated(&[])), PrivacyTermsError::ClampCuts { clamp: 32_768, needed: 52_800 });
    let quiet = evaluated(&[("noise_multiplier = 20.0", "noise_multiplier = 400.0")]);
    assert_eq!(error(&quiet), PrivacyTermsError::PartTooSmall { section: "evaluation", norm: 8, least: 16 });
    let text = evaluated(&[("loss_bound = 8.0\n[[", "loss_bound = 8.0\nbuckets = 1024\n[[")]);
    let labels: Vec<String> = (0..1024).map(|i| format!("l{i}")).collect();
    let text = text.replace("[\"infections\", \"neoplasms\", \"injuries\"]", &format!("{labels:?}"));
    assert!(matches!(error(&text), PrivacyTermsError::TooManyMetrics { labels: 1024, .. }));
}

fn client(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [
        ("mode = \"record-shared\"\n", "mode = \"client\"\n"),
        ("sampling_rate = 0.02", "sampling_rate = 1.0"),
        ("noise_multiplier = 0.81", "noise_multiplier = 12.0"),
        ("epsilon = 3.0", "epsilon = 4.0"),
        ("integer_norm = 4096", "integer_norm = 600"),
        ("clamp = 32768", "clamp = 60"),
    ];
    base.iter().chain(changes).map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
}

#[test]
fn mode_client_is_accounted_for_at_rate_one_and_its_grid_is_checked() {
    let with = |changes: &[(&str, &str)]| {
        let owned = client(changes);
        let changes: Vec<(&str, &str)> = owned.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
        charter(&changes)
    };
    let fine = with(&[]);
    check(&fine).unwrap();
    // 60 rounds at noise 12 are one at 12 / sqrt(60), for which theorem 8 of Balle and Wang 2018 gives 2.6548; Renyi
    // divergences give a little more.
    let given = epsilon(&fine, 1.0, 65_000).unwrap();
    assert!(given > 2.6548 && given < 2.6548 * 1.1, "{given}");
    let refused = |charter: &Charter| match check(charter) {
        Err(TermsError::Privacy(error)) => error,
        other => panic!("{other:?}"),
    };
    // The rotated width is 65,536, and sqrt(n / 3) is 148.
    let small = with(&[("integer_norm = 600", "integer_norm = 100")]);
    assert!(matches!(refused(&small), PrivacyTermsError::Rounding(RoundingError { dimension: 65_536, .. })));
    let PrivacyTermsError::ClampCuts { needed, .. } = refused(&with(&[("clamp = 60", "clamp = 2")])) else { panic!() };
    // About 600 / 256 a coordinate, and nine deviations.
    assert!((15..30).contains(&needed), "{needed}");
}

#[test]
fn a_clamp_below_one_units_norm_is_refused() {
    assert_eq!(
        refusal(&[("clamp = 32768", "clamp = 4095")]),
        PrivacyTermsError::Clamp { clamp: 4095, integer_norm: 4096 }
    );
}
