//! Each rule of the protocol has a message that breaks only it, and its own rejection.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::*;
use protocol::client;
use protocol::server::{Effect, Event, Input, Round, Start};
use protocol::*;

const APPLIED: Verdict = Verdict::Applied { state: Digest::from_bytes([9; 32]), last: false };

fn cohort_of(round: &Round) -> CohortList {
    round.fixed().unwrap().list().as_ref().clone()
}

/// Every announcement that is wrong in one field, with its rule.
fn wrong_announcements(world: &World) -> Vec<(&'static str, Announcement)> {
    let good = || world.announcement(&world.start(), world.house_names(), 0, NOW_MS);
    let other = Digest::sha256(b"other");
    let changed = |change: fn(&mut Announcement)| {
        let mut announcement = good();
        change(&mut announcement);
        announcement
    };
    let mut twice = good();
    twice.expected[1] = twice.expected[0].clone();
    let mut seats = good();
    seats.committee.swap(0, 1);
    let mut forged = good();
    forged.committee[2].offer = spoil(&forged.committee[2].offer);
    vec![
        ("wrong-version", changed(|a| a.protocol_version = 2)),
        ("wrong-charter", Announcement { charter: other, ..good() }),
        ("wrong-roster", Announcement { roster: other, ..good() }),
        ("wrong-adapter", Announcement { adapter: other, ..good() }),
        ("wrong-round", changed(|a| a.round = RoundNumber::new(2).unwrap())),
        ("bad-announcement", changed(|a| a.open_ms += 1)),
        ("bad-announcement", changed(|a| a.may_vanish = 2)),
        ("bad-announcement", twice),
        ("bad-announcement", seats),
        ("bad-signature", forged),
        ("unknown-member", changed(|a| a.expected[0] = HouseName::new("nobody").unwrap())),
        ("small-expected-set", changed(|a| a.expected.truncate(3))),
    ]
}

#[test]
fn wrong_announcements_are_refused_by_members_and_by_the_server_itself() {
    let world = World::new(&FOUR);
    let (member, server) = (world.member(0), world.gathered(&[0, 1, 2, 3]));
    for (rule, announcement) in wrong_announcements(&world) {
        let signed = world.sign_announcement(&announcement);
        assert_eq!(shun(&member, announced(&signed)), rule);
        assert_eq!(refuse(&server, NOW_MS, Event::Announced(signed)), rule);
    }
    assert_eq!(shun(&member, announced(&spoil(&world.announced()))), "bad-signature");
    let impostor = Signed::sign(&world.announced().unverified().unwrap(), &world.members[0]);
    assert_eq!(shun(&member, announced(&impostor)), "bad-signature");
}

#[test]
fn a_member_refuses_what_its_policy_record_keys_or_memory_forbid() {
    let world = World::new(&FOUR);
    let signed = world.announced();
    let member = world.member(0);
    let dear = client::Event::Announced { signed: signed.clone(), epsilon_after: 3.1, record_proof: None };
    assert_eq!(shun(&member, dear), "against-policy");
    let unknown = client::Event::Announced { signed: signed.clone(), epsilon_after: f64::NAN, record_proof: None };
    assert_eq!(shun(&member, unknown), "against-policy");
    let start = world.start();
    let ahead = world.announcement(&start, world.house_names(), 0, NOW_MS + 5000);
    assert_eq!(shun(&member, announced(&world.sign_announcement(&ahead))), "against-policy");
    // Heard too late to train: accepted, so that the house can answer and sign what came of it, but not trained for.
    let old = world.sign_announcement(&world.announcement(&start, world.house_names(), 0, 0));
    let step = member.step(&client::Input { at_ms: NOW_MS, event: announced(&old) }).unwrap();
    assert!(matches!(step.effects[..], [client::Effect::Remember(_)]));

    // The same attempt announced differently: the aggregator shows two faces.
    let member = hear(&member, announced(&signed));
    let second = world.announcement(&start, world.house_names(), 1, NOW_MS);
    assert_eq!(shun(&member, announced(&world.sign_announcement(&second))), "second-announcement");
    // A later attempt with a one-time key of an earlier one, or with a record of another history.
    let mut later = second;
    later.attempt = Attempt::new(2).unwrap();
    assert_eq!(hear(&member, announced(&world.sign_announcement(&later))).name(), "announced");
    later.committee = world.announcement(&start, world.house_names(), 0, NOW_MS).committee;
    assert_eq!(shun(&member, announced(&world.sign_announcement(&later))), "one-time-key-reused");
    later.record.root = Digest::sha256(b"other");
    assert_eq!(shun(&member, announced(&world.sign_announcement(&later))), "record-went-back");
    // An earlier attempt after a later one.
    let member = hear(&world.member(1), {
        let mut fifth = world.announcement(&start, world.house_names(), 4, NOW_MS);
        fifth.attempt = Attempt::new(5).unwrap();
        announced(&world.sign_announcement(&fifth))
    });
    assert_eq!(shun(&member, announced(&signed)), "wrong-attempt");
}

