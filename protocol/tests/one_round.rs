//! One round from start to record, as the aggregator, a house and a trustee live it; a comment a step.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use protocol::server::{Effect, Event, Input};
use protocol::*;

#[test]
fn a_round_goes_from_ready_to_the_record() {
    let world = World::new(&Shape { trustees: 1, threshold: 3, ..FOUR });

    // Houses say ready. With min_cohort + d = 4 of them the caller is told; it announces.
    let round = world.gathered(&[0, 1, 2]);
    let last = Input { at_ms: NOW_MS, event: Event::Ready(world.ready(3, &world.start())) };
    let step = round.step(&last).unwrap();
    assert_eq!(step.effects, [Effect::Gathered { expected: world.house_names() }]);
    let signed = world.announced();
    let digest = signed.body_digest();
    let round = accept(&step.next, NOW_MS, Event::Announced(signed.clone()));
    assert_eq!(round.name(), "collecting");

    // A house checks the announcement and trains; a trustee only listens.
    let house = world.member(0);
    let step = house.step(&client::Input { at_ms: NOW_MS, event: announced(&signed) }).unwrap();
    assert!(matches!(step.effects[..], [client::Effect::Remember(_), client::Effect::Train(_)]));
    let trustee = world.member(4);
    let heard = trustee.step(&client::Input { at_ms: NOW_MS, event: announced(&signed) }).unwrap();
    assert!(matches!(heard.effects[..], [client::Effect::Remember(_)]));

    // It contributes: remembered first, then submitted.
    let mine = world.contribution(0, digest, b"0");
    let house = hear(&step.next, client::Event::Contributed(mine.clone()));
    let round = accept(&round, NOW_MS + 1, Event::Contribution(mine));

    // House 3 vanishes. At the close three of four are there, as many as E - d, and the cohort is fixed.
    let round = (1..3).fold(round, |round, n| {
        accept(&round, NOW_MS + 2, Event::Contribution(world.contribution(n, digest, &[n as u8])))
    });
    let close = round.next_deadline_ms().unwrap();
    let step = round.step(&Input { at_ms: close, event: Event::Tick }).unwrap();
    let [Effect::FoldCohort(list), Effect::Publish(Notice::Cohort(published))] = &step.effects[..] else {
        panic!("{:?}", step.effects);
    };
    assert_eq!(**list, *published);
    let cohort = published.digest();
    assert_eq!(step.next.name(), "checking");

    // Members check the list, promise it, and check the shares that were sealed to them.
    let offer = |member: &client::Round, event| member.step(&client::Input { at_ms: close, event }).unwrap();
    let step_house = offer(&house, client::Event::Cohort(published.clone()));
    assert!(matches!(&step_house.effects[..], [client::Effect::Remember(_), client::Effect::CheckShares(_)]));
    let trustee = hear(&heard.next, client::Event::Cohort(published.clone()));

    // The aggregator folds the bodies and claims their sum; each house of the cohort says its body's checksum.
    let claim = world.claim(digest, cohort);
    let claimed = world.sign_claim(&claim);
    let round = accept(&step.next, close, Event::Claimed(claimed.clone()));
    let step = offer(&step_house.next, client::Event::Claimed(claimed.clone()));
    assert!(matches!(&step.effects[..], [client::Effect::Remember(_), client::Effect::Check { .. }]));
    let own = world.checksum(0, 0, &claim, &[0]);
    let step = offer(&step.next, client::Event::Checksummed(vec![own.clone()]));
    assert_eq!(step.effects, [client::Effect::SendChecksum(own.clone())]);
    let house = step.next;
    let step = offer(&trustee, client::Event::Claimed(claimed.clone()));
    assert!(matches!(&step.effects[..], [client::Effect::Remember(_)]), "a trustee has no body");
    let trustee = step.next;

    // House 2 does not say its checksum. At the check time the round goes on with what there is.
    let round = accept(&round, close + 1, Event::Checksum(own));
    let round = accept(&round, close + 1, Event::Checksum(world.checksum(1, 1, &claim, &[1])));
    let check = round.next_deadline_ms().unwrap();
    assert!(close < check && check < world.announced().unverified().unwrap().open_time_ms());
    let step = round.step(&Input { at_ms: check, event: Event::Tick }).unwrap();
    let [Effect::Publish(Notice::Checked { claim: claimed, checksums })] = &step.effects[..] else {
        panic!("{:?}", step.effects);
    };
    assert_eq!(checksums.len(), 2);
    let mut round = step.next;

    // Members promise the claimed sum and answer it. The trustee answers too.
    let checked = client::Event::Checked { claim: claimed.clone(), checksums: checksums.clone() };
    let step = offer(&house, checked.clone());
    assert!(matches!(&step.effects[..], [client::Effect::Answer { body_sum, .. }] if *body_sum == claim.body_sum));
    let (house, trustee) = (step.next, hear(&trustee, checked));
    let answers: Vec<Signed<Answer>> = [0, 1, 4].iter().map(|n| world.answer(*n, digest, cohort)).collect();
    for answer in &answers {
        round = accept(&round, check + 1, Event::Answer(answer.clone()));
    }
    assert_eq!(round.name(), "settling");

    // With t answers a house combines, opens, applies, and signs what came of it.
    let house = hear(&house, client::Event::Answered(answers[0].clone()));
    let house = hear(&house, client::Event::Answered(answers[1].clone()));
    let third = client::Event::Answered(answers[2].clone());
    let step = house.step(&client::Input { at_ms: close, event: third }).unwrap();
    assert!(matches!(&step.effects[..], [client::Effect::Combine { answers, .. }] if answers.len() == 3));
    let verdict = Verdict::Applied { state: Digest::of("state", b"next"), last: false };
    let house = hear(&step.next, client::Event::Combined(verdict));

    // Three houses sign the same: the round is finished, and its leaf goes onto the record.
    let outcomes: Vec<Signed<Outcome>> = (0..3).map(|n| world.outcome(n, digest, cohort, verdict)).collect();
    let round = accept(&round, check + 2, Event::Outcome(outcomes[0].clone()));
    let round = accept(&round, check + 2, Event::Outcome(outcomes[1].clone()));
    let step = round.step(&Input { at_ms: close + 2, event: Event::Outcome(outcomes[2].clone()) }).unwrap();
    let [Effect::Publish(Notice::Settled { .. }), Effect::AppendLog(leaf), Effect::NextRound(next)] = &step.effects[..]
    else {
        panic!("{:?}", step.effects);
    };
    assert_eq!((next.get(), leaf.houses.len(), leaf.conclusion), (2, 3, Conclusion::Settled(verdict)));

    // Every member goes on from the new state; house 3, away all along, catches up by the same proof.
    for member in [house, trustee] {
        let settled = client::Event::Settled { cohort, outcomes: outcomes.clone() };
        let member = hear(&member, settled);
        assert_eq!((member.name(), member.memory().next_round), ("settled", *next));
        assert_eq!(Verdict::Applied { state: member.memory().adapter, last: false }, verdict);
    }
    let away = hear(&world.member(3), client::Event::CaughtUp { signed, cohort, outcomes });
    assert_eq!((away.memory().next_round, away.memory().adapter), (*next, Digest::of("state", b"next")));
}
