//! What `evidence.json` says.

use std::collections::BTreeMap;

use protocol::{Digest, Role};
use serde::{Serialize, Serializer};

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Evidence {
    /// `plainchant-evidence/1`.
    pub format: &'static str,
    /// When it was made, in Unix milliseconds of this house's clock.
    pub made_at_ms: u64,
    /// The federation's name.
    pub federation: String,
    /// Whose evidence it is.
    pub house: House,
    /// Programs and formats.
    pub software: Software,
    /// What this house allows, as `client.toml` has it now.
    pub policy: Policy,
    /// The contract in force.
    pub charter: Pinned,
    /// Its terms.
    pub terms: Terms,
    /// The members in force.
    pub roster: Pinned,
    /// Who they are.
    pub members: Vec<Member>,
    /// Under which charters and rosters attempts were announced, the first first.
    pub history: Vec<Era>,
    /// Each data set's ledger.
    pub data_sets: Vec<DataSet>,
    /// The record and its attempts.
    pub record: Record,
    /// SHA-256 of the files beside this one.
    #[serde(serialize_with = "digests")]
    pub files: BTreeMap<String, Digest>,
}

/// A member, and the fingerprint of the key that it signs with.
#[derive(Debug, Clone, Serialize)]
pub struct House {
    /// Its name.
    pub name: String,
    /// House, house without key shares, or trustee.
    pub role: &'static str,
    /// SHA-256 of its Ed25519 key.
    #[serde(serialize_with = "digest")]
    pub key_sha256: Digest,
}

impl House {
    /// As the roster has it.
    #[must_use]
    pub fn of(member: &protocol::Member) -> Self {
        Self {
            name: member.name().to_string(),
            role: match member.role() {
                Role::House => "house",
                Role::Contributor => "house without key shares",
                Role::Trustee => "trustee",
            },
            key_sha256: Digest::sha256(member.signing_key().as_bytes()),
        }
    }
}

/// A member of the roster, and how often it took part.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Who.
    #[serde(flatten)]
    pub house: House,
    /// Attempts whose sum holds a contribution of it, whatever became of them.
    pub contributions: usize,
    /// Verdicts that it signed, of those that count.
    pub verdicts: usize,
}

/// Programs and formats.
#[derive(Debug, Clone, Serialize)]
pub struct Software {
    /// The program that made this, and its version.
    pub program: &'static str,
    /// The protocol's version.
    pub protocol: u32,
    /// The base model's name.
    pub model: String,
    /// Its weights' digest.
    #[serde(serialize_with = "digest")]
    pub model_sha256: Digest,
}

/// `[policy]` of `client.toml`.
#[derive(Debug, Clone, Serialize)]
pub struct Policy {
    /// The approved charter, empty for none, or "any".
    pub approve: String,
    /// The approved roster, empty for none, or "any".
    pub roster: String,
    /// The most epsilon.
    pub epsilon_ceiling: f64,
    /// At this delta.
    pub delta: f64,
    /// The smallest cohort.
    pub min_cohort: usize,
    /// Colluding members that the charter must withstand.
    pub min_colluding_members: usize,
    /// Who may open sums.
    pub release: Vec<&'static str>,
    /// Whether the final adapter may be handed over.
    pub hand_over: bool,
    /// Whether rounds without differential privacy are allowed.
    pub allow_no_privacy: bool,
    /// Base models that may be trained, by weights' digest or name; none: any.
    pub models: Option<Vec<String>>,
    /// What may be trained of them; none: anything.
    pub targets: Option<Vec<String>>,
    /// When this house trains, by its own clock; none: at all hours.
    pub hours: Option<Vec<String>>,
    /// The most bytes that it sends for one attempt; none: any number.
    pub max_bytes_per_attempt: Option<u64>,
}

/// A digest that this house holds on to.
#[derive(Debug, Clone, Serialize)]
pub struct Pinned {
    /// It.
    #[serde(serialize_with = "digest")]
    pub digest: Digest,
    /// Whether `client.toml` names exactly this one, or takes any.
    pub approved: bool,
}

