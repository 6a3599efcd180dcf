//! The client beside aggregators of other versions, and a federation that programs of version 1.0 left in the middle of a round.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use client::join::JoinError;
use client::round::{Home, RunError};
use client::version::OtherVersion;
use common::{Federation, HOUSES, all_completed, as_if_joined, integers, logs, wait_for};
use protocol::{Abandonment, Charter, Conclusion};
use protos::version::{Apart, Version};
use serde_json::Value;
use terms::Terms;

const ALL: &[usize] = &[0, 1, 2, 3];

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Runs the program; its exit code, and what it wrote.
async fn program(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-client"));
    command.args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What `doctor` says of the version: its verdict, what it found, and what to do.
async fn doctor(dir: &Path) -> [String; 3] {
    let (_, said, _) = program(&["doctor", dir.to_str().unwrap(), "--json"]).await;
    let said: Value = serde_json::from_str(&said).unwrap();
    let found = said["checks"].as_array().unwrap().iter().find(|one| one["check"] == "version").unwrap();
    ["verdict", "said", "do"].map(|key| found[key].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_while_the_aggregator_is_updated_in_a_round_from_the_version_before_to_the_one_after() {
    logs();
    let mut federation = Federation::that_waits().await;
    federation.halt().await;
    federation.version = version("1.0");
    federation.serve().await;
    let abbey = federation.house("abbey");
    let [verdict, said, _] = doctor(&abbey).await;
    assert!(verdict == "ok" && said.contains("speaks 1.0, this program 1.1: 1.0 is spoken"), "{said}");
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    wait_for(&federation.progress("abbey"), "announced", 1).await;
    federation.version = version("1.2");
    federation.crash_and_restart().await;
    let [verdict, said, todo] = doctor(&abbey).await;
    assert!(verdict == "warn" && said.contains("speaks 1.2, this program 1.1: 1.1 is spoken"), "{said}");
    assert!(todo.contains("install the newer plainchant-client"), "{todo}");
    let completed = all_completed(tasks.into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL; 3]).digest());
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_speaks_nothing_that_the_aggregator_does_ends_says_who_must_update_and_sends_nothing_more() {
    logs();
    let mut federation = Federation::new("aggregator", 1, 0).await;
    let abbey = federation.house("abbey");
    let (dir, new) = (abbey.to_str().unwrap().to_owned(), federation.house("borough"));
    // One that runs, and waits for the others.
    let running = federation.spawn("abbey", federation.options("abbey"));
    wait_for(&federation.progress("abbey"), "ready", 1).await;
    federation.version = version("1.3");
    federation.crash_and_restart().await;
    let apart = |aggregator: &str| Apart { client: Version::PRESENT, aggregator: version(aggregator) };
    let error = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(&error, RunError::OtherVersion(OtherVersion::Apart(found)) if *found == apart("1.3")), "{error}");

    for (aggregator, todo) in
        [("1.3", "install the plainchant-client"), ("2.0", "install"), ("0.9", "ask the model builder")]
    {
        federation.version = version(aggregator);
        federation.crash_and_restart().await;
        let home = Home::open(&abbey).unwrap();
        let trainer = Box::new(common::Known(0));
        let error = client::round::run(home, Some(trainer), federation.options("abbey")).await.unwrap_err();
        assert!(
            matches!(&error, RunError::OtherVersion(OtherVersion::Apart(found)) if *found == apart(aggregator)),
            "{error}"
        );
        // One that has no roster yet.
        let (code, _, said) = program(&["roster", "show", new.to_str().unwrap()]).await;
        let text = format!("speaks version 1.1 of the protocol and the aggregator {aggregator}, ");
        assert!(code == 2 && said.contains(&text) && said.contains(todo), "{code}: {said}");
        let [verdict, said, _] = doctor(&abbey).await;
        assert!(verdict == "fail" && said.contains(&text) && said.contains(todo), "{said}");
        let (code, ..) = program(&["doctor", &dir]).await;
        assert_eq!(code, 2);
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_an_aggregator_of_another_version_and_the_invitation_stays_good() {
    logs();
    let mut federation = Federation::that_dies_often("clients", 1).await;
    federation.version = version("2.0");
    federation.serve().await;
    let abbey = federation.house("abbey");
    let file = abbey.join("invitation");
    let invitation = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    let error = client::join::join(&abbey, &invitation).await.err().unwrap();
    assert!(matches!(error, JoinError::OtherVersion(OtherVersion::Apart(_))), "{error}");
    let args = ["join", abbey.to_str().unwrap(), "--invitation-file", file.to_str().unwrap()];
    let (code, _, said) = program(&args).await;
    assert!(code == 2 && said.contains("install the plainchant-client that the model builder names"), "{code}: {said}");
    federation.version = version("1.2");
    federation.crash_and_restart().await;
    client::join::join(&abbey, &invitation).await.unwrap();
    federation.stop().await;
}

/// Unpacks what `golden/make` made with the programs of a version; `said` in it is what they said of it.
fn golden(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let unpacked = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).status().unwrap();
    assert!(unpacked.success());
    dir
}

/// Authority, server and members get certificates of today, over the keys that the members have.
async fn renew_all(federation: &Federation) {
    let fresh = tempfile::tempdir().unwrap();
    let now_ms = aggregator::clock::now_ms();
    let identity = aggregator::identity::Identity::create(fresh.path(), &[], now_ms, &mut rand::rng()).unwrap();
    for file in ["authority.pem", "authority-key.pem", "server.pem", "server-key.pem"] {
        std::fs::copy(fresh.path().join(file), federation.house("aggregator").join(file)).unwrap();
    }
    for house in HOUSES {
        std::fs::write(federation.house(house).join("authority.der"), identity.authority_der()).unwrap();
        as_if_joined(federation, house, 0).await;
    }
}

async fn aggregators(args: &[&str]) {
    let args: Vec<std::ffi::OsString> = ["plainchant-aggregator"].iter().chain(args).map(Into::into).collect();
    let code = tokio::task::spawn_blocking(move || aggregator::cli::run(args)).await.unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

/// The record's file, as today's program writes it.
async fn record(federation: &Federation) -> (PathBuf, Vec<u8>) {
    let file = federation.path().join("record");
    aggregators(&["log", federation.house("aggregator").to_str().unwrap(), "--out", file.to_str().unwrap()]).await;
    let bytes = std::fs::read(&file).unwrap();
    (file, bytes)
}

/// How many attempts a house's ledger has.
fn charged(federation: &Federation, house: &str) -> usize {
    privacy::Ledger::open(federation.house(house).join("state/ledger")).unwrap().entries().len()
}

/// Programs of version 1.0 played round 1, and were killed in round 2 when three of four contributions were acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_was_stored_by_version_1_0_opens_ends_cleanly_and_the_federation_is_finished() {
    logs();
    let old = golden("v1_0.tar.gz");
    let said = |file: &str| std::fs::read(old.path().join("said").join(file)).unwrap();
    let charter =
        Charter::parse(&std::fs::read_to_string(old.path().join("aggregator/charter.toml")).unwrap()).unwrap();
    let membership = std::fs::read_to_string(old.path().join("abbey/membership.toml")).unwrap();
    let (_, rest) = membership.split_once("https://").unwrap();
    let before = rest.split('"').next().unwrap().parse().unwrap();
    let mut federation = Federation::copy_of(old.path(), &charter, before);

    // Today's program says of the folder what the old one did: the stored steps, replayed, and the record.
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let status = serde_json::to_string(&aggregator::status::read(&home).await.unwrap()).unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    home.store.close().await;
    let old_status: Value = serde_json::from_slice(&said("status.json")).unwrap();
    // What it cost is the accountant's figure, and nothing that is stored.
    for (key, value) in old_status.as_object().unwrap().iter().filter(|(key, _)| *key != "epsilon") {
        assert_eq!(&status[key], value, "{key}");
    }
    assert_eq!(status["contributed"], serde_json::json!(["abbey", "borough", "county"]));
    assert_eq!(record(&federation).await.1, said("record"));
    let old_record = protocol::log::audit::audit(&said("record")).unwrap();
    assert_eq!((old_record.head.size, old_record.applied()), (1, 1));

    // Its houses have the state that the old record says, and go on from it.
    let terms = Terms::of(&charter).unwrap();
    let kept = std::fs::read(federation.house("abbey").join("state/adapter")).unwrap();
    let mut expected = terms.read_state(&kept).unwrap();
    assert_eq!(expected.digest(), *old_record.attempts[0].applied().unwrap().as_bytes());
    let count = expected.update_len();
    let sum: Vec<i64> = (0..count).map(|i| ALL.iter().map(|house| integers(*house, 2, count)[i]).sum()).collect();
    expected.apply(&sum, terms::unit(&charter), 16.0).unwrap();
    let before = HOUSES.map(|house| charged(&federation, house));

    renew_all(&federation).await;
    federation.serve().await;
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let completed = all_completed(tasks.into()).await;
    assert_eq!((completed.rounds, completed.state.as_bytes()), (2, &expected.digest()));

    // The old attempt's time was over; it is on the record as that, after what was there, and it stays charged.
    let (file, bytes) = record(&federation).await;
    let audited = protocol::log::audit::audit(&bytes).unwrap();
    assert_eq!(audited.attempts[0], old_record.attempts[0]);
    let leaves: Vec<_> = audited.attempts.iter().map(|one| (one.leaf.round.get(), one.leaf.attempt.get())).collect();
    assert_eq!(leaves, [(1, 1), (2, 1), (2, 2)]);
    let ended = &audited.attempts[1].leaf.conclusion;
    assert!(matches!(ended, Conclusion::Abandoned(Abandonment::TooFewAnswers { .. })), "{ended:?}");
    for (house, before) in HOUSES.iter().zip(before) {
        assert_eq!(charged(&federation, house), before + 1, "{house}");
        let dir = federation.house(house);
        let verified = program(&["verify", file.to_str().unwrap(), "--dir", dir.to_str().unwrap()]).await;
        assert_eq!(verified.0, 0, "{house}: {}", verified.2);
    }
    federation.stop().await;
}
