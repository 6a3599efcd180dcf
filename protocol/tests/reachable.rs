//! Every state that an attempt of three or four houses can come to, by every order of the inputs below: each member's messages once, about what
//! stands and about another set or sum, a second contribution, one complaint, time, and the operator's stop. What must hold holds in each of them, and on each way from one to the next.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::{NOW_MS, Shape, World, index};
use protocol::server::{Effect, Event, Input, Round};
use protocol::*;

/// All of three must come, two open.
const THREE: Shape =
    Shape { houses: 3, trustees: 0, threshold: 2, min_cohort: 3, may_vanish: 0, policy: "aggregator", committee: None };
/// One of four may vanish; two of them hold key shares, and both open.
const FOUR: Shape = Shape {
    houses: 4,
    trustees: 0,
    threshold: 2,
    min_cohort: 3,
    may_vanish: 1,
    policy: "aggregator",
    committee: Some(&[0, 1]),
};

/// A state, how it was first reached, and where it leads.
struct Reached {
    round: Round,
    path: Vec<Input>,
    next: BTreeSet<String>,
}

/// Everything that can be offered to a round: messages of all members about what stands, about another set and another sum, each
/// time that matters, and the operator's stop.
fn offers(world: &World, round: &Round) -> Vec<Input> {
    let start = world.start();
    let announced = world.announced();
    let announcement = announced.body_digest();
    let mut events = vec![Event::Announced(announced), Event::Stop, Event::Tick];
    let (mut cohorts, houses) = (Vec::new(), 0..world.members.len());
    if let Some(fixed) = round.fixed() {
        cohorts.push(fixed.digest());
    }
    cohorts.push(Digest::sha256(b"another set"));
    for member in houses.clone() {
        events.push(Event::Ready(world.ready(member, &start)));
        events.push(Event::Contribution(world.contribution(member, announcement, &[member as u8])));
        // Another one of the same house: whichever comes first counts, so that only one house has a choice.
        if member == 0 {
            events.push(Event::Contribution(world.contribution(member, announcement, &[0, 1])));
        }
        if world.seat(member).is_some() {
            events.push(Event::FalseAnswer(index(member)));
        }
        for cohort in &cohorts {
            events.push(Event::Answer(world.answer(member, announcement, *cohort)));
            for state in [b"one", b"two"] {
                let verdict = Verdict::Applied { state: Digest::sha256(state), last: false };
                events.push(Event::Outcome(world.outcome(member, announcement, *cohort, verdict)));
            }
        }
        let claim = world.claim(announcement, cohorts[0]);
        for house in houses.clone() {
            events.push(Event::Checksum(world.checksum(member, house, &claim, &[house as u8])));
        }
    }
    // House 1 proves that house 0 sealed it a wrong share.
    events.push(Event::Complaint(world.complaint(1, 0, announcement, &[0])));
    let other = SumClaim { body_sum: Digest::sha256(b"another sum"), ..world.claim(announcement, cohorts[0]) };
    events.push(Event::Claimed(world.sign_claim(&world.claim(announcement, cohorts[0]))));
    events.push(Event::Claimed(world.sign_claim(&other)));

    // In time, just before the deadline, and when it has passed.
    let mut times = vec![NOW_MS + 1];
    times.extend(round.next_deadline_ms().iter().flat_map(|deadline_ms| [deadline_ms - 1, *deadline_ms]));
    times.iter().flat_map(|at_ms| events.iter().map(|event| Input { at_ms: *at_ms, event: event.clone() })).collect()
}

/// What must hold in a state.
fn holds(world: &World, round: &Round) {
    let rounds = &world.federation.charter().rounds;
    if let Some(fixed) = round.fixed() {
        let (houses, expected) = (fixed.houses(), &fixed.announced().announcement().expected);
        let distinct: BTreeSet<_> = houses.iter().collect();
        assert_eq!(distinct.len(), houses.len(), "1: a house is in the cohort twice");
        assert!(houses.iter().all(|house| expected.contains(house)), "2: a house that was not expected counts");
        assert!(houses.len() >= rounds.min_cohort as usize, "3: the cohort is below min_cohort");
        assert!(houses.len() + rounds.may_vanish as usize >= expected.len(), "3: more vanished than may");
        if let Some(claim) = round.claim() {
            assert_eq!(claim.unverified().unwrap().cohort, fixed.digest(), "4: the claim is of another set");
        }
    } else {
        assert!(round.claim().is_none(), "4: a sum is claimed before the cohort is fixed");
    }
    let answers: Vec<&Signed<Answer>> = match round {
        Round::Opening(state) => state.answers().collect(),
        Round::Settling(state) => state.answers().collect(),
        Round::Finished(state) => state.answers().collect(),
        _ => Vec::new(),
    };
    for answer in &answers {
        let (answer, checked) = (answer.unverified().unwrap(), round.checked().unwrap());
        let claimed = (round.fixed().unwrap().digest(), checked.body_sum());
        assert_eq!((answer.cohort, answer.body_sum), claimed, "5: an answer to another set or sum is kept");
    }
    let members: BTreeSet<_> = answers.iter().map(|answer| answer.signer()).collect();
    assert_eq!(members.len(), answers.len(), "5: a member answered twice");
    if let Round::Finished(state) = round {
        let agreeing: BTreeSet<_> = state
            .outcomes()
            .iter()
            .filter(|outcome| outcome.unverified().unwrap().verdict == state.verdict())
            .map(Signed::signer)
            .collect();
        assert!(agreeing.len() >= world.federation.threshold(), "6: finished by fewer than t houses");
    }
}

