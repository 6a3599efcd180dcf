//! The claimed sum, its checksums and complaints: each rule has a message that breaks only it, on both sides.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::*;
use protocol::server::{Effect, Event, Input, Round};
use protocol::*;

/// What is said of a round of four houses: its announcement, its list, and the claim that honest members answer.
struct Told {
    world: World,
    round: Round,
    list: CohortList,
    claim: SumClaim,
}

impl Told {
    fn new() -> Self {
        Self::of(&FOUR)
    }

    fn of(shape: &Shape) -> Self {
        let world = World::new(shape);
        let round = world.checking();
        let fixed = round.fixed().unwrap();
        let (list, claim) = (fixed.list().as_ref().clone(), world.claim(fixed.announced().digest(), fixed.digest()));
        Self { world, round, list, claim }
    }

    /// A cohort of houses 0 to 2.
    fn without_the_last() -> Self {
        let Self { world, .. } = Self::new();
        let digest = world.announced().body_digest();
        let round = (0..3).fold(world.collecting(), |round, n| {
            accept(&round, NOW_MS + 1, Event::Contribution(world.contribution(n, digest, &[n as u8])))
        });
        let round = accept(&round, round.next_deadline_ms().unwrap(), Event::Tick);
        let fixed = round.fixed().unwrap();
        let (list, claim) = (fixed.list().as_ref().clone(), world.claim(digest, fixed.digest()));
        Self { world, round, list, claim }
    }

    fn claimed(&self) -> Round {
        accept(&self.round, NOW_MS + 2, Event::Claimed(self.world.sign_claim(&self.claim)))
    }

    fn other_claim(&self) -> SumClaim {
        SumClaim { body_sum: Digest::sha256(b"another sum"), ..self.claim }
    }

    /// A claim that draws somebody to check another's body, with both.
    fn drawing(&self) -> (SumClaim, usize, usize) {
        let houses: Vec<HouseName> = self.list.houses().cloned().collect();
        let number = |name: &HouseName| houses.iter().position(|house| house == name).unwrap();
        (0u32..)
            .find_map(|n| {
                let claim = SumClaim { body_sum: Digest::sha256(&n.to_be_bytes()), ..self.claim };
                let (checker, house) = *claim.spot_checks(&houses).first()?;
                Some((claim, number(checker), number(house)))
            })
            .unwrap()
    }

    /// A house that contributed and was told the list.
    fn listed(&self, member: usize) -> client::Round {
        let mine = self.list.contributions[member].clone();
        let house = hear(&self.world.listening(member), client::Event::Contributed(mine));
        hear(&house, client::Event::Cohort(self.list.clone()))
    }

    fn tell_claim(&self, claim: &SumClaim) -> client::Event {
        client::Event::Claimed(self.world.sign_claim(claim))
    }

    /// The house after a restart from what it stored, told the announcement and the list again.
    fn restarted(&self, member: usize, house: &client::Round) -> client::Round {
        let memory = client::Memory::from_bytes(&house.memory().to_bytes()).unwrap();
        let name = self.world.members[member].name().clone();
        let me = client::Me::new(Arc::clone(&self.world.federation), name, policy()).unwrap();
        let house = hear(&client::Round::start(Arc::new(me), memory), announced(&self.world.announced()));
        hear(&house, client::Event::Cohort(self.list.clone()))
    }
}

fn effects(round: &client::Round, event: client::Event) -> Vec<client::Effect> {
    round.step(&client::Input { at_ms: NOW_MS + 3, event }).unwrap().effects
}

#[test]
fn a_claim_is_the_aggregators_own_of_this_cohort_and_made_once() {
    let told = Told::new();
    let world = &told.world;
    let offer = |round: &Round, claim: &SumClaim| refuse(round, NOW_MS, Event::Claimed(world.sign_claim(claim)));
    let elsewhere = Digest::sha256(b"elsewhere");
    assert_eq!(offer(&told.round, &SumClaim { announcement: elsewhere, ..told.claim }), "wrong-announcement");
    assert_eq!(offer(&told.round, &SumClaim { cohort: elsewhere, ..told.claim }), "wrong-cohort");
    let signed = world.sign_claim(&told.claim);
    assert_eq!(refuse(&told.round, NOW_MS, Event::Claimed(spoil(&signed))), "bad-signature");
    let impostor = Signed::sign(&told.claim, &world.members[0]);
    assert_eq!(refuse(&told.round, NOW_MS, Event::Claimed(impostor)), "bad-signature");
    assert_eq!(refuse(&world.collecting(), NOW_MS, Event::Claimed(signed.clone())), "wrong-state");

    for round in [told.claimed(), world.opening()] {
        assert_eq!(offer(&round, &told.other_claim()), "second-claim");
        let again = round.step(&Input { at_ms: NOW_MS + 3, event: Event::Claimed(signed.clone()) }).unwrap();
        assert!(!again.store && again.effects.is_empty());
        assert_eq!(round.claim(), Some(&signed));
    }
}

