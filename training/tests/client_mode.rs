//! Mode `client` and evaluations, beside plain arithmetic. The learner is a quadratic whose gradients are known, and the
//! noise is left out where an exact number is asserted.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;
use std::time::Duration;

use adapter::{Adapter, State};
use privacy::{Kind, NoiseShare, ProtectedUnit};
use proptest::prelude::*;
use protocol::{Attempt, Charter, HouseName, RoundNumber};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;
use terms::{Norms, RoundShape, Terms};
use training::{
    FreshNoise, House, Learner, Noise, Outcome, Part, Rehearsal, Sink, Tools, TrainError, mechanism, protected_unit,
    within_charged,
};

/// Row r pulls every weight toward its own target: the gradient is weight less target.
struct Quadratic {
    targets: Vec<f32>,
    weights: Vec<f32>,
    asked: RefCell<Vec<usize>>,
}

impl Quadratic {
    fn new(targets: &[f32]) -> Self {
        Self { targets: targets.to_vec(), weights: Vec::new(), asked: RefCell::default() }
    }
}

impl Learner for Quadratic {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        self.weights = adapter.flat();
        Ok(())
    }

    fn set_dropout_seed(&mut self, _: u64) {}

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        for (at, row) in rows.iter().enumerate() {
            self.asked.borrow_mut().push(*row);
            let gradient: Vec<f32> = self.weights.iter().map(|weight| weight - self.targets[*row]).collect();
            sink(at, 1.0, &gradient);
        }
        Ok(())
    }

    /// Rows with an even number are sure of class 0, others of class 2.
    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError> {
        let sure = |row: &usize| if row.is_multiple_of(2) { [9.0, 0.0, 0.0] } else { [0.0, 0.0, 9.0] };
        Ok(rows.iter().map(|row| Outcome::of_logits(row % 3, &sure(row))).collect())
    }
}

/// Leaves the noise out.
struct Silence;

impl Noise for Silence {
    fn begin(&mut self, _: &NoiseShare, _: usize) {}

    fn add(&mut self, _: &NoiseShare, _: &mut [i64]) -> Result<Duration, TrainError> {
        Ok(Duration::ZERO)
    }
}

const ADAPTIVE: &str = "[adaptive_clipping]\nquantile = 0.5\nlearning_rate = 0.2\nnoise_multiplier = 20.0\n";
const EVALUATION: &str = "[evaluation]\nevery = 1\nheld_out = 0.25\nnoise_multiplier = 40.0\nloss_bound = 8.0\n";

fn charter(mode: &str, sections: &str) -> Charter {
    charter_with_biases(mode, sections, "none")
}

fn charter_with_biases(mode: &str, sections: &str, bias: &str) -> Charter {
    let local = "[local]\nsteps = 3\nlearning_rate = 0.25\nbatch = 8\n";
    let local = if mode == "client" { local } else { "" };
    let text = protocol::charter::SAMPLE
        .replace("mode = \"record-shared\"\n", &format!("mode = \"{mode}\"\n"))
        .replace("num_hidden_layers = 6", "num_hidden_layers = 2")
        .replace("hidden_size = 384", "hidden_size = 8")
        .replace("intermediate_size = 1536", "intermediate_size = 12")
        .replace("sampling_rate = 0.02", "sampling_rate = 1.0")
        .replace("noise_multiplier = 0.81", "noise_multiplier = 2.0")
        .replace(
            "kind = \"adam\"\nlearning_rate = 0.005\nbeta1 = 0.9\nbeta2 = 0.999\nepsilon = 1e-8",
            "kind = \"sgd\"\nlearning_rate = 1.0\nmomentum = 0.0",
        )
        .replacen("[[house]]", &format!("{local}{sections}[[house]]"), 1)
        .replace("target_modules", &format!("bias = {bias:?}\ntarget_modules"));
    Charter::parse(&text).unwrap()
}

fn first(charter: &Charter) -> State {
    Terms::of(charter).unwrap().first_state().unwrap()
}

fn houses(charter: &Charter, rows: &[&[usize]]) -> Vec<(HouseName, House)> {
    let names = charter.houses.iter().map(|house| house.name.clone());
    names.zip(rows.iter().map(|rows| House::of_units(rows.iter().map(|row| vec![*row]).collect()))).collect()
}

