//! The rules that the server and every member apply alike: what an announcement, a contribution, a cohort list, an
//! answer and an outcome must be. Each check verifies the signature first and gives the verified statement back.

mod sum;

use std::collections::BTreeSet;

pub use sum::{body_checksum, checked, claim, complaint};

use crate::PROTOCOL_VERSION;
use crate::federation::Federation;
use crate::ids::{Digest, HouseName};
use crate::message::{
    Announcement, Answer, AnswerPayload, Approval, CohortList, Contribution, Outcome, SumClaim, Verdict,
};
use crate::rejection::{Party, Rejection};
use crate::roster::Member;
use crate::signed::Signed;

/// Checks an announcement against charter and roster: signature, versions, digests, expected set, deadlines, committee.
///
/// # Errors
/// [`Rejection`] naming the field that is wrong.
pub fn announcement(federation: &Federation, signed: &Signed<Announcement>) -> Result<Announcement, Rejection> {
    let announced = announcement_but_seats(federation, signed)?;
    seats(federation, &announced)?;
    Ok(announced)
}

/// [`announcement`], but for the committee's seats: a signature each, and so left for last.
pub(crate) fn announcement_but_seats(
    federation: &Federation,
    signed: &Signed<Announcement>,
) -> Result<Announcement, Rejection> {
    let who = Party::Aggregator;
    let charter = federation.charter();
    let announced = signed.verify_by(charter.aggregator_key())?;
    let found = announced.protocol_version;
    if found != PROTOCOL_VERSION {
        return Err(Rejection::WrongVersion { who, expected: PROTOCOL_VERSION, found });
    }
    same_contract(federation, &who, announced.charter, announced.roster)?;
    expected_set(federation, &announced)?;
    let rounds = &charter.rounds;
    bad_unless(announced.round.get() <= rounds.count, "round", || {
        format!("the charter ends with round {}", rounds.count)
    })?;
    bad_unless(announced.attempt.get() <= rounds.max_attempts, "attempt", || {
        format!("the charter allows {}", rounds.max_attempts)
    })?;
    let deadlines = (announced.submit_at_ms, announced.close_ms, announced.open_ms);
    let chartered = (rounds.submit_at_ms, rounds.close_ms, rounds.open_ms);
    bad_unless(deadlines == chartered, "deadlines", || {
        format!("{deadlines:?} ms are not the charter's {chartered:?} ms")
    })?;
    Ok(announced)
}

/// Checks a contribution's manifest against the announcement with digest `announcement`.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn contribution(
    federation: &Federation,
    announced: &Announcement,
    announcement: Digest,
    signed: &Signed<Contribution>,
) -> Result<Contribution, Rejection> {
    let manifest = signed.verify(federation.roster())?;
    let who = Party::named(&manifest.member);
    same_announcement(&who, announcement, manifest.announcement)?;
    if !announced.expects(&manifest.member) {
        return Err(Rejection::NotExpected { name: manifest.member });
    }
    let (k, found) = (federation.roster().committee().len(), manifest.sealed_shares.len());
    if found != k {
        let rule = format!("{found} shares for {k} members");
        return Err(Rejection::BadContribution { who, field: "sealed_shares", rule });
    }
    Ok(manifest)
}

/// Checks a cohort list: every signature, in the expected set, in roster order without duplicates, large enough.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn cohort_list(
    federation: &Federation,
    announced: &Announcement,
    announcement: Digest,
    list: &CohortList,
) -> Result<Vec<Contribution>, Rejection> {
    same_announcement(&Party::Aggregator, announcement, list.announcement)?;
    let needed = federation.cohort_floor(announced.expected.len(), announced.may_vanish);
    let found = list.contributions.len();
    if found < needed {
        return Err(Rejection::SmallCohort { needed, found });
    }
    let mut last = None;
    let mut manifests = Vec::with_capacity(found);
    for signed in &list.contributions {
        let manifest = contribution(federation, announced, announcement, signed)?;
        let position = federation.roster().position_of(&manifest.member);
        if position <= last {
            return Err(Rejection::DuplicateInCohort { name: manifest.member });
        }
        last = position;
        manifests.push(manifest);
    }
    Ok(manifests)
}