#[test]
fn a_checksum_is_a_houses_own_or_drawn_under_this_claim_and_said_once() {
    let told = Told::without_the_last();
    let world = &told.world;
    let other = told.other_claim();
    let say = |who, house, claim: &SumClaim| Event::Checksum(world.checksum(who, house, claim, b"value"));
    assert_eq!(refuse(&told.round, NOW_MS, say(0, 0, &told.claim)), "wrong-state");
    let (claim, checker, house) = told.drawing();
    let round = accept(&told.round, NOW_MS, Event::Claimed(world.sign_claim(&claim)));
    assert_eq!(refuse(&round, NOW_MS, say(0, 0, &other)), "wrong-sum");
    assert_eq!(refuse(&round, NOW_MS, say(3, 3, &claim)), "not-in-cohort");
    let third = (0..3).find(|n| *n != checker && *n != house).unwrap();
    assert_eq!(refuse(&round, NOW_MS, say(checker, third, &claim)), "not-drawn");
    assert_eq!(refuse(&round, NOW_MS, say(3, house, &claim)), "not-drawn", "a house outside the cohort checks nobody");
    let forged = spoil(&world.checksum(0, 0, &claim, b"value"));
    assert_eq!(refuse(&round, NOW_MS, Event::Checksum(forged)), "bad-signature");
    let stolen = world.checksum(0, 0, &claim, b"value").unverified().unwrap();
    let stolen = Signed::sign(&stolen, &world.members[1]);
    assert_eq!(refuse(&round, NOW_MS, Event::Checksum(stolen)), "wrong-speaker");

    let round = accept(&round, NOW_MS, say(checker, house, &claim));
    let again = round.step(&Input { at_ms: NOW_MS, event: say(checker, house, &claim) }).unwrap();
    assert!(!again.store);
    let second = Event::Checksum(world.checksum(checker, house, &claim, b"another"));
    assert_eq!(refuse(&round, NOW_MS, second), "second-checksum");
}

#[test]
fn the_round_opens_when_all_have_spoken_or_at_the_check_time_with_a_claim() {
    let told = Told::new();
    let world = &told.world;
    let announcement = world.announced().unverified().unwrap();
    let (check, open) = (announcement.check_time_ms(), announcement.open_time_ms());
    assert_eq!(check - announcement.close_time_ms(), (announcement.open_ms - announcement.close_ms) / 2);

    // Each of its own body, and the drawn one of another's.
    let (claim, checker, house) = told.drawing();
    let mut round = accept(&told.round, NOW_MS, Event::Claimed(world.sign_claim(&claim)));
    for n in 0..4 {
        round = accept(&round, NOW_MS, Event::Checksum(world.checksum(n, n, &claim, &[n as u8])));
    }
    assert_eq!(round.name(), "checking");
    let last = Event::Checksum(world.checksum(checker, house, &claim, &[9]));
    let step = round.step(&Input { at_ms: NOW_MS, event: last }).unwrap();
    assert_eq!(step.next.name(), "opening");
    let [Effect::Publish(Notice::Checked { checksums, .. })] = &step.effects[..] else { panic!("{:?}", step.effects) };
    assert_eq!(checksums.len(), 5);
    let names = world.house_names();
    let checked = step.next.checked().unwrap();
    assert_eq!(checked.value_of(&names[house]), None, "the checker says otherwise");
    assert_eq!(checked.value_of(&names[checker]), Some(&[checker as u8][..]));

    // Silent houses are waited for until the check time, and missing in what is published.
    let round = told.claimed();
    assert_eq!(round.next_deadline_ms(), Some(check));
    assert_eq!(accept(&round, check - 1, Event::Tick).name(), "checking");
    let opening = accept(&round, check, Event::Tick);
    assert_eq!((opening.name(), opening.next_deadline_ms()), ("opening", Some(open)));
    assert_eq!(opening.checked().unwrap().value_of(&names[0]), None);
    let late = Event::Checksum(world.checksum(0, 0, &told.claim, &[0]));
    assert_eq!(refuse(&opening, check, late), "wrong-state");

    // No claim: it waits for one until the time to open. One after the check time is opened at once.
    assert_eq!(told.round.next_deadline_ms(), Some(open));
    assert_eq!(accept(&told.round, open - 1, Event::Tick).name(), "checking");
    assert_eq!(accept(&told.round, open, Event::Tick).name(), "abandoned");
    let claimed = Input { at_ms: check, event: Event::Claimed(world.sign_claim(&told.claim)) };
    let step = told.round.step(&claimed).unwrap();
    assert_eq!(step.next.name(), "opening");
    let kinds: Vec<&str> = step
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Publish(notice) => notice.kind(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["claimed", "checked"]);
}