#[test]
fn a_grown_record_needs_a_proof_of_its_own_history() {
    let world = World::new(&FOUR);
    let mut log = log::Log::new();
    log.append_bytes(b"one");
    let mut first = world.announcement(&world.start(), world.house_names(), 0, NOW_MS);
    first.record = log.head();
    let member = hear(&world.member(0), announced(&world.sign_announcement(&first)));

    let mut fork = log::Log::new();
    fork.append_bytes(b"another");
    for grown in [&mut log, &mut fork] {
        grown.append_bytes(b"two");
    }
    let offer = |grown: &log::Log, record_proof| {
        let mut next = world.announcement(&world.start(), world.house_names(), 1, NOW_MS);
        (next.attempt, next.record) = (Attempt::new(2).unwrap(), grown.head());
        client::Event::Announced { signed: world.sign_announcement(&next), epsilon_after: 0.1, record_proof }
    };
    assert_eq!(shun(&member, offer(&log, None)), "record-forked");
    assert_eq!(shun(&member, offer(&fork, fork.consistency(1, 2))), "record-forked");
    assert_eq!(hear(&member, offer(&log, log.consistency(1, 2))).name(), "announced");
}

#[test]
fn a_policy_refuses_charters_below_it() {
    let world = World::new(&FOUR);
    let name = world.members[0].name();
    let join = |policy| client::Me::new(Arc::clone(&world.federation), name.clone(), policy);
    assert!(join(policy()).is_ok());
    for below in [
        client::Policy { epsilon_ceiling: 2.9, ..policy() },
        client::Policy { min_cohort: 4, ..policy() },
        client::Policy { min_colluding_members: 2, ..policy() },
    ] {
        assert_eq!(join(below).unwrap_err().code(), "against-policy");
    }
    let stranger = client::Me::new(Arc::clone(&world.federation), HouseName::new("nobody").unwrap(), policy());
    assert_eq!(stranger.unwrap_err().code(), "unknown-member");
}

#[test]
fn ready_from_a_trustee_a_stranger_or_for_another_attempt_is_refused() {
    let world = World::new(&Shape { trustees: 1, ..FOUR });
    let round = world.gathered(&[0]);
    let start = world.start();
    assert_eq!(refuse(&round, NOW_MS, Event::Ready(world.ready(4, &start))), "not-a-house");
    let mut later = start.clone();
    later.attempt = Attempt::new(2).unwrap();
    assert_eq!(refuse(&round, NOW_MS, Event::Ready(world.ready(1, &later))), "wrong-attempt");
    let stranger = World::new(&Shape { houses: 6, threshold: 4, ..FOUR });
    assert_eq!(refuse(&round, NOW_MS, Event::Ready(stranger.ready(5, &start))), "unknown-member");
    let mine = world.ready(0, &start);
    let (bob, signature) = (world.members[1].name().clone(), *mine.signature());
    let stolen = Signed::from_parts(mine.body().to_vec(), bob, signature).unwrap();
    assert_eq!(refuse(&round, NOW_MS, Event::Ready(stolen)), "bad-signature");
    let ready = mine.unverified().unwrap();
    assert_eq!(refuse(&round, NOW_MS, Event::Ready(Signed::sign(&ready, &world.members[1]))), "wrong-speaker");
}

