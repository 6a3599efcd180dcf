//! A malicious aggregator's attempts on one house, each as a script against honest members, each refused by the rule
//! that is named. What it could do with ciphertexts is in `attacks_on_sums.rs`; every rule alone, in `refusals.rs`.
//! The first line of each test says what the aggregator would gain.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::*;
use protocol::client;
use protocol::server::Event;
use protocol::*;

/// The house under attack.
const VICTIM: usize = 0;

fn list(world: &World, announcement: Digest, members: &[usize]) -> CohortList {
    let contributions = members.iter().map(|&n| world.contribution(n, announcement, &[n as u8])).collect();
    CohortList { announcement, contributions }
}

/// A house that contributed to the announced round.
fn contributed(world: &World, member: usize, signed: &Signed<Announcement>) -> client::Round {
    let house = hear(&world.member(member), announced(signed));
    let mine = world.contribution(member, signed.body_digest(), &[member as u8]);
    hear(&house, client::Event::Contributed(mine))
}

fn cohort(list: &CohortList) -> client::Event {
    client::Event::Cohort(list.clone())
}

/// A second attempt, announced honestly.
fn second_attempt(world: &World) -> Announcement {
    let mut later = world.announcement(&world.start(), world.house_names(), 1, NOW_MS + 1);
    later.attempt = Attempt::new(2).unwrap();
    later
}

/// Gain: another model for the victim than for the others, so that its update shows in what they train.
#[test]
fn split_view_of_models() {
    let world = World::new(&FOUR);
    let mut other = world.announcement(&world.start(), world.house_names(), 0, NOW_MS);
    other.adapter = Digest::of("state", b"made to remember one row");
    let other = world.sign_announcement(&other);
    assert_eq!(shun(&world.member(VICTIM), announced(&other)), "wrong-adapter");
    // Nor does the server's own state go along, whoever operates it.
    assert_eq!(refuse(&world.gathered(&[0, 1, 2, 3]), NOW_MS, Event::Announced(other)), "wrong-adapter");
}

/// Gain: two announcements of one round, so that two sums over different companies of the victim can be subtracted.
#[test]
fn split_view_of_announcements() {
    let world = World::new(&FOUR);
    let first = world.announced();
    let mut second = world.announcement(&world.start(), world.house_names(), 1, NOW_MS);
    second.layout = b"layout of another round".to_vec();
    let second = world.sign_announcement(&second);
    assert_eq!(shun(&world.listening(VICTIM), announced(&second)), "second-announcement");
    assert_eq!(refuse(&world.collecting(), NOW_MS, Event::Announced(second.clone())), "second-announcement");

    // Shown to different houses from the start, their contributions meet in no list that either would answer.
    let mut mixed = list(&world, first.body_digest(), &[0, 1, 2]);
    mixed.contributions.push(world.contribution(3, second.body_digest(), &[3]));
    assert_eq!(shun(&contributed(&world, VICTIM, &first), cohort(&mixed)), "wrong-announcement");
    let theirs = list(&world, second.body_digest(), &[1, 2, 3]);
    assert_eq!(shun(&contributed(&world, VICTIM, &first), cohort(&theirs)), "wrong-announcement");
    let seeds = [&first, &second].map(|signed| signed.unverified().unwrap().mask_seed());
    assert_ne!(seeds[0], seeds[1], "and have no mask in common");
}

/// Gain: the victim's update, alone.
#[test]
fn a_cohort_of_one() {
    let world = World::new(&FOUR);
    let alone = world.announcement(&world.start(), world.house_names()[..1].to_vec(), 0, NOW_MS);
    let alone = world.sign_announcement(&alone);
    assert_eq!(shun(&world.member(VICTIM), announced(&alone)), "small-expected-set");
    let signed = world.announced();
    let alone = list(&world, signed.body_digest(), &[VICTIM]);
    for member in 0..4 {
        assert_eq!(shun(&contributed(&world, member, &signed), cohort(&alone)), "small-cohort");
    }
    // The victim four times over is no cohort of four.
    let four_times = list(&world, signed.body_digest(), &[VICTIM; 4]);
    assert_eq!(shun(&contributed(&world, VICTIM, &signed), cohort(&four_times)), "duplicate-in-cohort");
}

