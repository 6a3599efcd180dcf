//! The keys of a charter, one struct a section. `sample.toml` beside this file explains each.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::lora::Lora;
use super::optimizer::Optimizer;
use crate::ids::{Digest, HouseName};

/// Everything a charter says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The federation's name; also the origin of its record.
    pub name: HouseName,
    /// Must be [`crate::PROTOCOL_VERSION`].
    pub protocol_version: u32,
    /// The aggregator's Ed25519 public key, 64 hexadecimal digits.
    pub aggregator_key: String,
    /// The base model.
    pub model: Model,
    /// The adapter.
    pub lora: Lora,
    /// How a round's sum is applied.
    pub optimizer: Optimizer,
    /// What protects the data.
    pub privacy: Privacy,
    /// Cohorts and deadlines.
    pub rounds: Rounds,
    /// Who can open.
    pub committee: Committee,
    /// Who gets opened sums.
    pub release: Release,
    /// What a house does on its own before it contributes; one step of gradients when left out.
    #[serde(default)]
    pub local: Local,
    /// A clipping norm that follows the updates' norms; fixed when left out. Mode `client` only.
    pub adaptive_clipping: Option<AdaptiveClipping>,
    /// Noised metrics of held-out units; none when left out.
    pub evaluation: Option<Evaluation>,
    /// The data holders.
    #[serde(rename = "house")]
    pub houses: Vec<House>,
    /// Members that hold key shares but no data.
    #[serde(rename = "trustee", default)]
    pub trustees: Vec<Trustee>,
}

/// The base model and the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name on the hub.
    pub name: String,
    /// SHA-256 of `model.safetensors`; of weights in several files, that of the list of their digests (`sample.toml`).
    #[serde(deserialize_with = "digest", serialize_with = "as_text")]
    pub sha256: Digest,
    /// SHA-256 over the lines `DIGEST  NAME` of its configuration and its tokenizer's files; not checked when left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "some_digest",
        serialize_with = "some_text"
    )]
    pub settings_sha256: Option<Digest>,
    /// The architecture, as `model_type` of the model's config.json.
    pub architecture: String,
    /// Layers.
    pub num_hidden_layers: u32,
    /// Width.
    pub hidden_size: u32,
    /// Width inside the feed-forward part.
    pub intermediate_size: u32,
    /// The classes, in the order of the head's rows; none of a language model.
    pub labels: Vec<String>,
    /// What stands between the hidden states and the classes.
    #[serde(default, skip_serializing_if = "Head::is_mean")]
    pub head: Head,
    /// Longer texts are cut to this many tokens.
    pub max_tokens: u32,
    /// Of a language model: its heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionSizes>,
}

/// What stands between a classifier's hidden states and its classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The mean over a text's tokens, of norm 1, and one layer.
    #[default]
    Mean,
    /// The head of the family's class for sequence classification in transformers.
    SequenceClassification,
}

impl Head {
    fn is_mean(&self) -> bool {
        *self == Self::Mean
    }
}

/// Sizes of grouped-query attention, as in the model's config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionSizes {
    /// Heads of the queries.
    pub num_attention_heads: u32,
    /// Heads of keys and values.
    pub num_key_value_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
}

/// Who is protected, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrivacyMode {
    /// One global DP-SGD step a round; each house adds its share of the noise.
    RecordShared,
    /// Each house adds all the noise it needs.
    RecordLocal,
    /// A whole house is protected: its clipped update, rounded to a grid, with its share of the noise.
    Client,
    /// No protection; for comparison only.
    None,
}

impl PrivacyMode {
    /// Its name in the charter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecordShared => "record-shared",
            Self::RecordLocal => "record-local",
            Self::Client => "client",
            Self::None => "none",
        }
    }
}

/// Who adds up what the rounds cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accountant {
    /// Renyi differential privacy at an order fixed in advance: a house may join other federations with the same data.
    #[default]
    Rdp,
    /// Privacy-loss distributions, only for the rounds that this charter fixes: a house's ledger then takes these and no others.
    Pld,
}

/// What of one unit's gradient is clipped together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clipping {
    /// All of it.
    #[default]
    Flat,
    /// Each layer by itself, all to the same norm, which together are the clipping norm.
    PerLayer,
}

/// What protects the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// Who is protected.
    pub mode: PrivacyMode,
    /// Who adds up what the rounds cost.
    #[serde(default)]
    pub accountant: Accountant,
    /// The whole run's epsilon; 0 under `none`.
    pub epsilon: f64,
    /// The whole run's delta; 0 under `none`.
    pub delta: f64,
    /// The clipping norm of one unit's gradient.
    pub clipping_norm: f64,
    /// What is clipped together.
    #[serde(default)]
    pub clipping: Clipping,
    /// The clipping norm in grid units: one unit is `clipping_norm / integer_norm`.
    pub integer_norm: u64,
    /// The bound of a coordinate before noise, in grid units.
    pub clamp: u64,
    /// Deviation of the sum's noise over the clipping norm; 0 under `none`.
    pub noise_multiplier: f64,
    /// m: houses of a cohort that may collude.
    pub colluders: u32,
}

