//! What a sum of discrete Gaussians on a grid costs beyond one continuous Gaussian.
//!
//! Two facts, both bounds at every order `a`:
//!
//! **Sum of shares.** The sum of n discrete Gaussians of scale s has, at every integer, a probability within a factor
//! `exp(+-t)` of the discrete Gaussian's of scale `s sqrt(n)`, `t = 10 sum_{k=1}^{n-1} exp(-2 pi^2 s^2 k / (k+1))`
//! (Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning with Secure
//! Aggregation", theorem 1). On d coordinates the factor is `exp(+-d t)`, for mixtures as well, so
//! `integral P^a Q^(1-a)` grows by at most `exp((2a - 1) d t)` and the divergence by `(2a - 1) / (a - 1) * d t`. This
//! holds with sampling, where their proposition 14 (without sampling) does not apply.
//!
//! **Sampling on the grid.** Without sampling, a discrete Gaussian has at most the continuous one's divergence
//! (Canonne, Kamath, Steinke 2020, proposition 5). With sampling, the moment A of the likelihood ratio at an *integer*
//! order expands into shifted theta sums that are all equal because the shifts are integers: A is exactly the
//! continuous one. At a *fractional* order write the sum over the lattice by Poisson's formula as the sum over k of
//! the Fourier transforms F(k) of `F(x) = exp(-|x|^2 / 2s^2) ((1-q) + q exp((2 m.x - |m|^2) / 2s^2))^a`, m the unit's
//! contribution, s the whole noise. F(0) is the continuous A. Moving the contour to `x - i y` with `|m.y| < pi s^2`
//! crosses no branch point, and `|1-q + q r exp(i v)| <= 1-q + q r`, so `|F(k)| <= exp(|y|^2 / 2s^2 - 2 pi k.y) F(0)`;
//! with y along k this is at most `exp(-c |k|) F(0)`, `c = 3/2 pi^2 s^2 / D`, for `|m| <= D`, `D >= 1`. Counting lattice
//! points by `exp(1 + R^2 L)`, `L = ln(2.1 d)`, inside radius `R <= c / 2L` and by `(2R + 1)^d` outside,
//! `sum_{k != 0} exp(-c |k|) <= 8 exp(-c / 2)` whenever `c >= 4 L` and `c^2 >= 4 d L ln(1 + c / L)`. Where that does not
//! hold, fractional orders are not used. Reflection `x -> m - x` maps the lattice to itself, so the other direction is
//! no larger (theorem 5 of Mironov, Talwar, Zhang 2019).

use super::AccountantError;
use std::f64::consts::PI;

/// Shares with a standard deviation below this many grid units are refused: the correction for sums of discrete
/// Gaussians is negligible only for wide ones.
pub const SMALLEST_DEVIATION: f64 = 4.0;

/// The integer grid that a round's noise lives on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Coordinates of the summed vector.
    pub dimension: u64,
    /// Sensitivity in grid units.
    pub integer_norm: u64,
    /// Shares that the guarantee counts on: honest clients, 1 where the house carries all the noise.
    pub shares: u64,
    /// Standard deviation of one share, in grid units.
    pub deviation: f64,
}

impl Grid {
    pub(crate) fn check(&self, noise_multiplier: f64) -> Result<(), AccountantError> {
        for (value, what) in [
            (self.dimension, "the dimension"),
            (self.integer_norm, "the integer norm"),
            (self.shares, "the number of noise shares"),
        ] {
            if value == 0 {
                return Err(AccountantError::Zero(what));
            }
        }
        if !(self.deviation >= SMALLEST_DEVIATION && self.deviation.is_finite()) {
            return Err(AccountantError::ShareTooNarrow(self.deviation));
        }
        let carried = self.deviation * (self.shares as f64).sqrt();
        let needed = noise_multiplier * self.integer_norm as f64;
        // The comparison is of rounded products; a millionth of a millionth is its rounding.
        if carried < needed * (1.0 - 1e-12) {
            return Err(AccountantError::GridTooQuiet { carried, needed });
        }
        Ok(())
    }

    /// The same grid for a group of units: `size` times the sensitivity.
    pub(crate) fn for_group(self, size: u64) -> Self {
        Self { integer_norm: self.integer_norm.saturating_mul(size), ..self }
    }

    /// t of the module's text: how near a coordinate's sum of shares is to one discrete Gaussian, as a logarithm.
    pub(crate) fn sum_closeness(&self) -> f64 {
        sum_of_shares(self.deviation, self.shares)
    }

