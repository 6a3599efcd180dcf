//! Opening: summed bodies minus mask times summed key, split into sums of values, with the round's checks.

use rayon::prelude::*;

use crate::accumulate::Accumulator;
use crate::encrypt::largest_size;
use crate::fields::{Fields, Seen};
use crate::key::{KeySum, Transformed};
use crate::layout::Layout;
use crate::mask::MaskSeed;
use crate::params::ParameterSet;
use crate::ring::{self, Residue, Ring};
use crate::wipe;

/// Why a round is void.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// The cohort is below [`Layout::COHORT_MIN`] or above the layout's largest.
    #[error("a cohort of {cohort} clients is not opened under this layout")]
    Cohort {
        /// Clients in the cohort.
        cohort: usize,
    },
    /// The accumulator or the key was made for another layout.
    #[error("accumulator or key sum belongs to another layout")]
    OtherLayout,
    /// Residuals are larger than the cohort's errors: the key is not the sum of these contributions' keys.
    #[error("chunk {chunk} has residuals of mean square {mean_square}, above {limit}; the round is void")]
    Residual {
        /// The chunk.
        chunk: usize,
        /// What was found.
        mean_square: f64,
        /// 4 |U| sigma^2.
        limit: f64,
    },
    /// A summed value is beyond what the cohort's clamps and noise allow, so one of them is malformed.
    #[error("the sum at position {index} is out of range; the round is void")]
    Range {
        /// Position among the values.
        index: usize,
    },
    /// A coefficient holds more than its fields, or padding behind the last value is not zero.
    #[error("chunk {chunk} holds more than its fields; the round is void")]
    Overflow {
        /// The chunk.
        chunk: usize,
    },
}

/// The sums of the values over a cohort of this many clients.
///
/// # Errors
/// When cohort or arguments do not fit the layout, or one of the round's checks fails: every residual's mean
/// square at most 4 |U| sigma^2 a chunk, every sum within |U| clamps plus the noise tail, nothing above the fields.
pub fn open(
    layout: &Layout,
    seed: &MaskSeed,
    sum: &Accumulator,
    key: &KeySum,
    cohort: usize,
) -> Result<Vec<i64>, OpenError> {
    open_measured(layout, seed, sum, key, cohort).map(|(values, _)| values)
}

/// [`open`], and the mean square of all residuals: the sums of the clients' errors, each of variance |U| sigma^2. Opening refuses only what is too
/// large; that a ciphertext has its errors at all is seen here.
///
/// # Errors
/// As [`open`].
pub fn open_measured(
    layout: &Layout,
    seed: &MaskSeed,
    sum: &Accumulator,
    key: &KeySum,
    cohort: usize,
) -> Result<(Vec<i64>, f64), OpenError> {
    if !layout.admits(cohort) {
        return Err(OpenError::Cohort { cohort });
    }
    open_coefficients(layout, seed, sum, key.coefficients(), cohort)
}

/// [`open_measured`] without the lower bound on the cohort: tests open single contributions.
pub(crate) fn open_coefficients(
    layout: &Layout,
    seed: &MaskSeed,
    sum: &Accumulator,
    key: &[i32],
    cohort: usize,
) -> Result<(Vec<i64>, f64), OpenError> {
    let set = layout.set();
    let residues = sum.residues(layout).ok_or(OpenError::OtherLayout)?;
    if key.len() != set.ring_degree() {
        return Err(OpenError::OtherLayout);
    }
    let mut values = vec![0; layout.values().count];
    let limits = Limits::of(layout, cohort);
    let squares = wipe::after(|| decode(layout, seed, residues, key, &limits, &mut values))?;
    Ok((values, squares / (layout.chunk_count() * set.ring_degree()) as f64))
}

/// Opens every chunk; gives the sum of the residuals' squares.
fn decode(
    layout: &Layout,
    seed: &MaskSeed,
    residues: &[u64],
    key: &[i32],
    limits: &Limits,
    values: &mut [i64],
) -> Result<f64, OpenError> {
    let set = layout.set();
    let ring = ring::ring(set);
    let key = Transformed::new(key, &ring.residues);
    values
        .par_chunks_mut(layout.values_per_chunk())
        .zip(residues.par_chunks_exact(set.residues()))
        .enumerate()
        .map_init(
            || Scratch::new(layout),
            |scratch, (index, (values, residues))| {
                scratch.expand_mask(seed, index);
                scratch.subtract_products(ring, &key, residues);
                let seen = scratch.split(ring, Fields::of(layout));
                let (used, padding) = scratch.values.split_at(values.len());
                values.copy_from_slice(used);
                limits.check(index, &seen, used, padding).map(|()| seen.squares)
            },
        )
        .try_reduce(|| 0.0, |one, other| Ok(one + other))
}

