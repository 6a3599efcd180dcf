//! A random rotation that spreads a vector evenly over its coordinates, and its inverse.

use sha2::{Digest, Sha256};

/// Separates these signs from every other use of the seed.
const LABEL: &[u8] = b"plainchant rotation v1\0";
/// Signs that one hash gives.
const SIGNS_A_HASH: usize = 256;

/// `H D / sqrt(n)`: D flips signs by a public seed, H is the Walsh-Hadamard matrix of the next power of two n
/// (Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism", section 4.2). It keeps norms, and a vector of norm s
/// has a coordinate above `t s / sqrt(n)` with a probability of at most `2 n exp(-t^2 / 2)`, whatever the vector was.
///
/// The arithmetic is additions, multiplications by one constant and changes of sign in a fixed order, so every machine
/// gets the same bits. Nothing about privacy rests on it.
#[derive(Debug, Clone)]
pub struct Rotation {
    negative: Vec<bool>,
}

/// A vector of another length than the rotation's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} coordinates for a rotation of {width}")]
pub struct RotationError {
    /// The vector's length.
    pub found: usize,
    /// The rotation's.
    pub width: usize,
}

impl Rotation {
    /// The rotation of `seed` over the next power of two from `len`.
    #[must_use]
    pub fn new(seed: &[u8; 32], len: usize) -> Self {
        let width = len.next_power_of_two();
        let hash = |block: usize| -> [u8; 32] {
            Sha256::new_with_prefix(LABEL)
                .chain_update(seed)
                .chain_update((block as u64).to_be_bytes())
                .finalize()
                .into()
        };
        let bits = (0..width.div_ceil(SIGNS_A_HASH))
            .flat_map(|block| hash(block).into_iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)));
        Self { negative: bits.take(width).collect() }
    }

    /// How many coordinates it turns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.negative.len()
    }

    /// Turns `values` in place.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn forward(&self, values: &mut [f64]) -> Result<(), RotationError> {
        self.check(values)?;
        self.flip(values);
        hadamard(values);
        Ok(())
    }

    /// Turns `values` back.
    ///
    /// # Errors
    /// [`RotationError`].
    pub fn inverse(&self, values: &mut [f64]) -> Result<(), RotationError> {
        self.check(values)?;
        hadamard(values);
        self.flip(values);
        Ok(())
    }

    fn check(&self, values: &[f64]) -> Result<(), RotationError> {
        let (found, width) = (values.len(), self.width());
        if found == width { Ok(()) } else { Err(RotationError { found, width }) }
    }

    fn flip(&self, values: &mut [f64]) {
        values
            .iter_mut()
            .zip(&self.negative)
            .filter(|(_, negative)| **negative)
            .for_each(|(value, _)| *value = -*value);
    }
}

/// The orthonormal transform of a power of two of values, in place.
fn hadamard(values: &mut [f64]) {
    let mut half = 1;
    while half < values.len() {
        for block in values.chunks_exact_mut(2 * half) {
            let (left, right) = block.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let factor = 1.0 / (values.len() as f64).sqrt();
    values.iter_mut().for_each(|value| *value *= factor);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn turning_keeps_the_norm_and_turning_back_gives_the_vector(
            mut values in proptest::collection::vec(-1e3f64..1e3, 1..300), seed in any::<[u8; 32]>(),
        ) {
            let rotation = Rotation::new(&seed, values.len());
            values.resize(rotation.width(), 0.0);
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            let mut turned = values.clone();
            rotation.forward(&mut turned).unwrap();
            prop_assert!((norm(&turned) - norm(&values)).abs() <= 1e-9 * norm(&values).max(1.0));
            rotation.inverse(&mut turned).unwrap();
            prop_assert!(turned.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }

    /// The definition: entry (i, j) of H is -1 to the number of common one bits.
    #[test]
    fn the_transform_is_the_walsh_hadamard_matrix_after_the_signs() {
        let rotation = Rotation::new(&[7; 32], 16);
        for j in 0..16usize {
            let mut unit = vec![0.0; 16];
            unit[j] = 1.0;
            rotation.forward(&mut unit).unwrap();
            let sign = if rotation.negative[j] { -1.0 } else { 1.0 };
            for (i, found) in unit.iter().enumerate() {
                let entry = if (i & j).count_ones() % 2 == 0 { 0.25 } else { -0.25 };
                assert!((found - sign * entry).abs() < 1e-15);
            }
        }
    }

    #[test]
    fn a_vector_along_one_axis_of_either_basis_is_spread_out() {
        // The constant vector is an axis of the Hadamard basis: without signs it would all land in one coordinate.
        let rotation = Rotation::new(&[1; 32], 4096);
        let mut constant = vec![1.0 / 64.0; 4096];
        rotation.forward(&mut constant).unwrap();
        // 2 n exp(-t^2 / 2) is 2e-9 at t = 7.9.
        assert!(constant.iter().all(|value| value.abs() < 7.9 / 64.0));
        assert!(rotation.negative.iter().filter(|negative| **negative).count().abs_diff(2048) < 6 * 32);
        assert!(rotation.forward(&mut [0.0; 4095]).is_err());
    }
}
