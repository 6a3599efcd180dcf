//! The sample parses; each rule has a charter that breaks only it.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn changed(from: &str, to: &str) -> Result<Charter, CharterError> {
    assert!(SAMPLE.contains(from), "the sample has `{from}`");
    Charter::parse(&SAMPLE.replacen(from, to, 1))
}

#[test]
fn the_sample_parses_and_its_digest_is_that_of_its_bytes() {
    let charter = Charter::parse(SAMPLE).unwrap();
    assert_eq!(charter.digest(), Digest::sha256(SAMPLE.as_bytes()));
    assert_eq!((charter.committee_size(), charter.colluding_members_tolerated()), (4, 1));
    assert_eq!(charter.houses.len(), 4);
    assert_eq!(charter.nominal_batch_of(charter.houses[..3].iter().map(|house| &house.name)), 192);
    assert_ne!(Charter::parse(&format!("{SAMPLE} ")).unwrap().digest(), charter.digest());
}

#[test]
fn c_follows_from_threshold_and_members() {
    for (threshold, colluders) in [(3, 1), (4, 3)] {
        let charter = changed("threshold = 3", &format!("threshold = {threshold}")).unwrap();
        assert_eq!(charter.colluding_members_tolerated(), colluders);
    }
}

#[test]
fn each_broken_rule_names_its_key() {
    let cases = [
        ("protocol_version = 1", "protocol_version = 2", "protocol_version"),
        ("\"d75a", "\"d75", "aggregator_key"),
        ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", &"00".repeat(32), "aggregator_key"),
        ("r = 8", "r = 0", "lora.r"),
        ("lora_alpha = 16.0", "lora_alpha = nan", "lora.lora_alpha"),
        ("\"injuries\"]", "\"neoplasms\"]", "model.labels"),
        ("beta1 = 0.9", "beta1 = 1.0", "optimizer.beta1"),
        ("epsilon = 3.0", "epsilon = 0.0", "privacy.epsilon"),
        ("delta = 1e-5", "delta = 1.0", "privacy.delta"),
        ("mode = \"record-shared\"", "mode = \"none\"", "privacy.epsilon"),
        ("strategy = \"ffa-lora\"", "strategy = \"flora\"", "lora.strategy"),
        ("colluders = 1", "colluders = 0", "privacy.colluders"),
        ("colluders = 1", "colluders = 2", "rounds.min_cohort"),
        ("may_vanish = 1", "may_vanish = 2", "rounds.max_cohort"),
        ("max_cohort = 4", "max_cohort = 5", "rounds.max_cohort"),
        ("submit_at_ms = 30000", "submit_at_ms = 60000", "rounds.close_ms"),
        ("threshold = 3", "threshold = 2", "committee.threshold"),
        ("threshold = 3", "threshold = 5", "committee.threshold"),
        ("name = \"lakeside\"", "name = \"st-mary\"", "house.name"),
        ("name = \"lakeside\"", "name = \"aggregator\"", "house.name"),
        ("sampling_rate = 0.02", "sampling_rate = 1.5", "house.sampling_rate"),
        ("nominal_batch = 64", "nominal_batch = 0", "house.nominal_batch"),
    ];
    for (from, to, expected) in cases {
        match changed(from, to) {
            Err(CharterError::Rule { key, .. }) => assert_eq!(key, expected, "{to}"),
            other => panic!("{to}: {other:?}"),
        }
    }
}

#[test]
fn strategies_that_need_single_updates_are_refused_with_the_reason_and_the_nearest_that_works() {
    for (name, nearest) in
        [("flora", "fedit"), ("fedex-lora", "ffa-lora"), ("lora-fair", "ffa-lora"), ("flex-lora", "ffa-lora")]
    {
        let refused = changed("strategy = \"ffa-lora\"", &format!("strategy = {name:?}")).unwrap_err().to_string();
        assert!(refused.contains(name) && refused.contains("nothing but a sum"), "{refused}");
        assert!(refused.contains(&format!("the nearest that works is `{nearest}`")), "{refused}");
    }
    let fedit = changed("strategy = \"ffa-lora\"", "strategy = \"fedit\"").unwrap();
    assert_eq!(
        (fedit.lora.strategy, Charter::parse(SAMPLE).unwrap().lora.strategy),
        (Strategy::FedIt, Strategy::FfaLora)
    );
    let rolora = changed("strategy = \"ffa-lora\"", "strategy = \"rolora\"").unwrap();
    assert_eq!((rolora.lora.strategy, rolora.lora.strategy.as_str()), (Strategy::RoLora, "rolora"));
    let other = changed("strategy = \"ffa-lora\"", "strategy = \"fedavg\"").unwrap_err().to_string();
    assert!(other.contains("ffa-lora") && other.contains("fedit"), "an unknown one gets the known: {other}");
}

