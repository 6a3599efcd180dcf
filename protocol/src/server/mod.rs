//! The aggregator's side of one attempt at a round.
//!
//! ```text
//! Gathering --Announced--> Collecting --all in, or close--> Checking --claim and checksums--> Opening --t answers--> Settling --t outcomes--> Finished
//!     |                        |  cohort too small             |  no claim, complaint         |  too few, complaint   |  outcomes split
//!     +------- Stop -----------+-------------------------------+------------------------------+-----------------------+----> Abandoned
//! ```
//!
//! The caller's loop: `step`; if it is a rejection, tell the peer; else, when [`Step::store`], write the input as the
//! next row; then take [`Step::next`] as the state, carry out the effects, and answer the peer. After a crash
//! [`Round::replay`] over the rows gives the same state, and [`Round::pending`] what may not have been carried out yet.
//! Every effect may be carried out twice.

mod checking;
mod collecting;
mod effect;
mod ended;
mod frame;
mod gathering;
mod input;
mod isolation;
mod opening;
mod settling;

use std::sync::Arc;

pub use checking::Checking;
pub use collecting::Collecting;
pub use effect::{Effect, Step};
pub use ended::{Abandoned, Finished};
pub use frame::{Announced, Fixed, Start};
pub use gathering::Gathering;
pub use input::{Event, EventKind, Input};
pub use isolation::{Choice, Ground, Isolation, Past};
pub use opening::Opening;
pub use settling::Settling;

use crate::checked::Checked;
use crate::federation::Federation;
use crate::message::SumClaim;
use crate::notice::Notice;
use crate::rejection::Rejection;
use crate::signed::Signed;

/// The state of one attempt at a round.
#[derive(Debug, Clone)]
pub enum Round {
    /// Houses say ready.
    Gathering(Gathering),
    /// Contributions come in.
    Collecting(Collecting),
    /// The cohort is fixed; its sum is claimed and checked.
    Checking(Checking),
    /// Members answer the cohort.
    Opening(Opening),
    /// Houses sign what came of it.
    Settling(Settling),
    /// t houses agree.
    Finished(Finished),
    /// Given up.
    Abandoned(Abandoned),
}

impl Round {
    /// A new attempt, gathering.
    pub fn start(federation: Arc<Federation>, start: Start) -> Self {
        Self::Gathering(Gathering::new(federation, start))
    }

    /// Offers an input. `self` stays as it is; nothing counts before the caller has stored the input.
    ///
    /// # Errors
    /// [`Rejection`]: who broke which rule.
    pub fn step(&self, input: &Input) -> Result<Step, Rejection> {
        let at_ms = input.at_ms;
        match self.clone() {
            Self::Gathering(state) => state.step(&input.event),
            Self::Collecting(state) => state.step(at_ms, &input.event),
            Self::Checking(state) => state.step(at_ms, &input.event),
            Self::Opening(state) => state.step(at_ms, &input.event),
            Self::Settling(state) => state.step(at_ms, &input.event),
            Self::Finished(state) => state.step(&input.event),
            Self::Abandoned(state) => state.step(&input.event),
        }
    }

