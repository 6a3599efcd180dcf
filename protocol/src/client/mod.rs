//! A member's side of a round: a house, or a trustee, which skips training, contributing and combining.
//!
//! ```text
//! Idle --BecomeReady--> Ready --Announced--> Announced --Contributed--> Contributed --Cohort--> Listed --Checked--> Answered --Combined--> Combined --Settled--> Settled
//!   \____________________________Announced____/   \_____________Cohort (absent, slow, trustee)____/ |  ^
//!                                                                                     Claimed, Complained
//! ```
//!
//! A newer announcement is heard in every state; `Abandoned` leads back to Idle; Settled hears what Idle hears.
//! The caller carries out a step's effects in order, and [`Effect::Remember`] durably before the ones after it: what a
//! member promised (one contribution, one list, one sum of it) survives any crash. After a restart [`Round::start`] with the
//! stored [`Memory`], and the aggregator's notices from the announcement on, lead back to where it was.

mod announced;
mod answered;
mod combined;
mod contributed;
mod event;
mod hear;
mod idle;
mod listed;
mod me;
mod memory;
mod settled;

use std::sync::Arc;

pub use announced::Announced;
pub use answered::Answered;
pub use combined::Combined;
pub use contributed::Contributed;
pub use event::{Effect, EffectKind, Event, Input, Step};
pub use hear::Heard;
pub use idle::{Idle, Ready};
pub use listed::Listed;
pub use me::{Me, Policy};
pub use memory::{Memory, Seen};
pub use settled::Settled;

use crate::rejection::Rejection;

/// The state of a member.
#[derive(Debug, Clone)]
pub enum Round {
    /// Between rounds.
    Idle(Idle),
    /// Said ready.
    Ready(Ready),
    /// Accepted an announcement; trains if it is expected.
    Announced(Announced),
    /// Made its contribution.
    Contributed(Contributed),
    /// Promised exactly one cohort list, whose sum is claimed and checked.
    Listed(Listed),
    /// Answers the one claimed sum of the one list.
    Answered(Answered),
    /// Found what the round came to, by its own computation.
    Combined(Combined),
    /// t houses signed what the round came to.
    Settled(Settled),
}

impl Round {
    /// A member between rounds, with what it remembers.
    pub fn start(me: Arc<Me>, memory: Memory) -> Self {
        Self::Idle(Idle::new(me, memory))
    }

    /// Offers an input. `self` stays as it is when it is rejected.
    ///
    /// # Errors
    /// [`Rejection`]: who broke which rule.
    pub fn step(&self, input: &Input) -> Result<Step, Rejection> {
        let at_ms = input.at_ms;
        match self.clone() {
            Self::Idle(state) => state.step(at_ms, &input.event),
            Self::Ready(state) => state.step(at_ms, &input.event),
            Self::Announced(state) => state.step(at_ms, &input.event),
            Self::Contributed(state) => state.step(at_ms, &input.event),
            Self::Listed(state) => state.step(at_ms, &input.event),
            Self::Answered(state) => state.step(at_ms, &input.event),
            Self::Combined(state) => state.step(at_ms, &input.event),
            Self::Settled(state) => state.step(at_ms, &input.event),
        }
    }

    /// What must survive a crash.
    pub fn memory(&self) -> &Memory {
        match self {
            Self::Idle(state) => state.memory(),
            Self::Ready(state) => state.memory(),
            Self::Announced(state) => state.memory(),
            Self::Contributed(state) => state.memory(),
            Self::Listed(state) => state.memory(),
            Self::Answered(state) => state.memory(),
            Self::Combined(state) => state.memory(),
            Self::Settled(state) => state.memory(),
        }
    }

    /// The accepted announcement, while a round is on.
    pub fn heard(&self) -> Option<&Heard> {
        match self {
            Self::Idle(_) | Self::Ready(_) | Self::Settled(_) => None,
            Self::Announced(state) => Some(state.heard()),
            Self::Contributed(state) => Some(state.heard()),
            Self::Listed(state) => Some(state.heard()),
            Self::Answered(state) => Some(state.heard()),
            Self::Combined(state) => Some(state.heard()),
        }
    }

    /// The state's name, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Ready(_) => "ready",
            Self::Announced(_) => "announced",
            Self::Contributed(_) => "contributed",
            Self::Listed(_) => "listed",
            Self::Answered(_) => "answered",
            Self::Combined(_) => "combined",
            Self::Settled(_) => "settled",
        }
    }
}
