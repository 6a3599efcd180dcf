//! A frozen transformer: the weights of a [`Spec`] and their arithmetic, without dropout.

use std::collections::BTreeSet;
use std::path::Path;

use adapter::Site;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use crate::LoraError;
use crate::cache::{Cache, Remembered};
use crate::checkpoint::{CheckpointFiles, Tensors};
use crate::family;
use crate::linear::{Added, Linear, add_bias};
use crate::spec::{Activation, NormKind, Placement, Spec};

/// Added to the score of a token that is not seen before the softmax; exp of it is zero in f32.
pub(crate) const UNSEEN: f32 = -1e9;

/// What an adapter adds to a model.
#[derive(Clone)]
pub(crate) struct Additions {
    pub(crate) layers: Vec<LayerAdditions>,
    /// To the bias of the embeddings' norm, `[1, 1, hidden]` or one an example.
    pub(crate) embedding_norm: Option<Tensor<3>>,
}

/// What it adds to one layer.
#[derive(Clone, Default)]
pub(crate) struct LayerAdditions {
    /// Indexed as [`Site::ALL`].
    pub(crate) linears: [Added; Site::COUNT],
    /// To the biases of its two norms, that at the attention block first.
    pub(crate) norms: [Option<Tensor<3>>; 2],
}

impl Additions {
    /// Nothing.
    pub(crate) fn none(spec: &Spec) -> Self {
        Self { layers: vec![LayerAdditions::default(); spec.num_layers], embedding_norm: None }
    }
}

/// Texts on the device, padded at their ends.
pub(crate) struct Input {
    /// Token ids, `[examples * tokens]`.
    ids: Tensor<1, Int>,
    /// Real tokens of each text.
    lengths: Vec<usize>,
    tokens: usize,
}

impl Input {
    /// Texts of `lengths` real tokens each, padded to `tokens`; `ids` holds them row by row.
    pub(crate) fn new(ids: &[u32], lengths: &[usize], tokens: usize, device: &Device) -> Self {
        let ids: Vec<i64> = ids.iter().map(|id| i64::from(*id)).collect();
        let count = ids.len();
        Self { ids: Tensor::from_data(TensorData::new(ids, [count]), device), lengths: lengths.to_vec(), tokens }
    }

    fn examples(&self) -> usize {
        self.lengths.len()
    }
}

/// A frozen transformer.
pub(crate) struct Transformer {
    spec: Spec,
    words: Tensor<2>,
    /// Embeddings that depend on the position alone, `[positions, hidden]`: that of segment 0 is in them.
    positions: Option<Tensor<2>>,
    embedding_norm: Option<Norm>,
    layers: Vec<Layer>,
    final_norm: Option<Norm>,
}

struct Layer {
    linears: [Option<Linear>; Site::COUNT],
    attention_norm: Norm,
    feed_forward_norm: Norm,
    query_key_norms: Option<[Norm; 2]>,
}

struct Norm {
    gamma: Tensor<1>,
    /// None of an RMSNorm.
    beta: Option<Tensor<1>>,
    epsilon: f32,
}

/// What all layers need to know about a batch.
pub(crate) struct Batch {
    pub(crate) examples: usize,
    pub(crate) tokens: usize,
    /// Added to the scores, `[examples or 1, 1, tokens or 1, tokens that may be seen]`, by window.
    pub(crate) masks: Vec<(Option<usize>, Tensor<4>)>,
    /// Cosines and sines, `[examples or 1, 1, tokens, head_size / 2]` each.
    pub(crate) rotary: Option<(Tensor<4>, Tensor<4>)>,
}

