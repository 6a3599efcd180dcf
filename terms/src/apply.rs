//! What an opened sum does to a state, and what it says: one place for houses, the aggregator and the laboratory.

use adapter::{ApplyError, State};
use privacy::Rotation;
use protocol::charter::PrivacyMode;
use protocol::{Charter, Digest, HouseName, RoundNumber, Verdict};

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
    /// |E| and d of the announcement, which the noise was sized for.
    pub expected: usize,
    /// d.
    pub may_vanish: u32,
}

impl RoundSum<'_> {
    /// Applies it to `state`: in the record modes the mean over the cohort's nominal batches, and over the local steps of
    /// `record-local`, is the gradient that the server's optimizer takes. Under `client` the mean update of the cohort, turned back, is taken
    /// for a gradient in the other direction, and the clipping norm moves where it follows the updates. Where the charter has a patience, the round's
    /// noised loss is noted; [`is_over`] says whether the run ends with it.
    ///
    /// # Errors
    /// [`RoundSumError`]; the state is then as before.
    pub fn apply(&self, charter: &Charter, state: &mut State) -> Result<(), RoundSumError> {
        let count = state.update_len();
        let shape = RoundShape::of(charter, self.round, count);
        let (update, rest) = self.values.split_at_checked(shape.update).ok_or_else(|| self.wrong_length(shape))?;
        if rest.len() != shape.indicator + shape.metrics {
            return Err(self.wrong_length(shape));
        }
        if charter.privacy.mode != PrivacyMode::Client {
            let divisor =
                charter.nominal_batch_of(self.cohort.iter().copied()) as f64 * f64::from(charter.noised_steps());
            state.apply(update, unit(charter), divisor)?;
            self.note_loss(charter, state);
            return Ok(());
        }
        let mut next = state.clone();
        self.note_loss(charter, &mut next);
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

    /// The noised loss of an evaluation, where the run may end early. It is that of the adapter that the round began with.
    fn note_loss(&self, charter: &Charter, state: &mut State) {
        let Some(evaluation) = charter.evaluation.as_ref().filter(|evaluation| evaluation.patience.is_some()) else {
            return;
        };
        // While the steps warm up, nothing is to be had: that uses up no patience.
        if charter.optimizer.schedule().is_some_and(|schedule| self.round.get() <= schedule.warmup_rounds) {
            return;
        }
        let metrics = self.metrics(charter, state.update_len());
        // A loss at the bound may be any loss beyond it.
        let loss = metrics
            .and_then(|metrics| metrics.loss)
            .map(|loss| loss.value)
            .filter(|loss| *loss < evaluation.loss_bound);
        if let Some(loss) = loss {
            state.note_loss(loss, evaluation.min_improvement);
        }
    }

    /// What a round with evaluation says about the held-out units; `None` for another round, or a sum of another length. `count`: trained weights.
    #[must_use]
    pub fn metrics(&self, charter: &Charter, count: usize) -> Option<Metrics> {
        let shape = RoundShape::of(charter, self.round, count);
        let values = self.values.get(shape.update + shape.indicator..).filter(|rest| rest.len() == shape.metrics)?;
        let metrics = MetricsShape::of(charter).filter(|_| shape.metrics > 0)?;
        let share = charter.share_deviation(u32::try_from(self.expected).ok()?, self.may_vanish);
        let deviation = share * (self.cohort.len() as f64).sqrt();
        Some(metrics.read(charter, Norms::of(charter, self.round), values, self.cohort.len(), deviation))
    }

    /// The mean update's negative, in the order of the trained weights.
    fn turned_back(&self, charter: &Charter, state: &State, update: &[i64]) -> Result<Vec<f32>, RoundSumError> {
        let count = state.update_len();
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

/// Whether the run ends where `state` is, before the charter's last round: so many evaluated rounds in a row as its patience is brought no
/// lower noised loss. Everybody who can open a sum decides this alike, from the state that t houses sign.
#[must_use]
pub fn is_over(charter: &Charter, state: &State) -> bool {
    let patience = charter.evaluation.as_ref().and_then(|evaluation| evaluation.patience);
    patience.is_some_and(|patience| state.best_loss().since >= patience)
}

/// What a house signs of an applied round: the state that it led to, and whether the run ends with it.
#[must_use]
pub fn applied(charter: &Charter, state: &State) -> Verdict {
    Verdict::Applied { state: Digest::from_bytes(state.digest()), last: is_over(charter, state) }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Terms;

    /// Rounds of losses v / 8 in 100 units of one label, without noise: 2 is the first, 1.95 is not lower by more than 0.1, 1.8 is, and after two more that
    /// are not lower than that by more than 0.1 the patience of two is used up. In a round without an evaluation, and in one without units, nothing is noted.
    #[test]
    fn a_run_is_over_when_its_patience_of_evaluated_rounds_brought_no_lower_loss() {
        let section = "[evaluation]\nevery = 1\nheld_out = 0.1\nnoise_multiplier = 20.0\nloss_bound = 8.0\npatience = 2\nmin_improvement = 0.1\n";
        let text = protocol::charter::SAMPLE
            .replacen("[[house]]", &format!("{section}[[house]]"), 1)
            .replace("mode = \"record-shared\"", "mode = \"none\"")
            .replace("\nepsilon = 3.0", "\nepsilon = 0.0")
            .replace("delta = 1e-5", "delta = 0.0")
            .replace("noise_multiplier = 0.81", "noise_multiplier = 0.0");
        let charter = Charter::parse(&text).unwrap();
        let patient = Charter::parse(&text.replace("patience = 2\nmin_improvement = 0.1\n", "")).unwrap();
        let (mut state, mut endless) =
            (Terms::of(&charter).unwrap().first_state().unwrap(), Terms::of(&patient).unwrap().first_state().unwrap());
        let count = state.update_len();
        let cohort: Vec<&HouseName> = charter.houses.iter().map(|house| &house.name).collect();
        // What a one is on the grid: 4096 / sqrt(2), truncated.
        let one = 2896;
        let noted = [(1, 2.0, 100), (2, 1.95, 100), (3, 1.8, 100), (4, 0.0, 0), (5, 1.9, 100), (6, 1.75, 100)].map(
            |(round, loss, units)| {
                let round = RoundNumber::new(round).unwrap();
                let mut values = vec![0; RoundShape::of(&charter, round, count).len()];
                values[count] = (loss / 8.0 * f64::from(units * one)) as i64;
                values[count + 1] = i64::from(units * one);
                let seed = &[0; 32];
                let sum = RoundSum { round, seed, cohort: &cohort, values: &values, expected: 4, may_vanish: 1 };
                sum.apply(&charter, &mut state).unwrap();
                sum.apply(&patient, &mut endless).unwrap();
                let Verdict::Applied { state: digest, last } = applied(&charter, &state) else { panic!("applied") };
                assert_eq!(digest.as_bytes(), &state.digest());
                (state.best_loss().since, last)
            },
        );
        assert_eq!(noted, [(0, false), (1, false), (0, false), (0, false), (1, false), (2, true)]);
        assert!((state.best_loss().loss - 1.8).abs() < 1e-5);
        assert!(!is_over(&patient, &endless));
        assert_eq!(endless.best_loss().loss, f64::INFINITY);
    }
}
