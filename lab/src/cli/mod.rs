//! The program `plainchant-lab`.

mod audit;
mod budget;
mod simulate;
mod sweep;
mod warm_up;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

/// Exit code of a question that makes no sense as it is asked.
const USAGE: u8 = 2;

/// Plans and explores federations under differential privacy on one machine, before and after anybody trains.
#[derive(Debug, Parser)]
#[command(name = "plainchant-lab", version, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  plainchant-lab budget --epsilon 3 --rounds 60 --rate 0.02              # how much noise?
  plainchant-lab budget --epsilon 3 --noise-multiplier 0.9 --rate 0.02   # how many rounds?
  plainchant-lab budget --noise-multiplier 0.9 --rounds 60 --rate 0.02   # what does it cost?
  plainchant-lab simulate plan.toml --out results                        # what does it cost in accuracy?
  plainchant-lab audit canaries                                          # does it leak more than it claims?

Exit codes: 0 done, 1 failed or out of reach, 2 wrong usage.
Answers go to standard output; --json gives them to scripts.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Works out epsilon, noise or rounds from the other two.
    Budget(budget::Arguments),
    /// Runs a whole federation in one process: real protocol, cryptography, mechanisms, rows and model.
    Simulate(simulate::Arguments),
    /// Simulates a plan over grids of epsilon, clipping norm, rank, learning rate and clients, and reports.
    Sweep(sweep::SweepArguments),
    /// Makes the report of what a simulation or a sweep left.
    Report(sweep::ReportArguments),
    /// Trains a head on public rows and writes it into a charter, for its federation to start from.
    WarmUp(warm_up::Arguments),
    /// Tries to prove that a run leaks more than it claims.
    Audit(audit::Arguments),
}

/// How a command failed: its message and its exit code.
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Something went wrong, or nothing reaches what was asked.
    pub(crate) fn failed(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: 1 }
    }

    /// The question is wrong.
    pub(crate) fn usage(error: impl ToString) -> Self {
        Self { message: error.to_string(), code: USAGE }
    }
}

/// A progress bar on standard error.
fn bar(steps: u64, what: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!(
        "{{elapsed}} {{bar:30}} {{pos}} of {{len}} {what} {{msg}}, {{eta}} left"
    ));
    ProgressBar::new(steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Runs the program with these arguments, the first of them its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nowhere is left to complain to when this fails.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let result = match cli.command {
        Command::Budget(arguments) => budget::run(arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Report(arguments) => sweep::report(&arguments),
        Command::WarmUp(arguments) => warm_up::run(&arguments),
        Command::Audit(arguments) => audit::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("plainchant-lab: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// The help of the program, or of one of its commands, as it is printed.
#[must_use]
pub fn help(command: Option<&str>) -> Option<String> {
    let mut program = <Cli as clap::CommandFactory>::command().term_width(100);
    program.build();
    match command {
        None => Some(program.render_long_help().to_string()),
        Some(name) => Some(program.find_subcommand_mut(name)?.render_long_help().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
