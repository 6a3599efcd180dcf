//! What limits a house's ledger under a charter.

use privacy::{Entry, Filter, Kind, LedgerError, Limit, Plan, Planned, PlannedRounds, ProtectedUnit};
use protocol::charter::{Accountant, PrivacyMode};
use protocol::{Attempt, Charter, HouseName};

use crate::{Part, TrainError};

/// What a house's ledger protects under `charter`, where its data names units by `unit_column`, or by no column.
pub fn protected_unit(charter: &Charter, unit_column: Option<&str>) -> ProtectedUnit {
    match (charter.privacy.mode, unit_column) {
        (PrivacyMode::Client, _) => ProtectedUnit::House,
        (_, Some(column)) => ProtectedUnit::Column(column.to_owned()),
        (_, None) => ProtectedUnit::Row,
    }
}

/// How many lines of a kind `charter` may charge one house for. Its epsilon is what these cost.
fn most(charter: &Charter, kind: Kind) -> u64 {
    match kind {
        Kind::Training => u64::from(charter.charged_rounds()),
        Kind::Evaluation => terms::evaluations(charter),
    }
}

/// Refuses `entries`, one attempt's lines, when their house's ledger, `before`, holds as many as `charter` may charge it for.
///
/// # Errors
/// [`TrainError::Charged`].
pub fn within_charged(charter: &Charter, before: &[Entry], entries: &[Entry]) -> Result<(), TrainError> {
    for entry in entries {
        let of_kind = |other: &&Entry| {
            (other.federation, &other.house, other.kind) == (entry.federation, &entry.house, entry.kind)
        };
        let place = |one: &Entry| (one.round, one.attempt);
        let others = before.iter().filter(of_kind).filter(|other| place(other) != place(entry)).count() as u64;
        let most = most(charter, entry.kind);
        if others >= most {
            let what = if entry.kind == Kind::Training { "attempts" } else { "evaluations" };
            return Err(TrainError::Charged { most, what });
        }
    }
    Ok(())
}

/// The limit of a new ledger of `house`: with the charter's accountant, below `ceiling` at `delta`, for an adapter of `count` trained
/// weights. `None` under mode `none`, where nothing is charged.
///
/// By Renyi divergences any rounds may follow, of other charters too; by privacy-loss distributions only this charter's, at
/// most as many as it charges.
///
/// # Errors
/// The charter's values break a rule, or cost more than the ceiling.
pub fn limit(
    charter: &Charter,
    house: &HouseName,
    count: usize,
    ceiling: f64,
    delta: f64,
) -> Result<Option<Limit>, TrainError> {
    // It has all kinds of lines, and the largest vector.
    let fullest = terms::fullest_round(charter);
    let entries = Part::ahead(charter, house, fullest, Attempt::FIRST).ledger_entries(count)?;
    if entries.is_empty() {
        return Ok(None);
    }
    let limit = match charter.privacy.accountant {
        Accountant::Rdp => {
            let attempt: Vec<_> = entries.iter().map(Entry::rounds).collect();
            Filter::for_attempts(&attempt, ceiling, delta).map(Limit::Filter)
        }
        Accountant::Pld => {
            let planned = entries.iter().map(|entry| Planned {
                kind: entry.kind,
                rounds: PlannedRounds::from(entry),
                most: most(charter, entry.kind),
            });
            let planned = planned.filter(|line| line.most > 0).collect();
            Plan::new(*charter.digest().as_bytes(), planned, ceiling, delta).map(Limit::Plan)
        }
    };
    limit.map(Some).map_err(|error: LedgerError| TrainError::Ledger(Box::new(error)))
}
