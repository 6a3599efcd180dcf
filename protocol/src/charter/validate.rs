//! The rules of a charter, in the order of its sections.

use std::collections::BTreeSet;

use super::error::CharterError;
use super::lora::{Lora, Strategy, TargetModules};
use super::optimizer::{Decay, Optimizer, Schedule};
use super::rule::{broken, fraction, positive, range, rule, text, texts};
use super::sections::{
    AdaptiveClipping, Clipping, Evaluation, Local, LocalOptimizer, Model, Privacy, PrivacyMode, ReleasePolicy, Rounds,
    Terms,
};
use crate::PROTOCOL_VERSION;
use crate::ids::HouseName;
use crate::roster::{MAX_MEMBERS, MAX_ROSTER};
use crate::signed::{AGGREGATOR, PublicKey};

/// The longest deadline: seven days.
const MAX_DEADLINE_MS: u64 = 7 * 24 * 3600 * 1000;

impl Terms {
    /// How many houses hold key shares.
    pub fn committee_houses(&self) -> usize {
        self.committee.houses.as_ref().map_or(self.houses.len(), Vec::len)
    }

    /// k: houses that hold key shares, and trustees.
    pub fn committee_size(&self) -> usize {
        self.committee_houses() + self.trustees.len()
    }

    /// c = 2t - k - 1: committee members that may collude with the aggregator without two sets of one round being opened.
    pub fn colluding_members_tolerated(&self) -> usize {
        (2 * usize::from(self.committee.threshold)).saturating_sub(self.committee_size() + 1)
    }

    /// Attempts of the whole run that a house can be charged for, which is what the charter's epsilon is for: as many as
    /// there are rounds when `rounds.charged` is left out.
    pub fn charged_rounds(&self) -> u32 {
        self.rounds.charged.unwrap_or(self.rounds.count)
    }
}

/// Checks all of it; gives the aggregator's key back.
pub(super) fn check(terms: &Terms) -> Result<PublicKey, CharterError> {
    let version = terms.protocol_version;
    rule(version == PROTOCOL_VERSION, "protocol_version", || {
        (format!("{version} is not spoken here"), format!("write {PROTOCOL_VERSION}"))
    })?;
    let mut key = [0; 32];
    let key = hex::decode_to_slice(&terms.aggregator_key, &mut key).ok().and_then(|()| PublicKey::from_bytes(&key));
    let key =
        key.ok_or_else(|| broken("aggregator_key", "is no Ed25519 public key", "write its 64 hexadecimal digits"))?;
    check_model(&terms.model)?;
    check_lora(&terms.lora)?;
    check_optimizer(&terms.optimizer, &terms.rounds)?;
    check_privacy(&terms.privacy)?;
    check_local(&terms.local, terms.privacy.mode)?;
    check_turns(terms)?;
    if let Some(adaptive) = &terms.adaptive_clipping {
        check_adaptive_clipping(adaptive, &terms.privacy)?;
    }
    if let Some(evaluation) = &terms.evaluation {
        check_evaluation(evaluation)?;
    }
    check_members(terms)?;
    check_rounds(terms, &terms.rounds)?;
    check_committee(terms)?;
    Ok(key)
}

fn check_model(model: &Model) -> Result<(), CharterError> {
    text("model.name", &model.name)?;
    text("model.architecture", &model.architecture)?;
    range("model.num_hidden_layers", model.num_hidden_layers, 1, 1024)?;
    range("model.hidden_size", model.hidden_size, 1, 65_536)?;
    range("model.intermediate_size", model.intermediate_size, 1, 1_048_576)?;
    range("model.max_tokens", model.max_tokens, 1, 1_048_576)?;
    if let Some(attention) = &model.attention {
        range("model.attention.num_attention_heads", attention.num_attention_heads, 1, 1024)?;
        range("model.attention.num_key_value_heads", attention.num_key_value_heads, 1, 1024)?;
        range("model.attention.head_dim", attention.head_dim, 1, 1024)?;
    }
    // A language model has none.
    let least = if model.labels.is_empty() { 0 } else { 2 };
    texts("model.labels", &model.labels, least, 65_536)
}

