//! What a disk does to files: in each case one byte of one file of the aggregator or of a house is flipped, or the file is cut short, and the federation
//! goes on. It comes to the state that it would have come to, or somebody stops and says which file is wrong; nobody ever has another state, and
//! nothing panics.
//!
//! `PLAINCHANT_TORN_CASES` is how many, 100 by default; the table of docs/operations.md is of 1,000. `PLAINCHANT_SEED=n` plays one case again.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::crash::{Crash, Moment, Place};
use client::round::{Home, RunError};
use common::{Federation, HOUSES, Known, logs};
use futures::StreamExt as _;
use protocol::Charter;
use protocol::client::EffectKind;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;

/// Cases at once.
const TOGETHER: usize = 8;
/// A case that has neither ended nor failed by then stands still.
const PATIENCE: Duration = Duration::from_secs(20);
const ALL: &[usize] = &[0, 1, 2, 3];

/// What a file is, for the table.
fn kind(path: &Path) -> String {
    let parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
    match parts.as_slice() {
        ["aggregator", "blobs", "kept", ..] => "aggregator: sums and states",
        ["aggregator", "blobs", ..] => "aggregator: runs and shares of contributions",
        ["aggregator", "plainchant.db", ..] => "aggregator: database",
        ["aggregator", ..] if parts[1].starts_with("plainchant.db") => "aggregator: the database's log",
        ["aggregator", ..] => "aggregator: keys, certificates, charter",
        [_, "keys", ..] => "house: its own keys",
        [_, "state", "keys", ..] => "house: one-time keys",
        [_, "state", "rounds", ..] => "house: contributions",
        [_, "state", "ledger", ..] => "house: ledger",
        [_, "state", ..] => "house: roster, memory, states",
        [_, "adapter", ..] => "house: adapter",
        _ => "house: membership, certificates, client.toml",
    }
    .to_owned()
}

fn files(below: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![below.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                // Locks are empty, and nobody reads what a house reports.
                false if entry.metadata().unwrap().len() > 0 && entry.file_name() != "progress.jsonl" => {
                    all.push(entry.path().strip_prefix(below).unwrap().to_owned());
                }
                false => {}
            }
        }
    }
    all.sort();
    all
}

/// Damages the file; gives what was done.
fn damage(file: &Path, rng: &mut StdRng) -> String {
    let mut bytes = std::fs::read(file).unwrap();
    let at = rng.random_range(0..bytes.len());
    let what = if rng.random_ratio(1, 3) {
        bytes.truncate(at);
        format!("cut to {at} bytes")
    } else {
        let bit = rng.random_range(0..8);
        bytes[at] ^= 1 << bit;
        format!("bit {bit} of byte {at} flipped")
    };
    std::fs::write(file, bytes).unwrap();
    what
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Everybody has the state that there is without damage.
    Right,
    /// Somebody stopped, and said this.
    Named(String),
    /// Nobody stopped, and it did not go on.
    Still,
}