/// Three steps of size 1/4 from w toward the mean target t, over all rows: w + (1 - (3/4)^3) (t - w); then cut to norm 1.
fn clipped_update(weights: &[f32], target: f64) -> Vec<f64> {
    let moved: Vec<f64> =
        weights.iter().map(|weight| (1.0 - 0.75f64.powi(3)) * (target - f64::from(*weight))).collect();
    let norm = moved.iter().map(|value| value * value).sum::<f64>().sqrt();
    moved.iter().map(|value| value / norm.max(1.0)).collect()
}

#[test]
fn a_round_of_mode_client_moves_the_adapter_and_biases_by_the_mean_of_the_houses_clipped_updates() {
    for bias in ["none", "lora_only", "all"] {
        moved_by_the_mean(&charter_with_biases("client", "", bias));
    }
}

fn moved_by_the_mean(charter: &Charter) {
    // One house within the norm, three far beyond; 3 rows or 1, which must not weigh.
    let rows: [&[usize]; 4] = [&[0, 1, 2], &[3], &[4], &[5]];
    let targets = [0.02, 0.05, 0.08, 3.0, -5.0, 7.0];
    let before = first(charter).adapter().flat();
    let mut mean = vec![0.0; before.len()];
    for target in [0.05, 3.0, -5.0, 7.0] {
        mean.iter_mut().zip(clipped_update(&before, target)).for_each(|(mean, value)| *mean += value / 4.0);
    }
    let run = |noise: &mut dyn Noise, seed: u64| {
        let mut learner = Quadratic::new(&targets);
        let mut rehearsal = Rehearsal::new(charter, houses(charter, &rows)).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        rehearsal.round(&mut Tools { learner: &mut learner, noise, rng: &mut rng }).unwrap();
        let after = rehearsal.state().adapter().flat();
        let wrong = after
            .iter()
            .zip(&before)
            .zip(&mean)
            .map(|((after, before), mean)| f64::from(*after) - f64::from(*before) - mean);
        wrong.collect::<Vec<f64>>()
    };
    let width = (before.len() as f64).sqrt();
    // Rounding to the grid: at most 1/2 of a unit's deviation a house and coordinate, over four houses.
    let unit = 1.0 / 4096.0;
    let norm = |errors: &[f64]| errors.iter().map(|error| error * error).sum::<f64>().sqrt();
    let silent = norm(&run(&mut Silence, 1));
    assert!(silent < 2.0 * unit * width / 4.0, "{silent}");
    // With noise: four shares of deviation 2 D / sqrt(4 - 1 - 1), over four, on each of the rotated coordinates of which
    // those of the weights are left.
    let expected = 2.0 / 2f64.sqrt() / 4.0 * 2.0 * width;
    let noisy = norm(&run(&mut FreshNoise::new(), 2));
    // The norm of some 150 independent deviations is known to one part in sqrt(2 * 150), 6 percent: five of those.
    assert!((noisy / expected - 1.0).abs() < 0.3, "{noisy} {expected}");
}

/// RoLoRA: B and the head in the first round, A and the head in the second, whatever the mode and however many steps a house takes by itself.
#[test]
fn by_turns_a_round_moves_the_turns_weights_and_no_others() {
    for mode in ["client", "record-shared", "record-local"] {
        let steps = "[local]\nsteps = 2\nlearning_rate = 0.25\n";
        let local = if mode == "record-local" { steps } else { "" };
        // B has 12 outputs, A 8 inputs: A's turn is the shorter one.
        let text = charter(mode, &format!("{local}{EVALUATION}"))
            .text()
            .replace("strategy = \"ffa-lora\"", "strategy = \"rolora\"");
        let text = text.replace("[\"query\", \"value\"]", "[\"query\", \"intermediate.dense\"]");
        let charter = Charter::parse(&text).unwrap();
        let mut learner = Quadratic::new(&[1.0]);
        let mut all = houses(&charter, &[&[0], &[0], &[0], &[0]]);
        all.iter_mut().for_each(|(_, house)| house.held_out = std::iter::once(vec![0]).collect());
        let mut rehearsal = Rehearsal::new(&charter, all).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(4);
        let mut tools = Tools { learner: &mut learner, noise: &mut Silence, rng: &mut rng };
        for stays in [".lora_A.", ".lora_B."] {
            let before = rehearsal.state().adapter().clone();
            let metrics = rehearsal.round(&mut tools).unwrap().metrics.unwrap();
            assert!(
                (metrics.units.value - 4.0).abs() < 0.01,
                "{mode}: the metrics stand behind the longer turn's length: {metrics:?}"
            );
            let after = rehearsal.state().adapter();
            for (name, tensor) in before.tensors() {
                let now = &after.get(name).unwrap().data;
                if name.contains(stays) {
                    assert_eq!(&tensor.data, now, "{mode} {name}");
                } else {
                    // All weights are drawn to 1.
                    assert!(tensor.data.iter().zip(now).all(|(before, now)| before < now), "{mode} {name}");
                }
            }
        }
        assert_eq!(rehearsal.state().step(), 2);
    }
}

