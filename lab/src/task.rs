//! Real rows and a real model: what simulations and attacks train with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adapter::{Adapter, LoraConfig, Model};
use lora::{Classifier, Tokenizer};
use serde::{Deserialize, Serialize};
use training::{Columns, Content, Corpus, DataError, DataSource, Dataset, Learner as _, TextLearner, TrainError};

/// Rows and a model: a section of a plan, and options of the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The rows to train on: TSV, CSV, JSONL or Parquet
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The rows to test on
    // With no label that `data` lacks.
    #[arg(long, value_name = "FILE")]
    pub test: PathBuf,
    /// Hugging Face folder of a BERT model
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Field with the text
    #[arg(long, default_value_t = text(), value_name = "FIELD")]
    #[serde(default = "text")]
    pub text_column: String,
    /// Field with the label
    #[arg(long, default_value_t = label(), value_name = "FIELD")]
    #[serde(default = "label")]
    pub label_column: String,
    /// Field that names the privacy unit
    #[arg(long, value_name = "FIELD")]
    #[serde(default)]
    pub unit_column: Option<String>,
    /// Longer texts are cut to this many tokens
    #[arg(long, default_value_t = tokens(), value_name = "TOKENS")]
    #[serde(default = "tokens")]
    pub max_tokens: u32,
}

fn text() -> String {
    "text".to_owned()
}

fn label() -> String {
    "label".to_owned()
}

fn tokens() -> u32 {
    64
}

/// Rows as tokens, their units, and the model over them.
pub struct Task {
    /// The classes, sorted.
    pub labels: Vec<String>,
    /// The model's shapes.
    pub model: Model,
    /// The model over all rows: those to train on, then those to test on.
    pub learner: TextLearner,
    /// The units to train on, as positions of rows.
    pub units: Vec<Vec<usize>>,
    /// The rows to test on.
    pub test: Vec<usize>,
}

/// How a model does on some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Accuracy.
    pub plain: f64,
    /// Mean of the accuracies within each class that occurs.
    pub macro_: f64,
    /// Mean F1 of the classes that occur or are answered.
    pub macro_f1: f64,
}

/// Rows or a model that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The rows.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model.
    #[error(transparent)]
    Model(#[from] lora::LoraError),
    /// The adapter.
    #[error(transparent)]
    Adapter(#[from] adapter::AdapterError),
    /// The model's configuration.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Source {
    fn rows<'a>(&'a self, file: &'a Path) -> DataSource<'a> {
        let (text, answer, unit) = (&self.text_column, &self.label_column, self.unit_column.as_deref());
        DataSource { file, format: None, columns: Columns { text, answer, messages: None, unit } }
    }
}

/// Adds the rows of a file, whose labels are of `labels`, to `corpus`.
///
/// # Errors
/// What is wrong with the file or its rows, by line.
fn read_into(
    corpus: &mut Corpus,
    rows: &DataSource<'_>,
    labels: &[String],
    tokenizer: &Tokenizer,
    max_tokens: u32,
) -> Result<Dataset, DataError> {
    Dataset::read(rows, labels, &mut |row| {
        let Content::Labelled { text, label } = &row.content else {
            return Err(row.unfit("it has no label".to_owned()));
        };
        let text = tokenizer.encode(text, max_tokens as usize).map_err(|error| row.unfit(error.to_string()))?;
        corpus.texts.push(&text)?;
        corpus.labels.push(*label);
        Ok(())
    })
}

impl Task {
    /// Reads rows and model; the adapter that is attached first has `lora`'s shapes.
    ///
    /// # Errors
    /// [`TaskError`] naming the file, line or field at fault.
    pub fn load(source: &Source, lora: &LoraConfig, threads: Option<usize>) -> Result<Self, TaskError> {
        let tokenizer = Tokenizer::from_file(&source.model.join("tokenizer.json"))?;
        let [train, held] = [&source.data, &source.test].map(|file| source.rows(file));
        let labels = Dataset::labels(&train)?;
        let mut corpus = Corpus::default();
        let train = read_into(&mut corpus, &train, &labels, &tokenizer, source.max_tokens)?;
        let first = corpus.labels.len();
        read_into(&mut corpus, &held, &labels, &tokenizer, source.max_tokens)?;
        let last = corpus.labels.len();
        let model = shapes(&source.model, labels.len())?;
        let initial = Adapter::initial(&model, lora, 0)?;
        let mut classifier = Classifier::load(&source.model, &initial, labels.len(), &lora::device("cpu")?)?;
        if let Some(threads) = threads {
            classifier.set_threads(threads);
        }
        Ok(Self {
            labels,
            model,
            learner: TextLearner::new(classifier, Arc::new(corpus)),
            units: train.units().iter().map(<[usize]>::to_vec).collect(),
            test: (first..last).collect(),
        })
    }

    /// The label of a unit: its first row's.
    #[must_use]
    pub fn label_of(&self, unit: &[usize]) -> usize {
        unit.first().and_then(|row| self.learner.label(*row)).unwrap_or(0)
    }

    /// How `adapter` does on `rows`.
    ///
    /// # Errors
    /// An adapter of another shape, or a row that is not there.
    pub fn score(&mut self, adapter: &Adapter, rows: &[usize]) -> Result<Score, TrainError> {
        Ok(Score::of(&self.answers(adapter, rows)?))
    }

    /// What `adapter` answers to each of `rows`: many clients' rows at once, to be scored apart.
    ///
    /// # Errors
    /// As [`Task::score`].
    pub fn answers(&mut self, adapter: &Adapter, rows: &[usize]) -> Result<Vec<Answer>, TrainError> {
        self.learner.set_adapter(adapter)?;
        let logits = self.learner.logits(rows)?;
        let answer = |(row, logits): (&usize, &Vec<f32>)| {
            let label = self.learner.label(*row).ok_or(TrainError::NoRow(*row))?;
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(class, _)| class);
            Ok(Answer { label, class: best.unwrap_or(label), loss: -log_softmax(logits, label) })
        };
        rows.iter().zip(&logits).map(answer).collect()
    }
}

