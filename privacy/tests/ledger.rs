//! The ledger on a real file: spending, crashes, tampering.
#![expect(clippy::unwrap_used, reason = "tests")]

use privacy::accountant::{AccountantError, Rounds, epsilon, epsilon_of_renyi, pld, renyi, rounds_for};
use privacy::{Entry, Filter, Kind, Ledger, LedgerError, Limit, Plan, Planned, PlannedRounds, ProtectedUnit};
use std::{fs, path::PathBuf};

const DELTA: f64 = 1e-5;
/// Digest of what left.
const LEFT: [u8; 32] = [3; 32];

struct Home {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn home() -> Home {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.jsonl");
    Home { _directory: directory, path }
}

fn entry(round: u64) -> Entry {
    Entry {
        federation: [7; 32],
        house: "north".to_owned(),
        round,
        attempt: 1,
        kind: Kind::Training,
        rate: 256.0 / 11945.0,
        noise_multiplier: 0.81,
        steps: 1,
        dimension: 20_000,
        integer_norm: 1 << 15,
        shares: 3,
        share_deviation: 15_324.25,
    }
}

/// A ledger of three lines: round 1 reserved and confirmed, round 2 reserved.
fn three_lines(home: &Home) -> Vec<u8> {
    let mut ledger = Ledger::open(&home.path).unwrap();
    ledger.reserve(&[entry(1)]).unwrap();
    ledger.confirm(&[entry(1)], LEFT).unwrap();
    ledger.reserve(&[entry(2)]).unwrap();
    fs::read(&home.path).unwrap()
}

#[test]
fn a_reservation_is_on_the_disk_and_spent_before_it_is_confirmed() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    assert_eq!(ledger.epsilon(DELTA).unwrap().epsilon, 0.0);
    let foreseen = ledger.epsilon_with(&[entry(1)], DELTA).unwrap();
    ledger.reserve(&[entry(1)]).unwrap();
    assert_eq!(fs::read(&home.path).unwrap().iter().filter(|byte| **byte == b'\n').count(), 1);
    assert_eq!(ledger.epsilon(DELTA).unwrap(), foreseen);
    ledger.confirm(&[entry(1)], LEFT).unwrap();
    ledger.confirm(&[entry(1)], LEFT).unwrap();
    assert_eq!(ledger.epsilon(DELTA).unwrap(), foreseen);
    assert_eq!(ledger.head().lines, 2);
}

#[test]
fn reloading_gives_the_same_entries_bit_for_bit() {
    let home = home();
    let odd = [0.1 + 0.2, f64::MIN_POSITIVE, 1.0 / 3.0, 1.0 - f64::EPSILON / 2.0];
    let entries: Vec<Entry> = odd
        .iter()
        .zip(1..)
        .map(|(rate, round)| Entry {
            rate: *rate,
            kind: Kind::Evaluation,
            federation: [round as u8; 32],
            ..entry(round)
        })
        .collect();
    let mut ledger = Ledger::open(&home.path).unwrap();
    for entry in &entries {
        ledger.reserve(std::slice::from_ref(entry)).unwrap();
    }
    ledger.confirm(&entries[2..=2], LEFT).unwrap();
    let (spent, head) = (ledger.epsilon(DELTA).unwrap(), ledger.head());
    drop(ledger);
    let ledger = Ledger::open(&home.path).unwrap();
    assert_eq!(ledger.entries(), entries);
    assert_eq!((ledger.epsilon(DELTA).unwrap(), ledger.head()), (spent, head));
    assert!(ledger.is_confirmed(&entries[2]) && !ledger.is_confirmed(&entries[1]));
}

#[test]
fn equal_rounds_cost_what_the_accountant_says_of_them_together() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    for round in 1..=60 {
        ledger.reserve(&[entry(round).clone()]).unwrap();
    }
    let other = Entry { kind: Kind::Evaluation, rate: 1.0, noise_multiplier: 20.0, share_deviation: 4e5, ..entry(60) };
    ledger.reserve(std::slice::from_ref(&other)).unwrap();
    let expected = epsilon(&[Rounds::new(256.0 / 11945.0, 0.81, 60), Rounds::new(1.0, 20.0, 1)], DELTA).unwrap();
    assert!((ledger.epsilon(DELTA).unwrap().epsilon / expected.epsilon - 1.0).abs() < 1e-12);
}