/// What must hold of a step.
fn keeps(before: &Round, after: &Round, effects: &[Effect], world: &World) {
    if let Some(fixed) = before.fixed() {
        assert_eq!(after.fixed().map(|after| after.digest()), Some(fixed.digest()), "2: the cohort changed");
    }
    if let (Some(claim), false) = (before.claim(), matches!(after, Round::Abandoned(_))) {
        assert_eq!(after.claim(), Some(claim), "4: the claim changed");
    }
    for effect in effects {
        match effect {
            Effect::FoldCohort(list) => {
                assert_eq!(list.digest(), after.fixed().unwrap().digest(), "4: another set is added")
            }
            Effect::Combine { answers } => {
                assert!(answers.len() >= world.federation.threshold(), "5: opened with fewer than t answers");
            }
            _ => {}
        }
    }
    assert!(!before.is_over() || after.is_over(), "7: an attempt that is over goes on");
}

#[test]
fn in_every_state_that_three_houses_can_reach_eight_invariants_hold() {
    visit(&THREE, &["wrong-cohort", "second-claim", "wrong-state", "second-outcome"]);
}

#[test]
fn in_every_state_that_four_houses_of_which_one_may_vanish_can_reach_eight_invariants_hold() {
    visit(&FOUR, &["wrong-cohort", "second-claim", "wrong-state", "second-outcome", "late"]);
}

/// Visits every state; each of `rules` must have refused something.
fn visit(shape: &Shape, rules: &[&str]) {
    let world = World::new(shape);
    let key = |round: &Round| format!("{round:?}");
    let start = Round::start(std::sync::Arc::clone(&world.federation), world.start());
    let first = key(&start);
    let mut reached =
        BTreeMap::from([(first.clone(), Reached { round: start, path: Vec::new(), next: BTreeSet::new() })]);
    let (mut queue, mut steps, mut refused) = (VecDeque::from([first]), 0_usize, BTreeMap::<&str, usize>::new());
    while let Some(name) = queue.pop_front() {
        let (round, path) = (reached[&name].round.clone(), reached[&name].path.clone());
        holds(&world, &round);
        // 8: what is stored gives the state back.
        let replayed = Round::replay(std::sync::Arc::clone(&world.federation), world.start(), &path).unwrap();
        assert_eq!(key(&replayed), name, "8: a crash changes the state");
        for input in offers(&world, &round) {
            steps += 1;
            let step = match round.step(&input) {
                Ok(step) => step,
                Err(rejection) => {
                    *refused.entry(rejection.code()).or_default() += 1;
                    continue;
                }
            };
            keeps(&round, &step.next, &step.effects, &world);
            let next = key(&step.next);
            assert!(step.store || next == name, "8: a change is not stored");
            if !step.store {
                continue;
            }
            // Said twice, it changes nothing more.
            if let Ok(again) = step.next.step(&input) {
                assert_eq!(key(&again.next), next, "8: a repeated input counts twice: {}", input.event.kind());
            }
            // An operator's stop ends everything: what must end does so without.
            if !matches!(input.event, Event::Stop) {
                reached.get_mut(&name).unwrap().next.insert(next.clone());
            }
            if !reached.contains_key(&next) {
                let path = path.iter().cloned().chain([input]).collect();
                reached.insert(next.clone(), Reached { round: step.next, path, next: BTreeSet::new() });
                queue.push_back(next);
            }
        }
    }
    // 7: from every state an end can be reached.
    let mut ending: BTreeSet<&String> =
        reached.iter().filter(|(_, one)| one.round.is_over()).map(|(name, _)| name).collect();
    loop {
        let more: Vec<&String> = reached
            .iter()
            .filter(|(name, one)| !ending.contains(name) && one.next.iter().any(|next| ending.contains(next)))
            .map(|(name, _)| name)
            .collect();
        if more.is_empty() {
            break;
        }
        ending.extend(more);
    }
    assert_eq!(ending.len(), reached.len(), "7: an attempt can get stuck");
    let mut states = BTreeMap::<&str, usize>::new();
    for one in reached.values() {
        *states.entry(one.round.name()).or_default() += 1;
    }
    println!("{} states {states:?}, {steps} inputs offered, refused {refused:?}", reached.len());
    assert_eq!(states.len(), 7, "every kind of state is reached: {states:?}");
    for rule in rules {
        assert!(refused.contains_key(rule), "{rule} is never refused: {refused:?}");
    }
}