    pub(crate) fn correction(&self, rate: f64) -> Correction {
        let dimension = self.dimension as f64;
        let variance = self.deviation * self.deviation * self.shares as f64;
        let fractional = if rate == 1.0 {
            Some(0.0)
        } else {
            let c = 1.5 * PI * PI * variance / self.integer_norm as f64;
            let log_points = (2.1 * dimension).ln().max(1.0);
            let holds = c >= 4.0 * log_points && c * c >= 4.0 * dimension * log_points * (c / log_points).ln_1p();
            holds.then(|| 8.0 * (-c / 2.0).exp())
        };
        Correction { closeness: dimension * self.sum_closeness(), fractional }
    }
}

/// What to add to a round's divergence.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Correction {
    /// `d t` of the sum of shares.
    closeness: f64,
    /// Bound on `A / A_continuous - 1` at fractional orders, where there is one.
    fractional: Option<f64>,
}

impl Correction {
    pub(crate) fn at(self, order: f64) -> f64 {
        let sum = (2.0 * order - 1.0) / (order - 1.0) * self.closeness;
        let grid = if order.fract() == 0.0 { Some(0.0) } else { self.fractional };
        grid.map_or(f64::INFINITY, |excess| sum + excess.ln_1p() / (order - 1.0))
    }
}

/// t of theorem 1. Past the 64th term the exponents differ by less than a thousandth part: the rest is counted with the
/// 64th, which is larger than each of them.
fn sum_of_shares(deviation: f64, shares: u64) -> f64 {
    let term = |k: u64| (-2.0 * (PI * deviation).powi(2) * k as f64 / (k as f64 + 1.0)).exp();
    let singly = (shares.saturating_sub(1)).min(64);
    let rest = shares.saturating_sub(1) - singly;
    10.0 * ((1..=singly).map(term).sum::<f64>() + rest as f64 * term(64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_positive_and_negligible_from_four_grid_units_on() {
        let grid = Grid { dimension: 1_000_000, integer_norm: 1 << 15, shares: 10_000, deviation: 4.0 };
        let wide = Grid { deviation: 15_000.0, shares: 3, ..grid };
        assert!(grid.correction(1.0).at(2.5) > 0.0);
        assert!(grid.correction(1.0).at(2.5) < 1e-58);
        assert!(grid.correction(0.1).at(2.5).is_infinite(), "too little noise for the bound at fractional orders");
        assert!(grid.correction(0.1).at(3.0) < 1e-58);
        assert!(wide.correction(0.1).at(2.5) < 1e-58);
    }

    /// The pmf of the sum of two narrow discrete Gaussians, convolved directly, against theorem 1.
    #[test]
    fn theorem_one_holds_for_a_narrow_pair_by_direct_convolution() {
        let scale = 0.7f64;
        let weight = |x: i32, s: f64| (-f64::from(x * x) / (2.0 * s * s)).exp();
        let normaliser = |s: f64| (-60..=60).map(|x| weight(x, s)).sum::<f64>();
        let wide = scale * 2f64.sqrt();
        for x in -4..=4 {
            let sum: f64 =
                (-60..=60).map(|y| weight(y, scale) * weight(x - y, scale)).sum::<f64>() / normaliser(scale).powi(2);
            let one = weight(x, wide) / normaliser(wide);
            assert!((sum / one).ln().abs() <= sum_of_shares(scale, 2), "at {x}");
        }
    }

    /// One coordinate, a small sensitivity: the moment on the integers by direct summation is the continuous one at an
    /// integer order and within the bound at a fractional one.
    #[test]
    fn the_moment_on_the_integers_is_within_the_bound() {
        let (rate, shift, scale) = (0.3f64, 1.0f64, 1.2f64);
        let c = 1.5 * PI * PI * scale * scale / shift;
        for order in [2.0, 3.0, 2.5, 7.3] {
            let (mut sum, mut mass) = (0.0, 0.0);
            for x in (-60..=60).map(f64::from) {
                let weight = (-x * x / (2.0 * scale * scale)).exp();
                let ratio = ((2.0 * shift * x - shift * shift) / (2.0 * scale * scale)).exp();
                sum += weight * (1.0 - rate + rate * ratio).powf(order);
                mass += weight;
            }
            let continuous = ((order - 1.0) * super::super::rdp::sampled_gaussian(rate, scale / shift, order)).exp();
            let excess = sum / mass / continuous - 1.0;
            let bound = if order.fract() == 0.0 { 0.0 } else { 8.0 * (-c / 2.0).exp() };
            assert!(excess.abs() <= bound + 1e-12, "order {order}: {excess} above {bound}");
        }
    }
}
