//! A malicious aggregator's attempts on the sum: on its claim, on the ciphertexts in it, and on sealed shares. Each is
//! refused by the rule that is named, or shown to be worth nothing with `secure-sum`'s own ciphertexts.
//! The first line of each test says what the aggregator would gain.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::Arc;

use common::*;
use protocol::client;
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::server::Event;
use protocol::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, Challenge, Checksum, CombineError, Commitments, Committee, Dealing, Layout, MaskSeed, OneTimeKey,
    OpenError, SealError, SealingKey, ShareSum, Values, combine, deal, encrypt, open, seal, unseal,
};

/// The house under attack.
const VICTIM: usize = 0;

/// The list of all four houses of the announced round.
fn list(world: &World) -> CohortList {
    let announcement = world.announced().body_digest();
    let contributions = (0..4).map(|n| world.contribution(n, announcement, &[n as u8])).collect();
    CohortList { announcement, contributions }
}

/// The victim, with its contribution in this list and the list promised.
fn listed(world: &World, list: &CohortList) -> client::Round {
    let mine = client::Event::Contributed(list.contributions[VICTIM].clone());
    hear(&hear(&world.listening(VICTIM), mine), client::Event::Cohort(list.clone()))
}

/// The true claim and one of another sum.
fn claims(world: &World, list: &CohortList) -> [SumClaim; 2] {
    let claim = world.claim(list.announcement, list.digest());
    [claim, SumClaim { body_sum: Digest::sha256(b"without the victim"), ..claim }]
}

/// Gain: one sum shown to some houses and another to the rest, or a new one once the checksums of the first are known.
#[test]
fn a_second_claim_for_one_cohort() {
    let world = World::new(&FOUR);
    let list = list(&world);
    let [first, second] = claims(&world, &list);
    let claimed = |claim| client::Event::Claimed(world.sign_claim(claim));
    let all = [0, 1, 2, 3];
    let house = hear(&listed(&world, &list), claimed(&first));
    assert_eq!(shun(&house, claimed(&second)), "second-claim");
    assert_eq!(shun(&house, world.checked(&second, &all)), "second-claim");
    let answering = hear(&house, world.checked(&first, &all));
    assert_eq!(shun(&answering, claimed(&second)), "second-claim");
    assert_eq!(shun(&answering, world.checked(&second, &all)), "second-claim");
    // Restarted, from what it stored before it said anything under the first.
    let memory = client::Memory::from_bytes(&house.memory().to_bytes()).unwrap();
    let me = client::Me::new(Arc::clone(&world.federation), world.members[VICTIM].name().clone(), policy());
    let house = hear(&client::Round::start(Arc::new(me.unwrap()), memory), announced(&world.announced()));
    let house = hear(&house, client::Event::Cohort(list.clone()));
    assert_eq!(shun(&house, claimed(&second)), "second-claim");
    assert_eq!(shun(&house, world.checked(&second, &all)), "second-claim");
    // The aggregator's own state signs up to one as well.
    let server = accept(&world.checking(), NOW_MS, Event::Claimed(world.sign_claim(&first)));
    assert_eq!(refuse(&server, NOW_MS, Event::Claimed(world.sign_claim(&second))), "second-claim");
}

/// Gain: answers to a sum that nobody checked, before it is claimed or under a claim of another round.
#[test]
fn an_answer_before_the_check() {
    let world = World::new(&FOUR);
    let list = list(&world);
    let [claim, _] = claims(&world, &list);
    // The list alone makes no house answer.
    let mine = client::Event::Contributed(list.contributions[VICTIM].clone());
    let input = client::Input { at_ms: NOW_MS + 1, event: client::Event::Cohort(list.clone()) };
    let step = hear(&world.listening(VICTIM), mine).step(&input).unwrap();
    assert!(!step.effects.iter().any(|effect| matches!(effect, client::Effect::Answer { .. })), "{:?}", step.effects);
    let house = listed(&world, &list);
    let elsewhere = SumClaim { announcement: Digest::sha256(b"another round"), ..claim };
    assert_eq!(shun(&house, world.checked(&elsewhere, &[0])), "wrong-announcement");
    let smaller = SumClaim { cohort: Digest::sha256(b"another cohort"), ..claim };
    assert_eq!(shun(&house, world.checked(&smaller, &[0])), "wrong-cohort");
    // A claim in the aggregator's name by a house that colludes with somebody else, or by the aggregator as a house.
    let forged = Signed::sign(&claim, &world.members[3]);
    assert_eq!(shun(&house, client::Event::Claimed(forged)), "bad-signature");
    assert_eq!(shun(&house, client::Event::Claimed(spoil(&world.sign_claim(&claim)))), "bad-signature");
}

