//! The canary: an update that is known, made by the charter's own mechanism in place of one from rows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapter::{Adapter, State};
use privacy::NoiseShare;
use protocol::Charter;
use training::{
    FreshNoise, House, Learner, Mechanism, Noise, Outcome, Part, Sink, Tools, TrainError, Trained, Units, mechanism,
};
use zeroize::Zeroizing;

use crate::trainer::Trainer;

/// Coordinates that every gradient of the canary moves.
pub(super) const MOVED: usize = 16;
/// How many times the charter's clipping norm each of them is: an honest client must cut it down.
pub(super) const TOO_LARGE: f64 = 1_000.0;
/// At most so many rows are made up, however small the charter's sampling rate.
const MOST_UNITS: f64 = 1e6;
/// Rows that a batch should have, for the canary to stand out of the noise.
const LEAST_BATCH: f64 = 64.0;

/// What was made, as it was before it was encrypted.
#[derive(Default)]
pub(super) struct Made {
    /// After clipping, before noise, in grid units.
    pub(super) clipped: Vec<i64>,
    /// Each lot of noise that was added.
    pub(super) noise: Vec<Vec<i64>>,
    /// What was encrypted.
    pub(super) values: Vec<i64>,
    /// Gradients that went in.
    pub(super) rows: usize,
}

/// Makes contributions as a house's trainer does, from the canary.
pub(super) struct CanaryTrainer {
    mechanism: Box<dyn Mechanism>,
    house: House,
    made: Arc<Mutex<Made>>,
}

impl CanaryTrainer {
    /// For a house of `charter` with this sampling rate and nominal batch.
    pub(super) fn new(charter: &Charter, rate: f64, batch: u32) -> Result<(Self, Arc<Mutex<Made>>), TrainError> {
        let units = (f64::from(batch).max(LEAST_BATCH) / rate).min(MOST_UNITS).ceil() as usize;
        let made = Arc::new(Mutex::new(Made::default()));
        let house = House::of_units(Units::alone(units));
        Ok((Self { mechanism: mechanism(charter)?, house, made: Arc::clone(&made) }, made))
    }
}

impl Trainer for CanaryTrainer {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let size = (TOO_LARGE * part.charter.privacy.clipping_norm) as f32;
        let mut learner = Canary { size, gradient: Vec::new(), rows: AtomicUsize::new(0) };
        let mut noise = Recorded { inner: FreshNoise::new(), clipped: Vec::new(), lots: Vec::new() };
        let mut rng = rand::rng();
        let mut tools = Tools { learner: &mut learner, noise: &mut noise, rng: &mut rng };
        let trained = self.mechanism.contribute(part, state, &self.house, &mut tools)?;
        let values = trained.values.to_vec();
        // Without noise what is sent is what was clipped.
        let clipped = if noise.lots.is_empty() { values.clone() } else { noise.clipped };
        let rows = learner.rows.into_inner();
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Made { clipped, noise: noise.lots, values, rows };
        Ok(trained)
    }
}

/// A model whose every gradient is the canary.
struct Canary {
    size: f32,
    gradient: Vec<f32>,
    rows: AtomicUsize,
}

impl Learner for Canary {
    fn set_adapter(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        let count = adapter.trainable_len();
        self.gradient = vec![0.0; count];
        let step = (count / MOVED).max(1);
        for (at, value) in self.gradient.iter_mut().step_by(step).take(MOVED).enumerate() {
            *value = if at.is_multiple_of(2) { self.size } else { -self.size };
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
struct Recorded {
    inner: FreshNoise,
    clipped: Vec<i64>,
    lots: Vec<Vec<i64>>,
}

impl Noise for Recorded {
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
