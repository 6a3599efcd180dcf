//! What a ledger's first line fixes: how much may be spent, and how it is counted.

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Kind, digest, exact};
use super::{Filter, LedgerError};
use crate::accountant::{Accountant, AccountantError, Rounds};

/// The limit of a ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Any rounds, of any charters, up to a ceiling: Renyi divergences at an order fixed in advance.
    Filter(Filter),
    /// The rounds of one charter, whose number is fixed in advance: privacy-loss distributions.
    Plan(Plan),
}

/// The rounds that one charter fixes: their rates, noise and greatest number, and what all of them cost.
///
/// Privacy-loss distributions compose rounds whose parameters do not hang on earlier results. So such a ledger takes the rounds of this
/// plan and no others, and what is stated is what the whole plan gives, however many of its rounds were run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    #[serde(with = "digest")]
    federation: [u8; 32],
    #[serde(with = "exact")]
    epsilon: f64,
    #[serde(with = "exact")]
    ceiling: f64,
    #[serde(with = "exact")]
    delta: f64,
    lines: Vec<Planned>,
}

/// Equal lines of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// What such a round does.
    pub kind: Kind,
    /// Its rate, noise, steps and grid; with the largest number of shares that it may have, and the narrowest share.
    pub rounds: PlannedRounds,
    /// How many such lines at most.
    pub most: u64,
}

/// [`Rounds`] on a grid, as a ledger's line holds them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedRounds {
    #[serde(with = "exact")]
    rate: f64,
    #[serde(with = "exact")]
    noise_multiplier: f64,
    steps: u64,
    dimension: u64,
    integer_norm: u64,
    shares: u64,
    #[serde(with = "exact")]
    share_deviation: f64,
}

impl From<&Entry> for PlannedRounds {
    fn from(entry: &Entry) -> Self {
        Self {
            rate: entry.rate,
            noise_multiplier: entry.noise_multiplier,
            steps: entry.steps,
            dimension: entry.dimension,
            integer_norm: entry.integer_norm,
            shares: entry.shares,
            share_deviation: entry.share_deviation,
        }
    }
}

impl PlannedRounds {
    fn times(&self, most: u64) -> Rounds {
        let grid = crate::accountant::Grid {
            dimension: self.dimension,
            integer_norm: self.integer_norm,
            shares: self.shares,
            deviation: self.share_deviation,
        };
        Rounds::new(self.rate, self.noise_multiplier, self.steps.saturating_mul(most)).on_grid(grid)
    }

    /// Whether `entry` is such a round, or one of fewer and wider shares or fewer coordinates, which costs no more.
    fn covers(&self, entry: &Entry) -> bool {
        let same = (self.rate, self.noise_multiplier, self.steps, self.integer_norm)
            == (entry.rate, entry.noise_multiplier, entry.steps, entry.integer_norm);
        let no_more = entry.shares <= self.shares
            && entry.share_deviation >= self.share_deviation
            && entry.dimension <= self.dimension;
        same && no_more
    }
}

impl Plan {
    /// The plan of a charter for a house whose ceiling is `ceiling` at `delta`.
    ///
    /// # Errors
    /// [`LedgerError::CeilingTooLow`] when the whole plan costs more; [`LedgerError::Accountant`].
    pub fn new(federation: [u8; 32], lines: Vec<Planned>, ceiling: f64, delta: f64) -> Result<Self, LedgerError> {
        let epsilon = Self::cost(&lines, delta)?;
        if epsilon <= ceiling {
            return Ok(Self { federation, epsilon, ceiling, delta, lines });
        }
        Err(LedgerError::CeilingTooLow { ceiling, delta, needed: epsilon, what: "all of the charter's rounds" })
    }

    fn cost(lines: &[Planned], delta: f64) -> Result<f64, AccountantError> {
        let rounds: Vec<Rounds> = lines.iter().map(|line| line.rounds.times(line.most)).collect();
        Accountant::Pld.epsilon(&rounds, delta)
    }

    /// What all its rounds cost at its delta.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Whether `entry` may follow `before`.
    pub(super) fn admits(&self, entry: &Entry, before: &[Entry]) -> Result<(), LedgerError> {
        let refuse = |rule| Err(LedgerError::Unplanned { round: entry.round, attempt: entry.attempt, rule });
        if entry.federation != self.federation {
            return refuse("it is of another charter");
        }
        let Some(line) = self.lines.iter().find(|line| line.kind == entry.kind && line.rounds.covers(entry)) else {
            return refuse("its rate, noise or steps are not those of the plan");
        };
        let so_far = before.iter().filter(|other| other.kind == line.kind).count() as u64;
        if so_far < line.most { Ok(()) } else { refuse("all attempts that the charter may charge are in it") }
    }
}

impl Limit {
    /// The most epsilon.
    pub fn ceiling(&self) -> f64 {
        match self {
            Self::Filter(filter) => filter.ceiling(),
            Self::Plan(plan) => plan.ceiling,
        }
    }

    /// At this delta.
    pub fn delta(&self) -> f64 {
        match self {
            Self::Filter(filter) => filter.delta(),
            Self::Plan(plan) => plan.delta,
        }
    }

    /// Whether it can stand in a first line.
    pub(super) fn check(&self) -> Result<(), AccountantError> {
        match self {
            Self::Filter(filter) => filter.budget().map(drop),
            // What it says it costs was computed when it was written, and the chain covers it.
            Self::Plan(plan) => plan.lines.iter().try_for_each(|line| line.rounds.times(line.most.max(1)).check()),
        }
    }

    /// Whether the two are the same limit; a filter keeps the order that was fixed first.
    pub(super) fn agrees(&self, asked: &Self) -> bool {
        match (self, asked) {
            (Self::Filter(_), Self::Filter(_)) => self.ceiling() == asked.ceiling() && self.delta() == asked.delta(),
            (own, asked) => own == asked,
        }
    }
}