/// Gain: a sum over fewer honest houses than the charter promises, with less noise than it needs.
#[test]
fn a_cohort_below_the_minimum() {
    let world = World::new(&FOUR);
    let signed = world.announced();
    let two = list(&world, signed.body_digest(), &[0, 1]);
    assert_eq!(shun(&contributed(&world, VICTIM, &signed), cohort(&two)), "small-cohort");
    // Above the charter's least, but with more missing than were announced to be.
    let wide = World::new(&Shape { houses: 6, threshold: 4, ..FOUR });
    let four_of_six = list(&wide, wide.announced().body_digest(), &[0, 1, 2, 3]);
    assert_eq!(shun(&contributed(&wide, VICTIM, &wide.announced()), cohort(&four_of_six)), "small-cohort");
    let three = world.announcement(&world.start(), world.house_names()[..3].to_vec(), 0, NOW_MS);
    assert_eq!(shun(&world.member(VICTIM), announced(&world.sign_announcement(&three))), "small-expected-set");
    // By letting more of them vanish than the charter does.
    let mut vanishing = world.announcement(&world.start(), world.house_names(), 0, NOW_MS);
    vanishing.may_vanish = 3;
    assert_eq!(shun(&world.member(VICTIM), announced(&world.sign_announcement(&vanishing))), "bad-announcement");
    // By a charter that allows it: then by the house's own policy.
    let lax = World::new(&Shape { min_cohort: 3, ..FOUR });
    let strict = client::Policy { min_cohort: 4, ..policy() };
    let joined = client::Me::new(Arc::clone(&lax.federation), lax.members[VICTIM].name().clone(), strict);
    assert_eq!(joined.unwrap_err().code(), "against-policy");
}

/// Gain: the victim's update as the difference of two openings of one round, with and without it.
#[test]
fn two_openings_of_one_round() {
    let world = World::new(&FOUR);
    let signed = world.announced();
    let whole = list(&world, signed.body_digest(), &[0, 1, 2, 3]);
    let without = list(&world, signed.body_digest(), &[1, 2, 3]);
    for member in 0..4 {
        let house = hear(&contributed(&world, member, &signed), cohort(&whole));
        assert_eq!(shun(&house, cohort(&without)), "second-opening");
        // Restarted, from what it stored before it did anything about the first.
        let memory = client::Memory::from_bytes(&house.memory().to_bytes()).unwrap();
        let me = client::Me::new(Arc::clone(&world.federation), world.members[member].name().clone(), policy());
        let house = hear(&client::Round::start(Arc::new(me.unwrap()), memory), announced(&signed));
        assert_eq!(shun(&house, cohort(&without)), "second-opening");
    }
}

/// Gain: the same by asking different members about different cohorts, with a colluding member that answers both.
#[test]
fn two_overlapping_cohorts_asked_of_different_members() {
    let world = World::new(&FOUR);
    let (c, t) = (world.federation.charter().colluding_members_tolerated(), world.federation.threshold());
    assert_eq!((c, t), (1, 3));
    let signed = world.announced();
    let lists = [list(&world, signed.body_digest(), &[0, 1, 2]), list(&world, signed.body_digest(), &[0, 1, 2, 3])];
    // Every way of asking the three honest members first; then everybody is asked about the other list.
    for asked in 0..1 << 3 {
        let mut answers = [c; 2];
        for member in 0..3 {
            let first = asked >> member & 1;
            let house = contributed(&world, member, &signed);
            let house = hear(&house, cohort(&lists[first]));
            answers[first] += 1;
            assert_eq!(shun(&house, cohort(&lists[1 - first])), "second-opening");
        }
        assert!(answers.iter().filter(|&&answers| answers >= t).count() <= 1, "{answers:?}");
    }
}

