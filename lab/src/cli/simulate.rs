//! `plainchant-lab simulate`.

use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::Table;
use indicatif::ProgressBar;

use super::{Failure, bar};
use crate::rows::{self, RunRow};
use crate::simulate::{self, Finished, NoiseSource, Plan};

/// A federation in one process.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The plan; --sample prints one that explains every key
    #[arg(value_name = "PLAN.toml", required_unless_present = "sample")]
    plan: Option<PathBuf>,
    /// Folder for the results; a run that is there is not run again, one that was stopped goes on
    #[arg(long, value_name = "DIR", default_value = "simulation")]
    out: PathBuf,
    /// Overrides the plan's number of clients
    #[arg(long, value_name = "COUNT")]
    clients: Option<usize>,
    /// Overrides the plan's number of rounds
    #[arg(long, value_name = "N")]
    rounds: Option<u32>,
    /// Overrides how noise is drawn
    #[arg(long, value_enum)]
    noise: Option<NoiseSource>,
    /// Prints a plan that explains every key
    #[arg(long)]
    sample: bool,
    /// Prints the runs as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  plainchant-lab simulate --sample > plan.toml
  plainchant-lab simulate plan.toml --out results
  plainchant-lab simulate plan.toml --clients 1000 --noise pooled --out thousand

Leaves runs, curve and clients as Parquet and JSON in the folder, and each run's adapter in PEFT's form.
Exit codes: 0 done, 1 failed, 2 wrong plan.";

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(file) = arguments.plan.as_ref().filter(|_| !arguments.sample) else {
        print!("{}", simulate::SAMPLE);
        return Ok(());
    };
    let mut plan = Plan::load(file).map_err(Failure::usage)?;
    plan.clients.count = arguments.clients.unwrap_or(plan.clients.count);
    plan.training.rounds = arguments.rounds.unwrap_or(plan.training.rounds);
    plan.privacy.noise = arguments.noise.unwrap_or(plan.privacy.noise);
    let bar = bar(u64::from(plan.training.rounds), "rounds");
    let finished = simulate::run(&plan, &arguments.out, &mut |step| show(&bar, step)).map_err(Failure::failed)?;
    bar.finish_and_clear();
    if arguments.json {
        println!("{}", crate::table::to_json(&finished.runs));
    } else {
        print(&finished, &arguments.out);
    }
    Ok(())
}

fn show(bar: &ProgressBar, step: &simulate::Step) {
    bar.set_length(u64::from(step.rounds));
    bar.set_position(u64::from(step.round));
    if let Some(plain) = step.plain {
        bar.set_message(format!("{} ({} of {}), accuracy {plain:.3}", step.run, step.done + 1, step.runs));
    }
}

fn print(finished: &Finished, out: &Path) {
    println!("{}", runs_table(&finished.runs));
    println!("in {}: runs, curve and clients as .parquet and .json, and each run's adapter", out.display());
    if finished.runs.iter().any(|run| run.noise == NoiseSource::Pooled.as_str()) {
        println!("noise was POOLED: one draw a round for the sum, as no client program does");
    }
}

/// Runs for a person.
pub(super) fn runs_table(runs: &[RunRow]) -> Table {
    let mut table = Table::new();
    table.set_header([
        "run",
        "epsilon",
        "noise",
        "clients",
        "plain",
        "macro",
        "macro F1",
        "worst client",
        "spread",
        "seconds",
        "MB up",
    ]);
    for run in runs {
        table.add_row([
            run.run.clone(),
            rows::epsilon(run.epsilon),
            format!("{:.3} {}", run.noise_multiplier, run.noise),
            run.clients.to_string(),
            format!("{:.4}", run.plain),
            format!("{:.4}", run.macro_),
            format!("{:.4}", run.macro_f1),
            format!("{:.3}", run.worst_client),
            format!("{:.3}", run.client_spread),
            format!("{:.1}", run.seconds),
            format!("{:.1}", run.bytes_up as f64 / 1e6),
        ]);
    }
    table
}
