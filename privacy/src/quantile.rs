//! A clipping norm that follows a quantile of the updates' norms.

/// How far the norm may wander from its start, either way: beyond, something else is wrong.
const FURTHEST: f64 = 1e6;

/// The next clipping norm: `norm * exp(-learning_rate (fraction - quantile))`, `fraction` the noised share of houses whose
/// update was below `norm` (Andrew, Thakkar, McMahan, Ramaswamy 2021, "Differentially Private Learning with Adaptive
/// Clipping", section 2.1). The fraction is cut to 0..=1, which a share is; the norm stays within a million times `start`.
///
/// `exp` is libm's, which has the same bits on every platform: all houses go on from the same norm.
#[must_use]
pub fn next_clipping_norm(norm: f64, start: f64, fraction: f64, quantile: f64, learning_rate: f64) -> f64 {
    let fraction = if fraction.is_nan() { quantile } else { fraction.clamp(0.0, 1.0) };
    let next = norm * libm::exp(-learning_rate * (fraction - quantile));
    next.clamp(start / FURTHEST, start * FURTHEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Norms spread evenly over 0..2: the update must settle where half of them, or nine tenths, are below.
    #[test]
    fn the_norm_settles_at_the_quantile_from_below_and_from_above() {
        for (quantile, settled) in [(0.5, 1.0), (0.9, 1.8)] {
            for start in [0.01, 50.0] {
                let mut norm = start;
                for _ in 0..400 {
                    let fraction = (norm / 2.0_f64).min(1.0);
                    norm = next_clipping_norm(norm, start, fraction, quantile, 0.2);
                }
                assert!((norm / settled - 1.0).abs() < 1e-3, "{norm} from {start}");
            }
        }
    }

    #[test]
    fn a_fraction_far_out_of_range_counts_as_none_or_all() {
        let all = next_clipping_norm(1.0, 1.0, 1.0, 0.5, 0.2);
        assert!(all < 1.0);
        assert_eq!(next_clipping_norm(1.0, 1.0, 1e9, 0.5, 0.2), all);
        assert_eq!(next_clipping_norm(1.0, 1.0, f64::NAN, 0.5, 0.2), 1.0);
        assert_eq!(next_clipping_norm(1e-6, 1.0, 1.0, 0.5, 0.2), 1e-6);
    }
}
