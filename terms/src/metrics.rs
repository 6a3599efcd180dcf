//! Metrics of held-out units, as bounded integer vectors that add up in the encrypted sum.
//!
//! One row's vector is `[ loss | confusion | histograms ]`: its loss over the charter's bound, a one in the cell (its label,
//! the model's answer), and, where the charter asks for buckets, for each class a one in the bucket of that class's score, among the
//! positives or the negatives. The parts have equal weight and the whole a norm of at most 1; a unit's vector is the mean over its
//! rows, and under mode `client` a house's is the mean over its units. In grid units it is [`Norms::metrics`] long at most.

mod noised;

use protocol::Charter;
use protocol::charter::PrivacyMode;

use crate::Norms;

pub use noised::Metrics;

/// What stands where in the metrics of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricsShape {
    /// Of a language model 1: its one cell counts texts.
    labels: usize,
    /// Whether there are no labels.
    words: bool,
    buckets: usize,
    loss_bound: f64,
}

impl MetricsShape {
    /// The smallest norm of one unit's metrics in grid units: below, truncation would eat the counts.
    pub(crate) const LEAST_NORM: u64 = 16;
    /// Cells beyond are refused.
    pub(crate) const MOST_CELLS: usize = 1 << 20;

    /// The charter's, if it has evaluations.
    #[must_use]
    pub fn of(charter: &Charter) -> Option<Self> {
        let evaluation = charter.evaluation.as_ref()?;
        let (labels, buckets) = (charter.model.labels.len(), evaluation.buckets as usize);
        let words = labels == 0;
        Some(Self { labels: labels.max(1), words, buckets, loss_bound: evaluation.loss_bound })
    }

    /// Its coordinates.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always the loss")]
    pub fn len(&self) -> usize {
        1 + self.labels * self.labels + 2 * self.buckets * self.curves()
    }

    /// Classes with a score histogram: of two, one tells both.
    fn curves(&self) -> usize {
        match (self.buckets, self.labels) {
            (0, _) => 0,
            _ if self.words => 0,
            (_, 2) => 1,
            (_, labels) => labels,
        }
    }

    /// Weights of loss and confusion, and of a histogram's cell, so that the whole has norm 1 at most.
    fn weights(&self) -> (f64, f64) {
        let curves = self.curves();
        let parts = if curves == 0 { 2.0_f64 } else { 3.0 };
        let whole = 1.0 / parts.sqrt();
        (whole, if curves == 0 { 0.0 } else { whole / (curves as f64).sqrt() })
    }

