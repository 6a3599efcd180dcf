//! What follows from charters, the sample and others.

use protocol::charter::SAMPLE;

use super::*;

#[test]
fn the_sample_charter_gives_the_adapter_and_the_layout_that_it_names() -> Result<(), Box<dyn std::error::Error>> {
    let charter = Charter::parse(SAMPLE)?;
    let state = Terms::of(&charter)?.first_state()?;
    // B of query and value in six layers of 384 outputs at rank 8; a head of three rows of 384 weights and a bias.
    let count = 6 * 2 * 384 * 8 + 3 * 385;
    assert_eq!(state.adapter().trainable_len(), count);
    let layout = layout(&charter, protocol::RoundNumber::FIRST, 4, 1, count)?;
    assert_eq!((layout.values().count, layout.values().clamp, layout.cohort_max()), (count, 32_768, 4));
    // Four shares, each of variance (0.81 * 4096)^2 / (4 - 1 - 1).
    let deviation = 0.81 * 4096.0 * (4.0_f64 / 2.0).sqrt();
    assert!((layout.values().noise_deviation / deviation - 1.0).abs() < 1e-5);
    assert!((unit(&charter) - 1.0 / 4096.0).abs() < f64::EPSILON);
    Ok(())
}

#[test]
fn a_head_from_the_charter_is_what_the_first_round_starts_from() -> Result<(), Box<dyn std::error::Error>> {
    let head: Vec<f32> = (0..3 * 385).map(|i| i as f32 / 7.0).collect();
    let with = |text: &str| SAMPLE.replace("# initial_head = \"AAAAAA==\"", &format!("initial_head = {text:?}"));
    let warm = Terms::of(&Charter::parse(&with(&head_text(&head)))?)?.first_state()?;
    let cold = Terms::of(&Charter::parse(SAMPLE)?)?.first_state()?;
    for (name, tensor) in warm.adapter().tensors() {
        let wanted = match name.rsplit_once("classifier.") {
            Some((_, "weight")) => &head[..3 * 384],
            Some((_, _)) => &head[3 * 384..],
            None => cold.adapter().get(name).map_or(&[][..], |tensor| &tensor.data),
        };
        assert_eq!(tensor.data, wanted, "{name}");
    }
    assert_ne!(warm.digest(), cold.digest());
    let mut nan = head.clone();
    nan[5] = f32::NAN;
    for bad in ["?", "AAAA", &head_text(&head[1..]), &head_text(&nan)] {
        let refused = Terms::of(&Charter::parse(&with(bad))?);
        assert!(matches!(refused, Err(TermsError::InitialHead { .. })), "{refused:?}");
    }
    Ok(())
}

/// What each kind does is `adapter`'s to test; that its values and the rounds of the run reach it is ours.
#[test]
fn every_kind_of_optimizer_and_the_schedule_of_the_rounds_are_the_charters_to_choose()
-> Result<(), Box<dyn std::error::Error>> {
    let adam = "kind = \"adam\"\nlearning_rate = 0.005\nbeta1 = 0.9\nbeta2 = 0.999\nepsilon = 1e-8\n";
    let with = |optimizer: &str| {
        Terms::of(&Charter::parse(&SAMPLE.replace(adam, optimizer)).unwrap_or_else(|e| panic!("{e}")))
    };
    let rest = "learning_rate = 0.5\nbeta1 = 0.8\nbeta2 = 0.99\nepsilon = 1e-3\n";
    let (learning_rate, beta1, beta2, epsilon) = (0.5, 0.8, 0.99, 1e-3);
    let adamw = ServerOptimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay: 0.25 };
    let terms = with(&format!("kind = \"adamw\"\nweight_decay = 0.25\n{rest}"))?;
    assert_eq!((terms.optimizer, terms.schedule), (adamw, Schedule::default()));
    let schedule = "[optimizer.schedule]\nwarmup_rounds = 5\ndecay = \"linear\"\nfinal_fraction = 0.1\n";
    let terms = with(&format!("kind = \"yogi\"\n{rest}{schedule}"))?;
    assert_eq!(terms.optimizer, ServerOptimizer::Yogi { learning_rate, beta1, beta2, epsilon });
    let decay = adapter::Decay::Linear;
    assert_eq!(terms.schedule, Schedule { warmup: 5, decay, steps: 60, final_fraction: 0.1 });
    let state = terms.first_state()?;
    assert_eq!(terms.read_state(&state.to_bytes())?, state);
    assert!(with(&format!("kind = \"yogi\"\n{rest}"))?.read_state(&state.to_bytes()).is_err());
    Ok(())
}

