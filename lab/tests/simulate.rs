//! Federations in one process with a tiny model: the sum, absences, going on after a stop, and noise drawn at once.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};

use lab::rows::CurveRow;
use lab::simulate::{NoiseSource, Plan, SimulateError, run, run_with};
use lab::table;
use protocol::charter::PrivacyMode;
use training::{House, Mechanism, Part, Tools, TrainError, Trained};
use zeroize::Zeroizing;

/// A plan over 120 rows.
fn plan(dir: &Path, clients: usize, rounds: u32, mode: PrivacyMode) -> Plan {
    common::files(dir, 120);
    let mut plan: Plan = toml::from_str(lab::simulate::SAMPLE).unwrap();
    plan.task.data = dir.join("train.csv");
    plan.task.test = dir.join("test.csv");
    plan.task.model = dir.to_owned();
    plan.task.max_tokens = 16;
    plan.clients.count = clients;
    plan.training.rounds = rounds;
    plan.training.batch = 40.0;
    plan.training.learning_rate = 0.5;
    plan.training.evaluate_every = 1;
    plan.privacy.modes = vec![mode];
    plan
}

fn digest(folder: &Path, run: &str) -> Vec<u8> {
    std::fs::read(folder.join(run).join("adapter/adapter_model.safetensors")).unwrap()
}

/// Without noise, everything is seeded: a run that is stopped after two rounds and goes on comes to the same adapter as one that is not.
#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let whole = plan(dir.path(), 5, 4, PrivacyMode::None);
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    run(&whole, &one, &mut |_| ()).unwrap();
    let stop: Result<_, SimulateError> = run_with(&whole, &two, &stopping_after(2), &mut |_| ());
    assert!(matches!(stop, Err(SimulateError::Train(TrainError::Worker))));
    assert!(two.join("none-seed-1/state.json").exists());
    let mut first = None;
    run(&whole, &two, &mut |step| first = first.or(Some(step.round))).unwrap();
    assert_eq!(first, Some(3));
    assert_eq!(digest(&one, "none-seed-1"), digest(&two, "none-seed-1"));
    let curve = |folder: &PathBuf| table::read::<CurveRow>(&folder.join("curve.json")).unwrap();
    assert_eq!(curve(&one).len(), 4);
    assert_eq!(
        curve(&one).iter().map(|row| row.loss).collect::<Vec<_>>(),
        curve(&two).iter().map(|row| row.loss).collect::<Vec<_>>()
    );
    // Again: nothing is left to do. Another plan: refused.
    run(&whole, &two, &mut |_| panic!("it is done")).unwrap();
    let changes: [fn(&mut Plan); 3] =
        [|plan| plan.training.rounds = 5, |plan| plan.training.momentum = 0.5, |plan| plan.clients.held_out = 0.2];
    for change in changes {
        let mut other = whole.clone();
        change(&mut other);
        assert!(matches!(run(&other, &two, &mut |_| ()), Err(SimulateError::Foreign(_))));
    }
    // Another mode beside it leaves it alone.
    let mut more = whole;
    more.privacy.modes.push(PrivacyMode::RecordShared);
    assert_eq!(run(&more, &two, &mut |_| ()).unwrap().runs.len(), 2);
}

/// Every rule of the server reaches the charter that is played: five rounds, five adapters.
#[test]
fn every_optimizer_and_a_schedule_can_be_simulated() {
    use lab::simulate::OptimizerKind::{Adam, AdamW, Sgd, Yogi};
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(dir.path(), 4, 2, PrivacyMode::None);
    plan.training.weight_decay = 0.5;
    let schedule =
        protocol::charter::Schedule { warmup_rounds: 1, decay: protocol::charter::Decay::Linear, final_fraction: 0.0 };
    let settings = [(Sgd, None), (Sgd, Some(schedule)), (Adam, None), (AdamW, None), (Yogi, None)];
    let adapters = settings.into_iter().enumerate().map(|(number, (optimizer, schedule))| {
        (plan.training.optimizer, plan.training.schedule) = (optimizer, schedule);
        let out = dir.path().join(number.to_string());
        run(&plan, &out, &mut |_| ()).unwrap();
        digest(&out, "none-seed-1")
    });
    let different: std::collections::BTreeSet<Vec<u8>> = adapters.collect();
    assert_eq!(different.len(), 5);
}

