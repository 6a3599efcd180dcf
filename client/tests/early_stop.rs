//! Runs that end early, over real TLS sockets: houses, a trustee and the aggregator end after the same round, whatever crashes, and whether or not the
//! aggregator ever sees a sum.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::Command;
use std::time::Duration;

use adapter::State;
use client::crash::{Crash, Moment, Place};
use client::round::RunError;
use client::trainer::Trainer;
use common::{Federation, HOUSES, all_completed, integers, logs, wait_for};
use protocol::client::EffectKind;
use protocol::{HouseName, RoundNumber};
use terms::{CurvePoint, MetricsRelease, RoundShape, RoundSum, Terms};
use training::{Part, TrainError, Trained};
use zeroize::Zeroizing;

/// Known integers, and metrics that say of round 1 to 6: each house has the same count of right answers, far above the noise that is counted with,
/// and a loss of 8 times these over [`COUNT`]. Rounds 3 and 4 are not below round 2.
const LOSSES: [i64; 6] = [7240, 5432, 5800, 5432, 2800, 1400];
const COUNT: i64 = 28_960;

fn values(house: usize, shape: RoundShape, round: u32) -> Vec<i64> {
    let mut values = integers(house, round, shape.update);
    values.resize(shape.len(), 0);
    values[shape.update] = LOSSES[round as usize - 1];
    values[shape.update + 1] = COUNT;
    values
}

struct Scripted(usize);

impl Trainer for Scripted {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let shape = RoundShape::of(part.charter, part.number, state.adapter().trainable_len());
        let values = Zeroizing::new(values(self.0, shape, part.number.get()));
        Ok(Trained { values, loss: None, train: Duration::ZERO, noise: Duration::ZERO })
    }
}

/// The state after rounds of these cohorts, from the integers that go in.
fn expected(federation: &Federation, cohorts: &[&[usize]]) -> State {
    let charter = &federation.charter;
    let mut state = Terms::of(charter).unwrap().first_state().unwrap();
    for (number, cohort) in (1..).zip(cohorts) {
        let round = RoundNumber::new(number).unwrap();
        let shape = RoundShape::of(charter, round, state.adapter().trainable_len());
        let mut sum = vec![0; shape.len()];
        for house in *cohort {
            sum.iter_mut().zip(values(*house, shape, number)).for_each(|(sum, value)| *sum += value);
        }
        let names: Vec<&HouseName> = cohort.iter().map(|house| &charter.houses[*house].name).collect();
        let (expected, seed) = (cohort.len(), &[0; 32]);
        let opened = RoundSum { round, seed, cohort: &names, values: &sum, expected, may_vanish: 0 };
        opened.apply(charter, &mut state).unwrap();
    }
    state
}

/// One house leaves in the first round and comes back when all is over; another is killed after round 3 and started again, and so is the
/// aggregator, also after the end.
async fn all_end_after_the_fourth_of_six_rounds(policy: &str) {
    logs();
    let mut federation = Federation::of_little_patience(policy).await;
    terms::check(&federation.charter).unwrap();
    let run = |federation: &Federation, house: &str, crash| {
        let mut options = federation.options(house);
        options.crash = crash;
        let number = HOUSES.iter().position(|name| *name == house);
        let trainer = number.map(|number| Box::new(Scripted(number)) as Box<dyn Trainer>);
        let home = client::round::Home::open(&federation.house(house)).unwrap();
        tokio::spawn(client::round::run(home, trainer, options))
    };
    let leaving = run(&federation, "dale", Crash::at(Place::Effect(EffectKind::SendAnswer, Moment::After)));
    let killed = run(&federation, "abbey", Crash::default());
    let mut tasks: Vec<_> = ["borough", "county", "notary"].map(|name| run(&federation, name, Crash::default())).into();
    let left = tokio::time::timeout(Duration::from_secs(60), leaving).await.unwrap().unwrap();
    assert!(matches!(left, Err(RunError::Stopped(_))), "{left:?}");
    wait_for(&federation.progress("abbey"), "applied", 3).await;
    killed.abort();
    let _ = killed.await;
    federation.crash_and_restart().await;
    tasks.push(run(&federation, "abbey", Crash::default()));
    let completed = all_completed(tasks).await;
    let (all, three): (&[usize], &[usize]) = (&[0, 1, 2, 3], &[0, 1, 2]);
    let expected = expected(&federation, &[all, three, three, three]);
    assert_eq!((completed.rounds, completed.state.as_bytes()), (4, &expected.digest()));
    assert_eq!(expected.best_loss().since, 2);

    // The decision is in what is stored: nobody goes on after another start, and who was away comes to the same end.
    federation.crash_and_restart().await;
    let back = ["dale", "abbey", "notary"].map(|name| run(&federation, name, Crash::default()));
    assert_eq!(all_completed(back.into()).await, completed);
    assert_eq!(federation.adapter("dale").digest(), expected.adapter().digest());
    let aggregator = federation.house("aggregator");
    let ledger = privacy::Ledger::open(federation.house("abbey").join("state/ledger")).unwrap();
    assert!(ledger.entries().iter().all(|entry| entry.round <= 4));
    let dir = federation.stop().await;
    let home = aggregator::setup::open(&aggregator).await.unwrap();
    let status = aggregator::status::read(&home).await.unwrap();
    assert_eq!(status.stage, "completed");
    // What each opened sum says of the loss, from the integers that went in. Houses open all sums, also one that was away; the aggregator only where the
    // charter says so.
    let losses: Vec<f64> = LOSSES[..4].iter().map(|loss| 8.0 * *loss as f64 / COUNT as f64).collect();
    let same = |points: &[CurvePoint]| {
        let found: Vec<f64> = points.iter().map(|point| point.loss.unwrap().value).collect();
        found.len() == 4 && found.iter().zip(&losses).all(|(found, loss)| (found / loss - 1.0).abs() < 1e-12)
    };
    for house in HOUSES {
        let mut shown = Command::new(env!("CARGO_BIN_EXE_plainchant-client"));
        let shown = shown.arg("status").arg(dir.path().join(house)).arg("--json").output().unwrap();
        let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        let points: Vec<CurvePoint> = serde_json::from_value(shown["metrics"].clone()).unwrap();
        assert!(same(&points), "{house}: {points:?}");
        assert_eq!(points.iter().map(|point| point.houses).collect::<Vec<_>>(), [4, 3, 3, 3]);
    }
    match policy {
        "aggregator" => assert!(same(&status.metrics.points), "{:?}", status.metrics),
        _ => assert!(status.metrics.points.is_empty() && home.store.metrics().await.unwrap().is_empty()),
    }
    let released = if policy == "aggregator" { MetricsRelease::Aggregator } else { MetricsRelease::Houses };
    assert_eq!(status.metrics.released, released);
    drop(dir);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_early_ends_for_everybody_alike_under_policy_aggregator() {
    all_end_after_the_fourth_of_six_rounds("aggregator").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_early_ends_for_everybody_alike_under_policy_clients() {
    all_end_after_the_fourth_of_six_rounds("clients").await;
}
