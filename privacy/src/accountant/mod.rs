//! What rounds cost: Renyi differential privacy of the Poisson-subsampled Gaussian, and its inverses. [`pld`] counts the same
//! rounds as privacy-loss distributions, which is tighter; [`Accountant`] names all.
//!
//! Neighbouring data sets differ by one privacy unit, added or removed. A round of sampling rate `q` and noise
//! multiplier `z` has the Renyi divergence of the sampled Gaussian mechanism at every order (Mironov, Talwar, Zhang
//! 2019, "Renyi Differential Privacy of the Sampled Gaussian Mechanism", section 3.3), plus, on an integer [`Grid`],
//! what the noise is not: one continuous Gaussian. Divergences add over rounds; the best order gives epsilon
//! (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for Differential Privacy", proposition 12).
//!
//! The orders and the conversion are those of Google's `dp-accounting` 0.6, and the tests compare with it.
//! Rates and noise are constants of the charter. For rounds whose parameters are chosen adaptively, the best order
//! must be fixed in advance (Feldman, Zrnic 2021).

mod calibrate;
mod discrete;
mod group;
mod kind;
pub mod pld;
mod rdp;
mod search;
mod special;
mod zcdp;

pub use calibrate::{noise_for, rounds_for};
pub use discrete::{Grid, SMALLEST_DEVIATION};
pub use group::group_epsilon;
pub use kind::Accountant;

/// Equal rounds: each samples every unit with probability `rate` and adds Gaussian noise of `noise_multiplier` times
/// the sensitivity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounds {
    /// Sampling rate, in (0, 1].
    pub rate: f64,
    /// Standard deviation of the noise of the honest shares' sum, over the clipping norm.
    pub noise_multiplier: f64,
    /// How many such rounds.
    pub rounds: u64,
    /// The integer grid the noise lives on; without it the noise is taken for a continuous Gaussian (planning).
    pub grid: Option<Grid>,
}

/// An epsilon and the Renyi order that proves it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epsilon {
    /// Epsilon at the delta asked for.
    pub epsilon: f64,
    /// The Renyi order that gave it; 0 when nothing was spent.
    pub order: f64,
}

/// A value outside the accountant's rules.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum AccountantError {
    /// Epsilon must be positive and finite.
    #[error("epsilon {0} is not a positive finite number")]
    Epsilon(f64),
    /// Delta must be inside (0, 1).
    #[error("delta {0} is outside (0, 1)")]
    Delta(f64),
    /// The sampling rate must be in (0, 1].
    #[error("sampling rate {0} is outside (0, 1]")]
    Rate(f64),
    /// The noise multiplier must be positive and finite.
    #[error("noise multiplier {0} is not a positive finite number")]
    NoiseMultiplier(f64),
    /// At least one round, one unit in a group.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// A share of the noise is too narrow for the discrete Gaussian.
    #[error("a noise share's deviation of {0} grid units is below 4")]
    ShareTooNarrow(f64),
    /// The shares on the grid carry less noise than the noise multiplier states.
    #[error("the shares carry {carried} grid units of noise, the noise multiplier needs {needed}")]
    GridTooQuiet {
        /// Standard deviation of the shares' sum, in grid units.
        carried: f64,
        /// Noise multiplier times integer norm.
        needed: f64,
    },
    /// An accountant for rounds without sampling was asked about sampled ones.
    #[error("zCDP is for rounds without sampling, not for a rate of {0}: use rdp or pld")]
    Sampled(f64),
    /// A Renyi order must be above 1 and finite.
    #[error("Renyi order {0} is not a finite number above 1")]
    Order(f64),
    /// No order gives a finite epsilon.
    #[error("no Renyi order gives a finite epsilon for these rounds")]
    NoOrder,
    /// No value within the search range reaches the target.
    #[error("epsilon {target} cannot be reached: {best} is the least that {with} gives")]
    Unreachable {
        /// The epsilon asked for.
        target: f64,
        /// The smallest epsilon found.
        best: f64,
        /// What it was found with.
        with: &'static str,
    },
}

impl Rounds {
    /// Rounds with continuous Gaussian noise: for planning.
    pub fn new(rate: f64, noise_multiplier: f64, rounds: u64) -> Self {
        Self { rate, noise_multiplier, rounds, grid: None }
    }

