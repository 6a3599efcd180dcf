//! DP-SGD's local half for the modes `record-shared` and `record-local`: one Poisson batch of privacy units a round, each
//! unit's gradient clipped to integers, their exact sum clamped, and the noise of this house added.
//!
//! The two modes differ in the size of the noise, and in that a house under `record-local` may take several such steps on a
//! copy of its own: it contributes the exact sum of their noised sums, which for plain gradient descent is how far its copy
//! moved. Under `none` nothing is added, which is logged every round.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use adapter::{Adapter, ServerOptimizer, State};
use privacy::{Clip, ClipError, UnitGradient, clamp, poisson_sample};
use protocol::Charter;
use protocol::charter::{Clipping, PrivacyMode};
use terms::RoundShape;
use zeroize::Zeroizing;

use crate::mechanism::{Mechanism, Tools, Trained};
use crate::{House, Part, TrainError, held_out};

/// The record modes' mechanism.
pub struct DpSgd {
    clip: Clip,
    clipping: Clipping,
    clamp: u64,
}

impl DpSgd {
    /// The clipping of `charter`.
    ///
    /// # Errors
    /// [`TrainError::Clip`].
    pub fn new(charter: &Charter) -> Result<Self, TrainError> {
        let privacy = &charter.privacy;
        let clip = Clip::new(privacy.clipping_norm, privacy.integer_norm)?;
        Ok(Self { clip, clipping: privacy.clipping, clamp: privacy.clamp })
    }

    /// The exact sum of the clipped gradients of `batch` (units as positions of rows) by what `adapter` trains, and the mean loss of its rows.
    ///
    /// # Errors
    /// A failure of the model, or sums that overflow.
    pub fn clipped_sum(
        &self,
        tools: &mut Tools<'_>,
        batch: &[&[usize]],
        adapter: &Adapter,
    ) -> Result<(Zeroizing<Vec<i64>>, Option<f64>), TrainError> {
        let rows: Vec<usize> = batch.iter().flat_map(|unit| unit.iter().copied()).collect();
        let unit_of: Vec<usize> = batch.iter().enumerate().flat_map(|(u, unit)| unit.iter().map(move |_| u)).collect();
        let per_layer = match self.clipping {
            Clipping::Flat => None,
            Clipping::PerLayer => Some(self.clip.clone().in_parts(adapter.layer_ends())?),
        };
        tools.begin_step(adapter)?;
        let clip = per_layer.as_ref().unwrap_or(&self.clip);
        let mut sum = UnitSum { clip, units: batch, open: HashMap::new(), error: None };
        let mut values = Zeroizing::new(vec![0; adapter.trainable_len()]);
        let mut losses = 0.0;
        tools.learner.for_each_gradient(&rows, &mut |row, loss, gradient| {
            losses += f64::from(loss);
            sum.add(unit_of[row], gradient, &mut values);
        })?;
        if let Some(error) = sum.error {
            return Err(error.into());
        }
        let loss = (!rows.is_empty()).then(|| losses / rows.len() as f64);
        Ok((values, loss))
    }

    /// One Poisson batch from `state`: its clipped sum, and behind it `tail` coordinates of held-out units' metrics, all
    /// clamped, with this house's noise.
    fn step(
        &self,
        part: &Part<'_>,
        state: &State,
        house: &House,
        tail: usize,
        tools: &mut Tools<'_>,
    ) -> Result<Trained, TrainError> {
        let share = part.noise_share()?;
        let width = state.update_len() + tail;
        if let Some(share) = &share {
            tools.noise.begin(share, width);
        }
        let start = Instant::now();
        let chosen = poisson_sample(house.units.len(), part.sampling_rate()?, tools.rng)?;
        let batch: Vec<&[usize]> = chosen.iter().map(|unit| &house.units[*unit]).collect();
        let (mut values, loss) = self.clipped_sum(tools, &batch, &state.round_adapter())?;
        if width > values.len() {
            // A turn with fewer weights than the other leaves zeros before the metrics.
            let mut whole = Zeroizing::new(Vec::with_capacity(width));
            whole.extend_from_slice(&values);
            whole.resize(width - tail, 0);
            if tail > 0 {
                whole.extend_from_slice(&held_out::sums(part, house, tools.learner)?);
            }
            values = whole;
        }
        clamp(&mut values, self.clamp);
        let train = start.elapsed();
        let noise = share.map_or(Ok(Duration::ZERO), |share| tools.noise.add(&share, &mut values))?;
        Ok(Trained { values, loss, train, noise })
    }
}

