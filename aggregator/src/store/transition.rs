//! The durable changes of an aggregator, as places where a crash must lose nothing and count nothing twice.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use protocol::server::EventKind;
use sqlx::{Sqlite, SqliteConnection};
use strum::{EnumIter, IntoEnumIterator as _};
use tokio::sync::OwnedMutexGuard;

use super::Store;
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
    /// A member has countersigned a head of the record.
    Cosignature,
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

/// Whom to tell of a [`Moment`]; nobody in the programs.
#[derive(Clone, Default)]
pub(super) struct Crash(pub(super) Option<CrashHook>);

impl Crash {
    pub(super) fn at(&self, transition: Transition, moment: Moment) {
        if let Some(hook) = &self.0 {
            hook(transition, moment);
        }
    }
}

/// One transaction that makes a [`Transition`], and tells of each of its moments.
pub(super) struct Change {
    // Before the turn: an unfinished one is rolled back first.
    transaction: sqlx::Transaction<'static, Sqlite>,
    transition: Option<Transition>,
    crash: Crash,
    _turn: OwnedMutexGuard<()>,
}

impl Store {
    /// Begins a change. `None` is one that only tests of this storage make, of rows that otherwise stand beside others.
    pub(super) async fn change(&self, transition: impl Into<Option<Transition>>) -> Result<Change, sqlx::Error> {
        let (transition, crash) = (transition.into(), self.crash.clone());
        if let Some(transition) = transition {
            crash.at(transition, Moment::Before);
        }
        // Every change writes: it waits for its turn before it reads anything, and before it takes a connection that others could read with.
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Change { transaction, transition, crash, _turn: turn })
    }
}

impl Change {
    /// All of it is on the disk when this returns.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        let Self { transaction, transition, crash, _turn } = self;
        let at = |moment| {
            if let Some(transition) = transition {
                crash.at(transition, moment);
            }
        };
        at(Moment::Uncommitted);
        transaction.commit().await?;
        at(Moment::After);
        Ok(())
    }
}

impl Deref for Change {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.transaction
    }
}

impl DerefMut for Change {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.transaction
    }
}

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
            Self::Cosignature,
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
            | Self::Cosignature
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
            Write::Cosignature { .. } => Some(Self::Cosignature),
            Write::Contribution { .. }
            | Write::Event { .. }
            | Write::Attempt { .. }
            | Write::UseKey { .. }
            | Write::Cohort { .. }
            | Write::Sum { .. }
            | Write::Leaf { .. }
            | Write::Metrics(_) => None,
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
