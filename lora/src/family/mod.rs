//! The families of models: each reads its `config.json` into a [`Spec`].

mod bert;
mod distilbert;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod roberta;

use std::path::Path;

use adapter::Architecture;
use serde_json::Value;

use crate::LoraError;
use crate::spec::Spec;

/// Larger than any model here; keeps products of sizes far from overflow.
const LIMIT: usize = 1 << 20;

/// Reads and checks the `config.json` at `path`.
///
/// # Errors
/// [`LoraError::Read`] or [`LoraError::Config`], which name the file.
pub(crate) fn from_file(path: &Path) -> Result<Spec, LoraError> {
    let text = std::fs::read(path).map_err(|source| LoraError::Read { path: path.to_owned(), source })?;
    let refuse = |reason: String| LoraError::Config { path: path.to_owned(), reason };
    let config: Value = serde_json::from_slice(&text).map_err(|e| refuse(e.to_string()))?;
    let kind = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let read = match Architecture::from_model_type(kind).map_err(|e| refuse(e.to_string()))? {
        Architecture::Bert => bert::read,
        Architecture::Roberta => roberta::read,
        Architecture::DistilBert => distilbert::read,
        Architecture::Llama => llama::read,
        Architecture::Mistral => mistral::read,
        Architecture::Qwen2 => qwen2::read,
        Architecture::Qwen3 => qwen3::read,
    };
    read(config).and_then(checked).map_err(refuse)
}

/// What the arithmetic takes for granted.
fn checked(spec: Spec) -> Result<Spec, String> {
    let sizes = [
        ("the hidden size", spec.hidden_size),
        ("the number of layers", spec.num_layers),
        ("the number of attention heads", spec.heads),
        ("the number of key/value heads", spec.kv_heads),
        ("the head size", spec.head_size),
        ("the intermediate size", spec.intermediate_size),
        ("the vocabulary", spec.vocab_size),
        ("the number of positions", spec.max_tokens),
    ];
    if let Some((name, value)) = sizes.into_iter().find(|(_, value)| *value == 0 || *value > LIMIT) {
        return Err(format!("{name} is {value}, expected 1 to {LIMIT}"));
    }
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        return Err(format!("{} key/value heads do not divide {} heads", spec.kv_heads, spec.heads));
    }
    if spec.attention.rotary.is_some() && !spec.head_size.is_multiple_of(2) {
        return Err(format!("a head size of {} has no pairs to rotate", spec.head_size));
    }
    if spec.attention.windows.len() != spec.num_layers || spec.attention.windows.contains(&Some(0)) {
        return Err("sliding windows must be at least 1, one for each layer".to_owned());
    }
    if !(spec.norm_epsilon > 0.0 && spec.norm_epsilon < 1.0) {
        return Err(format!("the norms' epsilon is {}, expected a small positive number", spec.norm_epsilon));
    }
    Ok(spec)
}

/// Reads a family's keys; those that play no part are ignored.
fn keys<T: serde::de::DeserializeOwned>(config: Value) -> Result<T, String> {
    serde_json::from_value(config).map_err(|e| e.to_string())
}

/// Refuses a value of a key that changes what the model computes, unless it is the one that is built here.
fn only(key: &str, value: &str, expected: &str) -> Result<(), String> {
    if value == expected { Ok(()) } else { Err(format!("{key} is {value:?}, only {expected:?} is supported")) }
}

/// The head size of `width` values over `heads` heads.
fn head_size(width: usize, heads: usize) -> Result<usize, String> {
    if heads == 0 || !width.is_multiple_of(heads) {
        return Err(format!("num_attention_heads {heads} does not divide the hidden size {width}"));
    }
    Ok(width / heads)
}
