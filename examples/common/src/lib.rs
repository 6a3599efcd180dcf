//! What the examples share: ICD-10 rows, a charter, and a federation whose every process runs on this machine.
//!
//! The way through it:
//!
//! 1. [`rows`] reads the ICD-10 rows, [`split`] gives every house its own mix of chapters.
//! 2. [`noise`] works out the noise of a run, [`Contract`] writes down what the houses sign up to.
//! 3. [`Federation::run`] starts the aggregator and the houses as processes ([`children`]) and follows them
//!    until the model builder has the adapter.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

pub mod children;
mod contract;
mod federation;
pub mod noise;
pub mod options;
pub mod progress;
pub mod rows;
pub mod split;
mod watch;

pub use contract::{Contract, house_names, threshold};
pub use federation::{Federation, House, Outcome, training_section};
pub use watch::Watched;

/// Where models are kept between runs: `$XDG_CACHE_HOME/plainchant`, else `~/.cache/plainchant`, else a folder for temporary files.
#[must_use]
pub fn cache_folder() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .or_else(|| set("LOCALAPPDATA"))
        .unwrap_or_else(std::env::temp_dir);
    base.join("plainchant")
}

/// An error and its causes, but for those that an outer message repeats.
#[must_use]
pub fn whole(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Writes `value` as JSON.
///
/// # Errors
/// The file that cannot be written.
pub fn save_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}
