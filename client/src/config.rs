//! `client.toml`: where the house's data and model lie, and its policy.
//!
//! Every key is explained in [`SAMPLE`], which `join` writes into a new folder.

use std::fs;
use std::path::{Path, PathBuf};

use program::{OverrideError, Overrides, ReadError};
use serde::Deserialize;

use training::{Columns, DataSource, Format, ModelSource};

use crate::hours::Hours;
use crate::proxy::{Network, Setting};

/// A commented `client.toml` with every key.
pub const SAMPLE: &str = include_str!("client.sample.toml");

/// Name of the file in the client's folder.
pub const FILE: &str = "client.toml";

/// Sections whose keys the environment may give, as `PLAINCHANT_TRAINING_DEVICE`: what differs between machines.
const FROM_ENVIRONMENT: [&str; 3] = ["data", "training", "network"];
/// What the house agreed to, whom it protects and what it has spent stands in its file alone.
const FILE_ONLY: [&str; 3] = ["policy", "data.ledger", "data.unit_column"];

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The house's rows; a trustee has none.
    pub data: Option<DataConfig>,
    /// How to train; a trustee does not.
    pub training: Option<TrainingConfig>,
    /// The way to the aggregator.
    #[serde(default)]
    pub network: Network,
    /// What the house agrees to.
    pub policy: Policy,
}

/// Where the rows are and which fields matter.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// The data file.
    pub file: PathBuf,
    /// Its format, when the name does not tell.
    pub format: Option<Format>,
    /// Field with the text.
    #[serde(default = "text")]
    pub text_column: String,
    /// Field with the label.
    #[serde(default = "label")]
    pub label_column: String,
    /// For a language model: field with the prompt.
    #[serde(default = "prompt")]
    pub prompt_column: String,
    /// For a language model: field with its completion.
    #[serde(default = "completion")]
    pub completion_column: String,
    /// For a language model: field with a whole conversation, in place of prompt and completion.
    pub messages_column: Option<String>,
    /// Field that names the privacy unit.
    pub unit_column: Option<String>,
    /// The ledger of this data set, where federations share one.
    pub ledger: Option<PathBuf>,
}

/// How this machine trains.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Hugging Face folder of the base model, or its id on the hub.
    pub model: hub::Model,
    /// Device name, as `lora::device` takes it.
    #[serde(default = "auto")]
    pub device: String,
    /// Worker threads; all cores when left out.
    pub threads: Option<usize>,
}

/// The data holder's limits; a round outside them is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Hex digest of the approved charter, empty while none is, or "any".
    pub approve: String,
    /// Hex digest of the approved roster, empty while none is, or "any": whatever the aggregator shows first.
    #[serde(default = "any")]
    pub roster: String,
    /// Highest epsilon this house ever spends.
    pub epsilon_ceiling: f64,
    /// Delta at which the ceiling is meant.
    pub delta: Option<f64>,
    /// Smallest cohort that may be opened.
    pub min_cohort: usize,
    /// Colluding committee members that the charter must withstand.
    #[serde(default)]
    pub min_colluding_members: usize,
    /// Release policies this house accepts.
    #[serde(default = "both")]
    pub release: Vec<Release>,
    /// Whether the final adapter may be handed to the model builder.
    #[serde(default)]
    pub hand_over: bool,
    /// Whether rounds without differential privacy are allowed.
    #[serde(default)]
    pub allow_no_privacy: bool,
    /// Base models that may be trained, by the SHA-256 of their weights in hex or by the charter's name for them; left out, any.
    pub models: Option<Vec<String>>,
    /// What may be trained of them: layers as `lora.target_modules` names them, "all-linear", modules of the head, and biases as `bias` or `query.bias`; left
    /// out, anything.
    pub targets: Option<Vec<String>>,
    /// When this house trains; left out, at all hours.
    pub hours: Option<Hours>,
    /// Most bytes that this house sends for one attempt of a round ([`terms::most_sent_bytes`]); left out, any number.
    pub max_bytes_per_attempt: Option<u64>,
}

/// Who opens a round's sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// The model builder and the members.
    Aggregator,
    /// The members only.
    Clients,
}

