//! The record as a file: an honest one holds, and whatever is done to it is found, at the entry it was done to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::record::End;
use common::*;
use proptest::prelude::*;
use protocol::log::audit::audit;
use protocol::log::file::{Entry, MAGIC};
use protocol::log::{Fault, Log, Place};
use protocol::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// Every way in which an attempt can end.
const ALL: [End; 8] = [
    End::Stopped,
    End::Applied,
    End::TooSmall,
    End::Void,
    End::WrongEnvelope,
    End::TooFew,
    End::WithoutFirst,
    End::Applied,
];

/// A small one, with one of each kind of evidence.
const SMALL: [End; 3] = [End::WrongEnvelope, End::Applied, End::TooFew];

fn fault(file: &[u8]) -> Fault {
    audit(file).unwrap_err()
}

/// The head that these entries make.
fn head(entries: &[Entry]) -> RecordHead {
    let mut log = Log::new();
    entries.iter().for_each(|entry| {
        log.append(&entry.leaf);
    });
    log.head()
}

#[test]
fn an_honest_record_holds_and_says_who_took_part_from_which_state_to_which() {
    let world = World::new(&FOUR);
    let made = world.record(&ALL);
    let audited = audit(&world.whole(&made)).unwrap();
    assert_eq!(audited.head, made.log.head());
    assert_eq!((audited.attempts.len(), audited.applied(), audited.first_adapter()), (8, 3, Some(initial())));
    assert_eq!(audited.federation.roster_digest(), world.federation.roster_digest());
    let cohorts: Vec<usize> = audited.attempts.iter().map(|attempt| attempt.contributions.len()).collect();
    assert_eq!(cohorts, [0, 4, 0, 4, 4, 4, 3, 4]);
    let places: Vec<(u32, u32)> =
        audited.attempts.iter().map(|one| (one.leaf.round.get(), one.leaf.attempt.get())).collect();
    assert_eq!(places, [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (3, 1)]);
    let mut states = audited.attempts.windows(2).filter_map(|pair| Some((pair[0].applied()?, pair[1].adapter)));
    assert!(states.all(|(after, before)| after == before));
    assert_eq!(audited.last_state(), audited.attempts[7].applied());
    let signed: Vec<(&str, u64)> = audited.cosignatures.iter().map(|one| (one.member.as_str(), one.at_s)).collect();
    assert_eq!(signed, [("house-0", 1_700_000_000), ("house-2", 1_700_000_001)]);
    for size in 0..=8 {
        assert_eq!(audited.head_at(size), made.log.head_at(size));
    }
    let empty = audit(&world.whole(&world.record(&[]))).unwrap();
    assert_eq!((empty.head.size, empty.first_adapter()), (0, None));
}

/// One bit of every byte, one at a time: header, lengths, every signed message, every signature, the note.
#[test]
fn a_flipped_bit_anywhere_is_found_and_no_entry_before_it_is_blamed() {
    let world = World::new(&FOUR);
    let file = world.whole(&world.record(&SMALL));
    let begins = entry_offsets(&file);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 1 << rng.random_range(0..8);
        let Err(found) = audit(&changed) else { panic!("byte {at} of {} is nobody's business", file.len()) };
        match begins.iter().rposition(|begin| *begin <= at) {
            // What is before all entries is vouched for by the first announcement.
            None => assert!(matches!(found.place, Place::Header | Place::Entry(0)), "byte {at}: {found}"),
            Some(3) => assert!(found.place >= Place::Entry(2), "byte {at}: {found}"),
            Some(entry) => assert_eq!(found.place, Place::Entry(entry as u64), "byte {at}: {found}"),
        }
    }
}

#[test]
fn a_file_that_ends_anywhere_early_or_goes_on_is_refused() {
    let world = World::new(&FOUR);
    let mut file = world.whole(&world.record(&SMALL));
    for length in 0..file.len() {
        fault(&file[..length]);
    }
    file.push(0);
    assert_eq!(fault(&file).place, Place::Checkpoint);
}

