//! How well a classifier does on labelled rows.

use crate::LoraError;
use crate::classifier::Classifier;
use crate::tokenizer::Encoded;

/// What [`Classifier::evaluate`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy in nats; NaN without rows.
    pub loss: f64,
    /// Share of rows whose label was predicted; NaN without rows.
    pub plain: f64,
    /// Mean over the labels present of the share of their rows that were predicted; NaN without rows.
    pub macro_: f64,
    /// The predicted label of each row: the largest logit, the first of equal ones.
    pub predictions: Vec<usize>,
}

impl Classifier {
    /// Predicts every row's label.
    ///
    /// # Errors
    ///
    /// [`LoraError`] naming the row that the model cannot take.
    pub fn evaluate(&self, rows: &[(Encoded, usize)]) -> Result<Evaluation, LoraError> {
        let (texts, labels): (Vec<Encoded>, Vec<usize>) = rows.iter().cloned().unzip();
        (0..rows.len()).try_for_each(|i| self.label(i, &labels).map(drop))?;
        Ok(score(&self.logits(&texts)?, &labels))
    }
}

fn score(logits: &[Vec<f32>], labels: &[usize]) -> Evaluation {
    let predictions: Vec<usize> = logits.iter().map(|row| largest(row)).collect();
    let classes = labels.iter().max().map_or(0, |label| label + 1);
    let (mut rows, mut hits) = (vec![0u32; classes], vec![0u32; classes]);
    for (label, predicted) in labels.iter().zip(&predictions) {
        rows[*label] += 1;
        hits[*label] += u32::from(label == predicted);
    }
    let recalls = rows.iter().zip(&hits).filter(|(rows, _)| **rows > 0).map(|(r, h)| f64::from(*h) / f64::from(*r));
    let count = labels.len() as f64;
    Evaluation {
        loss: logits.iter().zip(labels).map(|(row, label)| cross_entropy(row, *label)).sum::<f64>() / count,
        plain: f64::from(hits.iter().sum::<u32>()) / count,
        macro_: recalls.clone().sum::<f64>() / recalls.count() as f64,
        predictions,
    }
}

/// The position of the largest value, the first of equal ones.
pub(crate) fn largest(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

fn cross_entropy(row: &[f32], label: usize) -> f64 {
    let top = f64::from(row[largest(row)]);
    let sum: f64 = row.iter().map(|x| (f64::from(*x) - top).exp()).sum();
    top + sum.ln() - f64::from(row[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracies_and_loss_of_a_small_case_by_hand() {
        // Label 0: 2 of 3 right, label 2: 0 of 1 right, label 1 absent.
        let logits = vec![vec![1.0, 0.0, 0.0], vec![2.0, 1.0, 0.0], vec![0.0, 3.0, 0.0], vec![0.0, 0.0, 0.0]];
        let result = score(&logits, &[0, 0, 0, 2]);
        assert_eq!(result.predictions, [0, 0, 1, 0]);
        assert!((result.plain - 0.5).abs() < 1e-12);
        assert!((result.macro_ - 1.0 / 3.0).abs() < 1e-12);
        let e = std::f64::consts::E;
        let expected = ((e + 2.0).ln() - 1.0) + ((e * e + e + 1.0).ln() - 2.0) + (e.powi(3) + 2.0).ln() + 3f64.ln();
        assert!((result.loss - expected / 4.0).abs() < 1e-12, "{}", result.loss);
    }

    #[test]
    fn no_rows_have_no_accuracy() {
        let result = score(&[], &[]);
        assert!(
            result.plain.is_nan() && result.macro_.is_nan() && result.loss.is_nan() && result.predictions.is_empty()
        );
    }
}
