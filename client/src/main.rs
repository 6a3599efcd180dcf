//! The data holder's program.

use std::process::ExitCode;

fn main() -> ExitCode {
    client::cli::run(std::env::args_os())
}