#[test]
fn an_entry_that_is_deleted_moved_swapped_or_there_twice_is_named_under_the_old_head_and_under_a_new_one() {
    let world = World::new(&FOUR);
    let made = world.record(&ALL);
    let count = made.entries.len();
    let named = |entries: &[Entry], expected: usize, what: &str| {
        // The second head is what an aggregator would sign over the altered record.
        for head in [made.log.head(), head(entries)] {
            let found = fault(&world.file(entries, head));
            assert_eq!(found.place, Place::Entry(expected as u64), "{what}: {found}");
        }
    };
    for gone in 0..count - 1 {
        let mut entries = made.entries.clone();
        entries.remove(gone);
        named(&entries, gone, "deleted");
    }
    for first in 0..count {
        for second in first + 1..count {
            let mut entries = made.entries.clone();
            entries.swap(first, second);
            named(&entries, first, "swapped");
            let mut entries = made.entries.clone();
            entries.insert(second, made.entries[first].clone());
            named(&entries, second, "there twice");
        }
    }
    // The last one gone is a matter of the head alone: a shorter record is whole where its aggregator signs it, and a member that holds
    // the longer head tells (client/tests/record.rs).
    let shorter = &made.entries[..count - 1];
    assert_eq!(fault(&world.file(shorter, made.log.head())).place, Place::Entry(7));
    let uncounted = world.file(&made.entries, made.log.head_at(7).unwrap());
    assert_eq!((fault(&uncounted).place, fault(&uncounted).flaw.code()), (Place::Entry(7), "uncounted"));
}

/// What an aggregator that signs anything could write: each breaks one rule, and is named by it.
#[test]
fn each_rule_that_a_signing_aggregator_breaks_is_named() {
    let world = World::new(&FOUR);
    let made = world.record(&ALL);
    let broken = |change: &dyn Fn(&mut Vec<Entry>), entry: u64, code: &str| {
        let mut entries = made.entries.clone();
        change(&mut entries);
        let found = fault(&world.file(&entries, head(&entries)));
        assert_eq!((found.place, found.flaw.code()), (Place::Entry(entry), code), "{found}");
    };
    // A leaf that says something else than its evidence.
    broken(&|entries| entries[1].leaf.houses.truncate(3), 1, "leaf");
    broken(&|entries| entries[1].leaf.signers.truncate(2), 1, "leaf");
    broken(&|entries| entries[1].leaf.cohort = None, 1, "leaf");
    broken(&|entries| entries[1].leaf.announcement = initial(), 1, "leaf");
    broken(&|entries| entries[1].leaf.conclusion = entries[3].leaf.conclusion, 1, "leaf");
    broken(&|entries| entries[5].leaf.signers = entries[1].leaf.signers.clone(), 5, "leaf");
    let small = |needed, found| Conclusion::Abandoned(Abandonment::CohortTooSmall { needed, found });
    broken(&|entries| entries[2].leaf.conclusion = small(3, 3), 2, "leaf");
    broken(&|entries| entries[2].leaf.conclusion = small(2, 1), 2, "leaf");
    broken(&|entries| entries[1].leaf.conclusion = small(3, 1), 1, "leaf");
    // A reason that nothing contradicts is found by the head that the next announcement has.
    broken(&|entries| entries[2].leaf.conclusion = small(3, 2), 2, "other-leaf");
    let dealer = RosterPosition::new(2).unwrap();
    let other = Conclusion::Abandoned(Abandonment::WrongEnvelope { dealer });
    broken(&|entries| entries[4].leaf.conclusion = other, 4, "leaf");
    // Evidence that is missing, too much, or too little.
    broken(&|entries| entries[1].claim = None, 1, "evidence");
    broken(&|entries| entries[4].complaint = None, 4, "evidence");
    broken(&|entries| entries[5].complaint = entries[4].complaint.clone(), 5, "evidence");
    broken(&|entries| entries[5].claim = entries[1].claim.clone(), 5, "evidence");
    broken(&|entries| entries[1].claim = entries[3].claim.clone(), 1, "wrong-announcement");
    broken(&|entries| entries[1].outcomes.truncate(2), 1, "too-few-outcomes");
    let twice = |entries: &mut Vec<Entry>| entries[1].outcomes[2] = entries[1].outcomes[0].clone();
    broken(&twice, 1, "second-outcome");
    broken(&|entries| entries[1].outcomes[0] = spoil(&entries[1].outcomes[0]), 1, "bad-signature");
    // Cohorts: too small, a house twice, somebody else's word.
    let cohort = |entries: &mut Vec<Entry>, change: &dyn Fn(&mut Vec<Signed<Contribution>>)| {
        change(&mut entries[1].cohort.as_mut().unwrap().contributions);
    };
    broken(&|entries| cohort(entries, &|list| list.truncate(2)), 1, "small-cohort");
    broken(&|entries| cohort(entries, &|list| list[1] = list[0].clone()), 1, "duplicate-in-cohort");
    broken(&|entries| cohort(entries, &|list| list[1] = spoil(&list[1])), 1, "bad-signature");
    let other = world.contribution(0, initial(), b"0");
    broken(&|entries| cohort(entries, &|list| list[0] = other.clone()), 1, "wrong-announcement");
}

