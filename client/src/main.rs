//! The data holder's program.

use std::process::ExitCode;

/// As a shell says it of a program that SIGPIPE ended.
const NO_READER: i32 = 141;

fn main() -> ExitCode {
    end_without_a_reader();
    client::cli::run(std::env::args_os())
}

/// `println!` panics when nobody reads any more (`... | head`): that is an end, with the exit code of SIGPIPE, and no fault.
fn end_without_a_reader() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let closed = |text: &str| text.starts_with("failed printing to stdout") && text.contains("Broken pipe");
        if panic.payload_as_str().is_some_and(closed) {
            std::process::exit(NO_READER);
        }
        told(panic);
    }));
}