/// Checks an answer: signature, index, that it answers `claim` and no other announcement, cohort or sum, and that it is
/// sealed exactly as the release policy says.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn answer(federation: &Federation, claim: &SumClaim, signed: &Signed<Answer>) -> Result<Answer, Rejection> {
    let answer = signed.verify(federation.roster())?;
    let name = answer.member.clone();
    let who = Party::named(&name);
    same_announcement(&who, claim.announcement, answer.announcement)?;
    same_cohort(&who, claim.cohort, answer.cohort)?;
    sum::same_sum(&who, claim.body_sum, answer.body_sum)?;
    let expected = federation.roster().index_of(&name).map_or(0, |index| index.get());
    let found = answer.index.get();
    if found != expected {
        return Err(Rejection::WrongIndex { name, expected, found });
    }
    let rule = match (&answer.payload, federation.seals_answers()) {
        (AnswerPayload::Open(_), false) => None,
        (AnswerPayload::Open(_), true) => Some("under `clients` an answer is sealed"),
        (AnswerPayload::Sealed(_), false) => Some("under `aggregator` an answer is open"),
        (AnswerPayload::Sealed(sealed), true) => {
            let complete = sealed.iter().map(|one| &one.house).eq(federation.roster().houses().map(Member::name));
            (!complete).then_some("it must be sealed to every house once, in roster order")
        }
    };
    match rule {
        None => Ok(answer),
        Some(rule) => Err(Rejection::WrongRelease { name, rule }),
    }
}

/// Checks an outcome: the signature of a house of the committee, announcement and cohort.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn outcome(
    federation: &Federation,
    announcement: Digest,
    cohort: Digest,
    signed: &Signed<Outcome>,
) -> Result<Outcome, Rejection> {
    let outcome = signed.verify(federation.roster())?;
    let who = seated_house(federation, &outcome.member)?;
    same_announcement(&who, announcement, outcome.announcement)?;
    same_cohort(&who, cohort, outcome.cohort)?;
    Ok(outcome)
}

/// The verdict that `outcomes` prove: t different houses of the committee signed the same one, for this announcement and
/// cohort list.
/// A house that was away checks a missed round with it.
///
/// # Errors
/// [`Rejection`] of the first outcome that is wrong, or [`Rejection::TooFewOutcomes`].
pub fn settled(
    federation: &Federation,
    announcement: Digest,
    cohort: Digest,
    outcomes: &[Signed<Outcome>],
) -> Result<Verdict, Rejection> {
    let mut verdicts: Vec<(HouseName, Verdict)> = Vec::new();
    for signed in outcomes {
        let outcome = outcome_once(federation, announcement, cohort, signed, &verdicts)?;
        verdicts.push((outcome.member, outcome.verdict));
    }
    let needed = federation.threshold();
    agreed(verdicts.iter().map(|(_, verdict)| *verdict), needed)
        .ok_or(Rejection::TooFewOutcomes { needed, found: verdicts.len() })
}

/// Whether t different houses of the committee signed their consent to hand over the state with this digest. What does not
/// verify, is of another member or speaks of something else counts for nothing.
pub fn hand_over_approved(federation: &Federation, state: Digest, approvals: &[Signed<Approval>]) -> bool {
    let consents = |signed: &&Signed<Approval>| {
        signed.verify(federation.roster()).is_ok_and(|approval| {
            approval.charter == federation.charter().digest()
                && approval.state == state
                && seated_house(federation, &approval.member).is_ok()
        })
    };
    let houses: BTreeSet<&HouseName> = approvals.iter().filter(consents).map(Signed::signer).collect();
    houses.len() >= federation.threshold()
}

/// The verdict that at least `needed` of `verdicts` share; 2t > k leaves room for one only.
pub(crate) fn agreed(verdicts: impl Iterator<Item = Verdict> + Clone, needed: usize) -> Option<Verdict> {
    let count = |verdict: &Verdict| verdicts.clone().filter(|other| other == verdict).count();
    verdicts.clone().find(|verdict| count(verdict) >= needed)
}

/// The party named, when it is a house of the roster.
pub(crate) fn house(federation: &Federation, name: &HouseName) -> Result<Party, Rejection> {
    match federation.roster().member(name) {
        Some(member) if member.is_house() => Ok(Party::named(name)),
        Some(_) => Err(Rejection::NotAHouse { who: Party::named(name) }),
        None => Err(Rejection::UnknownMember { name: name.clone() }),
    }
}

