//! The families of base models: what their linear layers are called and how large they are.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, Model};

/// A base model's kind. Its Hugging Face name (`model_type`) is the serde form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// BERT's encoder, all-MiniLM-L6-v2 among them.
    Bert,
    /// RoBERTa's encoder.
    Roberta,
    /// DistilBERT's encoder.
    DistilBert,
    /// Llama, SmolLM and SmolLM2.
    Llama,
    /// Mistral.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
    /// Qwen3.
    Qwen3,
}

/// The linear layers of one transformer layer that can get an adapter, in the order of [`Site::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// After attention.
    AttentionOutput,
    /// Of a gated feed-forward block: what goes through the activation.
    Gate,
    /// To the intermediate width.
    Up,
    /// Back from it.
    Down,
}

/// Where a family keeps its transformer layers and their norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerNames {
    /// Before all names of the base model, in a checkpoint with a head.
    pub prefix: &'static str,
    /// Before a layer's number.
    pub layers: &'static str,
    /// After it, as [`Site::ALL`]; none where the family has no such layer.
    pub sites: [Option<&'static str>; Site::COUNT],
    /// The norm of the embeddings, after the prefix; none where the family has none.
    pub embedding_norm: Option<&'static str>,
    /// The norm at the attention block, after a layer's number.
    pub attention_norm: &'static str,
    /// The norm at the feed-forward block.
    pub feed_forward_norm: &'static str,
}

const BERT: LayerNames = LayerNames {
    prefix: "bert.",
    layers: "encoder.layer.",
    sites: [
        Some("attention.self.query"),
        Some("attention.self.key"),
        Some("attention.self.value"),
        Some("attention.output.dense"),
        None,
        Some("intermediate.dense"),
        Some("output.dense"),
    ],
    embedding_norm: Some("embeddings.LayerNorm"),
    attention_norm: "attention.output.LayerNorm",
    feed_forward_norm: "output.LayerNorm",
};

const DISTILBERT: LayerNames = LayerNames {
    prefix: "distilbert.",
    layers: "transformer.layer.",
    sites: [
        Some("attention.q_lin"),
        Some("attention.k_lin"),
        Some("attention.v_lin"),
        Some("attention.out_lin"),
        None,
        Some("ffn.lin1"),
        Some("ffn.lin2"),
    ],
    embedding_norm: Some("embeddings.LayerNorm"),
    attention_norm: "sa_layer_norm",
    feed_forward_norm: "output_layer_norm",
};

const LLAMA: LayerNames = LayerNames {
    prefix: "model.",
    layers: "layers.",
    sites: [
        Some("self_attn.q_proj"),
        Some("self_attn.k_proj"),
        Some("self_attn.v_proj"),
        Some("self_attn.o_proj"),
        Some("mlp.gate_proj"),
        Some("mlp.up_proj"),
        Some("mlp.down_proj"),
    ],
    embedding_norm: None,
    attention_norm: "input_layernorm",
    feed_forward_norm: "post_attention_layernorm",
};

impl Site {
    /// How many there are.
    pub const COUNT: usize = 7;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Query, Self::Key, Self::Value, Self::AttentionOutput, Self::Gate, Self::Up, Self::Down];
}

impl LayerNames {
    /// Full name of a linear layer, as PEFT sees it; none where the family has no such layer.
    #[must_use]
    pub fn of(&self, layer: usize, site: Site) -> Option<String> {
        let Self { prefix, layers, sites, .. } = self;
        sites[site as usize].map(|path| format!("{prefix}{layers}{layer}.{path}"))
    }
}

impl Architecture {
    /// Name in `config.json` of every architecture built here.
    pub const KNOWN: [(&'static str, Self); 7] = [
        ("bert", Self::Bert),
        ("roberta", Self::Roberta),
        ("distilbert", Self::DistilBert),
        ("llama", Self::Llama),
        ("mistral", Self::Mistral),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
    ];

    /// The architecture of this `model_type`.
    ///
    /// # Errors
    /// [`AdapterError::UnknownArchitecture`], which lists the known ones.
    pub fn from_model_type(found: &str) -> Result<Self, AdapterError> {
        match Self::KNOWN.iter().find(|(name, _)| *name == found) {
            Some((_, architecture)) => Ok(*architecture),
            None => Err(AdapterError::UnknownArchitecture {
                found: found.to_owned(),
                known: Self::KNOWN.map(|(name, _)| name).join(", "),
            }),
        }
    }

    /// Whether it is trained to say the next word, and has no labels.
    #[must_use]
    pub fn is_language_model(self) -> bool {
        matches!(self, Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3)
    }

    /// Which linear layers have a bias in every checkpoint of the family, as [`Site::ALL`].
    #[must_use]
    pub fn biases(self) -> [bool; Site::COUNT] {
        match self {
            Self::Bert | Self::Roberta | Self::DistilBert => [true; Site::COUNT],
            Self::Qwen2 => [true, true, true, false, false, false, false],
            Self::Llama | Self::Mistral | Self::Qwen3 => [false; Site::COUNT],
        }
    }

    /// What its layers are called.
    #[must_use]
    pub fn layer_names(self) -> LayerNames {
        match self {
            Self::Bert => BERT,
            Self::Roberta => LayerNames { prefix: "roberta.", ..BERT },
            Self::DistilBert => DISTILBERT,
            Self::Llama | Self::Mistral | Self::Qwen2 | Self::Qwen3 => LLAMA,
        }
    }
}

/// The widths inside of a transformer layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerWidths {
    /// Of the hidden states.
    pub hidden: usize,
    /// Of all heads' queries together.
    pub queries: usize,
    /// Of all heads' keys together, and values.
    pub keys: usize,
    /// Inside of the feed-forward block.
    pub intermediate: usize,
}

impl LayerWidths {
    /// Inputs and outputs of a linear layer.
    #[must_use]
    pub fn shape(&self, site: Site) -> (usize, usize) {
        let Self { hidden, queries, keys, intermediate } = *self;
        match site {
            Site::Query => (hidden, queries),
            Site::Key | Site::Value => (hidden, keys),
            Site::AttentionOutput => (queries, hidden),
            Site::Gate | Site::Up => (hidden, intermediate),
            Site::Down => (intermediate, hidden),
        }
    }
}

impl Model {
    /// The widths inside of its layers.
    #[must_use]
    pub fn widths(&self) -> LayerWidths {
        let hidden = self.hidden_size as usize;
        let heads = |heads: u32, size: u32| heads as usize * size as usize;
        let (queries, keys) = self.attention.map_or((hidden, hidden), |sizes| {
            (heads(sizes.num_attention_heads, sizes.head_dim), heads(sizes.num_key_value_heads, sizes.head_dim))
        });
        LayerWidths { hidden, queries, keys, intermediate: self.intermediate_size as usize }
    }
}
