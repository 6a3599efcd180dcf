//! How many values share a coefficient, derived from what is summed and how often decoding may fail.
//!
//! A coefficient modulo q holds, from the lowest bit up, `noise_bits` bits for the summed ring-LWE errors and
//! then `fields_per_coefficient` signed fields of `field_bits` bits. A round can fail to decode in three ways,
//! each a tail of a sum of n independent discrete Gaussians, which is subgaussian with the summed parameter
//! (Canonne, Kamath, Steinke, "The Discrete Gaussian for Differential Privacy", lemma on subgaussianity):
//!
//! ```text
//! P(any error  leaves the noise bits) <= 2 N chunks exp(-(2^(noise_bits-1))^2 / (2 n sigma^2))
//! P(any field  leaves its range)      <= 2 count    exp(-noise_tail^2       / (2 deviation^2))
//! P(any key coefficient its digit)    <= 2 N        exp(-(2^(digit_bits-1))^2 / (2 n sigma^2))
//! ```
//!
//! Each is held below 2^-66, so the sum is below 2^-64.

use crate::commitments::commitment_bytes;
use crate::committee::Committee;
use crate::deal::share_bytes;
use crate::params::{ParameterSet, RESIDUE_BITS, SIGMA};
use crate::seal::SEAL_OVERHEAD;
use crate::tail;
use crate::wire::{self, EncodingError, VERSION};

/// What each client contributes: how many coordinates, how large, and how much noise is in the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// Number of coordinates.
    pub count: usize,
    /// Bound of a coordinate before noise: |x| <= clamp, in grid units.
    pub clamp: u64,
    /// Standard deviation of the DP noise in the *sum* over the largest cohort, in grid units; 0.0 for none.
    pub noise_deviation: f64,
}

/// Why no layout fits.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// The largest cohort is out of range.
    #[error(
        "a cohort of at most {found} clients; it must be between {} and {}",
        Layout::COHORT_MIN,
        Layout::COHORT_MAX
    )]
    Cohort {
        /// The cohort asked for.
        found: usize,
    },
    /// No values, or too many of them.
    #[error("{found} values; there must be between 1 and {}", Layout::COUNT_MAX)]
    Count {
        /// The count asked for.
        found: usize,
    },
    /// The clamp is zero.
    #[error("the clamp must be at least 1")]
    Clamp,
    /// The noise deviation is negative, not finite, or beyond 2^60.
    #[error("a noise deviation of {found} is not usable")]
    NoiseDeviation {
        /// The deviation asked for.
        found: f64,
    },
    /// cohort * clamp + noise tail does not fit into any parameter set.
    #[error("a sum needs {field_bits} bits, which no parameter set holds; use a smaller clamp or coarser grid")]
    TooWide {
        /// Bits of one field.
        field_bits: u32,
    },
    /// The bytes are no layout.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

/// How values are packed into chunks; derived by [`Layout::derive`], never configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    cohort_max: usize,
    values: Values,
    set: ParameterSet,
    field_bits: u32,
    fields: usize,
    noise_bits: u32,
    noise_tail: u64,
    digit_bits: u32,
    chunks: usize,
}

/// log2 of what each of the three failures may cost a round.
const BUDGET_LOG2: f64 = -66.0;

/// Bits of a ristretto255 scalar that digits may fill: 2^252 is below the group order.
const SCALAR_BITS: u32 = 252;

const WHAT: &str = "layout";
const BYTES: usize = 1 + 4 + 8 + 8 + 8 + 4;

impl Layout {
    /// The smallest cohort that is ever opened: with one colluder, two honest clients remain.
    pub const COHORT_MIN: usize = 3;
    /// The largest cohort that a layout is derived for.
    pub const COHORT_MAX: usize = 10_000;
    /// The most coordinates of one contribution.
    pub const COUNT_MAX: usize = 1 << 36;

