//! The base model's own biases, trained with an adapter: against PyTorch's gradients, peft's files and merged models.
//!
//! The fixtures are in `fixtures/families`; `scripts/family_fixtures.py` makes them anew.

#![expect(clippy::unwrap_used, reason = "tests")]

mod case;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use adapter::{Adapter, AdapterError, BaseBiases, Bias, LoraConfig, Merge, Model};
use case::{Case, decoder_gradients_are_pytorchs, encoder_gradients_are_pytorchs, off};
use half::{bf16, f16};
use lora::{LanguageModel, Pretrained};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

/// The tensors of a file, with their types.
fn tensors(path: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |dtype: Dtype, data: &[u8]| -> Vec<f32> {
        let halves = data.chunks_exact(2).map(|two| [two[0], two[1]]);
        match dtype {
            Dtype::F32 => data.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect(),
            Dtype::F16 => halves.map(|two| f16::from_le_bytes(two).to_f32()).collect(),
            Dtype::BF16 => halves.map(|two| bf16::from_le_bytes(two).to_f32()).collect(),
            other => panic!("{other:?}"),
        }
    };
    let tensors = file.iter();
    tensors.map(|(name, t)| (name.to_owned(), (t.dtype(), t.shape().to_vec(), values(t.dtype(), t.data())))).collect()
}

#[test]
fn losses_and_per_example_gradients_of_the_base_models_biases_are_pytorchs() {
    // All biases of two: of linear layers with and without an adapter, of norms, of BERT's pooler.
    for (family, bias, tensors) in
        [("bert", Bias::All, 12 + 5 + 1), ("roberta", Bias::LoraOnly, 7), ("distilbert", Bias::All, 12 + 5)]
    {
        let case = Case::bias(family);
        let biases = case
            .saved
            .trainable()
            .iter()
            .filter(|place| place.name.ends_with("bias") && !place.name.contains("classifier"))
            .count();
        assert_eq!((case.saved.config().bias, biases), (bias, tensors), "{family}");
        encoder_gradients_are_pytorchs(family, &case);
    }
    let case = Case::bias("qwen2");
    assert_eq!(case.saved.trainable().len(), 8 + 4);
    decoder_gradients_are_pytorchs("qwen2", &case);
    // BERT under the head on the mean, where its pooler plays no part; a head of two layers in one module; files in 16 bits.
    for family in ["bert", "roberta", "distilbert"] {
        encoder_gradients_are_pytorchs(family, &Case::all(family));
    }
    let case = Case::all("qwen2");
    assert_eq!(case.saved.trainable().len(), 8 + 6);
    decoder_gradients_are_pytorchs("qwen2", &case);
}