/// What PEFT's rules for these keys give is `adapter`'s to test; that they reach it is ours.
#[test]
fn other_encoders_patterns_layers_and_rank_stabilised_scaling_are_the_charters_to_choose()
-> Result<(), Box<dyn std::error::Error>> {
    let with = |changes: &[(&str, &str)]| {
        let text = changes.iter().fold(SAMPLE.to_owned(), |text, (from, to)| text.replacen(from, to, 1));
        Ok::<_, Box<dyn std::error::Error>>(Terms::of(&Charter::parse(&text)?)?)
    };
    let targets = "target_modules = [\"query\", \"value\"]";
    let lin =
        [("architecture = \"bert\"", "architecture = \"distilbert\""), (targets, "target_modules = \"all-linear\"")];
    let terms = with(&lin)?;
    assert_eq!(terms.model.targets(&terms.lora)?.len(), 6 * 6);
    let narrowed = [("# layers_to_transform = [4, 5]", "layers_to_transform = [4, 5]"), ("# use_rslora", "use_rslora")];
    let terms = with(&narrowed)?;
    assert_eq!(terms.model.targets(&terms.lora)?.len(), 2 * 2);
    assert!((terms.lora.scaling() - 16.0 / 8f32.sqrt()).abs() < 1e-6);
    Ok(())
}

/// Six layers of 384 outputs, by query and value at rank 8, and A of as many inputs; a head of three rows.
#[test]
fn a_charters_strategy_says_which_factors_are_trained_and_layers_stand_together()
-> Result<(), Box<dyn std::error::Error>> {
    let with = |strategy: &str| {
        let text = SAMPLE.replace("strategy = \"ffa-lora\"", &format!("strategy = {strategy:?}"));
        Ok::<_, Box<dyn std::error::Error>>(Terms::of(&Charter::parse(&text)?)?.first_state()?)
    };
    let (b, ab) = (2 * 384 * 8, 2 * 384 * 8 * 2);
    for (strategy, layer) in [("ffa-lora", b), ("fedit", ab), ("rolora", b)] {
        let ends = with(strategy)?.round_adapter().layer_ends();
        let wanted: Vec<usize> = (1..=6).map(|layers| layers * layer).chain([6 * layer + 3 * 385]).collect();
        assert_eq!(ends, wanted, "{strategy}");
    }
    let turns = with("rolora")?;
    assert_eq!((turns.update_len(), turns.adapter().trainable_len()), (6 * b + 3 * 385, 6 * ab + 3 * 385));
    let names = [protocol::charter::Strategy::FedIt, protocol::charter::Strategy::RoLora];
    assert_eq!(
        [strategy(names[0])?.name(), strategy(names[1])?.name(), FfaLora.name()],
        ["fedit", "rolora", "ffa-lora"]
    );
    Ok(())
}

