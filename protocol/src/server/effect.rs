//! What the caller carries out after a step.

use std::sync::Arc;

use super::Round;
use crate::ids::{Attempt, HouseName, RoundNumber};
use crate::message::{Answer, CohortList};
use crate::notice::Notice;
use crate::record::RecordLeaf;
use crate::signed::Signed;

/// An accepted input: the state after it, and what to do.
#[derive(Debug, Clone)]
pub struct Step {
    /// The state once the input is stored.
    pub next: Round,
    /// What to carry out once the input is stored, in order. Each may be carried out twice.
    pub effects: Vec<Effect>,
    /// Whether the input changed anything: `false` for a repeat or an idle tick, which need no row.
    pub store: bool,
}

impl Step {
    /// Nothing changed.
    pub(crate) fn same(state: impl Into<Round>) -> Self {
        Self { next: state.into(), effects: Vec::new(), store: false }
    }

    /// A new state.
    pub(crate) fn to(state: impl Into<Round>, effects: Vec<Effect>) -> Self {
        Self { next: state.into(), effects, store: true }
    }
}

/// What the caller carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Enough houses are ready: announce this expected set now, or wait a little for more.
    Gathered {
        /// The ready houses, in roster order, at most `max_cohort`.
        expected: Vec<HouseName>,
    },
    /// Tell every member.
    Publish(Notice),
    /// Add up the chunks and the commitments of exactly these contributions; where nothing is claimed yet, sign the claim of
    /// the sum and offer it as [`super::Event::Claimed`]. A claim is never signed again: [`Round::claim`] has it.
    FoldCohort(Arc<CohortList>),
    /// Policy `aggregator`: combine these answers, open the sum, apply it. A false one comes back as `FalseAnswer`.
    Combine {
        /// At least t answers, by index.
        answers: Vec<Signed<Answer>>,
    },
    /// Append to the record and sign a new checkpoint.
    AppendLog(RecordLeaf),
    /// Start the next round, at its first attempt.
    NextRound(RoundNumber),
    /// Try this round again.
    NextAttempt(Attempt),
    /// The charter's rounds are done.
    FederationDone,
    /// The charter's attempts are used up: the operator must look.
    AttemptsUsedUp,
}

macro_rules! into_round {
    ($($state:ident),*) => {
        $(impl From<super::$state> for Round {
            fn from(state: super::$state) -> Self {
                Self::$state(state)
            }
        })*
    };
}
into_round!(Gathering, Collecting, Checking, Opening, Settling, Finished, Abandoned);
