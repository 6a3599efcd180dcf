//! What follows from the charter for a client: the adapter's shapes, the first state, the layout, the divisor.

use adapter::{Adapter, AdapterError, Architecture, LoraConfig, Model, ServerOptimizer, State};
use protocol::charter::Optimizer;
use protocol::{Announcement, Charter};
use secure_sum::{Layout, LayoutError, Values};

/// The adapter's side of a charter.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The base model's shapes.
    pub model: Model,
    /// Which layers are adapted, and how.
    pub lora: LoraConfig,
    /// How a sum is applied.
    pub optimizer: ServerOptimizer,
    /// Seeds the frozen A matrices.
    pub seed: u64,
}

/// Why a charter that parses cannot be run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TermsError {
    /// An architecture that this version does not know.
    #[error("charter: model.architecture is `{found}`; this version knows `bert`")]
    Architecture {
        /// What the charter says.
        found: String,
    },
    /// `lora.lora_alpha` is not a whole number.
    #[error("charter: lora.lora_alpha is {found}; only whole numbers up to 65535 are known here")]
    Alpha {
        /// What the charter says.
        found: f64,
    },
    /// The adapter's values do not fit together.
    #[error("charter: {0}")]
    Adapter(#[from] AdapterError),
    /// No ciphertext layout fits.
    #[error("charter: no ciphertext layout fits: {0}")]
    Layout(#[from] LayoutError),
}

impl Terms {
    /// Reads the adapter's side of `charter`.
    ///
    /// # Errors
    /// [`TermsError`] naming the charter's key.
    pub fn of(charter: &Charter) -> Result<Self, TermsError> {
        let from = &charter.model;
        let architecture = match from.architecture.as_str() {
            "bert" => Architecture::Bert,
            other => return Err(TermsError::Architecture { found: other.to_owned() }),
        };
        let model = Model {
            architecture,
            num_hidden_layers: from.num_hidden_layers,
            hidden_size: from.hidden_size,
            intermediate_size: from.intermediate_size,
            num_labels: u32::try_from(from.labels.len()).unwrap_or(u32::MAX),
        };
        let alpha = charter.lora.lora_alpha;
        if alpha.fract() != 0.0 || !(1.0..=65_535.0).contains(&alpha) {
            return Err(TermsError::Alpha { found: alpha });
        }
        let targets: Vec<&str> = charter.lora.target_modules.iter().map(String::as_str).collect();
        let mut lora = LoraConfig::new(charter.lora.r, alpha as u32, &targets);
        lora.modules_to_save.clone_from(&charter.lora.modules_to_save);
        lora.base_model_name_or_path = Some(from.name.clone());
        let optimizer = match charter.optimizer {
            Optimizer::Adam { learning_rate, beta1, beta2, epsilon } => {
                ServerOptimizer::Adam { learning_rate, beta1, beta2, epsilon }
            }
            Optimizer::Sgd { learning_rate, momentum } => ServerOptimizer::Sgd { learning_rate, momentum },
        };
        Ok(Self { model, lora, optimizer, seed: charter.lora.seed })
    }

    /// The state before the first round, the same in every house.
    ///
    /// # Errors
    /// [`TermsError::Adapter`].
    pub fn first_state(&self) -> Result<State, TermsError> {
        Ok(State::new(Adapter::initial(&self.model, &self.lora, self.seed)?, self.optimizer.clone())?)
    }

    /// Reads a state that belongs to these terms.
    ///
    /// # Errors
    /// [`adapter::DecodeError`].
    pub fn read_state(&self, bytes: &[u8]) -> Result<State, adapter::DecodeError> {
        State::from_bytes(&self.model, &self.lora, &self.optimizer, bytes)
    }
}

/// The gradient that the integer 1 stands for.
#[must_use]
pub fn unit(charter: &Charter) -> f64 {
    charter.privacy.clipping_norm / charter.privacy.integer_norm as f64
}

/// The layout that an announced round over `count` trained weights must have.
///
/// # Errors
/// [`TermsError::Layout`].
pub fn layout(charter: &Charter, announcement: &Announcement, count: usize) -> Result<Layout, TermsError> {
    let expected = u32::try_from(announcement.expected.len()).unwrap_or(u32::MAX);
    let noise_deviation = charter.sum_deviation(expected, announcement.may_vanish);
    let values = Values { count, clamp: charter.privacy.clamp, noise_deviation };
    Ok(Layout::derive(announcement.expected.len(), values)?)
}
