//! Adapters of every family against peft: read from the directories that it saved, with the losses, the per-example gradients and the next words that
//! PyTorch computes with them.
//!
//! The fixtures are in `fixtures/families`; `scripts/family_fixtures.py` makes them anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use adapter::{Adapter, AdapterError, Bias, Head, LoraConfig, Merge, Model, Train, Trainable};
use lora::{Classifier, Encoded, LanguageModel, LoraError, Pretrained};
use serde::Deserialize;

const LABELS: u32 = 3;
const ENCODERS: [&str; 3] = ["bert", "roberta", "distilbert"];
const DECODERS: [&str; 7] = ["llama", "llama3", "llama-linear", "llama-yarn", "mistral", "qwen2", "qwen3"];

#[derive(Deserialize)]
struct Expected {
    rows: Vec<Row>,
    /// Six words after the second row's.
    said: Option<Vec<u32>>,
}

#[derive(Deserialize)]
struct Row {
    ids: Vec<u32>,
    prompt: usize,
    label: Option<usize>,
    loss: f32,
    gradients: BTreeMap<String, Vec<f32>>,
}

struct Case {
    folder: PathBuf,
    expected: Expected,
    model: Model,
    /// As peft saved it, which trains B.
    saved: Adapter,
}

impl Case {
    fn new(family: &str, labels: u32) -> Self {
        Self::of(family, labels, Head::Mean, "adapter", "adapted.json")
    }

    /// The family's second adapter, with transformers' own head of an encoder and a bias beside each B.
    fn own(family: &str) -> Self {
        let (labels, head) =
            if ENCODERS.contains(&family) { (LABELS, Head::SequenceClassification) } else { (0, Head::Mean) };
        let case = Self::of(family, labels, head, "own", "own.json");
        assert!(case.saved.config().lora_bias);
        case
    }

