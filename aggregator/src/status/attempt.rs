//! One attempt, from its stored inputs: where it is, who is waited for, and how long each part took.

use std::collections::BTreeSet;

use protocol::server::{Event, Input};
use protocol::{Announcement, Charter, Conclusion, HouseName, Message as _, RecordLeaf, Role};
use serde::Serialize;

use crate::store::StoredStep;

/// What has been heard in an attempt.
#[derive(Debug, Default)]
pub(super) struct Heard {
    announcement: Option<Announcement>,
    ready: BTreeSet<HouseName>,
    contributed: BTreeSet<HouseName>,
    claimed: bool,
    attested: BTreeSet<HouseName>,
    answered: BTreeSet<HouseName>,
    outcomes: BTreeSet<HouseName>,
    cohort_at_ms: Option<u64>,
    checked_at_ms: Option<u64>,
    last_at_ms: Option<u64>,
}

/// An attempt that is over, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Past {
    /// Its round.
    pub round: u32,
    /// Its attempt.
    pub attempt: u32,
    /// Whose contributions counted.
    pub houses: Vec<String>,
    /// How it ended.
    pub conclusion: String,
    /// Seconds from the announcement to the fixed cohort.
    pub to_cohort: Option<f64>,
    /// Seconds from the announcement to the first answer, when the sum was checked.
    pub to_checked: Option<f64>,
    /// Seconds from the announcement to the end.
    pub to_end: Option<f64>,
}

impl Heard {
    pub(super) fn of(steps: &[StoredStep]) -> Self {
        let mut heard = Self::default();
        for input in steps.iter().filter_map(|step| Input::from_bytes(&step.body).ok()) {
            heard.take(&input);
        }
        heard
    }

    fn take(&mut self, input: &Input) {
        self.last_at_ms = Some(input.at_ms);
        match &input.event {
            Event::Ready(signed) => drop(self.ready.insert(signed.signer().clone())),
            Event::Announced(signed) => self.announcement = signed.unverified().ok(),
            Event::Contribution(signed) => {
                self.contributed.insert(signed.signer().clone());
                self.cohort_at_ms = Some(input.at_ms);
            }
            // A step of time before the claim fixes the cohort.
            Event::Tick if !self.claimed => self.cohort_at_ms = Some(input.at_ms),
            Event::Claimed(_) => self.claimed = true,
            Event::Checksum(signed) => drop(self.attested.insert(signed.signer().clone())),
            Event::Answer(signed) => {
                self.checked_at_ms.get_or_insert(input.at_ms);
                self.answered.insert(signed.signer().clone());
            }
            Event::Outcome(signed) => drop(self.outcomes.insert(signed.signer().clone())),
            Event::Tick | Event::Complaint(_) | Event::FalseAnswer(_) | Event::Stop => {}
        }
    }

    pub(super) fn contributed(&self) -> Vec<String> {
        names(&self.contributed)
    }

    /// What is going on, and whom it waits for. `events` are the kinds of what was published.
    pub(super) fn phase(&self, charter: &Charter, events: &BTreeSet<String>) -> (&'static str, Vec<String>) {
        let said = |kind: &str| events.contains(kind);
        let houses: BTreeSet<HouseName> = charter.houses.iter().map(|house| house.name.clone()).collect();
        let committee: BTreeSet<HouseName> =
            charter.members().filter(|(_, role)| *role != Role::Contributor).map(|(name, _)| name).collect();
        let but = |all: &BTreeSet<HouseName>, heard: &BTreeSet<HouseName>| names(&(all - heard));
        let expected = || self.announcement.iter().flat_map(|one| one.expected.iter().cloned()).collect();
        if said("settled") || said("abandoned") || said("completed") {
            ("over", Vec::new())
        } else if said("opened") {
            ("settling", but(&houses, &self.outcomes))
        } else if said("checked") {
            ("opening", but(&committee, &self.answered))
        } else if said("claimed") {
            ("checking", but(&self.contributed, &self.attested))
        } else if said("closed") {
            ("adding up", Vec::new())
        } else if said("announced") {
            ("collecting", but(&expected(), &self.contributed))
        } else {
            ("gathering", but(&houses, &self.ready))
        }
    }

    /// The attempt, which ended as `leaf` says.
    pub(super) fn past(&self, leaf: &RecordLeaf) -> Past {
        let start_ms = self.announcement.as_ref().map(|one| one.announced_at_ms);
        let since = |at_ms: Option<u64>| Some(at_ms?.saturating_sub(start_ms?) as f64 / 1000.0);
        Past {
            round: leaf.round.get(),
            attempt: leaf.attempt.get(),
            houses: leaf.houses.iter().map(ToString::to_string).collect(),
            conclusion: super::conclusion(leaf),
            to_cohort: since(self.cohort_at_ms.filter(|_| leaf.cohort.is_some())),
            to_checked: since(self.checked_at_ms),
            to_end: since(self.last_at_ms),
        }
    }
}

/// The kind of an end, for counters.
pub(super) fn end(leaf: &RecordLeaf) -> &'static str {
    match &leaf.conclusion {
        Conclusion::Settled(protocol::Verdict::Applied { .. }) => "applied",
        Conclusion::Settled(protocol::Verdict::Void { .. }) => "void",
        Conclusion::Abandoned(_) => "abandoned",
    }
}

fn names(all: &BTreeSet<HouseName>) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}
