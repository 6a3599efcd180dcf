//! How much noise a run needs, and how long its rounds take: worked out once, from public numbers.

use anyhow::Context as _;
use privacy::NoiseShare;
use privacy::accountant::{Rounds, epsilon, noise_for};
use protocol::charter::{Accountant, Clipping, Privacy, PrivacyMode};

/// Delta of every run.
pub const DELTA: f64 = 1e-5;
/// Houses of a cohort that may collude.
pub const COLLUDERS: usize = 1;
/// Attempts that may fail before the budget is too small for the rounds that are left.
pub const SPARE_ATTEMPTS: u32 = 1;
/// Standard deviations by which a Poisson batch may exceed its mean: once in 30,000 batches of one house.
const BATCH_DEVIATIONS: f64 = 4.0;

/// Mode `record-shared` at [`DELTA`]. A house's coordinates are clamped, before noise, to 32 rows that all push one weight as hard as clipping lets them.
#[must_use]
pub fn record_shared(epsilon: f64, noise_multiplier: f64, clipping_norm: f64, integer_norm: u64) -> Privacy {
    Privacy {
        mode: PrivacyMode::RecordShared,
        accountant: Accountant::Rdp,
        epsilon,
        delta: DELTA,
        clipping_norm,
        clipping: Clipping::Flat,
        integer_norm,
        clamp: 32 * integer_norm,
        noise_multiplier,
        colluders: COLLUDERS as u32,
    }
}

/// What the noise of a run follows from.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// What the whole run may spend, at [`DELTA`].
    pub epsilon: f64,
    /// Houses of a round.
    pub houses: usize,
    /// How many of them may vanish.
    pub may_vanish: usize,
    /// Every house's sampling rate.
    pub rate: f64,
    /// Rounds.
    pub rounds: u32,
    /// Trained weights.
    pub weights: usize,
    /// The clipping norm in grid units.
    pub integer_norm: u64,
}

impl Budget {
    /// The noise multiplier, and one house's share: raised until the cost on the integer grid, correction for sums of
    /// discrete Gaussians included, stays below the epsilon.
    ///
    /// # Errors
    /// No noise gives this epsilon, or a share too narrow for the grid.
    pub fn noise(&self) -> anyhow::Result<(f64, NoiseShare)> {
        let attempts = u64::from(self.rounds + SPARE_ATTEMPTS);
        let mut multiplier =
            noise_for(self.epsilon, DELTA, self.rate, attempts).context("no noise gives this epsilon")?;
        loop {
            let share = NoiseShare::new(multiplier, self.integer_norm, self.houses, self.may_vanish, COLLUDERS)?;
            let spent = Rounds::new(self.rate, multiplier, attempts).on_grid(share.grid(self.weights as u64));
            if epsilon(&[spent], DELTA)?.epsilon <= self.epsilon {
                return Ok((multiplier, share));
            }
            multiplier *= 1.0005;
        }
    }
}

/// A machine, and how fast it makes gradients.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Rows of the mean batch over all houses.
    pub batch: f64,
    /// Seconds for the gradients of such a batch on all cores.
    pub batch_seconds: f64,
    /// Cores.
    pub cores: usize,
    /// Threads of each house.
    pub threads: usize,
}

impl Speed {
    /// Seconds until the slowest house, of `parts` rows each, has its gradients: all share the cores, and a house has no more
    /// than its threads.
    #[must_use]
    pub fn train_seconds(&self, parts: &[usize], rate: f64) -> f64 {
        let one_core = self.batch_seconds * self.cores as f64;
        let largest = |mean: f64| (mean + BATCH_DEVIATIONS * mean.sqrt()) / self.batch;
        let all = largest(self.batch) * self.batch_seconds;
        let of = |rows: &usize| largest(*rows as f64 * rate) * one_core / self.threads as f64;
        parts.iter().map(of).fold(all, f64::max)
    }
}