impl Transformer {
    /// Loads configuration and checkpoint of the directory `dir`, and what `head` takes of its tensors.
    pub(crate) fn load<T>(
        dir: &Path,
        device: &Device,
        head: impl FnOnce(&Self, &Tensors<'_>) -> Result<T, LoraError>,
    ) -> Result<(Self, T), LoraError> {
        let spec = family::from_file(&dir.join("config.json"))?;
        let files = CheckpointFiles::read(dir)?;
        let tensors = files.tensors(spec.names.linear.prefix, device)?;
        let model = Self::of(spec, &tensors)?;
        let head = head(&model, &tensors)?;
        Ok((model, head))
    }

    fn of(spec: Spec, tensors: &Tensors<'_>) -> Result<Self, LoraError> {
        let (names, hidden) = (&spec.names, spec.hidden_size);
        let table = |name: &str, rows: usize| tensors.matrix(&tensors.base(&format!("{name}.weight")), [rows, hidden]);
        let norm = |name: &'static str| Norm::load(tensors, &tensors.base(name), &spec, hidden);
        let positions = names.positions.map(|(name, unused)| {
            let rows = table(name, spec.max_tokens + unused)?;
            Ok::<_, LoraError>(rows.narrow(0, unused, spec.max_tokens))
        });
        // The first row is all that is used of them; how many there are is the checkpoint's business.
        let segments = names.segments.map(|name| tensors.first_row(&tensors.base(&format!("{name}.weight")), hidden));
        let positions = match (positions.transpose()?, segments.transpose()?) {
            (Some(positions), Some(segment)) => Some(positions + segment.unsqueeze()),
            (positions, _) => positions,
        };
        Ok(Self {
            words: table(names.words, spec.vocab_size)?,
            positions,
            embedding_norm: names.linear.embedding_norm.map(norm).transpose()?,
            layers: (0..spec.num_layers).map(|i| Layer::load(tensors, &spec, i)).collect::<Result<_, _>>()?,
            final_norm: names.final_norm.map(norm).transpose()?,
            spec,
        })
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The matrix that scores words, `[vocabulary, hidden]`: the word embeddings where they are tied, else one of their shape.
    pub(crate) fn word_scores(&self, tied: bool, tensors: &Tensors<'_>) -> Result<Tensor<2>, LoraError> {
        let Spec { vocab_size, hidden_size, .. } = self.spec;
        if tied { Ok(self.words.clone()) } else { tensors.matrix("lm_head.weight", [vocab_size, hidden_size]) }
    }

    /// The last hidden states, `[examples, tokens, hidden]`. Nothing is recorded for a gradient before the first addition that has one.
    pub(crate) fn forward(&self, input: &Input, added: &Additions) -> Tensor<3> {
        self.layers(self.embed(input, added), &self.batch(input), added, &mut [])
    }

    /// The last hidden states of the tokens of `input`, which come after those that `cache` has seen, and which it sees now. Of decoders, whose
    /// positions are rotations.
    pub(crate) fn forward_after(&self, cache: &mut Cache, input: &Input, added: &Additions) -> Tensor<3> {
        let batch = cache.extend(&self.spec, &input.lengths, input.tokens, &self.words.device());
        self.layers(self.embed(input, added), &batch, added, cache.layers())
    }

    /// All layers. Those that have an entry in `remembered` see what it holds before what is new, and add to it.
    fn layers(&self, mut x: Tensor<2>, batch: &Batch, added: &Additions, remembered: &mut [Remembered]) -> Tensor<3> {
        let mut remembered = remembered.iter_mut();
        for (index, (layer, added)) in self.layers.iter().zip(&added.layers).enumerate() {
            let window = self.spec.attention.windows.get(index).copied().flatten();
            x = layer.forward(x, &self.spec, batch, window, added, remembered.next());
        }
        if let Some(norm) = &self.final_norm {
            x = norm.forward(x);
        }
        x.reshape([batch.examples, batch.tokens, self.spec.hidden_size])
    }

    /// `[examples * tokens, hidden]`.
    fn embed(&self, input: &Input, added: &Additions) -> Tensor<2> {
        let (examples, tokens, hidden) = (input.examples(), input.tokens, self.spec.hidden_size);
        let mut x = self.words.clone().select(0, input.ids.clone());
        if let Some(table) = &self.positions {
            let known = tokens.min(self.spec.max_tokens);
            let mut positions = table.clone().narrow(0, 0, known);
            if known < tokens {
                // Only padding can lie past the last position; what it holds is not seen.
                let last = table.clone().narrow(0, known - 1, 1).repeat_dim(0, tokens - known);
                positions = Tensor::cat(vec![positions, last], 0);
            }
            x = (x.reshape([examples, tokens, hidden]) + positions.unsqueeze()).reshape([examples * tokens, hidden]);
        }
        match &self.embedding_norm {
            Some(norm) => norm.forward_with(x, added.embedding_norm.as_ref()),
            None => x,
        }
    }

    fn batch(&self, input: &Input) -> Batch {
        let (examples, tokens, device) = (input.examples(), input.tokens, self.words.device());
        let attention = &self.spec.attention;
        let tensor =
            |values: Vec<f32>, shape: [usize; 4]| Tensor::<4>::from_data(TensorData::new(values, shape), &device);
        let masks = masks(&attention.windows, |window| {
            // A causal token never sees the padding, which lies after it.
            if attention.causal {
                let row = |at: usize| (0..tokens).map(move |other| if sees(window, at, other) { 0.0 } else { UNSEEN });
                tensor((0..tokens).flat_map(row).collect(), [1, 1, tokens, tokens])
            } else {
                let row = |length: &usize| {
                    let length = *length;
                    (0..tokens).map(move |t| if t < length { 0.0 } else { UNSEEN })
                };
                tensor(input.lengths.iter().flat_map(row).collect(), [examples, 1, 1, tokens])
            }
        });
        let rotary = attention.rotary.as_ref().map(|rotary| {
            let (cosines, sines) = rotary.table(0..tokens);
            let shape = [1, 1, tokens, self.spec.head_size / 2];
            (tensor(cosines, shape), tensor(sines, shape))
        });
        Batch { examples, tokens, masks, rotary }
    }
}

/// Whether a causal token at a position sees another, itself included.
pub(crate) fn sees(window: Option<usize>, at: usize, other: usize) -> bool {
    other <= at && window.is_none_or(|window| at - other < window)
}

/// A mask for each window that some layer has.
pub(crate) fn masks(
    windows: &[Option<usize>],
    mask: impl Fn(Option<usize>) -> Tensor<4>,
) -> Vec<(Option<usize>, Tensor<4>)> {
    let distinct: BTreeSet<Option<usize>> = windows.iter().copied().collect();
    distinct.into_iter().map(|window| (window, mask(window))).collect()
}

impl Layer {
    fn load(tensors: &Tensors<'_>, spec: &Spec, index: usize) -> Result<Self, LoraError> {
        let names = &spec.names;
        let inside = |path: &str| tensors.base(&format!("{}{index}.{path}", names.linear.layers));
        let mut linears = [const { None }; Site::COUNT];
        for site in Site::ALL {
            let Some(path) = names.linear.sites[site as usize] else { continue };
            let (inputs, outputs) = spec.shape(site);
            let bias = spec.biases[site as usize];
            linears[site as usize] = Some(Linear::load(tensors, &inside(path), inputs, outputs, bias)?);
        }
        let norm = |name: &str, width: usize| Norm::load(tensors, &inside(name), spec, width);
        let query_key_norms = match names.query_key_norms {
            Some([query, key]) => Some([norm(query, spec.head_size)?, norm(key, spec.head_size)?]),
            None => None,
        };
        Ok(Self {
            linears,
            attention_norm: norm(names.linear.attention_norm, spec.hidden_size)?,
            feed_forward_norm: norm(names.linear.feed_forward_norm, spec.hidden_size)?,
            query_key_norms,
        })
    }

    fn forward(
        &self,
        x: Tensor<2>,
        spec: &Spec,
        batch: &Batch,
        window: Option<usize>,
        added: &LayerAdditions,
        seen: Option<&mut Remembered>,
    ) -> Tensor<2> {
        let block = Block { layer: self, spec, batch, added };
        let [first, second] = added.norms.each_ref().map(Option::as_ref);
        let attention_norm = |x| self.attention_norm.forward_with(x, first);
        let feed_forward_norm = |x| self.feed_forward_norm.forward_with(x, second);
        match spec.placement {
            Placement::After => {
                let x = attention_norm(block.attention(x.clone(), window, seen) + x);
                feed_forward_norm(block.feed_forward(x.clone()) + x)
            }
            Placement::Before => {
                let x = block.attention(attention_norm(x.clone()), window, seen) + x;
                block.feed_forward(feed_forward_norm(x.clone())) + x
            }
        }
    }
}

/// One layer over one batch.
struct Block<'a> {
    layer: &'a Layer,
    spec: &'a Spec,
    batch: &'a Batch,
    added: &'a LayerAdditions,
}

impl Block<'_> {
    fn linear(&self, site: Site, x: Tensor<2>) -> Tensor<2> {
        match &self.layer.linears[site as usize] {
            Some(linear) => linear.forward_with(x, &self.added.linears[site as usize]),
            // No family is described with a block whose layers it lacks.
            None => x,
        }
    }

