//! `plainchant-lab audit`.

use std::path::PathBuf;

use adapter::LoraConfig;
use clap::{Args, Subcommand};
use comfy_table::Table;

use super::{Failure, bar};
use crate::audit::{self, AuditError, Broken, Setting, membership};
use crate::task::{Source, Task};
use crate::{rows, table};

/// Canaries and membership inference.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Bounds epsilon from below by canaries in one run of the real mechanism, and fails when the claim is refuted.
    Canaries(Canaries),
    /// Attacks a released adapter: who was trained on?
    Membership(Membership),
}

const CANARIES: &str = "\
Examples:
  plainchant-lab audit canaries                                    # the mechanism as it is
  plainchant-lab audit canaries --broken noise-half                # must be caught
  plainchant-lab audit canaries --broken no-clipping
  plainchant-lab audit canaries --broken seed-reused --epsilon 2 --rate 0.5 --rounds 8

Exit codes: 0 the claim stands, 1 it is refuted (VIOLATED) or the audit failed, 2 wrong usage.
A bound far below the claim is no proof of a smaller epsilon: one run shows half to two thirds of it.";

#[derive(Debug, Args)]
#[command(after_help = CANARIES)]
struct Canaries {
    /// What the run claims; noise is calibrated to it
    #[arg(long, default_value_t = 1.0, value_name = "E")]
    epsilon: f64,
    /// At this delta
    #[arg(long, default_value_t = 1e-5, value_name = "D")]
    delta: f64,
    /// Chance of each unit to be in a round; at 1 the bound is tightest
    #[arg(long, default_value_t = 1.0, value_name = "Q")]
    rate: f64,
    /// Rounds
    #[arg(long, default_value_t = 1, value_name = "N")]
    rounds: u32,
    /// Houses that share the noise
    #[arg(long, default_value_t = 10, value_name = "HOUSES")]
    houses: usize,
    /// Of these, how many collude with the adversary
    #[arg(long, default_value_t = 1, value_name = "HOUSES")]
    colluders: usize,
    /// Canaries; each has a trained weight of its own
    #[arg(long, default_value_t = 40_000, value_name = "COUNT")]
    canaries: usize,
    /// Share of the canaries that is guessed about, fixed before anything is seen
    #[arg(long, default_value_t = 0.03, value_name = "SHARE")]
    guessed: f64,
    /// Confidence of the bound
    #[arg(long, default_value_t = 0.95, value_name = "P")]
    confidence: f64,
    /// A mistake to put into the mechanism, to see whether it is found
    #[arg(long, value_enum)]
    broken: Option<Broken>,
    /// Folder for audit.json and audit.parquet
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Membership {
    #[command(flatten)]
    source: Source,
    /// Attacks models trained with this epsilon beside one without privacy
    #[arg(long, default_value_t = 3.0, value_name = "E")]
    epsilon: f64,
    /// At this delta
    #[arg(long, default_value_t = 1e-5, value_name = "D")]
    delta: f64,
    /// Rounds of each model
    #[arg(long, default_value_t = 30, value_name = "N")]
    rounds: u32,
    /// Rows of a batch in the mean
    #[arg(long, default_value_t = 256.0, value_name = "ROWS")]
    batch: f64,
    /// Step size
    #[arg(long, default_value_t = 6.0, value_name = "RATE")]
    learning_rate: f64,
    /// Units that take part; each model trains on half of them
    #[arg(long, default_value_t = 2000, value_name = "COUNT")]
    units: usize,
    /// Shadow models
    #[arg(long, default_value_t = 4, value_name = "COUNT")]
    shadows: u32,
    /// Seeds halves and batches
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for membership.json and membership.parquet
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.what {
        What::Canaries(arguments) => canaries(&arguments),
        What::Membership(arguments) => membership(&arguments),
    }
}

fn canaries(arguments: &Canaries) -> Result<(), Failure> {
    let setting = Setting {
        epsilon: arguments.epsilon,
        delta: arguments.delta,
        rate: arguments.rate,
        rounds: arguments.rounds,
        houses: arguments.houses,
        colluders: arguments.colluders,
        canaries: arguments.canaries,
        guessed: arguments.guessed,
        error: 1.0 - arguments.confidence,
        broken: arguments.broken,
    };
    let bar = bar(u64::from(setting.rounds), "rounds");
    let found = audit::one_run(&setting, &mut rand::rng(), |round| bar.set_position(u64::from(round)));
    bar.finish_and_clear();
    let found = found.map_err(|error| match error {
        AuditError::Value { .. } | AuditError::Accountant(_) => Failure::usage(error),
        _ => Failure::failed(error),
    })?;
    let rows = found.rows(&setting);
    if let Some(folder) = &arguments.out {
        table::write(folder, "audit", &rows).map_err(Failure::failed)?;
    }
    if arguments.json {
        println!("{}", table::to_json(&rows));
    } else {
        let mut shown = Table::new();
        shown.set_header(["mechanism", "attack", "guesses", "right", "epsilon at least", "claim", "share of it"]);
        for row in &rows {
            shown.add_row([
                row.mechanism.clone(),
                row.attack.clone(),
                row.guesses.to_string(),
                row.right.to_string(),
                format!("{:.3}", row.bound),
                format!("{:.3}", row.claim),
                format!("{:.2}", row.bound / row.claim),
            ]);
        }
        println!("{shown}");
        println!(
            "noise multiplier {:.4}; the claim is by loss distributions at delta {:e}, by Renyi divergences it is {:.3}; the bounds hold together with confidence {}",
            found.noise_multiplier, setting.delta, found.claim_rdp, arguments.confidence
        );
    }
    if found.is_violated() {
        let (bound, claim) = (found.bound(), found.claim);
        return Err(Failure::failed(format!(
            "VIOLATED: this run leaks epsilon {bound:.3} at least, and {claim:.3} was claimed (confidence {})",
            arguments.confidence
        )));
    }
    Ok(())
}

fn membership(arguments: &Membership) -> Result<(), Failure> {
    let mut task =
        Task::load(&arguments.source, &LoraConfig::new(8, 2, &["query", "value"]), None).map_err(Failure::usage)?;
    let mut rows = Vec::new();
    for epsilon in [None, Some(arguments.epsilon)] {
        let training = membership::Training {
            epsilon,
            delta: arguments.delta,
            rounds: arguments.rounds,
            batch: arguments.batch,
            learning_rate: arguments.learning_rate,
            units: arguments.units,
            shadows: arguments.shadows,
            seed: arguments.seed,
        };
        let bar = bar(u64::from(arguments.shadows) + 1, "models");
        let row = membership::attack(&mut task, &training, |model| bar.set_position(u64::from(model)));
        bar.finish_and_clear();
        rows.push(row.map_err(Failure::failed)?);
    }
    if let Some(folder) = &arguments.out {
        table::write(folder, "membership", &rows).map_err(Failure::failed)?;
    }
    let mut shown = Table::new();
    shown.set_header(["mode", "epsilon", "accuracy", "AUC of the attack", "TPR at FPR 1%", "TPR at FPR 0.1%"]);
    for row in &rows {
        shown.add_row([
            row.mode.clone(),
            rows::epsilon(row.epsilon),
            format!("{:.3}", row.accuracy),
            format!("{:.3} ± {:.3}", row.auc, row.auc_margin),
            format!("{:.3}", row.tpr_at_1_percent),
            format!("{:.3}", row.tpr_at_0_1_percent),
        ]);
    }
    println!("{shown}");
    Ok(())
}
