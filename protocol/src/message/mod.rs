//! Everything that members and the aggregator say to each other, in the order of a round.
//!
//! Each type has canonical bytes ([`crate::Message`]); the ones that are signed are [`crate::Statement`]s. What is an
//! opaque byte string here (layout, commitments, share sums) is read by `secure-sum`.

mod announcement;
mod answer;
mod claim;
mod complaint;
mod contribution;
mod outcome;
mod ready;

pub use announcement::{Announcement, CommitteeSeat, RecordHead};
pub use answer::{ANSWER_INFO, Answer, AnswerPayload, SealedFor, answer_aad};
pub use claim::{BodyChecksum, SumClaim};
pub use complaint::Complaint;
pub use contribution::{CohortList, Contribution, SHARE_INFO, ciphertext_digest, ciphertext_digest_of, share_aad};
pub use outcome::{Approval, Outcome, Verdict, VoidReason};
pub use ready::{KeyStock, OneTimeKeyOffer, Ready};

/// The longest body of a signed statement: an answer sealed to 255 houses.
pub const MAX_BODY_BYTES: usize = 20 << 20;
/// The longest layout.
pub const MAX_LAYOUT_BYTES: usize = 4096;
/// The longest commitments of one contribution: 255 members, 32 bytes each, with room for a header.
pub const MAX_COMMITMENT_BYTES: usize = 16 * 1024;
/// The longest sealed key share or share sum.
pub const MAX_SEALED_BYTES: usize = 64 * 1024;
/// The longest checksum of a body: a version byte and, for every prime and repetition, eight bytes.
pub const MAX_CHECKSUM_BYTES: usize = 256;
/// The longest proof that a sealed share is wrong: a few curve points and scalars.
pub const MAX_PROOF_BYTES: usize = 1024;
/// The most chunks of one contribution.
pub const MAX_CHUNKS: u32 = 1 << 22;
/// The most one-time keys uploaded at once.
pub const MAX_KEY_STOCK: usize = 4096;
