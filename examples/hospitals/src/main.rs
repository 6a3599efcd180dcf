//! Four hospitals fine-tune one model together: the main job.

use std::process::ExitCode;

use clap::Parser as _;
use hospitals::{children, options::Options};

fn main() -> ExitCode {
    if let Some(code) = children::dispatch(std::env::args_os().skip(1)) {
        return code;
    }
    match hospitals::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hospitals: {}", whole(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, but for those that an outer message repeats.
fn whole(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}
