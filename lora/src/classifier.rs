//! The classifier: a frozen encoder, an adapter and a head over the mean-pooled, normalised hidden states or over the first token's.

use std::path::Path;

use adapter::{Adapter, Head};
use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::LoraError;
use crate::adapted::Adapted;
use crate::attach::Factor;
use crate::batch::MicroBatch;
use crate::checkpoint::Tensors;
use crate::gradients::{self, Gradients, Of, leaf};
use crate::linear::{Added, Linear};
use crate::spec::{DenseActivation, HeadKind, Sizes};
use crate::tokenizer::Encoded;
use crate::transformer::Transformer;

/// Added under the L2 norm's lower bound, as in PyTorch's `normalize`.
const SMALLEST_NORM: f32 = 1e-12;

/// An encoder's checkpoint with an adapter and a classification head, on one device.
pub struct Classifier {
    adapted: Adapted,
    labels: usize,
    pooling: Pooling,
}

/// What the head gets of the hidden states.
enum Pooling {
    /// The mean over a text's tokens, of norm 1.
    Mean,
    /// The first token's, through a frozen layer where the checkpoint has one (BERT's pooler); layers before the last have this activation.
    First { frozen: Option<Box<Linear>>, activation: DenseActivation },
}

impl Classifier {
    /// Loads configuration and checkpoint of `dir`, without their own head, onto `device` and attaches `adapter`, whose head
    /// has `labels` labels. It uses all cores until [`set_threads`](Self::set_threads).
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the file, tensor or adapter tensor at fault.
    pub fn load(dir: &Path, adapter: &Adapter, labels: usize, device: &Device) -> Result<Self, LoraError> {
        let device = device.clone().without_autodiff();
        let (model, pooling) =
            Transformer::load(dir, &device, |model, tensors| Pooling::load(dir, adapter.model(), model, tensors))?;
        Ok(Self { adapted: Adapted::new(model, adapter, Some(labels), device)?, labels, pooling })
    }

    /// Seeds what dropout hides in the gradients that are computed from here on, where the adapter has dropout: the same seed, the same gradients.
    pub fn set_dropout_seed(&mut self, seed: u64) {
        self.adapted.dropout_seed = seed;
    }

