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
/// Part of itself by which an answer of the Renyi accountant is moved first, and one that is nearly right.
const FAR: f64 = 0.1;
const NEAR: f64 = 0.01;
/// Grids that a quick search tries.
const QUICK_TRIES: u32 = 3;
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
    let known = noise_for(target, delta, rate, rounds)?;
    let at = |noise: f64| Rounds::new(rate, noise, rounds);
    let search = |cost: &Cost, start: (f64, f64)| {
        // How far above the target, as a logarithm; a cost of 0 is far below.
        noise_search(|noise| Ok(cost(at(noise), delta)?.max(1e-300).ln() - target.ln()), target, start)
    };
    if by == Accountant::Pld
        && let Some(found) = quickly(at, target, delta, known, search)?
    {
        return Ok(found);
    }
    search(&move |rounds, delta| by.epsilon(&[rounds], delta), (known, FAR))
}

/// A search on one grid of privacy-loss distributions and in the direction that is nearly always the larger one: a tenth of the work.
/// What it finds is asked whole, and where that needs another grid the search is repeated there. None if the other direction is
/// the larger one.
fn quickly<T: Copy>(
    at: impl Fn(T) -> Rounds,
    target: f64,
    delta: f64,
    known: T,
    search: impl Fn(&Cost, (T, f64)) -> Result<T, AccountantError>,
) -> Result<Option<T>, AccountantError> {
    let (_, mut fineness) = pld::epsilon_and_fineness(&[at(known)], delta)?;
    let (mut start, mut best) = ((known, FAR), None);
    for _ in 0..QUICK_TRIES {
        let on = fineness;
        let found = search(&move |rounds, delta| pld::epsilon_of_removal(&[rounds], delta, on), start)?;
        let (costs, needs) = pld::epsilon_and_fineness(&[at(found)], delta)?;
        if costs <= target && best.is_none_or(|(_, with)| fineness > with) {
            best = Some((found, fineness));
        }
        if needs == fineness {
            break;
        }
        (start, fineness) = ((found, NEAR), needs);
    }
    Ok(best.map(|(found, _)| found))
}

/// The smallest noise whose cost is not above the target, which is near (or below) what is known.
fn noise_search(
    above: impl Fn(f64) -> Result<f64, AccountantError>,
    target: f64,
    (known, part): (f64, f64),
) -> Result<f64, AccountantError> {
    let mut fits = (known, above(known)?);
    while fits.1 > 0.0 {
        if fits.0 > NOISE_RANGE.1 {
            let best = target * fits.1.exp();
            return Err(AccountantError::Unreachable { target, best, with: "the largest noise multiplier" });
        }
        fits = (fits.0 * 1.02, above(fits.0 * 1.02)?);
    }
    let mut exceeds = fits;
    while exceeds.1 <= 0.0 {
        fits = exceeds;
        if fits.0 < NOISE_RANGE.0 {
            return Ok(fits.0);
        }
        // Epsilon grows at least as 1 over the noise where it is worth a search.
        let less = fits.0 * fits.1.exp().clamp(1.0 - 2.0 * part, 1.0 - part / 8.0);
        exceeds = (less, above(less)?);
    }
    let mut bracket = Bracket::new(fits, exceeds);
    while bracket.fits.0 > bracket.exceeds.0 * (1.0 + COARSE_TOLERANCE) {
        let middle = bracket.root();
        bracket.put((middle, above(middle)?));
    }
    Ok(bracket.fits.0)
}

/// Two points around a root, on logarithmic axes: regula falsi, in the form that halves the value of an end that stays
/// ("Illinois": Dowell, Jarratt 1971).
struct Bracket {
    /// Where the cost is within the target, and where it is not: the point, and the cost over the target as a logarithm.
    fits: (f64, f64),
    exceeds: (f64, f64),
    /// Which end was replaced last: the first?
    last: Option<bool>,
}

impl Bracket {
    fn new(fits: (f64, f64), exceeds: (f64, f64)) -> Self {
        Self { fits, exceeds, last: None }
    }

    fn root(&self) -> f64 {
        let (low, high) = (self.exceeds, self.fits);
        let cut = low.1 / (low.1 - high.1);
        // A cost of 0 is infinitely far below: halve.
        let cut = if cut.is_finite() { cut.clamp(1e-3, 1.0 - 1e-3) } else { 0.5 };
        low.0 * (high.0 / low.0).powf(cut)
    }

    fn put(&mut self, point: (f64, f64)) {
        let fits = point.1 <= 0.0;
        let stays_again = self.last == Some(fits);
        if fits {
            self.fits = point;
            self.exceeds.1 *= if stays_again { 0.5 } else { 1.0 };
        } else {
            self.exceeds = point;
            self.fits.1 *= if stays_again { 0.5 } else { 1.0 };
        }
        self.last = Some(fits);
    }
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
    // The Renyi accountant's answer fits; where it has none, a single round does.
    let known = rounds_for(target, delta, rate, noise_multiplier).unwrap_or(1).min(MOST_ROUNDS);
    let at = |rounds: u64| Rounds::new(rate, noise_multiplier, rounds);
    let search = |cost: &Cost, start: (u64, f64)| {
        rounds_search(|rounds| Ok(cost(at(rounds), delta)?.max(1e-300).ln() - target.ln()), start)
    };
    if by == Accountant::Pld
        && let Some(found) = quickly(at, target, delta, known, search)?
    {
        return Ok(found);
    }
    search(&whole, (known, FAR))
}

/// The largest number of rounds whose cost is not above the target, near (or above) what is known; one round fits.
fn rounds_search(
    above: impl Fn(u64) -> Result<f64, AccountantError>,
    (known, part): (u64, f64),
) -> Result<u64, AccountantError> {
    let at = |rounds: f64| Ok::<_, AccountantError>((rounds, above(rounds as u64)?));
    let mut fits = at(known as f64)?;
    while fits.1 > 0.0 {
        fits = at((fits.0 * (1.0 - part)).floor().max(1.0))?;
    }
    let mut exceeds = fits;
    while exceeds.1 <= 0.0 {
        fits = exceeds;
        if fits.0 >= MOST_ROUNDS as f64 {
            return Ok(fits.0 as u64);
        }
        // Epsilon grows at least as the root of the rounds.
        let more = (fits.0 * (-2.0 * fits.1).exp().clamp(1.0 + part / 8.0, 1.0 + 4.0 * part)).ceil();
        exceeds = at(more.max(fits.0 + 1.0))?;
    }
    let mut bracket = Bracket::new(fits, exceeds);
    while bracket.exceeds.0 - bracket.fits.0 > 1.0 + (bracket.fits.0 * ROUNDS_TOLERANCE).floor() {
        let middle = bracket.root().round().clamp(bracket.fits.0 + 1.0, bracket.exceeds.0 - 1.0);
        bracket.put(at(middle)?);
    }
    Ok(bracket.fits.0 as u64)
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
