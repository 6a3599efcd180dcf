//! Idle and Ready: between rounds.

use std::sync::Arc;

use super::event::{Effect, Event, Step};
use super::me::Me;
use super::memory::Memory;
use super::{Round, hear};
use crate::check;
use crate::ids::{Attempt, Digest, RoundNumber};
use crate::message::{self, Announcement, Outcome, Verdict};
use crate::rejection::{Party, Rejection};
use crate::signed::Signed;

/// Between rounds.
#[derive(Debug, Clone)]
pub struct Idle {
    me: Arc<Me>,
    memory: Memory,
}

impl Idle {
    pub(super) fn new(me: Arc<Me>, memory: Memory) -> Self {
        Self { me, memory }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        step(&self.me, &self.memory, at_ms, event, "idle")
    }
}

/// Said ready for an attempt.
#[derive(Debug, Clone)]
pub struct Ready {
    me: Arc<Me>,
    memory: Memory,
    said: message::Ready,
}

impl Ready {
    /// What it said.
    pub fn said(&self) -> &message::Ready {
        &self.said
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        step(&self.me, &self.memory, at_ms, event, "ready")
    }
}

/// What a member between rounds does.
pub(super) fn step(
    me: &Arc<Me>,
    memory: &Memory,
    at_ms: u64,
    event: &Event,
    state: &'static str,
) -> Result<Step, Rejection> {
    match event {
        Event::BecomeReady { round, attempt } => become_ready(me, memory, *round, *attempt),
        Event::Announced { signed, epsilon_after, record_proof } => {
            hear::announcement(me, memory, at_ms, signed, *epsilon_after, record_proof.as_deref())
        }
        Event::CaughtUp { signed, cohort, outcomes } => caught_up(me, memory, signed, *cohort, outcomes),
        // Said about an attempt that this member never heard of: nothing to leave.
        Event::Abandoned { .. } => Ok(Step::to(Round::Idle(Idle::new(Arc::clone(me), memory.clone())), Vec::new())),
        other => Err(hear::wrong_state(me, other, state)),
    }
}

/// Goes past a missed round: t houses signed what it came to.
pub(super) fn caught_up(
    me: &Arc<Me>,
    memory: &Memory,
    signed: &Signed<Announcement>,
    cohort: Digest,
    outcomes: &[Signed<Outcome>],
) -> Result<Step, Rejection> {
    let announced = check::announcement(me.federation(), signed)?;
    let who = Party::Aggregator;
    let (expected, found) = (memory.next_round, announced.round);
    if memory.over {
        return Err(Rejection::RunOver { who, found });
    }
    if found != expected {
        return Err(Rejection::WrongRound { who, expected, found });
    }
    let (expected, found) = (memory.adapter, announced.adapter);
    if found != expected {
        return Err(Rejection::WrongAdapter { who, expected, found });
    }
    let verdict = check::settled(me.federation(), signed.body_digest(), cohort, outcomes)?;
    let erase = hear::forget(memory);
    let mut memory = memory.clone();
    memory.settle(announced.round, verdict);
    let mut effects = vec![Effect::Remember(memory.clone())];
    effects.extend(erase);
    if matches!(verdict, Verdict::Applied { .. }) {
        effects.push(Effect::Settled(verdict));
    }
    Ok(Step::to(Round::Idle(Idle::new(Arc::clone(me), memory)), effects))
}

/// Says ready, for an attempt later than every one seen.
pub(super) fn become_ready(
    me: &Arc<Me>,
    memory: &Memory,
    round: RoundNumber,
    attempt: Attempt,
) -> Result<Step, Rejection> {
    let who = Party::Aggregator;
    if !me.is_house() {
        return Err(Rejection::NotAHouse { who: me.party() });
    }
    let expected = memory.next_round;
    if memory.over {
        return Err(Rejection::RunOver { who, found: round });
    }
    if round != expected {
        return Err(Rejection::WrongRound { who, expected, found: round });
    }
    if let Some(seen) = memory.seen.as_ref().filter(|seen| seen.round == round && attempt <= seen.attempt) {
        return Err(Rejection::WrongAttempt { who, expected: seen.attempt, found: attempt });
    }
    let said = message::Ready {
        charter: me.federation().charter().digest(),
        roster: me.federation().roster_digest(),
        round,
        attempt,
        member: me.name().clone(),
    };
    let effects = vec![Effect::SendReady(said.clone())];
    Ok(Step::to(Round::Ready(Ready { me: Arc::clone(me), memory: memory.clone(), said }), effects))
}
