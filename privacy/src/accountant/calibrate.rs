//! The accountant's inverses.

use super::{
    Accountant, AccountantError, Curve, Rounds, check_delta, check_epsilon, check_noise, check_rate, epsilon, pld,
};

/// Search ends when the noise multiplier is known to this part.
const TOLERANCE: f64 = 1e-7;
/// Noise multipliers outside are not searched.
const NOISE_RANGE: (f64, f64) = (1e-2, 1e6);
/// The same for the accountants whose epsilon takes milliseconds.
const COARSE_TOLERANCE: f64 = 3e-5;
/// A number of rounds is known to this part by them; below 10,000 exactly.
const ROUNDS_TOLERANCE: f64 = 1e-4;
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

/// What a search asks an accountant: rounds and delta give epsilon.
type Cost = dyn Fn(Rounds, f64) -> Result<f64, AccountantError>;

/// The noise multiplier by another accountant.
pub(super) fn noise_by(
    by: Accountant,
    target: f64,
    delta: f64,
    rate: f64,
    rounds: u64,
) -> Result<f64, AccountantError> {
    let whole = move |rounds: Rounds, delta: f64| by.epsilon(&[rounds], delta);
    if by == Accountant::Pld {
        let found = noise_search(&half, target, delta, rate, rounds)?;
        if whole(Rounds::new(rate, found, rounds), delta)? <= target {
            return Ok(found);
        }
    }
    noise_search(&whole, target, delta, rate, rounds)
}

/// The direction of privacy-loss distributions that is nearly always the larger one, in half of the time; whoever searches with it
/// asks for both at the end.
fn half(rounds: Rounds, delta: f64) -> Result<f64, AccountantError> {
    pld::epsilon_of_removal(&[rounds], delta)
}

/// A search by regula falsi between logarithms, from the Renyi accountant's answer.
fn noise_search(cost: &Cost, target: f64, delta: f64, rate: f64, rounds: u64) -> Result<f64, AccountantError> {
    let known = noise_for(target, delta, rate, rounds)?;
    // How far above the target, as a logarithm; a cost of 0 is far below.
    let above = |noise: f64| Ok(cost(Rounds::new(rate, noise, rounds), delta)?.max(1e-300).ln() - target.ln());
    let mut high = (known, above(known)?);
    while high.1 > 0.0 {
        high = (high.0 * 1.02, above(high.0 * 1.02)?);
        if high.0 > NOISE_RANGE.1 {
            let best = cost(Rounds::new(rate, high.0, rounds), delta)?;
            return Err(AccountantError::Unreachable { target, best, with: "the largest noise multiplier" });
        }
    }
    let mut low = (high.0 * 0.9, above(high.0 * 0.9)?);
    while low.1 <= 0.0 {
        high = low;
        if low.0 < NOISE_RANGE.0 {
            return Ok(high.0);
        }
        low = (low.0 * 0.8, above(low.0 * 0.8)?);
    }
    let mut halve = false;
    while high.0 > low.0 * (1.0 + COARSE_TOLERANCE) {
        let width = high.0 - low.0;
        let cut = if halve { 0.5 } else { (low.1 / (low.1 - high.1)).clamp(0.02, 0.98) };
        // A little beyond the secant's root, so that the next step closes in from the other side.
        let middle = low.0 + width * cut * if halve { 1.0 } else { 1.0 + 0.02 * (1.0 - cut) };
        let found = above(middle)?;
        if found <= 0.0 {
            high = (middle, found)
        } else {
            low = (middle, found)
        }
        halve = high.0 - low.0 > 0.5 * width;
    }
    Ok(high.0)
}

/// The number of rounds by another accountant.
pub(super) fn rounds_by(
    by: Accountant,
    target: f64,
    delta: f64,
    rate: f64,
    noise_multiplier: f64,
) -> Result<u64, AccountantError> {
    check_epsilon(target)?;
    check_delta(delta)?;
    let whole = move |rounds: Rounds, delta: f64| by.epsilon(&[rounds], delta);
    let one = whole(Rounds::new(rate, noise_multiplier, 1), delta)?;
    if one > target {
        return Err(AccountantError::Unreachable { target, best: one, with: "a single round" });
    }
    if by == Accountant::Pld {
        let found = rounds_search(&half, target, delta, rate, noise_multiplier)?;
        if whole(Rounds::new(rate, noise_multiplier, found), delta)? <= target {
            return Ok(found);
        }
    }
    rounds_search(&whole, target, delta, rate, noise_multiplier)
}

/// As [`noise_search`], over whole numbers of rounds, of which one fits.
fn rounds_search(
    cost: &Cost,
    target: f64,
    delta: f64,
    rate: f64,
    noise_multiplier: f64,
) -> Result<u64, AccountantError> {
    let cost = |rounds: u64| cost(Rounds::new(rate, noise_multiplier, rounds), delta);
    let above = |rounds: u64| Ok::<_, AccountantError>(cost(rounds)?.max(1e-300).ln() - target.ln());
    // The Renyi accountant's answer fits; where it has none, a single round does.
    let known = rounds_for(target, delta, rate, noise_multiplier).unwrap_or(1).min(MOST_ROUNDS);
    let mut fits = (known, above(known)?);
    while fits.1 > 0.0 {
        let fewer = (fits.0 * 9 / 10).max(1);
        fits = (fewer, above(fewer)?);
    }
    let mut exceeds = (fits.0 + (fits.0 / 8).max(1), 0.0);
    loop {
        exceeds.1 = above(exceeds.0)?;
        if exceeds.1 > 0.0 {
            break;
        }
        if exceeds.0 >= MOST_ROUNDS {
            return Ok(exceeds.0);
        }
        (fits, exceeds) = (exceeds, (exceeds.0 * 2, 0.0));
    }
    let mut halve = false;
    while exceeds.0 - fits.0 > (fits.0 as f64 * ROUNDS_TOLERANCE) as u64 + 1 {
        let width = exceeds.0 - fits.0;
        let cut = if halve { 0.5 } else { (fits.1 / (fits.1 - exceeds.1)).clamp(0.02, 0.98) };
        let middle = fits.0 + ((width as f64 * cut) as u64).clamp(1, width - 1);
        let found = (middle, above(middle)?);
        if found.1 <= 0.0 {
            fits = found
        } else {
            exceeds = found
        }
        halve = exceeds.0 - fits.0 > width / 2;
    }
    Ok(fits.0)
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
