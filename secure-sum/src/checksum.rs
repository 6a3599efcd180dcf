//! A checksum of a ciphertext body that adds up as bodies do: the sum over a cohort is checked without any body.
//!
//! For each prime p of the set and each of three repetitions l, with the body's residues b_cj (chunk c,
//! position j) and weights u_lc, v_lj uniform modulo p:
//!
//! ```text
//! value_l = sum_c u_lc sum_j v_lj b_cj   mod p
//! ```
//!
//! The weights come from a [`Challenge`] that depends on all bodies and on the claimed sum. A claimed sum that differs
//! from the true one in any residue modulo p makes the difference of the values a nonzero polynomial of degree
//! two in the weights, which vanishes with probability at most 2/p (Schwartz 1980, Zippel 1979), so in all three
//! repetitions with probability below 2^-146. That is far more than one try needs, because the aggregator may
//! try many sums, each with a challenge of its own: 2^40 tries leave 2^-106.
//!
//! Weights are expanded as a mask is ([`MaskSeed`]), under seeds that are hashes of the challenge under labels of
//! their own: v_l is chunk l of the mask of one seed, u_lc the values l of chunk c of the other's.

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::accumulate::{Accumulator, ChunkError, read_chunk};
use crate::layout::Layout;
use crate::mask::MaskSeed;
use crate::params::ParameterSet;
use crate::ring;
use crate::wire::{self, EncodingError, VERSION};

/// How often a checksum is taken with new weights.
pub(crate) const REPETITIONS: usize = 3;

const POSITIONS_LABEL: &[u8] = b"plainchant/secure-sum/checksum/positions/v1";
const CHUNKS_LABEL: &[u8] = b"plainchant/secure-sum/checksum/chunks/v1";
const WHAT: &str = "checksum";

/// What the weights are drawn from: a hash over everything that is checked, so over the digest of every body and
/// of the claimed sum. Whoever knows it earlier can make a false sum that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Challenge(pub [u8; 32]);

/// The checksum was made for another layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sum or the checksum was made for another layout")]
pub struct OtherLayout;

/// The checksum of one body, or of the sum of some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    set: ParameterSet,
    /// Values modulo each prime.
    values: Vec<[u64; REPETITIONS]>,
}

impl Checksum {
    /// The checksum of no body, to which others are added.
    #[must_use]
    pub fn zero(layout: &Layout) -> Self {
        Self::zero_of(layout.set())
    }

    /// The checksum of one contribution, on all cores.
    ///
    /// # Errors
    /// When the length is not the layout's or [`check_chunk`](crate::check_chunk) would refuse a chunk.
    pub fn of(layout: &Layout, challenge: &Challenge, contribution: &[u8]) -> Result<Self, ChunkError> {
        let expected = layout.contribution_bytes();
        if contribution.len() != expected {
            return Err(ChunkError::Length { expected, found: contribution.len() });
        }
        let (set, weights) = (layout.set(), Weights::new(layout, challenge));
        contribution
            .par_chunks_exact(layout.chunk_bytes())
            .enumerate()
            .try_fold(
                || (Self::zero(layout), vec![0; set.residues()]),
                |(mut sum, mut residues), (index, chunk)| {
                    read_chunk(set, chunk, &mut residues)?;
                    weights.add_chunk(index, &residues, &mut sum);
                    Ok((sum, residues))
                },
            )
            .map(|part| part.map(|(sum, _)| sum))
            .try_reduce(|| Self::zero(layout), |sum, part| Ok(sum.plus(&part)))
    }

    /// The checksum of a sum, on all cores: equal to the sum of the checksums of what was added.
    ///
    /// # Errors
    /// When the sum was made for another layout.
    pub fn of_sum(layout: &Layout, challenge: &Challenge, sum: &Accumulator) -> Result<Self, OtherLayout> {
        let weights = Weights::new(layout, challenge);
        let chunks = sum.residues(layout).ok_or(OtherLayout)?.par_chunks_exact(layout.set().residues());
        Ok(chunks
            .enumerate()
            .fold(
                || Self::zero(layout),
                |mut sum, (index, residues)| {
                    weights.add_chunk(index, residues, &mut sum);
                    sum
                },
            )
            .reduce(|| Self::zero(layout), |sum, part| sum.plus(&part)))
    }

    /// Adds another body's checksum.
    ///
    /// # Errors
    /// When it was made for a layout with another parameter set.
    pub fn add(&mut self, other: &Self) -> Result<(), OtherLayout> {
        if self.set != other.set {
            return Err(OtherLayout);
        }
        for ((sum, values), &q) in self.values.iter_mut().zip(&other.values).zip(self.set.moduli()) {
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum = ring::reduce(*sum + value, q);
            }
        }
        Ok(())
    }

    /// Version, then 8 bytes a value, prime after prime: 25 bytes (P50) or 49 (P100).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(encoded_length(self.set));
        bytes.push(VERSION);
        bytes.extend(self.values.as_flattened().iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// Reads a checksum for this layout.
    ///
    /// # Errors
    /// When length or version is wrong or a value is not below its prime.
    pub fn from_bytes(layout: &Layout, bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut checksum = Self::zero(layout);
        let words = wire::body(WHAT, bytes, encoded_length(checksum.set))?.as_chunks::<8>().0;
        for (position, (value, word)) in checksum.values.as_flattened_mut().iter_mut().zip(words).enumerate() {
            *value = u64::from_le_bytes(*word);
            if *value >= checksum.set.moduli()[position / REPETITIONS] {
                return Err(EncodingError::Element { what: WHAT, position });
            }
        }
        Ok(checksum)
    }

    fn zero_of(set: ParameterSet) -> Self {
        Self { set, values: vec![[0; REPETITIONS]; set.moduli().len()] }
    }

    /// The sum of two checksums of one set.
    fn plus(mut self, other: &Self) -> Self {
        debug_assert!(self.set == other.set, "both are of one layout");
        let _ = self.add(other);
        self
    }
}

