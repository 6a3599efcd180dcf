//! Everything that can go wrong in this crate, each error naming the file, tensor or example at fault.

use std::path::PathBuf;

/// Why a model could not be loaded, trained or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// No build of this program knows a device of this name.
    #[error("no device is called {name:?}; there are auto, {known}, and an index may follow, as in cuda:1")]
    UnknownDevice {
        /// The name that was asked for.
        name: String,
        /// Every name that some build knows, comma-separated.
        known: String,
    },
    /// This build has no such device.
    #[error(
        "device {name:?}: this program was built without {kind}; it has: {available}. Build it with `--features {kind}`, or write \"auto\""
    )]
    DeviceNotBuilt {
        /// The name that was asked for.
        name: String,
        /// The cargo feature that brings it.
        kind: String,
        /// The devices that can be asked for, comma-separated.
        available: String,
    },
    /// This machine has no such device.
    #[error(
        "device {name:?}: this machine has {found} of that kind, as far as its drivers say (an index counts from 0); install the driver, or write \"cpu\" or \"auto\""
    )]
    NoSuchDevice {
        /// The name that was asked for.
        name: String,
        /// How many of that kind there are.
        found: usize,
    },
    /// The device is there, and a first product on it fails.
    #[error("device {name:?} is there, but does not multiply: {reason}; write \"cpu\" to train without it")]
    DeviceFails {
        /// The name that was asked for.
        name: String,
        /// What it said.
        reason: String,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// `config.json` is malformed or describes a model that this crate does not build.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// `model.safetensors` is not a safetensors file.
    #[error("{} is not a safetensors checkpoint: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A tensor that the configuration calls for is absent.
    #[error("{} has no tensor {name:?}", path.display())]
    MissingTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name without the model's prefix.
        name: String,
    },
    /// A tensor does not have the shape that the configuration calls for.
    #[error("{}: tensor {name:?} has shape {found:?}, the configuration calls for {expected:?}", path.display())]
    TensorShape {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that follows from the configuration.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A tensor's element type is none of F32, F16 and BF16.
    #[error("{}: tensor {name:?} is {found}, expected F32, F16 or BF16", path.display())]
    TensorType {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type in the file.
        found: String,
    },
    /// A tensor holds infinities or NaNs.
    #[error("{}: tensor {name:?} holds a value that is not finite", path.display())]
    NotFinite {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// `tokenizer.json` is malformed, or refused a text.
    #[error("tokenizer {}: {reason}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A chat template is malformed, or refused a conversation.
    #[error("chat template of {}: {reason}", path.display())]
    ChatTemplate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An adapter tensor does not fit the base model.
    #[error("adapter tensor {name:?}: {reason}")]
    Adapter {
        /// The tensor's name in PEFT's spelling.
        name: String,
        /// Why it does not fit.
        reason: String,
    },
    /// An encoded text has no tokens.
    #[error("example {example} has no tokens")]
    Empty {
        /// Its position in the given rows.
        example: usize,
    },
    /// An encoded text is longer than the model's positions.
    #[error("example {example} has {tokens} tokens, the model takes at most {limit}")]
    TooLong {
        /// Its position in the given rows.
        example: usize,
        /// Its length.
        tokens: usize,
        /// The model's `max_position_embeddings`.
        limit: usize,
    },
    /// A token id is outside of the model's vocabulary: model and tokenizer do not belong together.
    #[error("example {example} has token id {id}, the model's vocabulary ends at {limit}")]
    Token {
        /// Its position in the given rows.
        example: usize,
        /// The id.
        id: u32,
        /// The vocabulary's size.
        limit: usize,
    },
    /// A label is outside of the head's labels, or missing.
    #[error("example {example} has label {label:?}, the head has labels 0..{limit}")]
    Label {
        /// Its position in the given rows.
        example: usize,
        /// The label, none where the list of labels was too short.
        label: Option<usize>,
        /// The number of labels.
        limit: usize,
    },
    /// A text of a language model is all prompt, or its prompt's length is missing.
    #[error("example {example} of {tokens} tokens has none after its prompt to learn")]
    NothingToLearn {
        /// Its position in the given rows.
        example: usize,
        /// Its length.
        tokens: usize,
    },
    /// The device could not compute or return a tensor.
    #[error("{what} failed on the device: {reason}")]
    Compute {
        /// What was being computed.
        what: &'static str,
        /// The device's answer.
        reason: String,
    },
}
