//! Zero-concentrated differential privacy, for rounds without sampling.
//!
//! A Gaussian round of noise multiplier z is rho-zCDP with `rho = 1 / (2 z^2)` (Bun, Steinke 2016, proposition 1.6); so is
//! a discrete Gaussian one (Canonne, Kamath, Steinke 2020, theorem 4). Rhos add. Epsilon is the least over all orders a > 1
//! of `rho a + ln(1 - 1/a) - ln(delta a) / (a - 1)` (the latter's proposition 12): the curve is known at every order, where
//! the Renyi accountant has a list of them.

use super::{AccountantError, Rounds, check_delta, check_epsilon, check_rounds, convert, delta_of_renyi, search};

/// Steps of the search for the best order.
const SEARCH_STEPS: u32 = 80;
/// Orders less 1 that are searched.
const ORDERS: (f64, f64) = (1e-6, 1e9);

pub(super) fn epsilon(rounds: &[Rounds], delta: f64) -> Result<f64, AccountantError> {
    check_delta(delta)?;
    let curve = curve(rounds)?;
    if rounds.is_empty() {
        return Ok(0.0);
    }
    Ok(least(|order| convert(curve(order), order, delta)).max(0.0))
}

pub(super) fn delta(rounds: &[Rounds], epsilon: f64) -> Result<f64, AccountantError> {
    check_epsilon(epsilon)?;
    let curve = curve(rounds)?;
    if rounds.is_empty() {
        return Ok(0.0);
    }
    Ok(least(|order| delta_of_renyi(curve(order), order, epsilon)))
}

/// The divergence of all rounds at an order, what sums of shares cost on their grids included.
fn curve(rounds: &[Rounds]) -> Result<impl Fn(f64) -> f64 + '_, AccountantError> {
    check_rounds(rounds)?;
    if let Some(sampled) = rounds.iter().find(|one| one.rate != 1.0) {
        return Err(AccountantError::Sampled(sampled.rate));
    }
    Ok(move |order| {
        let one = |one: &Rounds| {
            let grid = one.grid.map_or(0.0, |grid| grid.correction(1.0).at(order));
            (order / (2.0 * one.noise_multiplier * one.noise_multiplier) + grid) * one.rounds as f64
        };
        rounds.iter().map(one).sum()
    })
}

/// The least value over the orders; every order proves its own, so a search that misses the best is still right.
fn least(of: impl Fn(f64) -> f64) -> f64 {
    let at = |log: f64| of(1.0 + log.exp());
    at(search::least(at, (ORDERS.0.ln(), ORDERS.1.ln()), SEARCH_STEPS))
}