#[test]
fn a_repeated_submission_changes_nothing_and_a_different_second_one_is_refused() {
    let world = World::new(&FOUR);
    let digest = world.announced().body_digest();
    let first = world.contribution(0, digest, b"one");
    let round = accept(&world.collecting(), NOW_MS + 1, Event::Contribution(first.clone()));
    let again = round.step(&Input { at_ms: NOW_MS + 2, event: Event::Contribution(first.clone()) }).unwrap();
    assert!(!again.store && again.effects.is_empty());
    let second = Event::Contribution(world.contribution(0, digest, b"two"));
    assert_eq!(refuse(&round, NOW_MS + 2, second.clone()), "second-contribution");

    // The same two after the close.
    let opening = world.opening();
    assert_eq!(refuse(&opening, NOW_MS + 2, second), "second-contribution");
    let listed = world.contribution(0, digest, &[0]);
    assert!(!opening.step(&Input { at_ms: NOW_MS + 2, event: Event::Contribution(listed) }).unwrap().store);

    // The house itself does not make two either.
    let house = hear(&world.listening(0), client::Event::Contributed(first.clone()));
    assert!(house.step(&client::Input { at_ms: NOW_MS + 1, event: client::Event::Contributed(first) }).is_ok());
    let second = client::Event::Contributed(world.contribution(0, digest, b"two"));
    assert_eq!(shun(&house, second), "second-contribution");
}

#[test]
fn contributions_that_do_not_fit_the_round_are_refused() {
    let world = World::new(&FOUR);
    let round = world.collecting();
    let digest = world.announced().body_digest();
    let good = world.contribution(0, digest, b"x");
    let close = round.next_deadline_ms().unwrap();
    assert_eq!(refuse(&round, close, Event::Contribution(good.clone())), "late");
    assert_eq!(refuse(&round, NOW_MS, Event::Contribution(spoil(&good))), "bad-signature");
    let elsewhere = world.contribution(0, Digest::sha256(b"elsewhere"), b"x");
    assert_eq!(refuse(&round, NOW_MS, Event::Contribution(elsewhere)), "wrong-announcement");
    let mut short = good.unverified().unwrap();
    short.sealed_shares.pop();
    let short = Signed::sign(&short, &world.members[0]);
    assert_eq!(refuse(&round, NOW_MS, Event::Contribution(short)), "bad-contribution");
    assert_eq!(refuse(&round, NOW_MS, Event::Answer(world.answer(0, digest, digest))), "wrong-state");
}

#[test]
fn a_cohort_below_the_floor_is_abandoned_and_never_opened() {
    let world = World::new(&FOUR);
    let digest = world.announced().body_digest();
    let round = (0..2).fold(world.collecting(), |round, n| {
        accept(&round, NOW_MS + 1, Event::Contribution(world.contribution(n, digest, &[n as u8])))
    });
    let close = round.next_deadline_ms().unwrap();
    let step = round.step(&Input { at_ms: close, event: Event::Tick }).unwrap();
    assert_eq!(step.next.name(), "abandoned");
    assert!(!step.effects.iter().any(|effect| matches!(effect, Effect::FoldCohort(_) | Effect::Combine { .. })));
    assert!(step.effects.contains(&Effect::NextAttempt(Attempt::new(2).unwrap())));
    assert_eq!(refuse(&step.next, close, Event::Contribution(world.contribution(3, digest, &[3]))), "wrong-state");
}

