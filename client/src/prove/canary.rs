//! The canary: an update that is known, made by the charter's own mechanism in place of one from rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter::{Adapter, State};
use privacy::NoiseShare;
use protocol::Charter;
use protocol::charter::{LocalOptimizer, PrivacyMode};
use training::{
    FreshNoise, House, Learner, Mechanism, Noise, Outcome, Part, Sink, Tools, TrainError, Trained, Units, mechanism,
};
use zeroize::Zeroizing;

use crate::trainer::Trainer;

/// How many times the charter's clipping norm each coordinate of a gradient is, at the least: an honest client must cut it down.
pub(super) const TOO_LARGE: f64 = 1_000.0;
/// Grid units that a coordinate has after clipping, at the least: where a vector is too long for that, some of it stays zero.
const LEAST_UNITS: f64 = 8.0;
/// At most so many rows are made up, however small the charter's sampling rate.
const MOST_ROWS: f64 = 1e7;
/// Rows that a batch should have, for the canary to stand out of the noise.
const LEAST_BATCH: f64 = 64.0;
/// An empty batch is drawn again so often: with it nothing would be seen.
const DRAWS: usize = 50;

/// What was made, as it was before it was encrypted.
pub(super) struct Made {
    /// One gradient.
    pub(super) gradient: Vec<f32>,
    /// After clipping, before noise, in grid units.
    pub(super) clipped: Vec<i64>,
    /// Each lot of noise that was added.
    pub(super) noise: Vec<Vec<i64>>,
    /// What was encrypted.
    pub(super) values: Vec<i64>,
    /// Gradients that went in.
    pub(super) rows: usize,
}

/// What a trainer has made, the first first.
pub(super) type Log = Arc<Mutex<Vec<Made>>>;

/// Makes contributions as a house's trainer does, from the canary.
pub(super) struct CanaryTrainer {
    mechanism: Box<dyn Mechanism>,
    house: House,
    // As a house has it: what is drawn ahead must not be used twice.
    noise: FreshNoise,
    moved: usize,
    size: f64,
    log: Log,
}

impl CanaryTrainer {
    /// For a house of `charter`, whose vectors have `count` weights.
    pub(super) fn new(charter: &Charter, house: &protocol::charter::House, count: usize) -> Result<Self, TrainError> {
        let privacy = &charter.privacy;
        let norm = privacy.integer_norm as f64;
        let moved = (norm / LEAST_UNITS).powi(2).clamp(1.0, count as f64);
        // No coordinate reaches the charter's clamp, which would hide a clipping that is off.
        let most = moved.sqrt() * privacy.clamp as f64 / (4.0 * norm);
        let batch = f64::from(house.nominal_batch).max(LEAST_BATCH).min(most).max(1.0);
        let rows = (batch / house.sampling_rate).min(MOST_ROWS).ceil() as usize;
        // Plain steps move as far as their rate lets them.
        let steps = privacy.mode == PrivacyMode::Client && charter.local.optimizer == LocalOptimizer::Sgd;
        let rate = if steps { charter.local.learning_rate } else { 1.0 };
        Ok(Self {
            mechanism: mechanism(charter)?,
            house: House::of_units(Units::alone(rows)),
            noise: FreshNoise::stocked(),
            moved: moved as usize,
            size: TOO_LARGE * privacy.clipping_norm / rate,
            log: Log::default(),
        })
    }

    /// The same with another mechanism.
    #[cfg(test)]
    pub(super) fn with(self, mechanism: Box<dyn Mechanism>) -> Self {
        Self { mechanism, ..self }
    }

    /// What it makes from now on.
    pub(super) fn log(&self) -> Log {
        Arc::clone(&self.log)
    }
}

impl Trainer for CanaryTrainer {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let mut draws = 0;
        loop {
            draws += 1;
            let mut learner =
                Canary { size: self.size, moved: self.moved, gradient: Vec::new(), rows: AtomicUsize::new(0) };
            let mut noise = Recorded { inner: &mut self.noise, clipped: Vec::new(), lots: Vec::new() };
            let mut rng = rand::rng();
            let mut tools = Tools { learner: &mut learner, noise: &mut noise, rng: &mut rng };
            let trained = self.mechanism.contribute(part, state, &self.house, &mut tools)?;
            let Recorded { clipped, lots: noise, .. } = noise;
            let rows = learner.rows.into_inner();
            if rows == 0 && draws < DRAWS {
                continue;
            }
            let values = trained.values.to_vec();
            // Without noise what is sent is what was clipped.
            let clipped = if noise.is_empty() { values.clone() } else { clipped };
            let made = Made { gradient: learner.gradient, clipped, noise, values, rows };
            self.log.lock().unwrap_or_else(PoisonError::into_inner).push(made);
            return Ok(trained);
        }
    }
}

/// A model whose every gradient is the canary: different numbers of both signs, each much too large.
struct Canary {
    size: f64,
    moved: usize,
    gradient: Vec<f32>,
    rows: AtomicUsize,
}

impl Learner for Canary {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        let count = adapter.trainable_len();
        self.gradient = vec![0.0; count];
        let step = (count / self.moved.max(1)).max(1);
        for (at, value) in self.gradient.iter_mut().step_by(step).take(self.moved).enumerate() {
            let weight = 1.0 + (at * 7919 % 1009) as f64 / 1009.0;
            let sign = if (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0 { 1.0 } else { -1.0 };
            *value = (sign * weight * self.size) as f32;
        }
        Ok(())
    }

    fn set_dropout_seed(&mut self, _: u64) {}

    fn for_each_gradient(&self, rows: &[usize], sink: &mut Sink<'_>) -> Result<(), TrainError> {
        self.rows.fetch_add(rows.len(), Ordering::Relaxed);
        (0..rows.len()).for_each(|row| sink(row, 0.0, &self.gradient));
        Ok(())
    }

    /// The canary holds nothing out.
    fn outcomes(&self, rows: &[usize]) -> Result<Vec<Outcome>, TrainError> {
        rows.first().map_or(Ok(Vec::new()), |row| Err(TrainError::NoRow(*row)))
    }
}

/// The real noise, and what it was added to.
struct Recorded<'a> {
    inner: &'a mut FreshNoise,
    clipped: Vec<i64>,
    lots: Vec<Vec<i64>>,
}

impl Noise for Recorded<'_> {
    fn begin(&mut self, share: &NoiseShare, count: usize) {
        self.inner.begin(share, count);
    }

    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError> {
        let before = Zeroizing::new(values.to_vec());
        let waited = self.inner.add(share, values)?;
        self.lots.push(values.iter().zip(before.iter()).map(|(after, before)| after.saturating_sub(*before)).collect());
        // A later local step has no metrics behind its update.
        self.clipped.resize(self.clipped.len().max(before.len()), 0);
        self.clipped.iter_mut().zip(before.iter()).for_each(|(sum, value)| *sum = sum.saturating_add(*value));
        Ok(waited)
    }
}