/// How far each of two rounds moves every weight, when all houses pull toward `target` with these keys in [local]; and where it began.
fn two_rounds(keys: &str, target: f32) -> (Vec<f32>, [Vec<f64>; 2]) {
    let plain = charter("client", "");
    let text = plain.text().replace("[local]\nsteps = 3\nlearning_rate = 0.25\n", &format!("[local]\n{keys}\n"));
    let charter = Charter::parse(&text).unwrap();
    assert_ne!(charter.digest(), plain.digest());
    let mut learner = Quadratic::new(&[target; 4]);
    let mut rehearsal = Rehearsal::new(&charter, houses(&charter, &[&[0], &[1], &[2], &[3]])).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let mut tools = Tools { learner: &mut learner, noise: &mut Silence, rng: &mut rng };
    let first = rehearsal.state().adapter().flat();
    let mut before = first.clone();
    let moved = [(); 2].map(|()| {
        rehearsal.round(&mut tools).unwrap();
        let after = rehearsal.state().adapter().flat();
        let moved = after.iter().zip(&before).map(|(after, before)| f64::from(*after) - f64::from(*before)).collect();
        before = after;
        moved
    });
    (first, moved)
}

/// Rounding to the grid moves a weight by less than a unit of 1/4096 or so in the mean of four houses; five of those.
fn is_about(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() < 5.0 / 4096.0
}

/// By hand, from 0 toward d at rate 1/4. Momentum 1/2: directions -d, -5/4 d, -17/16 d; 1/4 + 5/16 + 17/64 is 53/64. Proximal 1: what is left
/// of the way to d / 2 halves with every step, 7/8 of it is gone after three.
#[test]
fn local_momentum_and_a_proximal_term_move_a_copy_as_far_as_by_hand_and_begin_anew_in_every_round() {
    for (keys, share) in [("momentum = 0.5", 53.0 / 64.0), ("proximal = 1.0", 7.0 / 16.0)] {
        let (first, [one, two]) = two_rounds(&format!("steps = 3\nlearning_rate = 0.25\n{keys}"), 0.05);
        for ((start, one), two) in first.iter().zip(&one).zip(&two) {
            let way = 0.05 - f64::from(*start);
            assert!(is_about(*one, share * way), "{keys}: {one} of {way}");
            assert!(is_about(*two, share * (way - one)), "{keys}: {two} of {}", way - one);
        }
    }
}

/// By hand: one step of Adam from nothing goes the whole rate against the gradient's sign, 0.02 here; before it, the decay takes 0.02 * 5 of the weight.
/// The first round goes past the target of 0.015, the second back: with the first one's moments it would not.
#[test]
fn a_local_step_of_adamw_is_its_rate_against_the_sign_and_the_decay_of_the_weight_in_every_round() {
    let (first, [one, two]) =
        two_rounds("steps = 1\nlearning_rate = 0.02\noptimizer = \"adamw\"\nweight_decay = 5.0", 0.015);
    assert!(first.iter().all(|start| *start == 0.0));
    for (one, two) in one.iter().zip(&two) {
        assert!(is_about(*one, 0.02), "{one}");
        assert!(is_about(*two, -0.02 - 0.1 * one), "{two}");
    }
}

