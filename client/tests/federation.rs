//! Whole federations over real TLS sockets: four houses, known integers, and the released sum exactly.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use client::crash::{Crash, Moment, Place};
use client::round::RunError;
use common::{Federation, HOUSES, all_completed, integers, logs, wait_for};
use protocol::RoundNumber;
use protocol::client::EffectKind;
use rand::RngExt as _;
use terms::Terms;
use training::Part;

const ALL: &[usize] = &[0, 1, 2, 3];
const WITHOUT_FIRST: &[usize] = &[1, 2, 3];

async fn released_sum_is_exact(policy: &str) {
    logs();
    let federation = Federation::new(policy, 2, 0).await;
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let completed = all_completed(tasks.into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL, ALL]).digest());
    // On this charter's grid the weights are the summed integers times -2^-14: read them back.
    let weights = federation.adapter("dale").flat();
    for (i, weight) in weights.iter().enumerate() {
        let sum: i64 = (1..=2)
            .flat_map(|round| ALL.iter().map(move |house| (round, *house)))
            .map(|(round, house)| integers(house, round, weights.len())[i])
            .sum();
        assert_eq!(f64::from(*weight) * -16_384.0, sum as f64, "coordinate {i}");
    }
    for house in HOUSES {
        assert_eq!(federation.adapter(house).digest(), federation.adapter("dale").digest());
        let ledger = privacy::Ledger::open(federation.house(house).join("state/ledger")).unwrap();
        assert_eq!(ledger.entries().len(), 2);
        assert!(ledger.entries().iter().all(|entry| ledger.is_confirmed(entry)));
    }
    let (aggregator, out) = (federation.house("aggregator"), federation.house("out"));
    for command in ["status", "ledger"] {
        let dir = federation.house("abbey");
        program(client::cli::run, &["plainchant-client".as_ref(), command.as_ref(), dir.as_os_str()]).await;
    }
    let wanted = federation.adapter("dale").digest();
    let charter = federation.charter.clone();
    let kept = federation.stop().await;
    // All houses approved, so the model builder has the adapter, whoever opened the rounds' sums.
    let export = ["plainchant-aggregator".as_ref(), "export".as_ref(), aggregator.as_os_str(), out.as_os_str()];
    program(aggregator::cli::run, &export).await;
    let model = Terms::of(&charter).unwrap().model;
    assert_eq!(adapter::Adapter::load_dir(&out, &model).unwrap().digest(), wanted);
    // What stays of two rounds: a sum of each, for whoever was away, and the last state.
    let files = |folder: &str| std::fs::read_dir(aggregator.join(folder)).map_or(0, Iterator::count);
    assert_eq!((files("blobs/kept"), files("blobs/attempts")), (3, 0));
    drop(kept);
}

/// Runs a program's entry with these arguments, which must succeed.
async fn program(entry: fn(Vec<OsString>) -> ExitCode, args: &[&OsStr]) {
    let args: Vec<OsString> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (shown, code) = (format!("{args:?}"), tokio::task::spawn_blocking(move || entry(args)).await.unwrap());
    assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS), "{shown}");
}

/// A house that has spent almost all of its epsilon elsewhere does not take part any more, whatever the aggregator says. It
/// stays of the committee, and follows the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_at_its_ceiling_does_not_contribute() {
    logs();
    let federation = Federation::new("aggregator", 2, 0).await;
    let state = federation.house("abbey").join("state");
    std::fs::create_dir_all(&state).unwrap();
    // What one attempt of this federation costs, spent in another one until no more of it fits.
    let charter = &federation.charter;
    let name = protocol::HouseName::new("abbey").unwrap();
    let ahead = Part::ahead(charter, &name, RoundNumber::FIRST, protocol::Attempt::FIRST);
    let count = Terms::of(charter).unwrap().first_state().unwrap().adapter().trainable_len();
    let attempt = ahead.ledger_entries(count).unwrap().pop().unwrap();
    let filter = privacy::Filter::for_attempts(&[attempt.rounds()], 8.0, charter.privacy.delta).unwrap();
    let mut ledger = privacy::Ledger::open(state.join("ledger")).unwrap();
    ledger.adopt(privacy::Limit::Filter(filter), privacy::ProtectedUnit::Row, &mut rand::rng()).unwrap();
    let refused = (1..).find_map(|round| {
        let elsewhere = privacy::Entry { federation: [9; 32], round, ..attempt.clone() };
        ledger.reserve(&[elsewhere]).err()
    });
    assert!(matches!(refused, Some(privacy::LedgerError::Ceiling { ceiling: 8.0, .. })), "{refused:?}");
    let spent = ledger.entries().to_vec();
    drop(ledger);
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let completed = all_completed(tasks.into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[WITHOUT_FIRST, WITHOUT_FIRST]).digest());
    let lines = std::fs::read_to_string(federation.progress("abbey")).unwrap();
    assert!(lines.contains("past this house's ceiling") && !lines.contains("contributed"), "{lines}");
    assert_eq!(lines.matches("\"answered\"").count(), 2, "{lines}");
    let ledger = privacy::Ledger::open(state.join("ledger")).unwrap();
    assert_eq!(ledger.entries(), spent);
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_released_sum_is_exactly_the_sum_of_what_went_in_under_policy_aggregator() {
    released_sum_is_exact("aggregator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_released_sum_is_exactly_the_sum_of_what_went_in_under_policy_clients() {
    released_sum_is_exact("clients").await;
}

/// With a trustee, k = 5 and t = 3. A trustee answers and erases its keys, and neither trains nor sees an adapter.
#[tokio::test(flavor = "multi_thread")]
async fn a_trustee_answers_and_holds_no_data() {
    logs();
    let federation = Federation::with_trustees("clients", 2, 0, &["notary"]).await;
    let tasks = [&HOUSES[..], &["notary"]].concat();
    let tasks = tasks.iter().map(|member| federation.spawn(member, federation.options(member))).collect();
    let completed = all_completed(tasks).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL, ALL]).digest());
    let lines = std::fs::read_to_string(federation.progress("notary")).unwrap();
    assert_eq!(lines.matches("\"answered\"").count(), 2, "{lines}");
    assert!(!lines.contains("contributed") && !lines.contains("refused"), "{lines}");
    let state = federation.house("notary").join("state");
    assert!(!state.join("ledger").exists() && !state.join("candidate").exists());
    assert!(!state.join("keys/0").exists() && state.join("keys/31").exists(), "used keys are erased, others kept");
    federation.stop().await;
}