fn filter(ceiling: f64) -> Filter {
    Filter::for_attempts(&[entry(1).rounds()], ceiling, DELTA).unwrap()
}

fn limit(ceiling: f64) -> Limit {
    Limit::Filter(filter(ceiling))
}

fn order_of(ledger: &Ledger) -> f64 {
    let Some(Limit::Filter(filter)) = ledger.limit() else { panic!("no filter") };
    filter.order()
}

/// The filter's order is the one that is best at the ceiling, so nothing is lost against the accountant that looks at all
/// orders; and the accountant agrees with every refusal and every permission.
#[test]
fn the_filter_lets_in_as_many_equal_rounds_as_the_accountant_and_refuses_before_anything_is_written() {
    for ceiling in [2.5, 3.0, 4.0] {
        let home = home();
        let mut ledger = Ledger::open(&home.path).unwrap();
        ledger.adopt(limit(ceiling), ProtectedUnit::Row, &mut rand::rng()).unwrap();
        let mut rounds = 0;
        let refusal = loop {
            match ledger.reserve(&[entry(rounds + 1).clone()]) {
                Ok(()) => rounds += 1,
                Err(error) => break error,
            }
        };
        let LedgerError::Ceiling { would_be, order, .. } = refusal else { panic!("{refusal}") };
        assert!(rounds > 0 && would_be > ceiling && order == order_of(&ledger));
        let most = rounds_for(ceiling, DELTA, entry(1).rate, 0.81).unwrap();
        assert_eq!(rounds, most, "ceiling {ceiling}");
        assert_eq!(ledger.head().lines, rounds + 1);
        drop(ledger);
        let mut ledger = Ledger::open(&home.path).unwrap();
        assert!(matches!(ledger.check(&[entry(999)]), Err(LedgerError::Ceiling { .. })), "restart");
    }
}

/// Rounds of several kinds, chosen one after the other: their divergences at the one order never pass the budget, whichever
/// order would be better for the mixture.
#[test]
fn a_mixture_of_rounds_is_counted_at_the_order_that_was_fixed_first() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    ledger.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    let order = order_of(&ledger);
    let kinds = [(0.05, 1.5, 28_378.0), (1.0, 12.0, 227_024.0), (256.0 / 11945.0, 0.81, 15_324.25)];
    let mut spent = 0.0;
    for round in 1..500 {
        let (rate, noise_multiplier, share_deviation) = kinds[round as usize % 3];
        let next = Entry { rate, noise_multiplier, share_deviation, ..entry(round) };
        let cost = renyi(&next.rounds(), order).unwrap();
        let fits = epsilon_of_renyi(spent + cost, order, DELTA).unwrap() <= 3.0;
        assert_eq!(ledger.reserve(std::slice::from_ref(&next)).is_ok(), fits, "round {round}");
        if fits {
            spent += cost;
        }
    }
    assert!(ledger.entries().len() > 5 && epsilon_of_renyi(spent, order, DELTA).unwrap() <= 3.0);
    // What is proven adaptively is at least what the best order says afterwards.
    assert!(ledger.epsilon(DELTA).unwrap().epsilon <= 3.0);
}

#[test]
fn a_ceiling_is_fixed_once_and_before_the_first_round() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    ledger.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    ledger.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    assert_eq!(ledger.head().lines, 1);
    for other in [filter(2.5), Filter::for_attempts(&[entry(1).rounds()], 3.0, 1e-6).unwrap()] {
        let refused = ledger.adopt(Limit::Filter(other), ProtectedUnit::Row, &mut rand::rng()).unwrap_err();
        assert!(matches!(refused, LedgerError::OtherLimit { ceiling, .. } if ceiling == 3.0), "{refused}");
    }
    drop(ledger);
    assert_eq!(Ledger::open(&home.path).unwrap().limit(), Some(&limit(3.0)));
    let old = self::home();
    three_lines(&old);
    let mut ledger = Ledger::open(&old.path).unwrap();
    assert!(matches!(ledger.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()), Err(LedgerError::NoLimit { .. })));
    for ceiling in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let refused = Filter::for_attempts(&[entry(1).rounds()], ceiling, DELTA);
        assert!(matches!(refused, Err(LedgerError::Accountant(AccountantError::Epsilon(_)))));
    }
    let one_is_too_much = Filter::for_attempts(&[entry(1).rounds()], 0.01, DELTA);
    let Err(LedgerError::CeilingTooLow { needed, .. }) = one_is_too_much else { panic!() };
    assert!((needed / epsilon(&[entry(1).rounds()], DELTA).unwrap().epsilon - 1.0).abs() < 1e-12);
    assert!(Filter::for_attempts(&[entry(1).rounds()], needed * 1.001, DELTA).is_ok());
}

