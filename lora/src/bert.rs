//! The BERT encoder (Devlin et al. 2018, in Hugging Face's arrangement), frozen, without dropout.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData, activation, module};

use crate::gelu::gelu;

use crate::LoraError;
use crate::config::BertConfig;
use crate::linear::{Branch, Linear};
use crate::load::{CheckpointFile, Tensors};

/// Added to the score of a padding token before the softmax; exp of it is zero in f32.
const MASKED: f32 = -1e9;

/// The linear layers of one encoder layer, in the order of [`Site::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    Query,
    Key,
    Value,
    AttentionOutput,
    Intermediate,
    Output,
}

impl Site {
    pub(crate) const ALL: [Self; 6] =
        [Self::Query, Self::Key, Self::Value, Self::AttentionOutput, Self::Intermediate, Self::Output];

    /// The path inside of a layer, in Hugging Face's spelling.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Query => "attention.self.query",
            Self::Key => "attention.self.key",
            Self::Value => "attention.self.value",
            Self::AttentionOutput => "attention.output.dense",
            Self::Intermediate => "intermediate.dense",
            Self::Output => "output.dense",
        }
    }

    /// Inputs and outputs of the layer.
    pub(crate) fn shape(self, config: &BertConfig) -> (usize, usize) {
        match self {
            Self::Intermediate => (config.hidden_size, config.intermediate_size),
            Self::Output => (config.intermediate_size, config.hidden_size),
            _ => (config.hidden_size, config.hidden_size),
        }
    }
}

/// The LoRA branches of one layer, indexed as [`Site::ALL`].
pub(crate) type LayerBranches = [Option<Branch>; 6];

/// Padded texts on the device.
pub(crate) struct Input {
    /// Token ids, `[examples * tokens]`.
    pub(crate) ids: Tensor<1, Int>,
    /// 0 for a real token, [`MASKED`] for padding, `[examples, 1, 1, tokens]`.
    pub(crate) mask: Tensor<4>,
    pub(crate) examples: usize,
    pub(crate) tokens: usize,
}

impl Input {
    /// Texts of `lengths` real tokens each, padded to `tokens`; `ids` holds them row by row.
    pub(crate) fn new(ids: &[u32], lengths: &[usize], tokens: usize, device: &Device) -> Self {
        let examples = lengths.len();
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let mask: Vec<f32> = lengths
            .iter()
            .flat_map(|length| (0..tokens).map(move |t| if t < *length { 0.0 } else { MASKED }))
            .collect();
        Self {
            ids: Tensor::from_data(TensorData::new(ids, [examples * tokens]), device),
            mask: Tensor::from_data(TensorData::new(mask, [examples, 1, 1, tokens]), device),
            examples,
            tokens,
        }
    }
}

/// A frozen BERT encoder.
pub(crate) struct Bert {
    config: BertConfig,
    words: Tensor<2>,
    /// Position embeddings plus the embedding of segment 0, `[positions, hidden]`.
    positions: Tensor<2>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Layer {
    linears: [Linear; 6],
    attention_norm: Norm,
    output_norm: Norm,
}

struct Norm {
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
}

impl Bert {
    /// Loads `config.json` and `model.safetensors` of the directory `dir`.
    pub(crate) fn load(dir: &Path, device: &Device) -> Result<Self, LoraError> {
        let config = BertConfig::from_file(&dir.join("config.json"))?;
        let file = CheckpointFile::read(&dir.join("model.safetensors"))?;
        let tensors = file.tensors(device)?;
        let hidden = config.hidden_size;
        let words = tensors.matrix("embeddings.word_embeddings.weight", [config.vocab_size, hidden])?;
        let positions =
            tensors.matrix("embeddings.position_embeddings.weight", [config.max_position_embeddings, hidden])?;
        let segments = tensors.matrix("embeddings.token_type_embeddings.weight", [config.type_vocab_size, hidden])?;
        let norm = Norm::load(&tensors, "embeddings.LayerNorm", &config)?;
        let layers =
            (0..config.num_hidden_layers).map(|i| Layer::load(&tensors, &config, i)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { words, positions: positions + segments.narrow(0, 0, 1), norm, layers, config })
    }

