//! The encoder, the adapter and the gradients against PyTorch, transformers and peft.
//!
//! The fixture and the versions it was made with are in `fixtures/tiny-bert`; `scripts/bert_fixture.py` makes it anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adapter::{Adapter, LoraConfig, Model, Train};
use lora::{Classifier, Encoded, WarmUp, micro_batches};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    labels: usize,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    label: usize,
    loss: f32,
    hidden: Vec<f32>,
    logits: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert")
}

fn load() -> (Expected, Adapter, Classifier) {
    load_training(Train::B)
}

fn load_training(train: Train) -> (Expected, Adapter, Classifier) {
    let dir = directory();
    let expected: Expected = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let config = std::fs::read_to_string(dir.join("config.json")).unwrap();
    let model = Model::from_hf_config(&config, expected.labels as u32).unwrap();
    let saved = Adapter::load_dir(&dir.join("adapter"), &model).unwrap();
    let adapter = training(&saved, train);
    let device = lora::device("cpu").unwrap();
    let classifier = Classifier::load(&dir, &adapter, expected.labels, &device).unwrap();
    (expected, adapter, classifier)
}

/// The same values with these factors trained.
fn training(saved: &Adapter, train: Train) -> Adapter {
    let config = LoraConfig { train: Train::AB, ..saved.config().clone() };
    let all = Adapter::initial(saved.model(), &config, 0).unwrap();
    let flat: Vec<f32> = saved.tensors().flat_map(|(_, tensor)| tensor.data.clone()).collect();
    if train == Train::AB { all.with_flat(&flat).unwrap() } else { saved.clone() }
}

fn texts(rows: &[Row]) -> Vec<Encoded> {
    rows.iter().map(|row| Encoded { ids: row.ids.clone() }).collect()
}

fn farthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn hidden_states_and_logits_are_within_1e_4_of_pytorch() {
    let (expected, _, classifier) = load();
    let texts = texts(&expected.rows);
    let hidden = classifier.hidden_states(&texts).unwrap();
    let logits = classifier.logits(&texts).unwrap();
    for ((row, hidden), logits) in expected.rows.iter().zip(&hidden).zip(&logits) {
        assert!(farthest(hidden, &row.hidden) < 1e-4, "{}", farthest(hidden, &row.hidden));
        assert!(farthest(logits, &row.logits) < 1e-4, "{}", farthest(logits, &row.logits));
    }
}

#[test]
fn per_example_gradients_are_those_of_a_loop_in_pytorch() {
    gradients_are_those_of_a_loop_in_pytorch(Train::B);
}

#[test]
fn per_example_gradients_of_both_factors_are_those_of_a_loop_in_pytorch() {
    gradients_are_those_of_a_loop_in_pytorch(Train::AB);
}

fn gradients_are_those_of_a_loop_in_pytorch(train: Train) {
    let (expected, adapter, classifier) = load_training(train);
    let labels: Vec<usize> = expected.rows.iter().map(|row| row.label).collect();
    let mut seen = 0;
    classifier
        .for_each_gradient(&texts(&expected.rows), &labels, |index, loss, gradient| {
            let row = &expected.rows[index];
            assert!((loss - row.loss).abs() < 1e-4);
            assert_eq!(gradient.len(), adapter.trainable_len());
            let mut wanted = vec![f32::NAN; gradient.len()];
            for place in adapter.trainable() {
                wanted[place.offset..place.offset + place.len()].copy_from_slice(&row.gradients[&place.name]);
            }
            let largest = wanted.iter().fold(0.0f32, |top, x| top.max(x.abs()));
            let off = farthest(gradient, &wanted);
            assert!(largest > 0.05 && off <= 1e-4 * largest, "off by {off}, largest {largest}");
            seen += 1;
        })
        .unwrap();
    assert_eq!(seen, expected.rows.len());
}