#[test]
fn a_cohort_list_altered_in_any_way_is_refused_by_members() {
    let world = World::new(&FOUR);
    let list = cohort_of(&world.opening());
    let digest = world.announced().body_digest();
    let house = hear(&world.listening(0), client::Event::Contributed(world.contribution(0, digest, &[0])));
    let offer = |change: &dyn Fn(&mut CohortList)| {
        let mut changed = list.clone();
        change(&mut changed);
        client::Event::Cohort(changed)
    };
    let forged = offer(&|list| list.contributions[2] = spoil(&list.contributions[2]));
    assert_eq!(shun(&house, forged), "bad-signature");
    let twice = offer(&|list| list.contributions[2] = list.contributions[1].clone());
    assert_eq!(shun(&house, twice), "duplicate-in-cohort");
    assert_eq!(shun(&house, offer(&|list| list.contributions.swap(0, 1))), "duplicate-in-cohort");
    assert_eq!(shun(&house, offer(&|list| list.contributions.truncate(2))), "small-cohort");
    assert_eq!(shun(&house, offer(&|list| list.announcement = Digest::sha256(b"x"))), "wrong-announcement");
    // Signed with this house's key, but not what it remembers to have made; and listed though it made nothing.
    let other = offer(&|list| list.contributions[0] = world.contribution(0, digest, b"other"));
    assert_eq!(shun(&house, other), "not-my-contribution");
    assert_eq!(shun(&world.listening(0), client::Event::Cohort(list.clone())), "not-my-contribution");
    assert_eq!(hear(&house, client::Event::Cohort(list)).name(), "listed");
}

#[test]
fn a_second_set_is_never_answered_not_even_after_a_restart() {
    let world = World::new(&FOUR);
    let list = cohort_of(&world.opening());
    let mut smaller = list.clone();
    smaller.contributions.remove(3);
    let digest = world.announced().body_digest();
    let house = hear(&world.listening(0), client::Event::Contributed(world.contribution(0, digest, &[0])));
    let house = hear(&house, client::Event::Cohort(list.clone()));
    assert_eq!(shun(&house, client::Event::Cohort(smaller.clone())), "second-opening");

    // Restarted from the bytes that it stored before it answered.
    let memory = client::Memory::from_bytes(&house.memory().to_bytes()).unwrap();
    let me = client::Me::new(Arc::clone(&world.federation), world.members[0].name().clone(), policy()).unwrap();
    let house = hear(&client::Round::start(Arc::new(me), memory), announced(&world.announced()));
    assert_eq!(house.name(), "contributed");
    assert_eq!(shun(&house, client::Event::Cohort(smaller)), "second-opening");
    let again = client::Input { at_ms: NOW_MS + 2, event: client::Event::Cohort(list) };
    assert!(matches!(
        house.step(&again).unwrap().effects[..],
        [client::Effect::Remember(_), client::Effect::CheckShares(_)]
    ));
}

#[test]
fn answers_that_are_not_the_members_own_or_not_to_this_set_are_refused() {
    let world = World::new(&FOUR);
    let round = world.opening();
    let digest = world.announced().body_digest();
    let cohort = round.fixed().unwrap().digest();
    let good = world.answer(0, digest, cohort);
    assert_eq!(refuse(&round, NOW_MS, Event::Answer(spoil(&good))), "bad-signature");
    assert_eq!(refuse(&round, NOW_MS, Event::Answer(world.answer(0, digest, digest))), "wrong-cohort");
    let changed = |change: fn(&mut Answer)| {
        let mut answer = good.unverified().unwrap();
        change(&mut answer);
        Event::Answer(Signed::sign(&answer, &world.members[0]))
    };
    assert_eq!(refuse(&round, NOW_MS, changed(|a| a.index = MemberIndex::new(2).unwrap())), "wrong-index");
    assert_eq!(refuse(&round, NOW_MS, changed(|a| a.payload = AnswerPayload::Sealed(vec![]))), "wrong-release");
    let round = accept(&round, NOW_MS, Event::Answer(good.clone()));
    let second = changed(|a| a.payload = AnswerPayload::Open(vec![1]));
    assert_eq!(refuse(&round, NOW_MS, second), "second-answer");
    let open = round.next_deadline_ms().unwrap();
    assert_eq!(refuse(&round, open, Event::Answer(world.answer(1, digest, cohort))), "late");
    let step = round.step(&Input { at_ms: open, event: Event::Tick }).unwrap();
    let expected = Abandonment::TooFewAnswers { needed: 3, found: 1 };
    assert!(matches!(step.next, Round::Abandoned(ref state) if state.reason() == expected));
}