    fn attention(&self, x: Tensor<2>, window: Option<usize>, seen: Option<&mut Remembered>) -> Tensor<2> {
        let (spec, &Batch { examples, tokens, .. }) = (self.spec, self.batch);
        let (heads, shared, size) = (spec.heads, spec.kv_heads, spec.head_size);
        let split = |x: Tensor<2>, heads: usize| x.reshape([examples, tokens, heads, size]).swap_dims(1, 2);
        let mut query = split(self.linear(Site::Query, x.clone()), heads);
        let mut key = split(self.linear(Site::Key, x.clone()), shared);
        let mut value = split(self.linear(Site::Value, x), shared);
        if let Some([of_query, of_key]) = &self.layer.query_key_norms {
            (query, key) = (of_query.forward(query), of_key.forward(key));
        }
        if let Some((cosines, sines)) = &self.batch.rotary {
            (query, key) = (rotate(query, cosines, sines), rotate(key, cosines, sines));
        }
        if let Some(seen) = seen {
            (key, value) = seen.add(key, value);
        }
        let columns = key.dims()[2];
        // Heads that share keys and values stand one after the other: as rows of one product, nothing is copied for them.
        let rows = heads / shared * tokens;
        let query = query.reshape([examples, shared, rows, size]);
        let scores = query.matmul(key.swap_dims(2, 3)).reshape([examples, heads, tokens, columns]);
        let scale = 1.0 / (size as f32).sqrt();
        let weights = match self.batch.masks.iter().find(|(known, _)| *known == window) {
            Some((_, mask)) => fused::attention_weights(scores, mask, scale),
            None => activation::softmax(scores.mul_scalar(scale), 3),
        };
        let weights = weights.reshape([examples, shared, rows, columns]);
        let context = weights.matmul(value).reshape([examples, heads, tokens, size]);
        let context = context.swap_dims(1, 2).reshape([examples * tokens, heads * size]);
        self.linear(Site::AttentionOutput, context)
    }