    /// The layout with the fewest bytes whose rounds fail to decode with probability below 2^-64.
    ///
    /// # Errors
    /// When an argument is out of range or no parameter set can hold one field.
    pub fn derive(cohort_max: usize, values: Values) -> Result<Self, LayoutError> {
        check_arguments(cohort_max, values)?;
        let noise_tail = tail::threshold(values.noise_deviation, values.count as f64, BUDGET_LOG2).ceil();
        let bound = cohort_max as f64 * values.clamp as f64 + noise_tail;
        // f64 is exact enough to refuse; what passes fits u64 with room.
        if bound >= 2_f64.powi(62) {
            return Err(LayoutError::TooWide { field_bits: bound.log2().ceil() as u32 + 1 });
        }
        let noise_tail = noise_tail as u64;
        let bound = cohort_max as u64 * values.clamp + noise_tail;
        let field_bits = u64::BITS - bound.leading_zeros() + 1;
        ParameterSet::ALL
            .into_iter()
            .filter_map(|set| Self::fit(set, cohort_max, values, field_bits, noise_tail))
            .min_by_key(Self::contribution_bytes)
            .ok_or(LayoutError::TooWide { field_bits })
    }

    /// The densest packing that a set allows, or none when not even one field fits.
    fn fit(set: ParameterSet, cohort_max: usize, values: Values, field_bits: u32, noise_tail: u64) -> Option<Self> {
        let deviation = error_deviation(cohort_max);
        let digit_bits = bits_for(deviation, set.ring_degree() as f64);
        let most = set.bits_per_coefficient() / field_bits;
        (1..=most).rev().find_map(|fields| {
            let chunks = values.count.div_ceil(set.ring_degree() * fields as usize);
            let needed = bits_for(deviation, (chunks * set.ring_degree()) as f64);
            let noise_bits = (needed..=set.bits_per_coefficient())
                .rev()
                .find(|&noise_bits| fits(set, field_bits, fields, noise_bits))?;
            Some(Self {
                cohort_max,
                values,
                set,
                field_bits,
                fields: fields as usize,
                noise_bits,
                noise_tail,
                digit_bits,
                chunks,
            })
        })
    }

    /// The parameter set.
    #[must_use]
    pub fn set(&self) -> ParameterSet {
        self.set
    }

    /// The largest cohort that this layout has headroom for.
    #[must_use]
    pub fn cohort_max(&self) -> usize {
        self.cohort_max
    }

    /// What is summed.
    #[must_use]
    pub fn values(&self) -> Values {
        self.values
    }

