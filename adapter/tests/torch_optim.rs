//! The server optimizers beside torch.optim, on the same sums (scripts/torch_optim.py).

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
    weights_f32: Vec<Vec<f64>>,
    weights_f64: Vec<Vec<f64>>,
}

fn start(weights: &[f32]) -> Adapter {
    let model = Model {
        architecture: Architecture::Bert,
        num_hidden_layers: 1,
        hidden_size: 4,
        intermediate_size: 4,
        num_labels: 2,
        head: Default::default(),
        attention: None,
    };
    Adapter::initial(&model, &LoraConfig::new(2, 2, &["query"]), 0).unwrap().with_flat(weights).unwrap()
}

#[test]
fn every_weight_after_every_step_is_within_a_millionth_of_torchs() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/torch_optim.json")).unwrap();
    assert_eq!(fixture.cases.len(), 6);
    for case in &fixture.cases {
        let mut state = State::new(start(&fixture.start), case.optimizer.clone()).unwrap();
        for (step, sum) in fixture.sums.iter().enumerate() {
            state.apply(sum, fixture.unit, fixture.divisor).unwrap();
            let ours = state.adapter().flat();
            for theirs in [&case.weights_f32[step], &case.weights_f64[step]] {
                assert_eq!(ours.len(), theirs.len());
                for (ours, theirs) in ours.iter().zip(theirs) {
                    let error = (f64::from(*ours) - theirs).abs() / theirs.abs();
                    assert!(error <= 1e-6, "{:?}, step {step}: {ours} and {theirs}", case.optimizer);
                }
            }
        }
        assert_eq!(state.step(), 12);
        let moved = state.adapter().flat().iter().zip(&fixture.start).all(|(now, before)| now != before);
        assert!(moved, "{:?}", case.optimizer);
    }
}
