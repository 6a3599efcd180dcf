//! Privacy-loss distributions: what rounds cost, composed as distributions and not only by their Renyi divergences.
//!
//! For a pair (P, Q) of output distributions on neighbours the privacy loss is `L = ln(P/Q)` under P, and
//! `delta(e) = E[(1 - exp(e - L))+]` (Sommer, Meiser, Mohammadi 2019). Losses of rounds add. The pair of a round is the
//! Poisson-subsampled Gaussian's, `N(0, z^2)` against `(1-q) N(0, z^2) + q N(1, z^2)`, in both directions (a unit added, a
//! unit removed), which dominates it for all rounds together (Zhu, Dong, Wang 2022, theorems 10 and 11).
//!
//! **What is rounded, and which way.** Losses live on a grid of step h. The mass of P and of Q in each cell is put on the
//! cell's ends so that both are kept: exact on grid points, and above the truth between them, since `delta` is convex in
//! `exp(e)` (Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022, "Connect the dots"). Losses below the grid are rounded up to
//! its first point, losses above it count as infinite. The step starts
//! where the variance that this adds is a two-thousandth of the composed loss's, and is refined until the answer is known to
//! two thousandths of it, or a round's grid has half a million points.
//! The distribution is composed by a discrete Fourier transform, tilted by `exp(t L)` with t near the minimum of
//! a Chernoff-like bound, so that errors are relative to delta and not to 1. The tilted mass outside of the window is bounded by
//! Chernoff's bound; it and an allowance for the transform's rounding, both below a ten-thousandth of delta, are added to
//! delta. So the epsilon is never below the true one but for the rounding of `f64`, and in the tests within 1% of it.
//!
//! **The grid of the noise.** A coordinate's noise is a sum of discrete Gaussians, and of total deviation s. It is within a
//! factor `exp(+-t)` of one discrete Gaussian (see `discrete`). That one, around an integer m, is within
//! `exp(+-4 r)`, `r = 2 exp(-2 pi^2 9)` and a little, of "add `N(0, s^2 - 9)`, then round to an integer by a discrete Gaussian
//! of deviation 3 around what came": the density of the second at x is the integral over y of
//! `N(y; m, s^2 - 9) rho_3(x - y) / rho_3(Z - y)`, every `rho_3(Z - y)` is `3 sqrt(2 pi)` within a factor `1 +- r` by Poisson's
//! summation, and the product integrates to `N(x; m, s^2)` (the convolution of Peikert 2010, theorem 3.1, with a Gaussian in
//! place of the wider lattice). Rounding is post-processing, mixtures over batches keep the factors, and so do compositions:
//! over n rounds of d coordinates the pair is within `exp(+-g)`, `g = n d (t + 4 r)`, of the continuous one with variance
//! `s^2 - 9`. Then `delta(e) <= exp(g) delta'(e - 2 g)`, which is what is counted.

mod compose;
mod loss;

use super::{AccountantError, Rounds, check_delta, check_rounds};
use loss::{Direction, Loss};

/// Variance in grid units that is given up for rounding by a discrete Gaussian of deviation 3.
const ROUNDED_VARIANCE: f64 = 9.0;
/// `4 r` of the module's text: `8 exp(-18 pi^2)` is below 1e-76; the terms after the first change no digit of it.
const ROUNDED_CLOSENESS: f64 = 1e-75;

/// Epsilon of all these rounds together, at `delta`: an upper bound. No rounds cost nothing.
///
/// # Errors
/// [`AccountantError::Delta`], or what [`Rounds::check`] finds.
pub fn epsilon(rounds: &[Rounds], delta: f64) -> Result<f64, AccountantError> {
    Ok(epsilon_and_fineness(rounds, delta)?.0)
}

/// [`epsilon`], and how fine a grid it took for a unit that is removed: for [`epsilon_of_removal`].
pub(super) fn epsilon_and_fineness(rounds: &[Rounds], delta: f64) -> Result<(f64, Fineness), AccountantError> {
    check_delta(delta)?;
    let Some(parts) = parts(rounds)? else { return Ok((0.0, Fineness(0))) };
    let (refinements, epsilon) = std::thread::scope(|scope| {
        let added = parts.sampled().then(|| scope.spawn(|| parts.epsilon(Direction::Add, delta)));
        let (removed, refinements) = parts.refined(Direction::Remove, delta);
        // A thread that came to no end promises nothing.
        (refinements, added.map_or(removed, |thread| thread.join().unwrap_or(f64::INFINITY).max(removed)))
    });
    Ok((epsilon + 2.0 * parts.closeness, Fineness(refinements)))
}