/// Gain: a false sum that adds up, by checksums that the houses did not say.
#[test]
fn checksums_that_the_houses_did_not_say() {
    let world = World::new(&FOUR);
    let list = list(&world);
    let [claim, other] = claims(&world, &list);
    let house = listed(&world, &list);
    let said = |changed: Signed<BodyChecksum>| {
        let mut checksums: Vec<_> = (0..3).map(|n| world.checksum(n, n, &claim, &[n as u8])).collect();
        checksums.push(changed);
        client::Event::Checked { claim: world.sign_claim(&claim), checksums }
    };
    assert_eq!(shun(&house, said(spoil(&world.checksum(3, 3, &claim, b"x")))), "bad-signature");
    assert_eq!(shun(&house, said(world.checksum(3, 3, &other, b"x"))), "wrong-sum");
    assert_eq!(shun(&house, said(world.checksum(2, 2, &claim, b"x"))), "second-checksum");
    // A colluding house speaks of the victim's body, undrawn; and of one that is not in the cohort.
    let houses = world.house_names();
    let undrawn = (1..4).find(|&n| claim.spot_check(&houses[n], &houses) != Some(&houses[VICTIM])).unwrap();
    assert_eq!(shun(&house, said(world.checksum(undrawn, VICTIM, &claim, b"x"))), "not-drawn");
    let mut three = list.clone();
    three.contributions.pop();
    let smaller = world.claim(three.announcement, three.digest());
    let absent = world.checksum(3, 3, &smaller, b"x");
    let event = client::Event::Checked { claim: world.sign_claim(&smaller), checksums: vec![absent] };
    assert_eq!(shun(&listed(&world, &three), event), "not-in-cohort");
    // An answer to one sum does not count for another.
    let opening = world.opening();
    assert_eq!(refuse(&opening, NOW_MS + 2, Event::Answer(world.answer_to(1, &other))), "wrong-sum");
}

/// Gain: the victim driven out of the cohort by an invented complaint.
#[test]
fn a_complaint_without_ground() {
    let world = World::new(&FOUR);
    let round = world.checking();
    let announcement = world.announced().body_digest();
    let refused = |complaint| refuse(&round, NOW_MS + 2, Event::Complaint(complaint));
    let sealed: &[u8] = &[VICTIM as u8];
    assert_eq!(refused(spoil(&world.complaint(1, VICTIM, announcement, sealed))), "bad-signature");
    assert_eq!(refused(world.complaint(1, VICTIM, announcement, b"sealed by somebody else")), "bad-complaint");
    assert_eq!(refused(world.complaint(1, VICTIM, Digest::sha256(b"earlier"), sealed)), "wrong-announcement");
}

/// A real round: four houses, whose bodies and shares are under the mask of the announcement that each of them heard.
struct Sums {
    layout: Layout,
    committee: Committee,
    bodies: Vec<Vec<u8>>,
    dealings: Vec<Dealing>,
    rng: ChaCha20Rng,
}

const VALUES: Values = Values { count: 300, clamp: 1_000, noise_deviation: 0.0 };

impl Sums {
    /// House n contributes n + 1 everywhere, under seed number n.
    fn under(seeds: [[u8; 32]; 4]) -> Self {
        let (layout, committee) = (Layout::derive(4, VALUES).unwrap(), Committee::new(4, 3).unwrap());
        let mut rng = ChaCha20Rng::seed_from_u64(21);
        let (mut bodies, mut dealings) = (Vec::new(), Vec::new());
        for (seed, value) in seeds.into_iter().zip(1..) {
            let key = OneTimeKey::generate(&layout, &mut rng);
            dealings.push(deal(&key, &layout, &committee, &mut rng).unwrap());
            bodies.push(encrypt(&layout, &MaskSeed(seed), key, &[value; 300], &mut rng).unwrap());
        }
        Self { layout, committee, bodies, dealings, rng }
    }