/// Gain: a sum of an attempt that was given up, beside the one of its successor: the victim's two updates, summed with
/// different companies.
#[test]
fn an_opening_of_an_earlier_attempt() {
    let world = World::new(&FOUR);
    let (first, second) = (world.announced(), world.sign_announcement(&second_attempt(&world)));
    let old = list(&world, first.body_digest(), &[0, 1, 2, 3]);
    let house = hear(&contributed(&world, VICTIM, &first), announced(&second));
    assert_eq!(shun(&house, cohort(&old)), "wrong-announcement");
    assert_eq!(shun(&house, announced(&first)), "wrong-attempt");
    // The keys that its shares were sealed to are gone by then.
    let input = client::Input { at_ms: NOW_MS + 1, event: announced(&second) };
    let step = contributed(&world, VICTIM, &first).step(&input).unwrap();
    assert!(step.effects.contains(&client::Effect::EraseOneTimeKeys { sequence: 0 }), "{:?}", step.effects);
}

/// Gain: the victim's old update again, in a new company.
#[test]
fn a_contribution_replayed_into_another_round() {
    let world = World::new(&FOUR);
    let (first, second) = (world.announced(), world.sign_announcement(&second_attempt(&world)));
    let old = world.contribution(VICTIM, first.body_digest(), &[0]);
    let mut replayed = list(&world, second.body_digest(), &[1, 2, 3]);
    replayed.contributions.insert(0, old.clone());
    // Every other house sees it.
    assert_eq!(shun(&contributed(&world, 1, &second), cohort(&replayed)), "wrong-announcement");
    // Bound to the new round by somebody who has not the victim's key.
    let mut rebound = old.unverified().unwrap();
    rebound.announcement = second.body_digest();
    let rebound = Signed::<Contribution>::from_parts(rebound.to_bytes(), old.signer().clone(), *old.signature());
    replayed.contributions[0] = rebound.unwrap();
    assert_eq!(shun(&contributed(&world, 1, &second), cohort(&replayed)), "bad-signature");
}

/// Gain: houses of its own in the cohort, so that the victim stands alone among them.
#[test]
fn a_forged_roster_entry() {
    let world = World::new(&FOUR);
    let mut forged = World::new(&FOUR);
    // House 3 is the aggregator's now: its own keys under the name in the charter.
    let mut members = world.federation.roster().members().to_vec();
    let (name, certificate) = (members[3].name().clone(), Digest::sha256(b"mine"));
    forged.members[3] = Signer::new(name.clone(), &[99; 32]);
    members[3] = Member::new(name, Role::House, forged.members[3].public_key(), [99; 32], certificate);
    let roster = Roster::new(world.federation.charter(), members.clone()).unwrap();
    forged.federation = Arc::new(Federation::new(world.federation.charter().clone(), roster).unwrap());
    assert_eq!(shun(&world.member(VICTIM), announced(&forged.announced())), "wrong-roster");
    // Under the roster that the victim pinned, the impostor's key counts for nothing.
    let signed = world.announced();
    let mut listed = list(&world, signed.body_digest(), &[0, 1, 2]);
    listed.contributions.push(forged.contribution(3, signed.body_digest(), &[3]));
    assert_eq!(shun(&contributed(&world, VICTIM, &signed), cohort(&listed)), "bad-signature");
    let mut seat = signed.unverified().unwrap();
    seat.committee[3].offer = forged.offer(3, 0);
    assert_eq!(shun(&world.member(VICTIM), announced(&world.sign_announcement(&seat))), "bad-signature");
    // One more member than the charter names is no roster of it.
    let extra = HouseName::new("house-4").unwrap();
    members.push(Member::new(
        extra.clone(),
        Role::House,
        world.aggregator.public_key(),
        [98; 32],
        Digest::sha256(b"x"),
    ));
    assert_eq!(
        Roster::new(world.federation.charter(), members).unwrap_err(),
        RosterError::Unknown { name: extra.clone() }
    );
    let stranger = Signed::sign(
        &Contribution { member: extra.clone(), ..manifest(&world, &signed) },
        &Signer::new(extra, &[98; 32]),
    );
    let mut listed = list(&world, signed.body_digest(), &[0, 1, 2]);
    listed.contributions.push(stranger);
    assert_eq!(shun(&contributed(&world, VICTIM, &signed), cohort(&listed)), "unknown-member");
}

