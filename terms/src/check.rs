//! Whether a charter's noise gives the epsilon that it states, before anybody relies on it.

use privacy::RoundingError;
use privacy::accountant::{self, AccountantError, Rounds};
use protocol::charter::{Accountant, Clipping, PrivacyMode};
use protocol::{Charter, HouseName, RoundNumber};

use crate::shape::{check_parts, whole_run};
use crate::{Terms, TermsError};

/// Noise multipliers above are not searched for advice.
const MOST_NOISE: f64 = 1e4;
/// Steps of the search: the multiplier is then known to a part in 250,000.
const SEARCH_STEPS: u32 = 18;

/// Why a charter's numbers do not protect what they say they protect.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyTermsError {
    /// The noise gives another epsilon than the charter states.
    #[error(
        "charter: privacy.noise_multiplier {noise_multiplier} gives `{house}` epsilon {given:.4} at delta {delta:e} over {rounds} charged rounds, but privacy.epsilon states {stated}; write a noise_multiplier of {needed}, or an epsilon of at least {given:.4}"
    )]
    Epsilon {
        /// The house for which it is largest.
        house: HouseName,
        /// What the charter's noise gives.
        given: f64,
        /// What the charter states.
        stated: f64,
        /// The charter's delta.
        delta: f64,
        /// The charter's noise multiplier.
        noise_multiplier: f64,
        /// Rounds that are charged.
        rounds: u32,
        /// A noise multiplier that gives it; words where none does.
        needed: String,
    },
    /// A share of the noise is too narrow to be a discrete Gaussian that adds up.
    #[error(
        "charter: with {expected} houses a share of the noise has a deviation of {deviation:.3} grid units, below {}; write a privacy.integer_norm of at least {needed}",
        accountant::SMALLEST_DEVIATION
    )]
    ShareTooNarrow {
        /// Houses of the expected set.
        expected: u32,
        /// A share's deviation.
        deviation: f64,
        /// The smallest integer norm that is enough.
        needed: u64,
    },
    /// One unit could not even reach the clamp's bound.
    #[error(
        "charter: privacy.clamp {clamp} is below privacy.integer_norm {integer_norm}, so a single unit would be cut; write at least {integer_norm}"
    )]
    Clamp {
        /// The charter's clamp.
        clamp: u64,
        /// The charter's integer norm.
        integer_norm: u64,
    },
    /// A part of the round's vector would be cut to nothing on the grid.
    #[error(
        "charter: {section}.noise_multiplier leaves the section a norm of {norm} grid units, below {least}; write a smaller one, or a larger privacy.integer_norm"
    )]
    PartTooSmall {
        /// The section.
        section: &'static str,
        /// The norm that it has.
        norm: u64,
        /// The least.
        least: u64,
    },
    /// Rounding would fill the integer norm.
    #[error("charter: privacy.integer_norm: {0}")]
    Rounding(#[from] RoundingError),
    /// A coordinate would be cut that an honest contribution may well have.
    #[error("charter: privacy.clamp {clamp} would cut what a contribution may well hold; write at least {needed}")]
    ClampCuts {
        /// The charter's clamp.
        clamp: u64,
        /// What is enough.
        needed: u64,
    },
    /// Score histograms of a model that gives labels no scores.
    #[error(
        "charter: evaluation.buckets is {0}, but a language model has no labels whose scores could be counted; leave it out"
    )]
    BucketsWithoutLabels(u32),
    /// More metrics than a round may carry.
    #[error(
        "charter: [evaluation] over {labels} labels needs {cells} counts; leave the section out, or write fewer buckets"
    )]
    TooManyMetrics {
        /// The charter's labels.
        labels: usize,
        /// The counts.
        cells: usize,
    },
    /// Layers that are clipped by themselves to almost nothing: truncation to the grid would be all that is left of them.
    #[error(
        "charter: privacy.clipping `per-layer` leaves each of {layers} layers a norm of {norm} grid units, {least} are needed: write a \
         privacy.integer_norm of at least {needed}, or `flat`"
    )]
    LayersTooFine {
        /// Layers, the head among them.
        layers: usize,
        /// Each one's norm.
        norm: u64,
        /// The least.
        least: u64,
        /// The integer norm that gives it.
        needed: u64,
    },
    /// A value outside the accountant's rules.
    #[error("charter: {0}")]
    Accountant(#[from] AccountantError),
}

/// The least norm of a layer that is clipped by itself, in grid units.
const LEAST_LAYER: u64 = 16;

fn check_layers(integer_norm: u64, layers: usize) -> Result<(), PrivacyTermsError> {
    let root = (layers.max(1) as f64).sqrt();
    let norm = (integer_norm as f64 / root) as u64;
    if norm >= LEAST_LAYER {
        return Ok(());
    }
    let needed = (LEAST_LAYER as f64 * root).ceil() as u64;
    Err(PrivacyTermsError::LayersTooFine { layers, norm, least: LEAST_LAYER, needed })
}

