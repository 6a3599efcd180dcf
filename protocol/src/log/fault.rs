//! What is wrong with a record's file, and where.

use std::fmt;

use super::note::CheckpointError;
use crate::charter::CharterError;
use crate::encoding::EncodingError;
use crate::ids::{Attempt, Digest, HouseName, RoundNumber};
use crate::rejection::Rejection;
use crate::roster::RosterError;

/// Where in a record's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Before the entries: the mark of the format, charter, roster.
    Header,
    /// The entry at this place, from 0.
    Entry(u64),
    /// The signed head.
    Checkpoint,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Entry(position) => write!(f, "entry {position}"),
            Self::Checkpoint => f.write_str("the checkpoint"),
        }
    }
}

/// The first place of a record's file at which something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// The round and attempt of that entry, as its leaf says, where it could be read.
    pub attempt: Option<(RoundNumber, Attempt)>,
    /// What.
    pub flaw: Box<Flaw>,
}

impl Fault {
    pub(super) fn at(place: Place, flaw: Flaw) -> Self {
        Self { place, attempt: None, flaw: Box::new(flaw) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempt {
            Some((round, attempt)) => {
                write!(f, "{} (round {round}, attempt {attempt}): {}", self.place, self.flaw)
            }
            None => write!(f, "{}: {}", self.place, self.flaw),
        }
    }
}

impl std::error::Error for Fault {}

/// What is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named after what they hold; each variant says its rule")]
pub enum Flaw {
    /// Another kind of file, or another version.
    #[error("this is no record's file of version 1")]
    NoRecord,
    /// Bytes that are not what the format has there.
    #[error("{0}")]
    Format(EncodingError),
    /// The charter breaks a rule.
    #[error("the charter: {0}")]
    Charter(CharterError),
    /// The roster is not one for the charter.
    #[error("the roster: {0}")]
    Roster(RosterError),
    /// A signed message breaks a rule of the protocol, or its signature does not hold.
    #[error("{0}")]
    Rule(Rejection),
    /// An entry that does not stand where its announcement was made.
    #[error(
        "its announcement was made when the record had {says} entries: an entry is missing, was moved or is there twice"
    )]
    Moved { says: u64 },
    /// A leaf that is not the one over which the next head was made.
    #[error("its leaf is not the one that the head after it counts")]
    OtherLeaf,
    /// The first announcement is over a record that is not empty.
    #[error("its announcement's head is not that of an empty record")]
    NotEmpty,
    /// The leaf says something else than the messages beside it.
    #[error("its leaf's `{field}` is not what the signed messages show")]
    Leaf { field: &'static str },
    /// A message that must be there, or must not.
    #[error("{what}")]
    Evidence { what: &'static str },
    /// A round that is not the next one.
    #[error("it is of round {found}; round {expected} is next")]
    Round { expected: RoundNumber, found: RoundNumber },
    /// An attempt that does not come after the one before it.
    #[error("it is attempt {found} of a round whose attempt {last} ended before")]
    Attempt { last: Attempt, found: Attempt },
    /// An attempt after the run was over.
    #[error("it stands after the end of the run")]
    AfterEnd,
    /// A start from another state than the one that the houses agreed on.
    #[error("it starts from adapter state {found}; the state before it is {expected}")]
    Adapter { expected: Digest, found: Digest },
    /// A one-time key that an earlier announcement had, or that was passed over.
    #[error("one-time key {sequence} of `{member}` is not later than those of the entries before")]
    KeyReused { member: HouseName, sequence: u64 },
    /// The signed head.
    #[error("{0}")]
    Checkpoint(CheckpointError),
    /// The head counts entries that are not there.
    #[error("it is missing: the signed head counts {size} entries")]
    Missing { size: u64 },
    /// The head does not count this entry.
    #[error("it stands behind the signed head, which counts {size} entries")]
    Uncounted { size: u64 },
}

impl Flaw {
    /// A stable name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoRecord => "no-record",
            Self::Format(_) => "format",
            Self::Charter(_) => "charter",
            Self::Roster(_) => "roster",
            Self::Rule(rejection) => rejection.code(),
            Self::Moved { .. } => "moved",
            Self::OtherLeaf => "other-leaf",
            Self::NotEmpty => "not-empty",
            Self::Leaf { .. } => "leaf",
            Self::Evidence { .. } => "evidence",
            Self::Round { .. } => "round",
            Self::Attempt { .. } => "attempt",
            Self::AfterEnd => "after-end",
            Self::Adapter { .. } => "adapter",
            Self::KeyReused { .. } => "key-reused",
            Self::Checkpoint(_) => "checkpoint",
            Self::Missing { .. } => "missing",
            Self::Uncounted { .. } => "uncounted",
        }
    }
}