#[test]
fn a_round_is_reserved_once_but_a_new_attempt_or_kind_is_another() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    ledger.reserve(&[entry(1)]).unwrap();
    let louder = Entry { noise_multiplier: 0.5, ..entry(1) };
    for again in [entry(1), louder] {
        assert!(matches!(
            ledger.reserve(std::slice::from_ref(&again)),
            Err(LedgerError::AlreadyReserved { round: 1, attempt: 1 })
        ));
    }
    ledger.reserve(&[Entry { attempt: 2, ..entry(1) }]).unwrap();
    ledger.reserve(&[Entry { kind: Kind::Evaluation, ..entry(1) }]).unwrap();
    ledger.reserve(&[Entry { federation: [8; 32], ..entry(1) }]).unwrap();
    // Two houses over the same data: what one was charged does not let the other train.
    let south = Entry { house: "south".to_owned(), ..entry(1) };
    assert!(!ledger.is_reserved(&south));
    ledger.reserve(std::slice::from_ref(&south)).unwrap();
    ledger.confirm(std::slice::from_ref(&south), LEFT).unwrap();
    assert!(ledger.is_confirmed(&south) && !ledger.is_confirmed(&entry(1)));
    assert!(matches!(ledger.confirm(&[entry(5)], LEFT), Err(LedgerError::NotReserved { round: 5, attempt: 1 })));
    let wrong = Entry { rate: 1.5, ..entry(9) };
    assert!(matches!(
        ledger.reserve(std::slice::from_ref(&wrong)),
        Err(LedgerError::Accountant(AccountantError::Rate(_)))
    ));
    assert_eq!(ledger.head().lines, 6);
}

