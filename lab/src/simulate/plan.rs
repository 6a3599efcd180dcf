//! What is simulated, as a TOML file says it.

use std::path::{Path, PathBuf};

use protocol::charter::{AdaptiveClipping, Evaluation, Local, PrivacyMode, Schedule, Strategy};
use serde::{Deserialize, Serialize};

use super::optimizer::OptimizerKind;
use super::split::Split;
use crate::task::Source;

/// A plan that explains every key.
pub const SAMPLE: &str = include_str!("plan.sample.toml");

/// The most clients that a plan may have.
pub const MOST_CLIENTS: usize = 10_000;

/// A federation to simulate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Rows and model.
    pub task: Source,
    /// Who takes part.
    pub clients: ClientsPlan,
    /// How long, and how the sum is applied.
    pub training: TrainingPlan,
    /// Who is protected, and how.
    pub privacy: PrivacyPlan,
    /// What a client does on its own; modes record-local and client.
    #[serde(default)]
    pub local: Option<Local>,
    /// A clipping norm that follows the updates; mode client.
    #[serde(default)]
    pub adaptive_clipping: Option<AdaptiveClipping>,
    /// Noised metrics of units that each client holds out.
    #[serde(default)]
    pub evaluation: Option<Evaluation>,
}

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsPlan {
    /// How many.
    pub count: usize,
    /// Who has which rows.
    pub split: Split,
    /// Share of each client's units on which its accuracy is measured, and which it never trains on.
    #[serde(default = "held_out")]
    pub held_out: f64,
    /// Chance of each client to vanish in a round, at most `may_vanish` of them.
    #[serde(default)]
    pub dropout: f64,
    /// d: how many may vanish; noise grows with it.
    #[serde(default)]
    pub may_vanish: u32,
    /// m: how many of a cohort may collude.
    #[serde(default = "colluders")]
    pub colluders: u32,
    /// Clients that hold key shares, and how many of them open a sum.
    #[serde(default = "committee")]
    pub committee: usize,
    /// t.
    #[serde(default = "threshold")]
    pub threshold: u8,
}

/// How long, and how the sum is applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingPlan {
    /// Rounds.
    pub rounds: u32,
    /// Units of a batch over all clients, in the mean.
    pub batch: f64,
    /// Step size of the server.
    pub learning_rate: f64,
    /// Which rule applies the sum.
    #[serde(default)]
    pub optimizer: OptimizerKind,
    /// Of `sgd`: momentum of the server.
    #[serde(default = "momentum")]
    pub momentum: f64,
    /// Of the others: decay of the first moment.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// Of the others: decay of the second moment.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// Of the others: added to the root of the second moment.
    #[serde(default = "epsilon")]
    pub epsilon: f64,
    /// Of `adamw`: share of every trained weight that a step takes off it, over the step size.
    #[serde(default)]
    pub weight_decay: f64,
    /// How the step size goes over the rounds; the same in each when left out.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// Rank of the adapter.
    #[serde(default = "rank")]
    pub rank: u32,
    /// Its alpha.
    #[serde(default = "alpha")]
    pub lora_alpha: u32,
    /// The adapted layers.
    #[serde(default = "targets")]
    pub target_modules: Vec<String>,
    /// Which factors are trained.
    #[serde(default)]
    pub strategy: Strategy,
    /// The test rows are scored after every so many rounds, and after the last.
    #[serde(default = "every")]
    pub evaluate_every: u32,
    /// Seeds split, batches, dropouts and the first adapter; never noise or keys.
    #[serde(default = "seeds")]
    pub seeds: Vec<u64>,
}

/// Who is protected, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyPlan {
    /// The modes to run side by side.
    pub modes: Vec<PrivacyMode>,
    /// What each run spends; noise is calibrated to it.
    pub epsilon: f64,
    /// At this delta.
    pub delta: f64,
    /// Clipping norm.
    pub clipping_norm: f64,
    /// The same in grid units.
    #[serde(default = "integer_norm")]
    pub integer_norm: u64,
    /// How noise is drawn.
    #[serde(default)]
    pub noise: NoiseSource,
}

