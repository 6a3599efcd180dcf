//! BERT (Devlin et al. 2018), all-MiniLM-L6-v2 among its checkpoints.

use adapter::Architecture;
use serde::Deserialize;
use serde_json::Value;

use super::{head_size, keys, only};
use crate::spec::{Activation, Attention, DenseActivation, HeadKind, Names, NormKind, Placement, Spec};

/// Keys of BERT's and RoBERTa's configurations.
#[derive(Deserialize)]
pub(super) struct Config {
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    layer_norm_eps: f64,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    #[serde(default)]
    is_decoder: bool,
    pub(super) pad_token_id: Option<usize>,
}

fn epsilon() -> f64 {
    1e-12
}

fn gelu() -> String {
    "gelu".to_owned()
}

fn absolute() -> String {
    "absolute".to_owned()
}

pub(super) fn read(config: Value) -> Result<Spec, String> {
    encoder(&keys(config)?)
}

/// The encoder that BERT and RoBERTa share.
pub(super) fn encoder(config: &Config) -> Result<Spec, String> {
    only("hidden_act", &config.hidden_act, "gelu")?;
    only("position_embedding_type", &config.position_embedding_type, "absolute")?;
    if config.is_decoder {
        return Err("is_decoder is true, only encoders of this family are supported".to_owned());
    }
    let heads = config.num_attention_heads;
    Ok(Spec {
        hidden_size: config.hidden_size,
        num_layers: config.num_hidden_layers,
        heads,
        kv_heads: heads,
        head_size: head_size(config.hidden_size, heads)?,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        max_tokens: config.max_position_embeddings,
        norm: NormKind::Layer,
        norm_epsilon: config.layer_norm_eps,
        placement: Placement::After,
        attention: Attention { causal: false, windows: vec![None; config.num_hidden_layers], rotary: None },
        activation: Activation::Gelu,
        biases: Architecture::Bert.biases(),
        names: Names {
            linear: Architecture::Bert.layer_names(),
            words: "embeddings.word_embeddings",
            positions: Some(("embeddings.position_embeddings", 0)),
            segments: Some("embeddings.token_type_embeddings"),
            query_key_norms: None,
            final_norm: None,
        },
        head: HeadKind::Sequence { dense: "bert.pooler.dense", activation: DenseActivation::Tanh, out: "classifier" },
    })
}
