//! Scores of noised counts, each with the deviation of the noise in it.
//!
//! Cells of one kind have independent noise of one deviation s. To first order (the delta method; Casella, Berger, Statistical Inference,
//! 2nd edition, section 5.5.4) a score has the deviation s |g|, g its gradient over the cells, taken at the noised counts.

use super::noised::Estimate;

/// Noised counts by label (rows) and answer (columns), each with noise of the same deviation.
pub(super) struct Confusion<'a> {
    pub(super) rows: &'a [Vec<f64>],
    pub(super) noise: f64,
}

impl Confusion<'_> {
    fn labels(&self) -> f64 {
        self.rows.len() as f64
    }

    /// All counts.
    pub(super) fn total(&self) -> f64 {
        self.rows.iter().flatten().sum()
    }

    /// The deviation of a sum over all cells.
    pub(super) fn of_total(&self) -> f64 {
        self.noise * self.labels()
    }

    fn right(&self, label: usize) -> f64 {
        self.rows.get(label).and_then(|row| row.get(label)).copied().unwrap_or_default()
    }

    /// Right answers over all answers.
    pub(super) fn accuracy(&self) -> Estimate {
        let right: f64 = (0..self.rows.len()).map(|label| self.right(label)).sum();
        Self::share(right, self.total(), self.labels(), self.labels() * (self.labels() - 1.0)).estimate(self.noise)
    }

    /// Mean share of right answers, over the labels whose row stands out of the noise.
    pub(super) fn macro_accuracy(&self) -> Option<Estimate> {
        let least = 4.0 * self.noise * self.labels().sqrt();
        let recalls = self.rows.iter().enumerate().map(|(label, row)| (self.right(label), row.iter().sum::<f64>()));
        let recalls = recalls.filter(|(_, size)| *size > least && *size > 0.0);
        // No cell is in two rows.
        mean(recalls.map(|(right, size)| Self::share(right, size, 1.0, self.labels() - 1.0)), self.noise)
    }

    /// Mean F1, over the labels whose row and column together stand out of the noise.
    pub(super) fn macro_f1(&self) -> Option<Estimate> {
        // A label's units and answers are its row and its column: the cell of both twice, 2 (labels - 1) others once.
        let least = 4.0 * self.noise * (2.0 * self.labels() + 2.0).sqrt();
        let scores: Vec<Option<(f64, f64)>> = (0..self.rows.len())
            .map(|label| {
                let column: f64 = self.rows.iter().filter_map(|row| row.get(label)).sum();
                let size = self.rows.get(label).map_or(0.0, |row| row.iter().sum()) + column;
                let score = (2.0 * self.right(label) / size).clamp(0.0, 1.0);
                (size > least && size > 0.0).then_some((score, size))
            })
            .collect();
        let count = scores.iter().flatten().count() as f64;
        if count == 0.0 {
            return None;
        }
        // A cell off the diagonal is in the row of one label and in the column of another.
        let slope = |label: usize| scores.get(label).copied().flatten().map_or(0.0, |(score, size)| score / size);
        let on =
            |label: usize| scores.get(label).copied().flatten().map_or(0.0, |(score, size)| 2.0 * (1.0 - score) / size);
        let mut squared = 0.0;
        for label in 0..scores.len() {
            squared += on(label).powi(2);
            squared += (0..scores.len())
                .filter(|other| *other != label)
                .map(|other| (slope(label) + slope(other)).powi(2))
                .sum::<f64>();
        }
        let value = scores.iter().flatten().map(|(score, _)| score).sum::<f64>() / count;
        Some(Estimate { value, deviation: self.noise * squared.sqrt() / count })
    }

    /// `right / size`, where `inside` cells are in both and `outside` in `size` alone.
    fn share(right: f64, size: f64, inside: f64, outside: f64) -> Score {
        let value = (right / size).clamp(0.0, 1.0);
        let squared = (inside * (1.0 - value).powi(2) + outside * value.powi(2)) / size.powi(2);
        Score { value, squared }
    }
}

/// A score, and the squared length of its gradient.
pub(super) struct Score {
    value: f64,
    squared: f64,
}

impl Score {
    fn estimate(&self, noise: f64) -> Estimate {
        Estimate { value: self.value, deviation: noise * self.squared.sqrt() }
    }
}

/// The mean of scores of which no two have a cell in common.
pub(super) fn mean(scores: impl Iterator<Item = Score>, noise: f64) -> Option<Estimate> {
    let (mut count, mut value, mut squared) = (0.0, 0.0, 0.0);
    for score in scores {
        count += 1.0;
        value += score.value;
        squared += score.squared;
    }
    (count > 0.0).then(|| Estimate { value: value / count, deviation: noise * f64::sqrt(squared) / count })
}

/// The chance that a positive's score is above a negative's, ties counting half (the Mann-Whitney statistic), from a histogram of each; `None` where
/// either all or the positives are not more than `least`.
pub(super) fn area(negatives: &[f64], positives: &[f64], least: f64) -> Option<Score> {
    let (all, pos): (f64, f64) = (negatives.iter().sum(), positives.iter().sum());
    if all <= least || pos <= least || all <= 0.0 || pos <= 0.0 {
        return None;
    }
    let (mut below, mut won) = (0.0, 0.0);
    for (negative, positive) in negatives.iter().zip(positives) {
        won += positive * (below + negative / 2.0);
        below += negative;
    }
    let value = won / (all * pos);
    // By one positive more in a bucket it gains the share of negatives below; by one negative more, the share of positives above.
    let (mut below, mut above, mut squared) = (0.0, pos, 0.0);
    for (negative, positive) in negatives.iter().zip(positives) {
        above -= positive;
        squared += (((below + negative / 2.0) / all - value) / pos).powi(2);
        squared += (((above + positive / 2.0) / pos - value) / all).powi(2);
        below += negative;
    }
    Some(Score { value: value.clamp(0.0, 1.0), squared })
}
