//! Tails of subgaussian sums, in log2: P(|X| >= t) <= 2 exp(-t^2 / (2 deviation^2)).

use std::f64::consts::{LN_2, LOG2_E};

/// log2 of the union bound over `events` sums leaving (-threshold, threshold); minus infinity without noise.
pub(crate) fn union_log2(deviation: f64, events: f64, threshold: f64) -> f64 {
    if deviation == 0.0 {
        return f64::NEG_INFINITY;
    }
    let ratio = threshold / deviation;
    events.log2() + 1.0 - ratio * ratio / 2.0 * LOG2_E
}

/// The smallest threshold whose union bound over `events` sums is 2^`budget_log2`.
pub(crate) fn threshold(deviation: f64, events: f64, budget_log2: f64) -> f64 {
    deviation * (2.0 * LN_2 * (events.log2() + 1.0 - budget_log2)).sqrt()
}

/// log2 of a sum of probabilities given by their log2.
pub(crate) fn log2_sum(terms: &[f64]) -> f64 {
    let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + terms.iter().map(|t| (t - largest).exp2()).sum::<f64>().log2()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gauss;

    /// The exact law of a sum of three samples of the table, by convolution.
    fn three_samples() -> Vec<f64> {
        let one = gauss::law();
        let convolve = |a: &[f64], b: &[f64]| {
            let mut sum = vec![0.0; a.len() + b.len() - 1];
            for (i, x) in a.iter().enumerate() {
                for (j, y) in b.iter().enumerate() {
                    sum[i + j] += x * y;
                }
            }
            sum
        };
        convolve(&convolve(&one, &one), &one)
    }

    #[test]
    fn bound_lies_above_the_exact_tail_and_close_to_it() {
        let law = three_samples();
        let middle = law.len() / 2;
        let deviation = 6.4 * 3_f64.sqrt();
        for threshold in [16, 32, 64, 96, 120] {
            let exact: f64 = 2.0 * law[middle + threshold..].iter().sum::<f64>();
            let bound = union_log2(deviation, 1.0, threshold as f64);
            assert!(exact.log2() <= bound, "at {threshold}");
            assert!(exact.log2() > bound - 6.0, "at {threshold}");
        }
    }

    #[test]
    fn threshold_meets_its_budget_exactly() {
        let t = threshold(20.0, 4096.0, -66.0);
        assert!((union_log2(20.0, 4096.0, t) + 66.0).abs() < 1e-9);
    }

    #[test]
    fn sums_of_probabilities_add_up() {
        assert!((log2_sum(&[-3.0, -3.0]) + 2.0).abs() < 1e-12);
        assert_eq!(log2_sum(&[f64::NEG_INFINITY; 3]), f64::NEG_INFINITY);
    }
}