#[test]
fn the_clipping_norm_follows_the_quantile_of_the_updates_through_the_sum() {
    let charter = charter("client", ADAPTIVE);
    let mut learner = Quadratic::new(&[0.05, 3.0, -5.0, 7.0]);
    let mut rehearsal = Rehearsal::new(&charter, houses(&charter, &[&[0], &[1], &[2], &[3]])).unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut tools = Tools { learner: &mut learner, noise: &mut Silence, rng: &mut rng };
    assert_eq!(rehearsal.state().clipping_norm(), None);
    rehearsal.round(&mut tools).unwrap();
    // One of four is below: exp(-0.2 (1/4 - 1/2)).
    assert!((rehearsal.state().clipping_norm().unwrap() - 0.05f64.exp()).abs() < 1e-12);
    let applied = terms::clipping_norm(&charter, rehearsal.state());
    rehearsal.round(&mut tools).unwrap();
    assert!(rehearsal.state().clipping_norm().unwrap() > applied);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// What one house may change about the sum, whatever its rows do, gradients that are no numbers among them: the whole vector,
    /// indicator and metrics with it, is within the integer norm exactly, before noise.
    #[test]
    fn no_house_moves_the_sum_of_mode_client_by_more_than_the_integer_norm(
        targets in proptest::collection::vec(prop_oneof![-1e3f32..1e3, Just(f32::NAN), Just(f32::MAX), -0.1f32..0.1], 0..12),
        held_out in 0usize..4, seed in any::<[u8; 32]>(), sections in 0usize..4,
    ) {
        let sections = ["", ADAPTIVE, EVALUATION, &format!("{ADAPTIVE}{EVALUATION}")][sections].to_owned();
        let charter = charter("client", &sections);
        let state = first(&charter);
        let mut learner = Quadratic::new(&targets);
        let (held, trained) = (0..targets.len()).partition::<Vec<usize>, _>(|row| *row < held_out);
        let house = House { units: vec![trained].into(), held_out: held.iter().map(|row| vec![*row]).collect() };
        let name = charter.houses[0].name.clone();
        let part = Part { charter: &charter, house: &name, number: RoundNumber::FIRST, attempt: Attempt::FIRST, expected: 4, may_vanish: 0, seed };
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut tools = Tools { learner: &mut learner, noise: &mut Silence, rng: &mut rng };
        let made = mechanism(&charter).unwrap().contribute(&part, &state, &house, &mut tools).unwrap();
        prop_assert_eq!(made.values.len(), RoundShape::of(&charter, RoundNumber::FIRST, state.adapter().trainable_len()).len());
        let squares: i128 = made.values.iter().map(|value| i128::from(*value).pow(2)).sum();
        prop_assert!(squares <= 4096i128.pow(2));
        prop_assert!(learner.asked.borrow().iter().all(|row| *row >= held_out));
    }
}

/// 24 rows in four houses, every fourth held out: by hand, held-out rows 0, 4, ..., 20 are even, so all are answered with class 0;
/// their labels are 0, 1, 2, 0, 1, 2.
#[test]
fn evaluations_count_the_held_out_units_and_train_on_none_of_them() {
    for mode in ["record-shared", "record-local", "client"] {
        let charter = charter(mode, EVALUATION);
        let names = charter.houses.iter().map(|house| house.name.clone());
        let house = |at: usize| {
            let rows = 6 * at..6 * at + 6;
            let (held, units) = rows.map(|row| vec![row]).partition(|unit| unit[0] % 4 == 0);
            House { units, held_out: held }
        };
        let mut rehearsal =
            Rehearsal::new(&charter, names.enumerate().map(|(at, name)| (name, house(at))).collect()).unwrap();
        let mut learner = Quadratic::new(&[0.1; 24]);
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let mut tools = Tools { learner: &mut learner, noise: &mut Silence, rng: &mut rng };
        let metrics = rehearsal.round(&mut tools).unwrap().metrics.unwrap();
        assert!(!learner.asked.borrow().is_empty());
        assert!(learner.asked.borrow().iter().all(|row| row % 4 != 0), "{mode}");
        // Houses hold out 2, 1, 2, 1 rows; under `client` each house counts once, by its mean: (0, 4), (8), (12, 16), (20).
        let units = if mode == "client" { 4.0 } else { 6.0 };
        assert!((metrics.units.value - units).abs() < 0.02, "{mode} {metrics:?}");
        let of_label = if mode == "client" { [1.0, 1.0, 2.0] } else { [2.0; 3] };
        for (label, count) in of_label.into_iter().enumerate() {
            assert!((metrics.confusion[label][0] - count).abs() < 0.02, "{mode} {metrics:?}");
        }
        // Four shares of the whole noise 2 D / sqrt(honest), in units of a one, D 2 / 40 / sqrt(2); charged as announced.
        let honest: f64 = if mode == "record-local" { 1.0 } else { 2.0 };
        let deviation = 40.0 * 2f64.sqrt() * (4.0 / honest).sqrt();
        assert!((metrics.deviation / deviation - 1.0).abs() < 0.02, "{mode} {metrics:?}");
    }
}

