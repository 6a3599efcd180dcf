//! How well an adapter does on rows of one's own: exact figures, without noise, which stay where they are made.

use std::fmt;
use std::path::Path;

use adapter::Adapter;
use lora::{Encoded, Tokenizer};
use protocol::Charter;
use serde::Serialize;
use terms::Terms;

use crate::learner::{Outcome, PromptLearner, likeliest};
use crate::load::{Model, Tokens, template};
use crate::{DataSource, Learner, ModelSource, TrainError};

/// What is evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// The rows.
    pub data: &'a DataSource<'a>,
    /// The base model.
    pub model: &'a ModelSource<'a>,
    /// Tokens that do not fit into memory lie here, in a file without a name.
    pub scratch: &'a Path,
    /// Only the units that the charter holds out, which no round trains on.
    pub held_out_only: bool,
    /// Of a language model: each prompt is answered as well, with at most so many tokens.
    pub answers: Option<usize>,
}

/// How well an adapter does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluated {
    /// Rows that were evaluated.
    pub rows: usize,
    /// Rows of the file that lost their end, since they have more tokens than the charter takes.
    pub cut_rows: usize,
    /// Mean loss of a row, in nats.
    pub loss: f64,
    /// A classifier's or a language model's.
    #[serde(flatten)]
    pub scores: Scores,
}

/// What else is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scores {
    /// Of a classifier.
    Labels(LabelScores),
    /// Of a language model.
    Texts {
        /// The exponential of the mean loss of a learnt token.
        perplexity: f64,
        /// Share of the answers that are, but for blanks around them, exactly the rows'; where answers were asked for. Rows that fill all of the
        /// charter's tokens are left out: the end of their answer may be missing.
        #[serde(skip_serializing_if = "Option::is_none")]
        exact_match: Option<f64>,
    },
}

/// How well a classifier does; a label without rows and answers counts nowhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScores {
    /// Share of the rows that are right.
    pub accuracy: f64,
    /// Mean recall over the labels that have rows.
    pub macro_accuracy: f64,
    /// Mean F1 over the labels that have rows or answers.
    pub macro_f1: f64,
    /// Each label that has rows or answers.
    pub labels: Vec<LabelScore>,
}

/// How well a classifier does on one label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelScore {
    /// The label.
    pub label: String,
    /// Rows that have it.
    pub rows: usize,
    /// Share of the answers with this label that are right; 0 without any.
    pub precision: f64,
    /// Share of its rows that are right; 0 without any.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// The adapter in a PEFT folder, for the charter's model, whose own folder is `base`.
///
/// # Errors
/// [`TrainError::Adapter`] naming the file at fault.
pub fn load_adapter(charter: &Charter, folder: &Path, base: &Path) -> Result<Adapter, TrainError> {
    Ok(Adapter::load_dir_with_base(folder, &Terms::of(charter)?.model, base)?)
}

/// Evaluates `adapter` on rows. `done` is told how many rows of how many are done.
///
/// # Errors
/// [`TrainError`] naming the file, row or tensor at fault; [`TrainError::NothingToEvaluate`] without rows.
pub fn evaluate(
    charter: &Charter,
    adapter: &Adapter,
    task: &Task<'_>,
    mut done: impl FnMut(usize, usize),
) -> Result<Evaluated, TrainError> {
    const BLOCK: usize = 256;
    let tokens = Tokens::read(charter, task.data, task.model, task.scratch)?;
    terms::check_base_model(charter, task.model.folder)?;
    let cut_rows = tokens.cut_rows;
    let (dataset, tokenizer, mut model) = tokens.model(charter, task.model)?;
    model.learner().set_adapter(adapter)?;
    let held_out = charter.evaluation.as_ref().map_or(0.0, |evaluation| evaluation.held_out);
    let house = dataset.house(if task.held_out_only { held_out } else { 0.0 });
    let rows = if task.held_out_only { house.held_out.rows() } else { house.units.rows() };
    if rows.is_empty() {
        return Err(TrainError::NothingToEvaluate(task.data.file.to_owned()));
    }
    let asking = match (&model, task.answers) {
        (Model::Words(_), Some(most)) => Some(Asking {
            tokenizer: &tokenizer,
            stops: lora::stop_tokens(task.model.folder, &template(task.model.folder)?, &tokenizer)?,
            most,
            max_tokens: charter.model.max_tokens as usize,
        }),
        _ => None,
    };
    let mut sums = Sums::new(charter.model.labels.len());
    for (block, chunk) in rows.chunks(BLOCK).enumerate() {
        match &mut model {
            Model::Labels(learner) => learner.outcomes(chunk)?.into_iter().for_each(|outcome| sums.add(outcome)),
            Model::Words(learner) => sums.add_texts(learner, chunk, asking.as_ref())?,
        }
        done((block * BLOCK + chunk.len()).min(rows.len()), rows.len());
    }
    let scores = match &model {
        Model::Labels(_) => Scores::Labels(sums.labels(&charter.model.labels)),
        Model::Words(_) => Scores::Texts {
            perplexity: (sums.token_loss / sums.tokens).exp(),
            exact_match: task.answers.filter(|_| sums.answered > 0).map(|_| sums.exact as f64 / sums.answered as f64),
        },
    };
    Ok(Evaluated { rows: rows.len(), cut_rows, loss: sums.loss / rows.len() as f64, scores })
}

/// How a language model is asked.
struct Asking<'a> {
    tokenizer: &'a Tokenizer,
    /// Tokens that end an answer.
    stops: Vec<u32>,
    /// Tokens of an answer, at most.
    most: usize,
    /// Tokens of a row, at most.
    max_tokens: usize,
}