fn check_lora(lora: &Lora) -> Result<(), CharterError> {
    range("lora.r", lora.r, 1, 1024)?;
    positive("lora.lora_alpha", lora.lora_alpha)?;
    match &lora.target_modules {
        TargetModules::Names(names) => texts("lora.target_modules", names, 1, 64)?,
        TargetModules::Pattern(pattern) => text("lora.target_modules", pattern)?,
    }
    if let Some(layers) = &lora.layers_to_transform {
        rule((1..=1024).contains(&layers.len()), "lora.layers_to_transform", || {
            (format!("has {} entries", layers.len()), "name 1 to 1024 layers, or leave it out for all".to_owned())
        })?;
    }
    texts("lora.modules_to_save", &lora.modules_to_save, 0, 64)?;
    rule((0.0..1.0).contains(&lora.lora_dropout), "lora.lora_dropout", || {
        (format!("is {}", lora.lora_dropout), "write a number of at least 0 and below 1".to_owned())
    })?;
    check_strategy(lora.strategy)
}

/// One clipping norm cannot follow the updates of two factors by turns: where theirs differ, it would swing between them and settle at neither.
fn check_turns(terms: &Terms) -> Result<(), CharterError> {
    let both = terms.lora.strategy == Strategy::RoLora && terms.adaptive_clipping.is_some();
    rule(!both, "adaptive_clipping", || {
        let why = "follows one norm, and `rolora` has one of B and one of A, by turns".to_owned();
        (why, "leave it out, or write the strategy `ffa-lora`".to_owned())
    })
}

/// An aggregator that adds up ciphertexts runs what is a function of the sum alone.
fn check_strategy(strategy: Strategy) -> Result<(), CharterError> {
    let (why, instead) = match strategy {
        Strategy::FfaLora | Strategy::FedIt | Strategy::RoLora => return Ok(()),
        Strategy::Flora => ("stacks every house's A and B side by side", "`fedit`, which averages them"),
        Strategy::FedexLora => (
            "needs the product of every house's B and A",
            "`ffa-lora`, where the mean of the products is the product of the means",
        ),
        Strategy::LoraFair => {
            ("needs the product of every house's B and A", "`ffa-lora`, where there is nothing to correct")
        }
        Strategy::FlexLora => {
            ("needs the product of every house's B and A, of its own rank", "`ffa-lora`, with one rank for all")
        }
    };
    let why = format!("`{}` {why}, and here nothing but a sum over houses is ever opened", strategy.as_str());
    Err(broken("lora.strategy", why, format!("the nearest that works is {instead}")))
}

fn check_optimizer(optimizer: &Optimizer, rounds: &Rounds) -> Result<(), CharterError> {
    match *optimizer {
        Optimizer::Adam { learning_rate, beta1, beta2, epsilon, .. }
        | Optimizer::Yogi { learning_rate, beta1, beta2, epsilon, .. } => {
            check_moments(learning_rate, [beta1, beta2], epsilon)?;
        }
        Optimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, .. } => {
            check_moments(learning_rate, [beta1, beta2], epsilon)?;
            rule((0.0..1.0).contains(&(learning_rate * weight_decay)), "optimizer.weight_decay", || {
                let why = format!("{weight_decay} takes no share of a weight off it at learning_rate {learning_rate}");
                (why, "write at least 0 and below 1 / learning_rate, say 0.01".to_owned())
            })?;
        }
        Optimizer::Sgd { learning_rate, momentum, .. } => {
            positive("optimizer.learning_rate", learning_rate)?;
            fraction("optimizer.momentum", momentum)?;
        }
    }
    optimizer.schedule().map_or(Ok(()), |schedule| check_schedule(schedule, rounds))
}

fn check_moments(learning_rate: f64, [beta1, beta2]: [f64; 2], epsilon: f64) -> Result<(), CharterError> {
    positive("optimizer.learning_rate", learning_rate)?;
    fraction("optimizer.beta1", beta1)?;
    fraction("optimizer.beta2", beta2)?;
    positive("optimizer.epsilon", epsilon)
}