/// No loss is lower than another by 100: the second evaluation is the last.
#[test]
fn a_run_ends_after_the_round_that_uses_up_its_patience_and_stays_ended() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(dir.path(), 5, 4, PrivacyMode::None);
    plan.clients.held_out = 0.3;
    plan.training.evaluate_every = 3;
    plan.evaluation = Some(protocol::charter::Evaluation {
        every: 1,
        held_out: 0.1,
        noise_multiplier: 6.0,
        loss_bound: 8.0,
        buckets: 0,
        patience: Some(1),
        min_improvement: 100.0,
    });
    let out = dir.path().join("out");
    let finished = run(&plan, &out, &mut |_| ()).unwrap();
    assert_eq!(finished.runs[0].rounds, 2);
    assert_eq!(finished.curve.iter().map(|row| row.round).collect::<Vec<_>>(), [2]);
    assert!((0.0..=1.0).contains(&finished.curve[0].noised_macro_f1));
    assert_eq!(run(&plan, &out, &mut |_| panic!("it is done")).unwrap().runs[0].rounds, 2);
    // Killed after its last round was kept and before the run was: nothing more is played.
    let killed = dir.path().join("killed");
    let mut kill = |step: &lab::simulate::Step| assert!(step.round < 2, "killed");
    let run_until_killed = std::panic::AssertUnwindSafe(|| run(&plan, &killed, &mut kill).map(drop));
    std::panic::catch_unwind(run_until_killed).unwrap_err();
    assert!(killed.join("none-seed-1/state.json").exists());
    let again = run(&plan, &killed, &mut |_| panic!("the run is over")).unwrap();
    assert_eq!(again.runs[0].rounds, 2);
    assert_eq!(digest(&out, "none-seed-1"), digest(&killed, "none-seed-1"));
}

type Make = dyn Fn(&protocol::Charter) -> Result<Box<dyn Mechanism>, SimulateError>;

/// The charter's mechanism, which fails after so many rounds.
fn stopping_after(rounds: u32) -> Box<Make> {
    struct Stopping(Box<dyn Mechanism>, u32);
    impl Mechanism for Stopping {
        fn contribute(
            &self,
            part: &Part<'_>,
            state: &adapter::State,
            house: &House,
            tools: &mut Tools<'_>,
        ) -> Result<Trained, TrainError> {
            if part.number.get() > self.1 {
                Err(TrainError::Worker)
            } else {
                self.0.contribute(part, state, house, tools)
            }
        }
    }
    Box::new(move |charter| Ok(Box::new(Stopping(training::mechanism(charter)?, rounds))))
}

/// Each client gives one at its own number's coordinate and nothing else: the opened sum, which is what moves the adapter, tells who was in it.
struct OneHot;

impl Mechanism for OneHot {
    fn contribute(
        &self,
        part: &Part<'_>,
        state: &adapter::State,
        _: &House,
        _: &mut Tools<'_>,
    ) -> Result<Trained, TrainError> {
        let number: usize = part.house.as_str().trim_start_matches("client-").parse().unwrap();
        let mut values = Zeroizing::new(vec![0; state.adapter().trainable_len()]);
        values[number] = 1 << 30;
        let zero = std::time::Duration::ZERO;
        Ok(Trained { values, loss: None, train: zero, noise: zero })
    }
}

