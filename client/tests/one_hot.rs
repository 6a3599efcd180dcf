//! Who is counted, seen in the sum itself: house i contributes the unit vector e_i, over connections that break off and lose answers all the time. In each
//! opened sum there is a 1 for each house of the cohort, no 2, and nothing else.
//!
//! Houses are the client's own code over real sockets, each behind a relay whose faults are drawn from a seed; the aggregator is a process that is killed by
//! SIGKILL at random times. `PLAINCHANT_HOUSES` and `PLAINCHANT_ROUNDS` are how many, 20 and 3 by default; `PLAINCHANT_SEED=n` plays one run again.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "../../aggregator/tests/common/opened.rs"]
mod opened;
#[path = "common/process.rs"]
#[expect(dead_code, reason = "other tests use all of it")]
mod process_of;
#[path = "../../aggregator/tests/common/relay.rs"]
#[expect(unreachable_pub, dead_code, reason = "the aggregator's tests use it too")]
mod relay;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use adapter::State;
use aggregator::store::Shelf;
use client::trainer::Trainer;
use common::{Federation, all_completed, logs};
use process_of::{AGGREGATOR, Process};
use protocol::server::{Event, Input};
use protocol::{CohortList, Conclusion, Message as _, RecordLeaf, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use relay::{Faults, Relay};
use training::{Part, TrainError, Trained};
use zeroize::Zeroizing;

/// The unit vector of its house.
struct OneHot(usize);

impl Trainer for OneHot {
    fn contribution(&mut self, _: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let mut values = Zeroizing::new(vec![0; state.update_len()]);
        values[self.0] = 1;
        Ok(Trained { values, loss: None, train: Duration::ZERO, noise: Duration::ZERO })
    }
}

/// What is being waited for while a test process lives; no test by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other test starts it"]
async fn process() {
    process_of::live().await;
}

fn size<T: std::str::FromStr<Err: std::fmt::Debug>>(key: &str, default: T) -> T {
    std::env::var(key).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_house_is_a_one_in_the_sums_of_its_cohorts_however_often_connections_break_and_answers_are_lost() {
    logs();
    let seed = std::env::var("PLAINCHANT_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("PLAINCHANT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (houses, rounds): (usize, u32) = (size("PLAINCHANT_HOUSES", 20), size("PLAINCHANT_ROUNDS", 3));
    let houses: Vec<String> = (0..houses).map(|house| format!("house-{house:02}")).collect();
    let relays = tokio::sync::Mutex::new((Vec::<Relay>::new(), StdRng::seed_from_u64(rng.random())));
    let mut federation = Federation::of_many(&houses, rounds, async |aggregator| {
        let mut relays = relays.lock().await;
        let seed = relays.1.random();
        let relay = Relay::unreliable(aggregator, seed).await;
        let addr = relay.addr;
        relays.0.push(relay);
        addr
    })
    .await;
    let relays = relays.into_inner().0;
    federation.halt().await;
    let mut aggregator = Process::new(AGGREGATOR, federation.path(), federation.addr, Vec::new());
    let tasks: Vec<_> = houses
        .iter()
        .enumerate()
        .map(|(number, house)| federation.spawn_with(house, Box::new(OneHot(number))))
        .collect();
    let lives = |rng: &mut StdRng| Instant::now() + Duration::from_millis(rng.random_range(300..6_000));
    let mut dies = lives(&mut rng);
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        aggregator.tend(Duration::ZERO, &mut rng);
        // All rounds may be done before a time that is drawn: it dies the first time when a contribution has been accepted.
        let first = aggregator.died == 0 && houses.iter().any(|house| has_contributed(&federation, house));
        if first || Instant::now() >= dies {
            aggregator.kill_for(Duration::ZERO);
            dies = lives(&mut rng);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let completed = all_completed(tasks).await;
    assert_eq!(completed.rounds, rounds);
    aggregator.kill();
    let faults = relays.iter().map(Relay::faults).fold(Faults::default(), |all, one| Faults {
        connections: all.connections + one.connections,
        cut: all.cut + one.cut,
        lost: all.lost + one.lost,
        stalled: all.stalled + one.stalled,
    });
    let (attempts, counted) = every_sum_is_its_cohorts(&federation, &houses, rounds).await;
    println!(
        "{} houses, {rounds} rounds, {attempts} attempts: {faults:?}, {} kills of the aggregator, which listened again within {} ms; {counted} contributions counted, each once",
        houses.len(),
        aggregator.died,
        aggregator.slowest_start.as_millis()
    );
    assert!(faults.cut > 0 && faults.lost > 0 && faults.cut + faults.lost >= houses.len(), "{faults:?}");
    assert!(aggregator.died > 0, "nobody was killed");
}

fn has_contributed(federation: &Federation, house: &str) -> bool {
    std::fs::read_to_string(federation.progress(house)).is_ok_and(|lines| lines.contains("\"contributed\""))
}

/// The attempts in which this house heard that its contribution is accepted.
fn accepted(federation: &Federation, house: &str) -> BTreeSet<(u64, u64)> {
    let lines = std::fs::read_to_string(federation.progress(house)).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let accepted = lines.filter(|line| line["phase"] == "contributed");
    accepted.map(|line| (line["round"].as_u64().unwrap(), line["attempt"].as_u64().unwrap())).collect()
}

/// Opens each sum from what the aggregator kept. Gives attempts and the contributions that counted.
async fn every_sum_is_its_cohorts(federation: &Federation, houses: &[String], expected: u32) -> (usize, usize) {
    let accepted: Vec<_> = houses.iter().map(|house| accepted(federation, house)).collect();
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let leaves = home.store.leaves().await.unwrap();
    let (mut rounds, mut counted) = (0, 0);
    for leaf in leaves.iter().map(|leaf| RecordLeaf::from_bytes(leaf).unwrap()) {
        if !matches!(leaf.conclusion, Conclusion::Settled(Verdict::Applied { .. })) {
            continue;
        }
        let (mut announcement, mut answers) = (None, Vec::new());
        for step in home.store.steps(leaf.round, leaf.attempt).await.unwrap() {
            match Input::from_bytes(&step.body).unwrap().event {
                Event::Announced(signed) => announcement = Some(signed.unverified().unwrap()),
                Event::Answer(signed) => answers.push(signed),
                _ => {}
            }
        }
        let announcement: protocol::Announcement = announcement.unwrap();
        let stored = home.store.attempt(&announcement.digest()).await.unwrap().unwrap();
        let list = home.store.cohort(&announcement.digest()).await.unwrap().unwrap();
        let sum = home.store.blobs().get(Shelf::Kept, &stored.sum.unwrap()).await.unwrap();
        let sum = opened::open(&announcement, &CohortList::from_bytes(&list).unwrap(), &sum, &answers);
        let cohort: BTreeSet<&str> = leaf.houses.iter().map(protocol::HouseName::as_str).collect();
        for (coordinate, value) in sum.iter().enumerate() {
            let wanted = houses.get(coordinate).is_some_and(|house| cohort.contains(house.as_str()));
            assert_eq!(*value, i64::from(wanted), "round {} coordinate {coordinate}", leaf.round);
        }
        // Whoever was told that it is accepted is in the cohort.
        let place = (leaf.round.get().into(), leaf.attempt.get().into());
        for (house, accepted) in houses.iter().zip(&accepted) {
            let missing = accepted.contains(&place) && !cohort.contains(house.as_str());
            assert!(!missing, "{house} is missing in round {}", leaf.round);
        }
        (rounds, counted) = (rounds + 1, counted + cohort.len());
    }
    assert_eq!(rounds, expected);
    home.store.close().await;
    (leaves.len(), counted)
}
