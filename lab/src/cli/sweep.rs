//! `plainchant-lab sweep` and `plainchant-lab report`.

use std::path::PathBuf;

use clap::Args;

use super::simulate::runs_table;
use super::{Failure, bar};
use crate::{report, sweep};

/// A plan over grids.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SweepArguments {
    /// The sweep; --sample prints one that explains every key
    #[arg(value_name = "SWEEP.toml", required_unless_present = "sample")]
    sweep: Option<PathBuf>,
    /// Folder for the results and the report; settings that are there are not run again
    #[arg(long, value_name = "DIR", default_value = "sweep")]
    out: PathBuf,
    /// Settings that run side by side on the cores of this machine
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    jobs: usize,
    /// Prints a sweep that explains every key
    #[arg(long)]
    sample: bool,
}

/// A report of what is there.
#[derive(Debug, Args)]
pub(super) struct ReportArguments {
    /// The folder of a simulation or a sweep
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  plainchant-lab simulate --sample > plan.toml
  plainchant-lab sweep --sample > sweep.toml
  plainchant-lab sweep sweep.toml --out sweep --jobs 2

Leaves report.html (one file, it loads nothing), report.png, and runs, curve and clients as Parquet and JSON.";

pub(super) fn run(arguments: &SweepArguments) -> Result<(), Failure> {
    let Some(file) = arguments.sweep.as_ref().filter(|_| !arguments.sample) else {
        print!("{}", sweep::SAMPLE);
        return Ok(());
    };
    let (sweep, plan) = sweep::Sweep::load(file).map_err(Failure::usage)?;
    let settings = sweep.settings(&plan).map_err(Failure::usage)?;
    let bar = bar(settings.len() as u64, "settings");
    let told = |setting: &sweep::Setting, _: &crate::simulate::Finished| {
        bar.inc(1);
        bar.set_message(setting.name.clone());
    };
    bar.tick();
    let finished = sweep::run(&settings, &arguments.out, arguments.jobs, &told).map_err(Failure::failed)?;
    bar.finish_and_clear();
    println!("{}", runs_table(&finished.runs));
    let commands = [format!("plainchant-lab sweep {} --out {}", file.display(), arguments.out.display())];
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let plan = toml::to_string(&plan).unwrap_or_default();
    let with_files = [commands[0].clone(), format!("\n# {}\n{text}", file.display()), format!("# the plan\n{plan}")];
    let page = report::write(&arguments.out, &finished, &with_files).map_err(Failure::failed)?;
    println!("report: {}", page.display());
    Ok(())
}

pub(super) fn report(arguments: &ReportArguments) -> Result<(), Failure> {
    let finished = report::read(&arguments.folder).map_err(Failure::usage)?;
    let commands = [format!("plainchant-lab report {}", arguments.folder.display())];
    let page = report::write(&arguments.folder, &finished, &commands).map_err(Failure::failed)?;
    println!("{}", page.display());
    Ok(())
}