/// Checks that `charter` can be run and that its noise gives the epsilon that it states: for every house, at its sampling
/// rate, over the charged rounds, for the smallest and the largest expected set.
///
/// # Errors
/// [`TermsError`], naming the key, what its value gives, and what would be needed.
pub fn check(charter: &Charter) -> Result<(), TermsError> {
    let terms = Terms::of(charter)?;
    let first = terms.first_state()?;
    let count = first.update_len();
    let privacy = &charter.privacy;
    if privacy.clipping == Clipping::PerLayer {
        check_layers(privacy.integer_norm, first.round_adapter().layer_ends().len())?;
    }
    if privacy.mode != PrivacyMode::Client && privacy.clamp < privacy.integer_norm {
        return Err(PrivacyTermsError::Clamp { clamp: privacy.clamp, integer_norm: privacy.integer_norm }.into());
    }
    check_parts(charter, count)?;
    for expected in expected_sets(charter) {
        crate::layout(charter, RoundNumber::FIRST, expected as usize, charter.rounds.may_vanish, count)?;
    }
    if privacy.mode == PrivacyMode::None {
        return Ok(());
    }
    for expected in expected_sets(charter) {
        wide_enough(charter, expected)?;
    }
    let Some((house, given)) = dearest(charter, count).map_err(PrivacyTermsError::from)? else { return Ok(()) };
    if given <= privacy.epsilon {
        return Ok(());
    }
    Err(PrivacyTermsError::Epsilon {
        house,
        given,
        stated: privacy.epsilon,
        delta: privacy.delta,
        noise_multiplier: privacy.noise_multiplier,
        rounds: charter.charged_rounds(),
        needed: needed(charter).map_err(PrivacyTermsError::from)?,
    }
    .into())
}

/// Epsilon of the whole run for a house that samples at `rate`, at the charter's delta, over `count` trained weights: what
/// its ledger holds once all charged rounds are in it.
///
/// # Errors
/// The rule of the accountant that a value breaks.
pub fn epsilon(charter: &Charter, rate: f64, count: usize) -> Result<f64, AccountantError> {
    let mut most = 0.0_f64;
    for expected in expected_sets(charter) {
        most = most.max(cost(charter, &whole_run(charter, rate, expected, count))?);
    }
    Ok(most)
}

/// The smallest and the largest set that may be expected in a round.
fn expected_sets(charter: &Charter) -> [u32; 2] {
    let rounds = &charter.rounds;
    [rounds.min_cohort + rounds.may_vanish, rounds.max_cohort]
}

fn wide_enough(charter: &Charter, expected: u32) -> Result<(), PrivacyTermsError> {
    let deviation = charter.share_deviation(expected, charter.rounds.may_vanish);
    if deviation >= accountant::SMALLEST_DEVIATION {
        return Ok(());
    }
    let norm = charter.privacy.integer_norm as f64;
    let needed = (norm * accountant::SMALLEST_DEVIATION / deviation).ceil() as u64;
    Err(PrivacyTermsError::ShareTooNarrow { expected, deviation, needed })
}

/// The house whose units the run costs most.
fn dearest(charter: &Charter, count: usize) -> Result<Option<(HouseName, f64)>, AccountantError> {
    // At equal noise epsilon grows with the rate.
    let highest = charter.houses.iter().max_by(|a, b| a.sampling_rate.total_cmp(&b.sampling_rate));
    let Some(house) = highest else { return Ok(None) };
    Ok(Some((house.name.clone(), epsilon(charter, house.sampling_rate, count)?)))
}

/// What the charter's accountant says that these rounds cost.
fn cost(charter: &Charter, rounds: &[Rounds]) -> Result<f64, AccountantError> {
    let accountant = match charter.privacy.accountant {
        Accountant::Rdp => accountant::Accountant::Rdp,
        Accountant::Pld => accountant::Accountant::Pld,
    };
    accountant.epsilon(rounds, charter.privacy.delta)
}

/// A noise multiplier that gives the stated epsilon, in words: rounded up to four digits after the point.
fn needed(charter: &Charter) -> Result<String, AccountantError> {
    let rate = charter.houses.iter().map(|house| house.sampling_rate).fold(0.0, f64::max);
    // The evaluations' noise is stated on its own, so it stays.
    let mut rounds: Vec<Rounds> =
        whole_run(charter, rate, charter.rounds.max_cohort, 1).iter().map(|r| Rounds { grid: None, ..*r }).collect();
    let mut gives = |noise: f64| match cost(charter, {
        rounds.iter_mut().take(1).for_each(|training| training.noise_multiplier = noise);
        &rounds
    }) {
        Err(AccountantError::NoOrder) => Ok(f64::INFINITY),
        other => other,
    };
    let (mut low, mut high) = (charter.privacy.noise_multiplier, charter.privacy.noise_multiplier * 2.0);
    while gives(high)? > charter.privacy.epsilon {
        (low, high) = (high, high * 2.0);
        if high > MOST_NOISE {
            return Ok(format!("more than {MOST_NOISE}"));
        }
    }
    for _ in 0..SEARCH_STEPS {
        let middle = f64::midpoint(low, high);
        if gives(middle)? <= charter.privacy.epsilon {
            high = middle;
        } else {
            low = middle;
        }
    }
    // What the grid costs beyond a continuous Gaussian is far below the last digit.
    Ok(format!("{:.4}", (high * 1e4).ceil() / 1e4 + 1e-4))
}

#[cfg(test)]
mod tests {
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
        let change =
            change.map(|(from, to)| (from, to.to_owned() + if from.ends_with("shared\"\n") { "\n" } else { "" }));
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
        let PrivacyTermsError::ClampCuts { needed, .. } = refused(&with(&[("clamp = 60", "clamp = 2")])) else {
            panic!()
        };
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
}