    /// The same rounds with noise on this integer grid.
    #[must_use]
    pub fn on_grid(self, grid: Grid) -> Self {
        Self { grid: Some(grid), ..self }
    }

    /// Checks every value against its rule.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self) -> Result<(), AccountantError> {
        check_rate(self.rate)?;
        check_noise(self.noise_multiplier)?;
        if self.rounds == 0 {
            return Err(AccountantError::Zero("the number of rounds"));
        }
        self.grid.map_or(Ok(()), |grid| grid.check(self.noise_multiplier))
    }

    /// Renyi divergence of one of these rounds, at each order.
    fn divergence(&self) -> impl Fn(f64) -> f64 + '_ {
        let correction = self.grid.map(|grid| grid.correction(self.rate));
        move |order| {
            let gaussian = rdp::sampled_gaussian(self.rate, self.noise_multiplier, order);
            gaussian + correction.map_or(0.0, |correction| correction.at(order))
        }
    }
}

/// Epsilon of all these rounds together, at `delta`. No rounds cost nothing.
///
/// # Errors
/// [`AccountantError::Delta`], what [`Rounds::check`] finds, or [`AccountantError::NoOrder`].
pub fn epsilon(rounds: &[Rounds], delta: f64) -> Result<Epsilon, AccountantError> {
    check_delta(delta)?;
    Curve::of_all(rounds)?.epsilon(delta)
}

/// Delta of all these rounds together at `epsilon`, at most 1: the conversion of [`epsilon()`], the other way.
///
/// # Errors
/// [`AccountantError::Epsilon`], or what [`Rounds::check`] finds.
pub fn delta(rounds: &[Rounds], epsilon: f64) -> Result<f64, AccountantError> {
    check_epsilon(epsilon)?;
    let curve = Curve::of_all(rounds)?;
    let of = |&(order, divergence): &(f64, f64)| delta_of_renyi(divergence, order, epsilon);
    Ok(if rounds.is_empty() { 0.0 } else { curve.0.iter().map(of).fold(1.0, f64::min) })
}

/// Renyi divergence of all these rounds together at one `order`.
///
/// # Errors
/// [`AccountantError::Order`], or what [`Rounds::check`] finds.
pub fn renyi(rounds: &Rounds, order: f64) -> Result<f64, AccountantError> {
    check_order(order)?;
    rounds.check()?;
    Ok(rounds.divergence()(order) * rounds.rounds as f64)
}

/// The epsilon at `delta` that a Renyi `divergence` at `order` proves (Canonne, Kamath, Steinke 2020, proposition 12);
/// never below 0.
///
/// # Errors
/// [`AccountantError::Order`], [`AccountantError::Delta`].
pub fn epsilon_of_renyi(divergence: f64, order: f64, delta: f64) -> Result<f64, AccountantError> {
    check_order(order)?;
    check_delta(delta)?;
    Ok(if divergence <= 0.0 { 0.0 } else { convert(divergence, order, delta).max(0.0) })
}

/// The divergence at `order` that proves exactly `epsilon` at `delta`: what a privacy filter of that order may spend.
/// Negative where even nothing spent proves no such epsilon at that order.
///
/// # Errors
/// [`AccountantError::Order`], [`AccountantError::Delta`], [`AccountantError::Epsilon`].
pub fn renyi_budget(epsilon: f64, order: f64, delta: f64) -> Result<f64, AccountantError> {
    check_order(order)?;
    check_delta(delta)?;
    check_epsilon(epsilon)?;
    Ok(epsilon - convert(0.0, order, delta))
}

/// The order, of those that the accountant looks at, at which the most rounds like `attempt` together stay within `epsilon` at
/// `delta`: for a filter, whose order is fixed before the first round.
///
/// # Errors
/// The rule that a value breaks, or [`AccountantError::NoOrder`] when at none of them a single attempt does.
pub fn filter_order(attempt: &[Rounds], epsilon: f64, delta: f64) -> Result<f64, AccountantError> {
    check_delta(delta)?;
    check_epsilon(epsilon)?;
    let curve = Curve::of_all(attempt)?;
    let attempts = |&(order, divergence): &(f64, f64)| (order, (epsilon - convert(0.0, order, delta)) / divergence);
    let best = curve.0.iter().map(attempts).filter(|(_, attempts)| *attempts >= 1.0);
    best.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(order, _)| order).ok_or(AccountantError::NoOrder)
}

