//! `evaluate`: how well the final adapter, or another, does on the model builder's own rows.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use training::{Columns, DataSource, ModelSource, Task, evaluate, load_adapter};

use crate::setup;

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// The aggregator's directory.
    dir: PathBuf,
    /// Rows: TSV, CSV, JSONL or Parquet.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The base model: a Hugging Face folder or a hub id.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// A PEFT folder; left out, the federation's final adapter.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// What the model runs on: cpu, cuda:0 and the like; auto takes the first that works.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Field with the text; of a language model with the prompt, and then `prompt` when left out.
    #[arg(long, value_name = "NAME")]
    text_column: Option<String>,
    /// Field with the label; of a language model with the completion, and then `completion` when left out.
    #[arg(long, value_name = "NAME")]
    answer_column: Option<String>,
    /// Of a language model: field with a whole conversation, in place of both.
    #[arg(long, value_name = "NAME")]
    messages_column: Option<String>,
    /// Of a language model: also answer each prompt, in at most so many tokens, and count the answers that are exactly the rows'.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    answers: Option<u32>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Evaluate) -> anyhow::Result<()> {
    let home = setup::open(&args.dir).await?;
    let charter = home.charter.clone();
    let own = match &args.adapter {
        Some(_) => None,
        None => Some(super::export::final_state(&home, &args.dir).await?.adapter().clone()),
    };
    home.store.close().await;
    let folder = super::model_folder(&args.model).await?;
    let json = args.json;
    let found = tokio::task::spawn_blocking(move || {
        let adapter = match (own, &args.adapter) {
            (Some(adapter), _) => adapter,
            (None, dir) => load_adapter(&charter, dir.as_deref().unwrap_or(&args.dir), &folder)?,
        };
        let words = terms::is_language_model(&charter);
        let [text, answer] = if words { ["prompt", "completion"] } else { ["text", "label"] };
        let columns = Columns {
            text: args.text_column.as_deref().unwrap_or(text),
            answer: args.answer_column.as_deref().unwrap_or(answer),
            messages: args.messages_column.as_deref().filter(|_| words),
            unit: None,
        };
        let data = DataSource { file: &args.data, format: None, columns };
        let model = ModelSource { folder: &folder, device: &args.device, threads: None };
        let answers = args.answers.map(|most| most as usize);
        let task = Task { data: &data, model: &model, scratch: &args.dir, held_out_only: false, answers };
        evaluate(&charter, &adapter, &task, |done, all| tracing::info!("{done} of {all} rows"))
    });
    let found = found.await.context("the evaluation ended without a result")??;
    if json {
        println!("{}", serde_json::to_string(&found).context("cannot write JSON")?);
    } else {
        print!("{found}");
    }
    Ok(())
}
