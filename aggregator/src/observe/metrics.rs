//! Counters and times, in Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use protocol::HouseName;
use protos::rpc::Rpc;
use protos::version::Version;

use crate::status::Status;

/// A call and how it was answered: `ok`, or the rule that refused it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    rpc: String,
    answer: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Called {
    rpc: String,
}

/// Which limit refused a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Full {
    limit: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    conclusion: String,
}

/// The newest version of the contract that a member says it speaks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Speaks {
    member: String,
    version: String,
}

/// All metrics of one aggregator; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    calls: Family<Answered, Counter>,
    seconds: Family<Called, Histogram>,
    bytes_in: Counter,
    connections: Gauge,
    refused: Family<Full, Counter>,
    round: Gauge,
    attempt: Gauge,
    members: Gauge,
    cohort: Gauge,
    waiting: Gauge,
    record: Gauge,
    halted: Gauge,
    stalled: Gauge,
    attempts_left: Gauge,
    attempts: Family<Ended, Gauge>,
    speaks: Family<Speaks, Gauge>,
    versions: Arc<Mutex<BTreeMap<HouseName, Version>>>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("plainchant");
        let calls = Family::<Answered, Counter>::default();
        let seconds =
            Family::<Called, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 4.0, 9)));
        let (bytes_in, round, attempt) = (Counter::default(), Gauge::default(), Gauge::default());
        let (members, cohort, waiting) = (Gauge::default(), Gauge::default(), Gauge::default());
        let (record, halted, attempts) = (Gauge::default(), Gauge::default(), Family::<Ended, Gauge>::default());
        registry.register("calls", "Calls by how they were answered: ok, or the rule that refused them", calls.clone());
        registry.register_with_unit("call", "Time to the answer of a call", Unit::Seconds, seconds.clone());
        registry.register_with_unit("received", "Ciphertext of contributions", Unit::Bytes, bytes_in.clone());
        let (connections, refused) = (Gauge::default(), Family::<Full, Counter>::default());
        registry.register("connections", "Connections that are open", connections.clone());
        registry.register("connections_refused", "Connections beyond a limit", refused.clone());
        registry.register("round", "The round under way", round.clone());
        registry.register("attempt", "The attempt at it", attempt.clone());
        registry.register("members", "Members that have joined", members.clone());
        registry.register("cohort", "Houses whose contributions the attempt under way has", cohort.clone());
        registry.register("waiting", "Members that the attempt under way waits for", waiting.clone());
        registry.register("record_leaves", "Leaves of the record", record.clone());
        registry.register("halted", "1 when the federation is halted, and its operator must look", halted.clone());
        let (stalled, attempts_left) = (Gauge::default(), Gauge::default());
        registry.register(
            "stalled",
            "1 when no round can begin until its operator changes something: the status says what",
            stalled.clone(),
        );
        registry.register(
            "attempts_left",
            "Attempts that the charter allows for this round after the one under way",
            attempts_left.clone(),
        );
        registry.register("attempts", "Attempts by how they ended", attempts.clone());
        let speaks = Family::<Speaks, Gauge>::default();
        registry.register("member_version", "1 for the protocol version that a member said last", speaks.clone());
        Self {
            registry: Arc::new(registry),
            calls,
            seconds,
            bytes_in,
            connections,
            refused,
            round,
            attempt,
            members,
            cohort,
            waiting,
            record,
            halted,
            stalled,
            attempts_left,
            attempts,
            speaks,
            versions: Arc::default(),
        }
    }

    /// A call was answered. A path that is no call counts as `unknown`: callers name no series.
    pub(crate) fn answered(&self, rpc: Option<Rpc>, answer: &str, took: Duration) {
        let rpc = rpc.map_or_else(|| "unknown".to_owned(), |rpc| format!("{rpc:?}"));
        self.calls.get_or_create(&Answered { rpc: rpc.clone(), answer: answer.to_owned() }).inc();
        self.seconds.get_or_create(&Called { rpc }).observe(took.as_secs_f64());
    }

    /// An enrolled member said that it speaks up to this version.
    pub(crate) fn speaks(&self, member: &HouseName, version: Version) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.get(member) == Some(&version) {
            return;
        }
        tracing::info!(%member, %version, "a member says which protocol version it speaks");
        let of = |version: Version| Speaks { member: member.to_string(), version: version.to_string() };
        if let Some(before) = versions.insert(member.clone(), version) {
            self.speaks.remove(&of(before));
        }
        self.speaks.get_or_create(&of(version)).set(1);
    }

    /// What members have said since this program runs.
    pub(crate) fn versions(&self) -> BTreeMap<String, String> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.iter().map(|(member, version)| (member.to_string(), version.to_string())).collect()
    }

    /// So many connections are open.
    pub(crate) fn connections(&self, open: usize) {
        self.connections.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// A connection was one too many, by the limit of this name.
    pub(crate) fn connection_refused(&self, limit: &str) {
        self.refused.get_or_create(&Full { limit: limit.to_owned() }).inc();
    }

    /// Ciphertext came in.
    pub(crate) fn received(&self, bytes: usize) {
        self.bytes_in.inc_by(bytes as u64);
    }

    /// The text for a scraper, with the gauges as `status` says.
    pub(crate) fn text(&self, status: &Status) -> Result<String, std::fmt::Error> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.round.set(status.round.into());
        self.attempt.set(status.attempt.into());
        self.members.set(count(status.joined.len()));
        self.cohort.set(count(status.contributed.len()));
        self.waiting.set(count(status.waiting_for.len()));
        self.record.set(count(status.record));
        self.halted.set(i64::from(status.halted.is_some()));
        self.stalled.set(i64::from(status.stalled.is_some()));
        self.attempts_left.set(status.attempts.saturating_sub(status.attempt).into());
        for (conclusion, attempts) in &status.attempts_by_end {
            let ended = Ended { conclusion: (*conclusion).to_owned() };
            self.attempts.get_or_create(&ended).set(count(*attempts));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
