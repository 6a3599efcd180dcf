//! A member at work: it watches the federation's events, and carries out what `protocol::client::Round` asks for.
//!
//! 1. [`run`] pins the roster, keeps a stock of one-time keys and follows the events (`watch`); it dials out and
//!    comes back after every lost connection.
//! 2. An event becomes an input of the state machine; its effects are carried out in `effects`, the durable ones first.
//! 3. `contribute`: ledger, training, encryption, submission. `check`: does the claimed sum hold exactly the cohort's
//!    bodies? `answer`: unsealing and summing shares, and complaints. `open`: combining, opening, applying, also for rounds
//!    that were missed. `cosign`: its word for the record's head. `finish`: the hand-over.
//!
//! Whatever is interrupted is heard again after a restart: the aggregator repeats the events of an attempt that is not
//! over, the memory knows what was promised, and promised bytes are kept until the round ends.

mod answer;
mod aside;
mod body;
mod check;
mod contribute;
mod cosign;
mod effects;
mod finish;
mod member;
mod open;
mod renew;
mod stock;
mod submission;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{Digest, Rejection};
use protos::rule;

pub(crate) use aside::under_way;
pub(crate) use contribute::{Encrypted, Job, Made};
pub use member::Home;
pub(crate) use member::{MAX_CLOCK_SKEW_MS, policy};
pub(crate) use open::fetch_cohort;
pub(crate) use stock::{ask_first, check_roster};
pub(crate) use submission::{Submission, Whole};
pub(crate) use watch::room_needed;
pub use watch::run;

use crate::config::ConfigError;
use crate::connection::{Backoff, ConnectError};
use crate::crash::{Crash, Stopped};
use crate::files::FileError;
use crate::hours::WallTime;
use crate::identity::IdentityError;
use crate::policy::PolicyError;
use crate::progress::Progress;
use crate::standing::StandingError;
use crate::store::StoreError;
use crate::version::OtherVersion;
use terms::TermsError;
use training::TrainError;

/// How a member runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where reports for the house go.
    pub progress: Progress,
    /// Waits between attempts to connect.
    pub backoff: Backoff,
    /// One-time keys kept with the aggregator.
    pub key_stock: usize,
    /// Where to save the adapter after every round, as a PEFT directory.
    pub adapter_dir: Option<PathBuf>,
    /// What the house's hours are read by: this machine's clock, and in tests another.
    pub wall_clock: fn() -> WallTime,
    /// For tests: ends it somewhere, as a crash would.
    pub crash: Crash,
}

/// How the federation ended for this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    /// Rounds that were applied: the charter's, or fewer where t houses signed that the run ended early.
    pub rounds: u32,
    /// The digest of the final adapter state.
    pub state: Digest,
}