#[test]
fn dropout_a_bias_beside_b_the_bases_biases_and_transformers_own_head_are_a_charters_to_choose() {
    let lora = |key: &str| changed("# use_rslora = true", key);
    let (dropout, bias) = (lora("lora_dropout = 0.25").unwrap(), lora("lora_bias = true").unwrap());
    assert_eq!((dropout.lora.lora_dropout, bias.lora.lora_bias), (0.25, true));
    let plain = Charter::parse(SAMPLE).unwrap();
    assert_eq!((plain.lora.lora_dropout, plain.lora.lora_bias, plain.model.head), (0.0, false, Head::Mean));
    for bad in ["1.0", "-0.1", "nan"] {
        let refused = lora(&format!("lora_dropout = {bad}")).unwrap_err().to_string();
        assert!(refused.contains("lora.lora_dropout"), "{refused}");
    }
    for (name, bias) in [("none", Bias::None), ("lora_only", Bias::LoraOnly), ("all", Bias::All)] {
        assert_eq!(lora(&format!("bias = {name:?}")).unwrap().lora.bias, Some(bias));
    }
    let refused = lora("bias = \"most\"").unwrap_err().to_string();
    assert!(refused.contains("none") && refused.contains("lora_only") && refused.contains("all"), "{refused}");
    let own = changed("# head = ", "head = ").unwrap();
    assert_eq!(own.model.head, Head::SequenceClassification);
    let refused = changed("# head = \"sequence-classification\"", "head = \"pooler\"").unwrap_err().to_string();
    assert!(refused.contains("mean") && refused.contains("sequence-classification"), "{refused}");
}

#[test]
fn every_kind_of_optimizer_has_its_keys_and_may_have_a_schedule() {
    let adam = "kind = \"adam\"\nlearning_rate = 0.005\nbeta1 = 0.9\nbeta2 = 0.999\nepsilon = 1e-8\n";
    let rest = "learning_rate = 0.5\nbeta1 = 0.9\nbeta2 = 0.99\nepsilon = 1e-3\n";
    let schedule = "[optimizer.schedule]\nwarmup_rounds = 5\ndecay = \"cosine\"\nfinal_fraction = 0.1\n";
    let with = |optimizer: &str| changed(adam, optimizer);
    let key = |optimizer: String| match with(&optimizer) {
        Err(CharterError::Rule { key, .. }) => key,
        other => panic!("{optimizer}: {other:?}"),
    };
    for head in ["kind = \"adam\"", "kind = \"yogi\"", "kind = \"adamw\"\nweight_decay = 0.01"] {
        let charter = with(&format!("{head}\n{rest}{schedule}")).unwrap();
        let wanted = Schedule { warmup_rounds: 5, decay: Decay::Cosine, final_fraction: 0.1 };
        assert_eq!(charter.optimizer.schedule(), Some(&wanted));
        assert_eq!(*Charter::of(&charter).unwrap(), *charter);
        assert_eq!(with(&format!("{head}\n{rest}")).unwrap().optimizer.schedule(), None);
        assert_eq!(key(format!("{head}\n{}", rest.replace("1e-3", "0.0"))), "optimizer.epsilon");
    }
    for weight_decay in ["-0.1", "2.0", "nan"] {
        let wrong = format!("kind = \"adamw\"\nweight_decay = {weight_decay}\n{rest}");
        assert_eq!(key(wrong), "optimizer.weight_decay");
    }
    for (from, to, broken) in [
        ("warmup_rounds = 5", "warmup_rounds = 60", "optimizer.schedule.warmup_rounds"),
        ("final_fraction = 0.1", "final_fraction = 1.5", "optimizer.schedule.final_fraction"),
        ("final_fraction = 0.1", "final_fraction = nan", "optimizer.schedule.final_fraction"),
        ("\"cosine\"", "\"constant\"", "optimizer.schedule.final_fraction"),
    ] {
        assert_eq!(key(format!("{adam}{}", schedule.replace(from, to))), broken, "{to}");
    }
    for wrong in ["", "weight_decay = 0.1\nmomentum = 0.9\n"] {
        assert!(matches!(with(&format!("kind = \"adamw\"\n{rest}{wrong}")), Err(CharterError::Syntax(_))), "{wrong}");
    }
    let unknown = schedule.replace("warmup_rounds", "warmup_steps");
    assert!(matches!(with(&format!("{adam}{unknown}")), Err(CharterError::Syntax(_))));
}

