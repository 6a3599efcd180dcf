//! Adding contributions: checks of one chunk, and the running sum.

use rayon::prelude::*;

use crate::layout::Layout;
use crate::pack;
use crate::params::{ParameterSet, RESIDUE_BITS};
use crate::wire::{self, EncodingError, VERSION};

/// Why a chunk is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The chunk (or the whole contribution) is truncated or oversized.
    #[error("{found} bytes where {expected} are expected")]
    Length {
        /// The layout's length.
        expected: usize,
        /// The length received.
        found: usize,
    },
    /// The chunk's index is beyond the layout's count.
    #[error("chunk {index} of a layout with {count} chunks")]
    Index {
        /// The index received.
        index: usize,
        /// The layout's count.
        count: usize,
    },
    /// A coefficient is not below its prime.
    #[error("coefficient {position} is not below its prime")]
    Coefficient {
        /// Its position among the residues, prime after prime.
        position: usize,
    },
}

/// Which of many contributions is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("contribution {contribution}, chunk {chunk}: {source}")]
pub struct FoldError {
    /// Its position in the list.
    pub contribution: usize,
    /// The chunk; the first one when the length is wrong.
    pub chunk: usize,
    /// What is wrong with it.
    pub source: ChunkError,
}

/// Checks one chunk as it arrives: its length, and every coefficient below its prime. A chunk of N times 50 bits
/// a prime fills its bytes, so it has no padding bits to check.
///
/// # Errors
/// Names what is wrong.
pub fn check_chunk(layout: &Layout, chunk: &[u8]) -> Result<(), ChunkError> {
    let set = layout.set();
    check_length(chunk, chunk_bytes(set))?;
    read_chunk(set, chunk, &mut vec![0; set.residues()])
}

/// The sum of contributions, chunk by chunk, 8 bytes a residue. It does not count contributions: the caller's
/// list of accepted ones is the cohort.
#[derive(Clone, Debug)]
pub struct Accumulator {
    set: ParameterSet,
    /// All residues, chunk after chunk, prime after prime within a chunk.
    sum: Vec<u64>,
    /// The addends of one chunk, so that a refused one leaves the sum as it was.
    scratch: Vec<u64>,
}

const WHAT: &str = "accumulator";

/// Residues below 2^50 that are added up before they are reduced: one less than their sum and the sum's own residue
/// need to stay below 2^64.
const ADDENDS: usize = (1 << (u64::BITS - RESIDUE_BITS)) - 2;

