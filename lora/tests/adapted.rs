//! Adapters of every family against peft: read from the directories that it saved, with the losses, the per-example gradients and the next words that
//! PyTorch computes with them.
//!
//! The fixtures are in `fixtures/families`; `scripts/family_fixtures.py` makes them anew.

#![expect(clippy::unwrap_used, reason = "tests")]

mod case;

use std::collections::BTreeMap;

use adapter::{Adapter, LoraConfig, Merge, Model};
use case::{Case, DECODERS, ENCODERS, LABELS, decoder_gradients_are_pytorchs, encoder_gradients_are_pytorchs, off};
use lora::{Classifier, Encoded, LanguageModel, LoraError, Pretrained};

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
fn losses_and_per_example_gradients_of_decoders_are_pytorchs() {
    for family in DECODERS {
        decoder_gradients_are_pytorchs(family, &Case::new(family, 0));
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
