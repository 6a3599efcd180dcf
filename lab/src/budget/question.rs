//! What is asked, and what cannot be.

use privacy::accountant::AccountantError;

/// A planned federation, and what of its budget is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Looked for, with the two numbers that are given.
    pub wanted: Wanted,
    /// The federation.
    pub setting: Setting,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wanted {
    /// Epsilon of this much noise over so many rounds.
    Epsilon {
        /// Noise multiplier.
        noise_multiplier: f64,
        /// Rounds.
        rounds: u64,
    },
    /// The least noise.
    NoiseMultiplier {
        /// Epsilon of the whole run.
        epsilon: f64,
        /// Rounds.
        rounds: u64,
    },
    /// The most rounds.
    Rounds {
        /// Epsilon of the whole run.
        epsilon: f64,
        /// Noise multiplier.
        noise_multiplier: f64,
    },
}

/// Everything that stands fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Who is protected, and who adds the noise.
    pub mode: Mode,
    /// Chance of a unit to be in a round's batch.
    pub rate: f64,
    /// Delta.
    pub delta: f64,
    /// Houses that a round expects.
    pub cohort: u64,
    /// Of these, how many may vanish.
    pub may_vanish: u64,
    /// Of a cohort, how many may collude.
    pub colluders: u64,
    /// Local steps of a round.
    pub steps: u64,
    /// The integer grid; without it noise is taken for continuous.
    pub grid: Option<Grid>,
    /// Privacy units of the data, where known.
    pub units: Option<u64>,
    /// What a unit is.
    pub unit: Unit,
    /// Units of one person, to show what protects all of them.
    pub groups: Vec<u64>,
}

/// The integers of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Coordinates of the summed vector.
    pub dimension: u64,
    /// The clipping norm in grid units.
    pub integer_norm: u64,
}

/// The privacy modes that have a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Each unit is protected; every house adds a share of the noise.
    RecordShared,
    /// Each unit is protected; every house adds all the noise.
    RecordLocal,
    /// A whole house is protected; every house adds a share of the noise.
    Client,
}

/// What a privacy unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Unit {
    /// One row of the data.
    Row,
    /// All rows of one person (the data has a unit_column).
    Person,
}

/// A question that has no answer, and what to ask instead.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// Not two of the three.
    #[error(
        "give two of --epsilon, --noise-multiplier and --rounds, and the third is worked out ({given} given); for example\n  plainchant-lab budget --epsilon 3 --rounds 60 --rate 0.02"
    )]
    NotTwo {
        /// How many are given.
        given: usize,
    },
    /// No sampling rate.
    #[error(
        "how are batches drawn? Give --rate, the chance of a unit to be in a round's batch (--rate 1: every unit in every round), or --units and --batch, whose ratio it is"
    )]
    NoRate,
    /// Two rates.
    #[error("--rate {rate} and --batch {batch} of --units {units} say different things; leave one out")]
    TwoRates {
        /// The rate.
        rate: f64,
        /// The batch.
        batch: u64,
        /// The units.
        units: u64,
    },
    /// A batch without the number that it is a part of.
    #[error("--batch {0} is a part of how many units? Give --units too, or --rate instead")]
    BatchWithoutUnits(u64),
    /// A rate under the client mode.
    #[error(
        "--mode client: sampling houses amplifies nothing, because the cohort is published; write --rate 1, or leave --rate out, and count each round that a house joins"
    )]
    ClientRate,
    /// Too few houses.
    #[error(
        "--cohort {cohort} with {may_vanish} that may vanish and {colluders} that may collude leaves fewer than 2 honest houses, whose noise would hide one from the other; write --cohort {}, or a smaller --may-vanish",
        may_vanish.saturating_add(*colluders).saturating_add(2)
    )]
    Cohort {
        /// Expected houses.
        cohort: u64,
        /// That may vanish.
        may_vanish: u64,
        /// That may collude.
        colluders: u64,
    },
    /// Nobody colludes.
    #[error("--colluders 0: every house can subtract its own part of the sum, so it is at least 1")]
    NoColluder,
    /// A number that must be at least one.
    #[error("{0} 0: write at least 1")]
    Zero(&'static str),
    /// A share that is too narrow for exact noise.
    #[error(
        "a noise share has a deviation of {deviation:.2} grid units, and {} is the least for which the sum of shares is bounded; write --integer-norm {needed} or more",
        privacy::accountant::SMALLEST_DEVIATION
    )]
    ShareTooNarrow {
        /// A share's deviation.
        deviation: f64,
        /// An integer norm that is enough.
        needed: u64,
    },
    /// A value that the accountant refuses, in its words.
    #[error("{0}")]
    Value(AccountantError),
    /// The accountant finds no answer.
    #[error("{error}; {instead}")]
    Unreachable {
        /// What the accountant says.
        error: AccountantError,
        /// What to change.
        instead: &'static str,
    },
}

impl BudgetError {
    /// Whether the question itself is wrong, rather than its answer out of reach.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Unreachable { .. })
    }
}

impl From<AccountantError> for BudgetError {
    fn from(error: AccountantError) -> Self {
        match error {
            AccountantError::Unreachable { with: "a single round", .. } => Self::Unreachable {
                error,
                instead: "write a larger --epsilon or --noise-multiplier, or a smaller --rate",
            },
            AccountantError::Unreachable { .. } | AccountantError::NoOrder => {
                Self::Unreachable { error, instead: "write a larger --epsilon or --delta, or fewer --rounds" }
            }
            other => Self::Value(other),
        }
    }
}

impl Mode {
    /// Its name in a charter.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::RecordShared => "record-shared",
            Self::RecordLocal => "record-local",
            Self::Client => "client",
        }
    }
}

impl Setting {
    /// Houses of the smallest cohort that are counted on.
    #[must_use]
    pub fn honest(&self) -> u64 {
        self.cohort.saturating_sub(self.may_vanish).saturating_sub(self.colluders)
    }

    /// Noised steps of a round, each charged.
    #[must_use]
    pub fn noised_steps(&self) -> u64 {
        if self.mode == Mode::RecordLocal { self.steps } else { 1 }
    }

    /// Noise in the sum when all are there, as a multiple of central DP-SGD's.
    #[must_use]
    pub fn noise_factor(&self) -> f64 {
        let cohort = self.cohort as f64;
        if self.mode == Mode::RecordLocal { cohort.sqrt() } else { (cohort / self.honest() as f64).sqrt() }
    }

    /// Checks what no accountant sees.
    ///
    /// # Errors
    /// The rule that is broken, and what to write.
    pub fn check(&self) -> Result<(), BudgetError> {
        let positive = [
            ("--steps", self.steps),
            ("--units", self.units.unwrap_or(1)),
            ("--dimension", self.grid.map_or(1, |grid| grid.dimension)),
            ("--integer-norm", self.grid.map_or(1, |grid| grid.integer_norm)),
            ("--group", self.groups.iter().copied().min().unwrap_or(1)),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(BudgetError::Zero(name));
        }
        if self.colluders == 0 {
            return Err(BudgetError::NoColluder);
        }
        if self.honest() < 2 {
            let Self { cohort, may_vanish, colluders, .. } = *self;
            return Err(BudgetError::Cohort { cohort, may_vanish, colluders });
        }
        if self.mode == Mode::Client && self.rate != 1.0 {
            return Err(BudgetError::ClientRate);
        }
        Ok(())
    }
}
