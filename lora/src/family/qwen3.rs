//! Qwen3 (Yang et al. 2025): Llama with norms of each head's queries and keys, and windows on some layers.

use serde_json::Value;

use super::{keys, llama};
use crate::spec::Spec;

pub(super) fn read(config: Value) -> Result<Spec, String> {
    let config: llama::Config = keys(config)?;
    let mut spec = llama::decoder(&config)?;
    spec.biases = [
        config.attention_bias,
        config.attention_bias,
        config.attention_bias,
        config.attention_bias,
        false,
        false,
        false,
    ];
    spec.attention.windows = llama::windows(&config)?;
    spec.names.query_key_norms = Some(["self_attn.q_norm", "self_attn.k_norm"]);
    Ok(spec)
}
