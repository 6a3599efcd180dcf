//! `config.json` of a Hugging Face checkpoint: the sizes of a BERT encoder, checked.

use std::path::Path;

use serde::Deserialize;

use crate::LoraError;

/// Larger than any BERT; keeps products of sizes far from overflow.
const LIMIT: usize = 1 << 20;

/// The sizes of a BERT encoder, in the spelling of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BertConfig {
    #[serde(default)]
    model_type: String,
    /// Width of a token's hidden state.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// The longest text, in tokens.
    pub max_position_embeddings: usize,
    /// Number of segment embeddings; texts here use segment 0.
    pub type_vocab_size: usize,
    /// Added to the variance in every layer normalisation.
    #[serde(default = "default_epsilon")]
    pub layer_norm_eps: f64,
    #[serde(default = "default_activation")]
    hidden_act: String,
    #[serde(default = "default_positions")]
    position_embedding_type: String,
}

fn default_epsilon() -> f64 {
    1e-12
}

fn default_activation() -> String {
    "gelu".to_owned()
}

fn default_positions() -> String {
    "absolute".to_owned()
}

impl BertConfig {
    /// Reads and checks `path`.
    ///
    /// # Errors
    ///
    /// [`LoraError::Read`] or [`LoraError::Config`], which name the file.
    pub fn from_file(path: &Path) -> Result<Self, LoraError> {
        let text = std::fs::read(path).map_err(|source| LoraError::Read { path: path.to_owned(), source })?;
        let refuse = |reason: String| LoraError::Config { path: path.to_owned(), reason };
        let config: Self = serde_json::from_slice(&text).map_err(|e| refuse(e.to_string()))?;
        config.check().map_err(refuse)?;
        Ok(config)
    }

    /// Width of one attention head.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (name, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(format!("{name} is {value}, expected 1 to {LIMIT}"));
            }
        }
        let names = [
            ("model_type", &self.model_type, "bert"),
            ("hidden_act", &self.hidden_act, "gelu"),
            ("position_embedding_type", &self.position_embedding_type, "absolute"),
        ];
        for (name, value, expected) in names {
            if value != expected {
                return Err(format!("{name} is {value:?}, only {expected:?} is supported"));
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return Err("num_attention_heads does not divide hidden_size".to_owned());
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return Err(format!("layer_norm_eps is {}, expected a small positive number", self.layer_norm_eps));
        }
        Ok(())
    }
}
