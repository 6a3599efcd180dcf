//! Mode `client`: a whole house is protected. The house trains a copy of the adapter on its own rows, and what leaves is how far
//! the copy moved: clipped, rotated, rounded to integers of a bounded norm, with this house's share of the noise (the distributed discrete
//! Gaussian mechanism of Kairouz, Liu, Steinke 2021, algorithm 1).
//!
//! Local steps (gradient descent or AdamW, drawn back to where the round began where the charter says so: FedProx, Li et al. 2020) clip no examples: the
//! neighbour of a federation is one in which this house's whole vector is zero, and that vector's norm is checked exactly.

use std::time::{Duration, Instant};

use adapter::{ServerOptimizer, State};
use privacy::{Rotation, clamp};
use protocol::Charter;
use protocol::charter::{Local, LocalOptimizer};
use rand::seq::SliceRandom as _;
use terms::{Norms, PrivacyTermsError, RoundShape, TermsError};
use zeroize::Zeroizing;

use crate::mechanism::{Mechanism, Tools, Trained};
use crate::{House, Learner, Part, TrainError, held_out};

/// The mechanism of mode `client`.
pub struct ClientUpdate {
    clamp: u64,
}

impl ClientUpdate {
    /// The mechanism of `charter`.
    #[must_use]
    pub fn new(charter: &Charter) -> Self {
        Self { clamp: charter.privacy.clamp }
    }
}

impl Mechanism for ClientUpdate {
    fn contribute(
        &self,
        part: &Part<'_>,
        state: &State,
        house: &House,
        tools: &mut Tools<'_>,
    ) -> Result<Trained, TrainError> {
        let charter = part.charter;
        let shape = RoundShape::of(charter, part.number, state.update_len());
        let share = part.noise_share()?;
        if let Some(share) = &share {
            tools.noise.begin(share, shape.len());
        }
        let start = Instant::now();
        let (update, loss) = local_update(part, state, house, tools)?;
        let mut values = Zeroizing::new(vec![0; shape.len()]);
        let (integers, rest) = values.split_at_mut(shape.update);
        let (indicator, metrics) = rest.split_at_mut(shape.indicator);
        let below = encode(part, state, &update, integers, tools)?;
        if let Some(indicator) = indicator.first_mut() {
            let norm = i64::try_from(Norms::of(charter, part.number).indicator).unwrap_or(i64::MAX);
            *indicator = if below { norm } else { -norm };
        }
        if shape.metrics > 0 {
            tools.learner.set_adapter(state.adapter())?;
            metrics.copy_from_slice(&held_out::sums(part, house, tools.learner)?);
        }
        clamp(&mut values, self.clamp);
        let train = start.elapsed();
        let noise = share.map_or(Ok(Duration::ZERO), |share| tools.noise.add(&share, &mut values))?;
        Ok(Trained { values, loss, train, noise })
    }
}

/// How far this house's copy of the adapter moves in what the round trains (zeros behind that, up to the vector's length), and the mean loss of its first batch. A house without rows, or one whose
/// training leaves the numbers, stays where it is: whether it takes part must not depend on its data.
fn local_update(
    part: &Part<'_>,
    state: &State,
    house: &House,
    tools: &mut Tools<'_>,
) -> Result<(Zeroizing<Vec<f64>>, Option<f64>), TrainError> {
    let local = &part.charter.local;
    let training = state.round_adapter();
    let fresh = || State::new(training.clone().into_owned(), optimizer(local)).map_err(TermsError::from);
    let (mut own, before) = (fresh()?, training.flat());
    let mut rows = house.units.rows().to_vec();
    let batch = (local.batch as usize).min(rows.len());
    let (mut next, mut loss) = (rows.len(), None);
    for _ in 0..if rows.is_empty() { 0 } else { local.steps } {
        if next + batch > rows.len() {
            rows.shuffle(tools.rng);
            next = 0;
        }
        tools.begin_step(own.adapter())?;
        let (mut gradient, mean) = mean_gradient(tools.learner, &rows[next..next + batch], before.len())?;
        if local.proximal > 0.0 {
            draw_back(&mut gradient, local.proximal as f32, &Zeroizing::new(own.adapter().flat()), &before);
        }
        next += batch;
        loss = loss.or(Some(mean));
        if own.apply_gradient(&gradient).is_err() {
            tracing::warn!(
                "local training left the numbers: this round's update is zero; write a smaller local.learning_rate"
            );
            own = fresh()?;
            break;
        }
    }
    let after = Zeroizing::new(own.adapter().flat());
    let mut moved = Zeroizing::new(vec![0.0; state.update_len()]);
    for (moved, (after, before)) in moved.iter_mut().zip(after.iter().zip(&before)) {
        *moved = f64::from(*after) - f64::from(*before);
    }
    Ok((moved, loss))
}

/// What takes the local steps, with nothing in its memory.
fn optimizer(local: &Local) -> ServerOptimizer {
    let learning_rate = local.learning_rate;
    match local.optimizer {
        LocalOptimizer::Sgd => ServerOptimizer::Sgd { learning_rate, momentum: local.momentum },
        LocalOptimizer::AdamW => {
            let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
            ServerOptimizer::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay: local.weight_decay }
        }
    }
}

/// The gradient of FedProx's mu / 2 |w - w_start|^2, added.
fn draw_back(gradient: &mut [f32], mu: f32, now: &[f32], start: &[f32]) {
    gradient.iter_mut().zip(now.iter().zip(start)).for_each(|(value, (now, start))| *value += mu * (now - start));
}

fn mean_gradient(
    learner: &dyn Learner,
    rows: &[usize],
    width: usize,
) -> Result<(Zeroizing<Vec<f32>>, f64), TrainError> {
    let mut sum = Zeroizing::new(vec![0.0f32; width]);
    let mut losses = 0.0;
    learner.for_each_gradient(rows, &mut |_, loss, gradient| {
        losses += f64::from(loss);
        sum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
    })?;
    let count = rows.len() as f32;
    sum.iter_mut().for_each(|value| *value /= count);
    Ok((sum, losses / f64::from(count)))
}

/// Writes the clipped, rotated, rounded update into `integers`; gives whether its norm was within the clipping norm.
fn encode(
    part: &Part<'_>,
    state: &State,
    update: &[f64],
    integers: &mut [i64],
    tools: &mut Tools<'_>,
) -> Result<bool, TrainError> {
    let (charter, count) = (part.charter, update.len());
    let rounding =
        terms::rounding(charter, part.number, count).map_err(PrivacyTermsError::from).map_err(TermsError::from)?;
    let clipping_norm = terms::clipping_norm(charter, state);
    let norm = update.iter().map(|value| value * value).sum::<f64>().sqrt();
    let below = norm <= clipping_norm;
    let factor = if below { 1.0 } else { clipping_norm / norm } * (rounding.scale() / clipping_norm);
    let mut turned = Zeroizing::new(vec![0.0; integers.len()]);
    turned.iter_mut().zip(update).for_each(|(turned, value)| *turned = value * factor);
    Rotation::new(&part.seed, count).forward(&mut turned).map_err(|_| TrainError::Turn)?;
    if rounding.round(&turned, tools.rng, integers) == privacy::Rounded::Zeroed {
        tracing::warn!("the update could not be rounded within its norm and counts as zero");
    }
    Ok(below)
}