#[test]
fn an_answer_comes_after_the_checking_and_to_the_claimed_sum_only() {
    let told = Told::new();
    let world = &told.world;
    let answer = Event::Answer(world.answer_to(0, &told.claim));
    assert_eq!(refuse(&told.round, NOW_MS, answer.clone()), "wrong-state");
    assert_eq!(refuse(&told.claimed(), NOW_MS, answer.clone()), "wrong-state");
    let opening = world.opening();
    assert_eq!(refuse(&opening, NOW_MS, Event::Answer(world.answer_to(0, &told.other_claim()))), "wrong-sum");
    assert!(opening.step(&Input { at_ms: NOW_MS, event: answer }).unwrap().store);

    // A member that was told a claim, and not yet that the checking is over, makes no answer.
    let house = hear(&told.listed(0), told.tell_claim(&told.claim));
    assert_eq!(shun(&house, client::Event::Answered(world.answer_to(0, &told.claim))), "wrong-state");
    let checked = world.checked(&told.claim, &[0, 1, 2, 3]);
    assert!(matches!(&effects(&house, checked)[..], [client::Effect::Answer { .. }]));
}

#[test]
fn after_a_crash_at_any_point_the_same_claim_is_published_and_none_is_signed_again() {
    let told = Told::new();
    let world = &told.world;
    let digest = world.announced().body_digest();
    let event = |event| Input { at_ms: NOW_MS + 1, event };
    let mut rows: Vec<Input> = (0..4).map(|n| event(Event::Ready(world.ready(n, &world.start())))).collect();
    rows.push(event(Event::Announced(world.announced())));
    rows.extend((0..4).map(|n| event(Event::Contribution(world.contribution(n, digest, &[n as u8])))));
    let closed = rows.len();
    rows.push(event(Event::Claimed(world.sign_claim(&told.claim))));
    rows.extend((0..4).map(|n| event(Event::Checksum(world.checksum(n, n, &told.claim, &[n as u8])))));
    rows.extend((0..3).map(|n| event(Event::Answer(world.answer_to(n, &told.claim)))));
    for count in closed..=rows.len() {
        let stored: Vec<Input> = rows[..count].iter().map(|row| Input::from_bytes(&row.to_bytes()).unwrap()).collect();
        let round = Round::replay(Arc::clone(&world.federation), world.start(), &stored).unwrap();
        let pending = round.pending();
        assert!(pending.iter().any(|effect| matches!(effect, Effect::FoldCohort(_))), "{count} rows");
        let claims: Vec<&Signed<SumClaim>> = pending
            .iter()
            .filter_map(|effect| match effect {
                Effect::Publish(Notice::Claimed(signed)) => Some(signed),
                _ => None,
            })
            .collect();
        assert_eq!(claims, round.claim().into_iter().collect::<Vec<_>>(), "{count} rows");
        assert_eq!(round.claim().is_some(), count > closed, "{count} rows");
        assert_eq!(round.checked().is_some(), count > closed + 4, "{count} rows");
    }
}