/// How noise is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseSource {
    /// Each client draws its share, as the client program does.
    #[default]
    Shares,
    /// One draw a round with the variance of all the shares of the cohort together: for thousands of clients. The client program has no such
    /// switch, and one who sees a single contribution sees it without noise.
    Pooled,
}

impl NoiseSource {
    /// Its name in plans and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shares => "shares",
            Self::Pooled => "pooled",
        }
    }
}

/// A plan that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A value outside its rule.
    #[error("plan: {key} {rule}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it must be.
        rule: String,
    },
}

impl Plan {
    /// Reads a plan; paths in it start at its folder.
    ///
    /// # Errors
    /// [`PlanError`] naming the key at fault.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let text = std::fs::read_to_string(path).map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
        let parsed = toml::from_str(&text);
        let mut plan: Self = parsed.map_err(|error| PlanError::Parse {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        for file in [&mut plan.task.data, &mut plan.task.test, &mut plan.task.model] {
            *file = base.join(&*file);
        }
        plan.check()?;
        Ok(plan)
    }

    /// Checks what the charter's rules do not.
    ///
    /// # Errors
    /// [`PlanError::Value`].
    pub fn check(&self) -> Result<(), PlanError> {
        let refuse = |key, rule: &str| Err(PlanError::Value { key, rule: rule.to_owned() });
        let (clients, training, privacy) = (&self.clients, &self.training, &self.privacy);
        if !(3..=MOST_CLIENTS).contains(&clients.count) {
            return refuse("clients.count", "must be 3 to 10000");
        }
        if !(0.0..1.0).contains(&clients.held_out) {
            return refuse("clients.held_out", "must be at least 0 and below 1");
        }
        if !(0.0..1.0).contains(&clients.dropout) {
            return refuse("clients.dropout", "must be at least 0 and below 1");
        }
        if clients.committee > clients.count || clients.committee == 0 {
            return refuse("clients.committee", "must be at least 1 and at most clients.count");
        }
        let amount = match clients.split {
            Split::Dirichlet { alpha } => alpha,
            Split::Size { exponent } => exponent + f64::MIN_POSITIVE,
            Split::Iid | Split::Label => 1.0,
        };
        if !(amount > 0.0 && amount.is_finite()) {
            return refuse("clients.split", "needs a positive number");
        }
        if training.rounds == 0 || training.evaluate_every == 0 || training.seeds.is_empty() {
            return refuse("training", "needs at least one round, one seed, and evaluate_every of at least 1");
        }
        if !(training.batch > 0.0 && training.batch.is_finite()) {
            return refuse("training.batch", "must be a positive number");
        }
        if privacy.modes.is_empty() {
            return refuse("privacy.modes", "needs one of record-shared, record-local, client, none");
        }
        Ok(())
    }
}

fn held_out() -> f64 {
    0.1
}

fn colluders() -> u32 {
    1
}

fn committee() -> usize {
    3
}

fn threshold() -> u8 {
    3
}

fn momentum() -> f64 {
    0.9
}

fn beta1() -> f64 {
    0.9
}

fn beta2() -> f64 {
    0.999
}

fn epsilon() -> f64 {
    1e-8
}

fn rank() -> u32 {
    8
}

fn alpha() -> u32 {
    2
}

fn targets() -> Vec<String> {
    vec!["query".to_owned(), "value".to_owned()]
}

fn every() -> u32 {
    5
}

fn seeds() -> Vec<u64> {
    vec![1]
}

fn integer_norm() -> u64 {
    4096
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_sample_is_a_plan_and_unknown_keys_are_named() {
        let plan: Plan = toml::from_str(SAMPLE).unwrap();
        plan.check().unwrap();
        let error = toml::from_str::<Plan>(&SAMPLE.replace("dropout =", "drop_out =")).unwrap_err();
        assert!(error.to_string().contains("drop_out"), "{error}");
        let few = toml::from_str::<Plan>(&SAMPLE.replace("count = 10\n", "count = 2\n")).unwrap();
        assert!(matches!(few.check(), Err(PlanError::Value { key: "clients.count", .. })));
    }
}
