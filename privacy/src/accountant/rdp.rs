//! Renyi divergence of one round of the Poisson-subsampled Gaussian mechanism.

use super::special::{log_add, log_erfc, log_expm1, log_sub, log1p_exp};
use std::f64::consts::{LN_2, SQRT_2};

/// Terms of the series at a fractional order. What is left then is below 1e-9 of the sum, and counted as if it were the
/// last term.
const MOST_TERMS: u32 = 1000;
/// Terms smaller than exp(-36) of the sum end the series.
const NEGLIGIBLE: f64 = 36.0;
/// Added to `ln A` at fractional orders: covers the rounding of `A`, which is near 1, and the end of its series.
const ROUNDING: f64 = 1e-14;

/// Divergence at `order` > 1 of one round with `rate` in (0, 1] and `noise` multiplier > 0; infinite when the order is
/// of no use. It is `ln(A) / (order - 1)`, A being the order-th moment of the likelihood ratio under the noise alone,
/// the larger of the two directions (theorem 5 of Mironov, Talwar, Zhang 2019).
pub(crate) fn sampled_gaussian(rate: f64, noise: f64, order: f64) -> f64 {
    if rate == 1.0 {
        return order / (2.0 * noise * noise);
    }
    let log_moment = if order.fract() == 0.0 {
        integer_order(rate, noise, order)
    } else {
        fractional_order(rate, noise, order).map_or(f64::INFINITY, |log_a| log_a.max(0.0) + ROUNDING)
    };
    log_moment / (order - 1.0)
}

/// `ln A` with `A = sum_k binom(order, k) (1-q)^(order-k) q^k exp((k^2 - k) / 2 z^2)`. The weights add up to 1 and the
/// exponentials of k = 0 and 1 are 1, so `A - 1` is the same sum over k >= 2 of `exp(..) - 1`: no cancellation, however
/// near to 1 A is.
fn integer_order(rate: f64, noise: f64, order: f64) -> f64 {
    let (log_rate, log_rest) = (rate.ln(), (-rate).ln_1p());
    let mut log_excess = f64::NEG_INFINITY;
    let mut log_binomial = order.ln(); // of k = 1
    let mut k = 2.0;
    while k <= order {
        log_binomial += ((order - k + 1.0) / k).ln();
        let growth = (k * k - k) / (2.0 * noise * noise);
        let term = log_binomial + k * log_rate + (order - k) * log_rest + log_expm1(growth);
        log_excess = log_add(log_excess, term);
        k += 1.0;
    }
    log1p_exp(log_excess)
}

/// `ln A` by the two series of section 3.3, split at the point where the two densities' shares are equal. Binomials
/// past the order alternate in sign; both signs are summed apart. Past the order the terms fall, so what a series leaves
/// out is no more than its last term: that is added, and the result is an upper bound. None while they still grow.
fn fractional_order(rate: f64, noise: f64, order: f64) -> Option<f64> {
    let split = noise * noise * (1.0 / rate - 1.0).ln() + 0.5;
    let (log_rate, log_rest) = (rate.ln(), (-rate).ln_1p());
    let half_square = |x: f64| (x * x - x) / (2.0 * noise * noise);
    let tail = |x: f64| log_erfc(x / (SQRT_2 * noise)) - LN_2;
    let (mut plus, mut minus) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    let mut last = [f64::INFINITY; 2];
    let mut log_binomial = 0.0;
    let mut negative = false;
    for term in 0..MOST_TERMS {
        let i = f64::from(term);
        let j = order - i;
        let below = log_binomial + i * log_rate + j * log_rest + half_square(i) + tail(i - split);
        let above = log_binomial + j * log_rate + i * log_rest + half_square(j) + tail(split - j);
        let both = log_add(below, above);
        let sum = if negative { &mut minus } else { &mut plus };
        *sum = log_add(*sum, both);
        let falling = j < 0.0 && below < last[0] && above < last[1];
        if falling && (both < plus - NEGLIGIBLE || term + 1 == MOST_TERMS) {
            return Some(log_add(log_sub(plus, minus), both));
        }
        last = [below, above];
        log_binomial += (j.abs() / (i + 1.0)).ln();
        negative ^= j < 0.0;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, integrated by the trapezoidal rule (spectrally accurate for such integrands).
    fn by_integration(rate: f64, noise: f64, order: f64) -> f64 {
        let step = noise / 200.0;
        let (low, high) = (-15.0 * noise, order + 15.0 * noise);
        let mut moment = 0.0;
        for n in 0..((high - low) / step) as u64 {
            let x = low + n as f64 * step;
            let density = (-x * x / (2.0 * noise * noise)).exp() / (noise * (2.0 * std::f64::consts::PI).sqrt());
            let ratio = 1.0 - rate + rate * ((2.0 * x - 1.0) / (2.0 * noise * noise)).exp();
            moment += step * density * ratio.powf(order);
        }
        moment.ln() / (order - 1.0)
    }

    #[test]
    fn both_formulas_agree_with_integration_of_the_definition() {
        for (rate, noise) in [(0.5, 0.7), (0.1, 1.0), (0.02, 0.81), (0.9, 2.0), (0.01, 4.0)] {
            for order in [1.1, 1.5, 2.0, 2.7, 3.0, 5.5, 8.0, 10.9] {
                let (got, expected) = (sampled_gaussian(rate, noise, order), by_integration(rate, noise, order));
                let close = (got - expected).abs() < 1e-9 * expected + 2e-12;
                assert!(close, "rate {rate}, noise {noise}, order {order}: {got} for {expected}");
            }
        }
    }

    #[test]
    fn sampling_everybody_is_the_limit_of_sampling_nearly_everybody() {
        for order in [1.5, 2.0, 17.0] {
            let (all, nearly) = (sampled_gaussian(1.0, 1.3, order), sampled_gaussian(1.0 - 1e-9, 1.3, order));
            assert!((all - nearly).abs() < 1e-6 * all, "order {order}: {all} and {nearly}");
        }
    }
}
