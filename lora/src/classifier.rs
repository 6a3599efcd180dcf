//! The classifier: a frozen encoder, an adapter and a linear head over the mean-pooled, normalised hidden states.

use std::path::Path;

use adapter::Adapter;
use burn::tensor::{Device, Tensor, TensorData};

use crate::LoraError;
use crate::attach::Attached;
use crate::batch::{self, MicroBatch, micro_batches};
use crate::gradients::{self, Gradients};
use crate::parallel::for_each;
use crate::spec::{Sizes, Spec};
use crate::tokenizer::Encoded;
use crate::transformer::{Input, Transformer};

/// Added under the L2 norm's lower bound, as in PyTorch's `normalize`.
const SMALLEST_NORM: f32 = 1e-12;

/// A BERT checkpoint with an adapter and a classification head, on one device.
pub struct Classifier {
    model: Transformer,
    attached: Attached,
    device: Device,
    threads: usize,
}

impl Classifier {
    /// Loads `config.json` and `model.safetensors` of `dir`, without their pooler, onto `device` and attaches `adapter`, whose head
    /// has `labels` labels. It uses all cores until [`set_threads`](Self::set_threads).
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the file, tensor or adapter tensor at fault.
    pub fn load(dir: &Path, adapter: &Adapter, labels: usize, device: &Device) -> Result<Self, LoraError> {
        let device = device.clone().without_autodiff();
        let model = Transformer::load(dir, &device)?;
        let attached = Attached::new(adapter, model.spec(), labels, &device)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { model, attached, device, threads })
    }

    /// Replaces the adapter's values; the base model stays.
    ///
    /// # Errors
    ///
    /// [`LoraError::Adapter`] where a tensor does not fit; the old adapter then stays.
    pub fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), LoraError> {
        self.attached = Attached::new(adapter, self.spec(), self.attached.labels, &self.device)?;
        Ok(())
    }

    /// Computes with at most `threads` threads, at least one. An accelerator is fed by one thread whatever is set.
    pub fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    /// The base model's sizes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.spec().sizes()
    }

    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    /// Whether the model takes all of `texts`.
    ///
    /// # Errors
    /// [`LoraError`] naming the first that it does not: empty, too long, or with a token that is none of its.
    pub fn check(&self, texts: &[Encoded]) -> Result<(), LoraError> {
        batch::check(texts, self.sizes())
    }

    /// Length of a flat gradient: the adapter's `trainable_len`.
    #[must_use]
    pub fn gradient_width(&self) -> usize {
        self.attached.width
    }

    /// The encoder's last hidden states with the adapter: for each text `tokens * hidden_size` values, token by token.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the text that the model cannot take.
    pub fn hidden_states(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        batch::check(texts, self.sizes())?;
        let width = self.sizes().hidden_size;
        self.per_text(texts, |input, batch| {
            let hidden = self.model.forward(input, &self.attached.shared_branches())?;
            let values = to_vec("hidden states", hidden)?;
            let rows = values.chunks_exact(batch.padded_tokens() * width);
            Ok(rows.zip(batch.lengths()).map(|(row, tokens)| row[..tokens * width].to_vec()).collect())
        })
    }

    /// What the head sees of each text: the mean hidden state over its tokens, of norm 1.
    pub(crate) fn features(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        batch::check(texts, self.sizes())?;
        let width = self.sizes().hidden_size;
        self.per_text(texts, |input, batch| {
            let hidden = self.model.forward(input, &self.attached.shared_branches())?;
            let values = to_vec("pooled states", pool(hidden, batch.lengths()))?;
            Ok(values.chunks_exact(width).map(<[f32]>::to_vec).collect())
        })
    }

    /// Labels of the head.
    pub(crate) fn labels(&self) -> usize {
        self.attached.labels
    }

    /// The head's logits of each text, one value a label.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the text that the model cannot take.
    pub fn logits(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        batch::check(texts, self.sizes())?;
        self.per_text(texts, |input, batch| {
            let hidden = self.model.forward(input, &self.attached.shared_branches())?;
            let pooled = pool(hidden, batch.lengths());
            let head = Head::shared(&self.attached, batch.rows());
            let values = to_vec("logits", class_logits(pooled, head))?;
            Ok(values.chunks_exact(self.attached.labels).map(<[f32]>::to_vec).collect())
        })
    }

    /// Losses and per-example gradients of one micro-batch, on the calling thread. `labels` are those of all examples that the
    /// micro-batches were made from, as [`MicroBatch::indices`] counts them.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the example at fault; nothing is computed then.
    pub fn per_example_gradients(&self, batch: &MicroBatch, labels: &[usize]) -> Result<Gradients, LoraError> {
        let own: Vec<usize> = batch.indices().iter().map(|i| self.label(*i, labels)).collect::<Result<_, _>>()?;
        batch.check(self.sizes())?;
        gradients::per_example(&self.model, &self.attached, batch, &self.input(batch), &own)
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
        mut sink: impl FnMut(usize, f32, &[f32]),
    ) -> Result<(), LoraError> {
        batch::check(examples, self.sizes())?;
        (0..examples.len()).try_for_each(|i| self.label(i, labels).map(drop))?;
        let work = |batch: &MicroBatch| self.per_example_gradients(batch, labels);
        for_each(self.workers(), &micro_batches(examples), work, |batch, gradients| {
            for (row, index) in batch.indices().iter().enumerate() {
                sink(*index, gradients.losses[row], gradients.row(row));
            }
        })
    }

    pub(crate) fn label(&self, example: usize, labels: &[usize]) -> Result<usize, LoraError> {
        let label = labels.get(example).copied();
        let limit = self.attached.labels;
        label.filter(|label| *label < limit).ok_or(LoraError::Label { example, label, limit })
    }

    /// `work`'s result for each text of each micro-batch, in the order of `texts`.
    fn per_text(
        &self,
        texts: &[Encoded],
        work: impl Fn(&Input, &MicroBatch) -> Result<Vec<Vec<f32>>, LoraError> + Sync,
    ) -> Result<Vec<Vec<f32>>, LoraError> {
        let mut out = vec![Vec::new(); texts.len()];
        let work = |batch: &MicroBatch| work(&self.input(batch), batch);
        for_each(self.workers(), &micro_batches(texts), work, |batch, rows| {
            for (index, row) in batch.indices().iter().zip(rows) {
                out[*index] = row;
            }
        })?;
        Ok(out)
    }

    fn input(&self, batch: &MicroBatch) -> Input {
        Input::new(batch.ids(), batch.lengths(), batch.padded_tokens(), &self.device)
    }

    fn workers(&self) -> usize {
        if self.device == Device::flex() { self.threads } else { 1 }
    }
}