    /// Adds one row's vector, `share` times (1 over the rows it is a mean of), to `sum`. Probabilities are one a label. A row whose values are not finite, or
    /// whose label is no label, adds nothing.
    pub fn add_row(&self, label: usize, probabilities: &[f64], share: f64, sum: &mut [f64]) {
        let finite = probabilities.iter().all(|p| p.is_finite()) && probabilities.len() == self.labels;
        let (Some(&own), true, true) = (probabilities.get(label), finite, sum.len() == self.len()) else { return };
        let answer = probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(answer, _)| answer);
        let (whole, cell) = self.weights();
        let loss = -own.max(f64::MIN_POSITIVE).ln();
        sum[0] += share * whole * (loss / self.loss_bound).clamp(0.0, 1.0);
        sum[1 + label * self.labels + answer] += share * whole;
        for curve in 0..self.curves() {
            let class = if self.labels == 2 { 1 } else { curve };
            let bucket = ((probabilities[class] * self.buckets as f64) as usize).min(self.buckets - 1);
            let side = usize::from(label == class);
            sum[1 + self.labels * self.labels + (2 * curve + side) * self.buckets + bucket] += share * cell;
        }
    }

    /// The same of a language model's text, of which there is only its loss. One that is not finite adds nothing.
    pub fn add_text(&self, loss: f64, share: f64, sum: &mut [f64]) {
        if loss.is_finite() && sum.len() == self.len() {
            let (whole, _) = self.weights();
            sum[0] += share * whole * (loss / self.loss_bound).clamp(0.0, 1.0);
            sum[1] += share * whole;
        }
    }

    /// One unit's mean vector on the grid: truncated toward zero, and zero if its exact norm is above `norm` all the same.
    /// Adds it to `sums`.
    pub fn add_unit(&self, mean: &[f64], norm: u64, sums: &mut [i64]) {
        let integer = |value: f64| (value * norm as f64) as i64;
        let squares: u128 = mean.iter().map(|value| u128::from(integer(*value).unsigned_abs()).pow(2)).sum();
        if squares <= u128::from(norm).pow(2) {
            sums.iter_mut().zip(mean).for_each(|(sum, value)| *sum = sum.saturating_add(integer(*value)));
        }
    }

    /// Reads the opened sum over `cohort` houses. `deviation` is that of the sum's noise in grid units.
    pub(crate) fn read(&self, charter: &Charter, norms: Norms, sum: &[i64], cohort: usize, deviation: f64) -> Metrics {
        let (whole, cell) = self.weights();
        // What a one became on the grid, which is truncated.
        let one = (whole * norms.metrics as f64).trunc();
        let cells = &sum[1..=self.labels * self.labels];
        let confusion: Vec<Vec<f64>> =
            cells.chunks(self.labels).map(|row| row.iter().map(|cell| *cell as f64 / one).collect()).collect();
        let noise = deviation / one;
        let total: f64 = confusion.iter().flatten().sum();
        let units = if charter.privacy.mode == PrivacyMode::Client { cohort as f64 } else { total };
        let right: f64 = confusion.iter().enumerate().map(|(label, row)| row[label]).sum();
        // The noise of a sum over all cells, or of one row's.
        let (all, row) = (noise * self.labels as f64, noise * (self.labels as f64).sqrt());
        let clear = total > 4.0 * all && total > 0.0;
        let recalls: Vec<f64> = confusion
            .iter()
            .enumerate()
            .map(|(label, cells)| (cells[label], cells.iter().sum::<f64>()))
            .filter(|(_, size)| *size > 4.0 * row && *size > 0.0)
            .map(|(right, size)| (right / size).clamp(0.0, 1.0))
            .collect();
        let loss = sum[0] as f64 / one / total * self.loss_bound;
        // Of a quotient, to first order: the noise of the sum of losses, and of the count that divides it.
        let loss_deviation = noise / total * (self.loss_bound.powi(2) + (loss * self.labels as f64).powi(2)).sqrt();
        let histograms = &sum[1 + self.labels * self.labels..];
        Metrics {
            units,
            deviation: noise,
            loss: (clear && loss >= 4.0 * loss_deviation).then(|| loss.min(self.loss_bound)),
            loss_deviation,
            accuracy: (clear && !self.words).then(|| (right / total).clamp(0.0, 1.0)),
            macro_accuracy: mean(&recalls).filter(|_| !self.words),
            macro_f1: self.macro_f1(&confusion, noise),
            confusion,
            auroc: self.auroc(histograms, (cell * norms.metrics as f64).trunc(), deviation),
        }
    }

    /// Mean area over the curves that stand out of the noise.
    fn auroc(&self, histograms: &[i64], one: f64, deviation: f64) -> Option<f64> {
        if self.buckets == 0 || one == 0.0 {
            return None;
        }
        let least = 4.0 * deviation / one * (self.buckets as f64).sqrt();
        let areas: Vec<f64> = histograms
            .chunks(2 * self.buckets)
            .filter_map(|curve| {
                let counts: Vec<f64> = curve.iter().map(|count| *count as f64 / one).collect();
                let (negatives, positives) = counts.split_at(self.buckets);
                area(negatives, positives, least)
            })
            .collect();
        mean(&areas)
    }

    /// Mean F1 over the labels that stand out of the noise, of which each cell has a deviation of `noise`.
    fn macro_f1(&self, confusion: &[Vec<f64>], noise: f64) -> Option<f64> {
        // A label's units and answers are its row and its column: the cell of both twice, 2 (labels - 1) others once.
        let least = 4.0 * noise * (2.0 * self.labels as f64 + 2.0).sqrt();
        let scores: Vec<f64> = (0..self.labels)
            .map(|label| {
                let column: f64 = confusion.iter().map(|row| row[label]).sum();
                (2.0 * confusion[label][label], confusion[label].iter().sum::<f64>() + column)
            })
            .filter(|(_, size)| *size > least && *size > 0.0)
            .map(|(right, size)| (right / size).clamp(0.0, 1.0))
            .collect();
        mean(&scores).filter(|_| !self.words)
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The chance that a positive's score is above a negative's, ties counting half (the Mann-Whitney statistic).
fn area(negatives: &[f64], positives: &[f64], least: f64) -> Option<f64> {
    let (all, pos): (f64, f64) = (negatives.iter().sum(), positives.iter().sum());
    if all <= least || pos <= least || all <= 0.0 || pos <= 0.0 {
        return None;
    }
    let (mut below, mut won) = (0.0, 0.0);
    for (negative, positive) in negatives.iter().zip(positives) {
        won += positive * (below + negative / 2.0);
        below += negative;
    }
    Some((won / (all * pos)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use protocol::RoundNumber;

    fn charter(buckets: u32, mode: &str) -> Charter {
        let section = format!(
            "[evaluation]\nevery = 1\nheld_out = 0.1\nnoise_multiplier = 20.0\nloss_bound = 8.0\nbuckets = {buckets}\n[[house]]"
        );
        let none = mode == "none";
        let text = protocol::charter::SAMPLE.replacen("[[house]]", &section, 1);
        let text = text
            .replace("mode = \"record-shared\"", &format!("mode = \"{mode}\""))
            .replace("\nepsilon = 3.0", if none { "\nepsilon = 0.0" } else { "\nepsilon = 3.0" })
            .replace("delta = 1e-5", if none { "delta = 0.0" } else { "delta = 1e-5" })
            .replace(
                "noise_multiplier = 0.81",
                if none { "noise_multiplier = 0.0" } else { "noise_multiplier = 0.81" },
            );
        Charter::parse(&text).unwrap()
    }

    proptest! {
        /// Whatever the scores are, also such as no softmax gives.
        #[test]
        fn no_units_vector_is_longer_than_its_norm(
            rows in proptest::collection::vec((0usize..5, proptest::collection::vec(-2.0f64..3.0, 3)), 1..6), norm in 1u64..5000,
            buckets in 0u32..9,
        ) {
            let shape = MetricsShape::of(&charter(buckets, "record-shared")).unwrap();
            let mut mean = vec![0.0; shape.len()];
            for (label, scores) in &rows {
                shape.add_row(*label, scores, 1.0 / rows.len() as f64, &mut mean);
            }
            let mut sums = vec![0; shape.len()];
            shape.add_unit(&mean, norm, &mut sums);
            prop_assert!(sums.iter().map(|s| i128::from(*s).pow(2)).sum::<i128>() <= i128::from(norm).pow(2));
        }
    }

    /// Without noise, what comes out is what a plain count gives.
    #[test]
    fn metrics_of_a_sum_without_noise_are_the_plain_ones() {
        let charter = charter(50, "none");
        let shape = MetricsShape::of(&charter).unwrap();
        let norms = Norms::of(&charter, RoundNumber::FIRST);
        assert_eq!(norms.metrics, 4096);
        let mut sums = vec![0; shape.len()];
        let (mut loss, mut right) = (0.0, 0.0);
        // Class 0's score is above 0.5 for its own rows: its area is 1.
        let rows: Vec<(usize, [f64; 3])> = (0..60)
            .map(|i| match i % 3 {
                0 => (0, [0.61, 0.2, 0.19]),
                1 => (1, [0.3, 0.3 + f64::from(i % 2) * 0.2, 0.4 - f64::from(i % 2) * 0.2]),
                _ => (2, [0.1, 0.5, 0.4]),
            })
            .collect();
        for (label, p) in &rows {
            let mut mean = vec![0.0; shape.len()];
            shape.add_row(*label, p, 1.0, &mut mean);
            shape.add_unit(&mean, norms.metrics, &mut sums);
            loss -= p[*label].ln();
            right += f64::from(p.iter().all(|other| *other <= p[*label]));
        }
        let found = shape.read(&charter, norms, &sums, 4, 0.0);
        assert_eq!(found.units, 60.0);
        assert!((found.loss.unwrap() - loss / 60.0).abs() < 2e-3, "{found:?}");
        assert_eq!(found.accuracy.unwrap(), right / 60.0);
        // 20 of 20, 10 of 20, 0 of 20.
        assert!((found.macro_accuracy.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(found.confusion[1], [0.0, 10.0, 10.0]);
        // Class 1: positives 0.3 (ten) and 0.5 (ten) against negatives 0.2 and 0.5 (twenty each):
        // (10 * 20 + 10 * (20 + 10)) / (20 * 40); class 2: all 0.4 against 0.19 (20), 0.4 and 0.2 (ten each).
        let areas = (1.0 + 500.0 / 800.0 + (20.0 * 35.0) / 800.0) / 3.0;
        assert!((found.auroc.unwrap() - areas).abs() < 1e-9, "{found:?} {areas}");
    }

    #[derive(serde::Deserialize)]
    struct Scores {
        cases: Vec<Case>,
    }

    #[derive(serde::Deserialize)]
    struct Case {
        labels: Vec<usize>,
        answers: Vec<usize>,
        accuracy: f64,
        macro_accuracy: f64,
        macro_f1: f64,
    }

    /// Classes that are only answered, or nowhere, among them (scripts/scores.py).
    #[test]
    fn accuracies_and_macro_f1_without_noise_are_scikit_learns() {
        let scores: Scores = serde_json::from_str(include_str!("../tests/fixtures/scores.json")).unwrap();
        assert_eq!(scores.cases.len(), 4);
        let charter = charter(0, "none");
        let shape = MetricsShape::of(&charter).unwrap();
        let norms = Norms::of(&charter, RoundNumber::FIRST);
        for case in scores.cases {
            let mut sums = vec![0; shape.len()];
            for (label, answer) in case.labels.iter().zip(&case.answers) {
                let mut mean = vec![0.0; shape.len()];
                let probabilities: Vec<f64> = (0..3).map(|class| if class == *answer { 0.8 } else { 0.1 }).collect();
                shape.add_row(*label, &probabilities, 1.0, &mut mean);
                shape.add_unit(&mean, norms.metrics, &mut sums);
            }
            let found = shape.read(&charter, norms, &sums, 4, 0.0);
            for (ours, theirs) in [
                (found.accuracy, case.accuracy),
                (found.macro_accuracy, case.macro_accuracy),
                (found.macro_f1, case.macro_f1),
            ] {
                assert!((ours.unwrap() - theirs).abs() < 1e-12, "{found:?} {theirs}");
            }
        }
    }

    #[test]
    fn a_language_models_metrics_are_its_loss_and_a_count() {
        let text = charter(4, "none").text().replace(
            r#"labels = ["infections", "neoplasms", "injuries"]"#,
            "labels = []\nattention = { num_attention_heads = 9, num_key_value_heads = 3, head_dim = 64 }",
        );
        let charter = Charter::parse(&text).unwrap();
        let shape = MetricsShape::of(&charter).unwrap();
        assert_eq!(shape.len(), 2);
        let mut sums = vec![0; 2];
        // The third is cut to the bound of 8, the last is no number.
        for loss in [1.5, 2.5, 40.0, f64::NAN] {
            let mut mean = vec![0.0; 2];
            shape.add_text(loss, 1.0, &mut mean);
            shape.add_unit(&mean, 4096, &mut sums);
        }
        let norms = Norms { update: 4096, indicator: 0, metrics: 4096 };
        let found = shape.read(&charter, norms, &sums, 4, 0.0);
        assert!((found.loss.unwrap() - 4.0).abs() < 2e-3 && found.units == 3.0, "{found:?}");
        assert_eq!((found.accuracy, found.macro_accuracy, found.macro_f1, found.auroc), (None, None, None, None));
        assert!(
            found.to_string().starts_with("about 3 held-out, loss 4.0") && found.to_string().contains("perplexity 5")
        );
    }

    #[test]
    fn what_drowns_in_the_noise_is_not_reported() {
        let charter = charter(10, "record-shared");
        let shape = MetricsShape::of(&charter).unwrap();
        let norms = Norms::of(&charter, RoundNumber::FIRST);
        // 0.81 * 4096 / 20.
        assert_eq!(norms, Norms { update: 4096, indicator: 0, metrics: 165 });
        let mut sums = vec![0; shape.len()];
        let mut mean = vec![0.0; shape.len()];
        shape.add_row(1, &[0.1, 0.8, 0.1], 1.0, &mut mean);
        for _ in 0..20 {
            shape.add_unit(&mean, norms.metrics, &mut sums);
        }
        let found = shape.read(&charter, norms, &sums, 4, 0.81 * 4096.0);
        assert_eq!((found.loss, found.accuracy, found.macro_accuracy, found.auroc), (None, None, None, None));
        assert_eq!(found.macro_f1, None);
        let found = shape.read(&charter, norms, &sums, 4, 1.0);
        assert_eq!((found.macro_accuracy, found.macro_f1), (Some(1.0), Some(1.0)));
    }
}
