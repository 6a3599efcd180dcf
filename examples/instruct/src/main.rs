//! Three companies fine-tune one language model together.

use std::process::ExitCode;

use clap::Parser as _;
use common::children;
use instruct::options::Options;

fn main() -> ExitCode {
    if let Some(code) = children::dispatch(std::env::args_os().skip(1)) {
        return code;
    }
    match instruct::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instruct: {}", common::whole(&error));
            ExitCode::FAILURE
        }
    }
}