/// What is summed over the rows.
struct Sums {
    loss: f64,
    token_loss: f64,
    tokens: f64,
    exact: usize,
    /// Rows whose whole answer is known.
    answered: usize,
    /// Rows are labels, columns answers.
    confusion: Vec<Vec<usize>>,
}

impl Sums {
    fn new(labels: usize) -> Self {
        Self {
            loss: 0.0,
            token_loss: 0.0,
            tokens: 0.0,
            exact: 0,
            answered: 0,
            confusion: vec![vec![0; labels]; labels],
        }
    }

    fn add(&mut self, outcome: Outcome) {
        let Outcome::Label { label, probabilities } = outcome else { return };
        let answer = likeliest(&probabilities);
        self.loss -= probabilities[label].max(f64::MIN_POSITIVE).ln();
        self.confusion[label][answer] += 1;
    }

    fn add_texts(
        &mut self,
        learner: &PromptLearner,
        rows: &[usize],
        asking: Option<&Asking<'_>>,
    ) -> Result<(), TrainError> {
        let (texts, prompts) = learner.rows(rows)?;
        for one in learner.model.foresee(&texts, &prompts)? {
            self.loss += f64::from(one.loss);
            self.token_loss += f64::from(one.loss) * one.tokens as f64;
            self.tokens += one.tokens as f64;
        }
        let Some(Asking { tokenizer, stops, most, max_tokens }) = asking else { return Ok(()) };
        // Of a row that was cut the right answer is not known.
        let whole = texts.iter().zip(&prompts).filter(|(text, _)| text.ids.len() < *max_tokens);
        let parts: Vec<(&[u32], &[u32])> = whole.map(|(text, prompt)| text.ids.split_at(*prompt)).collect();
        let asked: Vec<Encoded> = parts.iter().map(|(prompt, _)| Encoded { ids: prompt.to_vec() }).collect();
        let said = learner.model.say_each(&asked, *most, stops, |_| ())?;
        self.answered += parts.len();
        for (said, (_, wanted)) in said.iter().zip(&parts) {
            self.exact += usize::from(tokenizer.decode(said)?.trim() == tokenizer.decode(wanted)?.trim());
        }
        Ok(())
    }

    fn labels(&self, names: &[String]) -> LabelScores {
        let rows = |label: usize| self.confusion[label].iter().sum::<usize>();
        let answers = |label: usize| self.confusion.iter().map(|row| row[label]).sum::<usize>();
        let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        let of = |(label, name): (usize, &String)| {
            let (right, rows, answers) = (self.confusion[label][label], rows(label), answers(label));
            (rows + answers > 0).then(|| LabelScore {
                label: name.clone(),
                rows,
                precision: share(right, answers),
                recall: share(right, rows),
                f1: share(2 * right, rows + answers),
            })
        };
        let labels: Vec<LabelScore> = names.iter().enumerate().filter_map(of).collect();
        let right = (0..names.len()).map(|label| self.confusion[label][label]).sum();
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
        LabelScores {
            accuracy: share(right, (0..names.len()).map(rows).sum()),
            macro_accuracy: mean(labels.iter().filter(|label| label.rows > 0).map(|label| label.recall).collect()),
            macro_f1: mean(labels.iter().map(|label| label.f1).collect()),
            labels,
        }
    }
}

/// Lines for a person.
impl fmt::Display for Evaluated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rows             {}", self.rows)?;
        if self.cut_rows > 0 {
            writeln!(
                f,
                "cut rows         {} of the file lose their end: they have more tokens than the charter takes",
                self.cut_rows
            )?;
        }
        writeln!(f, "loss             {:.4}", self.loss)?;
        match &self.scores {
            Scores::Labels(scores) => {
                writeln!(f, "accuracy         {:.4}", scores.accuracy)?;
                writeln!(f, "macro accuracy   {:.4}", scores.macro_accuracy)?;
                writeln!(f, "macro F1         {:.4}", scores.macro_f1)?;
                let width = scores.labels.iter().map(|label| label.label.chars().count()).max().unwrap_or(0).max(5);
                writeln!(f, "\n{:width$}  {:>8}  precision  recall      F1", "label", "rows")?;
                for LabelScore { label, rows, precision, recall, f1 } in &scores.labels {
                    writeln!(f, "{label:width$}  {rows:>8}  {precision:>9.4}  {recall:>6.4}  {f1:>6.4}")?;
                }
                Ok(())
            }
            Scores::Texts { perplexity, exact_match } => {
                writeln!(f, "perplexity       {perplexity:.4}")?;
                exact_match.map_or(Ok(()), |share| writeln!(f, "exact match      {share:.4}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_f1_and_loss_of_a_small_case_by_hand() {
        let mut sums = Sums::new(5);
        for (label, answer) in [(0, 0), (0, 0), (0, 1), (0, 3), (1, 1), (1, 0), (2, 3)] {
            let mut probabilities = vec![0.1; 5];
            probabilities[answer] = 0.6;
            sums.add(Outcome::Label { label, probabilities });
        }
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let found = sums.labels(&names);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(found.accuracy, 3.0 / 7.0) && close(found.macro_accuracy, (0.5 + 0.5 + 0.0) / 3.0));
        assert!(close(found.macro_f1, (4.0 / 7.0 + 0.5) / 4.0), "{}", found.macro_f1);
        let first = &found.labels[0];
        assert!(close(first.precision, 2.0 / 3.0) && close(first.recall, 0.5) && close(first.f1, 4.0 / 7.0));
        assert_eq!(found.labels.iter().map(|label| label.rows).collect::<Vec<_>>(), [4, 2, 1, 0]);
        assert!(close(sums.loss, -(3.0 * 0.6f64.ln() + 4.0 * 0.1f64.ln())));
    }
}
