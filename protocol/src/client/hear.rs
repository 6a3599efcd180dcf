//! Hearing an announcement, in whatever state, and what a heard round shares between its states.

use std::sync::Arc;

use super::event::{Effect, Event, Step};
use super::idle::{self, Idle};
use super::me::Me;
use super::memory::{Memory, Seen};
use super::{Announced, Contributed, Listed, Round, Settled};
use crate::check;
use crate::encoding::Message as _;
use crate::ids::{Attempt, Digest, RoundNumber};
use crate::log;
use crate::message::{Announcement, CohortList, Complaint, Contribution, Outcome, Verdict};
use crate::rejection::{Party, Rejection};
use crate::signed::Signed;

/// An announcement that passed every check.
#[derive(Debug)]
pub struct Heard {
    me: Arc<Me>,
    announcement: Arc<Announcement>,
    digest: Digest,
    sequence: Option<u64>,
    contributes: bool,
}

impl Heard {
    /// The member.
    pub fn me(&self) -> &Arc<Me> {
        &self.me
    }

    /// The announcement.
    pub fn announcement(&self) -> &Arc<Announcement> {
        &self.announcement
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Which of this member's one-time keys the round uses; none for a house that holds no shares.
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Whether this member is in E.
    pub fn contributes(&self) -> bool {
        self.contributes
    }
}

/// Hears an announcement from any state: a new one, or the latest one again (after a crash or a lost message).
pub(super) fn announcement(
    me: &Arc<Me>,
    memory: &Memory,
    at_ms: u64,
    signed: &Signed<Announcement>,
    epsilon_after: f64,
    record_proof: Option<&[Digest]>,
) -> Result<Step, Rejection> {
    let announced = check::announcement_but_seats(me.federation(), signed)?;
    let digest = signed.body_digest();
    let heard = |announced: Announcement, sequence| {
        let contributes = me.is_house() && announced.expects(me.name());
        Arc::new(Heard { me: Arc::clone(me), announcement: Arc::new(announced), digest, sequence, contributes })
    };
    if let Some(promises) = memory.promises(digest) {
        if promises.ended {
            return Ok(Step::to(Round::Idle(Idle::new(Arc::clone(me), memory.clone())), Vec::new()));
        }
        let sequence = own_sequence(me, &announced)?;
        return Ok(resume(heard(announced, sequence), memory.clone(), promises, at_ms));
    }
    let who = Party::Aggregator;
    is_next(memory, &announced, digest)?;
    let (expected, found) = (memory.adapter, announced.adapter);
    if found != expected {
        return Err(Rejection::WrongAdapter { who, expected, found });
    }
    record(me, memory, &announced, record_proof)?;
    within_policy(me, &announced, at_ms, epsilon_after)?;
    // The same bytes were checked before, where something is promised about them already.
    check::seats(me.federation(), &announced)?;
    let sequence = own_sequence(me, &announced)?;
    if let Some(sequence) = sequence.filter(|sequence| *sequence < memory.next_sequence) {
        return Err(Rejection::OneTimeKeyReused { sequence, next: memory.next_sequence });
    }
    let erase = forget(memory);
    let mut memory = memory.clone();
    memory.record = announced.record;
    if let Some(sequence) = sequence {
        memory.next_sequence = sequence.saturating_add(1);
    }
    memory.seen = Some(Seen {
        round: announced.round,
        attempt: announced.attempt,
        announcement: digest,
        contribution: None,
        cohort: None,
        body_sum: None,
        complaint: None,
        answer: None,
        verdict: None,
        ended: false,
    });
    let heard = heard(announced, sequence);
    let mut effects = vec![Effect::Remember(memory.clone())];
    effects.extend(erase);
    effects.extend(train(&heard, at_ms));
    Ok(Step::to(Round::Announced(Announced::new(heard, memory)), effects))
}

/// What every state within a heard round does with events that are not its own.
pub(super) fn otherwise(
    heard: &Arc<Heard>,
    memory: &Memory,
    at_ms: u64,
    event: &Event,
    state: &'static str,
) -> Result<Step, Rejection> {
    match event {
        Event::Announced { signed, epsilon_after, record_proof } => {
            announcement(&heard.me, memory, at_ms, signed, *epsilon_after, record_proof.as_deref())
        }
        // A later attempt gathers, so this one is over, though nobody told.
        Event::BecomeReady { round, attempt } => {
            let mut over = memory.clone();
            over.promise(|seen| seen.ended = true);
            let mut step = idle::become_ready(&heard.me, &over, *round, *attempt)?;
            let erase = forget(memory);
            step.effects.splice(0..0, std::iter::once(Effect::Remember(over)).chain(erase));
            Ok(step)
        }
        Event::Abandoned { round, attempt, .. } => abandoned(heard, memory, *round, *attempt),
        Event::Settled { cohort, outcomes } if !heard.me.is_house() => {
            let verdict = check::settled(heard.me.federation(), heard.digest, *cohort, outcomes)?;
            Ok(settle(heard, memory.clone(), verdict))
        }
        Event::CaughtUp { signed, cohort, outcomes } => idle::caught_up(&heard.me, memory, signed, *cohort, outcomes),
        other => Err(wrong_state(&heard.me, other, state)),
    }
}

/// Accepts a cohort list, once: it is remembered before anything is said or done with it.
pub(super) fn cohort(heard: &Arc<Heard>, mut memory: Memory, list: &CohortList) -> Result<Step, Rejection> {
    let announced = &heard.announcement;
    check::cohort_list(heard.me.federation(), announced, heard.digest, list)?;
    let floor = heard.me.policy().min_cohort as usize;
    if list.contributions.len() < floor {
        return Err(Rejection::SmallCohort { needed: floor, found: list.contributions.len() });
    }
    let digest = list.digest();
    let promises = memory.promises(heard.digest);
    let mine = promises.and_then(|seen| seen.contribution.as_ref()).map(Signed::body_digest);
    let listed = list.contributions.iter().find(|signed| signed.signer() == heard.me.name());
    if let Some(found) = listed.map(Signed::body_digest).filter(|found| Some(*found) != mine) {
        return Err(Rejection::NotMyContribution { found });
    }
    let first = promises.and_then(|seen| seen.cohort);
    if let Some(first) = first.filter(|first| *first != digest) {
        return Err(Rejection::SecondOpening { first, second: digest });
    }
    let answered = promises.is_some_and(|seen| seen.answer.is_some());
    memory.promise(|seen| seen.cohort = Some(digest));
    let list = Arc::new(list.clone());
    let mut effects = vec![Effect::Remember(memory.clone())];
    match own_complaint(heard, &memory) {
        Some(again) => effects.push(again),
        None if answered || heard.me.seat().is_none() => {}
        None => effects.push(Effect::CheckShares(Arc::clone(&list))),
    }
    Ok(Step::to(Round::Listed(Listed::new(Arc::clone(heard), memory, list, digest)), effects))
}

/// Promises to follow the claim of this sum, once; durably, when it is new.
pub(super) fn promise_sum(heard: &Heard, memory: &mut Memory, body_sum: Digest) -> Result<Vec<Effect>, Rejection> {
    match memory.promises(heard.digest).and_then(|seen| seen.body_sum) {
        Some(first) if first == body_sum => Ok(Vec::new()),
        Some(first) => Err(Rejection::SecondClaim { first, second: body_sum }),
        None => {
            memory.promise(|seen| seen.body_sum = Some(body_sum));
            Ok(vec![Effect::Remember(memory.clone())])
        }
    }
}

/// This member's own complaint, once, and only while it has not answered.
pub(super) fn complain(
    heard: &Heard,
    memory: &mut Memory,
    list: &CohortList,
    signed: &Signed<Complaint>,
) -> Result<Vec<Effect>, Rejection> {
    let me = &heard.me;
    let complaint = check::complaint(me.federation(), list, signed)?;
    if complaint.member != *me.name() {
        return Err(Rejection::WrongSpeaker { who: me.party(), speaker: complaint.member.to_string() });
    }
    if let Some(first) = own_complaint(heard, memory) {
        return Ok(vec![first]);
    }
    if memory.promises(heard.digest).is_some_and(|seen| seen.answer.is_some()) {
        return Err(wrong_state(me, &Event::Complained(signed.clone()), "answered"));
    }
    memory.promise(|seen| seen.complaint = Some(signed.clone()));
    Ok(vec![Effect::Remember(memory.clone()), Effect::SendComplaint(signed.clone())])
}

/// The complaint that was made, to send it again.
pub(super) fn own_complaint(heard: &Heard, memory: &Memory) -> Option<Effect> {
    let complaint = memory.promises(heard.digest).and_then(|seen| seen.complaint.clone());
    complaint.map(Effect::SendComplaint)
}

/// t houses agree: the round is over.
pub(super) fn settle(heard: &Heard, mut memory: Memory, verdict: Verdict) -> Step {
    let erase = forget(&memory);
    memory.settle(heard.announcement.round, verdict);
    let mut effects = vec![Effect::Remember(memory.clone())];
    effects.extend(erase);
    effects.push(Effect::Settled(verdict));
    Step::to(Round::Settled(Settled::new(Arc::clone(&heard.me), memory, verdict)), effects)
}

/// The outcome that this house signs; one outside of the committee signs none.
pub(super) fn outcome(heard: &Heard, cohort: Digest, verdict: Verdict) -> Option<Effect> {
    heard.me.seat()?;
    let member = heard.me.name().clone();
    Some(Effect::SendOutcome(Outcome { announcement: heard.digest, cohort, member, verdict }))
}

pub(super) fn wrong_state(me: &Me, event: &Event, state: &'static str) -> Rejection {
    let who = match event {
        Event::Answered(signed) => Party::named(signed.signer()),
        Event::BecomeReady { .. }
        | Event::Contributed(_)
        | Event::Checksummed(_)
        | Event::Complained(_)
        | Event::Combined(_)
        | Event::FalseAnswer(_) => me.party(),
        _ => Party::Aggregator,
    };
    Rejection::WrongState { who, input: event.kind(), state }
}

/// A contribution that this house made itself.
pub(super) fn own_contribution(heard: &Heard, signed: &Signed<Contribution>) -> Result<(), Rejection> {
    let me = &heard.me;
    let manifest = check::contribution(me.federation(), &heard.announcement, heard.digest, signed)?;
    if manifest.member == *me.name() {
        Ok(())
    } else {
        Err(Rejection::WrongSpeaker { who: me.party(), speaker: manifest.member.to_string() })
    }
}

/// A house in E trains; past the time to submit it is absent from the cohort, but still of the committee, and still
/// needed to sign what came of the round. So an announcement has no deadline of its own.
fn train(heard: &Heard, at_ms: u64) -> Vec<Effect> {
    let in_time = heard.contributes && at_ms < heard.announcement.submit_time_ms();
    in_time.then(|| Effect::Train(Arc::clone(&heard.announcement))).into_iter().collect()
}

/// The erasure of the one-time keys up to the last used one, when its round ended without an answer.
pub(super) fn forget(memory: &Memory) -> Vec<Effect> {
    let unanswered = memory.seen.as_ref().is_some_and(|seen| seen.answer.is_none());
    let last = memory.next_sequence.checked_sub(1).filter(|_| unanswered);
    last.map(|sequence| Effect::EraseOneTimeKeys { sequence }).into_iter().collect()
}

/// After a restart: back to where the promises say it was.
fn resume(heard: Arc<Heard>, memory: Memory, promises: &Seen, at_ms: u64) -> Step {
    match promises.contribution.clone() {
        Some(contribution) => {
            let effects = vec![Effect::Submit(contribution)];
            Step::to(Round::Contributed(Contributed::new(heard, memory)), effects)
        }
        None => {
            let effects = if promises.cohort.is_none() { train(&heard, at_ms) } else { Vec::new() };
            Step::to(Round::Announced(Announced::new(heard, memory)), effects)
        }
    }
}

fn is_next(memory: &Memory, announced: &Announcement, digest: Digest) -> Result<(), Rejection> {
    let who = Party::Aggregator;
    let (expected, found) = (memory.next_round, announced.round);
    if memory.over {
        return Err(Rejection::RunOver { who, found });
    }
    if found != expected {
        return Err(Rejection::WrongRound { who, expected, found });
    }
    let Some(seen) = memory.seen.as_ref().filter(|seen| seen.round == found) else {
        return Ok(());
    };
    let (round, attempt) = (announced.round, announced.attempt);
    if attempt == seen.attempt {
        return Err(Rejection::SecondAnnouncement { round, attempt, first: seen.announcement, second: digest });
    }
    if attempt < seen.attempt {
        return Err(Rejection::WrongAttempt { who, expected: seen.attempt, found: attempt });
    }
    Ok(())
}

fn record(me: &Me, memory: &Memory, announced: &Announcement, proof: Option<&[Digest]>) -> Result<(), Rejection> {
    let (seen, found) = (memory.record, announced.record);
    let who = Party::Aggregator;
    if found.size < seen.size || (found.size == seen.size && found.root != seen.root) {
        return Err(Rejection::RecordWentBack { who, seen: seen.size, found: found.size });
    }
    if found.size == seen.size || seen.size == 0 {
        return Ok(());
    }
    let consistent = match proof {
        Some(proof) => log::verify_consistency(seen.size, &seen.root, found.size, &found.root, proof),
        None => !me.policy().require_record_proof,
    };
    if consistent { Ok(()) } else { Err(Rejection::RecordForked { who, seen: seen.size, found: found.size }) }
}

fn within_policy(me: &Me, announced: &Announcement, at_ms: u64, epsilon_after: f64) -> Result<(), Rejection> {
    let policy = me.policy();
    let refuse = |field, rule| Err(Rejection::AgainstPolicy { who: Party::Aggregator, field, rule });
    let least = announced.expected.len().saturating_sub(announced.may_vanish as usize);
    if least < policy.min_cohort as usize {
        return refuse("expected", format!("a cohort of {least} could be opened; its floor is {}", policy.min_cohort));
    }
    if announced.announced_at_ms > at_ms.saturating_add(policy.max_clock_skew_ms) {
        return refuse("announced_at_ms", format!("{} is ahead of its clock, {at_ms}", announced.announced_at_ms));
    }
    let spends = me.is_house() && announced.expects(me.name());
    // Not `>`: a ledger that gives no number must not pass.
    let within = epsilon_after <= policy.epsilon_ceiling;
    if spends && !within {
        return refuse("epsilon", format!("{epsilon_after} would be above its ceiling {}", policy.epsilon_ceiling));
    }
    Ok(())
}

fn own_sequence(me: &Me, announced: &Announcement) -> Result<Option<u64>, Rejection> {
    let malformed = |error| Rejection::Malformed { who: Party::Aggregator, error };
    let Some(index) = me.seat() else { return Ok(None) };
    let seat = announced.committee.get(index.position());
    let seat = seat.ok_or_else(|| Rejection::UnknownMember { name: me.name().clone() })?;
    Ok(Some(seat.offer.unverified().map_err(malformed)?.sequence))
}

fn abandoned(heard: &Heard, memory: &Memory, round: RoundNumber, attempt: Attempt) -> Result<Step, Rejection> {
    let who = Party::Aggregator;
    let announced = &heard.announcement;
    if round != announced.round {
        return Err(Rejection::WrongRound { who, expected: announced.round, found: round });
    }
    if attempt != announced.attempt {
        return Err(Rejection::WrongAttempt { who, expected: announced.attempt, found: attempt });
    }
    let mut memory = memory.clone();
    memory.promise(|seen| seen.ended = true);
    let mut effects = vec![Effect::Remember(memory.clone())];
    effects.extend(forget(&memory));
    Ok(Step::to(Round::Idle(Idle::new(Arc::clone(&heard.me), memory)), effects))
}