    pub(crate) fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The last hidden states, `[examples, tokens, hidden]`. Nothing is recorded for a gradient before the first branch that has one.
    pub(crate) fn forward(&self, input: &Input, branches: &[LayerBranches]) -> Result<Tensor<3>, LoraError> {
        let hidden = self.config.hidden_size;
        let mut x = self.embed(input);
        for (layer, branches) in self.layers.iter().zip(branches) {
            x = layer.forward(x, input, branches, self.config.num_attention_heads)?;
        }
        Ok(x.reshape([input.examples, input.tokens, hidden]))
    }

    /// `[examples * tokens, hidden]`.
    fn embed(&self, input: &Input) -> Tensor<2> {
        let Input { examples, tokens, .. } = *input;
        let hidden = self.config.hidden_size;
        let known = tokens.min(self.config.max_position_embeddings);
        let mut positions = self.positions.clone().narrow(0, 0, known);
        if known < tokens {
            // Only padding can lie past the last position; what it holds is masked.
            let last = self.positions.clone().narrow(0, known - 1, 1).repeat_dim(0, tokens - known);
            positions = Tensor::cat(vec![positions, last], 0);
        }
        let words = self.words.clone().select(0, input.ids.clone()).reshape([examples, tokens, hidden]);
        let x = (words + positions.unsqueeze()).reshape([examples * tokens, hidden]);
        self.norm.forward(x)
    }
}

impl Layer {
    fn load(tensors: &Tensors<'_>, config: &BertConfig, index: usize) -> Result<Self, LoraError> {
        let prefix = format!("encoder.layer.{index}");
        let linear = |site: Site| -> Result<Linear, LoraError> {
            let (inputs, outputs) = site.shape(config);
            let name = format!("{prefix}.{}", site.path());
            Ok(Linear {
                weight: tensors.transposed(&format!("{name}.weight"), inputs, outputs)?,
                bias: tensors.vector(&format!("{name}.bias"), outputs)?,
            })
        };
        let [q, k, v, a, i, o] = Site::ALL;
        Ok(Self {
            linears: [linear(q)?, linear(k)?, linear(v)?, linear(a)?, linear(i)?, linear(o)?],
            attention_norm: Norm::load(tensors, &format!("{prefix}.attention.output.LayerNorm"), config)?,
            output_norm: Norm::load(tensors, &format!("{prefix}.output.LayerNorm"), config)?,
        })
    }

    fn forward(
        &self,
        x: Tensor<2>,
        input: &Input,
        branches: &LayerBranches,
        heads: usize,
    ) -> Result<Tensor<2>, LoraError> {
        let linear =
            |site: Site, x: Tensor<2>| self.linears[site as usize].forward(x, branches[site as usize].as_ref());
        let Input { examples, tokens, .. } = *input;
        let [_, hidden] = x.dims();
        let split = |x: Tensor<2>| x.reshape([examples, tokens, heads, hidden / heads]).swap_dims(1, 2);

        let query = split(linear(Site::Query, x.clone()));
        let key = split(linear(Site::Key, x.clone()));
        let value = split(linear(Site::Value, x.clone()));
        let scale = 1.0 / ((hidden / heads) as f64).sqrt();
        let scores = query.matmul(key.swap_dims(2, 3)).mul_scalar(scale) + input.mask.clone();
        let context = activation::softmax(scores, 3).matmul(value);
        let context = context.swap_dims(1, 2).reshape([examples * tokens, hidden]);

        let x = self.attention_norm.forward(linear(Site::AttentionOutput, context) + x);
        let wide = gelu(linear(Site::Intermediate, x.clone()))?;
        Ok(self.output_norm.forward(linear(Site::Output, wide) + x))
    }
}

impl Norm {
    fn load(tensors: &Tensors<'_>, name: &str, config: &BertConfig) -> Result<Self, LoraError> {
        Ok(Self {
            gamma: tensors.vector(&format!("{name}.weight"), config.hidden_size)?,
            beta: tensors.vector(&format!("{name}.bias"), config.hidden_size)?,
            epsilon: config.layer_norm_eps,
        })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        module::layer_norm(x, self.gamma.clone(), Some(self.beta.clone()), self.epsilon)
    }
}
