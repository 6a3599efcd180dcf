//! `plainchant-aggregator`: the model builder's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    program::end_without_a_reader();
    aggregator::cli::run(std::env::args_os())
}
