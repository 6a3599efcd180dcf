//! A base model and an adapter on one device: what classifiers and language models share.

use adapter::Adapter;
use burn::tensor::{Device, Tensor};

use crate::LoraError;
use crate::attach::Attached;
use crate::batch::{self, MicroBatch, micro_batches};
use crate::dropout::Dropout;
use crate::gradients::Gradients;
use crate::parallel::for_each;
use crate::spec::{Sizes, Spec};
use crate::tokenizer::Encoded;
use crate::transformer::{Input, Transformer};

/// A base model with an adapter.
pub(crate) struct Adapted {
    pub(crate) model: Transformer,
    pub(crate) attached: Attached,
    pub(crate) device: Device,
    /// Of the step whose gradients are computed.
    pub(crate) dropout_seed: u64,
    threads: usize,
}

impl Adapted {
    /// Attaches `adapter` to a model on `device`; its head has `labels` labels, where it has one.
    pub(crate) fn new(
        model: Transformer,
        adapter: &Adapter,
        labels: Option<usize>,
        device: Device,
    ) -> Result<Self, LoraError> {
        let attached = Attached::new(adapter, model.spec(), labels, &device)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { model, attached, device, dropout_seed: 0, threads })
    }

    /// What is hidden from the branches in a training step.
    pub(crate) fn dropout(&self) -> Option<Dropout> {
        let share = self.attached.dropout;
        (share > 0.0).then_some(Dropout { share, seed: self.dropout_seed })
    }

    pub(crate) fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), LoraError> {
        let labels = self.attached.head.last().map(|layer| layer.weight.values.dims()[0]);
        self.attached = Attached::new(adapter, self.spec(), labels, &self.device)?;
        Ok(())
    }

    pub(crate) fn set_threads(&mut self, threads: usize) {
        self.threads = threads.max(1);
    }

    pub(crate) fn spec(&self) -> &Spec {
        self.model.spec()
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.spec().sizes()
    }

    pub(crate) fn check(&self, texts: &[Encoded]) -> Result<(), LoraError> {
        batch::check(texts, self.sizes())
    }

    /// The last hidden states with the adapter, `[examples, tokens, hidden]`.
    pub(crate) fn states(&self, batch: &MicroBatch) -> Tensor<3> {
        self.model.forward(&self.input(batch), &self.attached.shared())
    }

    pub(crate) fn input(&self, batch: &MicroBatch) -> Input {
        Input::new(batch.ids(), batch.lengths(), batch.padded_tokens(), &self.device)
    }

    /// `work`'s result for each text of each micro-batch, in the order of `texts`.
    pub(crate) fn per_text<T: Clone + Default + Send>(
        &self,
        texts: &[Encoded],
        work: impl Fn(&MicroBatch) -> Result<Vec<T>, LoraError> + Sync,
    ) -> Result<Vec<T>, LoraError> {
        self.check(texts)?;
        let mut out = vec![T::default(); texts.len()];
        for_each(self.workers(), &micro_batches(texts), work, |batch, rows| {
            for (index, row) in batch.indices().iter().zip(rows) {
                out[*index] = row;
            }
        })?;
        Ok(out)
    }

    /// Calls `sink(example, loss, gradient)` once for every example of what `work` gives for each micro-batch.
    pub(crate) fn for_each_gradient(
        &self,
        examples: &[Encoded],
        work: impl Fn(&MicroBatch) -> Result<Gradients, LoraError> + Sync,
        mut sink: impl FnMut(usize, f32, &[f32]),
    ) -> Result<(), LoraError> {
        self.check(examples)?;
        for_each(self.workers(), &micro_batches(examples), work, |batch, gradients| {
            for (row, index) in batch.indices().iter().enumerate() {
                sink(*index, gradients.losses[row], gradients.row(row));
            }
        })
    }

    /// The losses of all examples, and the sum of the gradients that `work` gives for each micro-batch.
    pub(crate) fn summed_gradient(
        &self,
        examples: &[Encoded],
        work: impl Fn(&MicroBatch) -> Result<Gradients, LoraError> + Sync,
    ) -> Result<(Vec<f32>, Vec<f32>), LoraError> {
        self.check(examples)?;
        let (mut losses, mut sum) = (vec![0.0; examples.len()], vec![0.0; self.attached.width]);
        for_each(self.workers(), &micro_batches(examples), work, |batch, gradients| {
            for (index, loss) in batch.indices().iter().zip(&gradients.losses) {
                losses[*index] = *loss;
            }
            for (sum, value) in sum.iter_mut().zip(gradients.row(0)) {
                *sum += value;
            }
        })?;
        Ok((losses, sum))
    }

    pub(crate) fn workers(&self) -> usize {
        if self.device == Device::flex() { self.threads } else { 1 }
    }
}