/// Two processes with the same data: both see what either spent, and together they stay below the one ceiling.
#[test]
fn two_openings_of_one_ledger_share_its_ceiling() {
    let home = home();
    let mut pair = [Ledger::open(&home.path).unwrap(), Ledger::open(&home.path).unwrap()];
    for ledger in &mut pair {
        ledger.adopt(limit(2.5), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    }
    let most = rounds_for(2.5, DELTA, entry(1).rate, 0.81).unwrap();
    let mut reserved = 0;
    for round in 1..=most + 5 {
        let one = Entry { federation: [round as u8 % 2; 32], ..entry(round) };
        reserved += u64::from(pair[round as usize % 2].reserve(&[one]).is_ok());
    }
    assert_eq!(reserved, most);
    pair.iter_mut().for_each(|ledger| ledger.refresh().unwrap());
    assert_eq!((pair[0].entries(), pair[0].head()), (pair[1].entries(), pair[1].head()));
    // Lines that were there and are gone are noticed by who knew them.
    fs::write(&home.path, "").unwrap();
    assert!(matches!(pair[0].reserve(&[entry(900)]), Err(LedgerError::Altered { .. })));
    // And nothing goes on from what was read half.
    fs::write(&home.path, b"not a ledger at all, and long enough to be past what was known").unwrap();
    assert!(matches!(pair[0].reserve(&[entry(900)]), Err(LedgerError::Broken { .. })));
}

/// Lines that another process appended, the last of them wrong: the right ones before it must not be forgotten by going on.
#[test]
fn a_ledger_that_met_a_wrong_line_refuses_everything_until_it_is_opened_again() {
    let home = home();
    let mut first = Ledger::open(&home.path).unwrap();
    let mut second = Ledger::open(&home.path).unwrap();
    second.reserve(&[entry(1)]).unwrap();
    let mut bytes = fs::read(&home.path).unwrap();
    bytes.extend(b"{}\n");
    fs::write(&home.path, bytes).unwrap();
    assert!(matches!(first.reserve(&[entry(2)]), Err(LedgerError::Altered { line: 2, .. })));
    assert!(matches!(first.reserve(&[entry(2)]), Err(LedgerError::Broken { .. })));
    assert!(matches!(first.check(&[entry(2)]), Err(LedgerError::Broken { .. })));
}

#[test]
fn the_lines_of_one_attempt_fit_together_or_none_is_written() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    let evaluation =
        Entry { kind: Kind::Evaluation, rate: 1.0, noise_multiplier: 3.0, share_deviation: 6e4, ..entry(1) };
    let both = [entry(1), evaluation.clone()];
    let of =
        |entries: &[Entry]| epsilon(&entries.iter().map(Entry::rounds).collect::<Vec<_>>(), DELTA).unwrap().epsilon;
    let ceiling = (of(&both) + of(&both[1..])) / 2.0;
    assert!(of(&both[1..]) < ceiling && ceiling < of(&both));
    let filter = Filter::for_attempts(&[evaluation.rounds()], ceiling, DELTA).unwrap();
    ledger.adopt(Limit::Filter(filter), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    assert!(matches!(ledger.reserve(&both), Err(LedgerError::Ceiling { .. })));
    assert_eq!(ledger.head().lines, 1);
    ledger.reserve(&both[1..]).unwrap();
}

/// A crash between two lines of an attempt: nothing was trained yet, so the call is made again and writes what is missing.
#[test]
fn an_attempt_of_which_a_crash_left_one_line_is_completed() {
    let home = home();
    let evaluation =
        Entry { kind: Kind::Evaluation, rate: 1.0, noise_multiplier: 30.0, share_deviation: 6e5, ..entry(1) };
    let both = [entry(1), evaluation];
    let mut ledger = Ledger::open(&home.path).unwrap();
    ledger.reserve(&both).unwrap();
    drop(ledger);
    let whole = fs::read(&home.path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for cut in [first, first + 1, first + 200, whole.len() - 2] {
        fs::write(&home.path, &whole[..cut]).unwrap();
        let mut ledger = Ledger::open(&home.path).unwrap();
        assert_eq!(ledger.entries().len(), 1);
        ledger.reserve(&both).unwrap();
        assert_eq!(ledger.entries(), both);
        assert!(matches!(ledger.reserve(&both), Err(LedgerError::AlreadyReserved { .. })));
    }
}

fn plan(most: u64, ceiling: f64) -> Result<Plan, LedgerError> {
    let line = Planned { kind: Kind::Training, rounds: PlannedRounds::from(&entry(1)), most };
    Plan::new([7; 32], vec![line], ceiling, DELTA)
}

#[test]
fn a_plan_takes_its_charters_rounds_as_often_as_it_says_and_no_others() {
    let home = home();
    let mut ledger = Ledger::open(&home.path).unwrap();
    let whole = pld::epsilon(&[Rounds { rounds: 3, ..entry(1).rounds() }], DELTA).unwrap();
    ledger.adopt(Limit::Plan(plan(3, 3.0).unwrap()), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    assert_eq!(ledger.epsilon(DELTA).unwrap().epsilon, 0.0);
    let strange = [
        Entry { federation: [8; 32], ..entry(1) },
        Entry { rate: 0.03, ..entry(1) },
        Entry { noise_multiplier: 0.8, ..entry(1) },
        Entry { steps: 2, ..entry(1) },
        Entry { kind: Kind::Evaluation, ..entry(1) },
        Entry { shares: 4, ..entry(1) },
    ];
    for entry in strange {
        assert!(matches!(ledger.reserve(&[entry]), Err(LedgerError::Unplanned { .. })));
    }
    ledger.reserve(&[entry(1)]).unwrap();
    assert_eq!(ledger.epsilon(DELTA).unwrap().epsilon, whole);
    // Fewer shares, each wider, cost no more.
    ledger.reserve(&[Entry { shares: 2, share_deviation: 19_000.0, ..entry(2) }]).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&home.path).unwrap();
    ledger.adopt(Limit::Plan(plan(3, 3.0).unwrap()), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    ledger.reserve(&[Entry { attempt: 2, ..entry(2) }]).unwrap();
    assert!(matches!(ledger.check(&[entry(3)]), Err(LedgerError::Unplanned { round: 3, .. })));
    for other in [Limit::Plan(plan(4, 3.0).unwrap()), limit(3.0)] {
        assert!(matches!(
            ledger.adopt(other, ProtectedUnit::Row, &mut rand::rng()),
            Err(LedgerError::OtherLimit { .. })
        ));
    }
    let Err(LedgerError::CeilingTooLow { needed, .. }) = plan(3, whole * 0.9) else { panic!() };
    assert_eq!(needed, whole);
}

#[test]
fn the_digest_of_a_ledger_with_a_limit_hides_its_lines_behind_a_salt() {
    let heads: Vec<[u8; 32]> = (0..2)
        .map(|_| {
            let home = home();
            let mut ledger = Ledger::open(&home.path).unwrap();
            ledger.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()).unwrap();
            ledger.reserve(&[entry(1)]).unwrap();
            ledger.head().digest
        })
        .collect();
    assert_ne!(heads[0], heads[1], "the same lines");
}

#[test]
fn a_crash_at_any_byte_of_a_write_loses_at_most_the_unacknowledged_line() {
    let home = home();
    let bytes = three_lines(&home);
    let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(i, _)| i).collect();
    // Every byte around the newlines, every seventh elsewhere: each cut costs several fsyncs.
    let near = |length: usize| ends.iter().any(|end| length.abs_diff(*end) <= 2) || length < 3;
    for length in (0..=bytes.len()).filter(|length| length % 7 == 0 || near(*length)) {
        fs::write(&home.path, &bytes[..length]).unwrap();
        let mut ledger = Ledger::open(&home.path).unwrap();
        // A line counts when all of it is there, its newline or not.
        let lines = ends.iter().filter(|end| length >= **end).count() as u64;
        assert_eq!(ledger.head().lines, lines, "cut to {length}");
        ledger.reserve(&[entry(3)]).unwrap();
        drop(ledger);
        assert_eq!(Ledger::open(&home.path).unwrap().head().lines, lines + 1, "after repair of {length}");
    }
}

#[test]
fn blocks_that_were_never_filled_are_a_torn_line_but_a_foreign_file_is_left_alone() {
    let home = home();
    let mut bytes = three_lines(&home);
    bytes.extend([0; 700]);
    fs::write(&home.path, &bytes).unwrap();
    assert_eq!(Ledger::open(&home.path).unwrap().head().lines, 3);
    assert_eq!(fs::read(&home.path).unwrap().len(), bytes.len() - 700);

    fs::write(&home.path, "not a ledger").unwrap();
    assert!(matches!(Ledger::open(&home.path), Err(LedgerError::Altered { line: 1, .. })));
    assert_eq!(fs::read(&home.path).unwrap(), b"not a ledger");
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_that_names_its_line() {
    let home = home();
    let bytes = three_lines(&home);
    let mut line = 1;
    for at in 0..bytes.len() - 1 {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        fs::write(&home.path, &altered).unwrap();
        match Ledger::open(&home.path) {
            Err(LedgerError::Altered { line: named, .. }) => assert_eq!(named, line, "byte {at}"),
            other => panic!("byte {at}: {other:?}"),
        }
        line += u64::from(bytes[at] == b'\n');
    }
}

#[test]
fn deleted_swapped_repeated_and_rewritten_lines_are_named() {
    let home = home();
    let text = String::from_utf8(three_lines(&home)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let spaced = lines[1].replace(':', ": ");
    for (altered, expected) in [
        (vec![lines[1], lines[2]], 1),
        (vec![lines[0], lines[2]], 2),
        (vec![lines[0], lines[2], lines[1]], 2),
        (vec![lines[0], lines[0], lines[1]], 2),
        (vec![lines[0], &spaced, lines[2]], 2),
        (vec![lines[0], "", lines[1]], 2),
        (vec![lines[0], lines[1], lines[2], "{}"], 4),
    ] {
        fs::write(&home.path, altered.join("\n") + "\n").unwrap();
        match Ledger::open(&home.path) {
            Err(LedgerError::Altered { line, .. }) => assert_eq!(line, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_old_copy_put_back_is_noticed_by_a_head_kept_elsewhere() {
    let home = home();
    let old = three_lines(&home);
    let mut ledger = Ledger::open(&home.path).unwrap();
    let before = ledger.head();
    ledger.reserve(&[entry(3)]).unwrap();
    let head = ledger.head();
    assert!(ledger.includes(&before.digest) && ledger.includes(&head.digest));
    assert!(ledger.includes(&[0; 32]));
    drop(ledger);
    fs::write(&home.path, &old).unwrap();
    let mut restored = Ledger::open(&home.path).unwrap();
    assert!(restored.includes(&before.digest) && !restored.includes(&head.digest));
    restored.reserve(&[entry(4)]).unwrap();
    assert!(!restored.includes(&head.digest), "another fourth line");
}

#[test]
fn a_missing_directory_is_an_error_with_the_path() {
    let home = home();
    let error = Ledger::open(home.path.join("nowhere")).unwrap_err();
    assert!(matches!(&error, LedgerError::Io { .. }) && error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn one_charge_is_for_one_contribution_whoever_asks() {
    let home = home();
    let mut pair = [Ledger::open(&home.path).unwrap(), Ledger::open(&home.path).unwrap()];
    pair[0].reserve(&[entry(1)]).unwrap();
    pair[1].refresh().unwrap();
    pair[0].confirm(&[entry(1)], LEFT).unwrap();
    let refused = pair[1].confirm(&[entry(1)], [4; 32]).unwrap_err();
    assert!(matches!(refused, LedgerError::AlreadyConfirmed { round: 1, attempt: 1 }), "{refused}");
    pair[1].confirm(&[entry(1)], LEFT).unwrap();
    assert_eq!(Ledger::open(&home.path).unwrap().head().lines, 2);
}

/// What is spent is spent for one neighbouring relation: charges for others are refused, by both names.
#[test]
fn a_ledger_keeps_to_what_it_protects() {
    let column = |name: &str| ProtectedUnit::Column(name.to_owned());
    let units = [ProtectedUnit::Row, column("patient"), column("ward"), ProtectedUnit::House];
    for own in &units {
        let home = home();
        let mut ledger = Ledger::open(&home.path).unwrap();
        ledger.adopt(limit(3.0), own.clone(), &mut rand::rng()).unwrap();
        let mut again = Ledger::open(&home.path).unwrap();
        assert_eq!(again.unit(), Some(own));
        for asked in &units {
            match again.adopt(limit(3.0), asked.clone(), &mut rand::rng()) {
                Ok(()) => assert_eq!(own, asked),
                Err(LedgerError::OtherUnit { own: found, asked: refused, .. }) => {
                    assert!(own != asked && found == *own && refused == *asked);
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[test]
fn rows_that_left_without_noise_get_no_epsilon_and_rows_with_an_epsilon_do_not_leave_without() {
    let bare = home();
    let mut ledger = Ledger::open(&bare.path).unwrap();
    ledger.give_up_protection([7; 32], "north").unwrap();
    ledger.give_up_protection([7; 32], "north").unwrap();
    ledger.give_up_protection([7; 32], "south").unwrap();
    let mut again = Ledger::open(&bare.path).unwrap();
    assert!(again.is_unprotected() && again.head().lines == 2);
    let refused = again.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()).unwrap_err();
    assert!(matches!(refused, LedgerError::Unprotected { .. }), "{refused}");
    assert!(matches!(again.reserve(&[entry(1)]), Err(LedgerError::Unprotected { .. })));
    let promised = home();
    let mut ledger = Ledger::open(&promised.path).unwrap();
    ledger.adopt(limit(3.0), ProtectedUnit::Row, &mut rand::rng()).unwrap();
    assert!(matches!(ledger.give_up_protection([7; 32], "north"), Err(LedgerError::Protected { .. })));
}

#[cfg(unix)]
#[test]
fn the_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = home();
    Ledger::open(&home.path).unwrap();
    Ledger::open(&home.path).unwrap();
    assert_eq!(fs::metadata(&home.path).unwrap().permissions().mode() & 0o777, 0o600);
}