#[test]
fn under_policy_clients_open_or_incomplete_answers_are_refused_and_the_server_combines_nothing() {
    let world = World::new(&Shape { policy: "clients", ..FOUR });
    let round = world.opening();
    let digest = world.announced().body_digest();
    let cohort = round.fixed().unwrap().digest();
    let good = world.answer(0, digest, cohort);
    let mut answer = good.unverified().unwrap();
    let AnswerPayload::Sealed(sealed) = &mut answer.payload else { panic!("sealed") };
    sealed.pop();
    let incomplete = Event::Answer(Signed::sign(&answer, &world.members[0]));
    assert_eq!(refuse(&round, NOW_MS, incomplete), "wrong-release");
    answer.payload = AnswerPayload::Open(vec![1]);
    let open = Event::Answer(Signed::sign(&answer, &world.members[0]));
    assert_eq!(refuse(&round, NOW_MS, open), "wrong-release");
    let mut last = accept(&round, NOW_MS, Event::Answer(good));
    for member in 1..3 {
        let event = Event::Answer(world.answer(member, digest, cohort));
        let step = last.step(&Input { at_ms: NOW_MS, event }).unwrap();
        assert!(!step.effects.iter().any(|effect| matches!(effect, Effect::Combine { .. })));
        last = step.next;
    }
    assert_eq!(last.name(), "settling");
}

#[test]
fn a_false_answer_is_replaced_by_a_later_true_one() {
    let world = World::new(&FOUR);
    let digest = world.announced().body_digest();
    let mut round = world.opening();
    let cohort = round.fixed().unwrap().digest();
    for member in 0..3 {
        round = accept(&round, NOW_MS, Event::Answer(world.answer(member, digest, cohort)));
    }
    let two = MemberIndex::new(2).unwrap();
    assert_eq!(refuse(&round, NOW_MS, Event::FalseAnswer(MemberIndex::new(4).unwrap())), "no-such-answer");
    let round = accept(&round, NOW_MS, Event::FalseAnswer(two));
    let fourth = Input { at_ms: NOW_MS, event: Event::Answer(world.answer(3, digest, cohort)) };
    let step = round.step(&fourth).unwrap();
    let combined = step.effects.iter().find_map(|effect| match effect {
        Effect::Combine { answers } => Some(answers.iter().map(|a| a.unverified().unwrap().index.get()).collect()),
        _ => None,
    });
    assert_eq!(combined, Some(vec![1, 3, 4]));
}

#[test]
fn outcomes_that_contradict_are_refused_and_a_split_is_abandoned() {
    let world = World::new(&FOUR);
    let digest = world.announced().body_digest();
    let mut round = world.opening();
    let cohort = round.fixed().unwrap().digest();
    assert_eq!(refuse(&round, NOW_MS, Event::Outcome(world.outcome(0, digest, cohort, APPLIED))), "wrong-state");
    for member in 0..3 {
        round = accept(&round, NOW_MS, Event::Answer(world.answer(member, digest, cohort)));
    }
    let void = Verdict::Void { reason: VoidReason::Residual };
    let outcome = |member, verdict| Event::Outcome(world.outcome(member, digest, cohort, verdict));
    let round = accept(&round, NOW_MS, outcome(0, APPLIED));
    assert_eq!(refuse(&round, NOW_MS, outcome(0, void)), "second-outcome");
    let split = accept(&accept(&round, NOW_MS, outcome(1, void)), NOW_MS, outcome(2, APPLIED));
    assert_eq!(accept(&split, NOW_MS, outcome(3, void)).name(), "abandoned");
    let finished = accept(&split, NOW_MS, outcome(3, APPLIED));
    assert_eq!(finished.name(), "finished");
    assert_eq!(refuse(&finished, NOW_MS, outcome(1, void)), "outcome-disagrees");

    // A member takes no fewer than t different houses for a proof.
    let signed = world.announced();
    let one = world.outcome(0, digest, cohort, APPLIED);
    let catch_up = |outcomes| client::Event::CaughtUp { signed: signed.clone(), cohort, outcomes };
    let two = vec![one.clone(), world.outcome(1, digest, cohort, APPLIED)];
    assert_eq!(shun(&world.member(3), catch_up(two)), "too-few-outcomes");
    assert_eq!(shun(&world.member(3), catch_up(vec![one.clone(), one.clone(), one])), "second-outcome");
}

