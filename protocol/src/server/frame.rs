//! What stays the same from one state to the next, and the answers to messages of an earlier state.

use std::sync::Arc;

use super::effect::{Effect, Step};
use super::{Abandoned, Event, Round};
use crate::check;
use crate::checked::Checked;
use crate::encoding::Message as _;
use crate::federation::Federation;
use crate::ids::{Attempt, Digest, HouseName, RoundNumber};
use crate::message::{Announcement, CohortList, Contribution, Ready, RecordHead, SumClaim};
use crate::notice::Notice;
use crate::rejection::{Party, Rejection};
use crate::signed::Signed;

/// What an attempt starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The round.
    pub round: RoundNumber,
    /// The attempt.
    pub attempt: Attempt,
    /// The digest of the adapter state that t houses agreed on, or of the initial one.
    pub adapter: Digest,
    /// The head of the record.
    pub record: RecordHead,
}

/// An announced attempt.
#[derive(Debug)]
pub struct Announced {
    federation: Arc<Federation>,
    start: Start,
    signed: Signed<Announcement>,
    announcement: Announcement,
    digest: Digest,
}

impl Announced {
    /// Checks the aggregator's own announcement as every member will.
    pub(super) fn new(
        federation: Arc<Federation>,
        start: Start,
        signed: &Signed<Announcement>,
    ) -> Result<Self, Rejection> {
        let announcement = check::announcement(&federation, signed)?;
        let who = Party::Aggregator;
        let (expected, found) = (start.round, announcement.round);
        if found != expected {
            return Err(Rejection::WrongRound { who, expected, found });
        }
        let (expected, found) = (start.attempt, announcement.attempt);
        if found != expected {
            return Err(Rejection::WrongAttempt { who, expected, found });
        }
        let (expected, found) = (start.adapter, announcement.adapter);
        if found != expected {
            return Err(Rejection::WrongAdapter { who, expected, found });
        }
        if announcement.record != start.record {
            return Err(Rejection::WrongRecord { who });
        }
        let digest = signed.body_digest();
        Ok(Self { federation, start, signed: signed.clone(), announcement, digest })
    }

    /// Charter and roster.
    pub fn federation(&self) -> &Arc<Federation> {
        &self.federation
    }

    /// What the attempt started from.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// The announcement.
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// The announcement as signed.
    pub fn signed(&self) -> &Signed<Announcement> {
        &self.signed
    }

    /// Its digest, which every message of the round is bound to.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// max(|E| - d, min_cohort).
    pub fn cohort_floor(&self) -> usize {
        self.federation.cohort_floor(self.announcement.expected.len(), self.announcement.may_vanish)
    }

    pub(super) fn notice(&self) -> Notice {
        Notice::Announced(self.signed.clone())
    }

    /// A ready after the announcement: a repeat from the expected set changes nothing; others are too late.
    pub(super) fn late_ready(&self, signed: &Signed<Ready>) -> Result<(), Rejection> {
        let ready = check_ready(&self.federation, &self.start, signed)?;
        if self.announcement.expects(&ready.member) {
            Ok(())
        } else {
            Err(Rejection::NotExpected { name: ready.member })
        }
    }

    /// An announcement after the announcement: only the same one changes nothing.
    pub(super) fn late_announcement(&self, signed: &Signed<Announcement>) -> Result<(), Rejection> {
        let second = signed.body_digest();
        if second == self.digest {
            return Ok(());
        }
        let Start { round, attempt, .. } = self.start;
        Err(Rejection::SecondAnnouncement { round, attempt, first: self.digest, second })
    }
}

/// An attempt whose cohort is fixed.
#[derive(Debug)]
pub struct Fixed {
    announced: Arc<Announced>,
    list: Arc<CohortList>,
    digest: Digest,
}

impl Fixed {
    pub(super) fn new(announced: Arc<Announced>, list: CohortList) -> Self {
        let digest = list.digest();
        Self { announced, list: Arc::new(list), digest }
    }

    /// The announcement.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// U, as published.
    pub fn list(&self) -> &Arc<CohortList> {
        &self.list
    }

    /// The list's digest, which answers and outcomes are bound to.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The houses of U, in roster order.
    pub fn houses(&self) -> Vec<HouseName> {
        self.list.houses().cloned().collect()
    }

