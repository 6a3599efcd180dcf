//! What follows from a charter, in one place for both ends: were the aggregator and a house to derive it apart, every round
//! would be refused.
//!
//! 1. [`Terms::of`] reads the adapter's side of a charter: shapes, LoRA, optimizer, seed.
//! 2. [`Terms::first_state`] is what the first round starts from.
//! 3. [`RoundShape`] says which integers a round's vector holds, [`Norms`] what each part may weigh, [`layout`] how its
//!    ciphertexts are packed, [`committee`] who opens them, and [`RoundSum`] what an opened sum does to a state and says.
//! 4. [`check`] refuses a charter whose noise does not give the epsilon that it states, [`check_base_model`] a base model that is not the charter's,
//!    [`check_record`] a record that does not start where the charter does.

mod apply;
mod base_model;
mod check;
mod metrics;
mod record;
mod shape;
mod strategy;
#[cfg(test)]
mod tests;

pub use apply::{RoundSum, RoundSumError, applied, clipping_norm, is_over};
pub use base_model::{BaseModelError, check_base_model};
pub use check::{PrivacyTermsError, check, epsilon};
pub use metrics::{CurvePoint, Estimate, Metrics, MetricsRelease, MetricsShape};
pub use record::{RecordTermsError, check_record};
pub use shape::{
    Norms, RoundShape, attempts, evaluations, fullest_round, layout, most_sent_bytes, rounding, whole_run,
};
pub use strategy::{FedIt, FfaLora, RoLora, Strategy, strategy};

use adapter::{
    Adapter, AdapterError, Architecture, Head, LoraConfig, Model, Schedule, ServerOptimizer, State, Targets, Trained,
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

/// All that a charter trains, in some round at least: adapted layers, the head, biases.
///
/// # Errors
/// [`TermsError`] naming the charter's key.
pub fn trained(charter: &Charter) -> Result<Vec<Trained>, TermsError> {
    Ok(adapter_model(&charter.model)?.trained(&lora_config(&charter.lora)?)?)
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
        bias: match from.bias {
            None | Some(protocol::charter::Bias::None) => adapter::Bias::None,
            Some(protocol::charter::Bias::LoraOnly) => adapter::Bias::LoraOnly,
            Some(protocol::charter::Bias::All) => adapter::Bias::All,
        },
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
