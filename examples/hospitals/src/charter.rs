//! The charter of the example's federation, as the model builder would write it.

use common::Contract;
use protocol::charter::{Head, Local, Lora, Model, Optimizer, Privacy, ReleasePolicy, Strategy, TargetModules};

use crate::model;
use crate::options::Options;
use crate::plan::Plan;
use crate::task::{CLIPPING_NORM, INTEGER_NORM, LORA_ALPHA, MAX_TOKENS, R, TARGETS};

/// What differs from one charter of this example to another.
#[derive(Debug, Clone)]
pub struct Setting<'a> {
    /// The aggregator's public signing key, in hexadecimal; empty in a template that `plainchant-aggregator init` completes.
    pub aggregator_key: &'a str,
    /// The base model's shape.
    pub model: &'a adapter::Model,
    /// The classes.
    pub labels: &'a [String],
    /// The houses and their numbers of rows.
    pub houses: &'a [(String, usize)],
    /// Every house's sampling rate.
    pub rate: f64,
    /// Seeds the adapter's A matrices.
    pub seed: u64,
    /// Which factors of the adapter are trained.
    pub strategy: Strategy,
    /// A head to start from.
    pub initial_head: Option<&'a [f32]>,
    /// What a house does before it contributes.
    pub local: Local,
    /// Who is protected, by how much noise, and how gradients are clipped.
    pub privacy: Privacy,
    /// The optimizer's step size.
    pub learning_rate: f64,
    /// Its momentum.
    pub momentum: f64,
    /// Rounds.
    pub rounds: u32,
    /// How many houses may vanish in a round.
    pub may_vanish: u32,
    /// When a submission leaves, in milliseconds after the announcement.
    pub submit_at_ms: u64,
    /// Who opens a round's sum.
    pub release: ReleasePolicy,
}

/// The privacy of the example's federation.
pub fn privacy(plan: &Plan, options: &Options) -> Privacy {
    common::noise::record_shared(options.epsilon, plan.noise_multiplier, CLIPPING_NORM, INTEGER_NORM)
}

impl<'a> Setting<'a> {
    /// The charter of this setting.
    ///
    /// # Errors
    /// A digest that is none.
    pub fn contract(&self) -> anyhow::Result<Contract<'a>> {
        Ok(Contract {
            name: "icd10-hospitals",
            aggregator_key: self.aggregator_key,
            model: Model {
                name: model::NAME.to_owned(),
                sha256: model::WEIGHTS_SHA256.parse()?,
                settings_sha256: None,
                architecture: "bert".to_owned(),
                num_hidden_layers: self.model.num_hidden_layers,
                hidden_size: self.model.hidden_size,
                intermediate_size: self.model.intermediate_size,
                labels: self.labels.to_vec(),
                head: Head::default(),
                max_tokens: MAX_TOKENS,
                attention: None,
            },
            lora: Lora {
                r: R,
                lora_alpha: f64::from(LORA_ALPHA),
                target_modules: TargetModules::Names(TARGETS.map(str::to_owned).to_vec()),
                layers_to_transform: None,
                use_rslora: false,
                lora_dropout: 0.0,
                lora_bias: false,
                bias: None,
                modules_to_save: vec!["classifier".to_owned()],
                seed: self.seed,
                strategy: self.strategy,
                initial_head: self.initial_head.map(terms::head_text),
            },
            houses: self.houses,
            rate: self.rate,
            local: self.local.clone(),
            privacy: self.privacy.clone(),
            optimizer: Optimizer::Sgd { learning_rate: self.learning_rate, momentum: self.momentum, schedule: None },
            rounds: self.rounds,
            may_vanish: self.may_vanish,
            submit_at_ms: self.submit_at_ms,
            release: self.release,
        })
    }
}

/// Names of hospitals.
pub fn house_names(count: usize) -> Vec<String> {
    common::house_names(&["st-mary", "north-clinic", "lakeside", "county-general"], count)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use clap::Parser as _;
    use common::noise::COLLUDERS;
    use privacy::NoiseShare;
    use protocol::charter::Charter;

    use super::*;

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn charter(houses: usize, more: &[&str]) -> Charter {
        let count = houses.to_string();
        let args = ["hospitals", "--hospitals", &count].into_iter().chain(more.iter().copied());
        let options = Options::parse_from(args);
        let share = NoiseShare::new(0.8, INTEGER_NORM, houses, 0, COLLUDERS).unwrap();
        let plan = Plan {
            rounds: 50,
            epsilon: 2.5,
            noise_multiplier: 0.8,
            cores: 2,
            threads: 1,
            submit_at: Duration::from_millis(3500),
            batch_seconds: 2.0,
            share,
        };
        let model = adapter::Model {
            architecture: adapter::Architecture::Bert,
            num_hidden_layers: 6,
            hidden_size: 384,
            intermediate_size: 1536,
            num_labels: 2,
            head: Default::default(),
            attention: None,
        };
        let houses: Vec<(String, usize)> = house_names(houses).into_iter().map(|name| (name, 3000)).collect();
        let labels = ["a \"quoted\" label".to_owned(), "b".to_owned()];
        let setting = Setting {
            aggregator_key: KEY,
            model: &model,
            labels: &labels,
            houses: &houses,
            rate: 0.02,
            seed: options.seed,
            strategy: Strategy::FfaLora,
            initial_head: None,
            local: Local::default(),
            privacy: privacy(&plan, &options),
            learning_rate: 4.0,
            momentum: 0.9,
            rounds: plan.rounds,
            may_vanish: u32::from(options.may_vanish),
            submit_at_ms: 3500,
            release: options.policy.release(),
        };
        Charter::parse(&setting.contract().unwrap().text().unwrap()).unwrap()
    }

    #[test]
    fn the_charter_it_writes_is_one_and_says_what_was_asked() {
        let four = charter(4, &["--epsilon", "2.5", "--seed", "7", "--policy", "aggregator"]);
        assert_eq!((four.rounds.min_cohort, four.rounds.may_vanish, four.committee.threshold), (4, 0, 3));
        assert_eq!((four.privacy.epsilon, four.privacy.delta, four.lora.seed), (2.5, 1e-5, 7));
        assert_eq!(four.release.policy, ReleasePolicy::Aggregator);
        assert_eq!(four.model.labels, ["a \"quoted\" label", "b"]);
        assert_eq!(four.houses.iter().map(|house| house.nominal_batch).sum::<u32>(), 240);
        assert_eq!(four.colluding_members_tolerated(), 1);
    }

    #[test]
    fn it_is_one_for_other_numbers_of_houses_too() {
        assert_eq!(charter(4, &["--may-vanish", "1"]).rounds.min_cohort, 3);
        for (houses, threshold, colluders) in [(3, 3, 2), (10, 7, 3), (16, 11, 5)] {
            let charter = charter(houses, &[]);
            assert_eq!(usize::from(charter.committee.threshold), threshold);
            assert_eq!(charter.colluding_members_tolerated(), colluders);
        }
    }
}
