//! Why a contribution could not be made.

use std::path::PathBuf;

use privacy::{ClipError, NoiseError, NoiseFault, SampleError};
use protocol::HouseName;

use crate::DataError;

/// Why a contribution could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model, its files, or the device.
    #[error(transparent)]
    Model(#[from] lora::LoraError),
    /// The base model is not the charter's.
    #[error(transparent)]
    BaseModel(#[from] terms::BaseModelError),
    /// The charter cannot be run here.
    #[error(transparent)]
    Terms(#[from] terms::TermsError),
    /// An adapter's folder.
    #[error("the adapter: {0}")]
    Adapter(#[from] adapter::AdapterError),
    /// A file without a row to evaluate.
    #[error("{}: no row to evaluate; of a charter that holds units out, --all takes the others too", .0.display())]
    NothingToEvaluate(PathBuf),
    /// A sum over houses that cannot be applied.
    #[error("the sum: {0}")]
    Sum(#[from] terms::RoundSumError),
    /// A sum of local steps that cannot be applied.
    #[error("a local step: {0}")]
    Step(#[from] adapter::ApplyError),
    /// Clipping.
    #[error("clipping: {0}")]
    Clip(#[from] ClipError),
    /// Sampling.
    #[error("sampling: {0}")]
    Sample(#[from] SampleError),
    /// Accounting.
    #[error("accounting: {0}")]
    Accountant(#[from] privacy::accountant::AccountantError),
    /// The ledger's limit.
    #[error(transparent)]
    Ledger(Box<privacy::LedgerError>),
    /// The charter's epsilon is for no more.
    #[error(
        "all {most} {what} that the charter may charge this house for are in its ledger, and its epsilon is for no more: this house is done here (rounds.charged)"
    )]
    Charged {
        /// How many.
        most: u64,
        /// Attempts or evaluations.
        what: &'static str,
    },
    /// The charter's texts are longer than the model takes.
    #[error(
        "charter: model.max_tokens is {max_tokens}, but {} has {positions} positions (max_position_embeddings): this charter fits another model", path.display()
    )]
    Positions {
        /// The charter's.
        max_tokens: u32,
        /// The model's.
        positions: usize,
        /// The model's configuration.
        path: PathBuf,
    },
    /// A language model that takes no conversations.
    #[error(
        "{} has no chat template (tokenizer_config.json or chat_template.jinja): prompts and completions are trained on as conversations, so take an instruction-tuned model", .0.display()
    )]
    NoChatTemplate(PathBuf),
    /// The tokenizer is another model's.
    #[error(
        "{}: gives token ids up to {largest}, but the model has {vocabulary} tokens: this tokenizer belongs to another model", path.display()
    )]
    Vocabulary {
        /// The tokenizer.
        path: PathBuf,
        /// Its largest id.
        largest: u32,
        /// The model's.
        vocabulary: usize,
    },
    /// Noise that is not what it should be.
    #[error(transparent)]
    NoiseFault(#[from] NoiseFault),
    /// Noise.
    #[error("noise: {0}")]
    Noise(#[from] NoiseError),
    /// Encryption, dealing or sealing.
    #[error("encryption: {0}")]
    Encrypt(String),
    /// This house is not in the charter.
    #[error("the charter does not name the house `{0}`")]
    NotAHouse(HouseName),
    /// The update does not have the rotation's width.
    #[error("the update's length is not the rotation's")]
    Turn,
    /// A row outside the corpus.
    #[error("row {0} is not in the corpus")]
    NoRow(usize),
    /// More rounds than a number of rounds can count.
    #[error("no round comes after the last that can be numbered")]
    Rounds,
    /// A thread ended without a result.
    #[error("a worker thread of the trainer ended without a result")]
    Worker,
}
