//! Qwen2 and Qwen2.5 (Yang et al. 2024): Llama with biases on queries, keys and values, and windows on some layers.

use adapter::Architecture;
use serde_json::Value;

use super::{keys, llama};
use crate::spec::Spec;

pub(super) fn read(config: Value) -> Result<Spec, String> {
    let config: llama::Config = keys(config)?;
    let mut spec = llama::decoder(&config)?;
    spec.biases = Architecture::Qwen2.biases();
    spec.attention.windows = llama::windows(&config)?;
    Ok(spec)
}
