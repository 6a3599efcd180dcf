//! What follows from a charter, in one place for both ends: were the aggregator and a house to derive it apart, every round
//! would be refused.
//!
//! 1. [`Terms::of`] reads the adapter's side of a charter: shapes, LoRA, optimizer, seed.
//! 2. [`Terms::first_state`] is what the first round starts from.
//! 3. [`RoundShape`] says which integers a round's vector holds, [`Norms`] what each part may weigh, [`layout`] how its
//!    ciphertexts are packed, [`committee`] who opens them, and [`RoundSum`] what an opened sum does to a state and says.
//! 4. [`check`] refuses a charter whose noise does not give the epsilon that it states, [`check_base_model`] a base model that is not the charter's.

mod apply;
mod base_model;
mod check;
mod metrics;
mod shape;
mod strategy;

pub use apply::{RoundSum, RoundSumError, applied, clipping_norm, is_over};
pub use base_model::{BaseModelError, check_base_model};
pub use check::{PrivacyTermsError, check, epsilon};
pub use metrics::{Metrics, MetricsShape};
pub use shape::{Norms, RoundShape, attempts, evaluations, fullest_round, layout, rounding, whole_run};
pub use strategy::{FedIt, FfaLora, RoLora, Strategy, strategy};

use adapter::{
    Adapter, AdapterError, Architecture, Head, LoraConfig, Model, Schedule, ServerOptimizer, State, Targets,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use protocol::Charter;
use protocol::charter::{Decay, Optimizer};
use secure_sum::{Committee, CommitteeError, LayoutError};

/// The adapter's side of a charter.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The base model's shapes.
    pub model: Model,
    /// Which layers are adapted, and how.
    pub lora: LoraConfig,
    /// How a sum is applied.
    pub optimizer: ServerOptimizer,
    /// How its step size goes over the run's rounds.
    pub schedule: Schedule,
    /// Seeds the A matrices.
    pub seed: u64,
    /// The head to start from: weight row by row, then bias; `None`: zero.
    pub initial_head: Option<Vec<f32>>,
}

