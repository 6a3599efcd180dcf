//! The state between rounds: the same bits however it got there, and nothing else accepted.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use adapter::{ApplyError, Decay, DecodeError, LoraConfig, Schedule, ServerOptimizer, State};
use proptest::prelude::*;

fn optimizers() -> [ServerOptimizer; 5] {
    [
        ServerOptimizer::Sgd { learning_rate: 0.1, momentum: 0.0 },
        ServerOptimizer::Sgd { learning_rate: 0.1, momentum: 0.9 },
        ServerOptimizer::Adam { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        ServerOptimizer::AdamW { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 },
        ServerOptimizer::Yogi { learning_rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-3 },
    ]
}

fn state(optimizer: &ServerOptimizer) -> State {
    State::new(common::tiny_adapter(), optimizer.clone()).unwrap()
}

fn reload(state: &State) -> State {
    let (model, config) = (state.adapter().model(), state.adapter().config());
    State::from_bytes(model, config, state.optimizer(), state.schedule(), &state.to_bytes()).unwrap()
}

fn sum(state: &State, factor: i64) -> Vec<i64> {
    (0..state.adapter().trainable_len() as i64).map(|i| (i * i - 300) * factor).collect()
}

#[test]
fn a_state_read_back_between_steps_ends_with_the_same_bits() {
    for optimizer in optimizers() {
        let (mut kept, mut reloaded) = (state(&optimizer), state(&optimizer));
        for factor in [1, -3, 17, 0, 40_000] {
            reloaded = reload(&reloaded);
            for state in [&mut kept, &mut reloaded] {
                let sum = sum(state, factor);
                state.apply(&sum, 1e-4, 64.0).unwrap();
            }
            assert_eq!(kept.digest(), reloaded.digest());
            assert_eq!(kept.adapter().digest(), reloaded.adapter().digest());
        }
        assert_eq!(reloaded, kept);
    }
}

/// Values worked out by a 64-bit calculation by hand: w = 1 - 0.5 * (3 * 0.25 / 2) with integer 3, unit 0.25, divisor 2.
#[test]
fn plain_sgd_subtracts_rate_times_sum_times_unit_over_divisor() {
    let adapter = common::tiny_adapter();
    let ones = adapter.with_flat(&vec![1.0; adapter.trainable_len()]).unwrap();
    let mut state = State::new(ones, ServerOptimizer::Sgd { learning_rate: 0.5, momentum: 0.0 }).unwrap();
    state.apply(&vec![3; adapter.trainable_len()], 0.25, 2.0).unwrap();
    assert!(state.adapter().flat().iter().all(|&weight| weight == 0.8125));
}

#[test]
fn applying_leaves_the_frozen_a_alone() {
    for optimizer in optimizers() {
        let mut state = state(&optimizer);
        let before = state.adapter().clone();
        state.apply(&sum(&state, 5), 1e-3, 4.0).unwrap();
        for (name, tensor) in before.tensors() {
            let same = state.adapter().get(name).unwrap() == tensor;
            assert_eq!(same, name.contains("lora_A"), "{name}");
        }
    }
}

#[test]
fn a_refused_sum_is_named_and_leaves_the_state_as_it_was() {
    for optimizer in optimizers() {
        let mut state = state(&optimizer);
        state.apply(&sum(&state, 1), 1e-3, 4.0).unwrap();
        let (good, before) = (sum(&state, 1), state.digest());
        let short = &good[1..];
        assert!(matches!(state.apply(short, 1.0, 1.0), Err(ApplyError::WrongLength { .. })));
        for (unit, divisor, wanted) in [
            (f64::NAN, 1.0, "unit"),
            (0.0, 1.0, "unit"),
            (1.0, -1.0, "divisor"),
            (1.0, f64::INFINITY, "divisor"),
            (1e-300, 1e10, "unit / divisor"),
            (1e300, 1e-10, "unit / divisor"),
        ] {
            let error = state.apply(&good, unit, divisor).unwrap_err();
            assert!(matches!(error, ApplyError::BadScale { name, .. } if name == wanted), "{error}");
        }
        let huge = vec![i64::MAX; good.len()];
        let error = state.apply(&huge, 1e37, 1.0).unwrap_err();
        assert!(
            matches!(&error, ApplyError::NotFinite { tensor, index: 0, .. } if tensor.contains("lora_B")),
            "{error}"
        );
        assert_eq!(state.digest(), before);
    }
}

#[test]
fn a_state_of_another_charter_version_or_length_is_refused() {
    let [sgd, momentum, adam, ..] = optimizers();
    let state = state(&adam);
    let (model, config, bytes) = (common::tiny_model(), state.adapter().config().clone(), state.to_bytes());
    let read = |config: &LoraConfig, optimizer: &ServerOptimizer, bytes: &[u8]| {
        State::from_bytes(&model, config, optimizer, &Schedule::default(), bytes).unwrap_err()
    };
    assert!(matches!(read(&config, &sgd, &bytes), DecodeError::Length { .. }));
    assert!(matches!(read(&config, &momentum, &bytes), DecodeError::Length { .. }));
    let faster = ServerOptimizer::Adam { learning_rate: 0.02, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    assert!(matches!(read(&config, &faster, &bytes), DecodeError::Foreign));
    let stronger = LoraConfig { lora_alpha: 7, ..config.clone() };
    assert!(matches!(read(&stronger, &adam, &bytes), DecodeError::Foreign));
    for length in 0..bytes.len() {
        assert!(matches!(read(&config, &adam, &bytes[..length]), DecodeError::Length { .. }));
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(read(&config, &adam, &longer), DecodeError::Length { .. }));
    let older = [&[1], &bytes[1..]].concat();
    assert!(matches!(read(&config, &adam, &older), DecodeError::Version { found: 1, known: 3 }));
}

#[test]
fn memory_that_no_steps_leave_is_refused() {
    let [.., adam, _, _] = optimizers();
    let mut state = state(&adam);
    let config = state.adapter().config().clone();
    let constant = Schedule::default();
    let refused = |bytes: &[u8]| match State::from_bytes(&common::tiny_model(), &config, &adam, &constant, bytes) {
        Err(DecodeError::Impossible { part, .. }) => part,
        other => panic!("{other:?}"),
    };
    let fresh = state.to_bytes();
    let last = fresh.len() - 4;
    let replace = |bytes: &[u8], at: usize, value: &[u8]| [&bytes[..at], value, &bytes[at + value.len()..]].concat();
    assert_eq!(refused(&replace(&fresh, last, &1f32.to_le_bytes())), "second moment");
    assert_eq!(refused(&replace(&fresh, 33, &1u64.to_le_bytes())), "powers of the decays");
    state.apply(&sum(&state, 1), 1.0, 1.0).unwrap();
    let stepped = state.to_bytes();
    assert_eq!(refused(&replace(&stepped, last, &(-1f32).to_le_bytes())), "second moment");
    assert_eq!(refused(&replace(&stepped, 41, &1.5f64.to_le_bytes())), "powers of the decays");
    let first = last + 4 - 8 * state.adapter().trainable_len();
    assert_eq!(refused(&replace(&stepped, first, &f32::NAN.to_le_bytes())), "first moment");
}

#[test]
fn a_clipping_norm_is_kept_changes_the_digest_and_must_be_a_positive_number() {
    let [sgd, ..] = optimizers();
    let mut state = state(&sgd);
    assert_eq!(state.clipping_norm(), None);
    let before = state.digest();
    state.set_clipping_norm(0.75).unwrap();
    assert_eq!(reload(&state).clipping_norm(), Some(0.75));
    assert_ne!(state.digest(), before);
    for norm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(state.set_clipping_norm(norm).is_err());
        let mut bytes = state.to_bytes();
        bytes[57..65].copy_from_slice(&norm.to_le_bytes());
        let read = State::from_bytes(&common::tiny_model(), state.adapter().config(), &sgd, state.schedule(), &bytes);
        assert_eq!(read.is_ok(), norm == 0.0, "{norm}");
    }
}

/// By hand: 1.0 is the first; 0.95 is not lower by more than 0.1; 0.8 is; then nothing is; a loss that is none counts for nothing.
#[test]
fn the_lowest_loss_is_kept_with_how_long_ago_it_was_and_changes_the_digest() {
    let [sgd, ..] = optimizers();
    let mut state = state(&sgd);
    let before = state.digest();
    assert_eq!((state.best_loss().loss, state.best_loss().since), (f64::INFINITY, 0));
    let noted = [1.0, 0.95, 0.8, f64::NAN, 0.75, f64::INFINITY, 0.9].map(|loss| {
        state.note_loss(loss, 0.1);
        assert_eq!(reload(&state), state);
        (state.best_loss().loss, state.best_loss().since)
    });
    assert_eq!(noted, [(1.0, 0), (1.0, 1), (0.8, 0), (0.8, 0), (0.8, 1), (0.8, 1), (0.8, 2)]);
    assert_ne!(state.digest(), before);
    for loss in [f64::NAN, f64::NEG_INFINITY, f64::INFINITY] {
        let mut bytes = state.to_bytes();
        bytes[65..73].copy_from_slice(&loss.to_le_bytes());
        let read = State::from_bytes(&common::tiny_model(), state.adapter().config(), &sgd, state.schedule(), &bytes);
        assert!(matches!(read, Err(DecodeError::Impossible { part: "lowest loss", .. })), "{loss}");
    }
}

/// A gradient that is a whole number of units is the same step either way.
#[test]
fn a_gradient_moves_the_weights_as_the_sum_that_stands_for_it() {
    for optimizer in optimizers() {
        let (mut one, mut two) = (state(&optimizer), state(&optimizer));
        for factor in [1, -3] {
            let sum = sum(&one, factor);
            let gradient: Vec<f32> = sum.iter().map(|&integer| integer as f32 * 0.125).collect();
            one.apply(&sum, 0.5, 4.0).unwrap();
            two.apply_gradient(&gradient).unwrap();
        }
        assert_eq!(one, two);
        assert!(matches!(two.apply_gradient(&[0.0]), Err(ApplyError::WrongLength { .. })));
        let nan = vec![f32::NAN; two.adapter().trainable_len()];
        assert!(matches!(two.apply_gradient(&nan), Err(ApplyError::NotFinite { .. })));
        assert_eq!(one, two);
    }
}

/// Any machine must come to these bits: a change of them is a change of the protocol. scripts/digests.py, a second
/// implementation in Python, prints the same ones.
#[test]
fn the_digests_of_a_fixed_history_are_the_recorded_ones() {
    let constant = optimizers().map(|optimizer| state(&optimizer));
    let [sgd, ..] = optimizers();
    let schedule = Schedule { warmup: 1, decay: Decay::Cosine, steps: 4, final_fraction: 0.1 };
    let scheduled = State::scheduled(common::tiny_adapter(), sgd, schedule).unwrap();
    let digests: Vec<String> = constant
        .into_iter()
        .chain([scheduled])
        .map(|mut state| {
            for factor in [1, -3, 17] {
                state.apply(&sum(&state, factor), 1e-4, 64.0).unwrap();
            }
            state.digest().map(|byte| format!("{byte:02x}")).concat()
        })
        .collect();
    assert_eq!(digests, GOLDEN);
}

const GOLDEN: [&str; 6] = [
    "bf2d803c49ae85f98ac7e1c5302186d3960e1ab9118c02ae9ab463d64bf2f591",
    "486e80f80bbb7ed3d1337f1abd8f3449dac4767ac75fac18e87168def976ec69",
    "9a44672dd599462a322cdb34dc4f6ef1f71f8c96a4cdb487f43b91d3d2bcaae1",
    "4289251ebcf064a6e357f25eade9b4620efb53cb69fe09db76a9a70f37a10909",
    "a9f07e6cd2158bcd45d16e3483478728ecf37a148650857adc0b2c32de9c9bd4",
    "e6b5f9d3bceb54cbacc62e3846bfb304ee9baf16bcfec79f1fbd0f53145b9a22",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_history_reads_back_and_any_corruption_is_an_error_or_another_state(
        which in 0..5usize,
        factors in prop::collection::vec(-100_000i64..100_000, 0..4),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4),
    ) {
        let optimizer = &optimizers()[which];
        let mut state = state(optimizer);
        for factor in factors {
            state.apply(&sum(&state, factor), 1e-5, 64.0).unwrap();
        }
        prop_assert_eq!(&reload(&state), &state);
        let mut bytes = state.to_bytes();
        for (at, flip) in &flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let (model, config) = (state.adapter().model(), state.adapter().config());
        if let Ok(other) = State::from_bytes(model, config, optimizer, state.schedule(), &bytes) {
            prop_assert_eq!(other.to_bytes(), bytes);
        }
    }
}
