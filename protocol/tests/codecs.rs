//! Canonical bytes: every message is read back as it was; no changed, cut or random bytes panic, and what is read from
//! changed bytes has exactly those bytes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt::Debug;

use common::*;
use proptest::prelude::*;
use protocol::client::{Memory, Seen};
use protocol::server::{Event, Input};
use protocol::*;

/// Reads back; then every cut is refused, and every flipped bit is refused or read as another value, canonically.
fn check<T: Message + PartialEq + Debug>(value: &T, flips: &[(usize, u8)]) {
    let bytes = value.to_bytes();
    assert_eq!(&T::from_bytes(&bytes).unwrap(), value);
    for cut in 0..bytes.len().min(600) {
        assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(T::from_bytes(&longer).unwrap_err(), EncodingError::Trailing { count: 1 });
    for (position, bit) in flips {
        let mut changed = bytes.clone();
        let position = position % changed.len();
        changed[position] ^= 1 << (bit % 8);
        if let Ok(other) = T::from_bytes(&changed) {
            assert_eq!(other.to_bytes(), changed, "one value, one byte string");
            assert_ne!(&other, value);
        }
    }
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        (digest(), any::<bool>()).prop_map(|(state, last)| Verdict::Applied { state, last }),
        Just(Verdict::Void { reason: VoidReason::KeySum }),
        Just(Verdict::Void { reason: VoidReason::FieldRange }),
        Just(Verdict::Void { reason: VoidReason::Residual }),
        Just(Verdict::Void { reason: VoidReason::FalseAnswers }),
        Just(Verdict::Void { reason: VoidReason::WrongSum }),
    ]
}