/// Why a member stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Keys, certificate or charter.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// `client.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The house's policy refuses the charter.
    #[error("this house's policy refuses the charter: {0}")]
    Policy(#[from] PolicyError),
    /// The protocol's own check of charter, roster and policy.
    #[error("{0}")]
    Refused(#[from] Rejection),
    /// The address.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The certificate was not renewed in time.
    #[error(
        "this member's certificate ended {days} days ago; ask the model builder to `revoke` and `invite` {name} again, and join with that in the same folder"
    )]
    CertificateEnded {
        /// Days since.
        days: i64,
        /// This member.
        name: protocol::HouseName,
    },
    /// The local state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] privacy::LedgerError),
    /// An old copy of the ledger was put back: what was spent since is missing from it.
    #[error(
        "ledger {}: {known} shows a later one of this house; put the newest copy back. If there is none, do not train on this data again before its whole epsilon is accounted for",
        path.display()
    )]
    OldLedger {
        /// The ledger's file.
        path: PathBuf,
        /// Who knows a later one.
        known: &'static str,
    },
    /// The charter cannot be run.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The base model is not here and cannot be fetched.
    #[error(transparent)]
    Model(Box<hub::HubError>),
    /// Data, model or training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The adapter's files or state.
    #[error("adapter: {0}")]
    Adapter(String),
    /// The roster is not the pinned one.
    #[error("the aggregator shows roster {found}, but {pinned} is pinned; do not go on before this is explained")]
    OtherRoster {
        /// The pinned roster's digest.
        pinned: Digest,
        /// The one shown.
        found: Digest,
    },
    /// The roster is not the one in `client.toml`.
    #[error(
        "policy.roster is {approved}, but the aggregator shows {found}; compare it with other houses before you write it there"
    )]
    UnapprovedRoster {
        /// The digest in `client.toml`.
        approved: String,
        /// The one shown.
        found: Digest,
    },
    /// The house has approved nothing yet.
    #[error(
        "no {what} is approved yet: `plainchant-client {what} show {dir}`{compare}, then `plainchant-client {what} approve {dir} {found}`",
        dir = dir.display(),
        compare = if *what == "roster" { ", whose fingerprints you compare with the other houses on the telephone" } else { "" }
    )]
    NothingApproved {
        /// The charter or the roster.
        what: &'static str,
        /// This member's folder.
        dir: PathBuf,
        /// The digest of the one that was joined or that the aggregator shows.
        found: Digest,
    },
    /// A peer's bytes that are no message.
    #[error("the aggregator sent something malformed: {0}")]
    Malformed(String),
    /// One of the two programs must be updated.
    #[error(transparent)]
    OtherVersion(#[from] OtherVersion),
    /// This member is let in no more, or never was.
    #[error(
        "the aggregator does not let this member in: {0}. Ask the model builder to `invite` it again, `join` with that invitation in the same folder, then `run`"
    )]
    NotLetIn(String),
    /// The aggregator's folder is an older copy: it has forgotten what this member has seen.
    #[error("{0}. Nothing is wrong here, and this member goes on by itself once that is done")]
    OlderCopy(String),
    /// The connection is gone or the aggregator cannot answer now.
    #[error("the aggregator is not reached: {0}")]
    Lost(String),
    /// This house's state is not what t houses signed.
    #[error(
        "round {round}: this house computed {own}, but t houses signed {signed}; its state or its model is damaged"
    )]
    Diverged {
        /// The round.
        round: u32,
        /// This house's.
        own: String,
        /// What was signed.
        signed: String,
    },
    /// The aggregator says that it is over, and t houses' signatures do not.
    #[error(
        "the aggregator says that the federation is completed, but t houses signed the end of {settled} of {rounds} rounds only; nothing is approved or handed over"
    )]
    NotCompleted {
        /// Rounds that t houses signed as applied.
        settled: u32,
        /// Rounds of the charter.
        rounds: u32,
    },
    /// A house without data and training in `client.toml`.
    #[error("`{0}` is a house of the charter, so client.toml needs [data] and [training]")]
    NoTrainer(protocol::HouseName),
    /// The charter trains biases of the base model, and the trainer does not give the base model's.
    #[error(
        "the charter trains the base model's biases, but the trainer has no `{tensor}` of it: give them in `Trainer::base_biases`, or write no adapter folder"
    )]
    NoBaseBias {
        /// The first that is missing.
        tensor: String,
    },
    /// Whether the house takes part is not known.
    #[error(transparent)]
    Standing(#[from] StandingError),
    /// The house said `leave`.
    #[error("this house has left the federation: its one-time keys are erased, and nothing more is sent")]
    Left,
    /// A background task ended without a result.
    #[error("a background task ended without a result")]
    Task,
    /// A test.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl From<hub::HubError> for RunError {
    fn from(error: hub::HubError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl RunError {
    /// Whether the ledger or the charter's epsilon has no room: the house stays away from an attempt, and goes on.
    pub(crate) fn is_refused_charge(&self) -> bool {
        use privacy::LedgerError as L;
        matches!(
            self,
            Self::Train(TrainError::Charged { .. })
                | Self::Ledger(
                    L::Ceiling { .. } | L::Unplanned { .. } | L::AlreadyReserved { .. } | L::AlreadyConfirmed { .. }
                )
        )
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            progress: Progress::default(),
            backoff: Backoff::new(Duration::from_millis(250), Duration::from_secs(30)),
            key_stock: 64,
            adapter_dir: None,
            wall_clock: WallTime::now,
            crash: Crash::default(),
        }
    }
}

impl Options {
    /// The program's: the adapter goes to `DIR/adapter`.
    pub fn for_dir(dir: &Path) -> Self {
        Self { adapter_dir: Some(dir.join("adapter")), ..Self::default() }
    }
}

/// What a status means for a member that cannot go on with it: a lost connection is worth another attempt, and an older copy a long wait.
pub(crate) fn lost(status: &tonic::Status) -> RunError {
    if let Some(other) = OtherVersion::of(status) {
        return other.clone().into();
    }
    let said = || status.message().to_owned();
    match status.metadata().get(rule::KEY).and_then(|rule| rule.to_str().ok()) {
        Some(rule::REVOKED) => RunError::NotLetIn(said()),
        Some(rule::NOT_ENROLLED) => RunError::NotLetIn(format!(
            "{}; if it was let in before, an older copy of the aggregator's folder may be served, and its operator must put the newest one back",
            status.message()
        )),
        Some(rule::OLDER_COPY) => RunError::OlderCopy(said()),
        _ => RunError::Lost(crate::connection::describe(status)),
    }
}

/// Whether the aggregator refused (and a repeat would be refused again), rather than being away.
pub(crate) fn is_refusal(status: &tonic::Status) -> bool {
    use tonic::Code;
    let refused = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::PermissionDenied
            | Code::AlreadyExists
            | Code::NotFound
            | Code::OutOfRange
            | Code::Unauthenticated
    );
    refused || OtherVersion::of(status).is_some()
}

pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;
    use tonic::{Code, Status};

    use super::*;

    #[test]
    fn a_rule_that_no_later_try_mends_ends_a_member_an_older_copy_is_waited_out_and_all_else_is_tried_again() {
        let by = |code, rule: Option<&'static str>| {
            let mut status = Status::new(code, "what was said");
            if let Some(rule) = rule {
                status.metadata_mut().insert("plainchant-rule", MetadataValue::from_static(rule));
            }
            lost(&status)
        };
        for rule in ["revoked", "not-enrolled"] {
            let error = by(Code::PermissionDenied, Some(rule));
            assert!(
                matches!(&error, RunError::NotLetIn(said) if said.starts_with("what was said")),
                "{rule}: {error:?}"
            );
        }
        let error = by(Code::FailedPrecondition, Some("older-copy"));
        assert!(matches!(&error, RunError::OlderCopy(said) if said == "what was said"), "{error:?}");
        for (code, rule) in
            [(Code::ResourceExhausted, Some("disk-full")), (Code::Internal, Some("failure")), (Code::Unavailable, None)]
        {
            let error = by(code, rule);
            assert!(matches!(error, RunError::Lost(_)), "{rule:?}: {error:?}");
        }
    }
}
