//! What can go wrong, naming the file, key or tensor at fault.

use std::path::PathBuf;

/// An adapter, its configuration or its files are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The content of a file is at fault.
    #[error("{}: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<AdapterError>,
    },
    /// A file is larger than any adapter of this model.
    #[error("{found} bytes are more than the {limit} that are read at most")]
    TooLarge {
        /// Size found, in bytes.
        found: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A JSON file does not parse, or a key has another type.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A key of `adapter_config.json` asks for something that would change the numbers and that is not built here.
    #[error("key `{key}` is {found}, but only {supported} is supported")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// Its value, as JSON.
        found: String,
        /// What it may be.
        supported: &'static str,
    },
    /// A value of a [`LoraConfig`](crate::LoraConfig), [`Model`](crate::Model) or
    /// [`ServerOptimizer`](crate::ServerOptimizer) is out of range.
    #[error("`{key}` is {found}; it must be {rule}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        rule: &'static str,
    },
    /// The base model is of a kind that is not built here.
    #[error("unknown architecture `{found}`; known: {known}")]
    UnknownArchitecture {
        /// `model_type` of the model's `config.json`.
        found: String,
        /// The known ones, separated by commas.
        known: String,
    },
    /// An entry of `target_modules` names no linear layer of the model.
    #[error("target_modules: `{target}` matches no linear layer of the model; it has {available}")]
    NoSuchTarget {
        /// The entry.
        target: String,
        /// The layers' last names, separated by commas.
        available: String,
    },
    /// A safetensors file is malformed.
    #[error("not a safetensors file: {0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A tensor that the configuration calls for is missing.
    #[error("tensor `{tensor}` is missing")]
    MissingTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor that the configuration does not call for.
    #[error("tensor `{tensor}` does not belong to this model and configuration")]
    UnknownTensor {
        /// Its name.
        tensor: String,
    },
    /// A tensor has another shape.
    #[error("tensor `{tensor}` has shape {found:?}, expected {expected:?}")]
    WrongShape {
        /// Its name.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that model and configuration ask for.
        expected: Vec<usize>,
    },
    /// A tensor does not hold 32-bit floats.
    #[error("tensor `{tensor}` holds {found}, expected F32")]
    WrongType {
        /// Its name.
        tensor: String,
        /// Its element type, as safetensors names it.
        found: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("tensor `{tensor}` holds {value} at element {index}")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// Element, in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// What is trained of the base model's biases can only be written or read beside the base model.
    #[error("with bias {bias:?} PEFT's files hold biases of the base model: its folder is needed")]
    NeedsBase {
        /// The setting.
        bias: &'static str,
    },
    /// A vector does not have one value for each trained weight.
    #[error("{found} values were given for {expected} trained weights")]
    WrongLength {
        /// Length given.
        found: usize,
        /// [`Adapter::trainable_len`](crate::Adapter::trainable_len).
        expected: usize,
    },
}

/// A sum cannot be applied. The state is as it was before.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ApplyError {
    /// The sum does not have one value for each trained weight.
    #[error("the sum has {found} values for {expected} trained weights")]
    WrongLength {
        /// Length given.
        found: usize,
        /// Number of trained weights.
        expected: usize,
    },
    /// The unit or the divisor is not a positive, finite number, or their quotient vanishes in 32 bits.
    #[error("`{name}` is {value}; unit, divisor and their quotient must be positive and finite")]
    BadScale {
        /// `unit`, `divisor` or `unit / divisor`.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A weight would become NaN or infinite: the learning rate is too high or the sum is not a gradient's.
    #[error("`{tensor}` would become {value} at element {index}")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Element, in row-major order.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The step counter is at its end.
    #[error("the state has counted as many steps as it can")]
    TooManySteps,
}

/// Bytes are not a [`State`](crate::State) of this model, configuration and optimizer.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Another version of the encoding.
    #[error("version {found} of the state's encoding; this program reads version {known}")]
    Version {
        /// Version found.
        found: u8,
        /// Version known.
        known: u8,
    },
    /// The bytes are too few or too many.
    #[error("{found} bytes, expected {expected} for this model, configuration and optimizer")]
    Length {
        /// Length found.
        found: usize,
        /// Length expected.
        expected: usize,
    },
    /// The state was written under another model, configuration or optimizer.
    #[error("the state was written under another model, LoRA configuration or optimizer")]
    Foreign,
    /// A part of the memory is impossible.
    #[error("`{part}` is not what {step} steps leave")]
    Impossible {
        /// Which part.
        part: &'static str,
        /// Steps counted in the state.
        step: u64,
    },
    /// The adapter's or the moments' values are at fault.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
}
