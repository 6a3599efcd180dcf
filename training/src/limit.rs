//! What limits a house's ledger under a charter.

use privacy::{Filter, Kind, LedgerError, Limit, Plan, Planned, PlannedRounds};
use protocol::charter::Accountant;
use protocol::{Attempt, Charter, HouseName};

use crate::{Part, TrainError};

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
            let attempt: Vec<_> = entries.iter().map(privacy::Entry::rounds).collect();
            Filter::for_attempts(&attempt, ceiling, delta).map(Limit::Filter)
        }
        Accountant::Pld => {
            let most = |kind| match kind {
                Kind::Training => u64::from(charter.charged_rounds()),
                Kind::Evaluation => terms::evaluations(charter),
            };
            let planned = entries.iter().map(|entry| Planned {
                kind: entry.kind,
                rounds: PlannedRounds::from(entry),
                most: most(entry.kind),
            });
            let planned = planned.filter(|line| line.most > 0).collect();
            Plan::new(*charter.digest().as_bytes(), planned, ceiling, delta).map(Limit::Plan)
        }
    };
    limit.map(Some).map_err(|error: LedgerError| TrainError::Ledger(Box::new(error)))
}