    fn sum(&self, houses: &[usize]) -> Accumulator {
        let mut sum = Accumulator::new(&self.layout);
        houses.iter().for_each(|&n| sum.add(&self.bodies[n]).unwrap());
        sum
    }

    /// What all answers about these houses open.
    fn open(&self, seed: [u8; 32], sum: &Accumulator, houses: &[usize]) -> Result<Vec<i64>, String> {
        let mut commitments = Commitments::zero(&self.layout, &self.committee);
        let mut answers: Vec<_> = self.committee.indices().map(|x| (x, ShareSum::new(&self.layout))).collect();
        for &n in houses {
            commitments.add(&self.dealings[n].commitments).unwrap();
            for ((_, answer), share) in answers.iter_mut().zip(&self.dealings[n].shares) {
                answer.add(share).unwrap();
            }
        }
        let key = combine(&self.layout, &self.committee, &commitments, &answers, houses.len());
        let key = key.map_err(|error| match error {
            CombineError::Cohort { .. } => "cohort".to_owned(),
            other => other.to_string(),
        })?;
        open(&self.layout, &MaskSeed(seed), sum, &key, houses.len()).map_err(|error| match error {
            OpenError::Residual { .. } => "residual".to_owned(),
            other => other.to_string(),
        })
    }
}

fn mask_seed(signed: &Signed<Announcement>) -> [u8; 32] {
    signed.unverified().unwrap().mask_seed()
}

/// Another announcement of the same round: one more millisecond.
fn other_view(world: &World) -> Signed<Announcement> {
    world.sign_announcement(&world.announcement(&world.start(), world.house_names(), 0, NOW_MS + 1))
}

/// Gain: the victim's update out of the sum of houses that were shown different announcements, though all of them answer.
#[test]
fn a_split_view_adds_up_to_nothing() {
    let world = World::new(&FOUR);
    let [one, two] = [mask_seed(&world.announced()), mask_seed(&other_view(&world))];
    let all = [0, 1, 2, 3];
    let honest = Sums::under([one; 4]);
    assert_eq!(honest.open(one, &honest.sum(&all), &all), Ok(vec![10; 300]));
    for seeds in [[one, two, two, two], [one, one, two, two], [one, one, one, two]] {
        let split = Sums::under(seeds);
        for seed in [one, two] {
            assert_eq!(split.open(seed, &split.sum(&all), &all), Err("residual".to_owned()));
        }
        // What is under one mask may be opened when it is a cohort of its own, and only then.
        let mine: Vec<usize> = all.into_iter().filter(|&n| seeds[n] == one).collect();
        let opened = split.open(one, &split.sum(&mine), &mine);
        let small = mine.len() < Layout::COHORT_MIN;
        assert_eq!(opened.err(), small.then(|| "cohort".to_owned()), "and members refuse it: {mine:?}");
    }
}

/// Gain: the victim's old body in the sum of a new round.
#[test]
fn a_replayed_body_adds_up_to_nothing() {
    let world = World::new(&FOUR);
    let [old, new] = [mask_seed(&world.announced()), mask_seed(&other_view(&world))];
    let all = [0, 1, 2, 3];
    let (before, mut now) = (Sums::under([old; 4]), Sums::under([new; 4]));
    now.bodies[VICTIM].clone_from(&before.bodies[VICTIM]);
    assert_eq!(now.open(new, &now.sum(&all), &all), Err("residual".to_owned()));
    // Even with the shares that were dealt for it.
    now.dealings[VICTIM] = Sums::under([old; 4]).dealings.swap_remove(VICTIM);
    assert_eq!(now.open(new, &now.sum(&all), &all), Err("residual".to_owned()));
}