#[test]
fn the_opened_sum_counts_every_client_that_was_there_once_and_nobody_who_vanished() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(dir.path(), 12, 1, PrivacyMode::None);
    plan.clients.dropout = 0.5;
    plan.clients.may_vanish = 3;
    plan.training.momentum = 0.0;
    let out = dir.path().join("out");
    run_with(&plan, &out, &|_| Ok(Box::new(OneHot)), &mut |_| ()).unwrap();
    let model =
        adapter::Model::from_hf_config(&std::fs::read_to_string(dir.path().join("config.json")).unwrap(), 3).unwrap();
    let saved = adapter::Adapter::load_dir(&out.join("none-seed-1/adapter"), &model).unwrap();
    let moved: Vec<bool> = saved.flat().iter().map(|weight| *weight != 0.0).collect();
    let there: Vec<usize> = (0..moved.len()).filter(|i| moved[*i]).collect();
    // With a chance of 1/2 for each of nine, three vanish but in one run of eleven; seed 1 is not one of those.
    assert_eq!(there.len(), 9);
    assert!(there.iter().all(|client| *client < 12) && there.starts_with(&[0, 1, 2]), "{there:?}");
    let weights: Vec<f32> = there.iter().map(|client| saved.flat()[*client]).collect();
    assert!(weights.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Ten clients: the deviation of what a round without gradients moves the weights by, with each client's share and with one draw.
#[test]
fn pooled_noise_has_the_deviation_of_ten_clients_shares() {
    struct Zero;
    impl Mechanism for Zero {
        fn contribute(
            &self,
            part: &Part<'_>,
            state: &adapter::State,
            _: &House,
            tools: &mut Tools<'_>,
        ) -> Result<Trained, TrainError> {
            let mut values = Zeroizing::new(vec![0; state.adapter().trainable_len()]);
            if let Some(share) = part.noise_share()? {
                tools.noise.add(&share, &mut values)?;
            }
            let zero = std::time::Duration::ZERO;
            Ok(Trained { values, loss: None, train: zero, noise: zero })
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let deviation = |noise: NoiseSource| {
        let mut plan = plan(dir.path(), 10, 1, PrivacyMode::RecordShared);
        plan.privacy.noise = noise;
        plan.training.momentum = 0.0;
        // More weights than the tiny default, so that the deviation is known well.
        plan.training.rank = 64;
        let out = dir.path().join(noise.as_str());
        let finished = run_with(&plan, &out, &|_| Ok(Box::new(Zero)), &mut |_| ()).unwrap();
        assert_eq!(finished.runs[0].noise, noise.as_str());
        let model =
            adapter::Model::from_hf_config(&std::fs::read_to_string(dir.path().join("config.json")).unwrap(), 3)
                .unwrap();
        let weights = adapter::Adapter::load_dir(&out.join("record-shared-seed-1/adapter"), &model).unwrap().flat();
        let squares: f64 = weights.iter().map(|weight| f64::from(*weight).powi(2)).sum();
        let z = finished.runs[0].noise_multiplier;
        ((squares / weights.len() as f64).sqrt(), z, weights.len())
    };
    let (shares, z, count) = deviation(NoiseSource::Shares);
    let (pooled, ..) = deviation(NoiseSource::Pooled);
    // The step is 0.5 over the nominal batches, 40 in all and a little: z sqrt(10 / 9) of the clipping norm 1.
    let expected = 0.5 * z * (10.0_f64 / 9.0).sqrt() / 40.0;
    // One part in sqrt(2 count), six of those, and what rounding the nominal batches to whole rows changes.
    let tolerance = 6.0 / (2.0 * count as f64).sqrt() + 0.06;
    for found in [shares, pooled] {
        assert!((found / expected - 1.0).abs() < tolerance, "{found} {expected} {tolerance}");
    }
    assert!((shares / pooled - 1.0).abs() < 12.0 / (2.0 * count as f64).sqrt());
}

#[test]
fn modes_run_side_by_side_with_evaluations_and_leave_their_tables() {
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(dir.path(), 4, 2, PrivacyMode::None);
    plan.privacy.modes =
        vec![PrivacyMode::None, PrivacyMode::RecordShared, PrivacyMode::RecordLocal, PrivacyMode::Client];
    plan.privacy.epsilon = 8.0;
    plan.local = Some(protocol::charter::Local { steps: 2, learning_rate: 0.5, batch: 8, ..Default::default() });
    plan.evaluation = Some(protocol::charter::Evaluation {
        every: 2,
        held_out: 0.1,
        noise_multiplier: 6.0,
        loss_bound: 8.0,
        buckets: 0,
        patience: None,
        min_improvement: 0.0,
    });
    plan.clients.held_out = 0.3;
    let out = dir.path().join("out");
    let finished = run(&plan, &out, &mut |_| ()).unwrap();
    let modes: Vec<&str> = finished.runs.iter().map(|run| run.mode.as_str()).collect();
    assert_eq!(modes, ["none", "record-shared", "record-local", "client"]);
    assert_eq!((finished.curve.len(), finished.clients.len()), (8, 16));
    assert!(finished.runs.iter().all(|run| run.bytes_up > 0 && (0.0..=1.0).contains(&run.plain)));
    // Without noise the encrypted sum counts the held-out units exactly, before the round's step.
    let exact: Vec<f64> =
        finished.curve.iter().filter(|row| row.run.starts_with("none")).map(|row| row.noised_plain).collect();
    assert!(exact[0].is_nan() && (0.0..=1.0).contains(&exact[1]), "{exact:?}");
    // What is spent grows to what the plan states, and not past it.
    let spent: Vec<f64> =
        finished.curve.iter().filter(|row| row.run.starts_with("record-shared")).map(|row| row.epsilon).collect();
    assert!(spent[0] < spent[1] && spent[1] <= 8.0 && spent[1] > 7.0, "{spent:?}");
}
