//! B and A trained by turns: each part's weights and memory are what they would be if nothing but its own steps had ever been.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use adapter::{Adapter, ApplyError, Bias, Decay, DecodeError, LoraConfig, Schedule, ServerOptimizer, State, Train};
use proptest::prelude::*;

fn adapter(train: Train) -> Adapter {
    let config = LoraConfig {
        train,
        lora_bias: true,
        bias: Bias::All,
        ..LoraConfig::new(2, 6, &["query", "intermediate.dense"])
    };
    Adapter::initial(&common::tiny_model(), &config, 3).unwrap()
}

fn optimizers() -> [ServerOptimizer; 4] {
    let (learning_rate, beta1, beta2, epsilon) = (0.01, 0.9, 0.99, 1e-8);
    [
        ServerOptimizer::Sgd { learning_rate, momentum: 0.9 },
        ServerOptimizer::Adam { learning_rate, beta1, beta2, epsilon },
        ServerOptimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay: 0.1 },
        ServerOptimizer::Yogi { learning_rate, beta1, beta2, epsilon: 1e-3 },
    ]
}

fn is_factor(name: &str) -> bool {
    name.contains(".lora_")
}

/// The gradient of round `round` by the tensor `name`, the same for whoever asks.
fn gradient(adapter: &Adapter, round: u64) -> Vec<f32> {
    let of = |name: &str, i: usize| {
        let seed = name.bytes().map(u64::from).sum::<u64>() * 31 + round * 7919 + i as u64 * 104_729;
        ((seed % 2003) as f32 - 1001.0) / 1001.0
    };
    let places = adapter.trainable();
    places.iter().flat_map(|place| (0..place.len()).map(move |i| of(&place.name, i))).collect()
}

fn values(state: &State, of: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u32>> {
    let tensors = state.adapter().tensors().filter(|(name, _)| of(name));
    tensors.map(|(name, tensor)| (name.to_owned(), tensor.data.iter().map(|x| x.to_bits()).collect())).collect()
}

#[test]
fn each_part_ends_where_its_own_steps_alone_lead_bit_for_bit_under_every_optimizer() {
    for optimizer in optimizers() {
        let start = |train| State::new(adapter(train), optimizer.clone()).unwrap();
        let mut state = start(Train::Alternating);
        // What trains B alone sees rounds 0, 2, 4, what trains A alone rounds 1 and 3, and the head and the biases of a third one all of them.
        let (mut only_b, mut only_a, mut head) = (start(Train::B), start(Train::A), start(Train::B));
        for round in 0..5 {
            let turn = if round % 2 == 0 { Train::B } else { Train::A };
            let training = state.round_adapter().into_owned();
            assert_eq!(training.config().train, turn);
            let mut sum = gradient(&training, round);
            // What is behind the turn's own weights plays no part.
            sum.resize(state.update_len(), f32::NAN);
            state.apply_gradient(&sum).unwrap();
            let own = if turn == Train::B { &mut only_b } else { &mut only_a };
            own.apply_gradient(&gradient(&adapter(turn), round)).unwrap();
            head.apply_gradient(&gradient(head.adapter(), round)).unwrap();
            let bytes = state.to_bytes();
            let schedule = Schedule::default();
            let read =
                State::from_bytes(&common::tiny_model(), state.adapter().config(), &optimizer, &schedule, &bytes);
            assert_eq!(read.unwrap(), state);
        }
        let (a, b) = (|name: &str| name.contains(".lora_A."), |name: &str| name.contains(".lora_B."));
        assert_eq!(values(&state, b), values(&only_b, b), "{optimizer:?}");
        assert_eq!(values(&state, a), values(&only_a, a), "{optimizer:?}");
        assert_eq!(values(&state, |name| !is_factor(name)), values(&head, |name| !is_factor(name)), "{optimizer:?}");
        assert_ne!(values(&state, is_factor), values(&start(Train::Alternating), is_factor));
    }
}

#[test]
fn a_sum_is_as_long_as_the_longer_turn_at_every_step_and_no_other_length_is_taken() {
    let mut state = State::new(adapter(Train::Alternating), optimizers()[0].clone()).unwrap();
    let lens = [Train::A, Train::B].map(|train| adapter(train).trainable_len());
    assert_ne!(lens[0], lens[1]);
    for _ in 0..3 {
        assert_eq!(state.update_len(), lens[0].max(lens[1]));
        for wrong in [lens[0].min(lens[1]), state.adapter().trainable_len()] {
            let error = state.apply_gradient(&vec![0.0; wrong]).unwrap_err();
            assert!(matches!(error, ApplyError::WrongLength { .. }), "{error}");
        }
        state.apply_gradient(&vec![0.5; state.update_len()]).unwrap();
    }
    assert_eq!(common::tiny_adapter().update_len(), common::tiny_adapter().trainable_len());
    // Of the same length, and still not the same state.
    let of = |train| {
        let config = LoraConfig { train, ..LoraConfig::new(2, 6, &["query"]) };
        Adapter::initial(&common::tiny_model(), &config, 3).unwrap()
    };
    let bytes = State::new(of(Train::B), optimizers()[0].clone()).unwrap().to_bytes();
    let foreign = of(Train::A);
    let read = State::from_bytes(foreign.model(), foreign.config(), &optimizers()[0], &Schedule::default(), &bytes);
    assert!(matches!(read, Err(DecodeError::Foreign)), "{read:?}");
    for train in [Train::A, Train::B, Train::AB] {
        assert_eq!(adapter(train).update_len(), adapter(train).trainable_len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A state of turns with a byte changed is refused, or is another state; none is read as one of other turns.
    #[test]
    fn corrupted_states_of_turns_are_an_error_or_another_state(place in any::<prop::sample::Index>(), flip in 1u8..) {
        let optimizer = optimizers()[1].clone();
        let schedule = Schedule { warmup: 2, decay: Decay::Linear, steps: 9, final_fraction: 0.0 };
        let mut state = State::scheduled(adapter(Train::Alternating), optimizer.clone(), schedule).unwrap();
        for round in 0..3 {
            let mut sum = gradient(&state.round_adapter(), round);
            sum.resize(state.update_len(), 0.0);
            state.apply_gradient(&sum).unwrap();
        }
        let mut bytes = state.to_bytes();
        let read = |train, bytes: &[u8]| State::from_bytes(&common::tiny_model(), adapter(train).config(), &optimizer, &schedule, bytes);
        prop_assert_eq!(&read(Train::Alternating, &bytes).unwrap(), &state);
        let foreign = matches!(read(Train::AB, &bytes), Err(DecodeError::Length { .. }));
        prop_assert!(foreign);
        let place = place.index(bytes.len());
        bytes[place] ^= flip;
        if let Ok(other) = read(Train::Alternating, &bytes) {
            prop_assert_ne!(other.digest(), state.digest());
        }
    }
}