fn manifest(world: &World, signed: &Signed<Announcement>) -> Contribution {
    world.contribution(3, signed.body_digest(), &[3]).unverified().unwrap()
}

/// Gain: a cohort that looks large enough, though the house listed never contributed and hides nobody.
#[test]
fn a_listed_client_who_never_contributed() {
    let world = World::new(&FOUR);
    let signed = world.announced();
    // The aggregator has no key of house 3; it can sign with its own, or put a signature of house 3 on something else.
    let invented = Signed::sign(&manifest(&world, &signed), &world.aggregator);
    let said = world.ready(3, &world.start());
    let pasted = Signed::from_parts(invented.body().to_vec(), said.signer().clone(), *said.signature()).unwrap();
    for (forgery, rule) in [(invented, "unknown-member"), (pasted, "bad-signature")] {
        let mut listed = list(&world, signed.body_digest(), &[0, 1, 2]);
        listed.contributions.push(forgery);
        assert_eq!(shun(&contributed(&world, VICTIM, &signed), cohort(&listed)), rule);
    }
}

/// Gain: the same, with a house that dropped out of this attempt and contributed to an earlier one; and with the
/// victim itself, which was too late or never asked.
#[test]
fn a_dropped_client_falsely_listed() {
    let world = World::new(&FOUR);
    let (first, second) = (world.announced(), world.sign_announcement(&second_attempt(&world)));
    let mut listed = list(&world, second.body_digest(), &[0, 1, 2]);
    listed.contributions.push(world.contribution(3, first.body_digest(), &[3]));
    assert_eq!(shun(&contributed(&world, VICTIM, &second), cohort(&listed)), "wrong-announcement");
    // The victim's own signature on a contribution that it does not remember: a copied key, or a wiped disk.
    let silent = hear(&world.member(VICTIM), announced(&second));
    let listed = list(&world, second.body_digest(), &[VICTIM, 1, 2]);
    assert_eq!(shun(&silent, cohort(&listed)), "not-my-contribution");
}

/// Gain: the victim's contribution exchanged for one that the aggregator can subtract.
#[test]
fn the_victims_contribution_altered() {
    let world = World::new(&FOUR);
    let signed = world.announced();
    let house = contributed(&world, VICTIM, &signed);
    let mut altered = list(&world, signed.body_digest(), &[0, 1, 2, 3]);
    let mut mine = altered.contributions[VICTIM].unverified().unwrap();
    mine.ciphertext = message::ciphertext_digest([b"zeros".as_slice()]);
    let first = altered.contributions[VICTIM].clone();
    let pasted = Signed::from_parts(mine.to_bytes(), first.signer().clone(), *first.signature()).unwrap();
    altered.contributions[VICTIM] = pasted;
    for member in 0..4 {
        assert_eq!(shun(&contributed(&world, member, &signed), cohort(&altered)), "bad-signature");
    }
    // With the victim's key, others are deceived; the victim is not.
    altered.contributions[VICTIM] = Signed::sign(&mine, &world.members[VICTIM]);
    assert_eq!(shun(&house, cohort(&altered)), "not-my-contribution");
}

/// Gain: rounds that are missing from the record, or another record for the victim than for everybody else.
#[test]
fn a_stale_or_forked_record() {
    let world = World::new(&FOUR);
    let mut log = log::Log::new();
    for leaf in 0..3_u8 {
        log.append_bytes(&[leaf]);
    }
    let with = |attempt, record| {
        let mut next = world.announcement(&world.start(), world.house_names(), u64::from(attempt), NOW_MS);
        (next.attempt, next.record) = (Attempt::new(attempt).unwrap(), record);
        world.sign_announcement(&next)
    };
    let house = hear(&world.member(VICTIM), announced(&with(1, log.head())));
    let mut stale = log::Log::new();
    for leaf in 0..2_u8 {
        stale.append_bytes(&[leaf]);
    }
    assert_eq!(shun(&house, announced(&with(2, stale.head()))), "record-went-back");
    stale.append_bytes(&[77]);
    assert_eq!(shun(&house, announced(&with(2, stale.head()))), "record-went-back");
    stale.append_bytes(&[3]);
    let record_proof = stale.consistency(3, 4);
    let forked = client::Event::Announced { signed: with(2, stale.head()), epsilon_after: 0.1, record_proof };
    assert_eq!(shun(&house, forked), "record-forked");
}

