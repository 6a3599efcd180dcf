//! Whether a charter's noise gives the epsilon that it states, before anybody relies on it.

#[cfg(test)]
mod tests;

use privacy::accountant::{self, AccountantError, Rounds};
use privacy::{Clip, RoundingError};
use protocol::charter::{Accountant, Clipping, PrivacyMode};
use protocol::{Charter, HouseName, RoundNumber};

use crate::shape::{check_parts, whole_run};
use crate::{Terms, TermsError};

/// Noise multipliers above are not searched for advice.
const MOST_NOISE: f64 = 1e4;
/// Steps of the search: the multiplier is then known to a part in 250,000.
const SEARCH_STEPS: u32 = 18;

/// Why a charter's numbers do not protect what they say they protect.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyTermsError {
    /// The noise gives another epsilon than the charter states.
    #[error(
        "charter: privacy.noise_multiplier {noise_multiplier} gives `{house}` epsilon {given:.4} at delta {delta:e} over {rounds} charged rounds, but privacy.epsilon states {stated}; write a noise_multiplier of {needed}, or an epsilon of at least {given:.4}"
    )]
    Epsilon {
        /// The house for which it is largest.
        house: HouseName,
        /// What the charter's noise gives.
        given: f64,
        /// What the charter states.
        stated: f64,
        /// The charter's delta.
        delta: f64,
        /// The charter's noise multiplier.
        noise_multiplier: f64,
        /// Rounds that are charged.
        rounds: u32,
        /// A noise multiplier that gives it; words where none does.
        needed: String,
    },
    /// A share of the noise is too narrow to be a discrete Gaussian that adds up.
    #[error(
        "charter: with {expected} houses a share of the noise has a deviation of {deviation:.3} grid units, below {}; write a privacy.integer_norm of at least {needed}",
        accountant::SMALLEST_DEVIATION
    )]
    ShareTooNarrow {
        /// Houses of the expected set.
        expected: u32,
        /// A share's deviation.
        deviation: f64,
        /// The smallest integer norm that is enough.
        needed: u64,
    },
    /// One unit could not even reach the clamp's bound.
    #[error(
        "charter: privacy.clamp {clamp} is below privacy.integer_norm {integer_norm}, so a single unit would be cut; write at least {integer_norm}"
    )]
    Clamp {
        /// The charter's clamp.
        clamp: u64,
        /// The charter's integer norm.
        integer_norm: u64,
    },
    /// A part of the round's vector would be cut to nothing on the grid.
    #[error(
        "charter: {section}.noise_multiplier leaves the section a norm of {norm} grid units, below {least}; write a smaller one, or a larger privacy.integer_norm"
    )]
    PartTooSmall {
        /// The section.
        section: &'static str,
        /// The norm that it has.
        norm: u64,
        /// The least.
        least: u64,
    },
    /// Rounding would fill the integer norm.
    #[error("charter: privacy.integer_norm: {0}")]
    Rounding(#[from] RoundingError),
    /// A coordinate would be cut that an honest contribution may well have.
    #[error("charter: privacy.clamp {clamp} would cut what a contribution may well hold; write at least {needed}")]
    ClampCuts {
        /// The charter's clamp.
        clamp: u64,
        /// What is enough.
        needed: u64,
    },
    /// Score histograms of a model that gives labels no scores.
    #[error(
        "charter: evaluation.buckets is {0}, but a language model has no labels whose scores could be counted; leave it out"
    )]
    BucketsWithoutLabels(u32),
    /// More metrics than a round may carry.
    #[error(
        "charter: [evaluation] over {labels} labels needs {cells} counts; leave the section out, or write fewer buckets"
    )]
    TooManyMetrics {
        /// The charter's labels.
        labels: usize,
        /// The counts.
        cells: usize,
    },
    /// Layers that are clipped by themselves to almost nothing: truncation to the grid would be all that is left of them.
    #[error(
        "charter: privacy.clipping `per-layer` leaves each of {layers} layers a norm of {norm} grid units, {least} are needed: write a \
         privacy.integer_norm of at least {needed}, or `flat`"
    )]
    LayersTooFine {
        /// Layers, the head among them.
        layers: usize,
        /// Each one's norm.
        norm: u64,
        /// The least.
        least: u64,
        /// The integer norm that gives it.
        needed: u64,
    },
    /// A value outside the accountant's rules.
    #[error("charter: {0}")]
    Accountant(#[from] AccountantError),
}

/// The least norm of a layer that is clipped by itself, in grid units.
const LEAST_LAYER: u64 = 16;

fn check_layers(charter: &Charter, ends: Vec<usize>) -> Result<(), PrivacyTermsError> {
    let (privacy, layers) = (&charter.privacy, ends.len());
    let clip = Clip::new(privacy.clipping_norm, privacy.integer_norm).and_then(|clip| clip.in_parts(ends));
    // Where it makes no parts, it leaves them nothing.
    let norm = clip.map_or(0, |clip| clip.part_norm());
    if norm >= LEAST_LAYER {
        return Ok(());
    }
    let needed = (LEAST_LAYER as f64 * (layers as f64).sqrt()).ceil() as u64;
    Err(PrivacyTermsError::LayersTooFine { layers, norm, least: LEAST_LAYER, needed })
}

