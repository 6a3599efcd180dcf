//! Adapters as files: what PEFT wrote is read, what is written reads back, and every fault is named.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use adapter::{Adapter, AdapterError, Architecture, Head, LoraConfig, Model};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

fn peft_fixture() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/peft"))
}

/// The heads of transformers' own classes; RoBERTa's adapter with a bias beside each B.
#[test]
fn directories_that_peft_wrote_with_transformers_own_heads_load_with_every_value() {
    for (architecture, folder, count) in [
        (Architecture::Roberta, "peft-roberta", 3 * 2 * 3 + 4),
        (Architecture::DistilBert, "peft-distilbert", 2 * 2 + 4),
    ] {
        let model = Model { architecture, head: Head::SequenceClassification, ..common::tiny_model() };
        let adapter = Adapter::load_dir(&peft_fixture().with_file_name(folder), &model).unwrap();
        let (config, roberta) = (adapter.config(), architecture == Architecture::Roberta);
        assert_eq!(config.modules_to_save, model.head_modules());
        assert_eq!((config.lora_bias, config.lora_dropout), (roberta, if roberta { 0.25 } else { 0.0 }));
        assert_eq!(adapter.tensors().count(), count);
        as_the_script_put_them(&adapter);
        let dir = tempfile::tempdir().unwrap();
        adapter.save_dir(dir.path()).unwrap();
        assert_eq!(Adapter::load_dir(dir.path(), &model).unwrap(), adapter);
        let other = Model { head: Head::Mean, ..model };
        assert!(Adapter::load_dir(&peft_fixture().with_file_name(folder), &other).is_err());
    }
}

fn as_the_script_put_them(adapter: &Adapter) {
    for (name, tensor) in adapter.tensors() {
        let start = name.bytes().map(u32::from).sum::<u32>() % 97;
        for (i, &value) in tensor.data.iter().enumerate() {
            assert_eq!(value, (i as f32 + start as f32) / 16.0, "{name}");
        }
    }
}

#[test]
fn a_directory_that_peft_wrote_has_the_values_that_its_script_put_there() {
    let adapter = Adapter::load_dir(peft_fixture(), &common::tiny_model()).unwrap();
    let config = adapter.config();
    assert_eq!((config.r, config.lora_alpha, config.scaling()), (2, 6, 3.0));
    assert_eq!(config.modules_to_save, ["classifier"]);
    assert_eq!(adapter.tensors().count(), 2 * 2 * 2 + 2);
    as_the_script_put_them(&adapter);
}

#[test]
fn a_saved_directory_loads_as_the_same_adapter_and_saving_again_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/demand");
    let first = common::tiny_adapter();
    first.save_dir(&path).unwrap();
    assert_eq!(Adapter::load_dir(&path, &common::tiny_model()).unwrap(), first);
    let second = first.with_flat(&vec![0.25; first.trainable_len()]).unwrap();
    second.save_dir(&path).unwrap();
    assert_eq!(Adapter::load_dir(&path, &common::tiny_model()).unwrap(), second);
    let mut names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
}

#[test]
fn the_same_adapter_gives_the_same_bytes() {
    let (one, two) = (common::tiny_adapter(), common::tiny_adapter());
    assert_eq!(one.to_bytes().unwrap(), two.to_bytes().unwrap());
}

/// A safetensors file of the tiny adapter's tensors after a change to their raw form.
type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn changed(change: impl FnOnce(&mut Raw)) -> Vec<u8> {
    let adapter = common::tiny_adapter();
    let mut raw: Raw = adapter
        .tensors()
        .map(|(name, t)| {
            let bytes = t.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name.to_owned(), (Dtype::F32, t.shape.clone(), bytes))
        })
        .collect();
    change(&mut raw);
    let views: HashMap<_, _> = raw
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()))
        .collect();
    safetensors::serialize(views, None).unwrap()
}

fn read(bytes: &[u8]) -> Result<Adapter, AdapterError> {
    Adapter::from_bytes(&common::tiny_model(), common::tiny_adapter().config(), bytes)
}

const BIAS: &str = "base_model.model.classifier.bias";