fn check_schedule(schedule: &Schedule, rounds: &Rounds) -> Result<(), CharterError> {
    let (warmup, last) = (schedule.warmup_rounds, schedule.final_fraction);
    rule(warmup < rounds.count, "optimizer.schedule.warmup_rounds", || {
        let why = format!("{warmup} of {} rounds leave none at the whole step size", rounds.count);
        (why, "write less than rounds.count".to_owned())
    })?;
    rule((0.0..=1.0).contains(&last), "optimizer.schedule.final_fraction", || {
        (format!("{last} is no share of the learning rate"), "write 0.0 to 1.0".to_owned())
    })?;
    rule(last == 0.0 || schedule.decay != Decay::Constant, "optimizer.schedule.final_fraction", || {
        let why = "a step size that does not decay does not end anywhere".to_owned();
        (why, "leave it out, or write decay = \"linear\" or \"cosine\"".to_owned())
    })
}

fn check_privacy(privacy: &Privacy) -> Result<(), CharterError> {
    match privacy.mode {
        PrivacyMode::None => {
            let silent = privacy.epsilon == 0.0 && privacy.delta == 0.0 && privacy.noise_multiplier == 0.0;
            rule(silent, "privacy.epsilon", || {
                let why = "mode `none` promises nothing, so epsilon, delta and noise_multiplier say so";
                (why.to_owned(), "write 0.0 for all three, or another mode".to_owned())
            })?;
        }
        PrivacyMode::RecordShared | PrivacyMode::RecordLocal | PrivacyMode::Client => {
            positive("privacy.epsilon", privacy.epsilon)?;
            positive("privacy.noise_multiplier", privacy.noise_multiplier)?;
            rule(privacy.delta > 0.0 && privacy.delta < 1.0, "privacy.delta", || {
                (format!("{} is not a small probability", privacy.delta), "write about 1e-5".to_owned())
            })?;
        }
    }
    positive("privacy.clipping_norm", privacy.clipping_norm)?;
    let flat = privacy.clipping == Clipping::Flat || privacy.mode != PrivacyMode::Client;
    rule(flat, "privacy.clipping", || {
        ("mode `client` clips a house's update as a whole".to_owned(), "write \"flat\", or leave it out".to_owned())
    })?;
    range("privacy.integer_norm", privacy.integer_norm, 1, 1 << 40)?;
    range("privacy.clamp", privacy.clamp, 1, 1 << 40)?;
    // Every client can subtract its own part, so nobody may assume that none colludes.
    range("privacy.colluders", privacy.colluders, 1, MAX_ROSTER as u64)
}

fn check_local(local: &Local, mode: PrivacyMode) -> Result<(), CharterError> {
    range("local.steps", local.steps, 1, 10_000)?;
    // What `adapter` takes of a step size.
    rule(local.learning_rate > 1e-20 && local.learning_rate <= 1e6, "local.learning_rate", || {
        (
            format!("{} is no step size", local.learning_rate),
            "write a number above 1e-20, up to 1e6, say 0.1".to_owned(),
        )
    })?;
    range("local.batch", local.batch, 1, 1 << 20)?;
    rule(local.steps == 1 || matches!(mode, PrivacyMode::RecordLocal | PrivacyMode::Client), "local.steps", || {
        let why = format!("mode `{}` takes one global step a round", mode.as_str());
        (why, "write 1, or mode `record-local` or `client`".to_owned())
    })?;
    fraction("local.momentum", local.momentum)?;
    rule(local.proximal >= 0.0 && local.proximal.is_finite(), "local.proximal", || {
        (format!("{} draws nothing back", local.proximal), "write 0.0 or more, say 0.01".to_owned())
    })?;
    // Each step of plain descent multiplies the distance by 1 - learning_rate * proximal.
    let overshoots = local.optimizer == LocalOptimizer::Sgd && local.learning_rate * local.proximal >= 2.0;
    rule(!overshoots, "local.proximal", || {
        let why = format!("{} at a step size of {} throws a copy further off", local.proximal, local.learning_rate);
        (why, "write less than 2 / local.learning_rate".to_owned())
    })?;
    rule((0.0..1.0).contains(&(local.learning_rate * local.weight_decay)), "local.weight_decay", || {
        let why = format!("{} takes no share of a weight off it", local.weight_decay);
        (why, "write at least 0 and below 1 / local.learning_rate, say 0.01".to_owned())
    })?;
    let adamw = local.optimizer == LocalOptimizer::AdamW;
    let of_kinds = [
        ("local.momentum", local.momentum != 0.0 && adamw, "`adamw` has its own", "leave it out, or write `sgd`"),
        ("local.weight_decay", local.weight_decay != 0.0 && !adamw, "`sgd` has none", "leave it out, or write `adamw`"),
    ];
    for (key, wrong, why, instead) in of_kinds {
        rule(!wrong, key, || (why.to_owned(), instead.to_owned()))?;
    }
    // The other modes send gradients: what else moved a copy would be in no sum.
    let of_copies = [
        ("local.optimizer", adamw),
        ("local.momentum", local.momentum != 0.0),
        ("local.proximal", local.proximal != 0.0),
    ];
    for (key, used) in of_copies {
        rule(!used || mode == PrivacyMode::Client, key, || {
            let why = format!("mode `{}` adds up gradients, not how far a copy moved", mode.as_str());
            (why, "leave it out, or write mode `client`".to_owned())
        })?;
    }
    Ok(())
}