#[test]
fn a_gradient_is_bit_identical_alone_and_among_others() {
    let (expected, _, mut classifier) = load();
    let texts = texts(&expected.rows);
    let many: Vec<Encoded> = (0..40).map(|i| texts[i % texts.len()].clone()).collect();
    let labels: Vec<usize> = (0..40).map(|i| (i * 7) % expected.labels).collect();
    let mut together = vec![Vec::new(); many.len()];
    classifier.for_each_gradient(&many, &labels, |i, _, gradient| together[i] = gradient.to_vec()).unwrap();
    classifier.set_threads(1);
    for (i, gradient) in together.iter().enumerate() {
        let alone = micro_batches(&many[i..=i]);
        let alone = classifier.per_example_gradients(&alone[0], &labels[i..=i]).unwrap();
        assert_eq!(alone.rows, 1);
        assert!(alone.data.iter().all(|x| x.is_finite()));
        assert_eq!(alone.data, *gradient, "example {i} with {} tokens", many[i].ids.len());
    }
}

#[test]
fn the_sum_of_the_gradients_predicts_how_the_loss_falls() {
    let (expected, adapter, mut classifier) = load();
    let texts = texts(&expected.rows);
    let labels: Vec<usize> = expected.rows.iter().map(|row| row.label).collect();
    let mut sum = vec![0.0f32; adapter.trainable_len()];
    let mut before = 0.0f64;
    classifier
        .for_each_gradient(&texts, &labels, |_, loss, gradient| {
            before += f64::from(loss);
            sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += g);
        })
        .unwrap();
    let rate = 1e-3f32;
    let flat: Vec<f32> = adapter.flat().iter().zip(&sum).map(|(w, g)| w - rate * g).collect();
    classifier.set_adapter(&adapter.with_flat(&flat).unwrap()).unwrap();
    let rows: Vec<_> = texts.into_iter().zip(labels).collect();
    let after = classifier.evaluate(&rows).unwrap().loss * rows.len() as f64;
    let predicted = f64::from(rate) * sum.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
    assert!((before - after - predicted).abs() < 0.05 * predicted, "{before} {after} {predicted}");
}

/// The gradient of the head by the per-example route, which PyTorch's numbers confirm above, is zero at a minimum of the loss with the penalty.
#[test]
fn a_warmed_up_head_is_the_minimum_of_the_penalised_loss_on_the_public_rows() {
    let (expected, adapter, mut classifier) = load();
    let texts = texts(&expected.rows);
    let labels: Vec<usize> = expected.rows.iter().map(|row| row.label).collect();
    let warm_up = WarmUp { steps: 4000, learning_rate: 2.0, momentum: 0.9, weight_decay: 0.01 };
    let head = classifier.warm_up_head(&texts, &labels, &warm_up).unwrap();
    let warmed = adapter.with_head(&head).unwrap();
    let mut sum = vec![0.0f32; adapter.trainable_len()];
    classifier.set_adapter(&warmed).unwrap();
    let add = |_, _, gradient: &[f32]| sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
    classifier.for_each_gradient(&texts, &labels, add).unwrap();
    let rows = texts.len() as f32;
    for place in adapter.trainable().into_iter().filter(|place| place.name.contains("classifier")) {
        let penalty = if place.name.ends_with("weight") { 0.01 } else { 0.0 };
        let weights = &warmed.get(&place.name).unwrap().data;
        assert!(weights.iter().any(|weight| weight.abs() > 0.05));
        for (gradient, weight) in sum[place.offset..].iter().zip(weights) {
            assert!((gradient / rows + penalty * weight).abs() < 1e-4, "{}", gradient / rows + penalty * weight);
        }
    }
}

#[test]
fn texts_and_labels_that_the_model_cannot_take_are_named() {
    let (expected, _, classifier) = load();
    let good = Encoded { ids: vec![1, 2] };
    let bad = |ids: Vec<u32>| classifier.logits(&[good.clone(), Encoded { ids }]).unwrap_err().to_string();
    assert_eq!(bad(vec![]), "example 1 has no tokens");
    assert_eq!(bad(vec![1; 21]), "example 1 has 21 tokens, the model takes at most 20");
    assert_eq!(bad(vec![5, 100]), "example 1 has token id 100, the model's vocabulary ends at 100");
    let labels = |labels: &[usize]| {
        let texts = [good.clone(), good.clone()];
        classifier.for_each_gradient(&texts, labels, |_, _, _| ()).unwrap_err().to_string()
    };
    assert_eq!(labels(&[0, expected.labels]), "example 1 has label Some(5), the head has labels 0..5");
    assert_eq!(labels(&[0]), "example 1 has label None, the head has labels 0..5");
}
