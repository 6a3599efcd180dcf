//! What follows from the charter: the adapter's shapes, the first state, and the layout of a round's ciphertexts.

use adapter::{Adapter, AdapterError, Architecture, LoraConfig, Model, ServerOptimizer, State};
use protocol::Charter;
use protocol::charter::Optimizer;
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
}

/// Why a charter that parses still cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// `model.architecture` is not known.
    #[error("charter: model.architecture is `{found}`; this version knows `bert`")]
    Architecture {
        /// What the charter says.
        found: String,
    },
    /// `lora.lora_alpha` is not a whole number.
    #[error("charter: lora.lora_alpha is {found}; write a whole number from 1 to 65535")]
    Alpha {
        /// What the charter says.
        found: f64,
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
            num_labels: u32::try_from(from.labels.len()).map_err(|_| TermsError::Labels(from.labels.len()))?,
        };
        let targets: Vec<&str> = charter.lora.target_modules.iter().map(String::as_str).collect();
        let mut lora = LoraConfig::new(charter.lora.r, whole(charter.lora.lora_alpha)?, &targets);
        lora.modules_to_save.clone_from(&charter.lora.modules_to_save);
        lora.base_model_name_or_path = Some(from.name.clone());
        let optimizer = match charter.optimizer {
            Optimizer::Adam { learning_rate, beta1, beta2, epsilon } => {
                ServerOptimizer::Adam { learning_rate, beta1, beta2, epsilon }
            }
            Optimizer::Sgd { learning_rate, momentum } => ServerOptimizer::Sgd { learning_rate, momentum },
        };
        Ok(Self { model, lora, optimizer })
    }

    /// The state before the first round, the same everywhere.
    ///
    /// # Errors
    /// [`TermsError::Adapter`].
    pub fn first_state(&self, seed: u64) -> Result<State, TermsError> {
        Ok(State::new(Adapter::initial(&self.model, &self.lora, seed)?, self.optimizer.clone())?)
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

/// The layout of a round of `expected` houses, of which `may_vanish` may vanish, over `count` trained weights: room for
/// that many contributions, each clamped, with the deviation of all their noise together.
///
/// # Errors
/// [`TermsError::Layout`].
pub fn layout(charter: &Charter, expected: u32, may_vanish: u32, count: usize) -> Result<Layout, TermsError> {
    let noise_deviation = charter.sum_deviation(expected, may_vanish);
    Ok(Layout::derive(expected as usize, Values { count, clamp: charter.privacy.clamp, noise_deviation })?)
}

fn whole(alpha: f64) -> Result<u32, TermsError> {
    let fits = alpha.fract() == 0.0 && (1.0..=65_535.0).contains(&alpha);
    if fits { Ok(alpha as u32) } else { Err(TermsError::Alpha { found: alpha }) }
}