fn encoded_length(set: ParameterSet) -> usize {
    1 + 8 * REPETITIONS * set.moduli().len()
}

/// The checksum of a body that arrives chunk by chunk, on one core.
///
/// It knows no order and does not notice a missing chunk or one given twice: the digest of the body, which the caller
/// checks, does.
pub struct ChecksumBuilder {
    weights: Weights,
    chunk_count: usize,
    sum: Checksum,
    scratch: Vec<u64>,
}

impl ChecksumBuilder {
    /// Expands the weights: some tens of microseconds, to be spent once a body.
    #[must_use]
    pub fn new(layout: &Layout, challenge: &Challenge) -> Self {
        Self {
            weights: Weights::new(layout, challenge),
            chunk_count: layout.chunk_count(),
            sum: Checksum::zero(layout),
            scratch: vec![0; layout.set().residues()],
        }
    }

    /// Adds chunk `index` of the body.
    ///
    /// # Errors
    /// When the index is beyond the layout's or [`check_chunk`](crate::check_chunk) would refuse the chunk.
    pub fn add_chunk(&mut self, index: usize, chunk: &[u8]) -> Result<(), ChunkError> {
        if index >= self.chunk_count {
            return Err(ChunkError::Index { index, count: self.chunk_count });
        }
        read_chunk(self.sum.set, chunk, &mut self.scratch)?;
        self.weights.add_chunk(index, &self.scratch, &mut self.sum);
        Ok(())
    }

    /// The checksum of the chunks added.
    #[must_use]
    pub fn finish(self) -> Checksum {
        self.sum
    }
}

/// One row of weights v_l for each repetition, in [`split`] form.
type Rows = [Vec<u64>; REPETITIONS];

struct Weights {
    moduli: &'static [u64],
    /// Rows modulo each prime.
    positions: Vec<Rows>,
    /// What u is drawn from, chunk by chunk.
    chunks: MaskSeed,
}

impl Weights {
    fn new(layout: &Layout, challenge: &Challenge) -> Self {
        let (degree, moduli) = (layout.set().ring_degree(), layout.set().moduli());
        let seed = |label| MaskSeed(Sha256::new().chain_update(label).chain_update(challenge.0).finalize().into());
        let rows = seed(POSITIONS_LABEL);
        let row = |prime, repetition| {
            let mut row = vec![0; degree];
            rows.expand(repetition, prime, moduli[prime], &mut row);
            row.iter_mut().for_each(|weight| *weight = split(*weight));
            row
        };
        let positions = (0..moduli.len()).map(|prime| std::array::from_fn(|l| row(prime, l))).collect();
        Self { moduli, positions, chunks: seed(CHUNKS_LABEL) }
    }

    fn add_chunk(&self, index: usize, residues: &[u64], checksum: &mut Checksum) {
        let degree = residues.len() / self.moduli.len();
        let parts = self.positions.iter().zip(residues.chunks_exact(degree)).zip(&mut checksum.values);
        for (prime, ((rows, residues), values)) in parts.enumerate() {
            let q = self.moduli[prime];
            let mut weights = [0; REPETITIONS];
            self.chunks.expand(index, prime, q, &mut weights);
            for ((value, weight), product) in values.iter_mut().zip(weights).zip(inner_products(residues, rows)) {
                let product = product % u128::from(q);
                *value = ((u128::from(*value) + u128::from(weight) * product) % u128::from(q)) as u64;
            }
        }
    }
}

/// Residues and weights are multiplied in limbs of 25 bits, which every vector unit can.
const LIMB_BITS: u32 = 25;
const LIMB: u64 = (1 << LIMB_BITS) - 1;

/// The low limb in the low half of the word and the high limb in the high half.
const fn split(weight: u64) -> u64 {
    weight & LIMB | weight >> LIMB_BITS << 32
}

/// The products of the residues with each row. No sum wraps: 4,096 times twice 2^50 is 2^63.
fn inner_products(residues: &[u64], rows: &Rows) -> [u128; REPETITIONS] {
    let [first, second, third] = rows;
    let sums = pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums = [[0_u64; 3]; REPETITIONS];
            for (((residue, first), second), third) in residues.iter().zip(first).zip(second).zip(third) {
                let (low, high) = (residue & LIMB, residue >> LIMB_BITS & LIMB);
                for (sum, weight) in sums.iter_mut().zip([first, second, third]) {
                    let (weight_low, weight_high) = (weight & LIMB, weight >> 32);
                    let middle = low.wrapping_mul(weight_high).wrapping_add(high.wrapping_mul(weight_low));
                    sum[0] = sum[0].wrapping_add(low.wrapping_mul(weight_low));
                    sum[1] = sum[1].wrapping_add(middle);
                    sum[2] = sum[2].wrapping_add(high.wrapping_mul(weight_high));
                }
            }
            sums
        },
    );
    sums.map(|[low, middle, high]| {
        u128::from(low) + (u128::from(middle) << LIMB_BITS) + (u128::from(high) << (2 * LIMB_BITS))
    })
}
