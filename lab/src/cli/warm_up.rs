//! `plainchant-lab warm-up`.

use std::path::PathBuf;

use adapter::Adapter;
use clap::Args;
use lora::{Classifier, Tokenizer, WarmUp};
use protocol::charter::Terms;
use terms::{adapter_model, lora_config};
use training::{Columns, Content, DataSource, Dataset};

use super::Failure;
use crate::table;

/// A head from public rows.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The charter, or the template of one; its labels are the head's rows
    #[arg(value_name = "CHARTER.toml")]
    charter: PathBuf,
    /// Public rows: TSV, CSV, JSONL or Parquet
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Hugging Face folder of the charter's model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Field with the text
    #[arg(long, default_value = "text", value_name = "FIELD")]
    text_column: String,
    /// Field with the label
    #[arg(long, default_value = "label", value_name = "FIELD")]
    label_column: String,
    /// Where the charter with the head goes; left out, it replaces the one that was read
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Example:
  plainchant-lab warm-up charter.toml --data public.tsv --model minilm

The rows must be public: the head says something about each of them to everybody who reads the charter. Do this before anybody
joins: a charter with a head is another charter.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let text = std::fs::read_to_string(&arguments.charter)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", arguments.charter.display())))?;
    // A template has no key yet, so this is less than a charter's own check.
    let terms: Terms =
        toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", arguments.charter.display())))?;
    if terms.lora.initial_head.is_some() {
        return Err(Failure::usage("the charter has a lora.initial_head already; remove it first"));
    }
    let columns = Columns { text: &arguments.text_column, answer: &arguments.label_column, messages: None, unit: None };
    let rows = DataSource { file: &arguments.data, format: None, columns };
    let tokenizer = Tokenizer::from_file(&arguments.model.join("tokenizer.json")).map_err(Failure::usage)?;
    let (mut texts, mut labels) = (Vec::new(), Vec::new());
    Dataset::read(&rows, &terms.model.labels, &mut |row| {
        let Content::Labelled { text, label } = &row.content else {
            return Err(row.unfit("it has no label: a head needs a charter with labels".to_owned()));
        };
        let text = tokenizer.encode(text, terms.model.max_tokens as usize);
        texts.push(text.map_err(|error| row.unfit(error.to_string()))?);
        labels.push(*label);
        Ok(())
    })
    .map_err(Failure::usage)?;
    let model = adapter_model(&terms.model).map_err(Failure::usage)?;
    // B is zero, so the model is the base model whatever the rank.
    let config = lora_config(&terms.lora).map_err(Failure::usage)?;
    let adapter = Adapter::initial(&model, &config, 0).map_err(Failure::usage)?;
    let device = lora::device("cpu").map_err(Failure::failed)?;
    let classifier = Classifier::load(&arguments.model, &adapter, terms.model.labels.len(), &device);
    let classifier = classifier.map_err(Failure::usage)?;
    let head = classifier.warm_up_head(&texts, &labels, &WarmUp::default()).map_err(Failure::failed)?;
    let line =
        format!("[lora]\n# Trained on {} public rows.\ninitial_head = {:?}", texts.len(), terms::head_text(&head));
    let with = text.replacen("[lora]", &line, 1);
    let again: Terms = toml::from_str(&with)
        .map_err(|error| Failure::failed(format!("the head could not be put after [lora]: {error}")))?;
    if again.lora.initial_head.is_none() {
        return Err(Failure::failed("the charter has no line [lora] of its own to put the head after"));
    }
    let out = arguments.out.as_ref().unwrap_or(&arguments.charter);
    table::write_file(out, with.as_bytes()).map_err(Failure::failed)?;
    println!("{}: a head over {} labels from {} public rows", out.display(), terms.model.labels.len(), texts.len());
    Ok(())
}
