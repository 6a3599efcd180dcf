//! A model that gives gradients of a corpus's rows.

use std::sync::Arc;

use adapter::Adapter;
use lora::{Classifier, Encoded, LanguageModel};

use crate::{Corpus, Texts, TrainError};

/// Takes (position in the rows asked for, loss, gradient) of one example.
pub type Sink<'a> = dyn FnMut(usize, f32, &[f32]) + 'a;

/// A model over the rows of a corpus.
pub trait Learner {
    /// Replaces the trained values.
    ///
    /// # Errors
    /// An adapter of another shape.
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError>;

    /// Seeds what dropout hides in the gradients that follow, where the adapter has dropout ([`Tools::begin_step`](crate::Tools::begin_step) calls it).
    fn set_dropout_seed(&mut self, seed: u64);

    /// Calls `sink` once for every one of `rows` (positions in the corpus), in no particular order. Gradients are flat, in
    /// the order of the adapter's trained values.
    ///
    /// # Errors
    /// A row that is not there, or a failure of the model.
    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError>;

    /// How well it does on each of `rows`.
    ///
    /// # Errors
    /// As [`Learner::for_each_gradient`].
    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError>;
}

/// How well a model does on one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A classifier's: the row's label, and a probability for each.
    Label {
        /// Position in the charter's list.
        label: usize,
        /// One a label.
        probabilities: Vec<f64>,
    },
    /// A language model's: the mean loss of a learnt token.
    Text {
        /// In nats.
        loss: f64,
    },
}

impl Outcome {
    /// Of a row with this label, from a classifier's logits.
    #[must_use]
    pub fn of_logits(label: usize, logits: &[f32]) -> Self {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        Self::Label { label, probabilities: powers.into_iter().map(|power| power / sum).collect() }
    }
}

/// The likeliest label, the first of equally likely ones.
pub(crate) fn likeliest(probabilities: &[f64]) -> usize {
    (0..probabilities.len()).fold(0, |best, i| if probabilities[i] > probabilities[best] { i } else { best })
}

/// Rows that are read and checked at once, where there may be more than fit into memory.
const BLOCK: usize = 1024;

fn blocks(texts: &Texts) -> impl Iterator<Item = Vec<usize>> {
    let count = texts.len();
    (0..count).step_by(BLOCK).map(move |first| (first..count.min(first + BLOCK)).collect())
}

/// `lora`'s classifier over a corpus.
pub struct TextLearner {
    /// The model; houses of one process take turns with it.
    pub classifier: Classifier,
    corpus: Arc<Corpus>,
}

impl TextLearner {
    /// A model over `corpus`.
    pub fn new(classifier: Classifier, corpus: Arc<Corpus>) -> Self {
        Self { classifier, corpus }
    }

    /// Whether the model takes every text.
    ///
    /// # Errors
    /// The first that it does not.
    pub fn check(&self) -> Result<(), TrainError> {
        blocks(&self.corpus.texts).try_for_each(|rows| Ok(self.classifier.check(&self.examples(&rows)?)?))
    }

    /// The rows.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    /// Each row's logits, one value a label.
    ///
    /// # Errors
    /// As [`Learner::for_each_gradient`].
    pub fn logits(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, TrainError> {
        Ok(self.classifier.logits(&self.examples(rows)?)?)
    }

    /// A row's label.
    #[must_use]
    pub fn label(&self, row: usize) -> Option<usize> {
        self.corpus.labels.get(row).copied()
    }

    fn examples(&self, rows: &[usize]) -> Result<Vec<Encoded>, TrainError> {
        rows.iter().map(|row| self.corpus.texts.get(*row)).collect()
    }
}

impl Learner for TextLearner {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        Ok(self.classifier.set_adapter(adapter)?)
    }

    fn set_dropout_seed(&mut self, seed: u64) {
        self.classifier.set_dropout_seed(seed);
    }

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        let examples = self.examples(rows)?;
        let label = |row: &usize| self.label(*row).ok_or(TrainError::NoRow(*row));
        let labels = rows.iter().map(label).collect::<Result<Vec<_>, _>>()?;
        Ok(self.classifier.for_each_gradient(&examples, &labels, sink)?)
    }

    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError> {
        let of = |(row, logits): (&usize, Vec<f32>)| {
            let label = self.label(*row).ok_or(TrainError::NoRow(*row))?;
            Ok::<_, TrainError>(Outcome::of_logits(label, &logits))
        };
        let mut outcomes = Vec::with_capacity(rows.len());
        for rows in rows.chunks(BLOCK) {
            for pair in rows.iter().zip(self.logits(rows)?) {
                outcomes.push(of(pair)?);
            }
        }
        Ok(outcomes)
    }
}

/// `lora`'s language model over texts, of each of which some tokens are given.
pub struct PromptLearner {
    pub(crate) model: LanguageModel,
    texts: Texts,
    prompts: Vec<usize>,
}

impl PromptLearner {
    /// A model over `texts`, whose first `prompts` tokens are given.
    ///
    /// # Errors
    /// A text that the model does not take, or that has nothing to learn; as many prompts as texts.
    pub fn new(model: LanguageModel, texts: Texts, prompts: Vec<usize>) -> Result<Self, TrainError> {
        let new = Self { model, texts, prompts };
        for rows in blocks(&new.texts) {
            let (texts, prompts) = new.rows(&rows)?;
            new.model.check(&texts, &prompts)?;
        }
        Ok(new)
    }

    pub(crate) fn rows(&self, rows: &[usize]) -> Result<(Vec<Encoded>, Vec<usize>), TrainError> {
        let of = |row: &usize| {
            let prompt = self.prompts.get(*row).copied().ok_or(TrainError::NoRow(*row))?;
            Ok((self.texts.get(*row)?, prompt))
        };
        rows.iter().map(of).collect()
    }
}

impl Learner for PromptLearner {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        Ok(self.model.set_adapter(adapter)?)
    }

    fn set_dropout_seed(&mut self, seed: u64) {
        self.model.set_dropout_seed(seed);
    }

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        let (texts, prompts) = self.rows(rows)?;
        Ok(self.model.for_each_gradient(&texts, &prompts, sink)?)
    }

    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError> {
        let mut outcomes = Vec::with_capacity(rows.len());
        for rows in rows.chunks(BLOCK) {
            let (texts, prompts) = self.rows(rows)?;
            let found = self.model.foresee(&texts, &prompts)?;
            outcomes.extend(found.into_iter().map(|text| Outcome::Text { loss: f64::from(text.loss) }));
        }
        Ok(outcomes)
    }
}