impl Accumulator {
    /// The empty sum.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let set = layout.set();
        Self { set, sum: vec![0; layout.chunk_count() * set.residues()], scratch: vec![0; set.residues()] }
    }

    /// Adds chunk `index` of one contribution.
    ///
    /// # Errors
    /// When the index is beyond the layout's or [`check_chunk`] would refuse the chunk; the sum is unchanged then.
    pub fn add_chunk(&mut self, index: usize, chunk: &[u8]) -> Result<(), ChunkError> {
        check_length(chunk, chunk_bytes(self.set))?;
        self.add_chunks(index, &[chunk]).map_err(|error| error.source)
    }

    /// Adds all chunks of one contribution, on all cores.
    ///
    /// # Errors
    /// When the length is not the layout's or a chunk is refused; the sum is unchanged then.
    pub fn add(&mut self, contribution: &[u8]) -> Result<(), ChunkError> {
        self.add_all(&[contribution]).map_err(|error| error.source)
    }

    /// Adds all chunks of many contributions, on all cores: the sum is read and written once, whatever their number.
    ///
    /// # Errors
    /// When a length is not the layout's or a chunk is refused; the sum is unchanged then. Names the first chunk
    /// that is refused, and the first contribution in it.
    pub fn add_all(&mut self, contributions: &[&[u8]]) -> Result<(), FoldError> {
        let expected = self.chunk_count() * chunk_bytes(self.set);
        check_lengths(0, contributions, expected)?;
        self.fold(0, self.chunk_count(), contributions)
    }

    /// Adds the same run of whole chunks of many contributions: `runs` holds one run of each, all equally long, that
    /// starts at chunk `first`.
    ///
    /// # Errors
    /// When a run's length is not a positive multiple of a chunk's, or not the first run's, when it ends beyond the
    /// layout's last chunk, or when a chunk is refused; the sum is unchanged then.
    pub fn add_chunks(&mut self, first: usize, runs: &[&[u8]]) -> Result<(), FoldError> {
        let Some(run) = runs.first() else { return Ok(()) };
        let one = chunk_bytes(self.set);
        check_lengths(first, runs, run.len().next_multiple_of(one).max(one))?;
        let (count, chunks) = (self.chunk_count(), run.len() / one);
        if count.saturating_sub(first) < chunks {
            let source = ChunkError::Index { index: first.saturating_add(chunks - 1), count };
            return Err(FoldError { contribution: 0, chunk: first, source });
        }
        self.fold(first, chunks, runs)
    }

    /// Adds runs of `chunks` chunks. A chunk's sum is changed only when all its addends are good; when another
    /// chunk is refused, what was added to it is taken back.
    fn fold(&mut self, first: usize, chunks: usize, runs: &[&[u8]]) -> Result<(), FoldError> {
        let (set, bytes) = (self.set, chunk_bytes(self.set));
        let range = first * set.residues()..(first + chunks) * set.residues();
        let sums = &mut self.sum[range];
        if chunks == 1 {
            let refused = add_up(set, runs.iter().copied(), &mut self.scratch);
            refused.map_err(|(contribution, source)| FoldError { contribution, chunk: first, source })?;
            each_prime(set, sums, &self.scratch, pack::add);
            return Ok(());
        }
        let addends = |chunk: usize| runs.iter().map(move |run| &run[chunk * bytes..(chunk + 1) * bytes]);
        let scratch = || vec![0; set.residues()];
        let add = |scratch: &mut Vec<u64>, (chunk, sum): (usize, &mut [u64])| {
            add_up(set, addends(chunk), scratch)?;
            each_prime(set, sum, scratch, pack::add);
            Ok(())
        };
        let outcomes: Vec<_> = sums.par_chunks_exact_mut(set.residues()).enumerate().map_init(scratch, add).collect();
        let Some(refused) = outcomes.iter().position(Result::is_err) else { return Ok(()) };
        // The chunks that were added add up again.
        let undo = |scratch: &mut Vec<u64>, (chunk, sum): (usize, &mut [u64])| {
            if add_up(set, addends(chunk), scratch).is_ok() {
                each_prime(set, sum, scratch, pack::subtract);
            }
        };
        sums.par_chunks_exact_mut(set.residues()).enumerate().for_each_init(scratch, undo);
        outcomes.into_iter().nth(refused).unwrap_or(Ok(())).map_err(|(contribution, source)| FoldError {
            contribution,
            chunk: first + refused,
            source,
        })
    }

    /// Version byte, then the summed chunks in the form of a contribution.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let chunk_bytes = chunk_bytes(self.set);
        let mut bytes = vec![VERSION; 1 + self.chunk_count() * chunk_bytes];
        bytes[1..]
            .par_chunks_exact_mut(chunk_bytes)
            .zip(self.sum.par_chunks_exact(self.set.residues()))
            .for_each(|(bytes, residues)| pack::pack(residues, bytes));
        bytes
    }

    /// Reads a sum of this layout.
    ///
    /// # Errors
    /// When length, version or a coefficient is wrong.
    pub fn from_bytes(layout: &Layout, bytes: &[u8]) -> Result<Self, EncodingError> {
        let rest = wire::body(WHAT, bytes, 1 + layout.contribution_bytes())?;
        let mut sum = Self::new(layout);
        let (set, residues) = (sum.set, sum.set.residues());
        sum.sum
            .par_chunks_exact_mut(residues)
            .zip(rest.par_chunks_exact(layout.chunk_bytes()))
            .enumerate()
            .try_for_each(|(index, (sum, chunk))| {
                read_chunk(set, chunk, sum).map_err(|error| match error {
                    ChunkError::Coefficient { position } => {
                        EncodingError::Element { what: WHAT, position: index * residues + position }
                    }
                    _ => EncodingError::Geometry { what: WHAT },
                })
            })?;
        Ok(sum)
    }

    /// The residues of all chunks, when the sum has this layout.
    pub(crate) fn residues(&self, layout: &Layout) -> Option<&[u64]> {
        let fits = self.set == layout.set() && self.chunk_count() == layout.chunk_count();
        fits.then_some(&self.sum)
    }

    fn chunk_count(&self) -> usize {
        self.sum.len() / self.set.residues()
    }
}

