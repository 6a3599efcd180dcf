//! Logarithms of things too large or too small for `f64`.

use std::f64::consts::PI;

/// `ln(exp(a) + exp(b))`.
pub(crate) fn log_add(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// `ln(exp(a) - exp(b))` for `a >= b`; minus infinity where rounding made `b` the larger.
pub(crate) fn log_sub(a: f64, b: f64) -> f64 {
    if b >= a { f64::NEG_INFINITY } else { a + (-(b - a).exp()).ln_1p() }
}

/// `ln(exp(x) - 1)` for `x > 0`.
pub(crate) fn log_expm1(x: f64) -> f64 {
    if x > 37.0 { x } else { x.exp_m1().ln() }
}

/// `ln(1 + exp(x))`.
pub(crate) fn log1p_exp(x: f64) -> f64 {
    if x > 37.0 { x } else { x.exp().ln_1p() }
}

/// `ln(erfc(x))`, also where `erfc` underflows: there by its asymptotic series, whose relative error past 20 is below
/// 1e-16 after six terms.
pub(crate) fn log_erfc(x: f64) -> f64 {
    if x < 20.0 {
        return libm::erfc(x).ln();
    }
    let step = -1.0 / (2.0 * x * x);
    let (mut term, mut series) = (1.0, 1.0);
    for odd in [1.0, 3.0, 5.0, 7.0, 9.0, 11.0] {
        term *= odd * step;
        series += term;
    }
    series.ln() - x * x - x.ln() - 0.5 * PI.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference values from scipy.special.log_ndtr(-x * sqrt(2)) + ln 2.
    #[test]
    #[expect(clippy::approx_constant, reason = "ln 2 is what the reference gives at -30")]
    fn log_erfc_agrees_with_scipy() {
        for (x, expected) in include!("../../tests/fixtures/log_erfc.in") {
            let got = log_erfc(x);
            assert!((got - expected).abs() <= 2e-14 * expected.abs().max(1.0), "{x}: {got} for {expected}");
        }
    }
}
