//! What an operator may want to know at a glance, read from the storage beside a running server.

mod attempt;
mod curve;
mod stall;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

pub use attempt::Past;
use attempt::{Heard, end};
pub use curve::Curve;
use privacy::accountant::epsilon;
use protocol::charter::{PrivacyMode, ReleasePolicy};
use protocol::{Attempt, Charter, Conclusion, Message as _, RecordLeaf, RoundNumber, Verdict};
use serde::Serialize;

use crate::isolation;
use crate::setup::Home;
use crate::store::{Setting, StoreError};

/// Where a federation is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The federation's name.
    pub federation: String,
    /// The charter's digest.
    pub charter: String,
    /// `enrolling`, `running`, `completed` or `halted`.
    pub stage: &'static str,
    /// Why it is halted.
    pub halted: Option<String>,
    /// Why no round can begin until its operator changes something.
    pub stalled: Option<String>,
    /// Who has joined.
    pub joined: Vec<String>,
    /// Who has not.
    pub missing: Vec<String>,
    /// Unused one-time keys of each member.
    pub keys: Vec<(String, u64)>,
    /// The current round, from 1; 0 before the first.
    pub round: u32,
    /// Rounds of the whole run.
    pub rounds: u32,
    /// The current attempt at it.
    pub attempt: u32,
    /// How many attempts the charter allows for one round: when all have failed, the federation halts.
    pub attempts: u32,
    /// What is going on in it.
    pub phase: &'static str,
    /// Whom it waits for.
    pub waiting_for: Vec<String>,
    /// Whose contributions it has.
    pub contributed: Vec<String>,
    /// Rounds that were applied.
    pub applied: u32,
    /// Ended attempts, the latest first.
    pub history: Vec<Past>,
    /// Ended attempts by how they ended.
    pub attempts_by_end: BTreeMap<&'static str, usize>,
    /// Members whose certificates are all revoked.
    pub revoked: Vec<String>,
    /// Houses that are left out of attempts until they are readmitted, and why.
    pub isolated: Vec<(String, &'static str)>,
    /// Houses one of which spoils rounds, the accused one last: some are left out now and then, to find which.
    pub suspects: Vec<String>,
    /// How the attempt before ended.
    pub last: Option<String>,
    /// The charter's privacy mode.
    pub mode: &'static str,
    /// What the announced attempts so far cost a member of the house that samples most, by the accountant.
    pub epsilon: Option<f64>,
    /// What the charter states for the whole run.
    pub charter_epsilon: f64,
    /// At this delta.
    pub delta: f64,
    /// What opened sums say of held-out units.
    pub metrics: Curve,
    /// Leaves of the record.
    pub record: usize,
    /// Whether the final adapter is here.
    pub final_adapter: bool,
    /// Houses that agreed to hand it over.
    pub approved: Vec<String>,
    /// How many must, under release policy `clients`; 0 where the aggregator opens sums itself.
    pub approvals_needed: u32,
}

/// Attempts in the history.
const HISTORY: usize = 20;

/// Reads where the federation is.
///
/// # Errors
/// [`StoreError`].
pub async fn read(home: &Home) -> Result<Status, StoreError> {
    read_again(home, &mut Pasts::default()).await
}

/// Ended attempts that were read before: they do not change.
pub type Pasts = BTreeMap<(RoundNumber, Attempt), Past>;