/// Why `client.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}: {reason}", file.display())]
    Parse {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A variable of the environment.
    #[error(transparent)]
    Environment {
        /// Which, and what is wrong.
        source: OverrideError,
    },
    /// A value that makes no sense.
    #[error("{}: `{key}` {reason}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key.
        key: &'static str,
        /// What it must be.
        reason: &'static str,
    },
}

impl Config {
    /// Reads `client.toml` in `dir`; paths in it are resolved against `dir`.
    ///
    /// # Errors
    /// The file cannot be read, or the key at fault.
    pub fn load(dir: &Path) -> Result<Self, ConfigError> {
        let file = dir.join(FILE);
        let content = fs::read_to_string(&file).map_err(|source| ConfigError::Read { file: file.clone(), source })?;
        let overrides = Overrides::read(&FROM_ENVIRONMENT, &FILE_ONLY);
        let overrides = overrides.map_err(|source| ConfigError::Environment { source })?;
        if !overrides.is_empty() {
            let keys = overrides.keys().collect::<Vec<_>>().join(", ");
            tracing::info!(keys, "the environment goes before client.toml");
        }
        Self::with(&content, &file, &overrides)
    }

    /// Parses the content of `file`.
    ///
    /// # Errors
    /// The key at fault.
    pub fn parse(content: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::with(content, file, &Overrides::default())
    }

    /// Parses the content of `file`, with what goes before it.
    fn with(content: &str, file: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config: Self = overrides.parse(content).map_err(|error| match error {
            ReadError::File(e) => ConfigError::Parse { file: file.to_owned(), reason: without_secrets(&e.to_string()) },
            ReadError::Variable(source) => ConfigError::Environment { source },
        })?;
        config.check().map_err(|(key, reason)| ConfigError::Value { file: file.to_owned(), key, reason })?;
        let base = file.parent().unwrap_or(Path::new(""));
        if let Some(data) = &mut config.data {
            data.file = base.join(&data.file);
            data.ledger = data.ledger.take().map(|ledger| base.join(ledger));
        }
        if let Some(training) = &mut config.training {
            training.model = training.model.clone().relative_to(base);
        }
        Ok(config)
    }

    /// The ledger's file: the data set's own, else the one in the client's state folder.
    pub(crate) fn ledger_path(&self, state: &Path) -> PathBuf {
        let own = self.data.as_ref().and_then(|data| data.ledger.clone());
        own.unwrap_or_else(|| state.join("ledger"))
    }

    fn check(&self) -> Result<(), (&'static str, &'static str)> {
        self.policy.check_values()?;
        if self.training.as_ref().and_then(|training| training.threads) == Some(0) {
            return Err(("training.threads", "must be at least 1; leave it out for all cores"));
        }
        if let Some(Err(rule)) = self.network.proxy.as_ref().map(Setting::proxy) {
            return Err(("network.proxy", rule));
        }
        if !self.network.has_usable_url() {
            return Err(("network.url", "must be the aggregator's address, as \"https://HOST:PORT\""));
        }
        if self.data.is_some() != self.training.is_some() {
            return Err(("data", "and `training` belong together; a trustee has neither"));
        }
        Ok(())
    }
}

impl DataConfig {
    /// The file and the configured field names: of texts and labels, or for a language model of prompts and completions or of conversations.
    pub fn source(&self, language_model: bool) -> DataSource<'_> {
        let (text, answer, messages) = if language_model {
            (&self.prompt_column, &self.completion_column, self.messages_column.as_deref())
        } else {
            (&self.text_column, &self.label_column, None)
        };
        let columns = Columns { text, answer, messages, unit: self.unit_column.as_deref() };
        DataSource { file: &self.file, format: self.format, columns }
    }
}

impl TrainingConfig {
    /// What the model in `folder` runs on.
    pub fn source<'a>(&'a self, folder: &'a Path) -> ModelSource<'a> {
        ModelSource { folder, device: &self.device, threads: self.threads }
    }
}

/// A parser's message without the lines that it shows of the file where they may hold a proxy's password.
pub(crate) fn without_secrets(message: &str) -> String {
    let shown = |line: &str| match line.split_once('|') {
        Some((number, line)) if line.contains('@') || line.contains("proxy") => {
            format!("{number}| (not shown: it may hold a password)")
        }
        _ => line.to_owned(),
    };
    message.trim_end().lines().map(shown).collect::<Vec<_>>().join("\n")
}

