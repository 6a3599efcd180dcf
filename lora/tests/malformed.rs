//! Malformed model directories: each refused with an error that names the file and what is wrong in it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use adapter::{Adapter, LoraConfig, Model};
use lora::{Classifier, LoraError, Tokenizer};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

const LABELS: usize = 3;

/// Type, shape and bytes of a tensor in a checkpoint.
type RawTensor = (Dtype, Vec<usize>, Vec<u8>);

/// One way to spoil a tensor.
type Spoil = fn(&mut RawTensor);

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-bert"))
}

fn copy() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(source().join(name), dir.path().join(name)).unwrap();
    }
    dir
}

fn load(dir: &Path) -> Result<Classifier, LoraError> {
    let config = std::fs::read_to_string(source().join("config.json")).unwrap();
    let model = Model::from_hf_config(&config, LABELS as u32).unwrap();
    let adapter = Adapter::initial(&model, &LoraConfig::new(2, 4, &["query"]), 1).unwrap();
    Classifier::load(dir, &adapter, LABELS, &lora::device("cpu").unwrap())
}

/// Rewrites the checkpoint with `change` applied to its tensors.
fn rewrite(dir: &Path, change: impl Fn(&mut BTreeMap<String, RawTensor>)) {
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: BTreeMap<_, _> =
        file.iter().map(|(n, t)| (n.to_owned(), (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect();
    change(&mut tensors);
    let views: Vec<_> =
        tensors.iter().map(|(n, (d, s, b))| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap())).collect();
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn refusal(dir: &Path) -> String {
    let message = load(dir).err().unwrap().to_string();
    assert!(message.contains(dir.to_str().unwrap()), "{message}");
    message
}

#[test]
fn an_untouched_copy_loads() {
    load(copy().path()).unwrap();
}

#[test]
fn missing_files_are_named() {
    for name in ["config.json", "model.safetensors"] {
        let dir = copy();
        std::fs::remove_file(dir.path().join(name)).unwrap();
        assert!(refusal(dir.path()).contains(name));
    }
}

#[test]
fn a_config_that_is_no_bert_is_refused_by_key() {
    let text = std::fs::read_to_string(source().join("config.json")).unwrap();
    for (from, to, names) in [
        ("\"bert\"", "\"t5\"", "known: bert, roberta, distilbert, llama, mistral, qwen2, qwen3"),
        ("\"gelu\"", "\"relu\"", "hidden_act"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 5", "num_attention_heads"),
        ("\"hidden_size\": 32", "\"hidden_size\": 0", "hidden size"),
        ("\"hidden_size\": 32", "\"hidden_size\": -1", "config.json"),
        ("\"vocab_size\": 100", "\"vocab_size\": 99999999999", "vocabulary"),
        ("\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": -1.0", "epsilon"),
        ("\"absolute\"", "\"relative_key\"", "position_embedding_type"),
        ("{", "[", "config.json"),
    ] {
        let dir = copy();
        assert!(text.contains(from), "{from}");
        std::fs::write(dir.path().join("config.json"), text.replacen(from, to, 1)).unwrap();
        let message = refusal(dir.path());
        assert!(message.contains(names), "{message}");
    }
}

#[test]
fn a_checkpoint_cut_short_at_any_place_is_refused() {
    let dir = copy();
    let path = dir.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for keep in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        assert!(matches!(load(dir.path()), Err(LoraError::Checkpoint { .. })), "{keep}");
    }
}

#[test]
fn tensors_missing_misshapen_of_another_type_or_not_finite_are_named() {
    const NAME: &str = "encoder.layer.1.output.dense.weight";
    let cases: [(Spoil, &str); 3] = [
        (|t| t.1.reverse(), "[64, 32], the configuration calls for [32, 64]"),
        (|t| t.0 = Dtype::I32, "I32"),
        (|t| t.2[..4].copy_from_slice(&f32::NAN.to_le_bytes()), "not finite"),
    ];
    for (change, reason) in cases {
        let dir = copy();
        rewrite(dir.path(), |tensors| change(tensors.get_mut(NAME).unwrap()));
        let message = refusal(dir.path());
        assert!(message.contains(NAME) && message.contains(reason), "{message}");
    }
    let dir = copy();
    rewrite(dir.path(), |tensors| drop(tensors.remove(NAME)));
    assert!(matches!(load(dir.path()), Err(LoraError::MissingTensor { name, .. }) if name == NAME));
}

#[test]
fn names_with_the_prefix_of_a_task_model_and_half_precision_load_too() {
    let dir = copy();
    rewrite(dir.path(), |tensors| {
        let old = std::mem::take(tensors);
        for (name, (_, shape, bytes)) in old {
            let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            let half: Vec<u8> = values.flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect();
            tensors.insert(format!("bert.{name}"), (Dtype::BF16, shape, half));
        }
    });
    let texts = [lora::Encoded { ids: vec![3, 1, 4, 1, 5] }];
    let exact = load(source()).unwrap().hidden_states(&texts).unwrap();
    let coarse = load(dir.path()).unwrap().hidden_states(&texts).unwrap();
    let off = exact[0].iter().zip(&coarse[0]).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
    assert!(off > 0.0 && off < 0.1, "{off}");
}

#[test]
fn an_adapter_of_another_shape_is_refused_by_tensor() {
    let config = std::fs::read_to_string(source().join("config.json")).unwrap();
    let device = lora::device("cpu").unwrap();
    for (from, to, name) in [
        ("\"hidden_size\": 32", "\"hidden_size\": 40", "classifier.weight"),
        ("\"intermediate_size\": 64", "\"intermediate_size\": 65", "intermediate.dense.lora_B"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "layer.2"),
    ] {
        let model = Model::from_hf_config(&config.replacen(from, to, 1), LABELS as u32).unwrap();
        let adapter = Adapter::initial(&model, &LoraConfig::new(2, 4, &["intermediate.dense"]), 1).unwrap();
        let error = Classifier::load(source(), &adapter, LABELS, &device).err().unwrap();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_malformed_tokenizer_is_refused_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    assert!(matches!(Tokenizer::from_file(&path), Err(LoraError::Read { .. })));
    for text in ["", "{}", "{\"version\": \"1.0\", \"model\": 3}"] {
        std::fs::write(&path, text).unwrap();
        let error = Tokenizer::from_file(&path).err().unwrap();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
    }
}