#[test]
fn unknown_keys_wrong_types_and_upper_case_digests_are_refused() {
    let cases = [
        ("seed = 1", "seed = 1\nsede = 2"),
        ("r = 8", "r = -8"),
        ("kind = \"adam\"", "kind = \"lion\""),
        ("beta1 = 0.9", "beta1 = 0.9\nmomentum = 0.1"),
        ("\"53aa", "\"53AA"),
        ("name = \"st-mary\"", "name = \"../st-mary\""),
        ("policy = \"aggregator\"", "policy = \"all\""),
    ];
    for (from, to) in cases {
        assert!(matches!(changed(from, to), Err(CharterError::Syntax(_))), "{to}");
    }
}

#[test]
fn what_is_too_long_says_so() {
    let long = format!("{SAMPLE}#{}", "x".repeat(MAX_CHARTER_BYTES));
    assert!(matches!(Charter::parse(&long), Err(CharterError::TooLong { .. })));
}

#[test]
fn sections_of_a_mode_are_refused_under_another_and_out_of_range_by_key() {
    let key = |text: &str| match Charter::parse(text) {
        Err(CharterError::Rule { key, .. }) => key,
        other => panic!("{other:?}"),
    };
    let client = SAMPLE.replace("mode = \"record-shared\"", "mode = \"client\"");
    assert_eq!(key(&client), "house.sampling_rate");
    let client = client.replace("sampling_rate = 0.02", "sampling_rate = 1.0");
    let local = "[local]\nsteps = 4\nlearning_rate = 0.5\n";
    assert_eq!(Charter::parse(&format!("{client}{local}")).unwrap().local.batch, 32);
    assert_eq!(key(&format!("{SAMPLE}{local}")), "local.steps");
    for size in ["1e-30", "1e9", "0.0"] {
        assert_eq!(key(&format!("{client}{}", local.replace("0.5", size))), "local.learning_rate");
    }
    let more = |keys: &str| format!("{client}{local}{keys}");
    for good in ["momentum = 0.9\nproximal = 0.1", "optimizer = \"adamw\"\nweight_decay = 0.1\nproximal = 2.0"] {
        let charter = Charter::parse(&more(good)).unwrap();
        assert_eq!(*Charter::of(&charter).unwrap(), *charter);
    }
    for (wrong, broken) in [
        ("momentum = 1.0", "local.momentum"),
        ("proximal = -0.1", "local.proximal"),
        ("proximal = inf", "local.proximal"),
        ("proximal = 4.0", "local.proximal"),
        ("weight_decay = 0.1", "local.weight_decay"),
        ("optimizer = \"adamw\"\nmomentum = 0.9", "local.momentum"),
        ("optimizer = \"adamw\"\nweight_decay = 2.0", "local.weight_decay"),
    ] {
        assert_eq!(key(&more(wrong)), broken, "{wrong}");
    }
    let record_local = SAMPLE.replace("mode = \"record-shared\"", "mode = \"record-local\"");
    Charter::parse(&format!("{record_local}{local}")).unwrap();
    for (wrong, broken) in [
        ("momentum = 0.9", "local.momentum"),
        ("proximal = 0.1", "local.proximal"),
        ("optimizer = \"adamw\"", "local.optimizer"),
    ] {
        assert_eq!(key(&format!("{record_local}{local}{wrong}\n")), broken);
    }
    let adaptive = "[adaptive_clipping]\nquantile = 0.5\nlearning_rate = 0.2\nnoise_multiplier = 10.0\n";
    Charter::parse(&format!("{client}{adaptive}")).unwrap();
    assert_eq!(key(&format!("{SAMPLE}{adaptive}")), "adaptive_clipping");
    for (from, to, broken) in [
        ("quantile = 0.5", "quantile = 1.0", "adaptive_clipping.quantile"),
        ("noise_multiplier = 10.0", "noise_multiplier = 0.81", "adaptive_clipping.noise_multiplier"),
    ] {
        assert_eq!(key(&format!("{client}{}", adaptive.replace(from, to))), broken);
    }
    let evaluation = "[evaluation]\nevery = 5\nheld_out = 0.1\nnoise_multiplier = 20.0\nloss_bound = 8.0\n";
    let charter = Charter::parse(&format!("{SAMPLE}{evaluation}")).unwrap();
    let rounds: Vec<u32> = (1..=11).filter(|n| charter.is_evaluated(RoundNumber::new(*n).unwrap())).collect();
    assert_eq!(rounds, [5, 10]);
    for (from, to, broken) in [
        ("every = 5", "every = 0", "evaluation.every"),
        ("held_out = 0.1", "held_out = 1.0", "evaluation.held_out"),
        ("loss_bound = 8.0", "loss_bound = nan", "evaluation.loss_bound"),
        ("noise_multiplier = 20.0", "noise_multiplier = 0.0", "evaluation.noise_multiplier"),
        ("every = 5", "every = 5\npatience = 0", "evaluation.patience"),
        ("every = 5", "every = 5\nmin_improvement = 0.1", "evaluation.min_improvement"),
        ("every = 5", "every = 5\npatience = 2\nmin_improvement = -0.1", "evaluation.min_improvement"),
    ] {
        assert_eq!(key(&format!("{SAMPLE}{}", evaluation.replace(from, to))), broken);
    }
    assert_eq!(key(&SAMPLE.replace("charged = 60", "charged = 59")), "rounds.charged");
}