/// Houses are killed at any moment and started again; the aggregator too, now and then.
#[tokio::test(flavor = "multi_thread")]
async fn random_crashes_never_count_a_contribution_twice_or_split_the_houses() {
    logs();
    let mut seed = rand::rng().random::<u64>();
    eprintln!("seed {seed}");
    let mut draw = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut federation = Federation::new("clients", 5, 1).await;
    let mut tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(50 + draw(500))).await;
        let victim = draw(5) as usize;
        if victim == 4 {
            federation.crash_and_restart().await;
            continue;
        }
        if !tasks[victim].is_finished() {
            tasks[victim].abort();
            // It ended, and its folder is free.
            let _ = (&mut tasks[victim]).await;
            tasks[victim] = federation.spawn(HOUSES[victim], federation.options(HOUSES[victim]));
        }
    }
    let completed = all_completed(tasks.into()).await;
    let cohorts: [&[usize]; 5] = [ALL, &[1, 2, 3], &[0, 2, 3], &[0, 1, 3], &[0, 1, 2]];
    assert!(federation.reachable(5, &cohorts).contains(completed.state.as_bytes()));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_that_crashes_between_steps_loses_nothing() {
    logs();
    let mut federation = Federation::new("aggregator", 3, 1).await;
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let progress = federation.progress("abbey");
    for (phase, count) in [("announced", 1), ("contributed", 2), ("attested", 2), ("answered", 2), ("applied", 2)] {
        wait_for(&progress, phase, count).await;
        federation.crash_and_restart().await;
    }
    let completed = all_completed(tasks.into()).await;
    let cohorts: [&[usize]; 5] = [ALL, &[1, 2, 3], &[0, 2, 3], &[0, 1, 3], &[0, 1, 2]];
    assert!(federation.reachable(3, &cohorts).contains(completed.state.as_bytes()));
    federation.stop().await;
}

/// A house is away for rounds 2 to 4 and comes back to the same adapter as the others.
async fn a_house_catches_up(policy: &str) {
    logs();
    let federation = Federation::new(policy, 4, 0).await;
    let mut options = federation.options("abbey");
    options.crash = Crash::at(Place::Effect(EffectKind::SendAnswer, Moment::After));
    let leaving = federation.spawn("abbey", options);
    let staying: Vec<_> = HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let left = tokio::time::timeout(Duration::from_secs(60), leaving).await.unwrap().unwrap();
    assert!(matches!(left, Err(RunError::Stopped(_))), "{left:?}");
    let completed = all_completed(staying).await;
    let history = [ALL, WITHOUT_FIRST, WITHOUT_FIRST, WITHOUT_FIRST];
    assert_eq!(completed.state.as_bytes(), &federation.expected(&history).digest());
    let back = all_completed(vec![federation.spawn("abbey", federation.options("abbey"))]).await;
    assert_eq!(back, completed);
    assert_eq!(federation.adapter("abbey").digest(), federation.adapter("dale").digest());
    let ledger = privacy::Ledger::open(federation.house("abbey").join("state/ledger")).unwrap();
    assert_eq!(ledger.entries().len(), 1, "rounds that were missed cost nothing");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_catches_up_after_three_missed_rounds_under_policy_aggregator() {
    a_house_catches_up("aggregator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_catches_up_after_three_missed_rounds_under_policy_clients() {
    a_house_catches_up("clients").await;
}
