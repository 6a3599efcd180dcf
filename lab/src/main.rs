//! `plainchant-lab`: the privacy researcher's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    lab::cli::run(std::env::args_os())
}
