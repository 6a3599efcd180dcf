//! Yogi beside the paper's algorithm in 64 bits, on the same sums (scripts/yogi.py).

#![expect(clippy::unwrap_used, reason = "tests")]

use adapter::{Adapter, Architecture, LoraConfig, Model, ServerOptimizer, State};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    unit: f64,
    divisor: f64,
    start: Vec<f32>,
    sums: Vec<Vec<i64>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    optimizer: ServerOptimizer,
    weights_f64: Vec<Vec<f64>>,
}

#[test]
fn every_weight_after_every_step_is_within_a_millionth_of_the_papers() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/yogi.json")).unwrap();
    assert_eq!(fixture.cases.len(), 2);
    let model = Model {
        architecture: Architecture::Bert,
        num_hidden_layers: 1,
        hidden_size: 4,
        intermediate_size: 4,
        num_labels: 2,
        head: Default::default(),
        attention: None,
    };
    let first = Adapter::initial(&model, &LoraConfig::new(2, 2, &["query"]), 0).unwrap();
    for case in &fixture.cases {
        let start = first.with_flat(&fixture.start).unwrap();
        let mut state = State::new(start, case.optimizer.clone()).unwrap();
        for (step, (sum, theirs)) in fixture.sums.iter().zip(&case.weights_f64).enumerate() {
            state.apply(sum, fixture.unit, fixture.divisor).unwrap();
            let ours = state.adapter().flat();
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                let error = (f64::from(*ours) - theirs).abs() / theirs.abs();
                assert!(error <= 1e-6, "{:?}, step {step}: {ours} and {theirs}", case.optimizer);
            }
        }
        assert_eq!(state.step(), 12);
    }
}
