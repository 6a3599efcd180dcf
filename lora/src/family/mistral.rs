//! Mistral (Jiang et al. 2023): Llama with a window on every layer, in its first versions.

use serde_json::Value;

use super::{keys, llama};
use crate::spec::Spec;

pub(super) fn read(config: Value) -> Result<Spec, String> {
    let config: llama::Config = keys(config)?;
    let mut spec = llama::decoder(&config)?;
    spec.attention.windows = vec![config.sliding_window; config.num_hidden_layers];
    Ok(spec)
}