/// Attempts that were announced, and signed by everybody, against the order of things.
#[test]
fn a_round_out_of_order_from_another_state_or_with_a_used_key_is_named() {
    let world = World::new(&FOUR);
    let made = world.record(&[End::Applied, End::Void]);
    let (last, log) = (&made.entries[1], made.log.head());
    let next = |change: &dyn Fn(&mut server::Start), sequence: u64, code: &str| {
        let mut start = server::Start {
            round: last.leaf.round,
            attempt: Attempt::new(2).unwrap(),
            adapter: audit(&world.whole(&made)).unwrap().last_state().unwrap(),
            record: log,
        };
        change(&mut start);
        let mut entries = made.entries.clone();
        entries.push(world.entry(&start, sequence, End::Applied));
        let file = world.file(&entries, head(&entries));
        match audit(&file) {
            Ok(_) => assert_eq!(code, "", "it holds"),
            Err(found) => assert_eq!((found.place, found.flaw.code()), (Place::Entry(2), code), "{found}"),
        }
    };
    next(&|_| {}, 2, "");
    // Attempts that nobody announced leave nothing.
    next(&|start| start.attempt = Attempt::new(5).unwrap(), 9, "");
    next(&|start| start.attempt = Attempt::FIRST, 2, "attempt");
    next(&|start| start.round = RoundNumber::new(3).unwrap(), 2, "round");
    next(&|start| start.round = RoundNumber::FIRST, 2, "round");
    next(&|start| start.adapter = initial(), 2, "adapter");
    next(&|start| start.record.size = 3, 2, "moved");
    next(&|_| {}, 1, "key-reused");
    let mut entries = made.entries.clone();
    let forked = server::Start { record: RecordHead { size: 2, root: initial() }, ..world.start() };
    entries.push(world.entry(&forked, 2, End::Applied));
    let found = fault(&world.file(&entries, head(&entries)));
    assert_eq!(
        (found.place, found.flaw.code()),
        (Place::Entry(1), "other-leaf"),
        "the head in it counts another entry"
    );
}

#[test]
fn a_checkpoint_of_another_key_name_size_or_root_or_with_a_line_of_nobody_known_is_refused() {
    use protocol::log::Checkpoint;
    let world = World::new(&FOUR);
    let made = world.record(&SMALL);
    let (charter, log) = (world.federation.charter(), made.log.head());
    let file = |note: &str| {
        let roster = world.federation.roster().to_bytes();
        let mut file = log::file::RecordWriter::new(charter.text(), &roster);
        made.entries.iter().for_each(|entry| file.push(entry));
        audit(&file.finish(note)).map(|audited| audited.cosignatures.len()).map_err(|fault| fault.place)
    };
    let checkpoint = Checkpoint::new(charter.name.as_str(), log);
    let (signed, [first, second]) =
        (checkpoint.sign(&world.aggregator), [0, 1].map(|house| checkpoint.cosign(&world.members[house], 7)));
    assert_eq!(file(&signed), Ok(0));
    assert_eq!(file(&format!("{signed}{first}{second}")), Ok(2));
    let other = Checkpoint::new("elsewhere", log).sign(&world.aggregator);
    let stranger = Signer::new(world.members[1].name().clone(), &[99; 32]);
    let later = Checkpoint::new(charter.name.as_str(), RecordHead { size: 4, ..log });
    for (note, place) in [
        (format!("{signed}{second}{first}"), Place::Checkpoint),
        (format!("{signed}{first}{first}"), Place::Checkpoint),
        (format!("{signed}{}", checkpoint.cosign(&stranger, 7)), Place::Checkpoint),
        (format!("{signed}{}", later.cosign(&world.members[0], 7)), Place::Checkpoint),
        (checkpoint.sign(&world.members[0]), Place::Checkpoint),
        (other, Place::Checkpoint),
        (later.sign(&world.aggregator), Place::Entry(3)),
        (
            Checkpoint::new(charter.name.as_str(), RecordHead { root: initial(), ..log }).sign(&world.aggregator),
            Place::Entry(2),
        ),
    ] {
        assert_eq!(file(&note), Err(place), "{note}");
    }
}