#[test]
fn a_member_follows_one_claim_of_a_cohort_also_after_a_restart() {
    let told = Told::new();
    let house = hear(&told.listed(0), told.tell_claim(&told.claim));
    let all = [0, 1, 2, 3];
    let restarted = told.restarted(0, &house);
    assert_eq!(restarted.name(), "listed");
    let answered = hear(&house, told.world.checked(&told.claim, &all));
    for house in [&house, &restarted, &answered] {
        assert_eq!(shun(house, told.tell_claim(&told.other_claim())), "second-claim");
        assert_eq!(shun(house, told.world.checked(&told.other_claim(), &all)), "second-claim");
    }
    // Told only that the checking is over, it promises that claim.
    let late = hear(&told.listed(1), told.world.checked(&told.claim, &[0]));
    assert_eq!(late.memory().seen.as_ref().unwrap().body_sum, Some(told.claim.body_sum));
    assert_eq!(shun(&told.restarted(1, &late), told.tell_claim(&told.other_claim())), "second-claim");
    // Restarted after the promise and before the answer, it answers when it hears again that the checking is over.
    let again = effects(&told.restarted(0, &answered), told.world.checked(&told.claim, &all));
    assert!(matches!(&again[..], [client::Effect::Answer { .. }]));
}

#[test]
fn what_a_member_is_told_of_the_checking_must_be_signed_bound_and_said_once() {
    let told = Told::without_the_last();
    let world = &told.world;
    let house = told.listed(0);
    let own = world.checksum(1, 1, &told.claim, b"value");
    let tell = |checksums| client::Event::Checked { claim: world.sign_claim(&told.claim), checksums };
    assert_eq!(shun(&house, tell(vec![spoil(&own)])), "bad-signature");
    assert_eq!(shun(&house, tell(vec![own.clone(), own.clone()])), "second-checksum");
    assert_eq!(shun(&house, tell(vec![world.checksum(1, 1, &told.other_claim(), b"value")])), "wrong-sum");
    assert_eq!(shun(&house, tell(vec![world.checksum(3, 3, &told.claim, b"value")])), "not-in-cohort");
    assert_eq!(shun(&house, tell(vec![world.checksum(3, 1, &told.claim, b"value")])), "not-drawn");
    let forged = spoil(&world.sign_claim(&told.claim));
    assert_eq!(shun(&house, client::Event::Claimed(forged)), "bad-signature");
    assert_eq!(hear(&house, tell(vec![own])).name(), "answered");
}

#[test]
fn a_house_says_checksums_in_its_own_name_under_the_claim_it_promised_and_repeats_them() {
    let told = Told::new();
    let world = &told.world;
    let (claim, checker, house) = told.drawing();
    let listed = told.listed(checker);
    let own = world.checksum(checker, checker, &claim, b"own");
    assert_eq!(shun(&listed, client::Event::Checksummed(vec![own.clone()])), "wrong-state", "nothing is claimed");
    let step = listed.step(&client::Input { at_ms: NOW_MS, event: told.tell_claim(&claim) }).unwrap();
    let [client::Effect::Remember(memory), client::Effect::Check { bodies, .. }] = &step.effects[..] else {
        panic!("{:?}", step.effects);
    };
    assert_eq!(memory.seen.as_ref().unwrap().body_sum, Some(claim.body_sum), "promised before it is said");
    assert_eq!(bodies, &[world.members[house].name().clone()], "the body that the challenge draws");
    let say = |said: Signed<BodyChecksum>| client::Event::Checksummed(vec![said]);
    assert_eq!(shun(&step.next, say(world.checksum(house, house, &claim, b"x"))), "wrong-speaker");
    assert_eq!(shun(&step.next, say(world.checksum(checker, checker, &told.other_claim(), b"x"))), "wrong-sum");
    let drawn = world.checksum(checker, house, &claim, b"drawn");
    let both = client::Event::Checksummed(vec![own.clone(), drawn.clone()]);
    let said = [client::Effect::SendChecksum(own), client::Effect::SendChecksum(drawn)];
    assert_eq!(effects(&step.next, both.clone()), said);
    assert_eq!(effects(&hear(&step.next, both), told.tell_claim(&claim)), said, "told again, it says the same again");
}

#[test]
fn members_without_a_body_in_the_sum_follow_the_claim_and_say_nothing() {
    let told = Told::without_the_last();
    let away = hear(&told.world.listening(3), client::Event::Cohort(told.list.clone()));
    assert!(matches!(&effects(&away, told.tell_claim(&told.claim))[..], [client::Effect::Remember(_)]));
}

