//! `evaluate` and `predict`: what an adapter is good for, on the house's own rows. Nothing is sent.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Args;
use hub::Hub;
use training::{Predictor, Task, evaluate, load_adapter};

use super::Failure;
use crate::config::{Config, DataConfig, TrainingConfig};
use crate::identity::Identity;
use crate::round::RunError;

/// Texts that are answered together.
const TOGETHER: usize = 32;

#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// The house's folder, joined before.
    dir: PathBuf,
    /// A PEFT folder; left out, the newest adapter of this house, DIR/adapter.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Rows to evaluate, in the form of client.toml's [data]; left out, the house's own: those held out, where the charter holds any out.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Of the house's own rows all, those it trains on too: their figures flatter.
    #[arg(long, conflicts_with = "data")]
    all: bool,
    /// Of a language model: also answers each prompt, in at most so many tokens, and counts the answers that are exactly the rows'.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    answers: Option<u32>,
    /// For scripts.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Predict {
    /// The house's folder, joined before.
    dir: PathBuf,
    /// A PEFT folder; left out, the newest adapter of this house, DIR/adapter.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A text, or a language model's prompt; can be given several times. Left out, the lines of standard input.
    #[arg(long = "text", value_name = "TEXT")]
    texts: Vec<String>,
    /// Of a language model: an answer's longest, in tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    most: u32,
}

/// What both need of a house's folder.
struct Own {
    identity: Identity,
    data: DataConfig,
    training: TrainingConfig,
    folder: PathBuf,
}

impl Own {
    fn open(dir: &Path) -> Result<Self, Failure> {
        let identity = Identity::load(dir).map_err(RunError::from)?;
        let config = Config::load(dir).map_err(RunError::from)?;
        let (Some(data), Some(training)) = (config.data, config.training) else {
            return Err(RunError::NoTrainer(identity.name().clone()).into());
        };
        let folder = Hub::from_env().folder(&training.model).map_err(RunError::from)?;
        Ok(Self { identity, data, training, folder })
    }

    fn adapter(&self, dir: &Path, given: Option<&PathBuf>) -> Result<adapter::Adapter, Failure> {
        let own = dir.join("adapter");
        let path = given.unwrap_or(&own);
        if given.is_none() && !own.is_dir() {
            let own = own.display();
            return Err(Failure::later(format!(
                "{own} is not there before the first round; name another with --adapter DIR"
            )));
        }
        Ok(load_adapter(&self.identity.charter, path, &self.folder).map_err(RunError::from)?)
    }
}

pub(super) fn run(args: &Evaluate) -> Result<(), Failure> {
    let own = Own::open(&args.dir)?;
    let charter = &own.identity.charter;
    let adapter = own.adapter(&args.dir, args.adapter.as_ref())?;
    let mut data = own.data.source(terms::is_language_model(charter));
    let held_out_only = args.data.is_none() && !args.all && charter.evaluation.is_some();
    if let Some(file) = &args.data {
        (data.file, data.format) = (file, None);
        // Units play no part here.
        data.columns.unit = None;
    } else if !held_out_only {
        tracing::warn!(
            "these are rows that the house trains on: their figures flatter; name unseen ones with --data FILE"
        );
    }
    let answers = args.answers.map(|most| most as usize);
    let model = own.training.source(&own.folder);
    let task = Task { data: &data, model: &model, scratch: &args.dir, held_out_only, answers };
    let bar = bar();
    let found = evaluate(charter, &adapter, &task, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let found = found.map_err(RunError::from)?;
    if args.json {
        println!("{}", serde_json::to_string(&found).map_err(Failure::failed)?);
    } else {
        print!("{found}");
    }
    Ok(())
}

pub(super) fn predict(args: &Predict) -> Result<(), Failure> {
    let own = Own::open(&args.dir)?;
    let adapter = own.adapter(&args.dir, args.adapter.as_ref())?;
    let predictor = Predictor::load(&own.identity.charter, &adapter, &own.training.source(&own.folder));
    let predictor = predictor.map_err(RunError::from)?;
    let mut refused = 0;
    let mut say = |texts: &[String]| -> Result<(), Failure> {
        let all = predictor.predict(texts, args.most as usize).map_err(RunError::from)?;
        for (text, said) in texts.iter().zip(all) {
            let mut line = match said {
                Ok(said) => serde_json::to_value(&said).map_err(Failure::failed)?,
                Err(error) => {
                    refused += 1;
                    serde_json::json!({ "error": error.to_string() })
                }
            };
            line["text"] = text.as_str().into();
            println!("{line}");
        }
        Ok(())
    };
    if args.texts.is_empty() {
        each_line(&mut say)?
    } else {
        say(&args.texts)?
    }
    match refused {
        0 => Ok(()),
        _ => Err(Failure::failed(format!("{refused} texts have no answer: see \"error\" in their lines"))),
    }
}

/// Hands over the lines of standard input, some together.
fn each_line(say: &mut impl FnMut(&[String]) -> Result<(), Failure>) -> Result<(), Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("one text a line; end with Ctrl-D");
    }
    // At a terminal each line is answered at once.
    let together = if input.is_terminal() { 1 } else { TOGETHER };
    let mut texts = Vec::new();
    for line in input.lock().lines() {
        let line = line.map_err(Failure::failed)?;
        texts.extend((!line.trim().is_empty()).then_some(line));
        if texts.len() == together {
            say(&std::mem::take(&mut texts))?;
        }
    }
    say(&texts)
}

/// Rows that are done, on a terminal.
fn bar() -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("rows [{wide_bar}] {pos}/{len} {eta}");
    indicatif::ProgressBar::new(0).with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
}