/// The files hold the base model's biases and what comes to them together, as PEFT's do; the sums round. PEFT's have some twice, and BERT's pooler's under
/// a head that does not use it.
#[test]
fn a_directory_with_the_base_models_biases_is_peft_s_but_for_rounding_and_what_peft_has_twice() {
    for kind in ["bias", "all"] {
        for family in ["bert", "roberta", "distilbert", "qwen2"] {
            let case = if kind == "bias" { Case::bias(family) } else { Case::all(family) };
            let (saved, out) = (case.folder.join(kind), tempfile::tempdir().unwrap());
            let biases = BaseBiases::read(&case.model, case.saved.config(), &case.folder).unwrap();
            assert_eq!(biases.missing(&case.saved), None);
            case.saved.save_dir_with_base(out.path(), &biases).unwrap();
            let [theirs, ours] =
                [saved.as_path(), out.path()].map(|dir| tensors(&dir.join("adapter_model.safetensors")));
            for (name, (dtype, shape, ours)) in &ours {
                let (_, their_shape, theirs) = &theirs[name];
                assert_eq!((*dtype, shape), (Dtype::F32, their_shape), "{family} {name}");
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 2.0 * f32::EPSILON * b.abs().max(1.0);
                assert!(ours.iter().zip(theirs).all(near), "{family} {name}");
            }
            let names =
                |of: &BTreeMap<String, _>| of.keys().map(|name| name.replace("base_model.model.", "")).collect();
            let [theirs, ours]: [BTreeSet<String>; 2] = [&theirs, &ours].map(names);
            let twice: &[&str] = match (kind, family) {
                ("all", "bert") => &["bert.pooler.dense", "classifier.modules_to_save", "classifier.original_module"],
                ("bias", "bert") => &["classifier.modules_to_save", "classifier.original_module"],
                ("all", "roberta") => &[
                    "classifier.modules_to_save.default.dense",
                    "classifier.modules_to_save.default.out_proj",
                    "classifier.original_module.dense",
                    "classifier.original_module.out_proj",
                ],
                (_, "distilbert") => &[
                    "classifier.modules_to_save",
                    "classifier.original_module",
                    "pre_classifier.modules_to_save",
                    "pre_classifier.original_module",
                ],
                _ => &[],
            };
            let twice: BTreeSet<String> = twice.iter().map(|layer| format!("{layer}.bias")).collect();
            assert_eq!(theirs.difference(&ours).cloned().collect::<BTreeSet<_>>(), twice, "{kind} {family}");
            let refused = case.saved.save_dir(out.path()).unwrap_err();
            assert!(matches!(refused, AdapterError::NeedsBase { .. }), "{refused}");
            let refused = case.saved.save_dir_with_base(out.path(), &BaseBiases::default()).unwrap_err();
            assert!(matches!(refused, AdapterError::MissingTensor { .. }), "{refused}");
            let refused = Adapter::load_dir(&saved, &case.model).unwrap_err().to_string();
            assert!(refused.contains("adapter_config.json") && refused.contains("its folder is needed"), "{refused}");
            let refused = Adapter::load_dir_with_base(&saved, &case.model, out.path()).unwrap_err().to_string();
            assert!(refused.contains("model.safetensors"), "{refused}");
        }
    }
}

/// Only what PEFT has twice is passed over, by its full name.
#[test]
fn a_bias_that_only_looks_like_one_that_peft_saves_twice_is_refused() {
    let case = Case::all("bert");
    let own = tensors(&case.folder.join("all/adapter_model.safetensors"));
    let with = |from: &str, to: &str| {
        let bytes: HashMap<String, (Vec<usize>, Vec<u8>)> = own
            .iter()
            .map(|(name, (_, shape, values))| {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                (if name == from { to.to_owned() } else { name.clone() }, (shape.clone(), bytes))
            })
            .collect();
        let views: Vec<(&String, TensorView<'_>)> = bytes
            .iter()
            .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()))
            .collect();
        let bytes = safetensors::serialize(views, None).unwrap();
        Adapter::from_bytes(&case.model, case.saved.config(), &bytes)
    };
    let (head, pooler) =
        ("base_model.model.classifier.modules_to_save.bias", "base_model.model.bert.pooler.dense.bias");
    with(head, head).unwrap();
    for (from, to) in [
        (head, "base_model.model.classifier.modules_to_save.other.bias"),
        (head, "base_model.model.bert.encoder.layer.0.attention.self.query.modules_to_save.bias"),
        (head, "base_model.model.classifier.modules_to_save.weight"),
        (pooler, "base_model.model.bert.pooler.dense.weight"),
        (pooler, "base_model.model.bert.pooler.bias"),
    ] {
        let refused = with(from, to).unwrap_err();
        assert!(matches!(&refused, AdapterError::UnknownTensor { tensor } if tensor == to), "{to}: {refused}");
    }
    // Where no bias is trained, none is passed over.
    let plain = LoraConfig { bias: Bias::None, ..case.saved.config().clone() };
    let bytes = std::fs::read(case.folder.join("all/adapter_model.safetensors")).unwrap();
    assert!(matches!(Adapter::from_bytes(&case.model, &plain, &bytes), Err(AdapterError::UnknownTensor { .. })));
}

