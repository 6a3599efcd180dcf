//! `aggregator.toml`: how the server of a folder runs. A flag or an environment variable of `serve` goes before it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use program::Overrides;
use serde::Deserialize;

use crate::limits::Limits;

/// Name of the file in the aggregator's folder.
pub const FILE: &str = "aggregator.toml";
/// Sections whose keys the environment may give, as `PLAINCHANT_LIMITS_CALLS_PER_SECOND`; `serve` has variables of its own.
const FROM_ENVIRONMENT: [&str; 1] = ["limits"];
/// Under names of its own only: `PLAINCHANT_SERVE_LISTEN` would be no error and do nothing.
const FILE_ONLY: [&str; 1] = ["serve"];
/// What `init` writes there: every key, explained and left out.
pub const SAMPLE: &str = include_str!("aggregator.sample.toml");

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// Where and how it is served.
    pub serve: Serve,
    /// What everybody may take of it.
    pub limits: Limits,
}

/// `[serve]`; what is left out is the flag's default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Serve {
    /// Where to listen.
    pub listen: Option<SocketAddr>,
    /// Where people and their monitoring see what goes on.
    pub observe: Option<SocketAddr>,
    /// The file with the token for that; a path that is not absolute starts at the folder.
    pub observe_token_file: Option<PathBuf>,
    /// Seconds to wait for the others once enough houses are ready.
    pub gather_seconds: Option<u64>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key is unknown or its value is not one.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line where it has one.
        reason: String,
    },
}

impl File {
    /// Reads `DIR/aggregator.toml`; without one, the defaults.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file and the key.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let path = dir.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        let invalid = |reason: String| ConfigError::Invalid { path: path.clone(), reason };
        let overrides = Overrides::read(&FROM_ENVIRONMENT, &FILE_ONLY).map_err(|error| invalid(error.to_string()))?;
        let mut file: Self = overrides.parse(&text).map_err(|error| invalid(error.to_string()))?;
        if let Err(reason) = file.limits.check() {
            return Err(ConfigError::Invalid { path, reason });
        }
        file.serve.observe_token_file = file.serve.observe_token_file.map(|token| dir.join(token));
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn load(text: &str) -> Result<File, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), text).unwrap();
        File::load(dir.path())
    }

    /// With every key in force, too: what the sample says is the default is the default.
    #[test]
    fn the_sample_is_the_defaults_with_and_without_its_comments() {
        assert_eq!(load(SAMPLE).unwrap(), File::default());
        assert_eq!(File::load(Path::new("/nowhere/at/all")).unwrap(), File::default());
        let limits: String = SAMPLE
            .split_once("[limits]")
            .unwrap()
            .1
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| line.contains(" = "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(limits.lines().count(), 8);
        assert_eq!(load(&format!("[limits]\n{limits}")).unwrap(), File::default());
    }

    #[test]
    fn unknown_keys_and_limits_that_stop_everybody_are_refused_by_name() {
        for (text, named) in [
            ("[serve]\nlisten_on = \"127.0.0.1:1\"\n", "listen_on"),
            ("[serve]\nlisten = \"localhost\"\n", "listen"),
            ("[limit]\n", "limit"),
            ("[limits]\ncalls_per_second = 0\n", "calls_per_second"),
            ("[limits]\nintake_mib = 1\n", "intake_mib"),
            ("[limits]\ndisk_mib = -1\n", "disk_mib"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(named) && error.contains(FILE), "{error}");
        }
    }
}
