//! Reals to integers of a bounded norm, without bias: conditional randomised rounding.

use rand::CryptoRng;

/// Rounding is tried again at most so often. A try is accepted with a probability of at least `1 - exp(-1/2)`
/// ([`Rounding`]), so that all of these fail with a probability below 1e-200.
const TRIES: u32 = 1000;
/// `sqrt(2 ln(1 / beta))` for beta = exp(-1/2).
const ROOT: f64 = 1.0;
/// At least this share of the integer norm is left for the vector.
const LEAST_SHARE: f64 = 0.5;

/// Randomised rounding of vectors of norm at most [`Rounding::scale`] to integer vectors of norm at most `integer_norm`
/// exactly (Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism", definition 21 and theorem 1): each coordinate goes
/// up or down so that its mean stays, and all of it is drawn again until the norm fits.
///
/// Their theorem keeps the norm c of the vector and lets the rounded one have norm
/// `min(c + sqrt(n), sqrt(c^2 + n / 4 + sqrt(2 ln(1 / beta)) (c + sqrt(n) / 2)))`. Here it is the other way round: the
/// integer norm is fixed, which is what the noise is measured by, and the scale c follows. So no correction for rounding is left for the
/// accountant; it is in the scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounding {
    integer_norm: u64,
    dimension: usize,
    scale: f64,
}

/// The integer norm is too small for so many coordinates: rounding alone would fill it.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "an integer norm of {integer_norm} over {dimension} coordinates is mostly rounding; it must be at least {needed}"
)]
pub struct RoundingError {
    /// The integer norm.
    pub integer_norm: u64,
    /// Coordinates.
    pub dimension: usize,
    /// The smallest integer norm of which half is left for the vector.
    pub needed: u64,
}

/// What rounding did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounded {
    /// The integers are a rounding of the vector.
    Fits,
    /// No try fitted, or the vector is not finite: all are zero.
    Zeroed,
}

impl Rounding {
    /// Rounding over `dimension` coordinates.
    ///
    /// # Errors
    /// [`RoundingError`].
    pub fn new(integer_norm: u64, dimension: usize) -> Result<Self, RoundingError> {
        let scale = scale(integer_norm as f64, dimension as f64);
        if scale >= LEAST_SHARE * integer_norm as f64 && scale > 0.0 {
            return Ok(Self { integer_norm, dimension, scale });
        }
        // (1 - 1/4) D^2 - D / 2 = n / 4 + sqrt(n) / 2, or D = 2 sqrt(n).
        let n = dimension as f64;
        let [share, squares] = [LEAST_SHARE, 1.0 - LEAST_SHARE * LEAST_SHARE];
        let root = ((ROOT * share).powi(2) + 4.0 * squares * (n / 4.0 + ROOT * n.sqrt() / 2.0)).sqrt();
        let needed = ((ROOT * share + root) / (2.0 * squares)).min(n.sqrt() / (1.0 - share));
        Err(RoundingError { integer_norm, dimension, needed: needed.ceil() as u64 + 1 })
    }

    /// The norm that a vector may have before rounding, in grid units.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Rounds `values` into `integers`, whose sum of squares is then at most the integer norm's square, exactly, whatever
    /// the values are.
    ///
    /// # Panics
    /// Never; the shorter of the two lengths counts.
    pub fn round<R: CryptoRng + ?Sized>(&self, values: &[f64], rng: &mut R, integers: &mut [i64]) -> Rounded {
        let bound = u128::from(self.integer_norm).pow(2);
        if values.iter().all(|value| value.is_finite()) {
            for _ in 0..TRIES {
                let mut squares = 0u128;
                for (value, integer) in values.iter().zip(integers.iter_mut()) {
                    let below = value.floor();
                    // 53 bits of a uniform number in [0, 1).
                    let uniform = (rng.next_u64() >> 11) as f64 * 2f64.powi(-53);
                    *integer = (below as i64).saturating_add(i64::from(uniform < value - below));
                    squares = squares.saturating_add(u128::from(integer.unsigned_abs()).pow(2));
                }
                if squares <= bound {
                    return Rounded::Fits;
                }
            }
        }
        integers.fill(0);
        Rounded::Zeroed
    }
}

