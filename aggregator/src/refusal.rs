//! Why a caller did not get what it asked for, and the one place where that becomes a gRPC status.
//!
//! A rejection is the caller's fault and names the rule; "not yet" asks it to come back; a failure is ours, is logged in
//! full and told in one sentence.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::log::CheckpointError;
use protocol::{Digest, HouseName, Rejection};
use protos::convert::WireError;
use protos::rule;
use protos::version::{Apart, Unreadable, Version};
use secure_sum::ChunkError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::clock;
use crate::identity::IssueError;
use crate::store::{BlobError, EnrolError, StoreError};

/// Why a caller did not get what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No certificate of this federation.
    #[error("this call needs a member's certificate; join with an invitation first")]
    NoCertificate,
    /// A certificate that is not of an enrolled member.
    #[error("the certificate is not that of an enrolled member")]
    NotEnrolled,
    /// The operator has revoked it.
    #[error("the certificate of `{0}` is revoked; ask the model builder, who can invite you again")]
    Revoked(HouseName),
    /// It has ended.
    #[error("the certificate of `{0}` has ended; ask the model builder, who can invite you again")]
    Expired(HouseName),
    /// Not a call for members of this kind.
    #[error("`{caller}` may not make this call: it is for {whom}")]
    NotForYou {
        /// Who called.
        caller: HouseName,
        /// Whom it is for.
        whom: &'static str,
    },
    /// Client and aggregator have no version of the contract in common.
    #[error(transparent)]
    Apart(#[from] Apart),
    /// The request says something that is no version.
    #[error("{unreadable}; this aggregator speaks {present}")]
    UnreadableVersion {
        /// What is wrong.
        unreadable: Unreadable,
        /// The aggregator's newest.
        present: Version,
    },
    /// More calls than it may make.
    #[error("too many calls: at most {a_second} a second; come back in a while")]
    TooManyCalls {
        /// Calls a second.
        a_second: f64,
    },
    /// A request that did not come whole, or an answer that was not found, in time.
    #[error("the call took more than {seconds} s; make it again")]
    TooSlow {
        /// How long it may take.
        seconds: u64,
    },
    /// A path that is no call of this version.
    #[error("this version has no such call")]
    NoSuchCall,
    /// Bytes that are no message of this call.
    #[error("the request cannot be read as a message of this call")]
    NoMessage,
    /// A message above the limit.
    #[error("the request is larger than any message of this call may be")]
    TooLarge,
    /// Signed by another member than the caller.
    #[error("the caller is `{caller}`, but the message is signed by `{signer}`")]
    NotTheCaller {
        /// Who called.
        caller: HouseName,
        /// Who signed.
        signer: HouseName,
    },
    /// A wire message of the wrong shape.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A rule of the protocol.
    #[error(transparent)]
    Protocol(#[from] Rejection),
    /// A key that is no valid key.
    #[error("`{field}` is not a usable public key")]
    BadKey {
        /// The field.
        field: &'static str,
    },
    /// The signature of a joining member does not hold.
    #[error("the signature over the join request does not hold under its signing_key")]
    BadJoinSignature,
    /// No invitation fits.
    #[error(transparent)]
    Enrol(EnrolError),
    /// The signing request does not fit.
    #[error(transparent)]
    Issue(IssueError),
    /// Too many wrong tokens.
    #[error("too many wrong invitations; try again in {seconds} s")]
    Locked {
        /// How long it lasts.
        seconds: u64,
    },
    /// Members are missing.
    #[error("the roster is not complete; still to join: {}", names(missing))]
    RosterIncomplete {
        /// Who.
        missing: Vec<HouseName>,
    },
    /// No attempt has this announcement.
    #[error("no attempt has announcement {0}")]
    UnknownAttempt(Digest),
    /// The thing asked for does not exist yet.
    #[error("{what} is not there yet")]
    NotYet {
        /// What.
        what: &'static str,
    },
    /// The caller is not part of it.
    #[error("`{caller}` has no part in {what}")]
    NoPart {
        /// Who called.
        caller: HouseName,
        /// In what.
        what: &'static str,
    },
    /// The thing asked about has ended.
    #[error("{what} is over")]
    Over {
        /// What.
        what: &'static str,
    },
    /// The federation was given up.
    #[error("the federation is halted: {0}; its operator must look")]
    Halted(String),
    /// A submission's stream breaks a rule.
    #[error("submission: {0}")]
    Submission(#[from] SubmissionFault),
    /// Another submission of the caller is under way, or it failed too often in this attempt.
    #[error("{0}")]
    Busy(&'static str),
    /// The caller has seen what never happened here.
    #[error(
        "`{caller}` has seen event {seen}, and the last one here is {last}: an older copy of the aggregator's folder is served; its operator must put the newest one back"
    )]
    OlderCopy {
        /// Who called.
        caller: HouseName,
        /// What it saw last.
        seen: u64,
        /// The last one here.
        last: u64,
    },
    /// A cosignature that does not hold.
    #[error("cosignature: {0}")]
    Cosignature(#[from] CheckpointError),
    /// The record has no such proof.
    #[error("no such proof: {0}")]
    NoProof(String),
    /// The final state is not wanted or not the approved one.
    #[error("final state: {0}")]
    FinalState(String),
    /// The program is shutting down.
    #[error("the aggregator is shutting down; try again later")]
    ShuttingDown,
    /// Ours: storage.
    #[error(transparent)]
    Store(StoreError),
    /// Ours: anything else.
    #[error("{0}")]
    Failure(String),
}

/// What was wrong with a submission's stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmissionFault {
    /// The first message is no header, or a later one is.
    #[error("the first message, and no other, is a header")]
    Header,
    /// The stream ended with an error; mostly nobody is left to hear of it.
    #[error("the stream broke: {0}")]
    Broken(String),
    /// Sealed shares that the manifest does not name.
    #[error("sealed share {index} is not the one in the manifest, or there are {found} instead of {expected}")]
    SealedShares {
        /// From 1; the first that differs.
        index: usize,
        /// How many came.
        found: usize,
        /// How many the manifest names.
        expected: usize,
    },
    /// The manifest's chunk count is not the layout's.
    #[error("the manifest has {found} chunks; the round's layout has {expected}")]
    ChunkCount {
        /// In the manifest.
        found: u32,
        /// In the layout.
        expected: usize,
    },
    /// Commitments that are none for this layout and committee.
    #[error("commitments: {0}")]
    Commitments(String),
    /// A sealed share that anybody sees is none, whoever holds the key: its member could only complain of it.
    #[error("sealed share {index}: {reason}")]
    Envelope {
        /// From 1; whose it is.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// A resumed submission that starts where nothing kept ends.
    #[error("it goes on at chunk {found}, which is no place where what is kept ends; ask again how much is kept")]
    Resumed {
        /// Where it goes on.
        found: u32,
    },
    /// A run that does not start where the one before ended.
    #[error("a run starts at chunk {found}; chunk {expected} comes next")]
    Order {
        /// Where it starts.
        found: u32,
        /// Where it must start.
        expected: u32,
    },
    /// A run that does not hold whole chunks.
    #[error("a run has {found} bytes; it must hold 1 or more whole chunks of {chunk} bytes, at most {limit} bytes")]
    RunLength {
        /// Bytes of the run.
        found: usize,
        /// Bytes of a chunk.
        chunk: usize,
        /// Most bytes.
        limit: usize,
    },
    /// More chunks than the layout has.
    #[error("more than the layout's {expected} chunks came")]
    TooMany {
        /// The layout's.
        expected: usize,
    },
    /// Fewer chunks than the layout has.
    #[error("the stream ended after {found} of {expected} chunks")]
    Truncated {
        /// How many came.
        found: usize,
        /// The layout's.
        expected: usize,
    },
    /// A chunk that is no ciphertext.
    #[error("chunk {index}: {source}")]
    Chunk {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        source: ChunkError,
    },
    /// The chunks are not those that were signed.
    #[error("the chunks have digest {found}; the manifest says {expected}")]
    Digest {
        /// Of the chunks that came.
        found: Digest,
        /// In the manifest.
        expected: Digest,
    },
}

impl Refusal {
    /// A stable name of the rule, for clients and logs.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no-certificate",
            Self::NotEnrolled => rule::NOT_ENROLLED,
            Self::Revoked(_) => rule::REVOKED,
            Self::Expired(_) => "expired-certificate",
            Self::NotForYou { .. } => "not-for-you",
            Self::NoSuchCall => "no-such-call",
            Self::Apart(_) | Self::UnreadableVersion { .. } => "unsupported-version",
            Self::TooManyCalls { .. } => rule::TOO_MANY_CALLS,
            Self::TooSlow { .. } => "too-slow",
            Self::NoMessage => "wire",
            Self::TooLarge => "too-large",
            Self::NotTheCaller { .. } => "not-the-caller",
            Self::Wire(_) => "wire",
            Self::Protocol(rejection) => rejection.code(),
            Self::BadKey { .. } => "bad-key",
            Self::BadJoinSignature => "bad-join-signature",
            Self::Enrol(EnrolError::UnknownToken { .. }) => "unknown-invitation",
            Self::Enrol(EnrolError::Used { .. }) => "used-invitation",
            Self::Enrol(EnrolError::Expired { .. }) => "expired-invitation",
            Self::Enrol(EnrolError::Taken { .. }) => "already-joined",
            Self::Issue(IssueError::Oversized(_) | IssueError::Refused(_) | IssueError::OtherKey) => {
                "bad-signing-request"
            }
            Self::Locked { .. } => "locked",
            Self::RosterIncomplete { .. } => "roster-incomplete",
            Self::UnknownAttempt(_) => "unknown-attempt",
            Self::NotYet { .. } => "not-yet",
            Self::NoPart { .. } => "no-part",
            Self::Over { .. } => "over",
            Self::Halted(_) => "halted",
            Self::Submission(_) => "bad-submission",
            Self::Busy(_) => rule::BUSY,
            Self::OlderCopy { .. } => rule::OLDER_COPY,
            Self::Cosignature(_) => "bad-cosignature",
            Self::NoProof(_) => "no-proof",
            Self::FinalState(_) => "final-state",
            Self::ShuttingDown => "shutting-down",
            Self::Store(error) | Self::Enrol(EnrolError::Store(error)) if error.is_full() => "disk-full",
            Self::Store(error) | Self::Enrol(EnrolError::Store(error)) if error.is_out_of_files() => "too-many-files",
            Self::Enrol(EnrolError::Store(_))
            | Self::Issue(IssueError::Failed(_))
            | Self::Store(_)
            | Self::Failure(_) => "failure",
        }
    }

    /// Whether it is a failure of ours that passes by itself: the same is tried again.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Store(error) | Self::Enrol(EnrolError::Store(error)) => error.is_full() || error.is_out_of_files(),
            _ => false,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::NoCertificate => Code::Unauthenticated,
            Self::NoSuchCall => Code::Unimplemented,
            Self::NotEnrolled
            | Self::Revoked(_)
            | Self::Expired(_)
            | Self::NotForYou { .. }
            | Self::NotTheCaller { .. }
            | Self::NoPart { .. }
            | Self::BadJoinSignature => Code::PermissionDenied,
            Self::Store(_) | Self::Enrol(EnrolError::Store(_)) if self.passes() => Code::ResourceExhausted,
            Self::Enrol(EnrolError::Store(_))
            | Self::Issue(IssueError::Failed(_))
            | Self::Store(_)
            | Self::Failure(_) => Code::Internal,
            Self::Enrol(_) => Code::PermissionDenied,
            // Asked again how much is kept, it goes on.
            Self::Submission(SubmissionFault::Resumed { .. }) => Code::Aborted,
            Self::Wire(_)
            | Self::NoMessage
            | Self::BadKey { .. }
            | Self::Issue(_)
            | Self::Submission(_)
            | Self::Cosignature(_) => Code::InvalidArgument,
            Self::Protocol(rejection) => protocol_code(rejection),
            Self::Locked { .. } | Self::Busy(_) | Self::TooLarge | Self::TooManyCalls { .. } => Code::ResourceExhausted,
            Self::Apart(_)
            | Self::UnreadableVersion { .. }
            | Self::RosterIncomplete { .. }
            | Self::NotYet { .. }
            | Self::Over { .. }
            | Self::Halted(_)
            | Self::OlderCopy { .. }
            | Self::FinalState(_) => Code::FailedPrecondition,
            Self::UnknownAttempt(_) | Self::NoProof(_) => Code::NotFound,
            Self::TooSlow { .. } => Code::DeadlineExceeded,
            Self::ShuttingDown => Code::Unavailable,
        }
    }
}

