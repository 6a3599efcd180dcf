//! A real checkpoint against PyTorch: `compare MODEL_DIR EXPECTED_JSON`, the file made by
//! `python3 lora/scripts/bert_fixture.py --check-model MODEL_DIR --out EXPECTED_JSON`. Prints the largest differences.

use std::collections::BTreeMap;
use std::path::Path;

use adapter::{Adapter, Model};
use lora::{Classifier, Encoded, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    versions: BTreeMap<String, String>,
    labels: usize,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
    label: usize,
    hidden: Vec<f32>,
    logits: Vec<f32>,
    gradients: BTreeMap<String, Vec<f32>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(dir), Some(file)) = (args.next(), args.next()) else {
        return Err("usage: compare MODEL_DIR EXPECTED_JSON".into());
    };
    let (dir, file) = (Path::new(&dir), Path::new(&file));
    let expected: Expected = serde_json::from_slice(&std::fs::read(file)?)?;
    let model = Model::from_hf_config(&std::fs::read_to_string(dir.join("config.json"))?, expected.labels as u32)?;
    let adapter = Adapter::load_dir(&file.with_extension("adapter"), &model)?;
    let classifier = Classifier::load(dir, &adapter, expected.labels, &lora::device("cpu")?)?;

    let tokenizer = Tokenizer::from_file(&dir.join("tokenizer.json"))?;
    let same =
        expected.rows.iter().filter(|row| tokenizer.encode(&row.text, 48).is_ok_and(|e| e.ids == row.ids)).count();
    println!("{:?}: {same} of {} texts tokenized alike", expected.versions, expected.rows.len());

    let texts: Vec<Encoded> = expected.rows.iter().map(|row| Encoded { ids: row.ids.clone() }).collect();
    let hidden = classifier.hidden_states(&texts)?;
    let logits = classifier.logits(&texts)?;
    let over = |pairs: Vec<f32>| pairs.into_iter().fold(0.0f32, f32::max);
    println!(
        "hidden states: max |diff| {:.2e}",
        over(expected.rows.iter().zip(&hidden).map(|(r, h)| off(&r.hidden, h)).collect())
    );
    println!(
        "logits:        max |diff| {:.2e}",
        over(expected.rows.iter().zip(&logits).map(|(r, l)| off(&r.logits, l)).collect())
    );

    let labels: Vec<usize> = expected.rows.iter().map(|row| row.label).collect();
    let mut worst = 0.0f32;
    classifier.for_each_gradient(&texts, &labels, |index, _, gradient| {
        let wanted = &expected.rows[index].gradients;
        let largest = wanted.values().flatten().fold(0.0f32, |top, x| top.max(x.abs()));
        for place in adapter.trainable() {
            let ours = &gradient[place.offset..place.offset + place.len()];
            worst = worst.max(wanted.get(&place.name).map_or(f32::INFINITY, |w| off(w, ours)) / largest);
        }
    })?;
    println!("gradients:     max |diff| {worst:.2e} of the largest");
    Ok(())
}

fn off(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