fn check_adaptive_clipping(adaptive: &AdaptiveClipping, privacy: &Privacy) -> Result<(), CharterError> {
    rule(privacy.mode == PrivacyMode::Client, "adaptive_clipping", || {
        let why = format!("mode `{}` clips to the charter's norm", privacy.mode.as_str());
        (why, "leave the section out, or write mode `client`".to_owned())
    })?;
    rule(adaptive.quantile > 0.0 && adaptive.quantile < 1.0, "adaptive_clipping.quantile", || {
        (format!("{} is no quantile", adaptive.quantile), "write a number between 0 and 1, say 0.5".to_owned())
    })?;
    positive("adaptive_clipping.learning_rate", adaptive.learning_rate)?;
    positive("adaptive_clipping.noise_multiplier", adaptive.noise_multiplier)?;
    rule(adaptive.noise_multiplier > privacy.noise_multiplier, "adaptive_clipping.noise_multiplier", || {
        let why = format!("{} leaves nothing of the sensitivity for the update", adaptive.noise_multiplier);
        (why, format!("write well above privacy.noise_multiplier {}, say ten times", privacy.noise_multiplier))
    })
}

fn check_evaluation(evaluation: &Evaluation) -> Result<(), CharterError> {
    range("evaluation.every", evaluation.every, 1, 1_000_000)?;
    rule(evaluation.held_out > 0.0 && evaluation.held_out < 1.0, "evaluation.held_out", || {
        (
            format!("{} is no share of the units", evaluation.held_out),
            "write a number between 0 and 1, say 0.1".to_owned(),
        )
    })?;
    positive("evaluation.noise_multiplier", evaluation.noise_multiplier)?;
    positive("evaluation.loss_bound", evaluation.loss_bound)?;
    range("evaluation.buckets", evaluation.buckets, 0, 1024)?;
    if let Some(patience) = evaluation.patience {
        range("evaluation.patience", patience, 1, 1_000_000)?;
    }
    let least = evaluation.min_improvement;
    rule(least >= 0.0 && least.is_finite(), "evaluation.min_improvement", || {
        (format!("{least} is no improvement"), "write 0.0 or more, in nats".to_owned())
    })?;
    rule(least == 0.0 || evaluation.patience.is_some(), "evaluation.min_improvement", || {
        ("nothing ends early without evaluation.patience".to_owned(), "leave it out, or write a patience".to_owned())
    })
}

fn check_members(terms: &Terms) -> Result<(), CharterError> {
    let mut names = BTreeSet::new();
    let trustees = terms.trustees.iter().map(|trustee| ("trustee.name", &trustee.name));
    for (key, name) in terms.houses.iter().map(|house| ("house.name", &house.name)).chain(trustees) {
        rule(name.as_str() != AGGREGATOR, key, || {
            (format!("`{AGGREGATOR}` is the aggregator's name"), "choose another".to_owned())
        })?;
        rule(names.insert(name), key, || (format!("`{name}` is there twice"), "give each member its own".to_owned()))?;
    }
    for house in &terms.houses {
        let rate = house.sampling_rate;
        rule(terms.privacy.mode != PrivacyMode::Client || rate == 1.0, "house.sampling_rate", || {
            let why = format!("mode `client` counts `{}` in every round that it joins", house.name);
            (why, "write 1.0".to_owned())
        })?;
        rule(rate > 0.0 && rate <= 1.0, "house.sampling_rate", || {
            (format!("{rate} of `{}` is no chance", house.name), "write a number above 0, at most 1".to_owned())
        })?;
        range("house.nominal_batch", house.nominal_batch, 1, 1 << 30)?;
    }
    Ok(())
}