/// The party named, when it is a house that holds key shares: among those at most c collude, so t of them are believed.
pub(crate) fn seated_house(federation: &Federation, name: &HouseName) -> Result<Party, Rejection> {
    let who = house(federation, name)?;
    match federation.roster().index_of(name) {
        Some(_) => Ok(who),
        None => Err(Rejection::NoSeat { name: name.clone() }),
    }
}

/// Both digests are the pinned ones.
pub(crate) fn same_contract(
    federation: &Federation,
    who: &Party,
    charter: Digest,
    roster: Digest,
) -> Result<(), Rejection> {
    let (who, expected) = (who.clone(), federation.charter().digest());
    if charter != expected {
        return Err(Rejection::WrongCharter { who, expected, found: charter });
    }
    let expected = federation.roster_digest();
    if roster != expected {
        return Err(Rejection::WrongRoster { who, expected, found: roster });
    }
    Ok(())
}

fn outcome_once(
    federation: &Federation,
    announcement: Digest,
    cohort: Digest,
    signed: &Signed<Outcome>,
    before: &[(HouseName, Verdict)],
) -> Result<Outcome, Rejection> {
    let outcome = outcome(federation, announcement, cohort, signed)?;
    if before.iter().any(|(name, _)| *name == outcome.member) {
        return Err(Rejection::SecondOutcome { name: outcome.member });
    }
    Ok(outcome)
}

fn expected_set(federation: &Federation, announced: &Announcement) -> Result<(), Rejection> {
    let rounds = &federation.charter().rounds;
    let mut last = None;
    for name in &announced.expected {
        house(federation, name)?;
        let position = federation.roster().position_of(name);
        bad_unless(position > last, "expected", || format!("`{name}` is there twice or out of roster order"))?;
        last = position;
    }
    let (expected, may_vanish) = (announced.expected.len(), announced.may_vanish as usize);
    bad_unless(announced.may_vanish <= rounds.may_vanish, "may_vanish", || {
        format!("{may_vanish} is above the charter's {}", rounds.may_vanish)
    })?;
    bad_unless(expected <= rounds.max_cohort as usize, "expected", || {
        format!("{expected} houses are above the charter's {}", rounds.max_cohort)
    })?;
    let min_cohort = rounds.min_cohort as usize;
    if expected < min_cohort + may_vanish {
        let who = Party::Aggregator;
        return Err(Rejection::SmallExpectedSet { who, expected, may_vanish, min_cohort });
    }
    Ok(())
}

/// Each seat of an announcement is the roster's, with a key that its member signed.
pub(crate) fn seats(federation: &Federation, announced: &Announcement) -> Result<(), Rejection> {
    let roster = federation.roster();
    let (found, k) = (announced.committee.len(), roster.committee().len());
    bad_unless(found == k, "committee", || format!("{found} seats for {k} members"))?;
    for (position, (seat, member)) in announced.committee.iter().zip(roster.committee()).enumerate() {
        let name = member.name();
        bad_unless(seat.index.position() == position && seat.offer.signer() == name, "committee", || {
            format!("seat {} is not `{name}`, the roster's", position + 1)
        })?;
        let offer = seat.offer.verify(roster)?;
        let expected = announced.charter;
        if offer.charter != expected {
            return Err(Rejection::WrongCharter { who: Party::named(name), expected, found: offer.charter });
        }
    }
    Ok(())
}

fn same_announcement(who: &Party, expected: Digest, found: Digest) -> Result<(), Rejection> {
    let who = who.clone();
    if found == expected { Ok(()) } else { Err(Rejection::WrongAnnouncement { who, expected, found }) }
}

fn same_cohort(who: &Party, expected: Digest, found: Digest) -> Result<(), Rejection> {
    let who = who.clone();
    if found == expected { Ok(()) } else { Err(Rejection::WrongCohort { who, expected, found }) }
}

fn bad_unless(holds: bool, field: &'static str, rule: impl FnOnce() -> String) -> Result<(), Rejection> {
    if holds {
        return Ok(());
    }
    Err(Rejection::BadAnnouncement { who: Party::Aggregator, field, rule: rule() })
}
