//! Every privacy mode, with its evaluations, over real TLS sockets: real mechanisms with their noise, and what all houses and the
//! aggregator sign is what the recorded contributions add up to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};

use adapter::{Adapter, State};
use client::trainer::Trainer;
use common::{Federation, HOUSES, all_completed, logs};
use privacy::Kind;
use protocol::HouseName;
use terms::{RoundSum, Terms};
use training::{FreshNoise, House, Learner, Mechanism, Part, Sink, Tools, TrainError, Trained, mechanism};

/// Every row pulls the weights toward its own number; class 0 for even rows.
struct Pull(Vec<f32>);

impl Learner for Pull {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        self.0 = adapter.flat();
        Ok(())
    }

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        for (at, row) in rows.iter().enumerate() {
            let gradient: Vec<f32> = self.0.iter().map(|weight| weight - *row as f32 / 100.0).collect();
            sink(at, 1.0, &gradient);
        }
        Ok(())
    }

    fn logits(&self, rows: &[usize]) -> Result<Vec<Vec<f32>>, TrainError> {
        Ok(rows.iter().map(|row| vec![(row % 2) as f32, 0.5, 0.0]).collect())
    }

    fn label(&self, row: usize) -> Option<usize> {
        Some(row % 3)
    }
}

/// What each attempt's announcement and integers were: (round, digest, house, integers).
type Record = Arc<Mutex<Vec<(u32, [u8; 32], HouseName, Vec<i64>)>>>;

/// The charter's own mechanism, with a copy of what it makes.
struct Recorded {
    mechanism: Box<dyn Mechanism>,
    house: House,
    noise: FreshNoise,
    record: Record,
}

impl Trainer for Recorded {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let (mut learner, mut rng) = (Pull(Vec::new()), rand::rng());
        let mut tools = Tools { learner: &mut learner, noise: &mut self.noise, rng: &mut rng };
        let made = self.mechanism.contribute(part, state, &self.house, &mut tools)?;
        let line = (part.number.get(), part.seed, part.house.clone(), made.values.to_vec());
        self.record.lock().unwrap().push(line);
        Ok(made)
    }
}

async fn all_agree_on_what_the_contributions_add_up_to(mode: &str) {
    logs();
    let federation = Federation::of_mode(mode).await;
    let charter = &federation.charter;
    terms::check(charter).unwrap();
    let record = Record::default();
    let tasks = HOUSES.map(|house| {
        let rows = |from: usize, to| (from..to).map(|row| vec![row]).collect();
        let house_rows = House { units: rows(0, 40), held_out: rows(40, 50) };
        let mechanism = mechanism(charter).unwrap();
        let (noise, record) = (FreshNoise::new(), record.clone());
        federation.spawn_with(house, Box::new(Recorded { mechanism, house: house_rows, noise, record }))
    });
    let completed = all_completed(tasks.into()).await;
    let mut state = Terms::of(charter).unwrap().first_state().unwrap();
    let record = record.lock().unwrap().clone();
    for round in 1..=2 {
        let lines: Vec<_> = record.iter().filter(|line| line.0 == round).collect();
        assert_eq!(lines.len(), 4);
        let mut sum = vec![0; lines[0].3.len()];
        lines.iter().for_each(|line| sum.iter_mut().zip(&line.3).for_each(|(sum, value)| *sum += value));
        let cohort: Vec<&HouseName> = lines.iter().map(|line| &line.2).collect();
        let number = protocol::RoundNumber::new(round).unwrap();
        let opened = RoundSum { round: number, seed: &lines[0].1, cohort: &cohort, values: &sum };
        let metrics = opened.metrics(charter, state.adapter().trainable_len(), 4, 0);
        assert_eq!(metrics.is_some(), round == 2);
        opened.apply(charter, &mut state).unwrap();
    }
    assert_eq!(completed.state.as_bytes(), &state.digest());
    assert_eq!(state.clipping_norm().is_some(), mode == "client");
    for house in HOUSES {
        let ledger = privacy::Ledger::open(federation.house(house).join("state/ledger")).unwrap();
        let kinds: Vec<(u64, Kind)> = ledger.entries().iter().map(|entry| (entry.round, entry.kind)).collect();
        let training = [(1, Kind::Training), (2, Kind::Training)];
        let evaluation = if mode == "client" { vec![] } else { vec![(2, Kind::Evaluation)] };
        assert_eq!(kinds, [&training[..], &evaluation].concat());
        assert!(ledger.entries().iter().all(|entry| ledger.is_confirmed(entry)));
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_of_mode_client_with_adaptive_clipping_and_an_evaluation() {
    all_agree_on_what_the_contributions_add_up_to("client").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_of_mode_record_shared_with_an_evaluation() {
    all_agree_on_what_the_contributions_add_up_to("record-shared").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_rounds_of_mode_record_local_of_two_steps_with_an_evaluation() {
    all_agree_on_what_the_contributions_add_up_to("record-local").await;
}
