//! The protocol of a federation: what is signed, in which order, and who is wrong when it does not fit.
//!
//! Nothing here does I/O, reads a clock or draws randomness: callers pass time and signed bytes in, and carry effects out.
//! Ciphertexts, key shares and layouts are opaque bytes here, bound by their digests; `secure-sum` knows what is in them.
//!
//! The way through it:
//! 1. [`charter`]: the contract of a federation, in TOML; [`roster`]: who enrolled, with which keys; [`Federation`]: both, pinned.
//! 2. [`message`]: everything that is signed, and [`Signed`]; [`encoding`]: the canonical bytes below them.
//! 3. [`server`]: the aggregator's round. [`client`]: a member's round. Both are `step(input) -> next state + effects`:
//!
//! ```text
//! server:  Gathering -> Collecting -> Checking -> Opening -> Settling -> Finished
//!              \____________\____________\___________\___________\______> Abandoned
//! client:  Idle -> Ready -> Announced -> Contributed -> Listed -> Answered -> Combined -> Settled
//! ```
//! 4. [`log`]: the federation's Merkle record of rounds. [`rejection`]: every rule, with who broke it.

pub mod charter;
pub mod check;
pub mod checked;
pub mod client;
pub mod encoding;
pub mod federation;
pub mod ids;
pub mod invitation;
pub mod log;
pub mod message;
pub mod notice;
pub mod record;
pub mod rejection;
pub mod roster;
pub mod server;
pub mod signed;

pub use charter::{Charter, CharterError};
pub use checked::Checked;
pub use encoding::{EncodingError, Message, Reader, Writer};
pub use federation::Federation;
pub use ids::{Attempt, Digest, HouseName, IdError, MemberIndex, RosterPosition, RoundNumber};
pub use invitation::{Invitation, InvitationError};
pub use message::{
    Announcement, Answer, AnswerPayload, Approval, BodyChecksum, CohortList, CommitteeSeat, Complaint, Contribution,
    KeyStock, OneTimeKeyOffer, Outcome, Ready, RecordHead, SealedFor, SumClaim, Verdict, VoidReason,
};
pub use notice::Notice;
pub use record::{Conclusion, RecordLeaf};
pub use rejection::{Abandonment, Party, Rejection};
pub use roster::{Member, Role, Roster, RosterError};
pub use signed::{PublicKey, Signed, Signer, Statement};

/// The version of the protocol that this crate speaks; a charter and an announcement of another version are refused.
pub const PROTOCOL_VERSION: u32 = 1;