/// Two rounds are done; in the third all have contributed, and nobody has looked at its shares yet. Gives the folders, their charter and address.
async fn in_the_third_round() -> (tempfile::TempDir, Charter, SocketAddr) {
    let federation = Federation::that_waits().await;
    let tasks = HOUSES.map(|house| {
        let (rounds, mut options) = (AtomicUsize::new(0), federation.options(house));
        options.crash = Crash::new(move |place| {
            let third = matches!(place, Place::Effect(EffectKind::CheckShares, Moment::Before))
                && rounds.fetch_add(1, Ordering::Relaxed) == 2;
            if third { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        federation.spawn(house, options)
    });
    for task in tasks {
        let stopped = task.await.unwrap();
        assert!(matches!(stopped, Err(RunError::Stopped(_))), "{stopped:?}");
    }
    let (charter, addr) = (federation.charter.clone(), federation.addr);
    (federation.stop().await, charter, addr)
}

/// One case. Gives the kind of file, what was done to which, and what came of it.
async fn case(folders: &Path, charter: &Charter, before: SocketAddr, seed: u64) -> (String, String, Outcome) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut federation = Federation::copy_of(folders, charter, before);
    let mut by_kind = BTreeMap::<String, Vec<PathBuf>>::new();
    for file in files(federation.path()) {
        by_kind.entry(kind(&file)).or_default().push(file);
    }
    // Each kind as often, however many files it has.
    let (kind, files) = by_kind.iter().nth(rng.random_range(0..by_kind.len())).unwrap();
    let file = &files[rng.random_range(0..files.len())];
    let done = damage(&federation.path().join(file), &mut rng);
    let outcome = go_on(&mut federation).await;
    federation.end().await;
    // Whatever came of it, no house has a state but those of two and of three rounds.
    let allowed = [&[ALL, ALL][..], &[ALL; 3]].map(|rounds| federation.expected(rounds).adapter().digest());
    for house in HOUSES {
        let saved = federation.house(house).join("adapter");
        if !file.starts_with(Path::new(house).join("adapter")) {
            let model = terms::Terms::of(charter).unwrap().model;
            let adapter = adapter::Adapter::load_dir(&saved, &model).unwrap();
            assert!(
                allowed.contains(&adapter.digest()),
                "seed {seed}: {}: {done}: {house} has another state",
                file.display()
            );
        }
    }
    (kind.clone(), format!("{}: {done}", file.display()), outcome)
}

async fn go_on(federation: &mut Federation) -> Outcome {
    if let Err(error) = federation.try_serve().await {
        return Outcome::Named(format!("aggregator: {error}"));
    }
    // They end when this is dropped.
    let mut running = JoinSet::new();
    for (number, house) in HOUSES.iter().enumerate() {
        let home = match Home::open(&federation.house(house)) {
            Ok(home) => home,
            Err(error) => return Outcome::Named(format!("{house}: {error}")),
        };
        let run = client::round::run(home, Some(Box::new(Known(number))), federation.options(house));
        running.spawn(async move { (house, run.await) });
    }
    let expected = federation.expected(&[ALL; 3]).digest();
    let all = async {
        while let Some(ended) = running.join_next().await {
            let (house, ended) = ended.unwrap();
            match ended {
                Ok(completed) => assert_eq!(completed.state.as_bytes(), &expected, "{house} has another state"),
                Err(error) => return Outcome::Named(format!("{house}: {error}")),
            }
        }
        Outcome::Right
    };
    let outcome = tokio::time::timeout(PATIENCE, all).await.unwrap_or(Outcome::Still);
    running.shutdown().await;
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_lost_a_byte_or_its_end_is_named_or_does_no_harm_and_never_makes_another_state() {
    logs();
    let panics = Arc::new(Mutex::new(Vec::new()));
    let (heard, before) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        heard.lock().unwrap().push(panic.to_string());
        before(panic);
    }));
    let (folders, charter, addr) = in_the_third_round().await;
    let cases = std::env::var("PLAINCHANT_TORN_CASES").map_or(100, |cases| cases.parse().unwrap());
    let seeds: Vec<u64> = match std::env::var("PLAINCHANT_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..cases).map(|_| rand::rng().random()).collect(),
    };
    let mut table = BTreeMap::<String, [usize; 3]>::new();
    let mut said = Vec::new();
    let mut outcomes = futures::stream::iter(seeds)
        .map(|seed| {
            let (folders, charter) = (folders.path(), &charter);
            async move { (seed, case(folders, charter, addr, seed).await) }
        })
        .buffer_unordered(TOGETHER);
    while let Some((seed, (kind, done, outcome))) = outcomes.next().await {
        let row = table.entry(kind).or_default();
        match &outcome {
            Outcome::Right => row[0] += 1,
            Outcome::Named(_) => row[1] += 1,
            Outcome::Still => row[2] += 1,
        }
        if outcome != Outcome::Right {
            said.push(format!("PLAINCHANT_SEED={seed} {done}: {outcome:?}"));
        }
    }
    said.sort();
    said.iter().for_each(|line| println!("{line}"));
    println!("| file | right state | stopped by name | stood still |");
    table.iter().for_each(|(kind, [right, named, still])| println!("| {kind} | {right} | {named} | {still} |"));
    let panics = panics.lock().unwrap();
    assert!(panics.is_empty(), "{panics:?}");
}
