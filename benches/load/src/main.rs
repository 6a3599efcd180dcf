//! A load driver for `benches/services`: houses in one process, each with its own TLS identity, state and ledger, against an aggregator that is a program of
//! its own.
//!
//! What a house does is all the client's own code ([`client::round::run`]) but for its trainer, which gives integers that were drawn ahead: real noise for
//! hundreds of houses would take all the time. The client's program has no such switch. [`site`] is the federation, [`houses`] a round of it, some houses of
//! which may vanish or come late, [`overload`] more calls than it can answer, [`sink`] what its intake is measured against: a service that takes the same
//! messages over the same TLS and drops them.

mod figures;
mod houses;
mod overload;
mod sink;
mod site;

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
    /// Ten times the calls that the aggregator can answer, from many members; prints one JSON object.
    Overload(Overload),
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
    /// Width of the model: 32 values for each of it in each layer.
    #[arg(long, default_value_t = 8192)]
    width: u32,
    /// Layers of the model.
    #[arg(long, default_value_t = 4)]
    layers: u32,
    /// Seconds from the departure to the close.
    #[arg(long, default_value_t = 600)]
    open_for: u64,
    /// Houses that are announced, and never heard of again.
    #[arg(long, default_value_t = 0)]
    dropouts: usize,
    /// Houses that crash before they send and come back: half of them in time, half after the close.
    #[arg(long, default_value_t = 0)]
    stragglers: usize,
    /// Ends when all contributions are taken in, before any sum is opened.
    #[arg(long)]
    intake_only: bool,
}

/// How much is asked for.
#[derive(Debug, clap::Args)]
struct Overload {
    /// An empty folder for the federation.
    dir: PathBuf,
    /// The aggregator's program.
    #[arg(long)]
    aggregator: PathBuf,
    /// Members that call, each over a connection of its own.
    #[arg(long, default_value_t = 200)]
    members: usize,
    /// What is offered, as a multiple of what is answered when nobody has to wait.
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// For how long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
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
            Command::Overload(overload) => overload::overload(&overload).await,
            Command::Sink { dir, keep } => sink::serve(&dir, keep).await,
            Command::Send { dir, houses, bytes } => sink::send(&dir, houses, bytes).await,
        }
    })
}