/// Gain: shares of a new round sealed to a key whose secret half was taken from the victim in an earlier one.
#[test]
fn a_one_time_key_used_again() {
    let world = World::new(&FOUR);
    let house = contributed(&world, VICTIM, &world.announced());
    let mut again = second_attempt(&world);
    again.committee[VICTIM].offer = world.offer(VICTIM, 0);
    assert_eq!(shun(&house, announced(&world.sign_announcement(&again))), "one-time-key-reused");
    // A key of the aggregator's in the victim's place, and the victim's key in another member's.
    let key = OneTimeKeyOffer {
        charter: again.charter,
        member: house.heard().unwrap().me().name().clone(),
        sequence: 1,
        key: [1; 32],
    };
    again.committee[VICTIM].offer = Signed::sign(&key, &world.aggregator);
    assert_eq!(shun(&house, announced(&world.sign_announcement(&again))), "bad-announcement");
    let signature = *world.offer(VICTIM, 1).signature();
    again.committee[VICTIM].offer = Signed::from_parts(key.to_bytes(), key.member.clone(), signature).unwrap();
    assert_eq!(shun(&house, announced(&world.sign_announcement(&again))), "bad-signature");
    again.committee[VICTIM].offer = world.offer(1, 1);
    assert_eq!(shun(&house, announced(&world.sign_announcement(&again))), "bad-announcement");
}

/// Gain: a state of its own as the next one, said to be what the houses opened.
#[test]
fn an_outcome_that_the_houses_did_not_sign() {
    let world = World::new(&FOUR);
    let signed = world.announced();
    let whole = list(&world, signed.body_digest(), &[0, 1, 2, 3]);
    let verdict = Verdict::Applied { state: Digest::of("state", b"mine"), last: false };
    let outcome = |member| world.outcome(member, signed.body_digest(), whole.digest(), verdict);
    let show = |outcomes| client::Event::CaughtUp { signed: signed.clone(), cohort: whole.digest(), outcomes };
    let house = world.member(VICTIM);
    // One colluding house, as often as needed; and others' names.
    assert_eq!(shun(&house, show(vec![outcome(3)])), "too-few-outcomes");
    assert_eq!(shun(&house, show(vec![outcome(3); 3])), "second-outcome");
    let named = |member: usize| {
        let name = world.members[member].name().clone();
        Signed::from_parts(outcome(member).body().to_vec(), name, *outcome(3).signature()).unwrap()
    };
    assert_eq!(shun(&house, show(vec![named(1), named(2), outcome(3)])), "bad-signature");
    // True outcomes of another cohort.
    let other = |member| world.outcome(member, signed.body_digest(), Digest::sha256(b"another"), verdict);
    assert_eq!(shun(&house, show((1..4).map(other).collect())), "wrong-cohort");
}

/// Gain: an update made in no time, so that how long it took tells of the data; or one asked for from the future.
#[test]
fn deadlines_of_its_own() {
    let world = World::new(&FOUR);
    let with = |change: fn(&mut Announcement)| {
        let mut announcement = world.announcement(&world.start(), world.house_names(), 0, NOW_MS);
        change(&mut announcement);
        announced(&world.sign_announcement(&announcement))
    };
    let house = world.member(VICTIM);
    assert_eq!(shun(&house, with(|a| a.submit_at_ms = 1)), "bad-announcement");
    assert_eq!(shun(&house, with(|a| a.close_ms = a.open_ms)), "bad-announcement");
    assert_eq!(shun(&house, with(|a| a.announced_at_ms += 3_600_000)), "against-policy");
}