    /// Chunks of a contribution; a chunk is one ring element.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.chunks
    }

    /// Bytes of one chunk: N coefficients of exactly 50 bits a prime.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        self.set.residues() * RESIDUE_BITS as usize / 8
    }

    /// Bytes of one contribution's chunks.
    #[must_use]
    pub fn contribution_bytes(&self) -> usize {
        self.chunks * self.chunk_bytes()
    }

    /// Bytes of all that one client sends: its chunks, a sealed key share for each member, and the commitments to the shares.
    #[must_use]
    pub fn sent_bytes(&self, committee: &Committee) -> usize {
        let members = usize::from(committee.members());
        let sealed = share_bytes(self.scalars() + 1) + SEAL_OVERHEAD;
        self.contribution_bytes() + members * sealed + commitment_bytes(members)
    }

    /// Bits of one signed field, wide enough for the sum over the largest cohort.
    #[must_use]
    pub fn field_bits(&self) -> u32 {
        self.field_bits
    }

    /// Values in one coefficient.
    #[must_use]
    pub fn fields_per_coefficient(&self) -> usize {
        self.fields
    }

    /// log2 of the probability that a round fails to decode: the sum of the three bounds in the module's head,
    /// below -64 for every layout.
    #[must_use]
    pub fn failure_log2(&self) -> f64 {
        let deviation = error_deviation(self.cohort_max);
        let degree = self.set.ring_degree() as f64;
        tail::log2_sum(&[
            tail::union_log2(deviation, degree * self.chunks as f64, half(self.noise_bits)),
            tail::union_log2(self.values.noise_deviation, self.values.count as f64, self.noise_tail as f64),
            tail::union_log2(deviation, degree, half(self.digit_bits)),
        ])
    }

    /// Version, set, largest cohort, count, clamp, deviation and the derived widths; 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend((self.cohort_max as u32).to_le_bytes());
        bytes.extend((self.values.count as u64).to_le_bytes());
        bytes.extend(self.values.clamp.to_le_bytes());
        bytes.extend(self.values.noise_deviation.to_bits().to_le_bytes());
        bytes.extend(self.widths());
        bytes
    }

    /// Derives the layout again from its arguments and compares the widths, so that two programs that would
    /// derive different layouts notice before anything is encrypted.
    ///
    /// # Errors
    /// When the bytes are no layout, or this program derives another one from the same arguments.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let rest = wire::body(WHAT, bytes, BYTES)?;
        let (cohort_max, rest) = wire::take::<4>(WHAT, rest)?;
        let (count, rest) = wire::take::<8>(WHAT, rest)?;
        let (clamp, rest) = wire::take::<8>(WHAT, rest)?;
        let (deviation, widths) = wire::take::<8>(WHAT, rest)?;
        let values = Values {
            count: usize::try_from(u64::from_le_bytes(count)).unwrap_or(usize::MAX),
            clamp: u64::from_le_bytes(clamp),
            noise_deviation: f64::from_bits(u64::from_le_bytes(deviation)),
        };
        let layout = Self::derive(u32::from_le_bytes(cohort_max) as usize, values)?;
        // -0.0 would derive the same layout from other bytes.
        if layout.widths() != widths || (values.noise_deviation == 0.0 && deviation != [0; 8]) {
            return Err(EncodingError::Geometry { what: WHAT }.into());
        }
        Ok(layout)
    }

    fn widths(&self) -> [u8; 4] {
        [self.set.code(), self.field_bits as u8, self.noise_bits as u8, self.digit_bits as u8]
    }

    /// Values of one full chunk.
    pub(crate) fn values_per_chunk(&self) -> usize {
        self.set.ring_degree() * self.fields
    }

    /// Low bits of a coefficient left to the summed errors.
    pub(crate) fn noise_bits(&self) -> u32 {
        self.noise_bits
    }

    /// The largest |x| that one client may encrypt: clamp plus the tail of the noise.
    pub(crate) fn value_limit(&self) -> u64 {
        self.values.clamp + self.noise_tail
    }

    /// The largest |sum| of `cohort` clients.
    pub(crate) fn sum_limit(&self, cohort: usize) -> u64 {
        cohort as u64 * self.values.clamp + self.noise_tail
    }

    /// Bits of one balanced digit of the shared key, with headroom for the sum.
    pub(crate) fn digit_bits(&self) -> u32 {
        self.digit_bits
    }

    /// Key coefficients in one scalar: 18 (10,000 clients) to 31 (3 clients).
    pub(crate) fn digits_per_scalar(&self) -> usize {
        (SCALAR_BITS / self.digit_bits) as usize
    }

    /// Scalars of one key share.
    pub(crate) fn scalars(&self) -> usize {
        self.set.ring_degree().div_ceil(self.digits_per_scalar())
    }

    /// Whether a sum over this many clients may be opened.
    pub(crate) fn admits(&self, cohort: usize) -> bool {
        (Self::COHORT_MIN..=self.cohort_max).contains(&cohort)
    }
}

fn check_arguments(cohort_max: usize, values: Values) -> Result<(), LayoutError> {
    if !(Layout::COHORT_MIN..=Layout::COHORT_MAX).contains(&cohort_max) {
        return Err(LayoutError::Cohort { found: cohort_max });
    }
    if !(1..=Layout::COUNT_MAX).contains(&values.count) {
        return Err(LayoutError::Count { found: values.count });
    }
    if values.clamp == 0 {
        return Err(LayoutError::Clamp);
    }
    if !(0.0..2_f64.powi(60)).contains(&values.noise_deviation) {
        return Err(LayoutError::NoiseDeviation { found: values.noise_deviation });
    }
    Ok(())
}

/// Parameter of the sum of one error (or key coefficient) from each client.
fn error_deviation(cohort: usize) -> f64 {
    SIGMA * (cohort as f64).sqrt()
}

/// Bits of a signed field that the tails of `events` sums leave with probability below the budget.
fn bits_for(deviation: f64, events: f64) -> u32 {
    tail::threshold(deviation, events, BUDGET_LOG2).log2().ceil() as u32 + 1
}

fn half(bits: u32) -> f64 {
    2_f64.powi(bits as i32 - 1)
}

/// Whether every combination of fields and error stays strictly between -q/2 and q/2.
fn fits(set: ParameterSet, field_bits: u32, fields: u32, noise_bits: u32) -> bool {
    if field_bits * fields + noise_bits > set.bits_per_coefficient() {
        return false;
    }
    let field_max = (1_u128 << (field_bits - 1)) - 1;
    let packed: u128 = (0..fields).map(|j| field_max << (field_bits * j)).sum();
    (packed << noise_bits) + (1_u128 << (noise_bits - 1)) <= (set.modulus() - 1) / 2
}

#[cfg(test)]
mod tests;