/// Cohorts and deadlines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rounds {
    /// Rounds of the whole run.
    pub count: u32,
    /// Attempts of the whole run that a house can be charged for; [`Terms::charged_rounds`] has the default.
    pub charged: Option<u32>,
    /// The smallest cohort that may be opened.
    pub min_cohort: u32,
    /// The largest expected set.
    pub max_cohort: u32,
    /// d: how many of an expected set may vanish.
    pub may_vanish: u32,
    /// When contributions leave, in milliseconds after the announcement.
    pub submit_at_ms: u64,
    /// When the cohort is fixed.
    pub close_ms: u64,
    /// When the opening is given up.
    pub open_ms: u64,
    /// Attempts at one round before the operator must look.
    pub max_attempts: u32,
}

impl Rounds {
    /// The smallest expected set: as many may vanish, and the smallest cohort is left.
    pub fn smallest_expected(&self) -> u32 {
        self.min_cohort.saturating_add(self.may_vanish)
    }
}

/// What a house does on its own before it contributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// Local steps. Under `record-shared` there is one.
    pub steps: u32,
    /// The step size of local training.
    pub learning_rate: f64,
    /// Rows of a local step under `client`, drawn in shuffled passes; under `record-local` the sampling rate says it.
    #[serde(default = "local_batch")]
    pub batch: u32,
    /// What takes the local steps. It begins anew in every round.
    #[serde(default)]
    pub optimizer: LocalOptimizer,
    /// Of `sgd`: share of the last direction that is kept, 0 for none.
    #[serde(default)]
    pub momentum: f64,
    /// Of `adamw`: share of every trained weight that a step takes off it, over the step size.
    #[serde(default)]
    pub weight_decay: f64,
    /// Mu of FedProx: how strongly the copy is drawn back to where the round began, 0 for not at all.
    #[serde(default)]
    pub proximal: f64,
}

/// What takes the local steps of mode `client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LocalOptimizer {
    /// Gradient descent, with momentum where the charter says so.
    #[default]
    Sgd,
    /// Adam with decoupled weight decay: decays 0.9 and 0.999, epsilon 1e-8, as `torch.optim.AdamW` has them when nothing is said.
    AdamW,
}

impl Default for Local {
    fn default() -> Self {
        Self {
            steps: 1,
            learning_rate: 1.0,
            batch: local_batch(),
            optimizer: LocalOptimizer::Sgd,
            momentum: 0.0,
            weight_decay: 0.0,
            proximal: 0.0,
        }
    }
}

fn local_batch() -> u32 {
    32
}

/// A clipping norm that follows a quantile of the updates' norms (Andrew, Thakkar, McMahan, Ramaswamy 2021).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClipping {
    /// The share of houses whose update should be below the clipping norm.
    pub quantile: f64,
    /// The step of the norm's logarithm.
    pub learning_rate: f64,
    /// Deviation of the noise in the count of houses below the norm, over what one house adds to it.
    pub noise_multiplier: f64,
}

/// Noised metrics of held-out units, in the same sum as the update.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Every so many rounds.
    pub every: u32,
    /// The share of units that are never trained on, chosen by a hash of the record.
    pub held_out: f64,
    /// Deviation of the sum's noise over one held-out unit's vector.
    pub noise_multiplier: f64,
    /// Losses above this count as this.
    pub loss_bound: f64,
    /// Buckets of the score histograms from which the area under the ROC curve is computed; 0 for none.
    #[serde(default)]
    pub buckets: u32,
    /// The run ends after so many evaluated rounds in a row without a lower noised mean loss; never before its last round when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// By how much more than this a loss must be lower.
    #[serde(default)]
    pub min_improvement: f64,
}

/// Who can open: houses, then all trustees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Committee {
    /// t: key shares that open a sum.
    pub threshold: u8,
    /// The houses that hold key shares and whose word counts for a round's outcome; all of them when left out.
    pub houses: Option<Vec<HouseName>>,
}

/// Who gets opened sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleasePolicy {
    /// Members seal their answers to the houses; the aggregator never holds a sum.
    Clients,
    /// The aggregator opens each round's noised sum.
    Aggregator,
}

/// Who gets opened sums.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The policy.
    pub policy: ReleasePolicy,
}

/// A data holder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct House {
    /// Its name.
    pub name: HouseName,
    /// The chance of each of its units to be in a round's batch.
    pub sampling_rate: f64,
    /// Its batch size for dividing the sum: public, never counted.
    pub nominal_batch: u32,
}

/// A member that holds key shares but no data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trustee {
    /// Its name.
    pub name: HouseName,
}

impl<'de> Deserialize<'de> for HouseName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for HouseName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn as_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

fn some_text<S: Serializer>(digest: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    match digest {
        Some(digest) => as_text(digest, serializer),
        None => serializer.serialize_none(),
    }
}

fn some_digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
    digest(deserializer).map(Some)
}

fn digest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}
