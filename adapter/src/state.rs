//! The adapter between two rounds, with what the optimizer remembers.

mod encoding;

use std::borrow::Cow;

use crate::config::{is_a, is_b};
use crate::optimizer::Step;
use crate::{Adapter, AdapterError, ApplyError, Schedule, ServerOptimizer, Train};

/// An adapter, its optimizer and schedule, the optimizer's moments and the number of sums applied.
///
/// Two houses that apply the same sums in the same order hold the same bits, on any machine.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    adapter: Adapter,
    optimizer: ServerOptimizer,
    schedule: Schedule,
    step: u64,
    /// beta1 and beta2 to the power `step`, by repeated multiplication; 1 where no bias is corrected.
    powers: [f64; 2],
    /// The same for B's steps and for A's, where they are trained by turns; else 1.
    turn_powers: [[f64; 2]; 2],
    /// First and second moment of each trained weight; empty where the optimizer keeps none.
    moments: [Vec<f32>; 2],
    /// The clipping norm, where it follows the updates; 0 where it is fixed.
    clipping_norm: f64,
    /// What the evaluations so far say, where the run may end early; infinite and 0 before the first, or where none is noted.
    best: BestLoss,
}

/// The lowest loss that was noted, and for how many notes none was lower.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BestLoss {
    /// The lowest loss; infinite before the first.
    pub loss: f64,
    /// Losses noted since it was, none of which was lower.
    pub since: u32,
}

impl BestLoss {
    /// Nothing noted.
    const NONE: Self = Self { loss: f64::INFINITY, since: 0 };
}

/// What [`Train::Alternating`] trains by turns: B first, since A has no gradient while B is zero.
const TURNS: [Train; 2] = [Train::B, Train::A];

impl State {
    /// The state before the first sum, with the same step size at every step.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] for a value of the optimizer that is out of range.
    pub fn new(adapter: Adapter, optimizer: ServerOptimizer) -> Result<Self, AdapterError> {
        Self::scheduled(adapter, optimizer, Schedule::default())
    }

    /// The state before the first sum.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] for a value of the optimizer or the schedule that is out of range.
    pub fn scheduled(adapter: Adapter, optimizer: ServerOptimizer, schedule: Schedule) -> Result<Self, AdapterError> {
        optimizer.validate()?;
        schedule.validate()?;
        let count = adapter.trainable_len();
        let ([keeps_first, keeps_second], [first, second]) = (optimizer.keeps(), optimizer.first_moments());
        let moments = [(keeps_first, first), (keeps_second, second)];
        let moments = moments.map(|(kept, value)| vec![value; if kept { count } else { 0 }]);
        Ok(Self {
            adapter,
            optimizer,
            schedule,
            step: 0,
            powers: [1.0, 1.0],
            turn_powers: [[1.0, 1.0]; 2],
            moments,
            clipping_norm: 0.0,
            best: BestLoss::NONE,
        })
    }

