//! Houses that are killed by SIGKILL in the middle of their uploads: each goes on where it was, with the same bytes under the same signature, and counts once.
//!
//! `PLAINCHANT_KILLS` is about how many kills, 24 by default; the table of docs/endurance.md is of 200.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/process.rs"]
#[expect(dead_code, reason = "other tests use all of it")]
mod process_of;
#[path = "../../aggregator/tests/common/relay.rs"]
#[expect(unreachable_pub, dead_code, reason = "the aggregator's tests use it too")]
mod relay;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aggregator::store::Upload;
use common::{Federation, HOUSES, logs};
use process_of::Process;
use protocol::server::{Event, Input};
use protocol::{Conclusion, Contribution, Message as _, RecordLeaf, Signed, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use relay::Relay;

/// A house's kills in one round: it leaves at eight moments at most, and must arrive.
const KILLS_A_ROUND: usize = 3;
/// A round, with all attempts at it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a house before its contribution, and with most of it.
const WITHIN: std::ops::Range<usize> = 20_000..700_000;

/// What is being waited for while a test process lives; no test by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other test starts it"]
async fn process() {
    process_of::live().await;
}

/// The contributions that a house has kept: each attempt's signed manifest and body.
fn kept(federation: &Federation, house: &str) -> BTreeMap<PathBuf, [Vec<u8>; 2]> {
    let rounds = federation.house(house).join("state/rounds");
    let Ok(attempts) = std::fs::read_dir(rounds) else { return BTreeMap::new() };
    let files = attempts.filter_map(|attempt| {
        let attempt = attempt.unwrap().path();
        let read = |name: &str| std::fs::read(attempt.join(name)).ok();
        Some(([read("manifest")?, read("body")?], attempt))
    });
    files.map(|(files, attempt)| (attempt, files)).collect()
}

fn was_applied(leaf: &RecordLeaf) -> bool {
    matches!(leaf.conclusion, Conclusion::Settled(Verdict::Applied { .. }))
}

fn spend(left: &Mutex<usize>) {
    let mut left = left.lock().unwrap();
    *left = left.saturating_sub(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn houses_that_are_killed_in_mid_upload_go_on_with_the_same_bytes_and_count_once() {
    logs();
    let seed = std::env::var("PLAINCHANT_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("PLAINCHANT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let wanted: usize = std::env::var("PLAINCHANT_KILLS").map_or(24, |kills| kills.parse().unwrap());
    let rounds = u32::try_from(wanted.div_ceil(HOUSES.len() * KILLS_A_ROUND)).unwrap();
    // What each house may still be killed in this round, and its relay.
    let left: [Arc<Mutex<usize>>; 4] = std::array::from_fn(|_| Arc::new(Mutex::new(0)));
    let relays = tokio::sync::Mutex::new((Vec::<Relay>::new(), StdRng::seed_from_u64(rng.random())));
    let mut federation = Federation::of_long_contributions(rounds, async |aggregator| {
        let mut relays = relays.lock().await;
        let (mut drawn, left) = (StdRng::seed_from_u64(relays.1.random()), Arc::clone(&left[relays.0.len()]));
        let after = move || (*left.lock().unwrap() > 0).then(|| drawn.random_range(WITHIN));
        let relay = Relay::stalling(aggregator, after).await;
        let addr = relay.addr;
        relays.0.push(relay);
        addr
    })
    .await;
    let relays = relays.into_inner().0;
    let mut houses = HOUSES.map(|house| Process::new(house, federation.path(), federation.addr, Vec::new()));
    let store = aggregator::setup::open(&federation.house("aggregator")).await.unwrap().store;
    let (mut round, mut stalls, mut resumable) = (0, [0; 4], 0);
    // Every contribution that was ever seen, and the chunks of it that the aggregator had at the last kill.
    let mut seen: BTreeMap<PathBuf, ([Vec<u8>; 2], usize)> = BTreeMap::new();
    let start = Instant::now();
    loop {
        let leaves = store.leaves().await.unwrap();
        // An attempt that fails, since somebody came too late, is made again in peace.
        let applied = leaves.iter().filter(|leaf| was_applied(&RecordLeaf::from_bytes(leaf).unwrap())).count();
        if applied >= round {
            round = applied + 1;
            left.iter().for_each(|left| *left.lock().unwrap() = KILLS_A_ROUND);
            // What becomes of a connection is drawn when it begins.
            relays.iter().for_each(Relay::cut);
        }
        let mut ended = 0;
        for (number, house) in houses.iter_mut().enumerate() {
            ended += usize::from(house.tend(Duration::ZERO, &mut rng));
            let stalled = relays[number].faults().stalled;
            if stalled == stalls[number] {
                continue;
            }
            stalls[number] = stalled;
            house.kill_for(Duration::ZERO);
            spend(&left[number]);
            for (attempt, files) in kept(&federation, HOUSES[number]) {
                let manifest = Signed::<Contribution>::from_bytes(&files[0]).unwrap();
                let contribution = manifest.unverified().unwrap();
                let (announcement, member) = (contribution.announcement, contribution.member);
                let upload = Upload { announcement, member, manifest: manifest.body_digest() };
                let chunks: usize = store.kept_runs(&upload).await.unwrap().iter().map(|run| run.chunks).sum();
                let entry = seen.entry(attempt).or_insert_with(|| (files.clone(), 0));
                assert!(entry.0 == files, "{}: a contribution was made again", HOUSES[number]);
                // Once it is accepted, what was noted of it on its way may go.
                assert!(chunks == 0 || chunks >= entry.1, "{} began anew", HOUSES[number]);
                resumable += usize::from(chunks > entry.1);
                entry.1 = chunks;
            }
        }
        if ended == houses.len() {
            break;
        }
        assert!(start.elapsed() < PATIENCE * rounds, "not completed in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let leaves = store.leaves().await.unwrap();
    let leaves: Vec<RecordLeaf> = leaves.iter().map(|leaf| RecordLeaf::from_bytes(leaf).unwrap()).collect();
    let (mut cohorts, mut counted) = (Vec::new(), 0);
    for leaf in &leaves {
        let mut contributed = Vec::new();
        for step in store.steps(leaf.round, leaf.attempt).await.unwrap() {
            let Event::Contribution(manifest) = Input::from_bytes(&step.body).unwrap().event else { continue };
            let name = format!("{}-{}", leaf.round, leaf.attempt);
            let own = federation.house(manifest.signer().as_str()).join("state/rounds").join(name);
            if let Some((files, _)) = seen.get(&own) {
                assert!(
                    files[0] == manifest.to_bytes(),
                    "another contribution than the one that was interrupted counts"
                );
                counted += 1;
            }
            contributed.push(HOUSES.iter().position(|house| *house == manifest.signer().as_str()).unwrap());
        }
        let all = contributed.len();
        contributed.sort_unstable();
        contributed.dedup();
        assert_eq!(contributed.len(), all, "a house counts twice");
        if was_applied(leaf) {
            cohorts.push(contributed);
        }
    }
    store.close().await;
    assert_eq!(cohorts.len(), rounds as usize);
    let cohorts: Vec<&[usize]> = cohorts.iter().map(Vec::as_slice).collect();
    let expected = federation.expected(&cohorts);
    for house in HOUSES {
        assert_eq!(federation.adapter(house).digest(), expected.adapter().digest(), "{house}");
    }
    let kills: usize = houses.iter().map(|house| house.died).sum();
    println!(
        "{kills} kills in mid-upload, {resumable} with more kept than at the kill before, {rounds} rounds, {} attempts; {counted} interrupted contributions counted, each once and as it was signed first",
        leaves.len()
    );
    assert!(resumable > 0 && counted > 0, "no upload was interrupted");
    federation.halt().await;
}
