//! This house's share of the noise: exact discrete Gaussians.

use dashu::{integer::IBig, rational::RBig};
use opendp::traits::samplers::sample_discrete_gaussian;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::accountant::Grid;
pub use crate::accountant::SMALLEST_DEVIATION;

/// A share's standard deviation is a multiple of one over this: small rationals make an exact sampler fast.
const GRAIN: u64 = 1024;
/// Largest standard deviation in grid units, so that its square and `x^2` stay in machine words.
const LARGEST_DEVIATION: f64 = (1u64 << 48) as f64;
/// Samples one task draws.
const BATCH: usize = 1024;

/// A share of the discrete Gaussian noise, in grid units: its standard deviation as a rational number that is at least
/// the exact `z * D / sqrt(honest)`, rounded up to a multiple of 1/1024 (`z` noise multiplier, `D` integer norm).
///
/// It is `Send + Sync` and draws through `&self`: draw on another thread while the gradients are computed.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseShare {
    /// In units of 1 / [`GRAIN`].
    deviation: u64,
    integer_norm: u64,
    honest: usize,
}

/// Why there is no noise share, or no noise.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoiseError {
    /// The noise multiplier is not a positive finite number.
    #[error("noise multiplier {0} is not a positive finite number")]
    Multiplier(f64),
    /// The integer norm is zero.
    #[error("the integer norm is zero")]
    IntegerNorm,
    /// Fewer than two honest clients would remain to carry the noise.
    #[error(
        "{expected} expected clients less {may_vanish} that may vanish and {colluders} colluders leave fewer than 2"
    )]
    TooFewHonest {
        /// Clients expected in the round.
        expected: usize,
        /// How many of them may vanish.
        may_vanish: usize,
        /// How many of them may collude.
        colluders: usize,
    },
    /// The share is narrower than [`SMALLEST_DEVIATION`]: raise the integer norm.
    #[error("a share's standard deviation of {0} grid units is below 4: raise the integer norm")]
    TooNarrow(f64),
    /// The share is too wide for 64-bit sums: lower the integer norm.
    #[error("a share's standard deviation of {0} grid units is above 2^48: lower the integer norm")]
    TooWide(f64),
    /// opendp's sampler failed (no system entropy), in its words.
    #[error("the discrete Gaussian sampler failed: {0}")]
    Sampler(String),
}

impl NoiseShare {
    /// Mode `record-shared`: the cohort shares the noise. Its size is that of the smallest honest part of a cohort that
    /// could be opened, `expected - may_vanish - colluders`: those shares alone have variance `z^2 D^2` at least.
    ///
    /// # Errors
    /// Every [`NoiseError`] but `Sampler`.
    pub fn new(
        noise_multiplier: f64,
        integer_norm: u64,
        expected: usize,
        may_vanish: usize,
        colluders: usize,
    ) -> Result<Self, NoiseError> {
        let honest = expected
            .checked_sub(may_vanish)
            .and_then(|rest| rest.checked_sub(colluders))
            .filter(|honest| *honest >= 2)
            .ok_or(NoiseError::TooFewHonest { expected, may_vanish, colluders })?;
        Self::of(noise_multiplier, integer_norm, honest)
    }

    /// Mode `record-local`: this house carries all the noise it needs, trusting nobody.
    ///
    /// # Errors
    /// Every [`NoiseError`] but `Sampler` and `TooFewHonest`.
    pub fn local(noise_multiplier: f64, integer_norm: u64) -> Result<Self, NoiseError> {
        Self::of(noise_multiplier, integer_norm, 1)
    }

    fn of(noise_multiplier: f64, integer_norm: u64, honest: usize) -> Result<Self, NoiseError> {
        if !(noise_multiplier.is_normal() && noise_multiplier > 0.0) {
            return Err(NoiseError::Multiplier(noise_multiplier));
        }
        if integer_norm == 0 {
            return Err(NoiseError::IntegerNorm);
        }
        let wanted = noise_multiplier * integer_norm as f64 / (honest as f64).sqrt();
        if wanted > LARGEST_DEVIATION {
            return Err(NoiseError::TooWide(wanted));
        }
        // A guess from below in floating point, then upward until the exact inequality holds.
        let z = RBig::try_from(noise_multiplier).map_err(|_| NoiseError::Multiplier(noise_multiplier))?;
        let target = (z * RBig::from(integer_norm)).pow(2);
        let mut deviation = ((wanted * GRAIN as f64 * (1.0 - 2f64.powi(-50))) as u64).saturating_sub(1);
        while rational(deviation).pow(2) * RBig::from(honest) < target {
            deviation += 1;
        }
        let share = Self { deviation, integer_norm, honest };
        if share.deviation() < SMALLEST_DEVIATION {
            return Err(NoiseError::TooNarrow(share.deviation()));
        }
        Ok(share)
    }

    /// The share's standard deviation (the discrete Gaussian's scale), in grid units.
    pub fn deviation(&self) -> f64 {
        self.deviation as f64 / GRAIN as f64
    }

    /// The share's variance, in grid units squared. A discrete Gaussian's variance is at most its squared scale, and
    /// equal to it but for 1e-130 at scale 4.
    pub fn variance(&self) -> f64 {
        self.deviation().powi(2)
    }

    /// Honest shares that the guarantee counts on: 1 in mode `record-local`.
    pub fn honest(&self) -> usize {
        self.honest
    }

    /// Standard deviation of the noise in the sum over a cohort, in grid units.
    pub fn deviation_of_sum(&self, cohort: usize) -> f64 {
        self.deviation() * (cohort as f64).sqrt()
    }

    /// What the accountant needs to know about this noise on vectors of `dimension` coordinates.
    pub fn grid(&self, dimension: u64) -> Grid {
        Grid { dimension, integer_norm: self.integer_norm, shares: self.honest as u64, deviation: self.deviation() }
    }

    /// How much more noise the sum over a cohort carries than central DP-SGD: `sqrt(cohort / honest)`.
    pub fn factor(&self, cohort: usize) -> f64 {
        (cohort as f64 / self.honest as f64).sqrt()
    }

    /// Draws `count` independent samples on rayon's threads. They reveal what they hide, so they are wiped on drop.
    ///
    /// The randomness is opendp's: rand's thread generator, ChaCha20 seeded by the operating system.
    ///
    /// # Errors
    /// [`NoiseError::Sampler`].
    pub fn draw(&self, count: usize) -> Result<Zeroizing<Vec<i64>>, NoiseError> {
        let scale = rational(self.deviation);
        let mut noise = Zeroizing::new(vec![0i64; count]);
        noise.par_chunks_mut(BATCH).try_for_each(|batch| {
            batch.iter_mut().try_for_each(|sample| {
                let drawn: IBig =
                    sample_discrete_gaussian(scale.clone()).map_err(|e| NoiseError::Sampler(e.to_string()))?;
                *sample = i64::try_from(&drawn).map_err(|e| NoiseError::Sampler(e.to_string()))?;
                Ok(())
            })
        })?;
        Ok(noise)
    }
}

fn rational(deviation: u64) -> RBig {
    RBig::from(deviation) / RBig::from(GRAIN)
}
