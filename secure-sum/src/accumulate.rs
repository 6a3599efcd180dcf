//! Adding contributions: checks of one chunk, and the running sum.

use rayon::prelude::*;

use crate::layout::Layout;
use crate::pack;
use crate::params::ParameterSet;
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

/// Checks one chunk as it arrives: its length, and every coefficient below its prime. A chunk of N times 50 bits
/// a prime fills its bytes, so it has no padding bits to check.
///
/// # Errors
/// Names what is wrong.
pub fn check_chunk(layout: &Layout, chunk: &[u8]) -> Result<(), ChunkError> {
    let set = layout.set();
    read_chunk(set, chunk, &mut vec![0; set.residues()])
}

/// The sum of contributions, chunk by chunk, 8 bytes a residue. It does not count contributions: the caller's
/// list of accepted ones is the cohort.
#[derive(Clone, Debug)]
pub struct Accumulator {
    set: ParameterSet,
    /// All residues, chunk after chunk, prime after prime within a chunk.
    sum: Vec<u64>,
    /// One chunk unpacked, so that a refused chunk leaves the sum as it was.
    scratch: Vec<u64>,
}

const WHAT: &str = "accumulator";

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
        let count = self.chunk_count();
        let Some(sum) = self.sum.chunks_exact_mut(self.set.residues()).nth(index) else {
            return Err(ChunkError::Index { index, count });
        };
        read_chunk(self.set, chunk, &mut self.scratch)?;
        add_residues(self.set, sum, &self.scratch);
        Ok(())
    }

    /// Adds all chunks of one contribution, on all cores.
    ///
    /// # Errors
    /// When the length is not the layout's or a chunk is refused; the sum is unchanged then.
    pub fn add(&mut self, contribution: &[u8]) -> Result<(), ChunkError> {
        let (set, chunk_bytes) = (self.set, chunk_bytes(self.set));
        check_length(contribution, self.chunk_count() * chunk_bytes)?;
        let scratch = || vec![0; set.residues()];
        contribution
            .par_chunks_exact(chunk_bytes)
            .try_for_each_init(scratch, |residues, chunk| read_chunk(set, chunk, residues))?;
        self.sum.par_chunks_exact_mut(set.residues()).zip(contribution.par_chunks_exact(chunk_bytes)).try_for_each_init(
            scratch,
            |residues, (sum, chunk)| {
                read_chunk(set, chunk, residues)?;
                add_residues(set, sum, residues);
                Ok(())
            },
        )
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

/// Unpacks a chunk, prime after prime, and checks it.
pub(crate) fn read_chunk(set: ParameterSet, chunk: &[u8], residues: &mut [u64]) -> Result<(), ChunkError> {
    check_length(chunk, chunk_bytes(set))?;
    let degree = set.ring_degree();
    let bytes = degree / pack::GROUP * pack::GROUP_BYTES;
    let parts = chunk.chunks_exact(bytes).zip(residues.chunks_exact_mut(degree));
    for (prime, ((bytes, residues), &q)) in parts.zip(set.moduli()).enumerate() {
        if !pack::unpack(bytes, residues, q) {
            let position = residues.iter().position(|&r| r >= q).unwrap_or(0);
            return Err(ChunkError::Coefficient { position: prime * degree + position });
        }
    }
    Ok(())
}

fn add_residues(set: ParameterSet, sum: &mut [u64], residues: &[u64]) {
    let degree = set.ring_degree();
    let parts = sum.chunks_exact_mut(degree).zip(residues.chunks_exact(degree));
    for ((sum, residues), &q) in parts.zip(set.moduli()) {
        pack::add(sum, residues, q);
    }
}
