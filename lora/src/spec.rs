//! What a transformer is made of: the description that a family's `config.json` is read into. Weights and arithmetic are in
//! `transformer`; a family is a short file under `family`.

use adapter::{LayerNames, LayerWidths, Site};

use crate::rope::Rotary;

/// A transformer of one of the families.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) hidden_size: usize,
    pub(crate) num_layers: usize,
    pub(crate) heads: usize,
    /// Fewer than `heads`: several heads share keys and values (grouped-query attention, Ainslie et al. 2023).
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) vocab_size: usize,
    /// The longest text.
    pub(crate) max_tokens: usize,
    pub(crate) norm: NormKind,
    pub(crate) norm_epsilon: f64,
    pub(crate) placement: Placement,
    pub(crate) attention: Attention,
    pub(crate) activation: Activation,
    /// Which linear layers have a bias, as [`Site::ALL`].
    pub(crate) biases: [bool; Site::COUNT],
    pub(crate) names: Names,
    pub(crate) head: HeadKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// LayerNorm (Ba, Kiros, Hinton 2016).
    Layer,
    /// RMSNorm (Zhang, Sennrich 2019).
    Rms,
}

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// After each block's residual sum, as in BERT.
    After,
    /// Before each block, and once after the last layer, as in Llama.
    Before,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// The exact (erf) GELU.
    Gelu,
    /// SiLU of the gate times the other half (SwiGLU, Shazeer 2020).
    GatedSilu,
}

/// Who sees whom.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    /// A token sees itself and those before it only.
    pub(crate) causal: bool,
    /// Of each layer: how many tokens back a token sees, itself included; all where none.
    pub(crate) windows: Vec<Option<usize>>,
    /// Positions by rotation of queries and keys (RoPE, Su et al. 2021).
    pub(crate) rotary: Option<Rotary>,
}

/// Names of tensors in the checkpoint, without ".weight" and ".bias"; those inside of a layer without the layer's.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// Of the linear layers and the norms at them; what is before all names may be missing in a checkpoint without a head.
    pub(crate) linear: LayerNames,
    pub(crate) words: &'static str,
    /// Learned positions, and how many of their first rows are not used.
    pub(crate) positions: Option<(&'static str, usize)>,
    /// Segments, of which texts here use the first.
    pub(crate) segments: Option<&'static str>,
    /// Norms of each head's queries and keys.
    pub(crate) query_key_norms: Option<[&'static str; 2]>,
    pub(crate) final_norm: Option<&'static str>,
}

/// What stands on the hidden states in the checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeadKind {
    /// Over the first token's hidden state: a layer with an activation, then one to the labels.
    Sequence { dense: &'static str, activation: DenseActivation, out: &'static str },
    /// Of every token: a score for each word, by the word embeddings or a matrix of their shape.
    Words { tied: bool },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DenseActivation {
    Tanh,
    Relu,
}

/// The sizes of a base model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Width of a token's hidden state.
    pub hidden_size: usize,
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// The longest text, in tokens.
    pub max_tokens: usize,
}

impl Spec {
    pub(crate) fn sizes(&self) -> Sizes {
        let Self { hidden_size, vocab_size, max_tokens, .. } = *self;
        Sizes { hidden_size, vocab_size, max_tokens }
    }

    /// Inputs and outputs of a linear layer.
    pub(crate) fn shape(&self, site: Site) -> (usize, usize) {
        let Self { hidden_size: hidden, intermediate_size: intermediate, heads, kv_heads, head_size, .. } = *self;
        LayerWidths { hidden, queries: heads * head_size, keys: kv_heads * head_size, intermediate }.shape(site)
    }
}
