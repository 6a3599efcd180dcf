//! A model that gives gradients of a corpus's rows.

use std::sync::Arc;

use adapter::Adapter;
use lora::{Classifier, Encoded};

use crate::{Corpus, TrainError};

/// Takes (position in the rows asked for, loss, gradient) of one example.
pub type Sink<'a> = dyn FnMut(usize, f32, &[f32]) + 'a;

/// A model over the rows of a corpus.
pub trait Learner {
    /// Replaces the trained values.
    ///
    /// # Errors
    /// An adapter of another shape.
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError>;

    /// Calls `sink` once for every one of `rows` (positions in the corpus), in no particular order. Gradients are flat, in
    /// the order of the adapter's trained values.
    ///
    /// # Errors
    /// A row that is not there, or a failure of the model.
    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError>;

    /// Each row's logits, one value a label.
    ///
    /// # Errors
    /// As [`Learner::for_each_gradient`].
    fn logits(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, TrainError>;

    /// A row's label.
    fn label(&self, row: usize) -> Option<usize>;
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

    /// The rows.
    pub fn corpus(&self) -> &Arc<Corpus> {
        &self.corpus
    }

    fn examples(&self, rows: &[usize]) -> Result<Vec<Encoded>, TrainError> {
        rows.iter().map(|row| self.corpus.examples.get(*row).cloned().ok_or(TrainError::NoRow(*row))).collect()
    }
}

impl Learner for TextLearner {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        Ok(self.classifier.set_adapter(adapter)?)
    }

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        let examples = self.examples(rows)?;
        let label = |row: &usize| self.label(*row).ok_or(TrainError::NoRow(*row));
        let labels = rows.iter().map(label).collect::<Result<Vec<_>, _>>()?;
        Ok(self.classifier.for_each_gradient(&examples, &labels, sink)?)
    }

    fn logits(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, TrainError> {
        Ok(self.classifier.logits(&self.examples(rows)?)?)
    }

    fn label(&self, row: usize) -> Option<usize> {
        self.corpus.labels.get(row).copied()
    }
}
