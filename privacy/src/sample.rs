//! Which privacy units join a batch.

use rand::CryptoRng;

/// Why a batch could not be sampled.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The sampling rate is outside (0, 1].
    #[error("sampling rate {0} is outside (0, 1]")]
    Rate(f64),
}

/// Poisson sampling: the indices, ascending, of the units of `0..units` that join, each by itself with probability
/// `floor(rate * 2^64) / 2^64`, which is at most `rate`. The batch's size is random and stays in the house.
///
/// The comparison is one of integers: a fresh 64-bit word a unit against a threshold, no floating-point uniform.
///
/// # Errors
/// [`SampleError::Rate`] outside (0, 1].
pub fn poisson_sample<R: CryptoRng + ?Sized>(units: usize, rate: f64, rng: &mut R) -> Result<Vec<usize>, SampleError> {
    if !(rate > 0.0 && rate <= 1.0) {
        return Err(SampleError::Rate(rate));
    }
    // Scaling by a power of two is exact; the cast takes the floor. Rate 1 is 2^64, above every word.
    let threshold = (rate * 2f64.powi(64)) as u128;
    Ok((0..units).filter(|_| u128::from(rng.next_u64()) < threshold).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    #[test]
    fn sizes_have_the_binomial_mean_and_variance() {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        let (units, rate, batches) = (1000, 0.05, 4000);
        let sizes: Vec<f64> =
            (0..batches).map(|_| poisson_sample(units, rate, &mut rng).unwrap().len() as f64).collect();
        let mean = sizes.iter().sum::<f64>() / f64::from(batches);
        let variance = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / f64::from(batches - 1);
        let expected = units as f64 * rate * (1.0 - rate); // 47.5
        assert!((mean - 50.0).abs() < 5.0 * (expected / f64::from(batches)).sqrt(), "mean {mean}");
        // Standard error of a variance: sqrt(2 / batches) of it.
        assert!((variance / expected - 1.0).abs() < 5.0 * (2.0 / f64::from(batches)).sqrt(), "variance {variance}");
    }

    #[test]
    fn two_units_join_independently_of_each_other() {
        let mut rng = ChaCha20Rng::seed_from_u64(12);
        let batches = 40_000;
        let mut counts = [[0u32; 2]; 2];
        for _ in 0..batches {
            let batch = poisson_sample(9, 0.3, &mut rng).unwrap();
            assert!(batch.is_sorted());
            counts[usize::from(batch.contains(&3))][usize::from(batch.contains(&4))] += 1;
        }
        let chi_square: f64 = [(0, 0, 0.49), (0, 1, 0.21), (1, 0, 0.21), (1, 1, 0.09)]
            .iter()
            .map(|&(a, b, p)| (f64::from(counts[a][b]) - p * f64::from(batches)).powi(2) / (p * f64::from(batches)))
            .sum();
        assert!(chi_square < 16.27, "3 degrees of freedom, p = 0.001: {chi_square}");
    }

    #[test]
    fn rate_one_takes_everybody_and_other_rates_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(13);
        assert_eq!(poisson_sample(5, 1.0, &mut rng).unwrap(), [0, 1, 2, 3, 4]);
        for rate in [0.0, -0.1, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY] {
            assert!(matches!(poisson_sample(5, rate, &mut rng), Err(SampleError::Rate(_))));
        }
    }
}