/// Many entries: whichever of them is altered, flipped, deleted, moved or there twice, the audit names it. `PLAINCHANT_ENTRIES` is how many entries, 240 by
/// default, `PLAINCHANT_CASES` in how many places each is done, 40; the table of docs/endurance.md is of 10,000 and 100.
#[test]
fn in_a_long_record_every_altered_flipped_deleted_moved_or_repeated_entry_is_named() {
    let number = |key: &str, default: usize| std::env::var(key).map_or(default, |text| text.parse().unwrap());
    let (count, cases) = (number("PLAINCHANT_ENTRIES", 240), number("PLAINCHANT_CASES", 40));
    let world = World::new(&FOUR);
    let ends: Vec<End> = (0..count)
        .map(|n| match n % 16 {
            3 => End::TooFew,
            5 => End::WrongEnvelope,
            9 => End::Void,
            15 => End::Applied,
            _ => End::Stopped,
        })
        .collect();
    let made = world.record(&ends);
    let file = world.whole(&made);
    let start = std::time::Instant::now();
    let audited = audit(&file).unwrap();
    assert_eq!((audited.head.size, audited.attempts.len()), (count as u64, count));
    println!("{count} entries, {} bytes: audited in {:.2} s", file.len(), start.elapsed().as_secs_f64());
    let mut begins = entry_offsets(&file);
    // The checkpoint's is the last: what is done to it is looked at above.
    assert_eq!(begins.len(), count + 1);
    let checkpoint = begins.pop().unwrap();
    let section = |entry: usize| begins[entry]..begins.get(entry + 1).copied().unwrap_or(checkpoint);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for case in 0..cases {
        // The first and the last but one are among them: what is after the last is the checkpoint.
        let entry = match case {
            0 => 0,
            1 => count - 2,
            _ => rng.random_range(0..count - 1),
        };
        let (one, next) = (section(entry), section(entry + 1));
        let [before, own, following, after] =
            [&file[..one.start], &file[one.clone()], &file[next.clone()], &file[next.end..]];
        let mut flipped = file.clone();
        flipped[rng.random_range(one.clone())] ^= 1 << rng.random_range(0..8);
        let named = |what: &str, file: &[u8], expected: usize| {
            let found = fault(file);
            assert_eq!(found.place, Place::Entry(expected as u64), "{what}: {found}");
        };
        named("flipped", &flipped, entry);
        named("deleted", &[before, following, after].concat(), entry);
        named("moved", &[before, following, own, after].concat(), entry);
        named("there twice", &[before, own, own, following, after].concat(), entry + 1);
        let mut leaf = made.entries[entry].clone();
        match leaf.leaf.conclusion {
            Conclusion::Abandoned(_) => {
                leaf.leaf.conclusion = Conclusion::Abandoned(Abandonment::CohortTooSmall { needed: 3, found: 2 });
            }
            Conclusion::Settled(_) => leaf.leaf.signers.reverse(),
        }
        let mut altered = log::file::RecordWriter::new("", b"");
        altered.push(&leaf);
        let altered = altered.finish("");
        let altered = &altered[entry_offsets(&altered)[0]..*entry_offsets(&altered).last().unwrap()];
        named("another leaf", &[before, altered, following, after].concat(), entry);
    }
    println!("{cases} entries flipped, deleted, moved, repeated and with another leaf: each found, and named");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..400), marked in any::<bool>()) {
        let file = if marked { [MAGIC, &tail].concat() } else { tail };
        prop_assert!(audit(&file).is_err());
    }
}

/// Where each entry's section, and then the checkpoint's, begins.
fn entry_offsets(file: &[u8]) -> Vec<usize> {
    let length = |at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize + 4;
    let mut at = MAGIC.len();
    at += length(at);
    at += length(at);
    let mut begins = Vec::new();
    while at < file.len() {
        begins.push(at);
        at += 1 + length(at + 1);
    }
    begins
}
