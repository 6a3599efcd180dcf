//! A house's contribution from a real (tiny) BERT, beside a plain loop over examples.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lora::{Classifier, Tokenizer};
use protocol::{Attempt, Charter, Digest, HouseName, RoundNumber};
use rand::{CryptoRng, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use terms::Terms;
use training::{
    At, Columns, Corpus, DataError, DataSource, FreshNoise, House, Learner as _, Loaded, ModelSource, Noise, Part,
    Rehearsal, TextLearner, Texts, Tools, TrainError, load, mechanism,
};

const WORDS: [&str; 6] = ["fracture", "of", "left", "arm", "eye", "ear"];
const ROWS: [(&str, &str, &str); 5] = [
    ("1", "fracture of left arm", "injury"),
    ("2", "left eye", "eye"),
    ("1", "arm", "injury"),
    ("3", "left ear of eye", "ear"),
    ("1", "of ear", "ear"),
];
const LABELS: [&str; 3] = ["eye", "ear", "injury"];

struct Bench {
    dir: tempfile::TempDir,
    charter: Charter,
}

impl Bench {
    /// The tiny checkpoint of `lora`'s tests, a word tokenizer, five rows, and a charter with sampling rate 1.
    fn new(mode: &str, multiplier: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lora/tests/fixtures/tiny-bert");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture.join(file), dir.path().join(file)).unwrap();
        }
        let vocabulary: serde_json::Map<_, _> =
            WORDS.iter().zip(1..).map(|(word, id)| ((*word).to_owned(), serde_json::json!(id))).collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": { "type": "Whitespace" }, "post_processor": null, "decoder": null,
            "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "of" },
        });
        std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let rows: String = ROWS.iter().map(|(patient, text, label)| format!("{patient},{text},{label}\n")).collect();
        std::fs::write(dir.path().join("rows.csv"), format!("patient,text,label\n{rows}")).unwrap();
        let weights = Digest::sha256(&std::fs::read(dir.path().join("model.safetensors")).unwrap());
        let none = mode == "none";
        let text = protocol::charter::SAMPLE
            .replace("53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", &weights.to_string())
            .replace("num_hidden_layers = 6", "num_hidden_layers = 2")
            .replace("hidden_size = 384", "hidden_size = 32")
            .replace("intermediate_size = 1536", "intermediate_size = 64")
            .replace(r#"["infections", "neoplasms", "injuries"]"#, &format!("{LABELS:?}"))
            .replace("max_tokens = 64", "max_tokens = 16")
            .replace("mode = \"record-shared\"", &format!("mode = \"{mode}\""))
            .replace("\nepsilon = 3.0", if none { "\nepsilon = 0.0" } else { "\nepsilon = 3.0" })
            .replace("delta = 1e-5", if none { "delta = 0.0" } else { "delta = 1e-5" })
            .replace("noise_multiplier = 0.81", &format!("noise_multiplier = {multiplier}"))
            .replace("clipping_norm = 1.0", "clipping_norm = 0.25")
            .replace("sampling_rate = 0.02", "sampling_rate = 1.0");
        Self { charter: Charter::parse(&text).unwrap(), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn load(&self, unit_column: Option<&str>) -> Result<Loaded, TrainError> {
        self.load_with(unit_column, 1)
    }

    fn load_with(&self, unit_column: Option<&str>, threads: usize) -> Result<Loaded, TrainError> {
        let columns = Columns { text: "text", answer: "label", messages: None, unit: unit_column };
        let data = DataSource { file: &self.path("rows.csv"), format: None, columns };
        let model = ModelSource { folder: self.dir.path(), device: "cpu", threads: Some(threads) };
        load(&self.charter, &data, &model, self.dir.path())
    }

    fn contribution(&self, loaded: &mut Loaded) -> Vec<i64> {
        self.contribution_with(loaded, &mut rand::rng())
    }

    /// With the generator that says who is sampled.
    fn contribution_with(&self, loaded: &mut Loaded, rng: &mut dyn CryptoRng) -> Vec<i64> {
        let state = Terms::of(&self.charter).unwrap().first_state().unwrap();
        let house = HouseName::new("lakeside").unwrap();
        let part = part(&self.charter, &house);
        let mut noise = FreshNoise::new();
        let mut tools = Tools { learner: loaded.learner.as_mut(), noise: &mut noise, rng };
        let made = mechanism(&self.charter).unwrap().contribute(&part, &state, &loaded.house, &mut tools).unwrap();
        made.values.to_vec()
    }

    /// Each row's gradient at the first adapter, one after the other.
    fn gradients(&self) -> Vec<Vec<f32>> {
        self.gradients_at(Terms::of(&self.charter).unwrap().first_state().unwrap().adapter())
    }

    fn gradients_at(&self, adapter: &adapter::Adapter) -> Vec<Vec<f32>> {
        let device = lora::device("cpu").unwrap();
        let classifier = Classifier::load(self.dir.path(), adapter, LABELS.len(), &device).unwrap();
        let tokenizer = Tokenizer::from_file(&self.path("tokenizer.json")).unwrap();
        let one = |(_, text, label): &(&str, &str, &str)| {
            let label = LABELS.iter().position(|known| known == label).unwrap();
            let mut gradient = Vec::new();
            let example = tokenizer.encode(text, 16).unwrap();
            classifier.for_each_gradient(&[example], &[label], |_, _, found| gradient = found.to_vec()).unwrap();
            gradient
        };
        ROWS.iter().map(one).collect()
    }
}

fn part<'a>(charter: &'a Charter, house: &'a HouseName) -> Part<'a> {
    Part {
        charter,
        house,
        number: RoundNumber::FIRST,
        attempt: Attempt::FIRST,
        expected: 4,
        may_vanish: 1,
        seed: [0; 32],
    }
}

/// Mean of some gradients, shrunk to norm 0.25, on the sample charter's grid of 4096 units.
fn clipped(rows: &[&Vec<f32>]) -> Vec<f64> {
    let mean: Vec<f64> =
        (0..rows[0].len()).map(|i| rows.iter().map(|row| f64::from(row[i])).sum::<f64>() / rows.len() as f64).collect();
    let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.iter().map(|x| x * (0.25 / norm).min(1.0) * 4096.0 / 0.25).collect()
}

fn assert_sum_of(found: &[i64], units: &[Vec<f64>]) {
    assert!(found.iter().any(|value| value.abs() > 100), "the gradients are not all zero");
    for (i, found) in found.iter().enumerate() {
        let exact: f64 = units.iter().map(|unit| unit[i]).sum();
        // Each unit is truncated toward zero by itself.
        assert!((*found as f64 - exact).abs() <= units.len() as f64, "coordinate {i}: {found} for {exact}");
    }
}

#[test]
fn without_noise_a_contribution_is_the_sum_of_the_rows_clipped_gradients() {
    let bench = Bench::new("none", "0.0");
    let found = bench.contribution(&mut bench.load(None).unwrap());
    let units: Vec<Vec<f64>> = bench.gradients().iter().map(|row| clipped(&[row])).collect();
    assert_sum_of(&found, &units);
}

/// Two layers and the head, each to 0.25 / sqrt(3).
#[test]
fn per_layer_each_layer_of_a_row_is_clipped_by_itself_to_its_part_of_the_norm() {
    let mut bench = Bench::new("none", "0.0");
    let text = bench.charter.text().replace("clipping = \"flat\"", "clipping = \"per-layer\"");
    bench.charter = Charter::parse(&text).unwrap();
    let found = bench.contribution(&mut bench.load(None).unwrap());
    let first = Terms::of(&bench.charter).unwrap().first_state().unwrap();
    let layer =
        |name: &str| ["layer.0.", "layer.1.", "classifier."].iter().position(|part| name.contains(part)).unwrap();
    let trained = first.adapter().trainable();
    let layer_of: Vec<usize> =
        trained.iter().flat_map(|t| std::iter::repeat_n(layer(&t.name), t.shape.iter().product())).collect();
    let largest = 0.25 / 3f64.sqrt();
    let (mut shrunk, units) = (0, bench.gradients());
    let units: Vec<Vec<f64>> = units
        .iter()
        .map(|row| {
            let mut squares = [0.0; 3];
            for (value, layer) in row.iter().zip(&layer_of) {
                squares[*layer] += f64::from(*value).powi(2);
            }
            let shrink = squares.map(|square| (largest / square.sqrt()).min(1.0));
            shrunk += shrink.iter().filter(|factor| **factor < 1.0).count();
            let values =
                row.iter().zip(&layer_of).map(|(value, layer)| f64::from(*value) * shrink[*layer] * 4096.0 / 0.25);
            values.collect()
        })
        .collect();
    assert!(shrunk > 3, "{shrunk} layers were shrunk");
    // 4096 / sqrt(3) is rounded down to whole units: a part in four thousand less.
    assert!(found.iter().any(|value| value.abs() > 100));
    for (i, found) in found.iter().enumerate() {
        let exact: f64 = units.iter().map(|unit| unit[i]).sum();
        let size: f64 = units.iter().map(|unit| unit[i].abs()).sum();
        assert!(
            (*found as f64 - exact).abs() <= units.len() as f64 + size / 2048.0,
            "coordinate {i}: {found} for {exact}"
        );
    }
}

#[test]
fn with_a_unit_column_a_patients_rows_are_clipped_as_one() {
    let bench = Bench::new("none", "0.0");
    let found = bench.contribution(&mut bench.load(Some("patient")).unwrap());
    let rows = bench.gradients();
    let units = [clipped(&[&rows[0], &rows[2], &rows[4]]), clipped(&[&rows[1]]), clipped(&[&rows[3]])];
    assert_sum_of(&found, &units);
}

/// The same draws on the CPU give the same integers, bit for bit, in every run and on any number of threads.
#[test]
fn the_same_seed_gives_the_same_contribution_whatever_the_number_of_threads() {
    let mut bench = Bench::new("none", "0.0");
    let rows = std::fs::read_to_string(bench.path("rows.csv")).unwrap();
    let (head, body) = rows.split_once('\n').unwrap();
    std::fs::write(bench.path("rows.csv"), format!("{head}\n{}", body.repeat(40))).unwrap();
    let half = bench.charter.text().replace("sampling_rate = 1.0", "sampling_rate = 0.5");
    bench.charter = Charter::parse(&half).unwrap();
    let made = |seed: u64, threads: usize| {
        let mut loaded = bench.load_with(None, threads).unwrap();
        bench.contribution_with(&mut loaded, &mut ChaCha20Rng::seed_from_u64(seed))
    };
    let first = made(1, 1);
    for threads in [1, 2, 3, 8] {
        assert_eq!(made(1, threads), first, "{threads} threads");
    }
    assert_ne!(made(2, 1), first);
}

/// With sampling rate 1 every step has the same batch: what differs is what dropout hides, which each step draws anew, and the same generator draws alike.
#[test]
fn every_step_has_a_dropout_of_its_own_and_none_without() {
    let dropped = |share: &str| {
        let mut bench = Bench::new("none", "0.0");
        // While the head is zero, nothing comes back to B.
        let count = bench.charter.model.labels.len() * (bench.charter.model.hidden_size as usize + 1);
        let head = terms::head_text(&(0..count).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<_>>());
        let keys = format!("lora_dropout = {share}\ninitial_head = {head:?}");
        let text = bench.charter.text().replace("# use_rslora = true", &keys);
        bench.charter = Charter::parse(&text).unwrap();
        let mut loaded = bench.load(None).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let first = bench.contribution_with(&mut loaded, &mut rng);
        let second = bench.contribution_with(&mut loaded, &mut rng);
        let again = bench.contribution_with(&mut loaded, &mut ChaCha20Rng::seed_from_u64(3));
        assert!(again == first);
        (first, second)
    };
    let (first, second) = dropped("0.5");
    assert!(first != second);
    let (plain, same) = dropped("0.0");
    assert!(plain == same && first != plain);
}

/// With sampling rate 1 the batch is always the same, so what differs from the noiseless sum is the noise: z D / sqrt(2)
/// where 4 houses of which 1 may vanish and 1 colludes share it, z D where each carries all of it.
#[test]
fn the_noise_has_the_share_of_the_mode() {
    let silent = Bench::new("none", "0.0");
    let sum = silent.contribution(&mut silent.load(None).unwrap());
    for (mode, deviation) in [("record-shared", 0.81 * 4096.0 / 2f64.sqrt()), ("record-local", 0.81 * 4096.0)] {
        let bench = Bench::new(mode, "0.81");
        let mut loaded = bench.load(None).unwrap();
        let noise: Vec<f64> = (0..20)
            .flat_map(|_| bench.contribution(&mut loaded))
            .zip(sum.iter().cycle())
            .map(|(noised, silent)| (noised - silent) as f64)
            .collect();
        let n = noise.len() as f64;
        let mean = noise.iter().sum::<f64>() / n;
        let variance = noise.iter().map(|x| x * x).sum::<f64>() / n;
        assert!(mean.abs() < 5.0 * deviation / n.sqrt(), "{mode}: mean {mean}");
        // The standard error of a Gaussian's variance is sqrt(2 / n) of it.
        let ratio = variance / deviation.powi(2);
        assert!((ratio - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{mode}: variance is {ratio} of what it should be");
    }
}

#[test]
fn another_model_or_an_unknown_label_is_refused_by_name() {
    let bench = Bench::new("none", "0.0");
    let rows = std::fs::read_to_string(bench.path("rows.csv")).unwrap();
    std::fs::write(bench.path("rows.csv"), rows.replace("of ear,ear", "of ear,nose")).unwrap();
    let error = bench.load(None).err().unwrap().to_string();
    assert!(error.contains("label 'nose' in line 6"), "{error}");
    std::fs::write(bench.path("rows.csv"), rows).unwrap();
    let mut weights = std::fs::read(bench.path("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    std::fs::write(bench.path("model.safetensors"), weights).unwrap();
    assert!(matches!(bench.load(None), Err(TrainError::BaseModel(_))));
}

/// A row that the model refuses would make its house absent in the rounds that draw it, which all see: such a house does not start.
#[test]
fn a_charter_or_a_tokenizer_that_does_not_fit_the_model_is_refused_before_any_round() {
    let mut bench = Bench::new("none", "0.0");
    let tokenizer = std::fs::read_to_string(bench.path("tokenizer.json")).unwrap();
    std::fs::write(bench.path("tokenizer.json"), tokenizer.replace("\"ear\":", "\"hand\":5000,\"ear\":")).unwrap();
    assert!(matches!(bench.load(None), Err(TrainError::Vocabulary { largest: 5000, .. })));
    // A text of which the tokenizer leaves nothing.
    let nothing = r#""normalizer":{"type":"Replace","pattern":{"String":"of ear"},"content":" "}"#;
    std::fs::write(bench.path("tokenizer.json"), tokenizer.replace(r#""normalizer":null"#, nothing)).unwrap();
    let error = bench.load(None).err().unwrap();
    assert!(matches!(error, TrainError::Data(DataError::Malformed { at: At::Line(6), .. })), "{error}");
    std::fs::write(bench.path("tokenizer.json"), tokenizer).unwrap();
    // The model has 20 positions.
    bench.charter = Charter::parse(&bench.charter.text().replace("max_tokens = 16", "max_tokens = 21")).unwrap();
    assert!(matches!(bench.load(None), Err(TrainError::Positions { max_tokens: 21, positions: 20, .. })));
}

/// Noise that the test knows: the n-th draw adds n times 3,000 to every seventh coordinate.
struct KnownNoise(i64);

impl Noise for KnownNoise {
    fn begin(&mut self, _: &privacy::NoiseShare, _: usize) {}

    fn add(&mut self, _: &privacy::NoiseShare, values: &mut [i64]) -> Result<std::time::Duration, TrainError> {
        self.0 += 1;
        values.iter_mut().step_by(7).for_each(|value| *value += self.0 * 3_000);
        Ok(std::time::Duration::ZERO)
    }
}

/// Three local steps beside a plain loop: each step's clipped sum is taken where the noised sums before it lead, and the
/// contribution is the sum of all three.
#[test]
fn local_steps_are_those_of_plain_gradient_descent_on_the_noised_sums() {
    let mut bench = Bench::new("record-local", "0.81");
    let text = format!("{}[local]\nsteps = 3\nlearning_rate = 40.0\n", bench.charter.text());
    bench.charter = Charter::parse(&text).unwrap();
    let mut loaded = bench.load(None).unwrap();
    let state = Terms::of(&bench.charter).unwrap().first_state().unwrap();
    let house = HouseName::new("lakeside").unwrap();
    let part = part(&bench.charter, &house);
    assert_eq!(part.ledger_entries(1).unwrap()[0].steps, 3);
    let (mut noise, mut rng) = (KnownNoise(0), rand::rng());
    let mut tools = Tools { learner: loaded.learner.as_mut(), noise: &mut noise, rng: &mut rng };
    let made = mechanism(&bench.charter).unwrap().contribute(&part, &state, &loaded.house, &mut tools).unwrap();

    let mut weights = state.adapter().flat();
    let mut total = vec![0.0; weights.len()];
    let mut moved = 0.0f64;
    for step in 1..=3 {
        let gradients = bench.gradients_at(&state.adapter().with_flat(&weights).unwrap());
        let mut sum = vec![0.0; weights.len()];
        gradients.iter().for_each(|row| sum.iter_mut().zip(clipped(&[row])).for_each(|(sum, value)| *sum += value));
        sum.iter_mut().step_by(7).for_each(|value| *value += f64::from(step) * 3_000.0);
        for (i, value) in sum.iter().enumerate() {
            total[i] += value;
            // The sample charter's nominal batch is 64, the grid unit 0.25 / 4096.
            let change = 40.0 * value * (0.25 / 4096.0) / 64.0;
            weights[i] -= change as f32;
            moved = moved.max(change.abs());
        }
    }
    assert!(moved > 0.1, "the steps change the weights by {moved}");
    for (i, (found, exact)) in made.values.iter().zip(&total).enumerate() {
        // Five rows are truncated in each of three steps; weights that differ in their last bit move a gradient a little.
        assert!((*found as f64 - exact).abs() <= 16.0, "coordinate {i}: {found} for {exact}");
    }
    // Three times the first step's sum is something else: the later steps were taken elsewhere.
    let mut first = vec![0.0; total.len()];
    bench
        .gradients()
        .iter()
        .for_each(|row| first.iter_mut().zip(clipped(&[row])).for_each(|(sum, value)| *sum += value));
    let unnoised = made.values.iter().zip(&first).enumerate().filter(|(i, _)| i % 7 != 0);
    assert!(unnoised.map(|(_, (value, first))| (*value as f64 - 3.0 * first).abs()).fold(0.0, f64::max) > 100.0);
}

/// Two houses' rows beside the same rows one after the other: the sum is exact, and the state moves by its mean over both
/// nominal batches; the second round starts where the first one ended.
#[test]
fn rehearsed_rounds_are_the_plain_loop_over_all_houses_rows() {
    let bench = Bench::new("none", "0.0");
    let mut loaded = bench.load(None).unwrap();
    let names = bench.charter.houses.iter().map(|house| house.name.clone());
    let split = [vec![vec![0], vec![3]], vec![vec![1], vec![2], vec![4]]].map(|units| House::of_units(units.into()));
    let mut rehearsal = Rehearsal::new(&bench.charter, names.zip(split).collect()).unwrap();
    let (mut noise, mut rng) = (FreshNoise::new(), rand::rng());
    for round in 1..=2 {
        let mut expected = rehearsal.state().clone();
        let gradients = bench.gradients_at(rehearsal.state().adapter());
        assert_eq!(rehearsal.next_round().get(), round);
        let mut tools = Tools { learner: loaded.learner.as_mut(), noise: &mut noise, rng: &mut rng };
        let made = rehearsal.round(&mut tools).unwrap();
        let units: Vec<Vec<f64>> = gradients.iter().map(|row| clipped(&[row])).collect();
        assert_sum_of(&made.sum, &units);
        // The sample charter's nominal batches are 64 each.
        expected.apply(&made.sum, 0.25 / 4096.0, 128.0).unwrap();
        assert_eq!(rehearsal.state().digest(), expected.digest());
        assert!(made.loss.is_some_and(|loss| loss > 0.0));
    }
}

/// Beside `lora`'s own evaluation of the same rows.
#[test]
fn an_evaluation_of_a_classifier_is_loras_and_a_prediction_its_likeliest_label() {
    let bench = Bench::new("none", "0.0");
    let first = Terms::of(&bench.charter).unwrap().first_state().unwrap();
    let flat: Vec<f32> = (0..first.adapter().trainable_len()).map(|i| (i as f32 * 0.7).sin() * 0.3).collect();
    let adapter = first.adapter().with_flat(&flat).unwrap();
    let classifier = Classifier::load(bench.dir.path(), &adapter, LABELS.len(), &lora::device("cpu").unwrap()).unwrap();
    let tokenizer = Tokenizer::from_file(&bench.path("tokenizer.json")).unwrap();
    let label = |label: &str| LABELS.iter().position(|known| *known == label).unwrap();
    let rows: Vec<_> = ROWS.iter().map(|(_, text, l)| (tokenizer.encode(text, 16).unwrap(), label(l))).collect();
    let wanted = classifier.evaluate(&rows).unwrap();
    let model = ModelSource { folder: bench.dir.path(), device: "cpu", threads: Some(1) };
    let columns = Columns { text: "text", answer: "label", messages: None, unit: None };
    let data = DataSource { file: &bench.path("rows.csv"), format: None, columns };
    let task =
        training::Task { data: &data, model: &model, scratch: bench.dir.path(), held_out_only: false, answers: None };
    let found = training::evaluate(&bench.charter, &adapter, &task, |_, _| ()).unwrap();
    assert!((found.loss - wanted.loss).abs() < 1e-6 && found.rows == ROWS.len());
    let training::Scores::Labels(scores) = found.scores else { panic!("no classifier's") };
    assert!((scores.accuracy - wanted.plain).abs() < 1e-12 && (scores.macro_accuracy - wanted.macro_).abs() < 1e-12);
    let predictor = training::Predictor::load(&bench.charter, &adapter, &model).unwrap();
    let texts: Vec<String> = ROWS.iter().map(|(_, text, _)| (*text).to_owned()).collect();
    for (prediction, wanted) in predictor.predict(&texts, 1).unwrap().iter().zip(&wanted.predictions) {
        let Ok(training::Prediction::Label { label, probability, probabilities }) = prediction else {
            panic!("no label")
        };
        assert_eq!(label, LABELS[*wanted]);
        assert!((probabilities.values().sum::<f64>() - 1.0).abs() < 1e-9 && probabilities[label] == *probability);
    }
    let held_out = training::Task { held_out_only: true, ..task };
    let nothing = training::evaluate(&bench.charter, &adapter, &held_out, |_, _| ());
    assert!(matches!(nothing, Err(TrainError::NothingToEvaluate(_))));
}

/// The words after the sixteenth are not learnt: the row gives what its first sixteen give.
#[test]
fn a_row_of_100_000_tokens_is_cut_and_counted() {
    let bench = Bench::new("none", "0.0");
    let of_words = |count: usize| {
        let long = "arm ear ".repeat(count / 2);
        std::fs::write(bench.path("rows.csv"), format!("text,label\nleft eye,eye\n{long},ear\n")).unwrap();
        let mut loaded = bench.load(None).unwrap();
        (loaded.cut_rows, bench.contribution(&mut loaded))
    };
    let (cut, found) = of_words(100_000);
    let (uncut, wanted) = of_words(16);
    assert_eq!((cut, uncut), (1, 0));
    assert_eq!(found, wanted);
}

/// A batch's rows come from the file as they would from memory.
#[test]
fn tokens_on_the_disk_give_the_gradients_of_those_in_memory() {
    let bench = Bench::new("none", "0.0");
    let tokenizer = Tokenizer::from_file(&bench.path("tokenizer.json")).unwrap();
    let encode = |text: &str| tokenizer.encode(text, 16).unwrap();
    let learner = |mut texts: Texts| {
        ROWS.iter().for_each(|(_, text, _)| texts.push(&encode(text)).unwrap());
        let labels = ROWS.iter().map(|(_, _, label)| LABELS.iter().position(|one| one == label).unwrap()).collect();
        let state = Terms::of(&bench.charter).unwrap().first_state().unwrap();
        let device = lora::device("cpu").unwrap();
        let classifier = Classifier::load(bench.dir.path(), state.adapter(), LABELS.len(), &device).unwrap();
        TextLearner::new(classifier, Arc::new(Corpus { texts, labels }))
    };
    // Two rows of six tokens find room.
    let learners = [learner(Texts::default()), learner(Texts::within(24, bench.dir.path()))];
    let found = learners.map(|learner| {
        learner.check().unwrap();
        let mut gradients = vec![Vec::new(); 3];
        learner.for_each_gradient(&[4, 0, 2], &mut |row, _, gradient| gradients[row] = gradient.to_vec()).unwrap();
        (gradients, learner.outcomes(&[3, 1]).unwrap())
    });
    assert_eq!(found[0], found[1]);
    assert!(found[0].0.iter().flatten().any(|value| value.abs() > 1e-4));
}