    pub(super) fn federation(&self) -> &Federation {
        &self.announced.federation
    }

    pub(super) fn announced_arc(&self) -> &Arc<Announced> {
        &self.announced
    }

    pub(super) fn fold(&self) -> Effect {
        Effect::FoldCohort(Arc::clone(&self.list))
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        vec![self.announced.notice(), Notice::Cohort(CohortList::clone(&self.list))]
    }

    /// Ready, announcement or contribution after the close: repeats change nothing.
    pub(super) fn late(&self, event: &Event, state: &'static str) -> Result<(), Rejection> {
        match event {
            Event::Ready(signed) => self.announced.late_ready(signed),
            Event::Announced(signed) => self.announced.late_announcement(signed),
            Event::Contribution(signed) => self.late_contribution(signed),
            other => Err(wrong_state(other, state)),
        }
    }

    /// After the checking: the claim and the checksums that went into it once more change nothing.
    pub(super) fn late_to(&self, checked: &Checked, event: &Event, state: &'static str) -> Result<(), Rejection> {
        match event {
            Event::Claimed(signed) => {
                let claim = check::claim(self.federation(), self.announced.digest, self.digest, signed)?;
                same_claim(checked.claim(), &claim)
            }
            Event::Checksum(signed) if checked.signed_checksums().contains(signed) => Ok(()),
            other => self.late(other, state),
        }
    }

    fn late_contribution(&self, signed: &Signed<Contribution>) -> Result<(), Rejection> {
        let announced = &self.announced;
        let manifest = check::contribution(&announced.federation, &announced.announcement, announced.digest, signed)?;
        let second = signed.body_digest();
        let name = manifest.member;
        match self.list.contributions.iter().find(|first| *first.signer() == name) {
            Some(first) if first.body_digest() == second => Ok(()),
            Some(first) => Err(Rejection::SecondContribution { name, first: first.body_digest(), second }),
            None => Err(Rejection::WrongState { who: Party::named(&name), input: "contribution", state: "closed" }),
        }
    }
}

/// A ready for this attempt, from a house.
pub(super) fn check_ready(federation: &Federation, start: &Start, signed: &Signed<Ready>) -> Result<Ready, Rejection> {
    let ready = signed.verify(federation.roster())?;
    let who = check::house(federation, &ready.member)?;
    check::same_contract(federation, &who, ready.charter, ready.roster)?;
    let (expected, found) = (start.round, ready.round);
    if found != expected {
        return Err(Rejection::WrongRound { who, expected, found });
    }
    let (expected, found) = (start.attempt, ready.attempt);
    if found != expected {
        return Err(Rejection::WrongAttempt { who, expected, found });
    }
    Ok(ready)
}

/// The aggregator claims one sum of one cohort.
pub(super) fn same_claim(first: &SumClaim, second: &SumClaim) -> Result<(), Rejection> {
    if first == second {
        return Ok(());
    }
    Err(Rejection::SecondClaim { first: first.body_sum, second: second.body_sum })
}

/// The rejection of an input that the state has no place for.
pub(super) fn wrong_state(event: &Event, state: &'static str) -> Rejection {
    let signer = match event {
        Event::Ready(signed) => Some(signed.signer()),
        Event::Contribution(signed) => Some(signed.signer()),
        Event::Checksum(signed) => Some(signed.signer()),
        Event::Complaint(signed) => Some(signed.signer()),
        Event::Answer(signed) => Some(signed.signer()),
        Event::Outcome(signed) => Some(signed.signer()),
        Event::Announced(_) | Event::Claimed(_) | Event::Tick | Event::FalseAnswer(_) | Event::Stop => None,
    };
    let who = signer.map_or(Party::Aggregator, Party::named);
    Rejection::WrongState { who, input: event.kind(), state }
}

/// The step into `Abandoned`, with its duties.
pub(super) fn abandon(abandoned: Abandoned) -> Step {
    let mut effects: Vec<Effect> = abandoned.notices().into_iter().map(Effect::Publish).collect();
    effects.extend(abandoned.duties());
    Step::to(Round::Abandoned(abandoned), effects)
}