    /// Its third, which trains biases of the base model.
    fn bias(family: &str) -> Self {
        let (labels, head) =
            if ENCODERS.contains(&family) { (LABELS, Head::SequenceClassification) } else { (0, Head::Mean) };
        let case = Self::of(family, labels, head, "bias", "bias.json");
        assert_ne!(case.saved.config().bias, Bias::None);
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
    fn all_trained(&self) -> Adapter {
        self.saved.training(Train::AB)
    }

    fn texts(&self) -> Vec<Encoded> {
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

#[test]
fn losses_and_per_example_gradients_of_encoders_are_pytorchs() {
    for family in ENCODERS {
        encoder_gradients_are_pytorchs(family, &Case::new(family, LABELS));
    }
}

#[test]
fn losses_and_per_example_gradients_of_transformers_own_heads_and_of_biases_are_pytorchs() {
    for family in ENCODERS {
        encoder_gradients_are_pytorchs(family, &Case::own(family));
    }
    for family in ["llama", "llama3"] {
        decoder_gradients_are_pytorchs(family, &Case::own(family));
    }
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
}

/// The files hold the base model's biases and what comes to them together, as PEFT's do; the sums round.
#[test]
fn a_directory_with_the_base_models_biases_is_peft_s_but_for_rounding_and_is_nothing_without_the_base_model() {
    for family in ["bert", "roberta", "distilbert", "qwen2"] {
        let case = Case::bias(family);
        let (saved, out) = (case.folder.join("bias"), tempfile::tempdir().unwrap());
        case.saved.save_dir_with_base(out.path(), &case.folder).unwrap();
        let bytes =
            [saved.as_path(), out.path()].map(|dir| std::fs::read(dir.join("adapter_model.safetensors")).unwrap());
        let [theirs, ours] = bytes.each_ref().map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
        for (name, ours) in ours.iter() {
            let floats =
                |bytes: &[u8]| bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect::<Vec<f32>>();
            let pairs = floats(ours.data()).into_iter().zip(floats(theirs.tensor(name).unwrap().data()));
            assert!(
                pairs.into_iter().all(|(a, b)| (a - b).abs() <= 2.0 * f32::EPSILON * b.abs().max(1.0)),
                "{family} {name}"
            );
        }
        let refused = case.saved.save_dir(out.path()).unwrap_err();
        assert!(matches!(refused, AdapterError::NeedsBase { .. }), "{refused}");
        let refused = Adapter::load_dir(&saved, &case.model).unwrap_err().to_string();
        assert!(refused.contains("adapter_config.json") && refused.contains("its folder is needed"), "{refused}");
        let refused = Adapter::load_dir_with_base(&saved, &case.model, out.path()).unwrap_err().to_string();
        assert!(refused.contains("model.safetensors"), "{refused}");
    }
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

fn encoder_gradients_are_pytorchs(family: &str, case: &Case) {
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

#[test]
fn losses_and_per_example_gradients_of_decoders_are_pytorchs() {
    for family in DECODERS {
        decoder_gradients_are_pytorchs(family, &Case::new(family, 0));
    }
}

fn decoder_gradients_are_pytorchs(family: &str, case: &Case) {
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

/// On the CPU a micro-batch is one thread's, and its shape follows from its examples alone.
#[test]
fn gradients_have_the_same_bits_in_every_run_whatever_the_number_of_threads() {
    for family in ["llama", "llama3"] {
        let case = Case::new(family, 0);
        // Lengths over several micro-batches.
        let texts: Vec<Encoded> =
            (2..60).map(|len| Encoded { ids: (0..len).map(|i| 3 + (7 * i + len) % 20).collect() }).collect();
        let prompts = vec![1; texts.len()];
        let bits = |threads: usize| {
            let device = lora::device("cpu").unwrap();
            let mut model = LanguageModel::load(&case.folder, &case.all_trained(), &device).unwrap();
            model.set_threads(threads);
            let mut found = BTreeMap::new();
            let sink = |index, loss: f32, gradient: &[f32]| {
                let values = [loss].into_iter().chain(gradient.iter().copied());
                found.insert(index, values.map(f32::to_bits).collect::<Vec<u32>>());
            };
            model.for_each_gradient(&texts, &prompts, sink).unwrap();
            found
        };
        let first = bits(1);
        assert_eq!(first.len(), texts.len());
        for threads in [1, 2, 3, 8] {
            assert!(bits(threads) == first, "{family}, {threads} threads");
        }
    }
}

#[test]
fn the_likeliest_words_after_a_prompt_are_those_of_transformers_generate() {
    for family in DECODERS {
        let case = Case::new(family, 0);
        let model = LanguageModel::load(&case.folder, &case.saved, &lora::device("cpu").unwrap()).unwrap();
        let (prompt, said) = (&case.texts()[1], case.expected.said.as_ref().unwrap());
        assert_eq!(&model.say(prompt, 6, &[]).unwrap(), said, "{family}");
        // It ends before a stop, wherever that comes first.
        let stop = said[3];
        let before = said.iter().position(|word| *word == stop).unwrap();
        assert_eq!(model.say(prompt, 6, &[stop]).unwrap(), said[..before], "{family}");
    }
}

/// Many prompts at once, each seen once, against whole passes over one text that grows; some are longer than the sliding windows.
#[test]
fn prompts_of_all_lengths_together_get_the_words_that_each_gets_alone_by_whole_passes() {
    for family in DECODERS {
        let case = Case::new(family, 0);
        let model = LanguageModel::load(&case.folder, &case.saved, &lora::device("cpu").unwrap()).unwrap();
        let prompt = |length: u32| Encoded { ids: (0..length).map(|i| 3 + (i * 7 + length) % 50).collect() };
        let prompts: Vec<Encoded> = (1..=20).map(prompt).collect();
        let mut finished = Vec::new();
        let said = model.say_each(&prompts, 5, &[], |done| finished.push(done)).unwrap();
        assert_eq!((finished.len(), finished.last()), (2, Some(&20)));
        for (prompt, said) in prompts.iter().zip(&said) {
            let mut text = prompt.clone();
            for token in said {
                let logits = model.logits(std::slice::from_ref(&text)).unwrap().remove(0);
                let width = model.sizes().vocab_size;
                let last = &logits[logits.len() - width..];
                let most = last.iter().copied().fold(f32::MIN, f32::max);
                // The likeliest, or as likely as the last bits can tell.
                assert!(most - last[*token as usize] < 1e-4, "{family} {}", prompt.ids.len());
                text.ids.push(*token);
            }
            assert_eq!(said.len(), 5);
        }
    }
    let case = Case::new("llama", 0);
    let model = LanguageModel::load(&case.folder, &case.saved, &lora::device("cpu").unwrap()).unwrap();
    let most = model.sizes().max_tokens;
    let prompt = Encoded { ids: vec![5; most - 2] };
    assert_eq!(model.say(&prompt, 9, &[]).unwrap().len(), 2, "no further than the positions");
}

#[test]
fn a_text_without_anything_to_learn_is_named() {
    let case = Case::new("llama", 0);
    let model = LanguageModel::load(&case.folder, &case.saved, &lora::device("cpu").unwrap()).unwrap();
    let texts = [vec![5, 6, 7], vec![5, 6]].map(|ids| Encoded { ids });
    for (prompts, at) in [(vec![0, 2], 1), (vec![3, 0], 0), (vec![0], 1)] {
        let error = model.foresee(&texts, &prompts).unwrap_err();
        assert!(matches!(error, LoraError::NothingToLearn { example, .. } if example == at), "{error}");
    }
    let error = LanguageModel::load(&Case::new("bert", LABELS).folder, &case.saved, &lora::device("cpu").unwrap());
    assert!(matches!(error.err(), Some(LoraError::Config { .. })));
}

/// A merged model computes what the adapted one does, and taking the adapter out again gives the first one back, both but for the weights' type.
#[test]
fn merging_gives_the_adapted_models_logits_and_unmerging_the_base_models() {
    let device = lora::device("cpu").unwrap();
    let off = |found: &[Vec<f32>], wanted: &[Vec<f32>]| {
        let pairs = || found.iter().flatten().zip(wanted.iter().flatten());
        let largest = wanted.iter().flatten().fold(0.0f32, |most, x| most.max(x.abs()));
        assert!(found.len() == wanted.len() && pairs().count() == wanted.iter().flatten().count());
        pairs().fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
    };
    for family in DECODERS {
        let case = Case::new(family, 0);
        let texts = case.texts();
        let [merged, back] = [(), ()].map(|()| tempfile::tempdir().unwrap());
        let count = case.saved.merge(&case.folder, merged.path(), Merge::Into).unwrap();
        assert_eq!(count, 2 * 4);
        let adapted = LanguageModel::load(&case.folder, &case.saved, &device).unwrap().logits(&texts).unwrap();
        let base = Pretrained::load(&case.folder, &device).unwrap().logits(&texts).unwrap();
        let found = Pretrained::load(merged.path(), &device).unwrap().logits(&texts).unwrap();
        // Weights in bf16 have eight bits: 0.021 was seen.
        let tolerance = if family == "llama3" { 0.05 } else { 1e-5 };
        assert!(off(&found, &adapted) < tolerance, "{family}: {}", off(&found, &adapted));
        assert!(off(&found, &base) > 0.1, "{family}: the adapter changes nothing");
        case.saved.merge(merged.path(), back.path(), Merge::OutOf).unwrap();
        let found = Pretrained::load(back.path(), &device).unwrap().logits(&texts).unwrap();
        assert!(off(&found, &base) < tolerance, "{family}: {}", off(&found, &base));
        assert_eq!(
            std::fs::read(back.path().join("config.json")).unwrap(),
            std::fs::read(case.folder.join("config.json")).unwrap()
        );
    }
    // With biases into a model that has them; one that has none is named.
    let (case, merged) = (Case::own("llama3"), tempfile::tempdir().unwrap());
    assert_eq!(case.saved.merge(&case.folder, merged.path(), Merge::Into).unwrap(), 2 * 2 * 4);
    let texts = case.texts();
    let adapted = LanguageModel::load(&case.folder, &case.saved, &device).unwrap().logits(&texts).unwrap();
    let found = Pretrained::load(merged.path(), &device).unwrap().logits(&texts).unwrap();
    assert!(off(&found, &adapted) < 0.05, "{}", off(&found, &adapted));
    // And of biases that are the base model's own.
    let case = Case::bias("qwen2");
    assert_eq!(case.saved.merge(&case.folder, merged.path(), Merge::Into).unwrap(), 2 * 4 + 4);
    let adapted = LanguageModel::load(&case.folder, &case.saved, &device).unwrap().logits(&case.texts()).unwrap();
    let found = Pretrained::load(merged.path(), &device).unwrap().logits(&case.texts()).unwrap();
    assert!(off(&found, &adapted) < 1e-5, "{}", off(&found, &adapted));
    let missing = Case::own("llama").saved.merge(&Case::own("llama").folder, merged.path(), Merge::Into).unwrap_err();
    assert!(missing.to_string().contains("_proj.bias"), "{missing}");
    let (case, empty) = (Case::new("llama", 0), tempfile::tempdir().unwrap());
    let missing = case.saved.merge(empty.path(), empty.path(), Merge::Into).unwrap_err();
    assert!(missing.to_string().contains("model.safetensors"), "{missing}");
    // Two layers more than the checkpoint has.
    let deeper = Model { num_hidden_layers: 4, ..case.model.clone() };
    let adapter = Adapter::initial(&deeper, case.saved.config(), 0).unwrap();
    let missing = adapter.merge(&case.folder, empty.path(), Merge::Into).unwrap_err();
    assert!(missing.to_string().contains("model.layers.2."), "{missing}");
}

/// While B is zero nothing is hidden from the loss, and B's gradient is linear in what is not hidden: over many seeds it is what it is without dropout, within
/// five deviations of the mean.
#[test]
fn dropout_hides_nothing_in_the_mean_is_the_seeds_alone_and_leaves_what_is_said_as_it_was() {
    let case = Case::new("llama", 0);
    let device = lora::device("cpu").unwrap();
    let with = |lora_dropout: f64, of: &Adapter| {
        let config = LoraConfig { lora_dropout, ..of.config().clone() };
        Adapter::initial(&case.model, &config, 5).unwrap().with_flat(&of.flat()).unwrap()
    };
    let zero = Adapter::initial(&case.model, case.saved.config(), 5).unwrap();
    let prompts: Vec<usize> = case.expected.rows.iter().map(|row| row.prompt).collect();
    let gradients = |adapter: &Adapter, seed: u64, threads: usize| {
        let mut model = LanguageModel::load(&case.folder, adapter, &device).unwrap();
        model.set_threads(threads);
        model.set_dropout_seed(seed);
        let mut found = BTreeMap::new();
        let sink = |index, loss: f32, gradient: &[f32]| drop(found.insert(index, (loss.to_bits(), gradient.to_vec())));
        model.for_each_gradient(&case.texts(), &prompts, sink).unwrap();
        found
    };
    let (plain, dropped) = (gradients(&zero, 0, 1), with(0.3, &zero));
    let (count, last) = (400, prompts.len() - 1);
    let width = zero.trainable_len();
    let (mut sum, mut squares) = (vec![0.0f64; width], vec![0.0f64; width]);
    for seed in 0..count {
        let found = gradients(&dropped, seed, 1);
        assert_eq!(found[&last].0, plain[&last].0);
        for (i, value) in found[&last].1.iter().enumerate() {
            sum[i] += f64::from(*value);
            squares[i] += f64::from(*value) * f64::from(*value);
        }
    }
    let n = count as f64;
    let mut moved = 0;
    for i in 0..width {
        let (mean, wanted) = (sum[i] / n, f64::from(plain[&last].1[i]));
        let deviation = ((squares[i] / n - mean * mean).max(0.0) / n).sqrt();
        moved += usize::from(deviation > 1e-6);
        assert!((mean - wanted).abs() < 5.0 * deviation + 1e-6, "{i}: {mean} {wanted} {deviation}");
    }
    assert!(moved > width / 2);
    // With B of any value: a seed's gradients, whatever the threads, and no others.
    let adapter = with(0.3, &case.saved);
    assert!(gradients(&adapter, 7, 1) == gradients(&adapter, 7, 3));
    assert!(gradients(&adapter, 7, 1) != gradients(&adapter, 8, 1));
    let logits = |adapter| LanguageModel::load(&case.folder, adapter, &device).unwrap().logits(&case.texts()).unwrap();
    assert!(logits(&adapter) == logits(&with(0.0, &case.saved)));
}

/// One gradient for all, as without privacy, is the sum of the gradients of each; dummy rows of a micro-batch add nothing.
#[test]
fn the_summed_gradient_is_the_sum_of_each_examples() {
    let close = |summed: &[f32], each: &[f32]| {
        let largest = each.iter().fold(0.0f32, |most, x| most.max(x.abs()));
        assert!(largest > 0.0 && summed.len() == each.len());
        assert!(summed.iter().zip(each).all(|(a, b)| (a - b).abs() < 3e-5 * largest));
    };
    let device = lora::device("cpu").unwrap();
    for family in ENCODERS.iter().chain(&DECODERS) {
        let encoder = ENCODERS.contains(family);
        let case = Case::new(family, if encoder { LABELS } else { 0 });
        let rows = &case.expected.rows;
        for adapter in [case.saved.clone(), case.all_trained()] {
            let (mut each, mut losses) = (vec![0.0; adapter.trainable_len()], vec![0.0; rows.len()]);
            let mut sink = |index: usize, loss, gradient: &[f32]| {
                losses[index] = loss;
                each.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
            };
            let (found, summed) = if encoder {
                let labels: Vec<usize> = rows.iter().map(|row| row.label.unwrap()).collect();
                let model = Classifier::load(&case.folder, &adapter, LABELS as usize, &device).unwrap();
                model.for_each_gradient(&case.texts(), &labels, &mut sink).unwrap();
                model.summed_gradient(&case.texts(), &labels).unwrap()
            } else {
                let prompts: Vec<usize> = rows.iter().map(|row| row.prompt).collect();
                let model = LanguageModel::load(&case.folder, &adapter, &device).unwrap();
                model.for_each_gradient(&case.texts(), &prompts, &mut sink).unwrap();
                model.summed_gradient(&case.texts(), &prompts).unwrap()
            };
            close(&summed, &each);
            close(&found, &losses);
        }
    }
}
