//! Our half of `lora/scripts/peft_round_trip.py`: reads every family's adapter as peft saved it, changes its values, writes it, what it makes of the
//! logits, and a model with it merged in, to the folder that is named.

use std::path::Path;

use adapter::{Adapter, Head, Merge, Model};
use lora::{Classifier, Encoded, LanguageModel};
use serde_json::{Value, json};

const FAMILIES: [&str; 10] =
    ["bert", "roberta", "distilbert", "llama", "llama3", "llama-linear", "llama-yarn", "mistral", "qwen2", "qwen3"];
const LABELS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(out) = std::env::args().nth(1) else { return Err("usage: peft_round_trip OUT".into()) };
    let device = lora::device("cpu")?;
    for family in FAMILIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families").join(family);
        let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json"))?)?;
        let ids: Vec<Vec<u32>> = serde_json::from_value(expected["texts"].clone())?;
        let texts: Vec<Encoded> = ids.iter().map(|ids| Encoded { ids: ids.clone() }).collect();
        let encoder = expected["left_padded"].as_array().is_some_and(Vec::is_empty);
        let config = std::fs::read_to_string(folder.join("config.json"))?;
        let model = Model::from_hf_config(&config, if encoder { LABELS as u32 } else { 0 })?;
        // The second adapter of some has transformers' own head and biases beside B; a third trains the base model's own.
        let own = Model { head: if encoder { Head::SequenceClassification } else { Head::Mean }, ..model.clone() };
        for (kind, model) in [("adapter", &model), ("own", &own), ("bias", &own)] {
            if !folder.join(kind).exists() {
                continue;
            }
            let out = Path::new(&out).join(kind).join(family);
            let saved = Adapter::load_dir_with_base(&folder.join(kind), model, &folder)?;
            let changed = saved.with_flat(&saved.flat().iter().map(|value| 0.1 - 1.5 * value).collect::<Vec<f32>>())?;
            changed.save_dir_with_base(&out.join("adapter"), &folder)?;
            let logits = if encoder {
                Classifier::load(&folder, &changed, LABELS, &device)?.logits(&texts)?
            } else {
                LanguageModel::load(&folder, &changed, &device)?.logits(&texts)?
            };
            // A bias beside B has no place in a model without biases.
            let merged = changed.merge(&folder, &out.join("merged"), Merge::Into);
            if merged.is_err() != (family == "llama" && kind == "own") {
                return Err(format!("{family}, {kind}: {merged:?}").into());
            }
            std::fs::write(out.join("logits.json"), json!({ "texts": ids, "logits": logits }).to_string())?;
        }
    }
    Ok(())
}