    /// Replaces the adapter's values; the base model stays.
    ///
    /// # Errors
    ///
    /// [`LoraError::Adapter`] where a tensor or the head does not fit; the old adapter then stays.
    pub fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), LoraError> {
        if (adapter.model().head == Head::Mean) != matches!(self.pooling, Pooling::Mean) {
            let reason = "belongs to the other kind of head".to_owned();
            return Err(LoraError::Adapter { name: "classifier".to_owned(), reason });
        }
        self.adapted.set_adapter(adapter)
    }

    /// Computes with at most `threads` threads, at least one. An accelerator is fed by one thread whatever is set.
    pub fn set_threads(&mut self, threads: usize) {
        self.adapted.set_threads(threads);
    }

    /// The base model's sizes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.adapted.sizes()
    }

    /// Whether the model takes all of `texts`.
    ///
    /// # Errors
    /// [`LoraError`] naming the first that it does not: empty, too long, or with a token that is none of its.
    pub fn check(&self, texts: &[Encoded]) -> Result<(), LoraError> {
        self.adapted.check(texts)
    }

    /// Length of a flat gradient: the adapter's `trainable_len`.
    #[must_use]
    pub fn gradient_width(&self) -> usize {
        self.adapted.attached.width
    }

    /// The encoder's last hidden states with the adapter: for each text `tokens * hidden_size` values, token by token.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the text that the model cannot take.
    pub fn hidden_states(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        let width = self.sizes().hidden_size;
        self.adapted.per_text(texts, |batch| {
            let values = to_vec("hidden states", self.adapted.states(batch))?;
            let rows = values.chunks_exact(batch.padded_tokens() * width);
            Ok(rows.zip(batch.lengths()).map(|(row, tokens)| row[..tokens * width].to_vec()).collect())
        })
    }

    /// What the head sees of each text.
    pub(crate) fn features(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        let width = self.sizes().hidden_size;
        self.adapted.per_text(texts, |batch| {
            let values =
                to_vec("pooled states", self.pooling.of(self.adapted.states(batch), batch.lengths(), self.pooler()))?;
            Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
        })
    }

    /// What the adapter adds to the pooler's bias, `[1, 1, hidden]`.
    fn pooler(&self) -> Option<Tensor<3>> {
        self.adapted.attached.pooler.as_ref().map(|bias| bias.values.clone().unsqueeze())
    }

    /// Whether one layer is all that is trained of the head.
    pub(crate) fn one_layer(&self) -> Result<(), LoraError> {
        if self.adapted.attached.head.len() == 1 {
            return Ok(());
        }
        let reason = "is one layer of two; only a head of one is trained on its own".to_owned();
        Err(LoraError::Adapter { name: "classifier".to_owned(), reason })
    }

    /// Labels of the head.
    pub(crate) fn labels(&self) -> usize {
        self.labels
    }

    /// The head's logits of each text, one value a label.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the text that the model cannot take.
    pub fn logits(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        self.adapted.per_text(texts, |batch| {
            let one = |factor: &Factor| factor.values.clone().unsqueeze();
            let head = self.adapted.attached.head.iter().map(|layer| (one(&layer.weight), one(&layer.bias))).collect();
            let logits = self.pooling.logits(self.adapted.states(batch), batch.lengths(), self.pooler(), head);
            let values = to_vec("logits", logits)?;
            Ok(values.chunks_exact(self.labels).map(<[f32]>::to_vec).collect())
        })
    }

    /// Losses and per-example gradients of one micro-batch, on the calling thread. `labels` are those of all examples that the
    /// micro-batches were made from, as [`MicroBatch::indices`] counts them.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the example at fault; nothing is computed then.
    pub fn per_example_gradients(&self, batch: &MicroBatch, labels: &[usize]) -> Result<Gradients, LoraError> {
        self.gradients(batch, labels, Of::Each)
    }

    fn gradients(&self, batch: &MicroBatch, labels: &[usize], of: Of) -> Result<Gradients, LoraError> {
        let own: Vec<usize> = batch.indices().iter().map(|i| self.label(*i, labels)).collect::<Result<_, _>>()?;
        batch.check(self.sizes())?;
        gradients::of_losses(&self.adapted, batch, of, |hidden, leaves| {
            let mut copies = |factor: &Factor| leaf(factor, of.copies(batch.rows()), leaves);
            let layers = self.adapted.attached.head.iter();
            let head = layers.map(|layer| (copies(&layer.weight), copies(&layer.bias))).collect();
            let pooler = self.adapted.attached.pooler.as_ref().map(&mut copies);
            let logits = self.pooling.logits(hidden, batch.lengths(), pooler, head);
            let log_probabilities = activation::log_softmax(logits, 1);
            let chosen = one_hot(&own, batch.rows(), self.labels, &log_probabilities.device());
            Ok((log_probabilities * chosen).sum_dim(1).neg())
        })
    }

    /// Calls `sink(example, loss, gradient)` once for every example, on the calling thread and in no particular order. The
    /// gradients are computed on [`set_threads`](Self::set_threads) threads and never all held at once.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the example at fault, before anything is computed; or a failure of the device.
    pub fn for_each_gradient(
        &self,
        examples: &[Encoded],
        labels: &[usize],
        sink: impl FnMut(usize, f32, &[f32]),
    ) -> Result<(), LoraError> {
        (0..examples.len()).try_for_each(|i| self.label(i, labels).map(drop))?;
        self.adapted.for_each_gradient(examples, |batch| self.per_example_gradients(batch, labels), sink)
    }

    /// Every example's loss, and the sum of their gradients, as a step without privacy takes it.
    ///
    /// # Errors
    /// As [`Classifier::for_each_gradient`].
    pub fn summed_gradient(&self, examples: &[Encoded], labels: &[usize]) -> Result<(Vec<f32>, Vec<f32>), LoraError> {
        (0..examples.len()).try_for_each(|i| self.label(i, labels).map(drop))?;
        self.adapted.summed_gradient(examples, |batch| self.gradients(batch, labels, Of::Sum))
    }

    pub(crate) fn label(&self, example: usize, labels: &[usize]) -> Result<usize, LoraError> {
        let label = labels.get(example).copied();
        let limit = self.labels;
        label.filter(|label| *label < limit).ok_or(LoraError::Label { example, label, limit })
    }
}

/// Weight `[copies, outputs, inputs]` and bias `[copies, outputs, 1]` of a head's layer: one copy for all examples, or one an example.
type HeadLayer = (Tensor<3>, Tensor<3>);