/// Why a charter that parses still cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// `model.architecture` is not known.
    #[error("charter: model.architecture is `{found}`; known: bert, roberta, distilbert, llama, mistral, qwen2, qwen3")]
    Architecture {
        /// What the charter says.
        found: String,
    },
    /// Labels or heads that do not belong to the architecture.
    #[error("charter: {key} does not fit the architecture `{architecture}`: {rule}")]
    Head {
        /// The key.
        key: &'static str,
        /// The charter's architecture.
        architecture: String,
        /// What to write.
        rule: &'static str,
    },
    /// `lora.lora_alpha` is not a whole number.
    #[error("charter: lora.lora_alpha is {found}; write a whole number from 1 to 65535")]
    Alpha {
        /// What the charter says.
        found: f64,
    },
    /// A strategy that sums cannot run.
    #[error("charter: lora.strategy `{0}` needs single updates; write \"ffa-lora\", \"rolora\" or \"fedit\"")]
    Strategy(&'static str),
    /// `lora.initial_head` is not a head of this model.
    #[error("charter: lora.initial_head: {rule}")]
    InitialHead {
        /// What it must be.
        rule: String,
    },
    /// More labels than any head has rows.
    #[error("charter: model.labels has {0} entries; that is too many")]
    Labels(usize),
    /// The adapter's values do not fit together.
    #[error("charter: {0}")]
    Adapter(#[from] AdapterError),
    /// No ciphertext layout fits.
    #[error("charter: no ciphertext layout fits: {0}")]
    Layout(#[from] LayoutError),
    /// Threshold and members make no committee.
    #[error("charter: {0}")]
    Committee(#[from] CommitteeError),
    /// The numbers of `[privacy]` do not protect what they say.
    #[error(transparent)]
    Privacy(#[from] PrivacyTermsError),
}

impl Terms {
    /// Reads the adapter's side of `charter`.
    ///
    /// # Errors
    /// [`TermsError`] naming the charter's key.
    pub fn of(charter: &Charter) -> Result<Self, TermsError> {
        let model = adapter_model(&charter.model)?;
        let mut lora = lora_config(&charter.lora)?;
        lora.base_model_name_or_path = Some(charter.model.name.clone());
        let optimizer = match charter.optimizer {
            Optimizer::Adam { learning_rate, beta1, beta2, epsilon, .. } => {
                ServerOptimizer::Adam { learning_rate, beta1, beta2, epsilon }
            }
            Optimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, .. } => {
                ServerOptimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay }
            }
            Optimizer::Yogi { learning_rate, beta1, beta2, epsilon, .. } => {
                ServerOptimizer::Yogi { learning_rate, beta1, beta2, epsilon }
            }
            Optimizer::Sgd { learning_rate, momentum, .. } => ServerOptimizer::Sgd { learning_rate, momentum },
        };
        let schedule = charter.optimizer.schedule().map_or_else(Schedule::default, |schedule| Schedule {
            warmup: u64::from(schedule.warmup_rounds),
            decay: match schedule.decay {
                Decay::Constant => adapter::Decay::Constant,
                Decay::Linear => adapter::Decay::Linear,
                Decay::Cosine => adapter::Decay::Cosine,
            },
            steps: u64::from(charter.rounds.count),
            final_fraction: schedule.final_fraction,
        });
        let initial_head = charter.lora.initial_head.as_deref().map(|text| head(text, &model)).transpose()?;
        Ok(Self { model, lora, optimizer, schedule, seed: charter.lora.seed, initial_head })
    }

    /// The state before the first round, the same everywhere.
    ///
    /// # Errors
    /// [`TermsError::Adapter`].
    pub fn first_state(&self) -> Result<State, TermsError> {
        let mut adapter = Adapter::initial(&self.model, &self.lora, self.seed)?;
        if let Some(head) = &self.initial_head {
            adapter = adapter.with_head(head)?;
        }
        Ok(State::scheduled(adapter, self.optimizer.clone(), self.schedule)?)
    }

    /// Reads a state that belongs to these terms.
    ///
    /// # Errors
    /// [`adapter::DecodeError`].
    pub fn read_state(&self, bytes: &[u8]) -> Result<State, adapter::DecodeError> {
        State::from_bytes(&self.model, &self.lora, &self.optimizer, &self.schedule, bytes)
    }
}

/// The base model of a charter, as an adapter needs to know it.
///
/// # Errors
/// [`TermsError::Architecture`], [`TermsError::Head`], [`TermsError::Labels`].
pub fn adapter_model(from: &protocol::charter::Model) -> Result<Model, TermsError> {
    let refuse = |_| TermsError::Architecture { found: from.architecture.clone() };
    let architecture = Architecture::from_model_type(&from.architecture).map_err(refuse)?;
    let (words, labels) = (architecture.is_language_model(), from.labels.len());
    if words == (labels > 0) {
        let rule = if words { "a language model has none: write []" } else { "name at least two" };
        return Err(TermsError::Head { key: "model.labels", architecture: from.architecture.clone(), rule });
    }
    if words && from.head != protocol::charter::Head::default() {
        let rule = "a language model has none of its own: leave it out";
        return Err(TermsError::Head { key: "model.head", architecture: from.architecture.clone(), rule });
    }
    if words != from.attention.is_some() {
        let rule = if words { "write num_attention_heads, num_key_value_heads and head_dim" } else { "leave it out" };
        return Err(TermsError::Head { key: "model.attention", architecture: from.architecture.clone(), rule });
    }
    Ok(Model {
        architecture,
        num_hidden_layers: from.num_hidden_layers,
        hidden_size: from.hidden_size,
        intermediate_size: from.intermediate_size,
        num_labels: u32::try_from(labels).map_err(|_| TermsError::Labels(labels))?,
        head: match from.head {
            protocol::charter::Head::Mean => Head::Mean,
            protocol::charter::Head::SequenceClassification => Head::SequenceClassification,
        },
        attention: from.attention.map(|sizes| adapter::AttentionSizes {
            num_attention_heads: sizes.num_attention_heads,
            num_key_value_heads: sizes.num_key_value_heads,
            head_dim: sizes.head_dim,
        }),
    })
}

/// Whether a charter is for a language model, which learns completions of prompts.
#[must_use]
pub fn is_language_model(charter: &Charter) -> bool {
    Architecture::from_model_type(&charter.model.architecture).is_ok_and(Architecture::is_language_model)
}

/// The LoRA settings of a charter, without the base model's name.
///
/// # Errors
/// [`TermsError::Alpha`], [`TermsError::Strategy`].
pub fn lora_config(from: &protocol::charter::Lora) -> Result<LoraConfig, TermsError> {
    use protocol::charter::TargetModules;
    Ok(LoraConfig {
        r: from.r,
        lora_alpha: whole(from.lora_alpha)?,
        target_modules: match &from.target_modules {
            TargetModules::Names(names) => Targets::Names(names.clone()),
            TargetModules::Pattern(pattern) => Targets::Pattern(pattern.clone()),
        },
        layers_to_transform: from.layers_to_transform.clone(),
        modules_to_save: from.modules_to_save.clone(),
        use_rslora: from.use_rslora,
        lora_dropout: from.lora_dropout,
        lora_bias: from.lora_bias,
        train: strategy(from.strategy)?.trains(),
        base_model_name_or_path: None,
    })
}

/// The members that hold key shares, and how many of them open.
///
/// # Errors
/// [`TermsError::Committee`].
pub fn committee(charter: &Charter) -> Result<Committee, TermsError> {
    let members = u8::try_from(charter.committee_size()).unwrap_or(u8::MAX);
    Ok(Committee::new(members, charter.committee.threshold)?)
}

/// The gradient that the integer 1 stands for.
#[must_use]
pub fn unit(charter: &Charter) -> f64 {
    charter.privacy.clipping_norm / charter.privacy.integer_norm as f64
}

/// Reads `lora.initial_head`.
fn head(text: &str, model: &Model) -> Result<Vec<f32>, TermsError> {
    let refuse = |rule: String| TermsError::InitialHead { rule };
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| refuse(format!("is not base64: {error}")))?;
    if model.head_layers().len() != 1 {
        return Err(refuse("is of one layer, and this model's head has two: leave it out".to_owned()));
    }
    let expected = model.num_labels as usize * (model.hidden_size as usize + 1);
    let (floats, rest) = bytes.as_chunks::<4>();
    if floats.len() != expected || !rest.is_empty() {
        let rule = format!("holds {} bytes, a head of this model has {}", bytes.len(), 4 * expected);
        return Err(refuse(rule));
    }
    let values: Vec<f32> = floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let finite = values.iter().all(|value| value.is_finite());
    if finite { Ok(values) } else { Err(refuse("holds a value that is not finite".to_owned())) }
}

/// The text of `lora.initial_head` for a head: weight row by row, then bias.
#[must_use]
pub fn head_text(head: &[f32]) -> String {
    BASE64_STANDARD.encode(head.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
}

fn whole(alpha: f64) -> Result<u32, TermsError> {
    let fits = alpha.fract() == 0.0 && (1.0..=65_535.0).contains(&alpha);
    if fits { Ok(alpha as u32) } else { Err(TermsError::Alpha { found: alpha }) }
}

#[cfg(test)]
mod tests {
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
        let lin = [
            ("architecture = \"bert\"", "architecture = \"distilbert\""),
            (targets, "target_modules = \"all-linear\""),
        ];
        let terms = with(&lin)?;
        assert_eq!(terms.model.targets(&terms.lora)?.len(), 6 * 6);
        let narrowed =
            [("# layers_to_transform = [4, 5]", "layers_to_transform = [4, 5]"), ("# use_rslora", "use_rslora")];
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

    /// Widths of MiniLM's, with three labels: a layer before the labels where the family has one of its own, and a bias beside each B.
    #[test]
    fn transformers_own_heads_and_biases_are_trained_where_the_charter_says_so()
    -> Result<(), Box<dyn std::error::Error>> {
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
        }
        assert!(of("distilbert", "[\"classifier\"]", "").is_err());
        let head = format!("initial_head = {:?}", head_text(&[0.0; 3 * 385]));
        assert!(of("bert", "[\"classifier\"]", &head).is_ok());
        let refused =
            of("roberta", "[\"classifier\"]", &head).err().map_or_else(String::new, |error| error.to_string());
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
}