    fn feed_forward(&self, x: Tensor<2>) -> Tensor<2> {
        let wide = match self.spec.activation {
            Activation::Gelu => fused::gelu(self.linear(Site::Up, x)),
            Activation::GatedSilu => fused::gated_silu(self.linear(Site::Gate, x.clone()), self.linear(Site::Up, x)),
        };
        self.linear(Site::Down, wide)
    }
}

/// Turns each pair of a head's values, one of the first half with one of the second, by its position's angle.
fn rotate(x: Tensor<4>, cosines: &Tensor<4>, sines: &Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (first, second) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let turned_first = first.clone() * cosines.clone() - second.clone() * sines.clone();
    let turned_second = second * cosines.clone() + first * sines.clone();
    Tensor::cat(vec![turned_first, turned_second], 3)
}

impl Norm {
    fn load(tensors: &Tensors<'_>, name: &str, spec: &Spec, width: usize) -> Result<Self, LoraError> {
        let beta = match spec.norm {
            NormKind::Layer => Some(tensors.vector(&format!("{name}.bias"), width)?),
            NormKind::Rms => None,
        };
        let gamma = tensors.vector(&format!("{name}.weight"), width)?;
        Ok(Self { gamma, beta, epsilon: spec.norm_epsilon as f32 })
    }

    /// The same of `[tokens, width]`, with something added to its bias.
    fn forward_with(&self, x: Tensor<2>, bias: Option<&Tensor<3>>) -> Tensor<2> {
        let x = self.forward(x);
        match bias {
            None => x,
            Some(bias) => add_bias(x, bias.clone()),
        }
    }

    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match &self.beta {
            Some(beta) => fused::layer_norm(x, &self.gamma, beta, self.epsilon),
            None => fused::rms_norm(x, &self.gamma, self.epsilon),
        }
    }
}
