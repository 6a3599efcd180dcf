//! Logs go to standard error: text on a terminal, one JSON object a line otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Starts logging; `verbose` counts the flag. A second call in one process changes nothing.
pub(super) fn start(verbose: u8) {
    let default = match verbose {
        0 => "info",
        1 => "info,aggregator=debug",
        _ => "debug,aggregator=trace",
    };
    let filter = EnvFilter::try_from_env("PLAINCHANT_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An embedding program may have set its own subscriber: then that one stays.
    let _ = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
}