/// An upper bound for a unit that is removed (nearly always the larger direction), in one pass over a grid of this fineness: what a
/// search asks, which asks [`epsilon`] at its end.
pub(super) fn epsilon_of_removal(rounds: &[Rounds], delta: f64, fineness: Fineness) -> Result<f64, AccountantError> {
    check_delta(delta)?;
    let Some(parts) = parts(rounds)? else { return Ok(0.0) };
    let (losses, target) = (parts.losses(Direction::Remove), parts.target(delta));
    let found = compose::once(&losses, compose::Near::Delta(target), fineness.0, |all| all.epsilon(target));
    Ok(found + 2.0 * parts.closeness)
}

/// How often a grid's first step is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fineness(u32);

/// Delta of all these rounds together, at `epsilon`: an upper bound, at most 1.
///
/// # Errors
/// [`AccountantError::Epsilon`], or what [`Rounds::check`] finds.
pub fn delta(rounds: &[Rounds], epsilon: f64) -> Result<f64, AccountantError> {
    super::check_epsilon(epsilon)?;
    let Some(parts) = parts(rounds)? else { return Ok(0.0) };
    let near = (epsilon - 2.0 * parts.closeness).max(0.0);
    let of =
        |direction| compose::refined(&parts.losses(direction), compose::Near::Epsilon(near), |all| all.delta(near)).0;
    let removed = of(Direction::Remove);
    let worst = if parts.sampled() { removed.max(of(Direction::Add)) } else { removed };
    Ok((worst * parts.closeness.exp()).min(1.0))
}

/// Rounds as continuous Gaussians.
struct Parts {
    /// Rate, noise multiplier and how many.
    rounds: Vec<(f64, f64, u64)>,
    /// g of the module's text, over all rounds.
    closeness: f64,
}

impl Parts {
    /// Without sampling both directions are the same.
    fn sampled(&self) -> bool {
        self.rounds.iter().any(|(rate, ..)| *rate < 1.0)
    }

    /// What no loss is above: without a unit an output is at least `1 - q` times as likely as with it.
    fn bound(&self, direction: Direction) -> f64 {
        match direction {
            Direction::Remove => f64::INFINITY,
            Direction::Add => self.rounds.iter().map(|(rate, _, count)| -(-rate).ln_1p() * *count as f64).sum(),
        }
    }

    fn epsilon(&self, direction: Direction, delta: f64) -> f64 {
        self.refined(direction, delta).0.min(self.bound(direction))
    }

    fn refined(&self, direction: Direction, delta: f64) -> (f64, u32) {
        let target = self.target(delta);
        compose::refined(&self.losses(direction), compose::Near::Delta(target), |all| all.epsilon(target))
    }

    /// The delta that the continuous Gaussians must keep.
    fn target(&self, delta: f64) -> f64 {
        delta * (-self.closeness).exp()
    }

    fn losses(&self, direction: Direction) -> Vec<(Loss, u64)> {
        self.rounds.iter().map(|(rate, noise, count)| (Loss::new(*rate, *noise, direction), *count)).collect()
    }
}

fn parts(rounds: &[Rounds]) -> Result<Option<Parts>, AccountantError> {
    check_rounds(rounds)?;
    let mut parts = Parts { rounds: Vec::with_capacity(rounds.len()), closeness: 0.0 };
    for one in rounds {
        let mut noise = one.noise_multiplier;
        if let Some(grid) = one.grid {
            let norm = grid.integer_norm as f64;
            // What the shares carry is at least what the noise multiplier states; no more of it is counted.
            noise = (noise * noise - ROUNDED_VARIANCE / (norm * norm)).max(0.0).sqrt();
            let per_coordinate = grid.sum_closeness() + ROUNDED_CLOSENESS;
            parts.closeness += one.rounds as f64 * grid.dimension as f64 * per_coordinate;
        }
        if noise <= 0.0 {
            return Err(AccountantError::ShareTooNarrow(noise));
        }
        // Equal rounds are one power.
        match parts.rounds.iter_mut().find(|(rate, known, _)| *rate == one.rate && *known == noise) {
            Some((.., count)) => *count = count.saturating_add(one.rounds),
            None => parts.rounds.push((one.rate, noise, one.rounds)),
        }
    }
    Ok((!parts.rounds.is_empty()).then_some(parts))
}