/// Whoever asks too much must not fill the log: each of these is counted, and one a minute is said.
fn say_rarely(rule: &str) {
    static SAID_MS: AtomicU64 = AtomicU64::new(0);
    let (now, said) = (clock::now_ms(), SAID_MS.load(Ordering::Relaxed));
    let due = now.saturating_sub(said) >= 60_000;
    if due && SAID_MS.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        tracing::warn!(rule, "more is asked than is answered; plainchant_calls_total counts what is refused");
    }
}

fn protocol_code(rejection: &Rejection) -> Code {
    match rejection {
        Rejection::BadSignature { .. }
        | Rejection::WrongSpeaker { .. }
        | Rejection::UnknownMember { .. }
        | Rejection::NotAHouse { .. } => Code::PermissionDenied,
        Rejection::Malformed { .. }
        | Rejection::BadContribution { .. }
        | Rejection::BadChecksum { .. }
        | Rejection::BadComplaint { .. } => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, name) = (refusal.code(), refusal.rule());
        let message = if code == Code::Internal {
            tracing::error!(error = %refusal, "failure");
            "failure: the aggregator could not do this; its log says why".to_owned()
        } else if name == "disk-full" {
            tracing::error!(error = %refusal, "the disk is full");
            "disk-full: the aggregator's disk is full; try again later".to_owned()
        } else if refusal.passes() {
            tracing::error!(error = %refusal, "no more files can be opened");
            "too-many-files: the aggregator can open no more files; try again later".to_owned()
        } else if name == rule::OLDER_COPY {
            tracing::error!(rule = name, "{refusal}");
            format!("{name}: {refusal}")
        } else if [rule::BUSY, rule::TOO_MANY_CALLS].contains(&name) {
            say_rarely(name);
            format!("{name}: {refusal}")
        } else {
            tracing::info!(rule = name, reason = %refusal, "refused");
            format!("{name}: {refusal}")
        };
        let mut status = Status::new(code, message);
        status.metadata_mut().insert(rule::KEY, MetadataValue::from_static(name));
        status
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BlobError> for Refusal {
    fn from(error: BlobError) -> Self {
        Self::Store(error.into())
    }
}

impl From<EnrolError> for Refusal {
    fn from(error: EnrolError) -> Self {
        Self::Enrol(error)
    }
}

impl From<IssueError> for Refusal {
    fn from(error: IssueError) -> Self {
        Self::Issue(error)
    }
}

fn names(names: &[HouseName]) -> String {
    names.iter().map(HouseName::as_str).collect::<Vec<_>>().join(", ")
}
