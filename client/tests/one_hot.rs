//! Who is counted, seen in the sum itself: house i contributes the unit vector e_i, over connections that break off and lose answers all the time. In each
//! opened sum there is a 1 for each house of the cohort, no 2, and nothing else.
//!
//! Houses are the client's own code over real sockets, each behind a relay whose faults are drawn from a seed; the aggregator crashes now and then.
//! `PLAINCHANT_SEED=n` plays one run again.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "../../aggregator/tests/common/opened.rs"]
mod opened;
#[path = "../../aggregator/tests/common/relay.rs"]
#[expect(unreachable_pub, dead_code, reason = "the aggregator's tests use it too")]
mod relay;

use std::collections::BTreeSet;
use std::time::Duration;

use adapter::State;
use aggregator::store::Shelf;
use client::trainer::Trainer;
use common::{Federation, all_completed, logs};
use protocol::server::{Event, Input};
use protocol::{CohortList, Conclusion, Message as _, RecordLeaf, Verdict};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use relay::{Faults, Relay};
use training::{Part, TrainError, Trained};
use zeroize::Zeroizing;

const HOUSES: usize = 20;
const ROUNDS: u32 = 3;

/// The unit vector of its house.
struct OneHot(usize);

impl Trainer for OneHot {
    fn contribution(&mut self, _: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let mut values = Zeroizing::new(vec![0; state.update_len()]);
        values[self.0] = 1;
        Ok(Trained { values, loss: None, train: Duration::ZERO, noise: Duration::ZERO })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_house_is_a_one_in_the_sums_of_its_cohorts_however_often_connections_break_and_answers_are_lost() {
    logs();
    let seed = std::env::var("PLAINCHANT_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("PLAINCHANT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let houses: Vec<String> = (0..HOUSES).map(|house| format!("house-{house:02}")).collect();
    let relays = tokio::sync::Mutex::new((Vec::<Relay>::new(), StdRng::seed_from_u64(rng.random())));
    let mut federation = Federation::of_many(&houses, ROUNDS, async |aggregator| {
        let mut relays = relays.lock().await;
        let seed = relays.1.random();
        let relay = Relay::unreliable(aggregator, seed).await;
        let addr = relay.addr;
        relays.0.push(relay);
        addr
    })
    .await;
    let relays = relays.into_inner().0;
    let tasks: Vec<_> = houses
        .iter()
        .enumerate()
        .map(|(number, house)| federation.spawn_with(house, Box::new(OneHot(number))))
        .collect();
    let mut crashes = 0;
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(rng.random_range(1_000..4_000))).await;
        if crashes < 5 {
            federation.crash_and_restart().await;
            crashes += 1;
        }
    }
    let completed = all_completed(tasks).await;
    assert_eq!(completed.rounds, ROUNDS);
    let faults = relays.iter().map(Relay::faults).fold(Faults::default(), |all, one| Faults {
        connections: all.connections + one.connections,
        cut: all.cut + one.cut,
        lost: all.lost + one.lost,
    });
    let (attempts, counted) = every_sum_is_its_cohorts(&federation, &houses).await;
    println!(
        "{HOUSES} houses, {ROUNDS} rounds, {attempts} attempts: {faults:?}, {crashes} crashes of the aggregator; {counted} contributions counted, each once"
    );
    assert!(faults.cut > 0 && faults.lost > 0 && faults.cut + faults.lost >= HOUSES, "{faults:?}");
    federation.stop().await;
}

/// Opens each sum from what the aggregator kept. Gives attempts and the contributions that counted.
async fn every_sum_is_its_cohorts(federation: &Federation, houses: &[String]) -> (usize, usize) {
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
        for house in houses {
            let lines = std::fs::read_to_string(federation.progress(house)).unwrap();
            let accepted = lines.lines().any(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["phase"] == "contributed"
                    && line["round"] == leaf.round.get()
                    && line["attempt"] == leaf.attempt.get()
            });
            assert!(!accepted || cohort.contains(house.as_str()), "{house} is missing in round {}", leaf.round);
        }
        (rounds, counted) = (rounds + 1, counted + cohort.len());
    }
    assert_eq!(rounds, ROUNDS);
    home.store.close().await;
    (leaves.len(), counted)
}
