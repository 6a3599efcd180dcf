//! Four hospitals fine-tune one model together: the main job.

use std::process::ExitCode;

use clap::Parser as _;
use common::children;
use hospitals::options::Options;

fn main() -> ExitCode {
    if let Some(code) = children::dispatch(std::env::args_os().skip(1)) {
        return code;
    }
    match hospitals::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hospitals: {}", common::whole(&error));
            ExitCode::FAILURE
        }
    }
}
