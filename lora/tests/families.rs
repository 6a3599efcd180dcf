//! Every family's logits against transformers'.
//!
//! The fixtures, with the versions that they were made with, are in `fixtures/families`; `scripts/family_fixtures.py` makes them anew and
//! says which branches they reach.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use lora::{Encoded, LoraError, Pretrained};
use serde::Deserialize;

/// Difference that is allowed, over the largest |logit|.
const TOLERANCE: f32 = 1e-4;

const FAMILIES: [&str; 10] =
    ["bert", "roberta", "distilbert", "llama", "llama3", "llama-linear", "llama-yarn", "mistral", "qwen2", "qwen3"];

#[derive(Deserialize)]
struct Expected {
    texts: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
    /// The same from one batch padded on the left; of language models only.
    left_padded: Vec<Vec<f32>>,
}

fn folder(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families").join(family)
}

fn load(folder: &Path) -> Result<Pretrained, LoraError> {
    Pretrained::load(folder, &lora::device("cpu").unwrap())
}

/// The largest difference over the largest |logit|.
fn off(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), wanted.len());
    let pairs = found.iter().zip(wanted).flat_map(|(found, wanted)| {
        assert_eq!(found.len(), wanted.len());
        found.iter().zip(wanted)
    });
    let (mut difference, mut largest) = (0.0f32, 0.0f32);
    for (found, wanted) in pairs {
        difference = difference.max((found - wanted).abs());
        largest = largest.max(wanted.abs());
    }
    difference / largest
}

#[test]
fn every_familys_logits_are_those_of_transformers_alone_and_left_padded() {
    let mut reached = Vec::new();
    for family in FAMILIES {
        let expected: Expected =
            serde_json::from_slice(&std::fs::read(folder(family).join("expected.json")).unwrap()).unwrap();
        let model = load(&folder(family)).unwrap();
        let texts: Vec<Encoded> = expected.texts.iter().map(|ids| Encoded { ids: ids.clone() }).collect();
        let together = model.logits(&texts).unwrap();
        let alone: Vec<Vec<f32>> =
            texts.iter().map(|text| model.logits(std::slice::from_ref(text)).unwrap().remove(0)).collect();
        for found in [&together, &alone] {
            let off = off(found, &expected.logits);
            assert!(off < TOLERANCE, "{family}: {off}");
        }
        assert_eq!(model.is_language_model(), !expected.left_padded.is_empty(), "{family}");
        if model.is_language_model() {
            let off = off(&together, &expected.left_padded);
            assert!(off < TOLERANCE, "{family}, left-padded: {off}");
        }
        reached.push((family, off(&together, &expected.logits)));
    }
    eprintln!("{reached:?}");
}

/// That the test can tell: each of these changes what the model computes.
#[test]
fn a_changed_configuration_gives_other_logits() {
    for (family, from, to) in [
        ("llama", "\"rms_norm_eps\": 1e-06", "\"rms_norm_eps\": 0.1"),
        ("llama3", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 2.0"),
        ("llama-linear", "\"factor\": 2.5", "\"factor\": 2.0"),
        ("llama-yarn", "\"factor\": 4.0", "\"factor\": 3.0"),
        ("mistral", "\"sliding_window\": 5", "\"sliding_window\": 6"),
        ("qwen2", "\"sliding_attention\"", "\"full_attention\""),
        ("qwen3", "\"rope_theta\": 10000.0", "\"rope_theta\": 9000.0"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(folder(family)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_dir() {
                continue;
            }
            std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
        }
        let config = std::fs::read_to_string(folder(family).join("config.json")).unwrap();
        assert!(config.contains(from), "{family}: {from}");
        std::fs::write(dir.path().join("config.json"), config.replace(from, to)).unwrap();
        let expected: Expected =
            serde_json::from_slice(&std::fs::read(folder(family).join("expected.json")).unwrap()).unwrap();
        let texts: Vec<Encoded> = expected.texts.iter().map(|ids| Encoded { ids: ids.clone() }).collect();
        let off = off(&load(dir.path()).unwrap().logits(&texts).unwrap(), &expected.logits);
        assert!(off > 10.0 * TOLERANCE, "{family}: {off}");
    }
}