/// Gain: a sum in which the victim is missing, counted twice or shifted, which the houses take for the true one.
#[test]
fn an_altered_sum() {
    let world = World::new(&FOUR);
    let sums = Sums::under([mask_seed(&world.announced()); 4]);
    let list = list(&world);
    // Checksums of the bodies, as each house says it of its own, against the sum that was claimed.
    let adds_up = |served: &Accumulator| {
        let body_sum = Digest::sha256(&served.to_bytes());
        let claim = SumClaim { body_sum, ..world.claim(list.announcement, list.digest()) };
        let challenge = Challenge(claim.challenge());
        let mut said = Checksum::zero(&sums.layout);
        for body in &sums.bodies {
            said.add(&Checksum::of(&sums.layout, &challenge, body).unwrap()).unwrap();
        }
        said == Checksum::of_sum(&sums.layout, &challenge, served).unwrap()
    };
    assert!(adds_up(&sums.sum(&[0, 1, 2, 3])));
    for altered in [&[1, 2, 3][..], &[0, 0, 1, 2, 3], &[0, 1, 1, 3], &[]] {
        assert!(!adds_up(&sums.sum(altered)), "{altered:?}");
    }
    // One more in the lowest bits of one residue: it would open, to a value that is off by nothing or by one error.
    let mut bytes = sums.sum(&[0, 1, 2, 3]).to_bytes();
    bytes[1] ^= 1;
    let shifted = Accumulator::from_bytes(&sums.layout, &bytes).unwrap();
    assert!(!adds_up(&shifted));
    // Another sum than the claimed one is seen by its digest, before any arithmetic.
    assert_ne!(Digest::sha256(&bytes), Digest::sha256(&sums.sum(&[0, 1, 2, 3]).to_bytes()));
}

/// Gain: the victim's share unsealed by, or blamed on, another member: an envelope from another sender, to another
/// receiver, of another round or of another ciphertext.
#[test]
fn a_swapped_envelope() {
    let world = World::new(&FOUR);
    let mut sums = Sums::under([mask_seed(&world.announced()); 4]);
    let [receiver, another] = [(); 2].map(|()| SealingKey::generate(&mut sums.rng));
    let [round, other_round] = [world.announced().body_digest(), other_view(&world).body_digest()];
    let [mine, theirs] = [0, 1].map(|n: usize| ciphertext_digest([sums.bodies[n].as_slice()]));
    let names = world.house_names();
    let share = sums.dealings[VICTIM].shares[1].to_bytes();
    let aad = share_aad(&round, &names[VICTIM], index(1), &mine);
    let sealed = seal(&receiver.public(), SHARE_INFO, &aad, &share).unwrap();
    assert_eq!(*unseal(&receiver, SHARE_INFO, &aad, &sealed).unwrap(), *share);
    for swapped in [
        share_aad(&other_round, &names[VICTIM], index(1), &mine),
        share_aad(&round, &names[2], index(1), &mine),
        share_aad(&round, &names[VICTIM], index(2), &mine),
        share_aad(&round, &names[VICTIM], index(1), &theirs),
    ] {
        assert_eq!(unseal(&receiver, SHARE_INFO, &swapped, &sealed).err(), Some(SealError::Envelope));
    }
    assert_eq!(unseal(&another, SHARE_INFO, &aad, &sealed).err(), Some(SealError::Envelope));
    // The signed manifest has the envelope's digest, so one that the aggregator seals itself, as it well can, is not it.
    let own = seal(&receiver.public(), SHARE_INFO, &aad, &share).unwrap();
    assert_ne!(Digest::sha256(&own), Digest::sha256(&sealed));
    let manifest = list(&world).contributions[VICTIM].unverified().unwrap();
    let changed = Contribution { sealed_shares: vec![Digest::sha256(&own); 4], ..manifest };
    let mut altered = list(&world);
    let victim = &altered.contributions[VICTIM];
    let pasted = Signed::from_parts(changed.to_bytes(), victim.signer().clone(), *victim.signature()).unwrap();
    altered.contributions[VICTIM] = pasted;
    assert_eq!(shun(&world.listening(1), client::Event::Cohort(altered)), "bad-signature");
}