/// Checks that `charter` can be run and that its noise gives the epsilon that it states: for every house, at its sampling
/// rate, over the charged rounds, for the smallest and the largest expected set.
///
/// # Errors
/// [`TermsError`], naming the key, what its value gives, and what would be needed.
pub fn check(charter: &Charter) -> Result<(), TermsError> {
    let terms = Terms::of(charter)?;
    let first = terms.first_state()?;
    let count = first.update_len();
    let privacy = &charter.privacy;
    if privacy.clipping == Clipping::PerLayer {
        check_layers(charter, first.round_adapter().layer_ends())?;
    }
    if privacy.mode != PrivacyMode::Client && privacy.clamp < privacy.integer_norm {
        return Err(PrivacyTermsError::Clamp { clamp: privacy.clamp, integer_norm: privacy.integer_norm }.into());
    }
    check_parts(charter, count)?;
    for expected in expected_sets(charter) {
        crate::layout(charter, RoundNumber::FIRST, expected as usize, charter.rounds.may_vanish, count)?;
    }
    if privacy.mode == PrivacyMode::None {
        return Ok(());
    }
    for expected in expected_sets(charter) {
        wide_enough(charter, expected)?;
    }
    let Some((house, given)) = dearest(charter, count).map_err(PrivacyTermsError::from)? else { return Ok(()) };
    if given <= privacy.epsilon {
        return Ok(());
    }
    Err(PrivacyTermsError::Epsilon {
        house,
        given,
        stated: privacy.epsilon,
        delta: privacy.delta,
        noise_multiplier: privacy.noise_multiplier,
        rounds: charter.charged_rounds(),
        needed: needed(charter).map_err(PrivacyTermsError::from)?,
    }
    .into())
}

/// Epsilon of the whole run for a house that samples at `rate`, at the charter's delta, over `count` trained weights: what
/// its ledger holds once all charged rounds are in it.
///
/// # Errors
/// The rule of the accountant that a value breaks.
pub fn epsilon(charter: &Charter, rate: f64, count: usize) -> Result<f64, AccountantError> {
    let mut most = 0.0_f64;
    for expected in expected_sets(charter) {
        most = most.max(cost(charter, &whole_run(charter, rate, expected, count))?);
    }
    Ok(most)
}

/// The smallest and the largest set that may be expected in a round.
fn expected_sets(charter: &Charter) -> [u32; 2] {
    let rounds = &charter.rounds;
    [rounds.min_cohort + rounds.may_vanish, rounds.max_cohort]
}

fn wide_enough(charter: &Charter, expected: u32) -> Result<(), PrivacyTermsError> {
    let deviation = charter.share_deviation(expected, charter.rounds.may_vanish);
    if deviation >= accountant::SMALLEST_DEVIATION {
        return Ok(());
    }
    let norm = charter.privacy.integer_norm as f64;
    let needed = (norm * accountant::SMALLEST_DEVIATION / deviation).ceil() as u64;
    Err(PrivacyTermsError::ShareTooNarrow { expected, deviation, needed })
}

/// The house whose units the run costs most.
fn dearest(charter: &Charter, count: usize) -> Result<Option<(HouseName, f64)>, AccountantError> {
    // At equal noise epsilon grows with the rate.
    let highest = charter.houses.iter().max_by(|a, b| a.sampling_rate.total_cmp(&b.sampling_rate));
    let Some(house) = highest else { return Ok(None) };
    Ok(Some((house.name.clone(), epsilon(charter, house.sampling_rate, count)?)))
}

/// What the charter's accountant says that these rounds cost.
fn cost(charter: &Charter, rounds: &[Rounds]) -> Result<f64, AccountantError> {
    let accountant = match charter.privacy.accountant {
        Accountant::Rdp => accountant::Accountant::Rdp,
        Accountant::Pld => accountant::Accountant::Pld,
    };
    accountant.epsilon(rounds, charter.privacy.delta)
}

/// A noise multiplier that gives the stated epsilon, in words: rounded up to four digits after the point.
fn needed(charter: &Charter) -> Result<String, AccountantError> {
    let rate = charter.houses.iter().map(|house| house.sampling_rate).fold(0.0, f64::max);
    // The evaluations' noise is stated on its own, so it stays.
    let mut rounds: Vec<Rounds> =
        whole_run(charter, rate, charter.rounds.max_cohort, 1).iter().map(|r| Rounds { grid: None, ..*r }).collect();
    let mut gives = |noise: f64| match cost(charter, {
        rounds.iter_mut().take(1).for_each(|training| training.noise_multiplier = noise);
        &rounds
    }) {
        Err(AccountantError::NoOrder) => Ok(f64::INFINITY),
        other => other,
    };
    let (mut low, mut high) = (charter.privacy.noise_multiplier, charter.privacy.noise_multiplier * 2.0);
    while gives(high)? > charter.privacy.epsilon {
        (low, high) = (high, high * 2.0);
        if high > MOST_NOISE {
            return Ok(format!("more than {MOST_NOISE}"));
        }
    }
    for _ in 0..SEARCH_STEPS {
        let middle = f64::midpoint(low, high);
        if gives(middle)? <= charter.privacy.epsilon {
            high = middle;
        } else {
            low = middle;
        }
    }
    // What the grid costs beyond a continuous Gaussian is far below the last digit.
    Ok(format!("{:.4}", (high * 1e4).ceil() / 1e4 + 1e-4))
}
