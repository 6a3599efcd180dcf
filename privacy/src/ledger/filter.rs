//! What a ledger may spend, fixed before the first round.
//!
//! A house may choose later rounds, and whole federations, in the light of earlier results. Then the order of the Renyi
//! divergence that gives the best epsilon must not be chosen afterwards; with the order fixed in advance, refusing the first
//! round whose divergence would bring the sum past the budget keeps the whole, adaptively chosen sequence within it (Feldman,
//! Zrnic 2021, "Individual Privacy Accounting via a Renyi Filter"; filters: Rogers, Roth, Ullman, Vadhan 2016).
//! The budget is the divergence that at this order proves the ceiling at delta.

use serde::{Deserialize, Serialize};

use super::LedgerError;
use super::entry::exact;
use crate::accountant::{self, AccountantError, Rounds, filter_order, renyi_budget};

/// A ceiling at a delta, and the Renyi order at which divergences are added up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    #[serde(with = "exact")]
    ceiling: f64,
    #[serde(with = "exact")]
    delta: f64,
    #[serde(with = "exact")]
    order: f64,
}

impl Filter {
    /// The filter for this ceiling at whose order the most attempts like `attempt` fit.
    ///
    /// # Errors
    /// A rule that a value breaks, or [`LedgerError::CeilingTooLow`] when not even one fits.
    pub fn for_attempts(attempt: &[Rounds], ceiling: f64, delta: f64) -> Result<Self, LedgerError> {
        match filter_order(attempt, ceiling, delta) {
            Ok(order) => Ok(Self { ceiling, delta, order }),
            Err(AccountantError::NoOrder) => {
                let needed = accountant::epsilon(attempt, delta)?.epsilon;
                Err(LedgerError::CeilingTooLow { ceiling, delta, needed, what: "a single attempt" })
            }
            Err(other) => Err(other.into()),
        }
    }

    /// The most epsilon.
    pub fn ceiling(&self) -> f64 {
        self.ceiling
    }

    /// At this delta.
    pub fn delta(&self) -> f64 {
        self.delta
    }

    /// The Renyi order.
    pub fn order(&self) -> f64 {
        self.order
    }

    /// The divergence at the order that may be spent.
    ///
    /// # Errors
    /// A rule that a value breaks.
    pub fn budget(&self) -> Result<f64, AccountantError> {
        renyi_budget(self.ceiling, self.order, self.delta)
    }
}
