//! A statistical test of noise as it is actually added: of a sampler, a build or a machine that is broken, not of the privacy that right noise gives.
//!
//! Right noise fails with a probability below 2^-40 a test: the bounds on mean, variance and correlation are eight of their standard deviations (for the
//! many samples taken, normal tails of 1e-15), that on the shape is the Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant
//! (Massart 1990, Ann. Probab. 18(3)), which holds for every distribution.

use crate::NoiseShare;

/// Samples that a test takes: a variance that is off by a tenth is found, and 16,384 are drawn in a tenth of a second.
pub const SELF_TEST_SAMPLES: usize = 1 << 14;
/// Standard deviations that mean, variance and correlation may be off.
const SIGMAS: f64 = 8.0;
/// log2 of the probability with which right noise fails the test of its shape.
const FALSE_ALARM: f64 = -40.0;

/// What a test of noise found; all figures are of the noise alone, never of data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfTest {
    /// Samples looked at.
    pub samples: usize,
    /// Standard deviation that was asked for, in grid units.
    pub deviation: f64,
    /// That of the samples.
    pub found: f64,
    /// Largest distance between the samples' distribution and the one that was asked for, and what it may be.
    pub distance: (f64, f64),
}

/// The noise is not what it should be: nothing may be trained with it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the noise that this machine draws is not what it should be: {what} is {found:.4}, expected {expected:.4} within {bound:.4} ({samples} samples); do not train here before this is explained"
)]
pub struct NoiseFault {
    /// Which figure.
    pub what: &'static str,
    /// As it was found.
    pub found: f64,
    /// As it should be.
    pub expected: f64,
    /// How far it may be off.
    pub bound: f64,
    /// Samples looked at.
    pub samples: usize,
}

impl NoiseShare {
    /// Whether `samples` look like draws of this share: their mean, variance, shape, and that each says nothing of the next.
    ///
    /// # Errors
    /// [`NoiseFault`] naming the first figure that is off.
    pub fn self_test(&self, samples: &[i64]) -> Result<SelfTest, NoiseFault> {
        let (n, deviation) = (samples.len() as f64, self.deviation());
        let scaled = || samples.iter().map(|sample| *sample as f64 / deviation);
        let off = |what, found: f64, expected: f64, bound: f64| {
            // A figure that is no number is off too.
            if (found - expected).abs() <= bound {
                Ok(())
            } else {
                Err(NoiseFault { what, found, expected, bound, samples: samples.len() })
            }
        };
        let mean = scaled().sum::<f64>() / n;
        let square = scaled().map(|x| x * x).sum::<f64>() / n;
        let bound = SIGMAS / n.sqrt();
        off("its mean (in deviations)", mean, 0.0, bound)?;
        off("its variance (of 1)", square, 1.0, bound * 2f64.sqrt())?;
        let pairs = scaled().zip(scaled().skip(1)).map(|(one, next)| one * next);
        off("the correlation of neighbours", pairs.sum::<f64>() / n, 0.0, bound)?;
        let (distance, most) = (self.distance(samples), ((1.0 - FALSE_ALARM) * 2f64.ln() / (2.0 * n)).sqrt());
        off("the distance of its distribution", distance, 0.0, most)?;
        Ok(SelfTest { samples: samples.len(), deviation, found: square.sqrt() * deviation, distance: (distance, most) })
    }

    /// Kolmogorov's distance from the normal distribution function at half-integers, which the discrete Gaussian's is but for 1e-3 at the narrowest share.
    fn distance(&self, samples: &[i64]) -> f64 {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let n = sorted.len() as f64;
        let cumulative = |x: f64| 0.5 * libm::erfc(-x / self.deviation() / 2f64.sqrt());
        let mut largest = 0f64;
        for (place, sample) in sorted.iter().enumerate() {
            if sorted.get(place + 1) == Some(sample) {
                continue;
            }
            let below = sorted.partition_point(|other| other < sample) as f64 / n;
            let upto = (place + 1) as f64 / n;
            let sample = *sample as f64;
            largest =
                largest.max((upto - cumulative(sample + 0.5)).abs()).max((below - cumulative(sample - 0.5)).abs());
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use rand::{Rng as _, RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn opendps_noise_passes_at_every_width() {
        for (multiplier, norm) in [(1.0, 4), (0.37, 100), (2.0, 1 << 20)] {
            let share = NoiseShare::local(multiplier, norm).unwrap();
            for _ in 0..5 {
                let found = share.self_test(&share.draw(SELF_TEST_SAMPLES).unwrap()).unwrap();
                assert!((found.found / found.deviation - 1.0).abs() < 0.1 && found.distance.0 < found.distance.1);
            }
        }
    }

    /// Noise that is missing, too small, too large, of another shape with the right variance, biased, or not fresh.
    #[test]
    fn noise_that_is_wrong_in_any_way_is_named() {
        let share = NoiseShare::local(1.0, 1000).unwrap();
        let good = share.draw(SELF_TEST_SAMPLES).unwrap();
        let map = |f: &dyn Fn(f64) -> f64| good.iter().map(|sample| f(*sample as f64) as i64).collect::<Vec<i64>>();
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(rand::rng().next_u64());
        let root = 3f64.sqrt() * 1000.0;
        let uniform: Vec<i64> = (0..SELF_TEST_SAMPLES).map(|_| rng.random_range(-root..root) as i64).collect();
        let laplace: Vec<i64> = (0..SELF_TEST_SAMPLES)
            .map(|_| {
                let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
                (sign * -rng.random::<f64>().ln() * 1000.0 / 2f64.sqrt()) as i64
            })
            .collect();
        let again: Vec<i64> = good.iter().step_by(2).flat_map(|sample| [*sample, *sample]).collect();
        for (samples, what) in [
            (vec![0; SELF_TEST_SAMPLES], "variance"),
            (map(&|x| 0.9 * x), "variance"),
            (map(&|x| 1.1 * x), "variance"),
            (map(&|x| x + 100.0), "mean"),
            (map(&|x| x.abs()), "mean"),
            (map(&|x| if x < 0.0 { -1000.0 } else { 1000.0 }), "distribution"),
            (uniform, "distribution"),
            (laplace, "distribution"),
            (again, "neighbours"),
            (Vec::new(), "mean"),
        ] {
            let fault = share.self_test(&samples).unwrap_err();
            assert!(fault.to_string().contains(what), "{fault}; expected {what}");
        }
    }
}