    /// The adapter as it is now.
    #[must_use]
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// The adapter whose trained part is what the next sum moves: where B and A are trained by turns, the one whose turn it is, and the head.
    #[must_use]
    pub fn round_adapter(&self) -> Cow<'_, Adapter> {
        match self.turn() {
            None => Cow::Borrowed(&self.adapter),
            Some(turn) => Cow::Owned(self.adapter.training(TURNS[turn])),
        }
    }

    /// Length of the sums that this state takes: the same at every step. In a turn with fewer weights the rest of a sum plays no part.
    #[must_use]
    pub fn update_len(&self) -> usize {
        self.adapter.update_len()
    }

    /// Whose turn it is, where A and B are trained by turns.
    fn turn(&self) -> Option<usize> {
        (self.adapter.config().train == Train::Alternating).then_some((self.step % 2) as usize)
    }

    /// The optimizer.
    #[must_use]
    pub fn optimizer(&self) -> &ServerOptimizer {
        &self.optimizer
    }

    /// How the step size goes over the run.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// How many sums were applied.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The clipping norm that the next updates are cut to, where it follows the updates; `None` where it is fixed.
    #[must_use]
    pub fn clipping_norm(&self) -> Option<f64> {
        (self.clipping_norm > 0.0).then_some(self.clipping_norm)
    }

    /// Sets it.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] unless it is positive and finite.
    pub fn set_clipping_norm(&mut self, norm: f64) -> Result<(), AdapterError> {
        if !(norm > 0.0 && norm.is_finite()) {
            let rule = "a positive finite number";
            return Err(AdapterError::Invalid { key: "clipping_norm", found: norm.to_string(), rule });
        }
        self.clipping_norm = norm;
        Ok(())
    }

    /// The lowest loss noted, and how long ago; infinite and 0 before the first.
    #[must_use]
    pub fn best_loss(&self) -> BestLoss {
        self.best
    }

    /// Notes the loss of an evaluation: it is the lowest if it is below the lowest so far by more than `min_improvement`. One that is not
    /// finite counts for nothing.
    pub fn note_loss(&mut self, loss: f64, min_improvement: f64) {
        if !loss.is_finite() {
            return;
        }
        if loss < self.best.loss - min_improvement {
            self.best = BestLoss { loss, since: 0 };
        } else {
            self.best.since = self.best.since.saturating_add(1);
        }
    }

    /// Applies an opened sum of gradients, one integer for each weight that [`round_adapter`](Self::round_adapter) trains, and others behind them up to [`update_len`](Self::update_len), which play no part: the mean gradient is
    /// `sum * unit / divisor`, and the optimizer moves the weights against it.
    ///
    /// `unit` is the gradient that the integer 1 stands for, `divisor` the public nominal batch size of the cohort.
    /// Their quotient is taken in 64 bits and rounded to 32 once; each integer is rounded to 32 bits and multiplied by it;
    /// the optimizer's operations follow in 32 bits, its constants of a step come from 64-bit values rounded once.
    ///
    /// # Errors
    /// [`ApplyError`]; the state is then as before.
    pub fn apply(&mut self, sum: &[i64], unit: f64, divisor: f64) -> Result<(), ApplyError> {
        let scale = scale(unit, divisor)?;
        self.advance(sum.len(), sum.iter().map(|&integer| integer as f32 * scale))
    }

    /// Applies a mean gradient, as [`apply`](Self::apply) does.
    ///
    /// # Errors
    /// [`ApplyError`]; the state is then as before.
    pub fn apply_gradient(&mut self, gradient: &[f32]) -> Result<(), ApplyError> {
        self.advance(gradient.len(), gradient.iter().copied())
    }

    fn advance(&mut self, found: usize, mut gradient: impl Iterator<Item = f32>) -> Result<(), ApplyError> {
        let mut weights = self.adapter.flat();
        let expected = self.update_len();
        if found != expected {
            return Err(ApplyError::WrongLength { found, expected });
        }
        let count = self.step.checked_add(1).ok_or(ApplyError::TooManySteps)?;
        let decays = self.optimizer.decays();
        let next = |powers: [f64; 2]| [powers[0] * decays[0], powers[1] * decays[1]];
        let (powers, mut turn_powers) = (next(self.powers), self.turn_powers);
        let fraction = self.schedule.fraction(self.step);
        let step = Step::new(&self.optimizer, powers, fraction);
        let mut moments = self.moments.clone();
        if let Some(turn) = self.turn() {
            // A's and B's memories know their own steps only; the head moves at every one.
            turn_powers[turn] = next(turn_powers[turn]);
            let own = Step::new(&self.optimizer, turn_powers[turn], fraction);
            for place in self.adapter.trainable().into_iter().filter(|place| TURNS[turn].trains(&place.name)) {
                let step = if is_a(&place.name) || is_b(&place.name) { own } else { step };
                let range = place.offset..place.offset + place.len();
                let kept = moments.each_mut().map(|kept| kept.get_mut(range.clone()).unwrap_or_default());
                update(step, &mut weights[range], kept, gradient.by_ref().take(place.len()));
            }
        } else {
            update(step, &mut weights, moments.each_mut().map(Vec::as_mut_slice), gradient);
        }
        // A moment that overflows would stop its weight for good without ever showing in it.
        for values in [&weights, &moments[0], &moments[1]] {
            if let Some((tensor, index, value)) = self.adapter.not_finite(values) {
                return Err(ApplyError::NotFinite { tensor, index, value });
            }
        }
        self.adapter.set_flat(&weights);
        (self.step, self.powers, self.turn_powers, self.moments) = (count, powers, turn_powers, moments);
        Ok(())
    }
}

