//! Mechanisms with a mistake, which an audit must catch.

use std::time::{Duration, Instant};

use adapter::State;
use privacy::{NoiseShare, poisson_sample};
use training::{FreshNoise, House, Mechanism, Noise, Part, Tools, TrainError, Trained};
use zeroize::Zeroizing;

/// A mistake that somebody could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Broken {
    /// The noise is scaled by a half.
    NoiseHalf,
    /// Gradients are not clipped.
    NoClipping,
    /// Each house draws its noise once and uses it in every round.
    SeedReused,
}

/// Noise scaled by a half.
#[derive(Default)]
pub struct HalfNoise(FreshNoise);

impl Noise for HalfNoise {
    fn begin(&mut self, share: &NoiseShare, count: usize) {
        self.0.begin(share, count);
    }

    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError> {
        let mut noise = Zeroizing::new(vec![0; values.len()]);
        let waited = self.0.add(share, &mut noise)?;
        values.iter_mut().zip(noise.iter()).for_each(|(value, noise)| *value = value.saturating_add(noise / 2));
        Ok(waited)
    }
}

/// The first round's noise of each house, again and again. Houses ask in the same order every round.
pub struct ReusedNoise {
    houses: usize,
    next: usize,
    kept: Vec<Zeroizing<Vec<i64>>>,
}

impl ReusedNoise {
    /// For so many houses that take turns.
    #[must_use]
    pub fn new(houses: usize) -> Self {
        Self { houses, next: 0, kept: Vec::new() }
    }
}

impl Noise for ReusedNoise {
    fn begin(&mut self, _: &NoiseShare, _: usize) {}

    fn add(&mut self, share: &NoiseShare, values: &mut [i64]) -> Result<Duration, TrainError> {
        let start = Instant::now();
        if self.kept.len() < self.houses {
            self.kept.push(share.draw(values.len())?);
        }
        let kept = self.kept.get(self.next).ok_or(TrainError::Worker)?;
        values.iter_mut().zip(kept.iter()).for_each(|(value, noise)| *value = value.saturating_add(*noise));
        self.next = (self.next + 1) % self.houses;
        Ok(start.elapsed())
    }
}

/// One step of `record-shared` that forgets to clip.
pub struct Unclipped;

impl Mechanism for Unclipped {
    fn contribute(
        &self,
        part: &Part<'_>,
        state: &State,
        house: &House,
        tools: &mut Tools<'_>,
    ) -> Result<Trained, TrainError> {
        let start = Instant::now();
        let chosen = poisson_sample(house.units.len(), part.sampling_rate()?, tools.rng)?;
        let rows: Vec<usize> = chosen.iter().flat_map(|unit| house.units[*unit].iter().copied()).collect();
        tools.begin_step(&state.round_adapter())?;
        let unit = terms::unit(part.charter);
        let mut values = Zeroizing::new(vec![0i64; state.update_len()]);
        tools.learner.for_each_gradient(&rows, &mut |_, _, gradient| {
            let integers = gradient.iter().map(|value| (f64::from(*value) / unit) as i64);
            values.iter_mut().zip(integers).for_each(|(sum, value)| *sum = sum.saturating_add(value));
        })?;
        let train = start.elapsed();
        let noise = match part.noise_share()? {
            Some(share) => tools.noise.add(&share, &mut values)?,
            None => Duration::ZERO,
        };
        Ok(Trained { values, loss: None, train, noise })
    }
}