impl Mechanism for DpSgd {
    fn contribute(
        &self,
        part: &Part<'_>,
        state: &State,
        house: &House,
        tools: &mut Tools<'_>,
    ) -> Result<Trained, TrainError> {
        if part.charter.privacy.mode == PrivacyMode::None {
            tracing::warn!("privacy mode `none`: this update is NOT differentially private");
        }
        let steps = part.charter.noised_steps();
        let shape = RoundShape::of(part.charter, part.number, state.update_len());
        // Of several steps the first carries the metrics: they are of the adapter that the round began with.
        let mut made = self.step(part, state, house, shape.metrics, tools)?;
        if steps == 1 {
            return Ok(made);
        }
        // Later steps start from what the noised sums so far gave, and from nothing else: post-processing.
        let local = ServerOptimizer::Sgd { learning_rate: part.charter.local.learning_rate, momentum: 0.0 };
        let own = State::new(state.round_adapter().into_owned(), local);
        let mut own = own.map_err(terms::TermsError::from)?;
        let count = own.update_len();
        let (unit, divisor) = (terms::unit(part.charter), part.nominal_batch()?);
        own.apply(&made.values[..count], unit, divisor)?;
        for step in 2..=steps {
            let next = self.step(part, &own, house, 0, tools)?;
            if step < steps {
                own.apply(&next.values, unit, divisor)?;
            }
            for (total, value) in made.values.iter_mut().zip(next.values.iter()) {
                *total = total.saturating_add(*value);
            }
            made.loss = next.loss.or(made.loss);
            made.train += next.train;
            made.noise += next.noise;
        }
        Ok(made)
    }
}

/// Clips each unit once, as soon as its last row is there. A row whose gradient is not finite counts as zero: whether a
/// round goes on must not depend on one row.
struct UnitSum<'a> {
    clip: &'a Clip,
    units: &'a [&'a [usize]],
    /// Units with some of their rows, and how many rows are still to come.
    open: HashMap<usize, (UnitGradient, usize)>,
    error: Option<ClipError>,
}

impl UnitSum<'_> {
    fn add(&mut self, unit: usize, gradient: &[f32], values: &mut [i64]) {
        let rows = self.units[unit].len();
        let result = if rows == 1 {
            self.clip.add_clipped(gradient, values).map(drop)
        } else {
            self.add_row(unit, rows, gradient, values)
        };
        match result {
            Ok(()) => {}
            Err(ClipError::NotFinite { .. }) => tracing::debug!("a gradient is not finite and counts as zero"),
            Err(error) => self.error = Some(error),
        }
    }

    fn add_row(&mut self, unit: usize, rows: usize, gradient: &[f32], values: &mut [i64]) -> Result<(), ClipError> {
        let (sum, left) = self.open.entry(unit).or_insert_with(|| (UnitGradient::new(gradient.len()), rows));
        *left -= 1;
        let added = sum.add_row(gradient);
        if *left > 0 {
            return added;
        }
        match self.open.remove(&unit) {
            Some((sum, _)) if sum.rows() > 0 => self.clip.add_clipped_unit(&sum, values).and(added),
            _ => added,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A unit of two rows moves the sum by one clipped mean; the same rows as two units would move it by two.
    #[test]
    fn rows_of_one_unit_are_clipped_together() {
        let units: [&[usize]; 2] = [&[0, 1], &[2]];
        let clip = Clip::new(1.0, 100).unwrap();
        let mut sum = UnitSum { clip: &clip, units: &units, open: HashMap::new(), error: None };
        let mut values = vec![0; 2];
        sum.add(0, &[8.0, 0.0], &mut values);
        assert_eq!(values, [0, 0]);
        sum.add(1, &[0.0, 0.5], &mut values);
        assert_eq!(values, [0, 50]);
        sum.add(0, &[2.0, 0.0], &mut values);
        assert_eq!(values, [100, 50]);
        assert!(sum.open.is_empty() && sum.error.is_none());
    }

    #[test]
    fn a_row_that_is_not_finite_counts_as_zero_and_its_unit_still_counts() {
        let units: [&[usize]; 2] = [&[0, 1], &[2]];
        let clip = Clip::new(1.0, 100).unwrap();
        let mut sum = UnitSum { clip: &clip, units: &units, open: HashMap::new(), error: None };
        let mut values = vec![0; 1];
        sum.add(1, &[f32::NAN], &mut values);
        sum.add(0, &[0.25], &mut values);
        sum.add(0, &[f32::INFINITY], &mut values);
        assert_eq!(values, [25]);
        assert!(sum.open.is_empty() && sum.error.is_none());
    }
}