/// The largest c whose bound of theorem 1 is at most the integer norm.
fn scale(integer_norm: f64, dimension: f64) -> f64 {
    let root = dimension.sqrt();
    let square = ROOT * ROOT + 4.0 * (integer_norm * integer_norm - dimension / 4.0 - ROOT * root / 2.0);
    let by_chance = if square > 0.0 { (square.sqrt() - ROOT) / 2.0 } else { 0.0 };
    by_chance.max(integer_norm - root)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    proptest! {
        #[test]
        fn no_vector_whatever_its_norm_leaves_with_more_than_the_integer_norm(
            values in proptest::collection::vec(-40.0f64..40.0, 1..60), norm in 16u64..200, seed in any::<u64>(),
        ) {
            prop_assume!(Rounding::new(norm, values.len()).is_ok());
            let rounding = Rounding::new(norm, values.len()).unwrap();
            let mut integers = vec![9; values.len()];
            let rounded = rounding.round(&values, &mut ChaCha20Rng::seed_from_u64(seed), &mut integers);
            let squares: i64 = integers.iter().map(|i| i * i).sum();
            prop_assert!(squares <= (norm * norm) as i64);
            let near = integers.iter().zip(&values).all(|(i, x)| (*i as f64 - x).abs() < 1.0);
            prop_assert_eq!(rounded == Rounded::Fits, near || integers.iter().any(|i| *i != 0));
        }

        #[test]
        fn the_scale_satisfies_theorem_one_and_no_larger_one_does(norm in 64u64..1 << 20, dimension in 1usize..900) {
            let c = Rounding::new(norm, dimension).unwrap().scale();
            let (n, d) = (dimension as f64, norm as f64);
            let bound = |c: f64| (c * c + n / 4.0 + (c + n.sqrt() / 2.0)).sqrt().min(c + n.sqrt());
            prop_assert!(bound(c) <= d * (1.0 + 1e-12));
            prop_assert!(bound(c * 1.001) > d);
        }
    }

    /// A vector of the full scale is accepted as often as the theorem says, and its mean over many roundings is itself.
    #[test]
    fn rounding_is_accepted_often_enough_and_keeps_the_mean() {
        let dimension = 1024;
        let rounding = Rounding::new(64, dimension).unwrap();
        let each = rounding.scale() / 32.0;
        let values = vec![each; dimension];
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let mut integers = vec![0; dimension];
        let (draws, mut total) = (400, 0i64);
        for _ in 0..draws {
            assert_eq!(rounding.round(&values, &mut rng, &mut integers), Rounded::Fits);
            total += integers.iter().sum::<i64>();
        }
        let mean = total as f64 / f64::from(draws) / dimension as f64;
        // Conditioning costs at most beta / (1 - beta) of a deviation a coordinate; the mean of 409,600 draws is known to 0.001.
        assert!((mean - each).abs() < 0.02, "{mean} {each}");
    }

    #[test]
    fn an_integer_norm_that_rounding_alone_would_fill_is_refused_with_one_that_is_enough() {
        let error = Rounding::new(100, 65_536).unwrap_err();
        assert!(error.needed > 100);
        let enough = Rounding::new(error.needed, 65_536).unwrap();
        assert!(enough.scale() >= error.needed as f64 / 2.0);
        assert!(Rounding::new(error.needed - 3, 65_536).is_err());
        assert!(Rounding::new(0, 1).is_err());
    }

    #[test]
    fn a_vector_that_is_not_finite_counts_as_zero() {
        let rounding = Rounding::new(100, 4).unwrap();
        let mut integers = vec![3; 4];
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        assert_eq!(rounding.round(&[0.0, f64::NAN, 1.0, 2.0], &mut rng, &mut integers), Rounded::Zeroed);
        assert_eq!(integers, [0; 4]);
    }
}