#[test]
fn a_proven_wrong_share_ends_the_attempt_before_it_is_opened_and_names_the_dealer() {
    let told = Told::without_the_last();
    let world = &told.world;
    let digest = told.list.announcement;
    let good = world.complaint(3, 1, digest, &[1]);
    let opening = world.check(told.round.clone(), NOW_MS + 2);
    for round in [&told.round, &told.claimed(), &opening] {
        let step = round.step(&Input { at_ms: NOW_MS + 3, event: Event::Complaint(good.clone()) }).unwrap();
        let Round::Abandoned(abandoned) = &step.next else { panic!("{:?}", step.next) };
        let reason = Abandonment::WrongEnvelope { dealer: RosterPosition::new(2).unwrap() };
        assert_eq!((abandoned.reason(), abandoned.complaint()), (reason, Some(&good)));
        assert_eq!(step.effects[0], Effect::Publish(Notice::Complained(good.clone())), "the evidence is published");
        let leaf = abandoned.leaf().unwrap();
        assert_eq!((leaf.conclusion, leaf.houses.len()), (Conclusion::Abandoned(reason), 3));
        assert!(step.effects.contains(&Effect::AppendLog(leaf)));
        let again = step.next.step(&Input { at_ms: NOW_MS + 4, event: Event::Complaint(good.clone()) }).unwrap();
        assert!(!again.store);
    }
    let refused = |complaint| refuse(&told.round, NOW_MS, Event::Complaint(complaint));
    assert_eq!(refused(spoil(&good)), "bad-signature");
    assert_eq!(refused(world.complaint(3, 1, Digest::sha256(b"other"), &[1])), "wrong-announcement");
    assert_eq!(refused(world.complaint(0, 3, digest, &[3])), "not-in-cohort");
    assert_eq!(refused(world.complaint(1, 1, digest, &[1])), "bad-complaint");
    assert_eq!(refused(world.complaint(3, 1, digest, &[2])), "bad-complaint", "a share that the dealer did not seal");
    assert_eq!(refused(world.complaint(3, 9, digest, &[1])), "bad-complaint", "no such member");
    let mut other = good.unverified().unwrap();
    other.index = index(0);
    assert_eq!(refused(Signed::sign(&other, &world.members[3])), "wrong-index");
    // Once t have answered, the sum is no secret any more.
    let settling =
        (0..3).fold(opening, |round, n| accept(&round, NOW_MS + 3, Event::Answer(world.answer_to(n, &told.claim))));
    assert_eq!(refuse(&settling, NOW_MS + 4, Event::Complaint(good)), "wrong-state");
}

#[test]
fn a_member_with_a_wrong_share_complains_and_never_answers() {
    let told = Told::new();
    let world = &told.world;
    let listed = told.listed(0);
    let complaint = world.complaint(0, 1, told.list.announcement, &[1]);
    let another = world.complaint(2, 1, told.list.announcement, &[1]);
    assert_eq!(shun(&listed, client::Event::Complained(another)), "wrong-speaker");
    let step =
        listed.step(&client::Input { at_ms: NOW_MS, event: client::Event::Complained(complaint.clone()) }).unwrap();
    let send = client::Effect::SendComplaint(complaint.clone());
    assert!(matches!(&step.effects[..], [client::Effect::Remember(_), sent] if *sent == send));
    let checked = world.checked(&told.claim, &[0, 1, 2, 3]);
    for house in [step.next.clone(), told.restarted(0, &step.next)] {
        let step = house.step(&client::Input { at_ms: NOW_MS, event: checked.clone() }).unwrap();
        assert!(
            matches!(&step.effects[..], [client::Effect::Remember(_), sent] if *sent == send),
            "{:?}",
            step.effects
        );
        let own = client::Event::Answered(world.answer_to(0, &told.claim));
        assert_eq!(shun(&step.next, own), "wrong-state");
    }
    // Having answered, it can not complain any more.
    let answered = hear(&listed, checked);
    let answered = hear(&answered, client::Event::Answered(world.answer_to(0, &told.claim)));
    assert_eq!(shun(&answered, client::Event::Complained(complaint)), "wrong-state");
}