/// The charter's terms that matter to a board.
#[derive(Debug, Clone, Serialize)]
pub struct Terms {
    /// The privacy mode.
    pub mode: &'static str,
    /// Epsilon of the whole run.
    pub epsilon: f64,
    /// Its delta.
    pub delta: f64,
    /// Noise multiplier.
    pub noise_multiplier: f64,
    /// Houses of a cohort that may collude.
    pub colluders: u32,
    /// Rounds.
    pub rounds: u32,
    /// The smallest cohort.
    pub min_cohort: u32,
    /// The largest.
    pub max_cohort: u32,
    /// How many may vanish.
    pub may_vanish: u32,
    /// Members that hold key shares.
    pub committee: usize,
    /// How many of them open a sum.
    pub threshold: u8,
    /// Who opens sums: "aggregator" or "clients".
    pub release: &'static str,
}

/// Entries under one charter and one roster.
#[derive(Debug, Clone, Serialize)]
pub struct Era {
    /// The charter.
    #[serde(serialize_with = "digest")]
    pub charter: Digest,
    /// The roster.
    #[serde(serialize_with = "digest")]
    pub roster: Digest,
    /// So many entries of the record, from its beginning.
    pub entries: usize,
}

/// What was spent of one data set.
#[derive(Debug, Clone, Serialize)]
pub struct DataSet {
    /// The name of its file, without the folder.
    pub file: String,
    /// What is protected.
    pub unit: Option<String>,
    /// Epsilon so far, over every federation that shares the ledger.
    pub epsilon: Option<f64>,
    /// The ceiling that its first line fixed.
    pub ceiling: Option<f64>,
    /// At this delta.
    pub delta: f64,
    /// Whether rows left in sums without noise (mode `none`): nothing is promised for them.
    pub unprotected: bool,
    /// Attempts that were charged.
    pub charges: Vec<Charge>,
    /// Lines of the ledger.
    pub lines: u64,
    /// The last one's digest.
    #[serde(serialize_with = "digest")]
    pub head: Digest,
}

/// One line that was charged.
#[derive(Debug, Clone, Serialize)]
pub struct Charge {
    /// The charter's digest.
    #[serde(serialize_with = "digest")]
    pub charter: Digest,
    /// The house.
    pub house: String,
    /// The round.
    pub round: u64,
    /// The attempt.
    pub attempt: u32,
    /// Training or evaluation.
    pub kind: &'static str,
    /// The sampling rate.
    pub rate: f64,
    /// The noise multiplier.
    pub noise_multiplier: f64,
    /// The signed contribution that left, where one may have.
    #[serde(serialize_with = "maybe")]
    pub contribution: Option<Digest>,
}

/// The record.
#[derive(Debug, Clone, Serialize)]
pub struct Record {
    /// Its root.
    #[serde(serialize_with = "digest")]
    pub root: Digest,
    /// The members that countersigned it.
    pub countersigned_by: Vec<String>,
    /// Its entries.
    pub attempts: Vec<Attempt>,
}

/// One entry.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// The round.
    pub round: u32,
    /// The attempt.
    pub attempt: u32,
    /// When it was announced, in Unix milliseconds of the aggregator's clock.
    pub announced_at_ms: u64,
    /// How many houses were expected.
    pub expected: usize,
    /// The houses whose contribution counts.
    pub cohort: Vec<String>,
    /// How it ended.
    pub ended: String,
    /// The houses that signed that.
    pub signed_by: Vec<String>,
    /// The adapter state before.
    #[serde(serialize_with = "digest")]
    pub state_before: Digest,
    /// The one after, where it was applied.
    #[serde(serialize_with = "maybe")]
    pub state_after: Option<Digest>,
    /// What this house contributed.
    pub own: Option<Own>,
}

/// A contribution of this house that counts.
#[derive(Debug, Clone, Serialize)]
pub struct Own {
    /// The digest of what it signed.
    #[serde(serialize_with = "digest")]
    pub contribution: Digest,
    /// The digest of its ciphertext.
    #[serde(serialize_with = "digest")]
    pub ciphertext: Digest,
    /// Its chunks.
    pub chunks: u32,
    /// Where its ledger stood.
    #[serde(serialize_with = "digest")]
    pub ledger_head: Digest,
}

pub(crate) fn digest<S: Serializer>(value: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn maybe<S: Serializer>(value: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_ref().map(ToString::to_string).serialize(serializer)
}

pub(crate) fn digests<S: Serializer>(value: &BTreeMap<String, Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(value.iter().map(|(name, digest)| (name, digest.to_string())))
}
