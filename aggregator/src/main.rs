//! `plainchant-aggregator`: the model builder's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    aggregator::cli::run(std::env::args_os())
}
