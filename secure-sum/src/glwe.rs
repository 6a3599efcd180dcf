//! The same round in tfhe's types: a chunk is tfhe's GLWE ciphertext of dimension 1 under a prime modulus.
//!
//! [`open`](crate::open) is the fast way; with these, tfhe's own decryption opens a sum as well, and whoever trusts only tfhe
//! can check us with it. Contributions under several primes are one GLWE ciphertext for each prime.

use tfhe::core_crypto::entities::{GlweCiphertextOwned, GlweSecretKeyOwned};
use tfhe::core_crypto::prelude::{CiphertextModulus, PolynomialSize};

use crate::layout::Layout;
use crate::mask::MaskSeed;
use crate::params::ParameterSet;
use crate::ring::{self, Residue};
use crate::{Accumulator, KeySum};

/// Why a view could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlweError {
    /// No such chunk.
    #[error("chunk {chunk}; the layout has {count}, counted from 0")]
    Chunk {
        /// The chunk asked for.
        chunk: usize,
        /// Chunks of the layout.
        count: usize,
    },
    /// No such prime.
    #[error("prime {prime}; the parameter set has {count}, counted from 0")]
    Prime {
        /// The prime asked for.
        prime: usize,
        /// Primes of the set.
        count: usize,
    },
    /// The accumulator or key is of another layout.
    #[error("the sum or the key belongs to another layout")]
    Layout,
    /// tfhe does not take the modulus.
    #[error("tfhe does not take {q} as a modulus")]
    Modulus {
        /// The modulus.
        q: u64,
    },
}

/// One chunk of a sum (or of one contribution, added to an empty accumulator) modulo one prime of the set.
///
/// # Errors
/// [`GlweError`] when there is no such chunk or prime, or the accumulator is of another layout.
pub fn ciphertext(
    layout: &Layout,
    seed: &MaskSeed,
    sum: &Accumulator,
    chunk: usize,
    prime: usize,
) -> Result<GlweCiphertextOwned<u64>, GlweError> {
    let residue = residue(layout.set(), prime)?;
    let bodies = sum.residues(layout).ok_or(GlweError::Layout)?;
    let (degree, primes) = (layout.set().ring_degree(), layout.set().moduli().len());
    if chunk >= layout.chunk_count() {
        return Err(GlweError::Chunk { chunk, count: layout.chunk_count() });
    }
    let body = bodies.chunks(degree).nth(chunk * primes + prime).ok_or(GlweError::Layout)?;
    let mut container = mask_coefficients(seed, chunk, prime, residue, degree);
    container.extend_from_slice(body);
    Ok(GlweCiphertextOwned::from_container(container, PolynomialSize(degree), modulus(residue.q)?))
}

/// The summed key modulo one prime. tfhe's keys are not wiped when dropped; what this one opens is opened already.
///
/// # Errors
/// [`GlweError`] when there is no such prime, or the key is of another layout.
pub fn secret_key(layout: &Layout, key: &KeySum, prime: usize) -> Result<GlweSecretKeyOwned<u64>, GlweError> {
    let residue = residue(layout.set(), prime)?;
    if key.coefficients().len() != layout.set().ring_degree() {
        return Err(GlweError::Layout);
    }
    Ok(secret_key_of(key.coefficients(), residue))
}

pub(crate) fn secret_key_of(key: &[i32], residue: &Residue) -> GlweSecretKeyOwned<u64> {
    let residues = key.iter().map(|&c| residue.lift(i64::from(c)));
    GlweSecretKeyOwned::from_container(residues.collect(), PolynomialSize(key.len()))
}

pub(crate) fn modulus(q: u64) -> Result<CiphertextModulus<u64>, GlweError> {
    CiphertextModulus::try_new(u128::from(q)).map_err(|_| GlweError::Modulus { q })
}

fn residue(set: ParameterSet, prime: usize) -> Result<&'static Residue, GlweError> {
    let residues = &ring::ring(set).residues;
    residues.get(prime).ok_or(GlweError::Prime { prime, count: residues.len() })
}

/// The mask's coefficients: the inverse transform of what is expanded.
fn mask_coefficients(seed: &MaskSeed, chunk: usize, prime: usize, residue: &Residue, degree: usize) -> Vec<u64> {
    let mut values = vec![0; degree];
    seed.expand(chunk, prime, residue.q, &mut values);
    residue.multiply(&mut values, &vec![1; degree]);
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Values;

    #[test]
    fn chunks_and_primes_that_are_not_there_and_other_layouts_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let layout = Layout::derive(3, Values { count: 1, clamp: 1, noise_deviation: 0.0 })?;
        let other = Layout::derive(3, Values { count: 100_000, clamp: 1, noise_deviation: 0.0 })?;
        let (seed, sum, primes) = (MaskSeed([1; 32]), Accumulator::new(&layout), layout.set().moduli().len());
        assert!(ciphertext(&layout, &seed, &sum, 0, primes - 1).is_ok());
        assert_eq!(
            ciphertext(&layout, &seed, &sum, 0, primes).err(),
            Some(GlweError::Prime { prime: primes, count: primes })
        );
        for chunk in [1, usize::MAX / 8] {
            assert_eq!(ciphertext(&layout, &seed, &sum, chunk, 0).err(), Some(GlweError::Chunk { chunk, count: 1 }));
        }
        assert_eq!(ciphertext(&other, &seed, &sum, 0, 0).err(), Some(GlweError::Layout));
        Ok(())
    }
}
