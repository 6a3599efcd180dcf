//! A load driver for `benches/services`: houses in one process, each with its own TLS identity, state and ledger, against an aggregator that is a program of
//! its own.
//!
//! What a house does is all the client's own code ([`client::round::run`]) but for its trainer, which gives integers that were drawn ahead: real noise for
//! hundreds of houses would take all the time. The client's program has no such switch. [`houses`] is the federation, [`sink`] what its intake is measured
//! against: a service that takes the same messages over the same TLS and drops them.

mod houses;
mod sink;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Many houses against one aggregator, for `benches/services`.
#[derive(Debug, Parser)]
#[command(name = "plainchant-load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One round of so many houses; prints one JSON object.
    Round(Round),
    /// Takes contributions and drops them, until it is stopped; writes its port, and what a caller must trust beside it.
    Sink {
        /// The folder for `port` and `authority.pem`.
        dir: PathBuf,
        /// Writes what comes to files there, each flushed before its sender hears of it.
        #[arg(long)]
        keep: bool,
    },
    /// Sends bodies to a sink over connections of their own, all at once; prints one JSON object.
    Send {
        /// The sink's folder.
        dir: PathBuf,
        /// Connections.
        #[arg(long)]
        houses: usize,
        /// Bytes that each sends.
        #[arg(long)]
        bytes: usize,
    },
}

/// A round's size.
#[derive(Debug, clap::Args)]
struct Round {
    /// An empty folder for the federation.
    dir: PathBuf,
    /// The aggregator's program.
    #[arg(long)]
    aggregator: PathBuf,
    /// Houses.
    #[arg(long)]
    houses: usize,
    /// Seconds from the announcement to the contributions' departure: all must be encrypted by then.
    #[arg(long)]
    submit_after: u64,
    /// Width of the model, which is 128 times as many values.
    #[arg(long, default_value_t = 8192)]
    width: u32,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Few threads that may block: that is where a house encrypts, and each holds a vector of integers meanwhile.
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(4).enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Round(round) => houses::round(&round).await,
            Command::Sink { dir, keep } => sink::serve(&dir, keep).await,
            Command::Send { dir, houses, bytes } => sink::send(&dir, houses, bytes).await,
        }
    })
}
