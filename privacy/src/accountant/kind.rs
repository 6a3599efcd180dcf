//! The accountants, by name.

use super::{AccountantError, Rounds, calibrate, pld, zcdp};

/// Who adds up what rounds cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accountant {
    /// Renyi divergences: [`super::epsilon()`]. What ledgers count with.
    Rdp,
    /// Privacy-loss distributions: [`pld`]. Tighter, for rounds whose number and noise are fixed in advance.
    Pld,
    /// Zero-concentrated differential privacy, for rounds without sampling.
    Zcdp,
}

impl Accountant {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rdp => "rdp",
            Self::Pld => "pld",
            Self::Zcdp => "zcdp",
        }
    }

    /// Epsilon of all these rounds together at `delta`; an upper bound by each.
    ///
    /// # Errors
    /// The rule that a value breaks; [`AccountantError::Sampled`] by zCDP; [`AccountantError::NoOrder`] by Renyi divergences.
    pub fn epsilon(self, rounds: &[Rounds], delta: f64) -> Result<f64, AccountantError> {
        match self {
            Self::Rdp => Ok(super::epsilon(rounds, delta)?.epsilon),
            Self::Pld => pld::epsilon(rounds, delta),
            Self::Zcdp => zcdp::epsilon(rounds, delta),
        }
    }

    /// Delta of all these rounds together at `epsilon`; an upper bound by each.
    ///
    /// # Errors
    /// As [`Accountant::epsilon`].
    pub fn delta(self, rounds: &[Rounds], epsilon: f64) -> Result<f64, AccountantError> {
        match self {
            Self::Rdp => super::delta(rounds, epsilon),
            Self::Pld => pld::delta(rounds, epsilon),
            Self::Zcdp => zcdp::delta(rounds, epsilon),
        }
    }

    /// A noise multiplier with which `rounds` rounds at `rate` cost at most `target` at `delta`: the smallest, rounded up, within a
    /// ten-millionth by Renyi divergences, within a ten-thousandth by the others. Loss distributions know epsilon to two thousandths:
    /// where the grid that they need changes at the answer, it is as far from the smallest as that is.
    ///
    /// # Errors
    /// As [`Accountant::epsilon`], and [`AccountantError::Unreachable`].
    pub fn noise_for(self, target: f64, delta: f64, rate: f64, rounds: u64) -> Result<f64, AccountantError> {
        match self {
            Self::Rdp => calibrate::noise_for(target, delta, rate, rounds),
            Self::Pld | Self::Zcdp => calibrate::noise_by(self, target, delta, rate, rounds),
        }
    }

    /// The largest number of rounds at `rate` and `noise_multiplier` that cost at most `target` at `delta`; above 10,000 a
    /// number within a ten-thousandth of it, below, except by Renyi divergences; of loss distributions as in [`Accountant::noise_for`].
    ///
    /// # Errors
    /// As [`Accountant::epsilon`], and [`AccountantError::Unreachable`] when a single round costs more.
    pub fn rounds_for(self, target: f64, delta: f64, rate: f64, noise_multiplier: f64) -> Result<u64, AccountantError> {
        match self {
            Self::Rdp => calibrate::rounds_for(target, delta, rate, noise_multiplier),
            Self::Pld | Self::Zcdp => calibrate::rounds_by(self, target, delta, rate, noise_multiplier),
        }
    }
}
