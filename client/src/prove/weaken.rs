//! What an aggregator might say to weaken a house's protection, said to this house's own rules; each must be refused, by name.

use std::sync::Arc;

use protocol::client::{Event, Input, Me, Policy, Round};
use protocol::{
    Announcement, Attempt, CohortList, Contribution, Digest, HouseName, Message as _, Rejection, Signed, Signer,
};
use rand::Rng as _;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use secure_sum::SealingKey;
use zeroize::Zeroizing;

use super::ProveError;
use super::rehearsal::Rehearsal;
use super::report::Refused;
use crate::sealing;

/// A change of an announcement, in words.
type Attempted = (&'static str, Box<dyn Fn(&mut Announcement)>);

/// Hears the honest announcement, as this house would. Gives the state after it, and the time.
pub(super) fn hear(rehearsal: &Rehearsal, policy: &Policy) -> Result<(Round, u64), ProveError> {
    let at_ms = rehearsal.announcement.announced_at_ms;
    let event = announced(rehearsal.signed(), 0.0);
    let step = round(rehearsal, policy)?.step(&Input { at_ms, event }).map_err(ProveError::Refused)?;
    Ok((step.next, at_ms))
}

/// Everything that is tried, and what the house's rules said.
pub(super) fn all(
    rehearsal: &Rehearsal,
    policy: &Policy,
    contributed: &Signed<Contribution>,
) -> Result<Vec<Refused>, ProveError> {
    let start = round(rehearsal, policy)?;
    let (heard, at_ms) = hear(rehearsal, policy)?;
    let say = |round: &Round, event| round.step(&Input { at_ms, event }).map(drop);
    let mut found = Vec::new();
    let mut note = |tried: &str, result: Result<(), Rejection>| {
        let (refused, answer) = match result {
            Ok(()) => (false, "ACCEPTED".to_owned()),
            Err(rejection) => (true, rejection.to_string()),
        };
        found.push(Refused { tried: tried.to_owned(), refused, answer });
    };
    for (tried, change) in announcements(rehearsal) {
        let mut weakened = Announcement::clone(&rehearsal.announcement);
        change(&mut weakened);
        note(tried, say(&start, announced(Signed::sign(&weakened, &rehearsal.aggregator), 0.0)));
    }
    let impostor = forger(rehearsal.aggregator.name());
    note(
        "announces under a key that is not the charter's",
        say(&start, announced(Signed::sign(rehearsal.announcement.as_ref(), &impostor), 0.0)),
    );
    note(
        "announces a round after which this house's ledger would be beyond its ceiling",
        say(&start, announced(rehearsal.signed(), policy.epsilon_ceiling * 1.01)),
    );
    let mut again = Announcement::clone(&rehearsal.announcement);
    again.announced_at_ms = again.announced_at_ms.saturating_add(1);
    note(
        "announces the same attempt twice, to add up two contributions under different keys",
        say(&heard, announced(Signed::sign(&again, &rehearsal.aggregator), 0.0)),
    );
    let at_submit = rehearsal.announcement.submit_time_ms();
    let event = Event::Contributed(contributed.clone());
    let sent = heard.step(&Input { at_ms: at_submit, event }).map_err(ProveError::Refused)?.next;
    let announcement = rehearsal.announcement.digest();
    let list = |contributions| CohortList { announcement, contributions };
    note("asks to open this house's contribution alone", say(&sent, Event::Cohort(list(vec![contributed.clone()]))));
    note("asks to open nobody's", say(&sent, Event::Cohort(list(Vec::new()))));
    let copies = vec![contributed.clone(); rehearsal.announcement.expected.len()];
    note("asks to open copies of it as if they were a cohort", say(&sent, Event::Cohort(list(copies))));
    Ok(found)
}

fn round(rehearsal: &Rehearsal, policy: &Policy) -> Result<Round, ProveError> {
    let (federation, name) = (Arc::clone(&rehearsal.federation), rehearsal.identity.name().clone());
    let me = Me::new(federation, name, policy.clone()).map_err(ProveError::Refused)?;
    Ok(Round::start(Arc::new(me), rehearsal.memory()))
}

fn announced(signed: Signed<Announcement>, epsilon_after: f64) -> Event {
    Event::Announced { signed, epsilon_after, record_proof: None }
}

fn announcements(rehearsal: &Rehearsal) -> Vec<Attempted> {
    let house = rehearsal.identity.name().clone();
    let other = move |text: &str| Digest::sha256(text.as_bytes());
    // A key of the aggregator's in a member's seat, in that member's name, signed with what keys the aggregator has.
    let stolen = rehearsal.announcement.committee.first().map(|seat| {
        let mut offer = seat.offer.unverified().ok();
        if let Some(offer) = &mut offer {
            offer.key = sealing::public(&SealingKey::generate(&mut UnwrapErr(SysRng)));
        }
        offer.map(|offer| Signed::sign(&offer, &forger(&offer.member)))
    });
    let mut attempts: Vec<Attempted> = vec![
        ("announces another charter, with weaker terms", Box::new(move |a| a.charter = other("weaker terms"))),
        ("announces another roster, with houses of its own invention", Box::new(move |a| a.roster = other("invented"))),
        ("expects this house alone", Box::new(move |a| a.expected = vec![house.clone()])),
        ("lets nearly every house vanish", Box::new(|a| a.may_vanish = a.expected.len().saturating_sub(1) as u32)),
        (
            "shows this house another model than the one agreed on",
            Box::new(move |a| a.adapter = other("a model for one house")),
        ),
        ("leaves a member out of the committee", Box::new(|a| drop(a.committee.pop()))),
        (
            "gives one member two seats",
            Box::new(|a| {
                if let (Some(first), Some(last)) = (a.committee.first().cloned(), a.committee.last_mut()) {
                    last.offer = first.offer;
                }
            }),
        ),
        ("hurries: closes before the charter's time", Box::new(|a| a.close_ms /= 2)),
        ("speaks an older protocol version", Box::new(|a| a.protocol_version = a.protocol_version.saturating_sub(1))),
        ("counts more attempts than the charter allows", Box::new(|a| a.attempt = last_attempt())),
        ("announces another round than the next one", Box::new(|a| a.round = a.round.next().unwrap_or(a.round))),
        ("shows this house another record", Box::new(move |a| a.record.root = other("another record"))),
    ];
    if let Some(Some(offer)) = stolen {
        attempts.push((
            "puts a key of its own into a member's seat",
            Box::new(move |a| {
                if let Some(seat) = a.committee.first_mut() {
                    seat.offer = offer.clone();
                }
            }),
        ));
    }
    attempts
}

/// Somebody who uses this name, with a key of its own.
fn forger(name: &HouseName) -> Signer {
    let mut secret = Zeroizing::new([0; 32]);
    UnwrapErr(SysRng).fill_bytes(secret.as_mut_slice());
    Signer::new(name.clone(), &secret)
}

fn last_attempt() -> Attempt {
    Attempt::new(u32::MAX).unwrap_or(Attempt::FIRST)
}
