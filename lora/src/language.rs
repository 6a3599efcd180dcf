//! The language model: a frozen decoder, an adapter, and the scores of the next word.

use std::path::Path;

use adapter::Adapter;
use burn::tensor::{Device, Tensor, TensorData};

use crate::LoraError;
use crate::adapted::Adapted;
use crate::batch::MicroBatch;
use crate::classifier::to_vec;
use crate::gradients::{self, Gradients, Of};
use crate::spec::{HeadKind, Sizes};
use crate::tokenizer::Encoded;
use crate::transformer::Transformer;

/// A decoder's checkpoint with an adapter, on one device.
///
/// What is learnt of a text is each token after its *prompt*: the first `prompt` tokens are given. Without a prompt (0) the first
/// token is given all the same, since nothing is before it.
pub struct LanguageModel {
    pub(crate) adapted: Adapted,
    /// `[vocabulary, hidden]`: the word embeddings, or a matrix of their shape.
    pub(crate) words: Tensor<2>,
}

/// How well a text's learnt tokens are foreseen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Foreseen {
    /// Mean negative log-likelihood of a token, in nats: the exponential is the perplexity.
    pub loss: f32,
    /// Tokens that it is the mean of.
    pub tokens: usize,
}

impl LanguageModel {
    /// Loads configuration and checkpoint of `dir` onto `device` and attaches `adapter`. It uses all cores until
    /// [`set_threads`](Self::set_threads).
    ///
    /// # Errors
    /// [`LoraError`] naming the file, tensor or adapter tensor at fault.
    pub fn load(dir: &Path, adapter: &Adapter, device: &Device) -> Result<Self, LoraError> {
        let device = device.clone().without_autodiff();
        let (model, words) = Transformer::load(dir, &device, |model, tensors| match model.spec().head {
            HeadKind::Words { tied } => model.word_scores(tied, tensors),
            HeadKind::Sequence { .. } => {
                let reason = "model_type is an encoder's, which says no words; use a classifier".to_owned();
                Err(LoraError::Config { path: dir.join("config.json"), reason })
            }
        })?;
        Ok(Self { adapted: Adapted::new(model, adapter, None, device)?, words })
    }

    /// Replaces the adapter's values; the base model stays.
    ///
    /// # Errors
    /// [`LoraError::Adapter`] where a tensor does not fit; the old adapter then stays.
    pub fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), LoraError> {
        self.adapted.set_adapter(adapter)
    }

    /// Computes with at most `threads` threads, at least one. An accelerator is fed by one thread whatever is set.
    pub fn set_threads(&mut self, threads: usize) {
        self.adapted.set_threads(threads);
    }

    /// Seeds what dropout hides in the gradients that are computed from here on, where the adapter has dropout: the same seed, the same gradients.
    pub fn set_dropout_seed(&mut self, seed: u64) {
        self.adapted.dropout_seed = seed;
    }

    /// The base model's sizes.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.adapted.sizes()
    }

    /// Length of a flat gradient: the adapter's `trainable_len`.
    #[must_use]
    pub fn gradient_width(&self) -> usize {
        self.adapted.attached.width
    }

    /// Whether the model takes all of `texts`, and has something to learn of each.
    ///
    /// # Errors
    /// [`LoraError`] naming the first that it does not: empty, too long, with a token that is none of its, or all prompt.
    pub fn check(&self, texts: &[Encoded], prompts: &[usize]) -> Result<(), LoraError> {
        self.adapted.check(texts)?;
        texts.iter().enumerate().try_for_each(|(example, text)| learnt(example, text.ids.len(), prompts).map(drop))
    }

    /// Whether the model takes all of these prompts.
    ///
    /// # Errors
    /// [`LoraError`] naming the first that it does not: empty, too long, or with a token that is none of its.
    pub fn check_prompts(&self, prompts: &[Encoded]) -> Result<(), LoraError> {
        self.adapted.check(prompts)
    }

    /// The logits of each text's tokens: a row of one value a word for each.
    ///
    /// # Errors
    /// [`LoraError`] naming the text that the model cannot take.
    pub fn logits(&self, texts: &[Encoded]) -> Result<Vec<Vec<f32>>, LoraError> {
        self.adapted.per_text(texts, |batch| word_logits(self.adapted.states(batch), &self.words, batch))
    }

    /// How well each text's tokens after its prompt are foreseen.
    ///
    /// # Errors
    /// As [`LanguageModel::check`].
    pub fn foresee(&self, texts: &[Encoded], prompts: &[usize]) -> Result<Vec<Foreseen>, LoraError> {
        self.check(texts, prompts)?;
        self.adapted.per_text(texts, |batch| {
            let targets = Targets::new(batch, prompts)?;
            let losses = to_vec("losses", self.losses(self.adapted.states(batch), &targets))?;
            let pairs = losses.into_iter().zip(&targets.counts);
            Ok(pairs.map(|(loss, tokens)| Foreseen { loss, tokens: *tokens }).collect())
        })
    }

    /// Losses (mean over a text's learnt tokens) and per-example gradients of one micro-batch, on the calling thread. `prompts` are those of all examples that
    /// the micro-batches were made from.
    ///
    /// # Errors
    /// [`LoraError`] naming the example at fault; nothing is computed then.
    pub fn per_example_gradients(&self, batch: &MicroBatch, prompts: &[usize]) -> Result<Gradients, LoraError> {
        self.gradients(batch, prompts, Of::Each)
    }

    fn gradients(&self, batch: &MicroBatch, prompts: &[usize], of: Of) -> Result<Gradients, LoraError> {
        batch.check(self.sizes())?;
        let targets = Targets::new(batch, prompts)?;
        gradients::of_losses(&self.adapted, batch, of, |hidden, _| Ok(self.losses(hidden, &targets)))
    }

    /// Every example's loss, and the sum of their gradients, as a step without privacy takes it.
    ///
    /// # Errors
    /// As [`LanguageModel::for_each_gradient`].
    pub fn summed_gradient(&self, examples: &[Encoded], prompts: &[usize]) -> Result<(Vec<f32>, Vec<f32>), LoraError> {
        self.check(examples, prompts)?;
        self.adapted.summed_gradient(examples, |batch| self.gradients(batch, prompts, Of::Sum))
    }

    /// Calls `sink(example, loss, gradient)` once for every example, on the calling thread and in no particular order. The
    /// gradients are computed on [`set_threads`](Self::set_threads) threads and never all held at once.
    ///
    /// # Errors
    /// As [`LanguageModel::check`], before anything is computed; or a failure of the device.
    pub fn for_each_gradient(
        &self,
        examples: &[Encoded],
        prompts: &[usize],
        sink: impl FnMut(usize, f32, &[f32]),
    ) -> Result<(), LoraError> {
        self.check(examples, prompts)?;
        self.adapted.for_each_gradient(examples, |batch| self.per_example_gradients(batch, prompts), sink)
    }

    /// Each row's mean loss over its learnt tokens, `[rows, 1]`. All positions are scored, learnt or not, so that shapes depend on the padded length alone.
    fn losses(&self, hidden: Tensor<3>, targets: &Targets) -> Tensor<2> {
        let [rows, tokens, _] = hidden.dims();
        let device = self.words.device();
        let surprises = fused::negative_log_likelihood(scores(hidden, &self.words), &targets.next);
        let weights = Tensor::<2>::from_data(TensorData::new(targets.weights.clone(), [rows, tokens]), &device);
        (surprises.reshape([rows, tokens]) * weights).sum_dim(1)
    }
}