/// The residues of one chunk whose mask is given, transformed, instead of expanded: body - a S, and the fields.
#[cfg(test)]
pub(crate) fn open_under_mask(layout: &Layout, mask: &[u64], body: &[u64], key: &[i32]) -> (Vec<u64>, Vec<i64>, f64) {
    let ring = ring::ring(layout.set());
    let mut scratch = Scratch::new(layout);
    scratch.residues.copy_from_slice(mask);
    scratch.subtract_products(ring, &Transformed::new(key, &ring.residues), body);
    let residues = scratch.residues.clone();
    let seen = scratch.split(ring, Fields::of(layout));
    let mean_square = seen.squares / layout.set().ring_degree() as f64;
    (residues, scratch.values.clone(), mean_square)
}

/// What a chunk is checked against.
struct Limits {
    degree: f64,
    mean_square: f64,
    sum: u64,
    values_per_chunk: usize,
}

impl Limits {
    fn of(layout: &Layout, cohort: usize) -> Self {
        Self {
            degree: layout.set().ring_degree() as f64,
            mean_square: 4.0 * cohort as f64 * layout.set().sigma().powi(2),
            sum: layout.sum_limit(cohort),
            values_per_chunk: layout.values_per_chunk(),
        }
    }

    fn check(&self, chunk: usize, seen: &Seen, used: &[i64], padding: &[i64]) -> Result<(), OpenError> {
        let mean_square = seen.squares / self.degree;
        if mean_square > self.mean_square {
            return Err(OpenError::Residual { chunk, mean_square, limit: self.mean_square });
        }
        if largest_size(used) > self.sum {
            let at = used.iter().position(|v| v.unsigned_abs() > self.sum).unwrap_or(0);
            return Err(OpenError::Range { index: chunk * self.values_per_chunk + at });
        }
        if seen.overflow || padding.iter().any(|&v| v != 0) {
            return Err(OpenError::Overflow { chunk });
        }
        Ok(())
    }
}

/// Buffers of one chunk, reused by a thread.
struct Scratch {
    set: ParameterSet,
    /// Residues after subtraction, prime after prime.
    residues: Vec<u64>,
    /// Centered coefficients, or their parts below 2^50 with two primes.
    low: Vec<i64>,
    /// What is above 2^50 with two primes.
    high: Vec<i64>,
    values: Vec<i64>,
}

impl Scratch {
    fn new(layout: &Layout) -> Self {
        let set = layout.set();
        let degree = set.ring_degree();
        let is_wide = set.moduli().len() > 1;
        Self {
            set,
            residues: vec![0; set.residues()],
            low: vec![0; degree],
            high: vec![0; if is_wide { degree } else { 0 }],
            values: vec![0; layout.values_per_chunk()],
        }
    }

    fn expand_mask(&mut self, seed: &MaskSeed, chunk: usize) {
        let parts = self.residues.chunks_exact_mut(self.set.ring_degree());
        for (prime, (values, &q)) in parts.zip(self.set.moduli()).enumerate() {
            seed.expand(chunk, prime, q, values);
        }
    }

    /// The transformed mask a becomes body - a S modulo every prime.
    fn subtract_products(&mut self, ring: &Ring, key: &Transformed, body: &[u64]) {
        let degree = self.set.ring_degree();
        let parts = self.residues.chunks_exact_mut(degree).zip(body.chunks_exact(degree));
        for (prime, (residue, (product, body))) in ring.residues.iter().zip(parts).enumerate() {
            residue.multiply(product, key.modulo(prime));
            subtract_from(residue, body, product);
        }
    }

    /// Lifts to the centered representative and splits it into fields.
    fn split(&mut self, ring: &Ring, fields: Fields) -> Seen {
        let (first, second) = self.residues.split_at_mut(self.set.ring_degree());
        if second.is_empty() {
            center(first, self.set.moduli()[0], &mut self.low);
        } else {
            ring.center_pairs(first, second, &mut self.low, &mut self.high);
        }
        fields.split(&self.low, &self.high, &mut self.values)
    }
}

fn center(residues: &[u64], q: u64, out: &mut [i64]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (out, &x) in out.iter_mut().zip(residues) {
                *out = ring::center(x, q);
            }
        },
    );
}

/// Where policy keeps sums from the aggregator, the summed key is a secret of the houses.
impl Drop for Scratch {
    fn drop(&mut self) {
        wipe::stack();
    }
}

/// `product` becomes `body - product`.
fn subtract_from(residue: &Residue, body: &[u64], product: &mut [u64]) {
    let q = residue.q;
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (product, &body) in product.iter_mut().zip(body) {
                *product = ring::reduce(body.wrapping_add(q).wrapping_sub(*product), q);
            }
        },
    );
}
