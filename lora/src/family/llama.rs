//! Llama (Touvron et al. 2023) and what is built like it: SmolLM and SmolLM2 as they are, Mistral and Qwen with changes.

use adapter::Architecture;
use serde::Deserialize;
use serde_json::Value;

use super::{head_size, keys, only};
use crate::rope::{Rotary, Scaling, yarn_attention_factor};
use crate::spec::{Activation, Attention, HeadKind, Names, NormKind, Placement, Spec};

/// Keys of the Llama line's configurations.
#[derive(Deserialize)]
pub(super) struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    pub(super) num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    rms_norm_eps: f64,
    #[serde(default = "silu")]
    hidden_act: String,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    pub(super) attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    /// Transformers 5.
    rope_parameters: Option<Rope>,
    /// Before.
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    pub(super) sliding_window: Option<usize>,
    #[serde(default)]
    pub(super) use_sliding_window: bool,
    #[serde(default = "first_window_layer")]
    pub(super) max_window_layers: usize,
    layer_types: Option<Vec<String>>,
}

/// Rotary positions, in either spelling.
#[derive(Deserialize, Default)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    partial_rotary_factor: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    attention_factor: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
}

fn epsilon() -> f64 {
    1e-6
}

fn silu() -> String {
    "silu".to_owned()
}

/// Qwen's default.
fn first_window_layer() -> usize {
    28
}

pub(super) fn read(config: Value) -> Result<Spec, String> {
    let config: Config = keys(config)?;
    let mut spec = decoder(&config)?;
    spec.biases =
        [[config.attention_bias; 4].as_slice(), &[config.mlp_bias; 3]].concat().try_into().unwrap_or([false; 7]);
    Ok(spec)
}

/// The decoder that the line shares: no biases, no windows.
pub(super) fn decoder(config: &Config) -> Result<Spec, String> {
    only("hidden_act", &config.hidden_act, "silu")?;
    let heads = config.num_attention_heads;
    let head_size = config.head_dim.map_or_else(|| head_size(config.hidden_size, heads), Ok)?;
    let rotary = rotary(config, head_size)?;
    Ok(Spec {
        hidden_size: config.hidden_size,
        num_layers: config.num_hidden_layers,
        heads,
        kv_heads: config.num_key_value_heads.unwrap_or(heads),
        head_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        max_tokens: config.max_position_embeddings,
        norm: NormKind::Rms,
        norm_epsilon: config.rms_norm_eps,
        placement: Placement::Before,
        attention: Attention { causal: true, windows: vec![None; config.num_hidden_layers], rotary: Some(rotary) },
        activation: Activation::GatedSilu,
        biases: [false; 7],
        names: Names {
            linear: Architecture::Llama.layer_names(),
            words: "embed_tokens",
            positions: None,
            segments: None,
            query_key_norms: None,
            final_norm: Some("norm"),
        },
        head: HeadKind::Words { tied: config.tie_word_embeddings },
    })
}

/// Windows as Qwen has them: on the layers that `layer_types` names, or where it is not there from `max_window_layers` on.
pub(super) fn windows(config: &Config) -> Result<Vec<Option<usize>>, String> {
    let layers = config.num_hidden_layers;
    let window = config.sliding_window.filter(|_| config.use_sliding_window);
    let Some(types) = &config.layer_types else {
        return Ok((0..layers).map(|layer| window.filter(|_| layer >= config.max_window_layers)).collect());
    };
    let of = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(None),
        "sliding_attention" if window.is_some() => Ok(window),
        other => {
            Err(format!("layer_types holds {other:?} without what it needs; known: full_attention, sliding_attention"))
        }
    };
    types.iter().map(of).collect()
}

fn rotary(config: &Config, head_size: usize) -> Result<Rotary, String> {
    let none = Rope::default();
    let rope = config.rope_parameters.as_ref().or(config.rope_scaling.as_ref()).unwrap_or(&none);
    let theta = rope.rope_theta.or(config.rope_theta).unwrap_or(10_000.0);
    let need = |key: &str, value: Option<f64>| value.ok_or_else(|| format!("the rotary scaling lacks {key}"));
    let positive = [
        ("rope_theta", Some(theta)),
        ("factor", rope.factor),
        ("original_max_position_embeddings", rope.original_max_position_embeddings),
    ];
    if let Some((key, value)) = positive.iter().find(|(_, value)| value.is_some_and(|x| !(x.is_finite() && x >= 1.0))) {
        return Err(format!("{key} is {value:?}, expected at least 1"));
    }
    if rope.partial_rotary_factor.is_some_and(|part| part != 1.0) {
        return Err("partial_rotary_factor is not 1; only heads that are rotated whole are supported".to_owned());
    }
    let original = rope.original_max_position_embeddings;
    let scaling = match rope.rope_type.as_deref().unwrap_or("default") {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: need("factor", rope.factor)? },
        "llama3" => Scaling::Llama3 {
            factor: need("factor", rope.factor)?,
            low: need("low_freq_factor", rope.low_freq_factor)?,
            high: need("high_freq_factor", rope.high_freq_factor)?,
            original: need("original_max_position_embeddings", original)?,
        },
        "yarn" => {
            let original = original.unwrap_or(config.max_position_embeddings as f64);
            let factor = rope.factor.unwrap_or(config.max_position_embeddings as f64 / original);
            let scales = rope.mscale.filter(|x| *x != 0.0).zip(rope.mscale_all_dim.filter(|x| *x != 0.0));
            Scaling::Yarn {
                factor,
                original,
                beta_fast: rope.beta_fast.unwrap_or(32.0),
                beta_slow: rope.beta_slow.unwrap_or(1.0),
                attention_factor: rope.attention_factor.unwrap_or_else(|| yarn_attention_factor(factor, scales)),
                truncate: rope.truncate.unwrap_or(true),
            }
        }
        other => return Err(format!("rope_type is {other:?}; known: default, linear, llama3, yarn")),
    };
    Ok(Rotary::new(head_size, theta, scaling))
}
