//! Metrics of held-out units, as bounded integer vectors that add up in the encrypted sum.
//!
//! One row's vector is `[ loss | confusion | histograms ]`: its loss over the charter's bound, a one in the cell (its label,
//! the model's answer), and, where the charter asks for buckets, for each class a one in the bucket of that class's score, among the
//! positives or the negatives. The parts have equal weight and the whole a norm of at most 1; a unit's vector is the mean over its
//! rows, and under mode `client` a house's is the mean over its units. In grid units it is [`Norms::metrics`] long at most.

mod curve;
mod noised;
mod scores;

use protocol::Charter;
use protocol::charter::PrivacyMode;

use crate::Norms;

pub use curve::{CurvePoint, MetricsRelease};
pub use noised::{Estimate, Metrics};
use scores::Confusion;

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
        let rows: Vec<Vec<f64>> =
            cells.chunks(self.labels).map(|row| row.iter().map(|cell| *cell as f64 / one).collect()).collect();
        let noise = deviation / one;
        let confusion = Confusion { rows: &rows, noise };
        let total = confusion.total();
        let units = if charter.privacy.mode == PrivacyMode::Client {
            Estimate { value: cohort as f64, deviation: 0.0 }
        } else {
            Estimate { value: total, deviation: confusion.of_total() }
        };
        let clear = total > 4.0 * confusion.of_total() && total > 0.0;
        let loss = sum[0] as f64 / one / total * self.loss_bound;
        // Of a quotient, to first order: the noise of the sum of losses, and of the count that divides it.
        let loss_deviation = noise / total * (self.loss_bound.powi(2) + (loss * self.labels as f64).powi(2)).sqrt();
        let stands_out = clear && loss >= 4.0 * loss_deviation;
        let loss = Estimate { value: loss.min(self.loss_bound), deviation: loss_deviation };
        let histograms = &sum[1 + self.labels * self.labels..];
        Metrics {
            units,
            deviation: noise,
            loss: stands_out.then_some(loss),
            accuracy: (clear && !self.words).then(|| confusion.accuracy()),
            macro_accuracy: confusion.macro_accuracy().filter(|_| !self.words),
            macro_f1: confusion.macro_f1().filter(|_| !self.words),
            auroc: self.auroc(histograms, (cell * norms.metrics as f64).trunc(), deviation),
            confusion: rows,
        }
    }

    /// Mean area over the curves that stand out of the noise.
    fn auroc(&self, histograms: &[i64], one: f64, deviation: f64) -> Option<Estimate> {
        if self.buckets == 0 || one == 0.0 {
            return None;
        }
        let least = 4.0 * deviation / one * (self.buckets as f64).sqrt();
        let areas = histograms.chunks(2 * self.buckets).filter_map(|curve| {
            let counts: Vec<f64> = curve.iter().map(|count| *count as f64 / one).collect();
            let (negatives, positives) = counts.split_at(self.buckets);
            scores::area(negatives, positives, least)
        });
        scores::mean(areas, deviation / one)
    }
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
        assert_eq!(found.units.value, 60.0);
        assert!((found.loss.unwrap().value - loss / 60.0).abs() < 2e-3, "{found:?}");
        assert_eq!(found.accuracy.unwrap().value, right / 60.0);
        // 20 of 20, 10 of 20, 0 of 20.
        assert!((found.macro_accuracy.unwrap().value - 0.5).abs() < 1e-12);
        assert_eq!(found.confusion[1], [0.0, 10.0, 10.0]);
        // Class 1: positives 0.3 (ten) and 0.5 (ten) against negatives 0.2 and 0.5 (twenty each):
        // (10 * 20 + 10 * (20 + 10)) / (20 * 40); class 2: all 0.4 against 0.19 (20), 0.4 and 0.2 (ten each).
        let areas = (1.0 + 500.0 / 800.0 + (20.0 * 35.0) / 800.0) / 3.0;
        assert!((found.auroc.unwrap().value - areas).abs() < 1e-9, "{found:?} {areas}");
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
                assert!((ours.unwrap().value - theirs).abs() < 1e-12, "{found:?} {theirs}");
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
        assert!((found.loss.unwrap().value - 4.0).abs() < 2e-3 && found.units.value == 3.0, "{found:?}");
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
        let value = |estimate: Option<Estimate>| estimate.unwrap().value;
        assert_eq!((value(found.macro_accuracy), value(found.macro_f1)), (1.0, 1.0));
    }

    /// Standard normal, by Box and Muller's method over a small generator: nothing of what is tested.
    fn normal(state: &mut u64) -> f64 {
        let mut uniform = || {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((*state >> 11) as f64 + 0.5) / (1u64 << 53) as f64
        };
        (-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()
    }

    /// The sum of the same units with noise drawn 4,000 times: how far the values spread is what is said of each.
    #[test]
    fn the_stated_deviations_are_those_of_noise_that_is_drawn_again_and_again() {
        let charter = charter(6, "record-shared");
        let shape = MetricsShape::of(&charter).unwrap();
        let norms = Norms::of(&charter, RoundNumber::FIRST);
        let mut sums = vec![0; shape.len()];
        for i in 0..3000_usize {
            let (label, sure) = (i % 10 % 3, 0.34 + (i % 7) as f64 * 0.09);
            let answer = if i % 4 == 0 { (label + 1) % 3 } else { label };
            let rest = (1.0 - sure) / 2.0;
            let probabilities: Vec<f64> = (0..3).map(|class| if class == answer { sure } else { rest }).collect();
            let mut mean = vec![0.0; shape.len()];
            shape.add_row(label, &probabilities, 1.0, &mut mean);
            shape.add_unit(&mean, norms.metrics, &mut sums);
        }
        let (deviation, draws, mut state) = (800.0, 4000, 7);
        let scores = |sum: &[i64]| {
            let found = shape.read(&charter, norms, sum, 4, deviation);
            [Some(found.units), found.loss, found.accuracy, found.macro_accuracy, found.macro_f1, found.auroc]
                .map(Option::unwrap)
        };
        let stated = scores(&sums);
        let (mut first, mut second) = ([0.0; 6], [0.0; 6]);
        for _ in 0..draws {
            let noised: Vec<i64> =
                sums.iter().map(|sum| sum + (deviation * normal(&mut state)).round() as i64).collect();
            for (at, found) in scores(&noised).into_iter().enumerate() {
                let off = found.value - stated[at].value;
                first[at] += off / f64::from(draws);
                second[at] += off * off / f64::from(draws);
            }
        }
        for (at, stated) in stated.into_iter().enumerate() {
            let drawn = (second[at] - first[at].powi(2)).sqrt();
            assert!((stated.deviation / drawn - 1.0).abs() < 0.06, "value {at}: {stated:?}, drawn {drawn}");
        }
    }
}