impl Pooling {
    fn load(dir: &Path, of: &adapter::Model, model: &Transformer, tensors: &Tensors<'_>) -> Result<Self, LoraError> {
        match (of.head, model.spec().head) {
            (Head::Mean, _) => Ok(Self::Mean),
            (Head::SequenceClassification, HeadKind::Sequence { dense, activation, .. }) => {
                let hidden = model.spec().hidden_size;
                // The pooler is the base model's; a head of two layers is trained whole.
                let frozen = (of.head_layers().len() == 1).then(|| {
                    let name = tensors.base(dense.strip_prefix(model.spec().names.linear.prefix).unwrap_or(dense));
                    Linear::load(tensors, &name, hidden, hidden, true).map(Box::new)
                });
                Ok(Self::First { frozen: frozen.transpose()?, activation })
            }
            (Head::SequenceClassification, HeadKind::Words { .. }) => {
                let reason = "model_type is a decoder's, which has no head over labels".to_owned();
                Err(LoraError::Config { path: dir.join("config.json"), reason })
            }
        }
    }

    /// What the head's first trained layer gets, `[examples, hidden]` from `[examples, tokens, hidden]`; `pooler` is added to the pooler's bias.
    fn of(&self, hidden: Tensor<3>, lengths: &[usize], pooler: Option<Tensor<3>>) -> Tensor<2> {
        let Self::First { frozen, activation } = self else { return pool(hidden, lengths) };
        let [examples, _, width] = hidden.dims();
        let first = hidden.narrow(1, 0, 1).reshape([examples, width]);
        match frozen {
            Some(dense) => activate(*activation, dense.forward_with(first, &Added { branch: None, bias: pooler })),
            None => first,
        }
    }

    /// `[examples, labels]`.
    fn logits(
        &self,
        hidden: Tensor<3>,
        lengths: &[usize],
        pooler: Option<Tensor<3>>,
        head: Vec<HeadLayer>,
    ) -> Tensor<2> {
        let last = head.len().saturating_sub(1);
        head.into_iter().enumerate().fold(self.of(hidden, lengths, pooler), |x, (place, (weight, bias))| {
            let ([examples, inputs], [_, outputs, _]) = (x.dims(), weight.dims());
            let weight = weight.expand([examples, outputs, inputs]);
            let x = weight.matmul(x.unsqueeze_dim::<3>(2)) + bias.expand([examples, outputs, 1]);
            let x = x.reshape([examples, outputs]);
            match self {
                Self::First { activation, .. } if place < last => activate(*activation, x),
                _ => x,
            }
        })
    }
}

/// The activation between the layers of a head.
pub(crate) fn activate(activation: DenseActivation, x: Tensor<2>) -> Tensor<2> {
    match activation {
        DenseActivation::Tanh => x.tanh(),
        DenseActivation::Relu => activation::relu(x),
    }
}

/// The mean of each text's real tokens, divided by its L2 norm: `[examples, hidden]` from `[examples, tokens, hidden]`.
fn pool(hidden: Tensor<3>, lengths: &[usize]) -> Tensor<2> {
    let [examples, tokens, width] = hidden.dims();
    let weights: Vec<f32> = lengths
        .iter()
        .flat_map(|length| (0..tokens).map(move |t| if t < *length { 1.0 / *length as f32 } else { 0.0 }))
        .collect();
    let device = hidden.device().without_autodiff();
    let weights: Tensor<3> = Tensor::from_data(TensorData::new(weights, [examples, 1, tokens]), &device);
    let mean: Tensor<2> = weights.matmul(hidden).reshape([examples, width]);
    let norm = mean.clone().square().sum_dim(1).sqrt().clamp_min(SMALLEST_NORM);
    mean / norm
}

/// 1 at each row's label, `[rows, labels]`; rows without a label get label 0.
fn one_hot(labels: &[usize], rows: usize, width: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0f32; rows * width];
    for row in 0..rows {
        values[row * width + labels.get(row).copied().unwrap_or(0)] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [rows, width]), &device.clone().without_autodiff())
}

/// A tensor's values in row-major order.
pub(crate) fn to_vec<const D: usize>(what: &'static str, tensor: Tensor<D>) -> Result<Vec<f32>, LoraError> {
    tensor.try_into_vec_as::<f32>().map_err(|e| LoraError::Compute { what, reason: e.to_string() })
}
