//! The durable changes of an aggregator, as places where a crash must lose nothing and count nothing twice.

use std::sync::Arc;

use protocol::server::EventKind;
use strum::{EnumIter, IntoEnumIterator as _};

use super::blobs::Shelf;
use super::writes::{Setting, Write};

/// A durable change: one transaction of the database, or one blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transition {
    /// An invitation is noted.
    Invite,
    /// Somebody is enrolled.
    Enrol,
    /// A member gets a new certificate.
    Renew,
    /// A member's certificates are revoked.
    Revoke,
    /// One-time keys come into stock.
    Keys,
    /// An accepted input of an attempt, with all that follows from it.
    Step(EventKind),
    /// A value that exists once.
    Set(Setting),
    /// A house may take part again.
    Readmission,
    /// A house consents to hand the final adapter over.
    Approval,
    /// A run of a contribution under way is noted.
    Upload,
    /// A blob is kept.
    Put(Place),
    /// The blobs of an attempt that is over are removed.
    Clear,
}

/// Where a blob is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter)]
pub enum Place {
    /// [`Shelf::Attempt`].
    Attempt,
    /// [`Shelf::Kept`].
    Kept,
}

/// Where in a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter)]
pub enum Moment {
    /// Nothing is written.
    Before,
    /// All is written, and not committed. A blob or a removal has no such moment.
    Uncommitted,
    /// It is on the disk; nobody has heard of it.
    After,
}

/// Called at each [`Moment`] of each [`Transition`]. A test ends the process there; programs have none.
pub type CrashHook = Arc<dyn Fn(Transition, Moment) + Send + Sync>;

impl Transition {
    /// All of them. A new kind of event or setting is among them by itself.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let whole = [
            Self::Invite,
            Self::Enrol,
            Self::Renew,
            Self::Revoke,
            Self::Keys,
            Self::Readmission,
            Self::Approval,
            Self::Upload,
            Self::Clear,
        ];
        let steps = EventKind::iter().map(Self::Step);
        let settings = Setting::iter().map(Self::Set);
        let blobs = Place::iter().map(Self::Put);
        whole.into_iter().chain(steps).chain(settings).chain(blobs).collect()
    }

    /// The moments that it has.
    #[must_use]
    pub fn moments(self) -> &'static [Moment] {
        match self {
            Self::Put(_) | Self::Clear => &[Moment::Before, Moment::After],
            Self::Invite
            | Self::Enrol
            | Self::Renew
            | Self::Revoke
            | Self::Upload
            | Self::Keys
            | Self::Step(_)
            | Self::Set(_)
            | Self::Readmission
            | Self::Approval => &[Moment::Before, Moment::Uncommitted, Moment::After],
        }
    }

    /// What a batch of the engine is: the first row that does not only stand beside another.
    pub(super) fn of(writes: &[Write]) -> Option<Self> {
        writes.iter().find_map(|write| match write {
            Write::Step { kind, .. } => Some(Self::Step(*kind)),
            Write::Set(setting, _) => Some(Self::Set(*setting)),
            Write::Readmission { .. } => Some(Self::Readmission),
            Write::Approval { .. } => Some(Self::Approval),
            Write::Contribution { .. }
            | Write::Event { .. }
            | Write::Attempt { .. }
            | Write::UseKey { .. }
            | Write::Cohort { .. }
            | Write::Sum { .. }
            | Write::Leaf { .. } => None,
        })
    }
}

impl From<Shelf> for Place {
    fn from(shelf: Shelf) -> Self {
        match shelf {
            Shelf::Attempt(_) => Self::Attempt,
            Shelf::Kept => Self::Kept,
        }
    }
}