#[test]
fn what_a_charter_does_not_say_has_its_default() {
    let text = SAMPLE.replace("accountant = \"rdp\"", "").replace("charged = 60", "");
    let charter = Charter::parse(&text).unwrap();
    assert_eq!((charter.privacy.accountant, charter.charged_rounds()), (Accountant::Rdp, 60));
    assert_eq!((charter.local.steps, charter.noised_steps()), (1, 1));
    assert!(charter.evaluation.is_none() && !charter.is_evaluated(RoundNumber::FIRST));
}

#[test]
fn a_threshold_above_the_houses_is_refused() {
    let trustees: String = ["a", "b", "c"].iter().map(|name| format!("[[trustee]]\nname = \"{name}\"\n")).collect();
    let text = SAMPLE.replace("threshold = 3", "threshold = 5") + &trustees;
    assert!(matches!(Charter::parse(&text), Err(CharterError::Rule { key: "committee.threshold", .. })));
    let text = SAMPLE.replace("threshold = 3", "threshold = 4") + &trustees;
    assert_eq!(Charter::parse(&text).unwrap().colluding_members_tolerated(), 0);
}

/// With every section that a charter can have: what is written reads as the same terms.
#[test]
fn a_charter_written_from_terms_says_the_same_terms() {
    let sections = "[local]\nsteps = 4\nlearning_rate = 0.5\nbatch = 16\n[evaluation]\nevery = 5\nheld_out = 0.1\n\
                    noise_multiplier = 20.0\nloss_bound = 8.0\nbuckets = 4\npatience = 2\nmin_improvement = 0.1\n";
    let local = SAMPLE.replace("mode = \"record-shared\"", "mode = \"record-local\"");
    for text in [SAMPLE.to_owned(), format!("{local}{sections}")] {
        let read = Charter::parse(&text).unwrap();
        let written = Charter::of(&read).unwrap();
        assert_eq!(*written, *read);
        assert_ne!(written.digest(), read.digest(), "the digest is of the text");
    }
    let mut terms = (*Charter::parse(SAMPLE).unwrap()).clone();
    terms.committee.threshold = 9;
    assert!(matches!(Charter::of(&terms), Err(CharterError::Rule { key: "committee.threshold", .. })));
}
