//! The data holder's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    program::end_without_a_reader();
    client::cli::run(std::env::args_os())
}
