//! The accountant's inverses.

use super::{AccountantError, Curve, Rounds, check_delta, check_epsilon, check_noise, check_rate, epsilon};

/// Search ends when the noise multiplier is known to this part.
const TOLERANCE: f64 = 1e-7;
/// Noise multipliers outside are not searched.
const NOISE_RANGE: (f64, f64) = (1e-2, 1e6);
/// Numbers of rounds above are not searched.
const MOST_ROUNDS: u64 = 1 << 40;

/// The smallest noise multiplier (within a ten-millionth, rounded up) for which `rounds` rounds at `rate` cost at most
/// `target` at `delta`.
///
/// # Errors
/// The rule that a value breaks, or [`AccountantError::Unreachable`].
pub fn noise_for(target: f64, delta: f64, rate: f64, rounds: u64) -> Result<f64, AccountantError> {
    check_epsilon(target)?;
    let cost = |noise: f64| match epsilon(&[Rounds::new(rate, noise, rounds)], delta) {
        Ok(found) => Ok(found.epsilon),
        Err(AccountantError::NoOrder) => Ok(f64::INFINITY),
        Err(error) => Err(error),
    };
    let (mut low, mut high) = (NOISE_RANGE.0, 1.0);
    while cost(high)? > target {
        low = high;
        high *= 2.0;
        if high > NOISE_RANGE.1 {
            let best = cost(low)?;
            return Err(AccountantError::Unreachable { target, best, with: "the largest noise multiplier" });
        }
    }
    while high > low * (1.0 + TOLERANCE) {
        let middle = (low * high).sqrt();
        if cost(middle)? <= target {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// The largest number of rounds at `rate` and `noise_multiplier` that costs at most `target` at `delta`.
///
/// # Errors
/// The rule that a value breaks, or [`AccountantError::Unreachable`] when a single round costs more.
pub fn rounds_for(target: f64, delta: f64, rate: f64, noise_multiplier: f64) -> Result<u64, AccountantError> {
    check_epsilon(target)?;
    check_delta(delta)?;
    check_rate(rate)?;
    check_noise(noise_multiplier)?;
    let one = Curve::of(&Rounds::new(rate, noise_multiplier, 1));
    let cost = |rounds: u64| {
        let mut curve = Curve::zero();
        curve.add(&one, rounds);
        curve.epsilon(delta).map_or(f64::INFINITY, |found| found.epsilon)
    };
    if cost(1) > target {
        return Err(AccountantError::Unreachable { target, best: cost(1), with: "a single round" });
    }
    let (mut fits, mut exceeds) = (1, 2);
    while cost(exceeds) <= target {
        if exceeds >= MOST_ROUNDS {
            return Ok(exceeds);
        }
        fits = exceeds;
        exceeds *= 2;
    }
    while exceeds - fits > 1 {
        let middle = fits + (exceeds - fits) / 2;
        if cost(middle) <= target {
            fits = middle;
        } else {
            exceeds = middle;
        }
    }
    Ok(fits)
}
