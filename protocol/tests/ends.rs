//! How a round that nobody can open ends, and what it takes to hand the final state over.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use protocol::server::Event;
use protocol::*;

/// t answers over the cohort, with the announcement's and the cohort list's digest.
fn settling(world: &World) -> (server::Round, Digest, Digest) {
    let round = world.opening();
    let (announcement, cohort) = (world.announced().body_digest(), round.fixed().unwrap().digest());
    let round =
        (0..3).fold(round, |round, n| accept(&round, NOW_MS + 2, Event::Answer(world.answer(n, announcement, cohort))));
    assert_eq!(round.name(), "settling");
    (round, announcement, cohort)
}

#[test]
fn a_false_answer_and_a_silent_member_end_the_attempt_at_its_deadline_and_not_before() {
    let world = World::new(&FOUR);
    let (round, announcement, cohort) = settling(&world);
    assert_eq!(round.next_deadline_ms(), None, "a round that can be opened waits for houses");
    let short = accept(&round, NOW_MS + 3, Event::FalseAnswer(MemberIndex::new(2).unwrap()));
    let deadline = short.next_deadline_ms().unwrap();
    assert_eq!(accept(&short, deadline - 1, Event::Tick).name(), "settling");
    assert_eq!(accept(&short, deadline, Event::Tick).name(), "abandoned");

    let whole = accept(&short, NOW_MS + 4, Event::Answer(world.answer(3, announcement, cohort)));
    assert_eq!(whole.next_deadline_ms(), None);
    assert_eq!(accept(&whole, deadline, Event::Tick).name(), "settling", "a later true answer keeps it open");
}

#[test]
fn when_no_member_is_left_to_answer_the_attempt_ends_at_once() {
    let world = World::new(&FOUR);
    let (round, ..) = settling(&world);
    let round = accept(&round, NOW_MS + 3, Event::FalseAnswer(MemberIndex::new(1).unwrap()));
    let round = accept(&round, NOW_MS + 3, Event::FalseAnswer(MemberIndex::new(3).unwrap()));
    let server::Round::Abandoned(abandoned) = &round else { panic!("{round:?}") };
    assert_eq!(abandoned.reason(), Abandonment::TooFewAnswers { needed: 3, found: 1 });
}

#[test]
fn a_house_that_sees_too_many_false_answers_signs_that_the_round_is_void() {
    let world = World::new(&Shape { threshold: 4, ..FOUR });
    let digest = world.announced().body_digest();
    let list = CohortList {
        announcement: digest,
        contributions: (0..4).map(|n| world.contribution(n, digest, &[n as u8])).collect(),
    };
    let house = hear(&world.listening(0), client::Event::Contributed(world.contribution(0, digest, &[0])));
    let house = hear(&house, client::Event::Cohort(list.clone()));
    let house = hear(&house, world.checked(&world.claim(digest, list.digest()), &[0, 1, 2, 3]));
    let house =
        (0..4).fold(house, |house, n| hear(&house, client::Event::Answered(world.answer(n, digest, list.digest()))));
    let event = client::Event::FalseAnswer(MemberIndex::new(2).unwrap());
    let step = house.step(&client::Input { at_ms: NOW_MS + 1, event }).unwrap();
    let [client::Effect::Remember(_), client::Effect::SendOutcome(outcome)] = &step.effects[..] else {
        panic!("{:?}", step.effects);
    };
    assert_eq!(outcome.verdict, Verdict::Void { reason: VoidReason::FalseAnswers });
}

#[test]
fn the_final_state_is_handed_over_only_when_t_different_houses_signed_so() {
    let world = World::new(&Shape { trustees: 1, ..FOUR });
    let (charter, state) = (world.federation.charter().digest(), Digest::sha256(b"final"));
    let approval = |member: usize, charter, state| {
        let signer = &world.members[member];
        Signed::sign(&Approval { charter, member: signer.name().clone(), state }, signer)
    };
    let approved = |approvals: &[_]| check::hand_over_approved(&world.federation, state, approvals);
    let two = [approval(0, charter, state), approval(1, charter, state)];
    let and = |third: Signed<Approval>| [two[0].clone(), two[1].clone(), third];
    assert!(!approved(&two));
    assert!(approved(&and(approval(2, charter, state))));
    assert!(!approved(&and(approval(1, charter, state))), "the same house twice");
    assert!(!approved(&and(approval(4, charter, state))), "a trustee has no say");
    assert!(!approved(&and(approval(2, charter, Digest::sha256(b"another")))));
    assert!(!approved(&and(approval(2, Digest::sha256(b"another"), state))));
    assert!(!approved(&and(spoil(&approval(2, charter, state)))));
}
