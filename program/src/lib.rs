//! What `plainchant-aggregator` and `plainchant-client` share as programs, and nothing of what they do.
//!
//! 1. [`Overrides`] are settings from the environment, laid over a file's.
//! 2. [`completions`] is the script for a shell.
//! 3. [`with_causes`] is an error as a person reads it.
//! 4. [`end_without_a_reader`] makes a closed pipe an end, and no fault.

mod overrides;

pub use overrides::{OverrideError, Overrides, ReadError};

use clap_complete::Shell;

/// As a shell says it of a program that SIGPIPE ended.
const NO_READER: i32 = 141;

/// `println!` panics when nobody reads any more (`... | head`): from now on that is an end, with the exit code of SIGPIPE.
pub fn end_without_a_reader() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let closed = |text: &str| text.starts_with("failed printing to stdout") && text.contains("Broken pipe");
        if panic.payload_as_str().is_some_and(closed) {
            std::process::exit(NO_READER);
        }
        told(panic);
    }));
}

/// What an error says and then its causes from `next` on; some say theirs in their own text too: each is said once.
#[must_use]
pub fn with_causes(mut text: String, mut next: Option<&(dyn std::error::Error + 'static)>) -> String {
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}

/// The script with which `shell` completes the commands and flags of `command`, which is called `name`.
#[must_use]
pub fn completions(shell: Shell, mut command: clap::Command, name: &str) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap's issue 6421: bash would go by two names for a command of a program with a hyphen, and complete none of its flags.
    let first = name.split('-').next().unwrap_or(name);
    script.replace(&format!("{first}__subcmd__"), &format!("{first}__"))
}