fn check_rounds(terms: &Terms, rounds: &Rounds) -> Result<(), CharterError> {
    range("rounds.count", rounds.count, 1, 1_000_000)?;
    range("rounds.max_attempts", rounds.max_attempts, 1, 1000)?;
    let charged = terms.charged_rounds();
    rule(charged >= rounds.count, "rounds.charged", || {
        (
            format!("{charged} attempts do not suffice for {} rounds", rounds.count),
            format!("write at least {}", rounds.count),
        )
    })?;
    let colluders = u64::from(terms.privacy.colluders);
    let (min, max, vanish) = (u64::from(rounds.min_cohort), u64::from(rounds.max_cohort), u64::from(rounds.may_vanish));
    rule(min >= colluders + 2, "rounds.min_cohort", || {
        let why = format!("of {min} houses {colluders} may collude, which leaves fewer than two honest ones");
        (why, format!("write at least {}", colluders + 2))
    })?;
    rule(max >= min + vanish, "rounds.max_cohort", || {
        let why = format!("an expected set of {max} of which {vanish} may vanish can fall below min_cohort {min}");
        (why, format!("write at least {}, or a smaller may_vanish", min + vanish))
    })?;
    let houses = terms.houses.len() as u64;
    rule(max <= houses, "rounds.max_cohort", || {
        (format!("{max} is more than the {houses} houses"), format!("write at most {houses}"))
    })?;
    range("rounds.open_ms", rounds.open_ms, 3, MAX_DEADLINE_MS)?;
    let ordered = 0 < rounds.submit_at_ms && rounds.submit_at_ms < rounds.close_ms && rounds.close_ms < rounds.open_ms;
    rule(ordered, "rounds.close_ms", || {
        let why = "the deadlines are not in order";
        (why.to_owned(), "write 0 < submit_at_ms < close_ms < open_ms".to_owned())
    })
}

fn check_committee(terms: &Terms) -> Result<(), CharterError> {
    if let Some(named) = &terms.committee.houses {
        check_committee_houses(terms, named)?;
    }
    let (k, t) = (terms.committee_size(), usize::from(terms.committee.threshold));
    let houses = terms.committee_houses();
    let majority = k / 2 + 1;
    rule(k <= MAX_MEMBERS, "committee.houses", || {
        let why = format!("{k} members would hold key shares");
        (why, format!("name at most {MAX_MEMBERS}, trustees among them"))
    })?;
    rule(terms.houses.len() + terms.trustees.len() <= MAX_ROSTER, "house", || {
        (format!("there are {}", terms.houses.len()), format!("name at most {MAX_ROSTER} members"))
    })?;
    let sealed_to = terms.houses.len();
    rule(terms.release.policy == ReleasePolicy::Aggregator || sealed_to <= MAX_MEMBERS, "release.policy", || {
        let why = format!("under `clients` every answer is sealed to every house, and there are {sealed_to}");
        (why, format!("write `aggregator`, or name at most {MAX_MEMBERS} houses"))
    })?;
    rule(t >= majority && t <= k, "committee.threshold", || {
        let why =
            format!("two different sets could be opened: with {k} members 2t must be above {k} and t at most {k}");
        (why, format!("write {majority} to {k}"))
    })?;
    rule(t <= houses, "committee.threshold", || {
        let why = format!("an outcome counts when {t} houses of the committee signed it, and it has {houses}");
        (why, format!("write at most {houses}, or name fewer trustees"))
    })
}

fn check_committee_houses(terms: &Terms, named: &[HouseName]) -> Result<(), CharterError> {
    let known: BTreeSet<&HouseName> = terms.houses.iter().map(|house| &house.name).collect();
    let mut seen = BTreeSet::new();
    for name in named {
        rule(known.contains(name), "committee.houses", || {
            (
                format!("`{name}` is no house"),
                "name houses of this charter; trustees are members by themselves".to_owned(),
            )
        })?;
        rule(seen.insert(name), "committee.houses", || {
            (format!("`{name}` is there twice"), "name each once".to_owned())
        })?;
    }
    Ok(())
}
