//! A family's adapter as peft saved it, with what PyTorch computes with it.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of this")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adapter::{Adapter, Bias, Head, Model, Train, Trainable};
use lora::{Classifier, Encoded, LanguageModel};
use serde::Deserialize;

pub const LABELS: u32 = 3;
pub const ENCODERS: [&str; 3] = ["bert", "roberta", "distilbert"];
pub const DECODERS: [&str; 7] = ["llama", "llama3", "llama-linear", "llama-yarn", "mistral", "qwen2", "qwen3"];

#[derive(Deserialize)]
pub struct Expected {
    pub rows: Vec<Row>,
    /// Six words after the second row's.
    pub said: Option<Vec<u32>>,
}

#[derive(Deserialize)]
pub struct Row {
    pub ids: Vec<u32>,
    pub prompt: usize,
    pub label: Option<usize>,
    pub loss: f32,
    pub gradients: BTreeMap<String, Vec<f32>>,
}

pub struct Case {
    pub folder: PathBuf,
    pub expected: Expected,
    pub model: Model,
    /// As peft saved it, which trains B.
    pub saved: Adapter,
}

impl Case {
    pub fn new(family: &str, labels: u32) -> Self {
        Self::of(family, labels, Head::Mean, "adapter", "adapted.json")
    }

    /// The family's second adapter, with transformers' own head of an encoder and a bias beside each B.
    pub fn own(family: &str) -> Self {
        let (labels, head) =
            if ENCODERS.contains(&family) { (LABELS, Head::SequenceClassification) } else { (0, Head::Mean) };
        let case = Self::of(family, labels, head, "own", "own.json");
        assert!(case.saved.config().lora_bias);
        case
    }

    /// Its third, which trains biases of the base model.
    pub fn bias(family: &str) -> Self {
        let (labels, head) =
            if ENCODERS.contains(&family) { (LABELS, Head::SequenceClassification) } else { (0, Head::Mean) };
        let case = Self::of(family, labels, head, "bias", "bias.json");
        assert_ne!(case.saved.config().bias, Bias::None);
        case
    }

    /// Its fourth, which trains all of them, saved in the type that the family's row of the script says.
    pub fn all(family: &str) -> Self {
        let encoder = ENCODERS.contains(&family);
        let head = if ["roberta", "distilbert"].contains(&family) { Head::SequenceClassification } else { Head::Mean };
        let case = Self::of(family, if encoder { LABELS } else { 0 }, head, "all", "all.json");
        assert_eq!(case.saved.config().bias, Bias::All);
        case
    }

    fn of(family: &str, labels: u32, head: Head, adapter: &str, expected: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families").join(family);
        let expected = serde_json::from_slice(&std::fs::read(folder.join(expected)).unwrap()).unwrap();
        let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
        let model = Model { head, ..Model::from_hf_config(&config, labels).unwrap() };
        let saved = Adapter::load_dir_with_base(&folder.join(adapter), &model, &folder).unwrap();
        Self { folder, expected, model, saved }
    }

    /// The same values, all of which are trained.
    pub fn all_trained(&self) -> Adapter {
        self.saved.training(Train::AB)
    }

    pub fn texts(&self) -> Vec<Encoded> {
        self.expected.rows.iter().map(|row| Encoded { ids: row.ids.clone() }).collect()
    }

    fn check(&self, family: &str, trained: &[Trainable], found: &BTreeMap<usize, (f32, Vec<f32>)>) {
        assert_eq!(found.len(), self.expected.rows.len());
        for (index, (loss, gradient)) in found {
            let row = &self.expected.rows[*index];
            assert!((loss - row.loss).abs() < 1e-5 * row.loss.max(1.0), "{family} {index}: {loss} {}", row.loss);
            let largest = row.gradients.values().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
            for place in trained {
                let wanted = &row.gradients[&place.name];
                let found = &gradient[place.offset..place.offset + place.len()];
                assert_eq!(found.len(), wanted.len());
                let off = found.iter().zip(wanted).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                // Single precision in another order of additions: 1.1e-5 at most was seen.
                assert!(off < 3e-5 * largest, "{family} {index} {}: {off} of {largest}", place.name);
            }
        }
    }
}

/// Both factors, B alone and A alone, over one and several threads.
fn variants(case: &Case) -> [(Adapter, usize); 4] {
    [(case.all_trained(), 1), (case.all_trained(), 3), (case.saved.clone(), 2), (case.saved.training(Train::A), 2)]
}

pub fn encoder_gradients_are_pytorchs(family: &str, case: &Case) {
    let labels: Vec<usize> = case.expected.rows.iter().map(|row| row.label.unwrap()).collect();
    for (adapter, threads) in variants(case) {
        let device = lora::device("cpu").unwrap();
        let mut model = Classifier::load(&case.folder, &adapter, LABELS as usize, &device).unwrap();
        model.set_threads(threads);
        let mut found = BTreeMap::new();
        let sink = |index, loss, gradient: &[f32]| drop(found.insert(index, (loss, gradient.to_vec())));
        model.for_each_gradient(&case.texts(), &labels, sink).unwrap();
        case.check(family, &adapter.trainable(), &found);
    }
}

pub fn decoder_gradients_are_pytorchs(family: &str, case: &Case) {
    let prompts: Vec<usize> = case.expected.rows.iter().map(|row| row.prompt).collect();
    for (adapter, threads) in variants(case) {
        let mut model = LanguageModel::load(&case.folder, &adapter, &lora::device("cpu").unwrap()).unwrap();
        model.set_threads(threads);
        let mut found = BTreeMap::new();
        let sink = |index, loss, gradient: &[f32]| drop(found.insert(index, (loss, gradient.to_vec())));
        model.for_each_gradient(&case.texts(), &prompts, sink).unwrap();
        case.check(family, &adapter.trainable(), &found);
        let foreseen = model.foresee(&case.texts(), &prompts).unwrap();
        for (row, foreseen) in case.expected.rows.iter().zip(&foreseen) {
            assert!((foreseen.loss - row.loss).abs() < 1e-5 * row.loss.max(1.0), "{family}");
            assert_eq!(foreseen.tokens, row.ids.len() - row.prompt.max(1));
        }
    }
}

/// The largest difference over the largest absolute value of `wanted`.
pub fn off(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    let pairs = || found.iter().flatten().zip(wanted.iter().flatten());
    let largest = wanted.iter().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
    assert!(found.len() == wanted.len() && pairs().count() == wanted.iter().flatten().count());
    pairs().fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}