/// `[examples * tokens, vocabulary]` from hidden states `[examples, tokens, hidden]`.
pub(crate) fn scores(hidden: Tensor<3>, words: &Tensor<2>) -> Tensor<2> {
    let [examples, tokens, width] = hidden.dims();
    hidden.reshape([examples * tokens, width]).matmul(words.clone().transpose())
}

/// The logits of each text's tokens, padding left out: a row of one value a word for each.
pub(crate) fn word_logits(
    hidden: Tensor<3>,
    words: &Tensor<2>,
    batch: &MicroBatch,
) -> Result<Vec<Vec<f32>>, LoraError> {
    let [width, _] = words.dims();
    let values = to_vec("logits", scores(hidden, words))?;
    let rows = values.chunks_exact(batch.padded_tokens() * width).zip(batch.lengths());
    Ok(rows.map(|(row, length)| row[..length * width].to_vec()).collect())
}

/// What is learnt at each position of a micro-batch.
struct Targets {
    /// The next token, row by row; 0 where none is learnt.
    next: Vec<usize>,
    /// One over the row's learnt tokens where the next token is learnt, else 0.
    weights: Vec<f32>,
    /// Learnt tokens of each example, dummy rows excluded.
    counts: Vec<usize>,
}

impl Targets {
    fn new(batch: &MicroBatch, prompts: &[usize]) -> Result<Self, LoraError> {
        let (rows, tokens) = (batch.rows(), batch.padded_tokens());
        let mut targets = Self { next: vec![0; rows * tokens], weights: vec![0.0; rows * tokens], counts: Vec::new() };
        for (row, example) in batch.indices().iter().enumerate() {
            let (start, length) = (row * tokens, batch.lengths()[row]);
            let first = learnt(*example, length, prompts)?;
            for place in first..length {
                targets.next[start + place - 1] = batch.ids()[start + place] as usize;
                targets.weights[start + place - 1] = 1.0 / (length - first) as f32;
            }
            targets.counts.push(length - first);
        }
        Ok(targets)
    }
}

/// The first learnt token of an example.
fn learnt(example: usize, length: usize, prompts: &[usize]) -> Result<usize, LoraError> {
    let first = prompts.get(example).copied().unwrap_or(usize::MAX).max(1);
    if first < length { Ok(first) } else { Err(LoraError::NothingToLearn { example, tokens: length }) }
}