#[test]
fn a_round_with_evaluation_takes_a_ledger_line_of_its_own_but_under_mode_client() {
    let kinds = |mode: &str, every: &str, number: u32| {
        let charter = charter(mode, &EVALUATION.replace("every = 1", every));
        let name = charter.houses[0].name.clone();
        let part = Part::ahead(&charter, &name, RoundNumber::new(number).unwrap(), Attempt::FIRST);
        let entries = part.ledger_entries(100).unwrap();
        for entry in &entries {
            entry.rounds().check().unwrap();
        }
        entries
            .iter()
            .map(|entry| (entry.kind, entry.rate, entry.noise_multiplier, entry.integer_norm))
            .collect::<Vec<_>>()
    };
    let training = (Kind::Training, 1.0, 2.0, 4096);
    // 4096 * 2 / 40 is 204.8.
    let evaluation = (Kind::Evaluation, 1.0, 40.0, 204);
    assert_eq!(kinds("record-shared", "every = 2", 1), [training]);
    assert_eq!(kinds("record-shared", "every = 2", 2), [training, evaluation]);
    assert_eq!(kinds("record-local", "every = 2", 2), [training, evaluation]);
    assert_eq!(kinds("client", "every = 2", 2), [training]);
    let charter = charter("client", &format!("{ADAPTIVE}{EVALUATION}"));
    let norms = Norms::of(&charter, RoundNumber::FIRST);
    assert_eq!((norms.indicator, norms.metrics), (409, 204));
    assert!(norms.update.pow(2) + 409 * 409 + 204 * 204 <= 4096 * 4096);
}

/// The charter's epsilon is for `rounds.charged` attempts: a house is charged for no more, and for no more evaluations than are
/// among them.
#[test]
fn a_house_is_charged_for_as_many_attempts_as_the_charters_epsilon_is_for() {
    let charter = charter("record-shared", &EVALUATION.replace("every = 1", "every = 20"));
    let names: Vec<HouseName> = charter.houses.iter().map(|house| house.name.clone()).collect();
    let entries = |house: &HouseName, round: u32, attempt: u32| {
        let (round, attempt) = (RoundNumber::new(round).unwrap(), Attempt::new(attempt).unwrap());
        Part::ahead(&charter, house, round, attempt).ledger_entries(100).unwrap()
    };
    let (charged, most) = (charter.charged_rounds(), terms::evaluations(&charter));
    assert_eq!((u64::from(charged), most), (60, 3));
    // One less than all attempts, none of an evaluated round, and another house's.
    let plain = (1..).filter(|round| round % 20 != 0).take(charged as usize - 1);
    let mut spent: Vec<_> = plain.flat_map(|round| entries(&names[0], round, 1)).collect();
    spent.extend(entries(&names[1], 1, 1));
    let last = entries(&names[0], 1, 2);
    within_charged(&charter, &spent, &last).unwrap();
    spent.extend(last.clone());
    // Asked again for what is reserved: it fits; a further one does not.
    within_charged(&charter, &spent, &last).unwrap();
    let refused = within_charged(&charter, &spent, &entries(&names[0], 1, 3)).unwrap_err();
    assert!(matches!(refused, TrainError::Charged { most: 60, what: "attempts" }), "{refused}");
    within_charged(&charter, &spent, &entries(&names[1], 1, 3)).unwrap();
    let evaluated: Vec<_> = (1..=3).flat_map(|attempt| entries(&names[0], 20, attempt)).collect();
    let refused = within_charged(&charter, &evaluated, &entries(&names[0], 40, 1)).unwrap_err();
    assert!(matches!(refused, TrainError::Charged { most: 3, what: "evaluations" }), "{refused}");
    within_charged(&charter, &evaluated, &entries(&names[0], 41, 1)).unwrap();
}

#[test]
fn what_a_ledger_protects_follows_from_mode_and_unit_column() {
    let of = |mode: &str, column| protected_unit(&charter(mode, ""), column);
    assert_eq!(of("record-shared", None), ProtectedUnit::Row);
    assert_eq!(of("record-local", Some("patient")), ProtectedUnit::Column("patient".to_owned()));
    assert_eq!(of("client", Some("patient")), ProtectedUnit::House);
}