fn text() -> String {
    "text".to_owned()
}

fn prompt() -> String {
    "prompt".to_owned()
}

fn completion() -> String {
    "completion".to_owned()
}

fn label() -> String {
    "label".to_owned()
}

fn any() -> String {
    "any".to_owned()
}

fn auto() -> String {
    "auto".to_owned()
}

fn both() -> Vec<Release> {
    vec![Release::Aggregator, Release::Clients]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(content: &str) -> Result<Config, ConfigError> {
        Config::parse(content, Path::new("/house/client.toml"))
    }

    #[test]
    fn the_environment_goes_before_the_file_but_not_for_the_policy() {
        let with = |variables: &[(&str, &str)]| {
            let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let overrides = Overrides::of(variables, &FROM_ENVIRONMENT, &FILE_ONLY)
                .map_err(|source| ConfigError::Environment { source })?;
            Config::with(SAMPLE, Path::new("/house/client.toml"), &overrides)
        };
        let config = with(&[
            ("PLAINCHANT_DATA_FILE", "rows.tsv"),
            ("PLAINCHANT_TRAINING_DEVICE", "cuda"),
            ("PLAINCHANT_TRAINING_THREADS", "7"),
            ("PLAINCHANT_NETWORK_PROXY", "http://proxy.example:3128"),
        ])
        .unwrap();
        let training = config.training.unwrap();
        assert_eq!((training.device.as_str(), training.threads), ("cuda", Some(7)));
        assert_eq!(config.data.unwrap().file, Path::new("/house/rows.tsv"));
        assert!(config.network.proxy.is_some());
        for (variable, value, named) in [
            ("PLAINCHANT_POLICY_EPSILON_CEILING", "1000", "`policy` is not taken from the environment"),
            ("PLAINCHANT_DATA_LEDGER", "new", "`data.ledger` is not taken from the environment"),
            ("PLAINCHANT_DATA_UNIT_COLUMN", "row", "`data.unit_column` is not taken"),
            ("PLAINCHANT_TRAINING_DEVISE", "cpu", "devise"),
            ("PLAINCHANT_TRAINING_THREADS", "many", "threads"),
            ("PLAINCHANT_TRAINING_THREADS", "0", "training.threads"),
        ] {
            let error = with(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn the_sample_parses_and_paths_start_at_its_folder() {
        let config = parse(SAMPLE).unwrap();
        assert_eq!(config.ledger_path(Path::new("/house/state")), Path::new("/house/state/ledger"));
        let shared = parse(&SAMPLE.replace("# ledger =", "ledger =")).unwrap();
        assert_eq!(shared.ledger_path(Path::new("/house/state")), Path::new("/house/../shared/ledger"));
        assert_eq!(config.data.unwrap().file, Path::new("/house/train.tsv"));
        let training = config.training.unwrap();
        assert_eq!(training.model.path(), Path::new("/house/models/all-MiniLM-L6-v2"));
        assert_eq!((training.threads, &*training.device), (Some(2), "auto"));
        let without = SAMPLE.replace("device = \"auto\"\n", "");
        assert_eq!(parse(&without).unwrap().training.unwrap().device, "auto");
        assert_eq!(config.policy.release, both());
        let moved = parse(&SAMPLE.replace("# [network]", "[network]").replace("# url =", "url =")).unwrap().network;
        assert_eq!(moved.address("https://invited.example:7443"), "https://HOST:7443");
    }

    /// What `join` writes agrees to nothing.
    #[test]
    fn the_sample_approves_no_charter_no_roster_and_no_hand_over() {
        let policy = parse(SAMPLE).unwrap().policy;
        assert_eq!((policy.approve.as_str(), policy.roster.as_str()), ("", ""));
        assert!(!policy.hand_over && !policy.allow_no_privacy);
    }

    /// Written, it is used; it says nothing to a charter with labels.
    #[test]
    fn messages_are_read_where_their_column_is_written() {
        let data = parse(&SAMPLE.replace("# messages_column", "messages_column")).unwrap().data.unwrap();
        assert_eq!(data.source(true).columns.messages, Some("messages"));
        assert_eq!(data.source(false).columns.messages, None);
        assert_eq!(parse(SAMPLE).unwrap().data.unwrap().source(true).columns.messages, None);
    }

    #[test]
    fn a_proxy_is_read_checked_and_its_password_shown_by_no_error() {
        let with = |line: &str| parse(&SAMPLE.replace("# [network]", "[network]").replace("# proxy = \"none\"", line));
        let config = with("proxy = \"http://ward:secret@proxy.example:3128\"").unwrap();
        assert!(config.network.proxy.as_ref().unwrap().proxy().unwrap().is_some());
        assert!(!format!("{config:?}").contains("secret"));
        assert!(with("proxy = \"none\"").unwrap().network.proxy.unwrap().proxy().unwrap().is_none());
        assert!(parse(SAMPLE).unwrap().network.proxy.is_none());
        for wrong in [
            "proxy = \"https://ward:secret@proxy.example\"",
            "proxy = \"http://ward:secret",
            "proxxy = \"ward:secret@proxy\"",
        ] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(error.contains("client.toml") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_trustee_needs_only_a_policy() {
        let config = parse("[policy]\napprove = \"any\"\nepsilon_ceiling = 1.0\nmin_cohort = 3\n").unwrap();
        assert!(config.data.is_none() && !config.policy.hand_over && !config.policy.allow_no_privacy);
    }

    #[test]
    fn what_may_be_trained_and_when_is_read_and_hours_that_are_none_are_shown_with_their_line() {
        let policy = parse(SAMPLE).unwrap().policy;
        assert!(policy.models.is_none() && policy.targets.is_none() && policy.hours.is_none());
        assert_eq!(policy.max_bytes_per_attempt, None);
        let text = ["models", "targets", "hours", "max_bytes_per_attempt"]
            .iter()
            .fold(SAMPLE.to_owned(), |text, key| text.replace(&format!("# {key} ="), &format!("{key} =")));
        let policy = parse(&text).unwrap().policy;
        assert_eq!(policy.models.unwrap().len(), 1);
        assert_eq!(policy.targets.unwrap(), ["query", "value", "classifier"]);
        assert_eq!(policy.hours.unwrap().entries(), ["mon-fri 20:00-06:00", "sat-sun"]);
        assert_eq!(policy.max_bytes_per_attempt, Some(10_000_000));
        let wrong = parse(&text.replace("20:00-06:00", "20-06")).unwrap_err().to_string();
        assert!(wrong.contains("policy.hours: `mon-fri 20-06`") && wrong.contains("| hours = "), "{wrong}");
    }

    #[test]
    fn unknown_keys_and_senseless_values_are_named() {
        let unknown = parse(&SAMPLE.replace("min_cohort = 3", "min_cohort = 3\nmin_chohort = 4")).unwrap_err();
        assert!(unknown.to_string().contains("min_chohort"), "{unknown}");
        for (from, to, key) in [
            ("epsilon_ceiling = 3.0", "epsilon_ceiling = 0.0", "policy.epsilon_ceiling"),
            ("delta = 1e-5", "delta = 1.0", "policy.delta"),
            ("min_cohort = 3", "min_cohort = 1", "policy.min_cohort"),
            ("approve = \"\"", "approve = \"abc\"", "policy.approve"),
            ("roster = \"\"", "roster = \"abc\"", "policy.roster"),
            ("threads = 2", "threads = 0", "training.threads"),
            ("# [network]", "[network]\nurl = \"http://moved.example:7443\"", "network.url"),
            ("# [network]", "[network]\nurl = \"moved.example:7443\"", "network.url"),
            ("# models = [", "models = [] # ", "policy.models"),
            ("# models = [", "models = [\"\"] # ", "policy.models"),
            ("# targets = [", "targets = [] # ", "policy.targets"),
            ("# max_bytes_per_attempt = ", "max_bytes_per_attempt = 0 # ", "policy.max_bytes_per_attempt"),
        ] {
            let error = parse(&SAMPLE.replace(from, to)).unwrap_err();
            assert!(matches!(error, ConfigError::Value { key: k, .. } if k == key), "{key}: {error}");
        }
    }
}
