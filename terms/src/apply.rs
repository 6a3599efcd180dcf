//! What an opened sum does to a state, and what it says: one place for houses, the aggregator and the laboratory.

use adapter::{ApplyError, State};
use privacy::Rotation;
use protocol::charter::PrivacyMode;
use protocol::{Charter, HouseName, RoundNumber};

use crate::metrics::{Metrics, MetricsShape};
use crate::{Norms, RoundShape, TermsError, rounding, unit};

/// The opened sum of a round, with what all know about the round.
#[derive(Debug, Clone, Copy)]
pub struct RoundSum<'a> {
    /// Which round.
    pub round: RoundNumber,
    /// The announcement's digest: it seeds the rotation of mode `client`.
    pub seed: &'a [u8; 32],
    /// The houses that are in the sum.
    pub cohort: &'a [&'a HouseName],
    /// One integer for each coordinate of the round's [`RoundShape`].
    pub values: &'a [i64],
}

impl RoundSum<'_> {
    /// Applies it to `state`: in the record modes the mean over the cohort's nominal batches, and over the local steps of
    /// `record-local`, is the gradient that the server's optimizer takes. Under `client` the mean update of the cohort, turned back, is taken
    /// for a gradient in the other direction, and the clipping norm moves where it follows the updates.
    ///
    /// # Errors
    /// [`RoundSumError`]; the state is then as before.
    pub fn apply(&self, charter: &Charter, state: &mut State) -> Result<(), RoundSumError> {
        let count = state.adapter().trainable_len();
        let shape = RoundShape::of(charter, self.round, count);
        let (update, rest) = self.values.split_at_checked(shape.update).ok_or_else(|| self.wrong_length(shape))?;
        if rest.len() != shape.indicator + shape.metrics {
            return Err(self.wrong_length(shape));
        }
        if charter.privacy.mode != PrivacyMode::Client {
            let divisor =
                charter.nominal_batch_of(self.cohort.iter().copied()) as f64 * f64::from(charter.noised_steps());
            return Ok(state.apply(update, unit(charter), divisor)?);
        }
        let mut next = state.clone();
        next.apply_gradient(&self.turned_back(charter, state, update)?)?;
        if let (Some(adaptive), Some(&sum)) = (&charter.adaptive_clipping, rest.first()) {
            let one = Norms::of(charter, self.round).indicator as f64;
            let below = f64::midpoint(sum as f64 / one / self.cohort.len() as f64, 1.0);
            let (norm, start) = (clipping_norm(charter, state), charter.privacy.clipping_norm);
            let norm = privacy::next_clipping_norm(norm, start, below, adaptive.quantile, adaptive.learning_rate);
            next.set_clipping_norm(norm).map_err(TermsError::from)?;
        }
        *state = next;
        Ok(())
    }

    /// What a round with evaluation says about the held-out units; `None` for another round, or a sum of another length. `count`: trained weights; `expected`,
    /// `may_vanish`: the announcement's, which the noise was sized for.
    #[must_use]
    pub fn metrics(&self, charter: &Charter, count: usize, expected: usize, may_vanish: u32) -> Option<Metrics> {
        let shape = RoundShape::of(charter, self.round, count);
        let values = self.values.get(shape.update + shape.indicator..).filter(|rest| rest.len() == shape.metrics)?;
        let metrics = MetricsShape::of(charter).filter(|_| shape.metrics > 0)?;
        let share = charter.share_deviation(u32::try_from(expected).ok()?, may_vanish);
        let deviation = share * (self.cohort.len() as f64).sqrt();
        Some(metrics.read(charter, Norms::of(charter, self.round), values, self.cohort.len(), deviation))
    }

    /// The mean update's negative, in the order of the trained weights.
    fn turned_back(&self, charter: &Charter, state: &State, update: &[i64]) -> Result<Vec<f32>, RoundSumError> {
        let count = state.adapter().trainable_len();
        let scale = rounding(charter, self.round, count)
            .map_err(|e| TermsError::from(crate::PrivacyTermsError::from(e)))?
            .scale();
        let mut values: Vec<f64> = update.iter().map(|value| *value as f64).collect();
        Rotation::new(self.seed, count).inverse(&mut values).map_err(|_| RoundSumError::Turn)?;
        let unit = clipping_norm(charter, state) / scale / self.cohort.len() as f64;
        values.truncate(count);
        Ok(values.into_iter().map(|value| (-value * unit) as f32).collect())
    }

    fn wrong_length(&self, shape: RoundShape) -> RoundSumError {
        ApplyError::WrongLength { found: self.values.len(), expected: shape.len() }.into()
    }
}

/// The clipping norm of the next round: the charter's, or where it follows the updates, the state's.
#[must_use]
pub fn clipping_norm(charter: &Charter, state: &State) -> f64 {
    state.clipping_norm().unwrap_or(charter.privacy.clipping_norm)
}

/// Why an opened sum was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoundSumError {
    /// It has the wrong length, or drives a weight out of the numbers.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The charter's values do not fit together.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The rotation has another width.
    #[error("the update's length is not the rotation's")]
    Turn,
}
