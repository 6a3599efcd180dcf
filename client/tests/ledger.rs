//! The privacy ledger of a house in a running federation: an old copy is noticed, whoever still knows a later one; charters that
//! fix their rounds in advance.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use client::crash::{Crash, Moment, Place};
use client::round::RunError;
use common::{Federation, HOUSES, all_completed, logs, wait_for};
use protocol::client::EffectKind;

/// Runs all houses until the first has contributed to two rounds, keeps a copy of its folder, and runs them until it has contributed twice more: the first of these is in a settled round.
async fn spent_more_since(federation: &Federation, copied: &Path) {
    run_until(federation, 2).await;
    copy(&federation.house("abbey"), copied);
    run_until(federation, contributed(federation) + 2).await;
}

async fn run_until(federation: &Federation, rounds: usize) {
    let tasks: Vec<_> = HOUSES.iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    wait_for(&federation.progress("abbey"), "contributed", rounds).await;
    for task in tasks {
        task.abort();
        // Its folder is free once it is gone.
        let _ = task.await;
    }
}

fn contributed(federation: &Federation) -> usize {
    std::fs::read_to_string(federation.progress("abbey")).unwrap().matches("\"phase\":\"contributed\"").count()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

async fn refusal(federation: &Federation) -> RunError {
    let others: Vec<_> = HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let own = federation.spawn("abbey", federation.options("abbey"));
    let result = tokio::time::timeout(std::time::Duration::from_secs(60), own).await.unwrap().unwrap();
    others.iter().for_each(tokio::task::JoinHandle::abort);
    result.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_ledger_put_back_is_noticed_by_the_houses_own_state() {
    logs();
    let federation = Federation::new("aggregator", 60, 0).await;
    let kept = tempfile::tempdir().unwrap();
    spent_more_since(&federation, kept.path()).await;
    let ledger = federation.house("abbey").join("state/ledger");
    std::fs::copy(kept.path().join("state/ledger"), &ledger).unwrap();
    let error = refusal(&federation).await;
    assert!(matches!(&error, RunError::OldLedger { known: "this house's own state", .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_folder_put_back_is_noticed_by_the_federations_record() {
    logs();
    let federation = Federation::new("aggregator", 60, 0).await;
    let kept = tempfile::tempdir().unwrap();
    spent_more_since(&federation, kept.path()).await;
    std::fs::remove_dir_all(federation.house("abbey")).unwrap();
    copy(kept.path(), &federation.house("abbey"));
    let error = refusal(&federation).await;
    assert!(matches!(&error, RunError::OldLedger { known: "the federation's record", .. }), "{error}");
}

/// The charter's rounds are its plan: after them the ledger takes nothing more, and never another charter's.
#[tokio::test(flavor = "multi_thread")]
async fn a_federation_counted_by_loss_distributions_runs_its_rounds_and_its_ledger_takes_no_others() {
    logs();
    let federation = Federation::by_loss_distributions().await;
    terms::check(&federation.charter).unwrap();
    all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    let mut ledger = privacy::Ledger::open(federation.house("abbey").join("state/ledger")).unwrap();
    let spent = ledger.entries().to_vec();
    assert_eq!(spent.len(), 2);
    assert!(matches!(ledger.limit(), Some(privacy::Limit::Plan(plan)) if plan.epsilon() <= 1.5));
    let next = privacy::Entry { round: 3, ..spent[0].clone() };
    let elsewhere = privacy::Entry { federation: [9; 32], ..spent[0].clone() };
    for more in [next, elsewhere] {
        assert!(matches!(ledger.reserve(&[more]), Err(privacy::LedgerError::Unplanned { .. })));
    }
    federation.stop().await;
}

/// Two federations over the same rows with one ledger: what one spends, the other counts.
#[tokio::test(flavor = "multi_thread")]
async fn two_federations_that_share_a_ledger_share_its_ceiling() {
    logs();
    let shared = tempfile::tempdir().unwrap();
    let path = shared.path().join("ledger");
    let one = Federation::new("aggregator", 2, 0).await;
    let two = Federation::new("clients", 2, 0).await;
    for federation in [&one, &two] {
        let file = federation.house("abbey").join("client.toml");
        let config = std::fs::read_to_string(&file).unwrap();
        let with = format!("file = \"none.tsv\"\nledger = {:?}", path.to_str().unwrap());
        std::fs::write(&file, config.replace("file = \"none.tsv\"", &with)).unwrap();
    }
    let run = |federation: &Federation| HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let (first, second) = (run(&one), run(&two));
    all_completed(first.into()).await;
    all_completed(second.into()).await;
    let ledger = privacy::Ledger::open(&path).unwrap();
    assert_eq!(ledger.entries().len(), 4);
    assert!(!one.house("abbey").join("state/ledger").exists());
    let of = |federation: &Federation| *federation.charter.digest().as_bytes();
    for federation in [&one, &two] {
        assert_eq!(ledger.entries().iter().filter(|entry| entry.federation == of(federation)).count(), 2);
    }
}

/// The charter's epsilon is for one attempt here. It fails, since a house is gone, and no house takes part in a second one.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_is_charged_for_no_more_attempts_than_the_charters_epsilon_is_for() {
    logs();
    let federation = Federation::without_spare_attempts("aggregator").await;
    let mut options = federation.options("abbey");
    options.crash = Crash::at(Place::Effect(EffectKind::Submit, Moment::Before));
    let leaving = federation.spawn("abbey", options);
    let tasks: Vec<_> = HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    assert!(matches!(leaving.await.unwrap(), Err(RunError::Stopped(_))));
    for house in &HOUSES[1..] {
        wait_for(&federation.progress(house), "refused", 1).await;
        let lines = std::fs::read_to_string(federation.progress(house)).unwrap();
        assert!(lines.contains("all 1 attempts that the charter may charge this house for"), "{lines}");
        let ledger = privacy::Ledger::open(federation.house(house).join("state/ledger")).unwrap();
        assert_eq!(ledger.entries().len(), 1);
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    federation.stop().await;
}
