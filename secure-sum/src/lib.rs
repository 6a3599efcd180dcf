//! Additive homomorphic encryption with one-time keys and a threshold committee.
//!
//! Each client of a round encrypts its values under a key of its own and a mask common to all, shares the key
//! among the committee and drops it. Anybody may add the ciphertexts; t members together open the sum, and
//! nothing but the sum. The way through the crate, one client and one committee member in full (`tests/round.rs`
//! tells the whole round):
//!
//! ```
//! use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
//! use secure_sum::{Accumulator, Commitments, Committee, Layout, MaskSeed, OneTimeKey, ShareSum, Values};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut rng = ChaCha20Rng::seed_from_u64(1); // programs seed from the operating system
//! let layout = Layout::derive(10, Values { count: 1_000, clamp: 1_000, noise_deviation: 40.0 })?;
//! let (committee, seed) = (Committee::new(3, 2)?, MaskSeed([7; 32]));
//! let mut sum = Accumulator::new(&layout);
//! let mut commitments = Commitments::zero(&layout, &committee);
//! let mut answers = vec![(1, ShareSum::new(&layout)), (3, ShareSum::new(&layout))];
//! for client in 1..=3 {
//!     let key = OneTimeKey::generate(&layout, &mut rng);
//!     let dealing = secure_sum::deal(&key, &layout, &committee, &mut rng)?;
//!     sum.add(&secure_sum::encrypt(&layout, &seed, key, &[client; 1_000], &mut rng)?)?;
//!     dealing.commitments.check_degree(&committee)?;
//!     commitments.add(&dealing.commitments)?;
//!     for (index, answer) in &mut answers {
//!         answer.add(&dealing.shares[usize::from(*index) - 1])?;
//!     }
//! }
//! let key = secure_sum::combine(&layout, &committee, &commitments, &answers, 3)?;
//! assert_eq!(secure_sum::open(&layout, &seed, &sum, &key, 3)?, [6; 1_000]);
//! # Ok(())
//! # }
//! ```
//!
//! Read in this order: [`Layout`] (what fits where, and how often decoding may fail), [`encrypt`], [`deal`],
//! [`combine`], [`open`]; [`seal`] carries shares to their members and [`EnvelopeProof`] shows a wrong one to others;
//! a [`Checksum`] shows that a sum holds every body once; [`glwe`] is the same round in tfhe's types.

mod accumulate;
mod checksum;
mod combine;
mod commitments;
mod committee;
mod complaint;
mod deal;
mod digits;
mod encrypt;
mod envelope;
mod fields;
mod gauss;
pub mod glwe;
mod key;
mod keystream;
mod layout;
mod logproof;
mod mask;
mod open;
mod pack;
mod params;
mod ring;
mod seal;
mod tail;
mod wipe;
mod wire;

#[cfg(test)]
mod oracle;

pub use accumulate::{Accumulator, ChunkError, FoldError, check_chunk};
pub use checksum::{Challenge, Checksum, ChecksumBuilder, OtherLayout};
pub use combine::{CombineError, ShareSum, combine, combine_unchecked};
pub use commitments::{Commitments, DealingError};
pub use committee::{Committee, CommitteeError};
pub use complaint::{ComplaintError, EnvelopeFault, EnvelopeProof};
pub use deal::{Dealing, KeyShare, ShareError, deal};
pub use encrypt::{EncryptError, encrypt};
pub use envelope::Envelope;
pub use key::{KeySum, OneTimeKey};
pub use layout::{Layout, LayoutError, Values};
pub use mask::MaskSeed;
pub use open::{OpenError, open, open_measured};
pub use params::{ParameterSet, SECURITY_FLOOR_BITS, UnknownParameterSet};
pub use seal::{SEAL_OVERHEAD, SealError, SealingKey, SealingPublicKey, seal, seal_with, unseal};
pub use wire::EncodingError;
