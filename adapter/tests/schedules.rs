//! Schedules beside transformers' (scripts/schedules.py), and what a state makes of them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use adapter::{Decay, DecodeError, Schedule, ServerOptimizer, State};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    decay: String,
    warmup: u64,
    steps: u64,
    final_fraction: f64,
    fractions: Vec<f64>,
}

/// The platform's cosine there and ours may differ in the last bit or two.
#[test]
fn every_step_takes_what_it_takes_of_the_learning_rate_in_transformers() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/schedules.json")).unwrap();
    assert_eq!(fixture.cases.len(), 5 + 7 + 7);
    for case in &fixture.cases {
        let decay = match case.decay.as_str() {
            "linear" => Decay::Linear,
            "cosine" => Decay::Cosine,
            _ => Decay::Constant,
        };
        let (warmup, steps, final_fraction) = (case.warmup, case.steps, case.final_fraction);
        let schedule = Schedule { warmup, decay, steps, final_fraction };
        assert_eq!(case.fractions.len() as u64, steps);
        for (step, theirs) in (0..).zip(&case.fractions) {
            let ours = schedule.fraction(step);
            assert!((ours - theirs).abs() < 1e-15, "{schedule:?}, step {step}: {ours} and {theirs}");
        }
    }
}

/// By hand: gradient 1, rate 1/2; four steps, two of them warm-up, then a line: 0, 1/2, 1, 1/2 of the rate.
#[test]
fn a_state_takes_the_scheduled_step_and_says_in_its_context_which_schedule_it_is() {
    let adapter = common::tiny_adapter();
    let zeros = adapter.with_flat(&vec![0.0; adapter.trainable_len()]).unwrap();
    let sgd = ServerOptimizer::Sgd { learning_rate: 0.5, momentum: 0.0 };
    let schedule = Schedule { warmup: 2, decay: Decay::Linear, steps: 4, final_fraction: 0.0 };
    let mut state = State::scheduled(zeros, sgd.clone(), schedule).unwrap();
    let (model, config) = (state.adapter().model().clone(), state.adapter().config().clone());
    for moved in [0.0, -0.25, -0.75, -1.0, -1.0] {
        state.apply(&vec![1; adapter.trainable_len()], 1.0, 1.0).unwrap();
        assert!(state.adapter().flat().iter().all(|&weight| weight == moved), "{moved}");
        let bytes = state.to_bytes();
        assert_eq!(State::from_bytes(&model, &config, &sgd, &schedule, &bytes).unwrap(), state);
        for other in [Schedule::default(), Schedule { final_fraction: 0.1, ..schedule }] {
            let read = State::from_bytes(&model, &config, &sgd, &other, &bytes);
            assert!(matches!(read, Err(DecodeError::Foreign)), "{other:?}");
        }
    }
}