/// What a model answers to a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// The row's label.
    pub label: usize,
    /// The class that the model answers.
    pub class: usize,
    /// Cross-entropy.
    pub loss: f64,
}

impl Score {
    /// The score of these answers.
    #[must_use]
    pub fn of(answers: &[Answer]) -> Self {
        // Of each class: rows, answers, and those that are both.
        let mut classes: BTreeMap<usize, [usize; 3]> = BTreeMap::new();
        for answer in answers {
            classes.entry(answer.label).or_default()[0] += 1;
            classes.entry(answer.class).or_default()[1] += 1;
            classes.entry(answer.label).or_default()[2] += usize::from(answer.class == answer.label);
        }
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        let recall = |[rows, _, right]: &[usize; 3]| (*rows > 0).then(|| *right as f64 / *rows as f64);
        let f1 = |[rows, answers, right]: &[usize; 3]| 2.0 * *right as f64 / (rows + answers) as f64;
        let right: usize = classes.values().map(|[_, _, right]| right).sum();
        let count = answers.len().max(1) as f64;
        Self {
            loss: answers.iter().map(|answer| answer.loss).sum::<f64>() / count,
            plain: right as f64 / count,
            macro_: mean(classes.values().filter_map(recall).collect()),
            macro_f1: mean(classes.values().map(f1).collect()),
        }
    }
}

/// The logarithm of the softmax at `label`.
#[must_use]
pub fn log_softmax(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    logits.get(label).map_or(f64::NEG_INFINITY, |logit| f64::from(logit - largest) - sum.ln())
}

fn shapes(folder: &Path, labels: usize) -> Result<Model, TaskError> {
    let path = folder.join("config.json");
    let json = std::fs::read_to_string(&path).map_err(|source| TaskError::Read { path, source })?;
    Ok(Model::from_hf_config(&json, u32::try_from(labels).unwrap_or(u32::MAX))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_counted_by_hand() {
        let answer = |label, class, loss| Answer { label, class, loss };
        let answers = [answer(0, 0, 0.5), answer(0, 0, 0.5), answer(0, 1, 1.5), answer(2, 0, 1.5)];
        let score = Score::of(&answers);
        // Two of four; two thirds of class 0 and none of class 2.
        assert_eq!((score.plain, score.loss), (0.5, 1.0));
        assert!((score.macro_ - 1.0 / 3.0).abs() < 1e-15);
        // F1: 4 / (3 + 3) of class 0, nothing of class 1, which is only answered, and of class 2.
        assert!((score.macro_f1 - 2.0 / 9.0).abs() < 1e-15);
    }
}
