//! DistilBERT (Sanh, Debut, Chaumond, Wolf 2019): BERT's encoder without segments, under other names.

use adapter::Architecture;
use serde::Deserialize;
use serde_json::Value;

use super::{head_size, keys, only};
use crate::spec::{Activation, Attention, DenseActivation, HeadKind, Names, NormKind, Placement, Spec};

#[derive(Deserialize)]
struct Config {
    dim: usize,
    hidden_dim: usize,
    n_layers: usize,
    n_heads: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "gelu")]
    activation: String,
}

fn gelu() -> String {
    "gelu".to_owned()
}

pub(super) fn read(config: Value) -> Result<Spec, String> {
    let config: Config = keys(config)?;
    only("activation", &config.activation, "gelu")?;
    Ok(Spec {
        hidden_size: config.dim,
        num_layers: config.n_layers,
        heads: config.n_heads,
        kv_heads: config.n_heads,
        head_size: head_size(config.dim, config.n_heads)?,
        intermediate_size: config.hidden_dim,
        vocab_size: config.vocab_size,
        max_tokens: config.max_position_embeddings,
        norm: NormKind::Layer,
        norm_epsilon: 1e-12,
        placement: Placement::After,
        attention: Attention { causal: false, windows: vec![None; config.n_layers], rotary: None },
        activation: Activation::Gelu,
        biases: Architecture::DistilBert.biases(),
        names: Names {
            linear: Architecture::DistilBert.layer_names(),
            words: "embeddings.word_embeddings",
            positions: Some(("embeddings.position_embeddings", 0)),
            segments: None,
            query_key_norms: None,
            final_norm: None,
        },
        head: HeadKind::Sequence { dense: "pre_classifier", activation: DenseActivation::Relu, out: "classifier" },
    })
}
