//! Why the ledger refused, or failed.

use super::ProtectedUnit;
use crate::accountant::AccountantError;
use std::path::PathBuf;

/// Why the ledger refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reading or writing failed.
    #[error("ledger {path}: {error}")]
    Io {
        /// The ledger's file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        error: std::io::Error,
    },
    /// The file is longer than any ledger.
    #[error("ledger {path} is longer than 512 MiB")]
    TooLong {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A line was changed, deleted, inserted or moved.
    #[error("ledger {path} was altered: line {line}: {what}")]
    Altered {
        /// The ledger's file.
        path: PathBuf,
        /// Number of the first wrong line, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An earlier write or reading failed: open the ledger again, which repairs it or says what is wrong.
    #[error("an earlier write to or reading of ledger {path} failed; open it again")]
    Broken {
        /// The ledger's file.
        path: PathBuf,
    },
    /// The entry has no JSON form.
    #[error("a ledger line could not be encoded: {0}")]
    Encode(#[source] serde_json::Error),
    /// This house's round, attempt and kind is reserved already: it may have been trained, so it is not trained again. Wait for
    /// the next attempt.
    #[error("round {round}, attempt {attempt} is already in the ledger")]
    AlreadyReserved {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
    },
    /// Something else has left, or may have, under this reservation.
    #[error("another contribution to round {round}, attempt {attempt} has left already, and one charge is for one")]
    AlreadyConfirmed {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
    },
    /// Nothing to confirm.
    #[error("round {round}, attempt {attempt} was never reserved")]
    NotReserved {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
    },
    /// The round would go past the ceiling.
    #[error(
        "epsilon would be {would_be:.4} at delta {delta:e}, counted at Renyi order {order}, past this house's ceiling of {ceiling}"
    )]
    Ceiling {
        /// Epsilon with this round, at the filter's order.
        would_be: f64,
        /// The ceiling.
        ceiling: f64,
        /// Delta of both.
        delta: f64,
        /// The filter's order.
        order: f64,
    },
    /// Not even what is named fits below the house's ceiling.
    #[error(
        "{what} cost epsilon {needed:.4} at delta {delta:e}, above this house's ceiling of {ceiling}; write an epsilon_ceiling of at least {needed:.4}, or do not join"
    )]
    CeilingTooLow {
        /// The ceiling.
        ceiling: f64,
        /// Delta of both.
        delta: f64,
        /// What would be enough.
        needed: f64,
        /// What for.
        what: &'static str,
    },
    /// The ledger's plan has no such round.
    #[error("round {round}, attempt {attempt} is not in the plan of this ledger: {rule}")]
    Unplanned {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
        /// Why.
        rule: &'static str,
    },
    /// The ledger was opened with another limit, which cannot be changed after the fact.
    #[error(
        "ledger {path} was opened for {what}the ceiling {ceiling} at delta {delta:e}, not {asked} at {asked_delta:e}; write these values into the configuration, or, for other data, use another ledger"
    )]
    OtherLimit {
        /// The ledger's file.
        path: PathBuf,
        /// The ledger's ceiling.
        ceiling: f64,
        /// The ledger's delta.
        delta: f64,
        /// The ceiling asked for.
        asked: f64,
        /// The delta asked for.
        asked_delta: f64,
        /// What else it is limited to.
        what: &'static str,
    },
    /// The ledger protects something else.
    #[error(
        "ledger {path} is about {own}, and this federation's charges are about {asked}: the two do not add up; go back to the unit_column and mode that it was opened with, or, for other data, use another ledger"
    )]
    OtherUnit {
        /// The ledger's file.
        path: PathBuf,
        /// What it protects.
        own: ProtectedUnit,
        /// What was asked for.
        asked: ProtectedUnit,
    },
    /// Rows of this data were released without noise.
    #[error(
        "ledger {path}: rows of this data left in sums without noise (privacy mode `none`), so no epsilon can be promised for them"
    )]
    Unprotected {
        /// The ledger's file.
        path: PathBuf,
    },
    /// Mode `none`, over data for which an epsilon is promised.
    #[error(
        "ledger {path} promises an epsilon for the rows of this data, which mode `none` would break; do not join, or, for other data, use another ledger"
    )]
    Protected {
        /// The ledger's file.
        path: PathBuf,
    },
    /// The ledger holds rounds, and no limit was fixed before them.
    #[error(
        "ledger {path} holds rounds and no limit in its first line: an older version wrote it; nothing may be added to it"
    )]
    NoLimit {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A value is outside the accountant's rules.
    #[error(transparent)]
    Accountant(#[from] AccountantError),
}
