//! Encryption under the common mask: body = a s + e + m for every chunk.

use rand::CryptoRng;
use rayon::prelude::*;
use zeroize::{Zeroize, Zeroizing};

use crate::fields::Fields;
use crate::gauss::{Sampler, Seed, Words};
use crate::key::{OneTimeKey, Transformed};
use crate::layout::Layout;
use crate::mask::MaskSeed;
use crate::pack;
use crate::params::RESIDUE_BITS;
use crate::ring::{self, Residue, Ring};
use crate::wipe;

/// Why values cannot be encrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The number of values is not the layout's.
    #[error("{found} values where the layout has {expected}")]
    Count {
        /// The layout's count.
        expected: usize,
        /// The count given.
        found: usize,
    },
    /// A value is larger than clamp plus noise tail, so that a sum could leave its field.
    #[error("value {index} is beyond {limit} in size; clamp before noise is added")]
    ValueOutOfRange {
        /// Its position.
        index: usize,
        /// The largest size that the layout takes.
        limit: u64,
    },
    /// The key was generated for another parameter set.
    #[error("the one-time key belongs to a layout with another parameter set")]
    OtherKey,
}

/// Encrypts one contribution: `chunk_count` chunks of `chunk_bytes`, in order.
///
/// `values` are the clamped coordinates with this client's noise added. The key is dealt before
/// ([`deal`](crate::deal)) and used up here, so that none encrypts twice: two contributions under one key and one mask
/// would give away their difference.
///
/// # Errors
/// When count or size of the values do not suit the layout, or the key is another set's.
pub fn encrypt<R: CryptoRng + ?Sized>(
    layout: &Layout,
    seed: &MaskSeed,
    key: OneTimeKey,
    values: &[i64],
    rng: &mut R,
) -> Result<Vec<u8>, EncryptError> {
    encrypt_under(layout, seed, &key, values, rng)
}

/// [`encrypt`] with a key that lives on: tests open single contributions.
pub(crate) fn encrypt_under<R: CryptoRng + ?Sized>(
    layout: &Layout,
    seed: &MaskSeed,
    key: &OneTimeKey,
    values: &[i64],
    rng: &mut R,
) -> Result<Vec<u8>, EncryptError> {
    check(layout, key, values)?;
    let limit = layout.value_limit();
    let mut contribution = vec![0; layout.contribution_bytes()];
    if wipe::after(|| write(layout, seed, key, values, rng, &mut contribution)) {
        return Ok(contribution);
    }
    let index = values.iter().position(|v| v.unsigned_abs() > limit).unwrap_or(0);
    Err(EncryptError::ValueOutOfRange { index, limit })
}

/// Writes every chunk; true when all values are in range.
fn write<R: CryptoRng + ?Sized>(
    layout: &Layout,
    seed: &MaskSeed,
    key: &OneTimeKey,
    values: &[i64],
    rng: &mut R,
    contribution: &mut [u8],
) -> bool {
    let limit = layout.value_limit();
    let ring = ring::ring(layout.set());
    let key = Transformed::new(key.coefficients(), &ring.residues);
    let errors = Seed::draw(rng);
    contribution
        .par_chunks_mut(layout.chunk_bytes())
        .zip(values.par_chunks(layout.values_per_chunk()))
        .enumerate()
        .map_init(
            || Scratch::new(layout),
            |scratch, (index, (bytes, values))| {
                // Checked here, where the values are in the cache: memory is read once.
                let fit = largest_size(values) <= limit;
                scratch.draw_errors(&mut errors.sampler(index));
                scratch.add_message(Fields::of(layout), values);
                scratch.write_body(ring, &key, seed, index, bytes);
                fit
            },
        )
        .reduce(|| true, |one, other| one & other)
}

fn check(layout: &Layout, key: &OneTimeKey, values: &[i64]) -> Result<(), EncryptError> {
    if !key.serves(layout) {
        return Err(EncryptError::OtherKey);
    }
    let expected = layout.values().count;
    if values.len() != expected {
        return Err(EncryptError::Count { expected, found: values.len() });
    }
    Ok(())
}

/// The largest |value|.
pub(crate) fn largest_size(values: &[i64]) -> u64 {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || values.iter().fold(0, |largest, v| v.unsigned_abs().max(largest)),
    )
}

/// Buffers of one chunk, reused by a thread and wiped at the end.
struct Scratch {
    errors: Zeroizing<Vec<i32>>,
    random: Words,
    /// m + e, or its part below 2^50 with two primes.
    low: Zeroizing<Vec<i64>>,
    /// What is above 2^50 with two primes.
    high: Zeroizing<Vec<i64>>,
    body: Vec<u64>,
}

impl Scratch {
    fn new(layout: &Layout) -> Self {
        let degree = layout.set().ring_degree();
        let is_wide = layout.set().moduli().len() > 1;
        Self {
            errors: Zeroizing::new(vec![0; degree]),
            random: Words::new(degree),
            low: Zeroizing::new(vec![0; degree]),
            high: Zeroizing::new(vec![0; if is_wide { degree } else { 0 }]),
            body: vec![0; degree],
        }
    }

    fn draw_errors(&mut self, sampler: &mut Sampler) {
        sampler.fill(&mut self.errors, &mut self.random);
    }

    fn add_message(&mut self, fields: Fields, values: &[i64]) {
        fields.pack(values, &mut self.low, &mut self.high);
        add_errors(&mut self.low, &self.errors);
    }

    fn write_body(&mut self, ring: &Ring, key: &Transformed, seed: &MaskSeed, index: usize, bytes: &mut [u8]) {
        let residue_bytes = self.body.len() * RESIDUE_BITS as usize / 8;
        let parts = bytes.chunks_exact_mut(residue_bytes);
        for (prime, (residue, bytes)) in ring.residues.iter().zip(parts).enumerate() {
            seed.expand(index, prime, residue.q, &mut self.body);
            residue.multiply(&mut self.body, key.modulo(prime));
            add_message(residue, &mut self.body, &self.low, &self.high);
            pack::pack(&self.body, bytes);
        }
    }
}

fn add_errors(low: &mut [i64], errors: &[i32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (sum, &error) in low.iter_mut().zip(errors) {
                *sum = sum.wrapping_add(i64::from(error));
            }
        },
    );
}

fn add_message(residue: &Residue, body: &mut [u64], low: &[i64], high: &[i64]) {
    let q = residue.q;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            if high.is_empty() {
                for (body, &low) in body.iter_mut().zip(low) {
                    *body = ring::reduce_word(body.wrapping_add(residue.lift_pair(low, 0)), q);
                }
            } else {
                for ((body, &low), &high) in body.iter_mut().zip(low).zip(high) {
                    *body = ring::reduce_word(body.wrapping_add(residue.lift_pair(low, high)), q);
                }
            }
        },
    );
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.body.zeroize();
        wipe::stack();
    }
}