#[test]
fn a_tensor_missing_unknown_or_of_another_shape_or_type_or_not_finite_is_named() {
    assert_eq!(read(&changed(|_| ())).unwrap(), common::tiny_adapter());

    let error = read(&changed(|raw| drop(raw.remove(BIAS)))).unwrap_err();
    assert!(matches!(&error, AdapterError::MissingTensor { tensor } if tensor == BIAS), "{error}");

    let extra = "base_model.model.bert.pooler.dense.weight";
    let error = read(&changed(|raw| drop(raw.insert(extra.into(), (Dtype::F32, vec![1], vec![0; 4]))))).unwrap_err();
    assert!(matches!(&error, AdapterError::UnknownTensor { tensor } if tensor == extra), "{error}");

    let error = read(&changed(|raw| raw.get_mut(BIAS).unwrap().1 = vec![1, 3])).unwrap_err();
    assert!(matches!(&error, AdapterError::WrongShape { tensor, .. } if tensor == BIAS), "{error}");

    let error = read(&changed(|raw| drop(raw.insert(BIAS.into(), (Dtype::I16, vec![3], vec![0; 6]))))).unwrap_err();
    assert!(matches!(&error, AdapterError::WrongType { tensor, found } if tensor == BIAS && found == "I16"), "{error}");
    // 1, -2 and the smallest normal number of each type of 16 bits.
    for (dtype, bits, smallest) in [
        (Dtype::F16, [0x3c00u16, 0xc000, 0x0400], 2f32.powi(-14)),
        (Dtype::BF16, [0x3f80, 0xc000, 0x0080], 2f32.powi(-126)),
    ] {
        let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let adapter = read(&changed(|raw| drop(raw.insert(BIAS.into(), (dtype, vec![3], bytes))))).unwrap();
        assert_eq!(adapter.get(BIAS).unwrap().data, [1.0, -2.0, smallest]);
    }

    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let bytes = changed(|raw| raw.get_mut(BIAS).unwrap().2[4..8].copy_from_slice(&bad.to_le_bytes()));
        let error = read(&bytes).unwrap_err();
        assert!(matches!(&error, AdapterError::NotFinite { tensor, index: 1, .. } if tensor == BIAS), "{error}");
    }
}

#[test]
fn every_truncation_and_a_header_that_claims_too_much_are_errors() {
    let bytes = common::tiny_adapter().to_bytes().unwrap();
    for length in 0..bytes.len() {
        assert!(matches!(read(&bytes[..length]), Err(AdapterError::Safetensors(_))), "{length}");
    }
    for claim in [0, 1, u64::MAX, 99_999_999, bytes.len() as u64] {
        let mut bytes = bytes.clone();
        bytes[..8].copy_from_slice(&claim.to_le_bytes());
        assert!(matches!(read(&bytes), Err(AdapterError::Safetensors(_))), "{claim}");
    }
    let padded = [bytes, vec![0; 1 << 20]].concat();
    assert!(matches!(read(&padded), Err(AdapterError::TooLarge { .. })));
}

#[test]
fn faults_of_a_directory_name_the_file() {
    let fault = |break_it: fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        common::tiny_adapter().save_dir(dir.path()).unwrap();
        break_it(dir.path());
        Adapter::load_dir(dir.path(), &common::tiny_model()).unwrap_err().to_string()
    };
    let error = fault(|dir| fs::remove_file(dir.join("adapter_model.safetensors")).unwrap());
    assert!(error.contains("adapter_model.safetensors"), "{error}");
    let error = fault(|dir| fs::remove_file(dir.join("adapter_config.json")).unwrap());
    assert!(error.contains("adapter_config.json"), "{error}");
    let error = fault(|dir| fs::write(dir.join("adapter_config.json"), "{\"r\": ").unwrap());
    assert!(error.contains("adapter_config.json") && error.contains("JSON"), "{error}");
    let error = fault(|dir| {
        let path = dir.join("adapter_config.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"use_dora\": false", "\"use_dora\": true")).unwrap();
    });
    assert!(error.contains("adapter_config.json") && error.contains("use_dora"), "{error}");
    let error = fault(|dir| fs::write(dir.join("adapter_config.json"), vec![b' '; 2 << 20]).unwrap());
    assert!(error.contains("adapter_config.json") && error.contains("1048576"), "{error}");
    let error = fault(|dir| fs::write(dir.join("adapter_model.safetensors"), "not a tensor").unwrap());
    assert!(error.contains("adapter_model.safetensors"), "{error}");
}

#[test]
fn weights_of_another_model_are_refused_with_the_tensor() {
    let mut wider = common::tiny_model();
    wider.num_labels = 4;
    let error = Adapter::load_dir(peft_fixture(), &wider).unwrap_err().to_string();
    assert!(error.contains("classifier") && error.contains("adapter_model.safetensors"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_weights_read_back_and_corrupted_bytes_are_an_error_or_another_adapter(
        values in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO, 91),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..6),
        header_only in any::<bool>(),
    ) {
        let adapter = common::tiny_adapter().with_flat(&values).unwrap();
        let mut bytes = adapter.to_bytes().unwrap();
        let back = read(&bytes).unwrap();
        prop_assert_eq!(back.digest(), adapter.digest());
        let within = if header_only { bytes.len() - 4 * 155 } else { bytes.len() };
        for (at, flip) in &flips {
            let at = at.index(within);
            bytes[at] ^= flip;
        }
        if let Ok(other) = read(&bytes) {
            prop_assert!(other.tensors().all(|(_, tensor)| tensor.data.iter().all(|value| value.is_finite())));
            prop_assert_eq!(other.trainable(), adapter.trainable());
        }
    }

    #[test]
    fn arbitrary_bytes_and_json_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\PC{0,200}") {
        prop_assert!(read(&bytes).is_err());
        prop_assert!(LoraConfig::from_peft_json(&text).is_err());
    }
}