fn chunk_bytes(set: ParameterSet) -> usize {
    set.residues() / pack::GROUP * pack::GROUP_BYTES
}

fn check_length(bytes: &[u8], expected: usize) -> Result<(), ChunkError> {
    if bytes.len() == expected {
        return Ok(());
    }
    Err(ChunkError::Length { expected, found: bytes.len() })
}

fn check_lengths(chunk: usize, runs: &[&[u8]], expected: usize) -> Result<(), FoldError> {
    let check = |(contribution, run): (usize, &&[u8])| {
        check_length(run, expected).map_err(|source| FoldError { contribution, chunk, source })
    };
    runs.iter().enumerate().try_for_each(check)
}

/// Unpacks a chunk, prime after prime, and checks it.
pub(crate) fn read_chunk(set: ParameterSet, chunk: &[u8], residues: &mut [u64]) -> Result<(), ChunkError> {
    check_length(chunk, chunk_bytes(set))?;
    read(set, chunk, residues, pack::unpack)
}

/// The sums of chunks of the right length, below 2^64 but not reduced; which chunk is refused, and why.
fn add_up<'a>(
    set: ParameterSet,
    chunks: impl Iterator<Item = &'a [u8]>,
    sums: &mut [u64],
) -> Result<(), (usize, ChunkError)> {
    sums.fill(0);
    for (at, chunk) in chunks.enumerate() {
        if at % ADDENDS == ADDENDS - 1 {
            let degree = set.ring_degree();
            sums.chunks_exact_mut(degree).zip(set.moduli()).for_each(|(sums, &q)| pack::reduce(sums, q));
        }
        read(set, chunk, sums, pack::unpack_onto).map_err(|error| (at, error))?;
    }
    Ok(())
}

/// Applies `step` to each prime's bytes and residues. It tells whether all of them are below the prime; what is
/// left in `residues` is of no use otherwise.
fn read(
    set: ParameterSet,
    chunk: &[u8],
    residues: &mut [u64],
    step: impl Fn(&[u8], &mut [u64], u64) -> bool,
) -> Result<(), ChunkError> {
    let degree = set.ring_degree();
    let parts = chunk.chunks_exact(degree / pack::GROUP * pack::GROUP_BYTES).zip(residues.chunks_exact_mut(degree));
    for (prime, ((bytes, residues), &q)) in parts.zip(set.moduli()).enumerate() {
        if !step(bytes, residues, q) {
            pack::unpack(bytes, residues, q);
            let position = residues.iter().position(|&r| r >= q).unwrap_or(0);
            return Err(ChunkError::Coefficient { position: prime * degree + position });
        }
    }
    Ok(())
}

/// Applies `step` to each prime's sums and addends.
fn each_prime(set: ParameterSet, sums: &mut [u64], addends: &[u64], step: impl Fn(&mut [u64], &[u64], u64)) {
    let degree = set.ring_degree();
    let parts = sums.chunks_exact_mut(degree).zip(addends.chunks_exact(degree));
    parts.zip(set.moduli()).for_each(|((sums, addends), &q)| step(sums, addends, q));
}

#[cfg(test)]
mod tests;
