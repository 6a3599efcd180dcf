//! Whole federations in one process: many clients, the protocol's own steps, the cryptography and the mechanisms of the programs, real rows
//! and a real model.
//!
//! A [`Plan`] says what; [`run()`] plays every mode and seed of it and leaves a folder for each, from which it goes on when it is stopped. [`run_with`]
//! does the same with a mechanism of one's own.
//!
//! What is not as in the programs: nothing travels over a network, so no time passes and no connection breaks; clients keep no ledgers (what
//! they spend is what the charter says); beside the committee and four witnesses, clients take a round's outcome from the committee's signatures
//! without checking every other client's; keys live only as long as the process, so a federation that goes on has new ones. With
//! `noise = "pooled"` one draw stands for all shares.

mod contribute;
mod federation;
mod files;
mod open;
mod optimizer;
mod plan;
mod round;
mod run;
mod settings;
mod split;

pub use optimizer::OptimizerKind;
pub use plan::{ClientsPlan, MOST_CLIENTS, NoiseSource, Plan, PlanError, PrivacyPlan, SAMPLE, TrainingPlan};
pub(crate) use run::lora;
pub use run::{Finished, MakeMechanism, Step, run, run_on, run_with};
pub use split::{Split, deal};

use crate::contract::ContractError;
use crate::table::TableError;
use crate::task::TaskError;

/// A simulation that cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Rows or model.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The charter that the plan makes.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The same.
    #[error(transparent)]
    Terms(#[from] terms::TermsError),
    /// No noise gives the epsilon.
    #[error("no noise gives this epsilon: {0}")]
    Accountant(#[from] privacy::accountant::AccountantError),
    /// A client's training.
    #[error(transparent)]
    Train(#[from] training::TrainError),
    /// The opened sum.
    #[error(transparent)]
    Sum(#[from] terms::RoundSumError),
    /// Results.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A file of a run that was not left by this version, or by another plan.
    #[error("{0}: it is not of this plan and version; remove the folder to begin anew")]
    Foreign(String),
    /// The protocol refused a step: with honest clients alone that is a mistake of this program.
    #[error("the protocol refused a step of honest clients: {0}")]
    Rejected(#[from] protocol::Rejection),
    /// The round did not come to its end.
    #[error("round {round} is stuck: {state}")]
    Stuck {
        /// The round.
        round: u32,
        /// Where.
        state: &'static str,
    },
    /// A message or a ciphertext that this process made itself cannot be read.
    #[error("within the simulation: {0}")]
    Internal(String),
}

impl SimulateError {
    fn internal(error: impl ToString) -> Self {
        Self::Internal(error.to_string())
    }
}