    /// The state after the stored inputs, in their order.
    ///
    /// # Errors
    /// The first rejection with its position: the rows are not what this crate accepted.
    pub fn replay<'a>(
        federation: Arc<Federation>,
        start: Start,
        rows: impl IntoIterator<Item = &'a Input>,
    ) -> Result<Self, ReplayError> {
        let mut round = Self::start(federation, start);
        for (row, input) in rows.into_iter().enumerate() {
            round = round.step(input).map_err(|rejection| ReplayError { row, rejection })?.next;
        }
        Ok(round)
    }

    /// What this state owes: after a replay the caller carries all of it out again.
    pub fn pending(&self) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.notices().into_iter().map(Effect::Publish).collect();
        effects.extend(match self {
            Self::Gathering(state) => state.gathered().into_iter().collect(),
            Self::Collecting(_) => Vec::new(),
            Self::Checking(state) => vec![state.fixed().fold()],
            Self::Opening(state) => vec![state.fixed().fold()],
            Self::Settling(state) => state.duties(),
            Self::Finished(state) => state.duties(),
            Self::Abandoned(state) => state.duties(),
        });
        effects
    }

    /// Everything that a member who connects now must hear, in order.
    pub fn notices(&self) -> Vec<Notice> {
        match self {
            Self::Gathering(state) => vec![state.notice()],
            Self::Collecting(state) => vec![state.announced().notice()],
            Self::Checking(state) => state.notices(),
            Self::Opening(state) => state.notices(),
            Self::Settling(state) => state.notices(),
            Self::Finished(state) => state.notices(),
            Self::Abandoned(state) => state.notices(),
        }
    }

    /// The Unix time in milliseconds at which the caller should offer a tick.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        match self {
            Self::Collecting(state) => Some(state.announced().announcement().close_time_ms()),
            Self::Checking(state) => Some(state.deadline_ms()),
            Self::Opening(state) => Some(state.fixed().announced().announcement().open_time_ms()),
            Self::Settling(state) => state.deadline_ms(),
            _ => None,
        }
    }

    /// The state's name, for logs and rows.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gathering(_) => "gathering",
            Self::Collecting(_) => "collecting",
            Self::Checking(_) => "checking",
            Self::Opening(_) => "opening",
            Self::Settling(_) => "settling",
            Self::Finished(_) => "finished",
            Self::Abandoned(_) => "abandoned",
        }
    }

    /// Round, attempt, adapter and record that it started from.
    pub fn frame(&self) -> &Start {
        match self {
            Self::Gathering(state) => state.start(),
            Self::Collecting(state) => state.announced().start(),
            Self::Checking(state) => state.fixed().announced().start(),
            Self::Opening(state) => state.fixed().announced().start(),
            Self::Settling(state) => state.fixed().announced().start(),
            Self::Finished(state) => state.fixed().announced().start(),
            Self::Abandoned(state) => state.start(),
        }
    }

    /// The announcement, once there is one.
    pub fn announced(&self) -> Option<&Announced> {
        match self {
            Self::Gathering(_) => None,
            Self::Collecting(state) => Some(state.announced()),
            Self::Abandoned(state) => state.announced(),
            _ => self.fixed().map(Fixed::announced),
        }
    }

    /// The fixed cohort, once there is one.
    pub fn fixed(&self) -> Option<&Fixed> {
        match self {
            Self::Gathering(_) | Self::Collecting(_) => None,
            Self::Checking(state) => Some(state.fixed()),
            Self::Opening(state) => Some(state.fixed()),
            Self::Settling(state) => Some(state.fixed()),
            Self::Finished(state) => Some(state.fixed()),
            Self::Abandoned(state) => state.fixed(),
        }
    }

    /// The claim of the cohort's sum, once made.
    pub fn claim(&self) -> Option<&Signed<SumClaim>> {
        match self {
            Self::Checking(state) => state.claim(),
            _ => self.checked().map(Checked::signed_claim),
        }
    }

    /// The claim and the checksums that members answer, once the checking is over.
    pub fn checked(&self) -> Option<&Checked> {
        match self {
            Self::Opening(state) => Some(state.checked()),
            Self::Settling(state) => Some(state.checked()),
            Self::Finished(state) => Some(state.checked()),
            Self::Gathering(_) | Self::Collecting(_) | Self::Checking(_) | Self::Abandoned(_) => None,
        }
    }

    /// Whether the attempt is over.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Finished(_) | Self::Abandoned(_))
    }
}

/// Stored rows that do not replay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored input {row} of the round is refused on replay: {rejection}")]
pub struct ReplayError {
    /// Its position, from 0.
    pub row: usize,
    /// Why.
    pub rejection: Rejection,
}