/// The head of a batch, one copy an example.
pub(crate) struct Head {
    /// `[examples, labels, hidden]`.
    pub(crate) weight: Tensor<3>,
    /// `[examples, labels]`.
    pub(crate) bias: Tensor<2>,
}

impl Head {
    fn shared(attached: &Attached, examples: usize) -> Self {
        let [labels, hidden] = attached.head_weight.dims();
        Self {
            weight: attached.head_weight.clone().unsqueeze::<3>().expand([examples, labels, hidden]),
            bias: attached.head_bias.clone().unsqueeze::<2>().expand([examples, labels]),
        }
    }
}

/// The mean of each text's real tokens, divided by its L2 norm: `[examples, hidden]` from `[examples, tokens, hidden]`.
pub(crate) fn pool(hidden: Tensor<3>, lengths: &[usize]) -> Tensor<2> {
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
pub(crate) fn class_logits(pooled: Tensor<2>, head: Head) -> Tensor<2> {
    let [examples, labels] = head.bias.dims();
    head.weight.matmul(pooled.unsqueeze_dim::<3>(2)).reshape([examples, labels]) + head.bias
}

/// 1 at each row's label, `[rows, labels]`; rows without a label get label 0.
pub(crate) fn one_hot(labels: &[usize], rows: usize, width: usize, device: &Device) -> Tensor<2> {
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
