//! The classifier: a frozen encoder, an adapter and a linear head over the mean-pooled, normalised hidden states.

use std::path::Path;

use adapter::Adapter;
use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::LoraError;
use crate::adapted::Adapted;
use crate::attach::HeadTensors;
use crate::batch::MicroBatch;
use crate::gradients::{self, Gradients, Of};
use crate::spec::Sizes;
use crate::tokenizer::Encoded;

/// Added under the L2 norm's lower bound, as in PyTorch's `normalize`.
const SMALLEST_NORM: f32 = 1e-12;

/// An encoder's checkpoint with an adapter and a classification head, on one device.
pub struct Classifier {
    adapted: Adapted,
    labels: usize,
}

impl Classifier {
    /// Loads configuration and checkpoint of `dir`, without their own head, onto `device` and attaches `adapter`, whose head
    /// has `labels` labels. It uses all cores until [`set_threads`](Self::set_threads).
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the file, tensor or adapter tensor at fault.
    pub fn load(dir: &Path, adapter: &Adapter, labels: usize, device: &Device) -> Result<Self, LoraError> {
        Ok(Self { adapted: Adapted::load(dir, adapter, labels, device)?, labels })
    }

    /// Replaces the adapter's values; the base model stays.
    ///
    /// # Errors
    ///
    /// [`LoraError::Adapter`] where a tensor does not fit; the old adapter then stays.
    pub fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), LoraError> {
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
            let values = to_vec("hidden states", self.adapted.states(batch)?)?;
            let rows = values.chunks_exact(batch.padded_tokens() * width);
            Ok(rows.zip(batch.lengths()).map(|(row, tokens)| row[..tokens * width].to_vec()).collect())
        })
    }

    /// What the head sees of each text: the mean hidden state over its tokens, of norm 1.
    pub(crate) fn features(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        let width = self.sizes().hidden_size;
        self.adapted.per_text(texts, |batch| {
            let values = to_vec("pooled states", pool(self.adapted.states(batch)?, batch.lengths()))?;
            Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
        })
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
            let pooled = pool(self.adapted.states(batch)?, batch.lengths());
            let values = to_vec("logits", class_logits(pooled, Head::copies(self.head()?, batch.rows())))?;
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
        let head = self.head()?;
        gradients::of_losses(&self.adapted, batch, of, |hidden, leaves| {
            let Head { weight, bias } = Head::copies(head, of.copies(batch.rows()));
            let [weight, bias] = [weight, bias].map(|copies| copies.autodiff().require_grad());
            leaves.push((head.weight_offset, weight.clone()));
            leaves.push((head.bias_offset, bias.clone()));
            let logits = class_logits(pool(hidden, batch.lengths()), Head { weight, bias }.for_all(batch.rows()));
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

    fn head(&self) -> Result<&HeadTensors, LoraError> {
        let missing = || LoraError::Adapter { name: "classifier".to_owned(), reason: "is missing".to_owned() };
        self.adapted.attached.head.as_ref().ok_or_else(missing)
    }
}

/// The head of a batch, one copy an example (expanded views: nothing is copied).
struct Head {
    /// `[examples, labels, hidden]`.
    weight: Tensor<3>,
    /// `[examples, labels, 1]`.
    bias: Tensor<3>,
}

impl Head {
    fn copies(head: &HeadTensors, examples: usize) -> Self {
        let [labels, hidden] = head.weight.dims();
        let bias: Tensor<3> = head.bias.clone().reshape([1, labels, 1]);
        Self {
            weight: head.weight.clone().unsqueeze::<3>().expand([examples, labels, hidden]),
            bias: bias.expand([examples, labels, 1]),
        }
    }

    /// One for each of so many examples, where there was one for all.
    fn for_all(self, examples: usize) -> Self {
        let [_, labels, hidden] = self.weight.dims();
        Self { weight: self.weight.expand([examples, labels, hidden]), bias: self.bias.expand([examples, labels, 1]) }
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

/// The head's output, `[examples, labels]`.
fn class_logits(pooled: Tensor<2>, head: Head) -> Tensor<2> {
    let [examples, labels, _] = head.bias.dims();
    (head.weight.matmul(pooled.unsqueeze_dim::<3>(2)) + head.bias).reshape([examples, labels])
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