/// t houses signed it, so neither the aggregator nor anybody else decides it: after the server's last step there is no next round, and members
/// hear of none, whether they were there, were away, or start again from what they remember.
#[test]
fn a_run_that_ends_early_ends_for_the_server_and_for_every_member() {
    let world = World::new(&FOUR);
    let digest = world.announced().body_digest();
    let mut round = world.opening();
    let cohort = round.fixed().unwrap().digest();
    for member in 0..3 {
        round = accept(&round, NOW_MS, Event::Answer(world.answer(member, digest, cohort)));
    }
    let state = Digest::from_bytes([9; 32]);
    let last = Verdict::Applied { state, last: true };
    let outcome = |member, verdict| world.outcome(member, digest, cohort, verdict);
    // The same state without the end is another verdict.
    let step = round.step(&Input { at_ms: NOW_MS, event: Event::Outcome(outcome(3, APPLIED)) }).unwrap();
    let round = (0..2).fold(step.next, |round, n| accept(&round, NOW_MS, Event::Outcome(outcome(n, last))));
    assert_eq!(round.name(), "settling");
    let step = round.step(&Input { at_ms: NOW_MS, event: Event::Outcome(outcome(2, last)) }).unwrap();
    let [Effect::Publish(_), Effect::AppendLog(leaf), Effect::FederationDone] = &step.effects[..] else {
        panic!("{:?}", step.effects);
    };
    assert_eq!((leaf.conclusion, leaf.signers.len()), (Conclusion::Settled(last), 3));

    let two = RoundNumber::new(2).unwrap();
    let start = Start { round: two, adapter: state, ..world.start() };
    let next = announced(&world.sign_announcement(&world.announcement(&start, world.house_names(), 1, NOW_MS)));
    let ready = client::Event::BecomeReady { round: two, attempt: Attempt::FIRST };
    let after = |verdict| {
        let outcomes = (0..3).map(|n| outcome(n, verdict)).collect();
        let missed = client::Event::CaughtUp { signed: world.announced(), cohort, outcomes };
        hear(&world.member(3), missed)
    };
    let over = after(last);
    assert!(over.memory().over);
    let stored = client::Memory::from_bytes(&over.memory().to_bytes()).unwrap();
    let me = client::Me::new(world.federation.clone(), world.members[3].name().clone(), policy()).unwrap();
    let again = client::Round::start(Arc::new(me), stored);
    for member in [&over, &again] {
        assert_eq!(shun(member, next.clone()), "run-over");
        assert_eq!(shun(member, ready.clone()), "run-over");
    }
    let goes_on = after(APPLIED);
    assert_eq!(hear(&goes_on, next).name(), "announced");
    assert_eq!(hear(&goes_on, ready).name(), "ready");
}

#[test]
fn every_code_in_this_file_is_a_rule_of_its_own() {
    // Two rules with one code would make the tests above blind.
    let source = include_str!("../src/rejection.rs");
    let codes: Vec<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \""))
        .map(|(_, code)| code)
        .collect();
    let distinct: std::collections::BTreeSet<&&str> = codes.iter().collect();
    assert_eq!(codes.len(), distinct.len());
    assert!(codes.len() > 35);
}
