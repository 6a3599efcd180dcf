//! Rounds without a federation around them, in one process: each house's contribution by the real mechanism, their exact
//! sum, and what it does to the state. Nothing is encrypted and nobody is absent; the numbers are those of a round in which
//! all were there, because the encrypted sum is exact.

use std::time::Duration;

use adapter::State;
use protocol::{Attempt, Charter, Digest, HouseName, RoundNumber};
use terms::{Metrics, RoundSum, Terms};

use crate::mechanism::{Mechanism, Tools, mechanism};
use crate::{House, Part, TrainError};

/// Houses of a charter, or some of them, that train in the clear.
///
/// One house alone under `record-local`, holding everybody's rows, is DP-SGD on pooled data.
pub struct Rehearsal {
    charter: Charter,
    houses: Vec<(HouseName, House)>,
    mechanism: Box<dyn Mechanism>,
    state: State,
    round: RoundNumber,
}

/// What a rehearsed round came to.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// The sum over the houses, which an aggregator would have opened.
    pub sum: Vec<i64>,
    /// Mean loss of the houses' batches, for those that had one.
    pub loss: Option<f64>,
    /// What the sum says about held-out units, in a round with evaluation.
    pub metrics: Option<Metrics>,
    /// Gradients, clipping and summing, of all houses one after the other.
    pub train: Duration,
    /// What the houses waited for noise, beside that.
    pub noise: Duration,
}

impl Rehearsal {
    /// From the charter's first state, with its mechanism.
    ///
    /// # Errors
    /// The charter cannot be run.
    pub fn new(charter: &Charter, houses: Vec<(HouseName, House)>) -> Result<Self, TrainError> {
        Self::with(charter, houses, mechanism(charter)?)
    }

    /// The same with another mechanism than the charter's.
    ///
    /// # Errors
    /// As [`Rehearsal::new`].
    pub fn with(
        charter: &Charter,
        houses: Vec<(HouseName, House)>,
        mechanism: Box<dyn Mechanism>,
    ) -> Result<Self, TrainError> {
        let state = Terms::of(charter)?.first_state()?;
        Ok(Self { charter: charter.clone(), houses, mechanism, state, round: RoundNumber::FIRST })
    }

    /// One round over all houses, in their order; each draws from the same tools.
    ///
    /// # Errors
    /// A house's failure, or sums that do not apply. The state is then as before.
    pub fn round(&mut self, tools: &mut Tools<'_>) -> Result<Rehearsed, TrainError> {
        let seed = *Digest::of("rehearsal", &self.round.get().to_be_bytes()).as_bytes();
        let mut sum = Vec::new();
        let (mut losses, mut train, mut noise) = (Vec::new(), Duration::ZERO, Duration::ZERO);
        for (name, house) in &self.houses {
            let part = Part {
                charter: &self.charter,
                house: name,
                number: self.round,
                attempt: Attempt::FIRST,
                expected: self.houses.len(),
                may_vanish: self.charter.rounds.may_vanish,
                seed,
            };
            let made = self.mechanism.contribute(&part, &self.state, house, tools)?;
            sum.resize(made.values.len(), 0_i64);
            sum.iter_mut().zip(made.values.iter()).for_each(|(total, value)| *total = total.saturating_add(*value));
            losses.extend(made.loss);
            train += made.train;
            noise += made.noise;
        }
        let cohort: Vec<&HouseName> = self.houses.iter().map(|(name, _)| name).collect();
        let (expected, may_vanish) = (self.houses.len(), self.charter.rounds.may_vanish);
        let opened = RoundSum { round: self.round, seed: &seed, cohort: &cohort, values: &sum, expected, may_vanish };
        let metrics = opened.metrics(&self.charter, self.state.update_len());
        opened.apply(&self.charter, &mut self.state)?;
        self.round = self.round.next().ok_or(TrainError::Rounds)?;
        let loss = (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64);
        Ok(Rehearsed { sum, loss, metrics, train, noise })
    }

    /// Where it stands: after the last round, or before the first.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The round that comes next.
    pub fn next_round(&self) -> RoundNumber {
        self.round
    }
}
