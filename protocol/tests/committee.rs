//! A committee that is a part of the houses: the others contribute and open, but neither answer nor sign outcomes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use protocol::server::{Effect, Event, Input};
use protocol::*;

/// Six houses; 1, 3 and 4 hold key shares, and the trustee.
const SOME: Shape = Shape {
    houses: 6,
    trustees: 1,
    threshold: 3,
    min_cohort: 5,
    may_vanish: 0,
    policy: "aggregator",
    committee: Some(&[3, 1, 4]),
};

#[test]
fn seats_go_to_the_named_houses_in_roster_order_then_to_trustees() {
    let world = World::new(&SOME);
    let roster = world.federation.roster();
    let seats: Vec<&str> = roster.committee().map(|member| member.name().as_str()).collect();
    assert_eq!(seats, ["house-1", "house-3", "house-4", "trustee-6"]);
    for (member, expected) in [(0, None), (1, Some(1)), (2, None), (3, Some(2)), (4, Some(3)), (5, None), (6, Some(4))]
    {
        let name = world.members[member].name();
        assert_eq!(roster.index_of(name).map(MemberIndex::get), expected);
        let position = roster.position_of(name).unwrap();
        assert_eq!((position.get() as usize, roster.at(position).unwrap().name()), (member + 1, name));
        assert!(roster.index_of(name).is_none_or(|index| roster.seated(index).unwrap().name() == name));
    }
    assert_eq!(world.federation.charter().colluding_members_tolerated(), 1);
    let read = Roster::from_bytes(&roster.to_bytes()).unwrap();
    assert_eq!(read, *roster);
    read.check(world.federation.charter()).unwrap();
}

#[test]
fn a_roster_with_another_committee_than_the_charters_is_refused() {
    let (some, all) = (World::new(&SOME), World::new(&Shape { committee: None, threshold: 4, ..SOME }));
    let members = some.federation.roster().members().to_vec();
    let refused = Roster::new(all.federation.charter(), members).unwrap_err();
    assert!(matches!(refused, RosterError::Role { .. }), "{refused}");
}

#[test]
fn a_house_outside_of_the_committee_goes_through_a_round_without_a_word_that_counts() {
    let world = World::new(&SOME);
    let (digest, outside) = (world.announced().body_digest(), 0);
    let offer = |member: &client::Round, event| member.step(&client::Input { at_ms: NOW_MS, event }).unwrap();

    // Every contribution has a share for each of the four seats, also one from outside.
    let round = world.opening();
    let list = (**round.fixed().unwrap().list()).clone();
    assert_eq!(list.contributions.len(), 6);
    let mine = world.contribution(outside, digest, &[0]);
    assert_eq!(mine.unverified().unwrap().sealed_shares.len(), 4);
    let house = hear(&world.listening(outside), client::Event::Contributed(mine));

    // It promises the list, looks at no shares, checks its own body, and answers nothing.
    let step = offer(&house, client::Event::Cohort(list.clone()));
    assert!(matches!(&step.effects[..], [client::Effect::Remember(_)]), "{:?}", step.effects);
    let claim = world.claim(digest, list.digest());
    let step = offer(&step.next, client::Event::Claimed(world.sign_claim(&claim)));
    assert!(matches!(&step.effects[..], [client::Effect::Remember(_), client::Effect::Check { .. }]));
    let step = offer(&step.next, world.checked(&claim, &[0, 1, 2, 3, 4, 5]));
    assert!(step.effects.is_empty() && step.next.name() == "answered", "{:?}", step.effects);

    // Answers and outcomes from outside are refused by the server.
    assert_eq!(refuse(&round, NOW_MS, Event::Answer(world.answer(outside, digest, list.digest()))), "wrong-index");
    let mut round = round;
    let mut house = step.next;
    for member in [1, 3, 6] {
        let answer = world.answer(member, digest, list.digest());
        round = accept(&round, NOW_MS, Event::Answer(answer.clone()));
        house = hear(&house, client::Event::Answered(answer));
    }
    let verdict = Verdict::Applied { state: Digest::of("state", b"next"), last: false };
    let step = offer(&house, client::Event::Combined(verdict));
    assert!(matches!(&step.effects[..], [client::Effect::Remember(_)]), "no outcome: {:?}", step.effects);
    let outcome = |member| world.outcome(member, digest, list.digest(), verdict);
    assert_eq!(refuse(&round, NOW_MS, Event::Outcome(outcome(outside))), "no-seat");
    let forged = client::Event::Settled { cohort: list.digest(), outcomes: vec![outcome(0), outcome(2), outcome(5)] };
    assert_eq!(shun(&step.next, forged), "no-seat");

    // What three houses of the committee sign counts for everybody.
    let outcomes = [1, 3, 4].map(outcome);
    let round = accept(&round, NOW_MS, Event::Outcome(outcomes[0].clone()));
    let round = accept(&round, NOW_MS, Event::Outcome(outcomes[1].clone()));
    let last = round.step(&Input { at_ms: NOW_MS, event: Event::Outcome(outcomes[2].clone()) }).unwrap();
    assert!(last.effects.iter().any(|effect| matches!(effect, Effect::NextRound(_))));
    let settled = client::Event::Settled { cohort: list.digest(), outcomes: outcomes.to_vec() };
    assert_eq!(hear(&step.next, settled).memory().adapter, Digest::of("state", b"next"));
}

/// Two of the three seated houses disagree, so nobody can reach three: the houses outside change nothing.
#[test]
fn a_split_among_the_houses_of_the_committee_ends_the_attempt() {
    let world = World::new(&SOME);
    let (digest, round) = (world.announced().body_digest(), world.opening());
    let cohort = round.fixed().unwrap().digest();
    let round = [1, 3, 6]
        .iter()
        .fold(round, |round, member| accept(&round, NOW_MS, Event::Answer(world.answer(*member, digest, cohort))));
    let applied = |name: &[u8]| Verdict::Applied { state: Digest::of("state", name), last: false };
    let round = accept(&round, NOW_MS, Event::Outcome(world.outcome(1, digest, cohort, applied(b"one"))));
    let round = accept(&round, NOW_MS, Event::Outcome(world.outcome(3, digest, cohort, applied(b"two"))));
    assert_eq!(round.name(), "abandoned");
}

#[test]
fn a_charter_may_name_thousands_of_houses_and_a_small_committee_but_no_stranger_and_nobody_twice() {
    let (head, _) = charter::SAMPLE.split_once("# The houses:").unwrap();
    let many = |named: &str| {
        let mut text = head.replace("threshold = 3\n", &format!("threshold = 3\nhouses = [{named}]\n"));
        (0..10_000).for_each(|n| {
            text += &format!("[[house]]\nname = \"house-{n}\"\nsampling_rate = 0.02\nnominal_batch = 64\n");
        });
        Charter::parse(&text)
    };
    let charter = many("\"house-9\", \"house-77\", \"house-1234\", \"house-9999\"").unwrap();
    assert_eq!((charter.committee_size(), charter.members().count()), (4, 10_000));
    for named in ["\"house-9\", \"house-77\", \"stranger\"", "\"house-9\", \"house-77\", \"house-9\""] {
        assert!(matches!(many(named), Err(CharterError::Rule { key: "committee.houses", .. })));
    }
    let all = (0..300).map(|n| format!("\"house-{n}\"")).collect::<Vec<_>>().join(",");
    assert!(matches!(many(&all), Err(CharterError::Rule { key: "committee.houses", .. })));
}