/// The same, for whoever reads it again and again.
///
/// # Errors
/// [`StoreError`].
pub async fn read_again(home: &Home, pasts: &mut Pasts) -> Result<Status, StoreError> {
    let store = &home.store;
    let joined: Vec<_> = store.members().await?.into_iter().map(|member| member.name).collect();
    let members = home.charter.members().map(|(name, _)| name);
    let revoked = store.revoked().await?;
    // Before there is a roster, such a member joins again, with the same keys or others.
    let joins_again = if store.setting(Setting::Roster).await?.is_none() { revoked.as_slice() } else { &[] };
    let missing = members.filter(|name| !joined.contains(name) || joins_again.contains(name));
    let missing: Vec<_> = missing.map(|name| name.to_string()).collect();
    let mut keys = Vec::new();
    for name in &joined {
        keys.push((name.to_string(), store.stock(name).await?));
    }
    let latest = store.latest_attempt().await?;
    let leaves = store.leaves().await?;
    let halted = store.setting(Setting::Halted).await?.map(|reason| String::from_utf8_lossy(&reason).into_owned());
    let completed = match latest {
        Some((round, attempt)) => store.has_event(round, attempt, "completed").await?,
        None => false,
    };
    let isolation = isolation::read(store).await?;
    let isolated = isolation.isolated().map(|(house, ground)| (house.to_string(), ground.code())).collect();
    let suspects = isolation.suspects().iter().chain(isolation.accused()).map(ToString::to_string).collect();
    let attempts = store.announced_rounds().await?;
    let leaves: Vec<RecordLeaf> = leaves.iter().filter_map(|body| RecordLeaf::from_bytes(body).ok()).collect();
    let (mut phase, mut waiting_for, mut contributed) = ("enrolling", missing.clone(), Vec::new());
    if let Some((round, attempt)) = latest {
        let heard = Heard::of(&store.steps(round, attempt).await?);
        (phase, waiting_for) = heard.phase(&home.charter, &store.event_kinds(round, attempt).await?);
        contributed = heard.contributed();
    }
    let revoked: Vec<_> = revoked.iter().map(ToString::to_string).collect();
    // Nobody waits for whom it does not let in.
    waiting_for.retain(|name| !revoked.contains(name) || phase == "enrolling");
    let out = revoked.iter().map(|name| (name.clone(), stall::REVOKED));
    let out: Vec<_> = out.chain(isolation.isolated().map(|(house, _)| (house.to_string(), "isolated"))).collect();
    let stalled = if phase == "gathering" { stall::stall(&home.charter, &out, &keys) } else { None };
    let mut history = Vec::new();
    for leaf in leaves.iter().rev().take(HISTORY) {
        let place = (leaf.round, leaf.attempt);
        let past = match pasts.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Heard::of(&store.steps(leaf.round, leaf.attempt).await?).past(leaf)),
        };
        history.push(past.clone());
    }
    let mut attempts_by_end = BTreeMap::new();
    leaves.iter().for_each(|leaf| *attempts_by_end.entry(end(leaf)).or_default() += 1);
    Ok(Status {
        federation: home.charter.name.to_string(),
        charter: home.charter.digest().to_string(),
        stage: match (&halted, completed, latest) {
            (Some(_), ..) => "halted",
            (None, true, _) => "completed",
            (None, false, Some(_)) => "running",
            (None, false, None) => "enrolling",
        },
        halted,
        stalled,
        joined: joined.iter().map(ToString::to_string).collect(),
        missing,
        keys,
        round: latest.map_or(0, |(round, _)| round.get()),
        rounds: home.charter.rounds.count,
        attempt: latest.map_or(0, |(_, attempt)| attempt.get()),
        attempts: home.charter.rounds.max_attempts,
        phase,
        waiting_for,
        contributed,
        applied: u32::try_from(leaves.iter().filter(|leaf| end(leaf) == "applied").count()).unwrap_or(u32::MAX),
        history,
        attempts_by_end,
        revoked,
        isolated,
        suspects,
        last: leaves.last().map(describe),
        mode: home.charter.privacy.mode.as_str(),
        epsilon: spent(&home.charter, &attempts),
        charter_epsilon: home.charter.privacy.epsilon,
        delta: home.charter.privacy.delta,
        metrics: Curve::of(&home.charter, store.metrics().await?),
        record: leaves.len(),
        final_adapter: store.setting(Setting::FinalState).await?.is_some(),
        approved: store.approved().await?.iter().map(ToString::to_string).collect(),
        approvals_needed: match home.charter.release.policy {
            ReleasePolicy::Clients => u32::from(home.charter.committee.threshold),
            ReleasePolicy::Aggregator => 0,
        },
    })
}

/// What attempts at these rounds cost a house that was in all of them, where noise protects anything. The discrete noise's small
/// correction is each house's own ledger's business; this is the planning figure.
fn spent(charter: &Charter, attempts: &[RoundNumber]) -> Option<f64> {
    let privacy = &charter.privacy;
    if privacy.mode == PrivacyMode::None {
        return None;
    }
    if attempts.is_empty() {
        return Some(0.0);
    }
    let rate = charter.houses.iter().map(|house| house.sampling_rate).fold(0.0, f64::max);
    let evaluated = attempts.iter().filter(|round| charter.is_evaluated(**round)).count() as u64;
    let all = terms::attempts(charter, rate, attempts.len() as u64, evaluated);
    epsilon(&all, privacy.delta).ok().map(|spent| spent.epsilon)
}

fn describe(leaf: &RecordLeaf) -> String {
    format!("round {} attempt {}: {}", leaf.round, leaf.attempt, conclusion(leaf))
}

fn conclusion(leaf: &RecordLeaf) -> String {
    let houses = leaf.houses.len();
    match &leaf.conclusion {
        Conclusion::Settled(Verdict::Applied { state, last }) => {
            let end = if *last { "; the run ends here, its losses have stopped falling" } else { "" };
            format!("applied over {houses} houses, state {}{end}", &state.to_string()[..12])
        }
        Conclusion::Settled(Verdict::Void { reason }) => format!("void, {reason}"),
        Conclusion::Abandoned(reason) => format!("abandoned, {reason}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn charter(changes: &[(&str, &str)]) -> Charter {
        let text = changes.iter().fold(protocol::charter::SAMPLE.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        });
        Charter::parse(&text).unwrap()
    }

    fn after(charter: &Charter, rounds: std::ops::RangeInclusive<u32>) -> f64 {
        let rounds: Vec<RoundNumber> = rounds.map(|round| RoundNumber::new(round).unwrap()).collect();
        spent(charter, &rounds).unwrap()
    }

    /// Against what `terms::check` holds the charter to, for all of its rounds.
    #[test]
    fn local_steps_and_evaluations_are_in_the_epsilon_that_is_shown() {
        let plain = charter(&[]);
        let local = charter(&[
            ("mode = \"record-shared\"", "mode = \"record-local\""),
            ("# [local]\n# steps = 4\n# learning_rate = 0.5", "[local]\nsteps = 4\nlearning_rate = 0.5"),
        ]);
        let section = "[evaluation]\nevery = 10\nheld_out = 0.1\nnoise_multiplier = 20.0\nloss_bound = 8.0\n[[house]]";
        let evaluated = charter(&[("[[house]]", section)]);
        for charter in [&plain, &local, &evaluated] {
            let rate = charter.houses.iter().map(|house| house.sampling_rate).fold(0.0, f64::max);
            let whole = terms::epsilon(charter, rate, 1000).unwrap();
            assert!((after(charter, 1..=60) / whole - 1.0).abs() < 1e-6, "{whole}");
        }
        assert!(after(&local, 1..=60) > 1.2 * after(&plain, 1..=60));
        assert_eq!(after(&evaluated, 1..=9), after(&plain, 1..=9));
        assert!(after(&evaluated, 1..=10) > after(&plain, 1..=10));
    }
}