/// Embeddings, pooler and head are layers of their own, in the order of the names; transformers' own heads.
#[test]
fn biases_outside_of_the_numbered_layers_stand_in_layers_of_their_own() -> Result<(), Box<dyn std::error::Error>> {
    let ends = |architecture: &str, modules: &str| {
        let text = SAMPLE
            .replace("architecture = \"bert\"", &format!("architecture = {architecture:?}"))
            .replace("# head = ", "head = ")
            .replace("target_modules = [\"query\", \"value\"]", "target_modules = \"all-linear\"\nbias = \"all\"")
            .replace("modules_to_save = [\"classifier\"]", &format!("modules_to_save = {modules}"));
        let adapter = Terms::of(&Charter::parse(&text)?)?.first_state()?.adapter().clone();
        let mut before = 0;
        let sizes = adapter.layer_ends().into_iter().map(|end| end - std::mem::replace(&mut before, end));
        Ok::<_, Box<dyn std::error::Error>>(sizes.collect::<Vec<usize>>())
    };
    // Six B of rank 8, their biases, and two norms'; the norm of the embeddings, BERT's pooler, and the heads.
    let layer = (8 + 1) * (4 * 384 + 1536 + 384) + 2 * 384;
    let (head, before) = (3 * 385, 384 * 385);
    let with = |first: &[usize], last: &[usize]| [first, &[layer; 6], last].concat();
    assert_eq!(ends("bert", "[\"classifier\"]")?, with(&[384], &[384, head]));
    assert_eq!(ends("roberta", "[\"classifier\"]")?, with(&[before + head, 384], &[]));
    assert_eq!(ends("distilbert", "[\"classifier\", \"pre_classifier\"]")?, with(&[head, 384], &[before]));
    Ok(())
}

/// Widths of MiniLM's, with three labels: a layer before the labels where the family has one of its own, and a bias beside each B.
#[test]
fn transformers_own_heads_and_biases_are_trained_where_the_charter_says_so() -> Result<(), Box<dyn std::error::Error>> {
    let of = |architecture: &str, modules: &str, rest: &str| {
        let text = SAMPLE
            .replace("architecture = \"bert\"", &format!("architecture = {architecture:?}"))
            .replace("# head = ", "head = ")
            .replace("target_modules = [\"query\", \"value\"]", "target_modules = \"all-linear\"")
            .replace("modules_to_save = [\"classifier\"]", &format!("modules_to_save = {modules}\n{rest}"));
        let charter = Charter::parse(&text)?;
        Ok::<_, Box<dyn std::error::Error>>(Terms::of(&charter)?.first_state()?.adapter().clone())
    };
    let b = 6 * 8 * (4 * 384 + 1536 + 384);
    for (architecture, modules, before) in [
        ("bert", "[\"classifier\"]", 0),
        ("roberta", "[\"classifier\"]", 384 * 385),
        ("distilbert", "[\"classifier\", \"pre_classifier\"]", 384 * 385),
    ] {
        let adapter = of(architecture, modules, "")?;
        assert_eq!(adapter.trainable_len(), b + before + 3 * 385, "{architecture}");
        // The layer before the labels starts from somewhere, those over labels and the biases from zero.
        let moved = |name: &str| adapter.get(name).is_some_and(|tensor| tensor.data.iter().any(|x| *x != 0.0));
        let inner =
            ["classifier.dense", "pre_classifier"].map(|name| moved(&format!("base_model.model.{name}.weight")));
        assert_eq!(inner.contains(&true), before > 0);
        let biased = of(architecture, modules, "lora_bias = true")?;
        assert_eq!(biased.trainable_len(), adapter.trainable_len() + b / 8);
        // And the base model's own: of all linear layers, or of norms (and of BERT's pooler) too.
        let base = of(architecture, modules, "bias = \"lora_only\"")?;
        assert_eq!(base.trainable_len(), adapter.trainable_len() + b / 8);
        let all = of(architecture, modules, "bias = \"all\"")?;
        let norms = 2 * 6 + 1 + usize::from(architecture == "bert");
        assert_eq!(all.trainable_len(), base.trainable_len() + norms * 384);
    }
    assert!(of("distilbert", "[\"classifier\"]", "").is_err());
    let head = format!("initial_head = {:?}", head_text(&[0.0; 3 * 385]));
    assert!(of("bert", "[\"classifier\"]", &head).is_ok());
    let refused = of("roberta", "[\"classifier\"]", &head).err().map_or_else(String::new, |error| error.to_string());
    assert!(refused.contains("initial_head") && refused.contains("two"), "{refused}");
    Ok(())
}