/// `unit / divisor` in 32 bits.
fn scale(unit: f64, divisor: f64) -> Result<f32, ApplyError> {
    let scale = (unit / divisor) as f32;
    let is_good = |value: f64| value.is_finite() && value > 0.0;
    let parts = [("unit", unit), ("divisor", divisor), ("unit / divisor", f64::from(scale))];
    match parts.into_iter().find(|&(_, value)| !is_good(value)) {
        Some((name, value)) => Err(ApplyError::BadScale { name, value }),
        None => Ok(scale),
    }
}

/// Moves every weight; each depends on its own moments and its own gradient only.
fn update(step: Step, weights: &mut [f32], moments: [&mut [f32]; 2], gradient: impl Iterator<Item = f32>) {
    let [first, second] = moments;
    for (index, (weight, gradient)) in weights.iter_mut().zip(gradient).enumerate() {
        let (mut no_first, mut no_second) = (0.0, 0.0);
        let first = first.get_mut(index).unwrap_or(&mut no_first);
        let second = second.get_mut(index).unwrap_or(&mut no_second);
        step.update(weight, first, second, gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What apply does in one pass, done in pieces of different lengths from the back to the front.
    #[test]
    fn weights_updated_in_pieces_have_the_same_bits_as_updated_at_once() {
        let sum: Vec<i64> = (0..1000).map(|i| (i * 7919 % 1009 - 500) * (i * i + 1)).collect();
        fn gradients(sum: &[i64]) -> impl Iterator<Item = f32> {
            sum.iter().map(|&integer| integer as f32 * 1.5e-7)
        }
        let start: Vec<f32> = (0..1000).map(|i| 1.0 / (i as f32 + 3.0)).collect();
        let adam = ServerOptimizer::Adam { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        let sgd = ServerOptimizer::Sgd { learning_rate: 0.1, momentum: 0.9 };
        let yogi = ServerOptimizer::Yogi { learning_rate: 0.01, beta1: 0.9, beta2: 0.99, epsilon: 1e-3 };
        for optimizer in [adam, sgd, yogi] {
            let step = Step::new(&optimizer, optimizer.decays(), 1.0);
            let fresh = || optimizer.keeps().map(|kept| vec![0.1f32; if kept { 1000 } else { 0 }]);
            let (mut whole, mut moments) = (start.clone(), fresh());
            update(step, &mut whole, moments.each_mut().map(Vec::as_mut_slice), gradients(&sum));

            let (mut pieces, mut kept) = (start.clone(), fresh());
            let mut end = 1000usize;
            for length in (1..).take(45) {
                let range = end.saturating_sub(length)..end;
                end = range.start;
                let mut part = [0, 1].map(|i| kept[i].get(range.clone()).unwrap_or_default().to_vec());
                let slices = part.each_mut().map(Vec::as_mut_slice);
                update(step, &mut pieces[range.clone()], slices, gradients(&sum[range.clone()]));
                for (kept, part) in kept.iter_mut().zip(&part).filter(|(kept, _)| !kept.is_empty()) {
                    kept[range.clone()].copy_from_slice(part);
                }
            }
            assert_eq!(end, 0);
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&pieces), bits(&whole));
            assert_eq!(kept.map(|m| bits(&m)), moments.map(|m| bits(&m)));
        }
    }
}