#[test]
fn biases_that_a_family_does_not_have_are_not_trained() {
    let with = |case: &Case, bias| {
        let config = LoraConfig { bias, lora_bias: false, ..case.saved.config().clone() };
        Adapter::initial(&case.model, &config, 1)
    };
    let refused = with(&Case::new("llama", 0), Bias::LoraOnly).unwrap_err().to_string();
    assert!(refused.contains("`bias`") && refused.contains("lora_bias = true"), "{refused}");
    // A checkpoint with fewer or more than its family's.
    let (qwen, llama) = (Case::bias("qwen2"), Case::own("llama3"));
    let model = Model { architecture: adapter::Architecture::Qwen2, ..llama.model.clone() };
    let adapter = Adapter::initial(&model, qwen.saved.config(), 1).unwrap();
    let error = LanguageModel::load(&llama.folder, &adapter, &lora::device("cpu").unwrap()).err().unwrap().to_string();
    assert!(error.contains("o_proj.bias") && error.contains("lora_bias = true"), "{error}");
}

/// The words that transformers says after a prompt with the biases that peft trained.
#[test]
fn the_words_after_a_prompt_are_transformers_with_the_trained_biases() {
    for case in [Case::bias("qwen2"), Case::all("qwen2")] {
        let model = LanguageModel::load(&case.folder, &case.saved, &lora::device("cpu").unwrap()).unwrap();
        let said = case.expected.said.as_ref().unwrap();
        assert_eq!(&model.say(&case.texts()[1], 6, &[]).unwrap(), said);
    }
}

#[test]
fn merged_biases_are_the_adapted_models_and_taken_out_again_the_base_models() {
    let device = lora::device("cpu").unwrap();
    let all = Case::all("qwen2");
    // With biases beside B as well, which add to the same ones.
    let both = |target_modules: adapter::Targets| {
        let config = LoraConfig { lora_bias: true, target_modules, ..all.saved.config().clone() };
        let adapter = Adapter::initial(&all.model, &config, 3).unwrap();
        let values: Vec<f32> = (0..adapter.trainable_len()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 200.0).collect();
        adapter.with_flat(&values).unwrap()
    };
    // q, k and v of two layers; the other two adapted layers have no bias that one beside B could go into.
    let nowhere = tempfile::tempdir().unwrap();
    let wide = both(all.saved.config().target_modules.clone());
    let refused = wide.merge(&all.folder, nowhere.path(), Merge::Into).unwrap_err();
    assert!(refused.to_string().contains("down_proj.bias"), "{refused}");
    assert_eq!(std::fs::read_dir(nowhere.path()).unwrap().count(), 0);
    let narrow = both(adapter::Targets::names(&["q_proj", "v_proj"]));
    for (adapter, tensors) in [(&Case::bias("qwen2").saved, 8 + 4), (&all.saved, 8 + 6), (&narrow, 4 + 6)] {
        let [merged, back] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        assert_eq!(adapter.merge(&all.folder, merged.path(), Merge::Into).unwrap(), tensors);
        let logits = |folder: &Path| Pretrained::load(folder, &device).unwrap().logits(&all.texts()).unwrap();
        let adapted = LanguageModel::load(&all.folder, adapter, &device).unwrap().logits(&all.texts()).unwrap();
        let found = logits(merged.path());
        assert!(off(&found, &adapted) < 1e-5, "{}", off(&found, &adapted));
        assert!(off(&found, &logits(&all.folder)) > 0.01, "the adapter changes nothing");
        adapter.merge(merged.path(), back.path(), Merge::OutOf).unwrap();
        let found = logits(back.path());
        assert!(off(&found, &logits(&all.folder)) < 1e-5);
    }
}

/// DistilBERT's checkpoint and adapter are in 16 bits: the merged biases are peft's, to the bit.
#[test]
fn biases_merged_into_weights_of_16_bits_are_those_that_peft_saved() {
    let (case, merged) = (Case::all("distilbert"), tempfile::tempdir().unwrap());
    case.saved.merge(&case.folder, merged.path(), Merge::Into).unwrap();
    let found = tensors(&merged.path().join("model.safetensors"));
    let theirs = tensors(&case.folder.join("all/adapter_model.safetensors"));
    let mut count = 0;
    for (name, (_, _, theirs)) in
        theirs.iter().filter(|(name, _)| name.ends_with("bias") && !name.contains("classifier"))
    {
        let name = name.replace("base_model.model.", "").replace(".base_layer", "");
        let (dtype, _, found) = &found[&name];
        assert_eq!((*dtype, found), (Dtype::F16, theirs), "{name}");
        count += 1;
    }
    assert_eq!(count, 12 + 5);
}