/// Proposition 12 of Canonne, Kamath, Steinke 2020.
fn convert(divergence: f64, order: f64, delta: f64) -> f64 {
    divergence + (-1.0 / order).ln_1p() - (delta * order).ln() / (order - 1.0)
}

/// The same for delta.
fn delta_of_renyi(divergence: f64, order: f64, epsilon: f64) -> f64 {
    ((order - 1.0) * (divergence - epsilon + (-1.0 / order).ln_1p()) - order.ln()).exp().min(1.0)
}

/// Renyi divergences over the orders.
struct Curve(Vec<(f64, f64)>);

impl Curve {
    fn zero() -> Self {
        Self(orders().map(|order| (order, 0.0)).collect())
    }

    /// The divergences of one of these rounds.
    fn of(rounds: &Rounds) -> Self {
        let divergence = rounds.divergence();
        Self(orders().map(|order| (order, divergence(order))).collect())
    }

    /// The divergences of all these rounds together.
    fn of_all(rounds: &[Rounds]) -> Result<Self, AccountantError> {
        check_rounds(rounds)?;
        let mut all = Self::zero();
        rounds.iter().for_each(|one| all.add(&Self::of(one), one.rounds));
        Ok(all)
    }

    fn add(&mut self, one: &Self, times: u64) {
        for ((_, sum), (_, value)) in self.0.iter_mut().zip(&one.0) {
            *sum += value * times as f64;
        }
    }

    /// Proposition 12 of Canonne, Kamath, Steinke 2020, and epsilon 0 where the divergence alone bounds delta
    /// (Bretagnolle-Huber: the total variation is at most sqrt(1 - exp(-KL))).
    fn epsilon(&self, delta: f64) -> Result<Epsilon, AccountantError> {
        if self.0.iter().all(|&(_, divergence)| divergence == 0.0) {
            return Ok(Epsilon { epsilon: 0.0, order: 0.0 });
        }
        let mut best = Epsilon { epsilon: f64::INFINITY, order: 0.0 };
        for &(order, divergence) in &self.0 {
            let epsilon =
                if delta * delta + f64::exp_m1(-divergence) > 0.0 { 0.0 } else { convert(divergence, order, delta) };
            if epsilon < best.epsilon {
                best = Epsilon { epsilon: epsilon.max(0.0), order };
            }
        }
        if best.epsilon.is_finite() { Ok(best) } else { Err(AccountantError::NoOrder) }
    }
}

/// The orders of dp-accounting: 1.1 to 10.9 in tenths, 11 to 63, then powers of two to 1024.
fn orders() -> impl Iterator<Item = f64> {
    let tenths = (1..100).map(|x| 1.0 + f64::from(x) / 10.0);
    tenths.chain((11..64).map(f64::from)).chain([128.0, 256.0, 512.0, 1024.0])
}

fn check_rounds(rounds: &[Rounds]) -> Result<(), AccountantError> {
    rounds.iter().try_for_each(Rounds::check)
}

fn check_order(order: f64) -> Result<(), AccountantError> {
    if order > 1.0 && order.is_finite() { Ok(()) } else { Err(AccountantError::Order(order)) }
}

fn check_rate(rate: f64) -> Result<(), AccountantError> {
    if rate > 0.0 && rate <= 1.0 { Ok(()) } else { Err(AccountantError::Rate(rate)) }
}

fn check_noise(noise_multiplier: f64) -> Result<(), AccountantError> {
    let fine = noise_multiplier > 0.0 && noise_multiplier.is_finite();
    if fine { Ok(()) } else { Err(AccountantError::NoiseMultiplier(noise_multiplier)) }
}

fn check_delta(delta: f64) -> Result<(), AccountantError> {
    if delta > 0.0 && delta < 1.0 { Ok(()) } else { Err(AccountantError::Delta(delta)) }
}

fn check_epsilon(epsilon: f64) -> Result<(), AccountantError> {
    if epsilon > 0.0 && epsilon.is_finite() { Ok(()) } else { Err(AccountantError::Epsilon(epsilon)) }
}