fn flips() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec(any::<(usize, u8)>(), 40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_of_a_round_keep_their_bytes(
        content in proptest::collection::vec(any::<u8>(), 1..300),
        other in digest(),
        verdict in verdict(),
        numbers in any::<(u32, u64)>(),
        flips in flips(),
    ) {
        let world = World::new(&FOUR);
        let start = world.start();
        let mut announcement = world.announcement(&start, world.house_names(), numbers.1, numbers.1);
        announcement.data_commitment = (numbers.0 % 2 == 0).then_some(other);
        announcement.layout = content.clone();
        check(&announcement, &flips);
        let signed = world.sign_announcement(&announcement);
        check(&signed, &flips);
        let contribution = world.contribution(1, other, &content);
        check(&contribution.unverified().unwrap(), &flips);
        let list = CohortList { announcement: other, contributions: vec![contribution.clone(); 2] };
        check(&list, &flips);
        for policy in ["clients", "aggregator"] {
            let world = World::new(&Shape { policy, ..FOUR });
            check(&world.answer(0, other, list.digest()).unverified().unwrap(), &flips);
        }
        let claim = world.claim(other, list.digest());
        check(&claim, &flips);
        check(&world.sign_claim(&claim), &flips);
        check(&world.checksum(0, 1, &claim, &content[..content.len().min(256)]).unverified().unwrap(), &flips);
        check(&world.complaint(0, 1, other, &content).unverified().unwrap(), &flips);
        let outcome = world.outcome(0, other, list.digest(), verdict);
        check(&outcome.unverified().unwrap(), &flips);
        check(&world.ready(0, &start).unverified().unwrap(), &flips);
        let name = world.members[0].name().clone();
        check(&KeyStock { member: name.clone(), offers: vec![world.offer(0, numbers.1)] }, &flips);
        check(&Approval { charter: other, member: name, state: other }, &flips);
        check(world.federation.roster(), &flips);
    }

    #[test]
    fn stored_rows_notices_leaves_and_memories_keep_their_bytes(
        other in digest(),
        verdict in verdict(),
        numbers in any::<(u32, u64)>(),
        flips in flips(),
    ) {
        let world = World::new(&FOUR);
        let (start, at_ms) = (world.start(), numbers.1);
        let contribution = world.contribution(1, other, b"content");
        let answer = world.answer(0, other, other);
        let outcome = world.outcome(0, other, other, verdict);
        let claim = world.sign_claim(&world.claim(other, other));
        let checksum = world.checksum(0, 1, &world.claim(other, other), b"value");
        let complaint = world.complaint(2, 1, other, b"sealed");
        let events = [
            Event::Ready(world.ready(0, &start)),
            Event::Announced(world.announced()),
            Event::Contribution(contribution.clone()),
            Event::Tick,
            Event::Answer(answer.clone()),
            Event::FalseAnswer(MemberIndex::new(3).unwrap()),
            Event::Outcome(outcome.clone()),
            Event::Stop,
            Event::Claimed(claim.clone()),
            Event::Checksum(checksum.clone()),
            Event::Complaint(complaint.clone()),
        ];
        for event in events {
            check(&Input { at_ms, event }, &flips);
        }
        let reason = match numbers.0 % 3 {
            0 => Abandonment::CohortTooSmall { needed: numbers.0, found: 1 },
            1 => Abandonment::WrongEnvelope { dealer: RosterPosition::new(numbers.1 as u32 | 1).unwrap() },
            _ => Abandonment::Stopped,
        };
        let (round, attempt) = (start.round, start.attempt);
        let notices = [
            Notice::Gathering { round, attempt },
            Notice::Announced(world.announced()),
            Notice::Cohort(CohortList { announcement: other, contributions: vec![contribution.clone()] }),
            Notice::Claimed(claim.clone()),
            Notice::Checked { claim, checksums: vec![checksum; 2] },
            Notice::Complained(complaint.clone()),
            Notice::Answered(answer.clone()),
            Notice::Settled { announcement: other, cohort: other, outcomes: vec![outcome] },
            Notice::Abandoned { round, attempt, reason },
        ];
        for notice in &notices {
            check(notice, &flips);
        }
        let conclusion =
            if numbers.0 % 2 == 0 { Conclusion::Settled(verdict) } else { Conclusion::Abandoned(reason) };
        let houses = world.house_names();
        let leaf = RecordLeaf {
            round, attempt, announcement: other, cohort: Some(other), signers: houses.clone(), houses, conclusion,
        };
        check(&leaf, &flips);
        let mut memory = Memory::new(other);
        memory.over = numbers.0 % 2 == 0;
        check(&memory, &flips);
        memory.seen = Some(Seen {
            round, attempt, announcement: other, contribution: Some(contribution), cohort: Some(other),
            body_sum: Some(other), complaint: Some(complaint),
            answer: Some(answer), verdict: Some(verdict), ended: numbers.0 % 2 == 0,
        });
        check(&memory, &flips);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut versioned = bytes.clone();
        versioned.insert(0, 1);
        let mut second = bytes.clone();
        second.insert(0, 2);
        let mut third = bytes.clone();
        third.insert(0, 3);
        for bytes in [&bytes, &versioned, &second, &third] {
            let _ = Announcement::from_bytes(bytes);
            let _ = Contribution::from_bytes(bytes);
            let _ = CohortList::from_bytes(bytes);
            let _ = Answer::from_bytes(bytes);
            let _ = SumClaim::from_bytes(bytes);
            let _ = BodyChecksum::from_bytes(bytes);
            let _ = Complaint::from_bytes(bytes);
            let _ = Outcome::from_bytes(bytes);
            let _ = Roster::from_bytes(bytes);
            let _ = KeyStock::from_bytes(bytes);
            let _ = Notice::from_bytes(bytes);
            let _ = Input::from_bytes(bytes);
            let _ = Memory::from_bytes(bytes);
            let _ = RecordLeaf::from_bytes(bytes);
            let _ = Signed::<Ready>::from_bytes(bytes);
            let _ = Charter::parse(&String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn a_huge_count_or_length_is_refused_before_anything_is_allocated() {
    let mut writer = Writer::new();
    writer.u8(1);
    writer.digest(&Digest::sha256(b""));
    writer.u32(u32::MAX);
    let bytes = writer.into_bytes();
    assert!(matches!(CohortList::from_bytes(&bytes), Err(EncodingError::TooLong { field: "contributions", .. })));
    assert!(matches!(Roster::from_bytes(&bytes), Err(EncodingError::TooLong { field: "members", .. })));
}

#[test]
fn bytes_of_one_signed_type_are_not_another() {
    let world = World::new(&FOUR);
    let ready = world.ready(0, &world.start());
    assert!(Signed::<Outcome>::from_bytes(&ready.to_bytes()).is_err());
    let recast: Signed<Outcome> =
        Signed::from_parts(ready.body().to_vec(), ready.signer().clone(), *ready.signature()).unwrap();
    assert_eq!(recast.verify(world.federation.roster()).unwrap_err().code(), "bad-signature");
}

#[test]
fn the_mask_seed_follows_every_field_of_the_announcement() {
    let world = World::new(&FOUR);
    let base = world.announcement(&world.start(), world.house_names(), 0, NOW_MS);
    let mut seeds = std::collections::BTreeSet::from([base.mask_seed()]);
    let changes: [fn(&mut Announcement); 6] = [
        |a| a.attempt = Attempt::new(2).unwrap(),
        |a| a.may_vanish = 0,
        |a| a.announced_at_ms += 1,
        |a| a.expected.truncate(3),
        |a| a.layout.push(0),
        |a| a.record.size += 1,
    ];
    for change in changes {
        let mut changed = base.clone();
        change(&mut changed);
        assert!(seeds.insert(changed.mask_seed()));
    }
    assert!(seeds.insert(*base.digest().as_bytes()), "the seed is not the digest");
}
