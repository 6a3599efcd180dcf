//! Our half of `lora/scripts/peft_round_trip.py`: reads every family's adapter as peft saved it, changes its values, writes it, what it makes of the
//! logits, and a model with it merged in, to the folder that is named.

use std::path::Path;

use adapter::{Adapter, BaseBiases, Bias, Head, LoraConfig, Merge, Model, Targets};
use lora::{Classifier, Encoded, LanguageModel};
use serde_json::{Value, json};

const FAMILIES: [&str; 10] =
    ["bert", "roberta", "distilbert", "llama", "llama3", "llama-linear", "llama-yarn", "mistral", "qwen2", "qwen3"];
const LABELS: usize = 3;

/// An adapter on all linear layers, with all biases.
fn all_linear(model: &Model) -> Result<Adapter, adapter::AdapterError> {
    let targets = Targets::Pattern("all-linear".to_owned());
    let config = LoraConfig { target_modules: targets, bias: Bias::All, ..LoraConfig::new(2, 6, &["query"]) };
    let adapter = Adapter::initial(model, &config, 11)?;
    let values: Vec<f32> = (0..adapter.trainable_len()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 200.0).collect();
    adapter.with_flat(&values)
}

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
        // The fourth trains all biases, of BERT's under our head; and of one that peft would choose another layer for, BERT's pooler, peft made none.
        let all = if family == "bert" { &model } else { &own };
        for (kind, model) in [("adapter", &model), ("own", &own), ("bias", &own), ("all", all), ("linear", &own)] {
            let saved = match kind {
                "linear" if family == "bert" => all_linear(model)?,
                "linear" => continue,
                _ if !folder.join(kind).exists() => continue,
                _ => Adapter::load_dir_with_base(&folder.join(kind), model, &folder)?,
            };
            let out = Path::new(&out).join(kind).join(family);
            let changed = saved.with_flat(&saved.flat().iter().map(|value| 0.1 - 1.5 * value).collect::<Vec<f32>>())?;
            let biases = BaseBiases::read(model, changed.config(), &folder)?;
            changed.save_dir_with_base(&out.join("adapter"), &biases)?;
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
