//! What a house does not do that paused, that left, or that is outside of its hours; and when one that left ends.

use protocol::client::{Memory, Round};
use protocol::{Attempt, RoundNumber};

use super::RunError;
use super::member::Member;
use crate::standing::{Aside, Standing};
use crate::store::Store;

impl Member {
    /// Why nothing of this house's data may be used now. A file that tells nothing is no consent.
    pub(super) fn aside(&self) -> Result<Option<Aside>, RunError> {
        Ok(Standing::read(self.store.dir())?.aside())
    }

    /// Why this house says ready for nothing and begins no training now: it stands aside, its training failed, or it is outside of its hours. What began
    /// within them is finished and sent, for it is charged, and others count on it.
    pub(super) fn begins_nothing(&self) -> Result<Option<Aside>, RunError> {
        if let Some(aside) = self.aside()? {
            return Ok(Some(aside));
        }
        if let Some(reason) = &self.failed {
            return Ok(Some(Aside::Failed(reason.clone())));
        }
        let Some(hours) = &self.config.policy.hours else { return Ok(None) };
        Ok(hours.check((self.options.wall_clock)()).err().map(Aside::OutsideHours))
    }

    /// A house that paused may have resumed, or left; and its hours may have begun.
    pub(super) async fn heed_standing(&mut self) -> Result<(), RunError> {
        self.end_if_left(None)?;
        let Some(gathering) = self.missed else { return Ok(()) };
        if self.begins_nothing()?.is_some() {
            return Ok(());
        }
        self.gathering(&gathering).await?;
        self.pump().await
    }

    /// Ends a member that has left, but in no attempt that it said ready for or that was announced: others count on its answer. What is before the attempt
    /// that `gathers` is over.
    pub(super) fn end_if_left(&self, gathers: Option<(RoundNumber, Attempt)>) -> Result<(), RunError> {
        let ready = match &self.round {
            Round::Ready(ready) => Some((ready.said().round, ready.said().attempt)),
            _ => None,
        };
        let seen = under_way(self.round.memory());
        let over = |place: (RoundNumber, Attempt)| gathers.is_some_and(|gathers| place < gathers);
        if [ready, seen].into_iter().flatten().all(over) { end_if_left(&self.store) } else { Ok(()) }
    }
}

/// Ends a member that has left, unless it remembers an attempt that may still want its answer.
pub(super) fn end_between_attempts(store: &Store) -> Result<(), RunError> {
    if store.memory()?.as_ref().and_then(under_way).is_some() { Ok(()) } else { end_if_left(store) }
}

/// Ends a member that has left: what it must not use any more is erased first.
fn end_if_left(store: &Store) -> Result<(), RunError> {
    match Standing::read(store.dir())? {
        Standing::Left { .. } => {
            store.withdraw()?;
            Err(RunError::Left)
        }
        Standing::TakesPart | Standing::Paused { .. } => Ok(()),
    }
}

/// The attempt that a member is in, by what it remembers.
pub(crate) fn under_way(memory: &Memory) -> Option<(RoundNumber, Attempt)> {
    let seen = memory.seen.as_ref().filter(|seen| !seen.ended && seen.round >= memory.next_round)?;
    Some((seen.round, seen.attempt))
}