#[test]
fn an_unknown_architecture_and_a_fractional_alpha_are_refused_by_key() -> Result<(), Box<dyn std::error::Error>> {
    let other = Charter::parse(&SAMPLE.replace("architecture = \"bert\"", "architecture = \"t5\""))?;
    assert!(matches!(Terms::of(&other), Err(TermsError::Architecture { found }) if found == "t5"));
    let other = Charter::parse(&SAMPLE.replace("lora_alpha = 16.0", "lora_alpha = 16.5"))?;
    assert!(matches!(Terms::of(&other), Err(TermsError::Alpha { found }) if found == 16.5));
    Ok(())
}

/// SmolLM2-135M's sizes, with rank 8 on queries and values.
#[test]
fn a_language_models_charter_has_heads_and_no_labels() -> Result<(), Box<dyn std::error::Error>> {
    let labels = r#"labels = ["infections", "neoplasms", "injuries"]"#;
    let heads = "labels = []\nattention = { num_attention_heads = 9, num_key_value_heads = 3, head_dim = 64 }";
    let text = SAMPLE
        .replace("architecture = \"bert\"", "architecture = \"llama\"")
        .replace("num_hidden_layers = 6", "num_hidden_layers = 30")
        .replace("hidden_size = 384", "hidden_size = 576")
        .replace("target_modules = [\"query\", \"value\"]", "target_modules = [\"q_proj\", \"v_proj\"]")
        .replace("modules_to_save = [\"classifier\"]", "modules_to_save = []")
        .replace(labels, heads);
    let charter = Charter::parse(&text)?;
    assert!(is_language_model(&charter) && !is_language_model(&Charter::parse(SAMPLE)?));
    let state = Terms::of(&charter)?.first_state()?;
    assert_eq!(state.adapter().trainable_len(), 30 * 8 * (576 + 192));
    for (from, to, key) in [
        ("labels = []", labels, "model.labels"),
        ("attention = {", "# attention = {", "model.attention"),
        ("architecture = \"llama\"", "architecture = \"bert\"", "model.labels"),
    ] {
        let refused = Terms::of(&Charter::parse(&text.replace(from, to))?);
        assert!(matches!(&refused, Err(TermsError::Head { key: found, .. }) if *found == key), "{refused:?}");
    }
    Ok(())
}

/// However many houses are expected, and whatever round it is, no layout sends more; and one of them sends as much.
#[test]
fn the_most_bytes_sent_are_those_of_the_largest_layout_of_any_attempt() -> Result<(), Box<dyn std::error::Error>> {
    let evaluated =
        "\n[evaluation]\nevery = 3\nheld_out = 0.1\nnoise_multiplier = 30.0\nloss_bound = 8.0\nbuckets = 16\n";
    let houses: String = (0..16)
        .map(|i| format!("[[house]]\nname = \"more-{i}\"\nsampling_rate = 0.02\nnominal_batch = 64\n"))
        .collect();
    let many =
        SAMPLE.replace("\nmax_cohort = 4\n", "\nmax_cohort = 20\n").replace("\nmay_vanish = 1\n", "\nmay_vanish = 0\n")
            + &houses;
    let many = many.replace("\nthreshold = 3\n", "\nthreshold = 11\n");
    for text in [SAMPLE.to_owned(), SAMPLE.to_owned() + evaluated, many.clone(), many + evaluated] {
        let charter = Charter::parse(&text)?;
        let (count, most) = (Terms::of(&charter)?.first_state()?.update_len(), most_sent_bytes(&charter)?);
        let rounds = &charter.rounds;
        let mut sent = Vec::new();
        for expected in rounds.min_cohort + rounds.may_vanish..=rounds.max_cohort {
            for round in 1..=6 {
                let round = protocol::RoundNumber::new(round)?;
                let layout = layout(&charter, round, expected as usize, rounds.may_vanish, count)?;
                sent.push(layout.sent_bytes(&committee(&charter)?) as u64);
            }
        }
        assert_eq!(sent.iter().max(), Some(&most));
    }
    Ok(())
}
