//! The vector of a round: which integers stand where, what each may weigh, and what their noise is.

use privacy::accountant::{Grid, Rounds};
use privacy::{Rounding, RoundingError};
use protocol::charter::{House, PrivacyMode};
use protocol::{Charter, RoundNumber};
use secure_sum::{Layout, Values};

use crate::metrics::MetricsShape;
use crate::{PrivacyTermsError, TermsError};

/// How a round's vector is laid out: `[ update | indicator | metrics ]`, all integers in grid units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundShape {
    /// Coordinates of the update: the trained weights, or under `client` the next power of two, over which an update is
    /// rotated.
    pub update: usize,
    /// 1 where a house says whether its update was below the clipping norm, else 0.
    pub indicator: usize,
    /// Coordinates of the metrics of held-out units; 0 in a round without evaluation.
    pub metrics: usize,
}

/// The greatest norms of the three parts, in grid units.
///
/// Under `client` one house moves all three, so together they are within the charter's `integer_norm`. In the record modes a
/// unit is either trained on or held out: it moves the update by at most `integer_norm`, or the metrics by at most theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Norms {
    /// Of the update.
    pub update: u64,
    /// Of the indicator, which is this or less this.
    pub indicator: u64,
    /// Of one held-out unit's metrics; of one house's under `client`.
    pub metrics: u64,
}

impl RoundShape {
    /// The vector of `round`, over `count` trained weights.
    #[must_use]
    pub fn of(charter: &Charter, round: RoundNumber, count: usize) -> Self {
        let client = charter.privacy.mode == PrivacyMode::Client;
        let metrics = MetricsShape::of(charter).filter(|_| charter.is_evaluated(round));
        Self {
            update: if client { count.next_power_of_two() } else { count },
            indicator: usize::from(client && charter.adaptive_clipping.is_some()),
            metrics: metrics.map_or(0, |metrics| metrics.len()),
        }
    }

    /// All its coordinates.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a round without coordinates does not exist")]
    pub fn len(&self) -> usize {
        self.update + self.indicator + self.metrics
    }
}

impl Norms {
    /// The norms of `round`: each part's noise multiplier from the charter gives its share of the noise's deviation.
    #[must_use]
    pub fn of(charter: &Charter, round: RoundNumber) -> Self {
        let privacy = &charter.privacy;
        let whole = privacy.integer_norm;
        // The same noise is `noise_multiplier` times the part's norm; without noise, any norm does.
        let part = |noise_multiplier: f64| match privacy.mode {
            PrivacyMode::None => whole,
            _ => (privacy.noise_multiplier * whole as f64 / noise_multiplier) as u64,
        };
        let adaptive = charter.adaptive_clipping.as_ref();
        let indicator = adaptive.map_or(0, |adaptive| part(adaptive.noise_multiplier));
        let evaluation = charter.evaluation.as_ref().filter(|_| charter.is_evaluated(round));
        let metrics = evaluation.map_or(0, |evaluation| part(evaluation.noise_multiplier));
        if privacy.mode != PrivacyMode::Client {
            return Self { update: whole, indicator: 0, metrics };
        }
        let square = |norm: u64| u128::from(norm).pow(2);
        let left = square(whole).saturating_sub(square(indicator)).saturating_sub(square(metrics));
        Self { update: u64::try_from(left.isqrt()).unwrap_or(whole), indicator, metrics }
    }
}

/// How a house's update becomes integers under `client`, over `count` trained weights.
///
/// # Errors
/// The integer norm is too small for so many coordinates.
pub fn rounding(charter: &Charter, round: RoundNumber, count: usize) -> Result<Rounding, RoundingError> {
    Rounding::new(Norms::of(charter, round).update, RoundShape::of(charter, round, count).update)
}

/// The layout of a round of `expected` houses, of which `may_vanish` may vanish, over `count` trained weights: room for
/// that many contributions, each clamped in every local step, with the deviation of all their noise together.
///
/// # Errors
/// [`TermsError::Layout`].
pub fn layout(
    charter: &Charter,
    round: RoundNumber,
    expected: usize,
    may_vanish: u32,
    count: usize,
) -> Result<Layout, TermsError> {
    let noise_deviation = charter.sum_deviation(u32::try_from(expected).unwrap_or(u32::MAX), may_vanish);
    let clamp = charter.privacy.clamp.saturating_mul(u64::from(charter.noised_steps()));
    let count = RoundShape::of(charter, round, count).len();
    Ok(Layout::derive(expected, Values { count, clamp, noise_deviation })?)
}

/// The most bytes that a house sends for one attempt: its body, a sealed key share for each member of the committee and the commitments to them, over all
/// cohorts that may be announced. Not in it: its signature over their digests, the messages' heads, TLS, and what is repeated where a connection breaks.
///
/// # Errors
/// [`TermsError`]: no layout fits, or the charter's adapter is none.
pub fn most_sent_bytes(charter: &Charter) -> Result<u64, TermsError> {
    let (count, committee) = (crate::Terms::of(charter)?.first_state()?.update_len(), crate::committee(charter)?);
    let (rounds, fullest) = (&charter.rounds, fullest_round(charter));
    let mut most = 0;
    // Fewer houses carry more noise each: the largest cohort is not by itself the one with the largest layout.
    for expected in rounds.min_cohort + rounds.may_vanish..=rounds.max_cohort {
        let layout = layout(charter, fullest, expected as usize, rounds.may_vanish, count)?;
        most = most.max(layout.sent_bytes(&committee) as u64);
    }
    Ok(most)
}

/// What all charged attempts of the run cost a house that samples at `rate`, if `expected` houses are expected each time:
/// the training, and the evaluations of held-out units. Nothing under mode `none`.
#[must_use]
pub fn whole_run(charter: &Charter, rate: f64, expected: u32, count: usize) -> Vec<Rounds> {
    if charter.privacy.mode == PrivacyMode::None {
        return Vec::new();
    }
    let fullest = fullest_round(charter);
    let dimension = RoundShape::of(charter, fullest, count).len();
    let grid = grid(charter, expected, dimension);
    let metrics = Grid { integer_norm: Norms::of(charter, fullest).metrics, ..grid };
    let rounds = attempts(charter, rate, u64::from(charter.charged_rounds()), evaluations(charter));
    rounds.into_iter().zip([grid, metrics]).map(|(rounds, grid)| rounds.on_grid(grid)).collect()
}

/// What so many attempts, `evaluated` of them with an evaluation, cost a house that samples at `rate`, as continuous noise: the
/// training, and the evaluations where there are any. Nothing under mode `none`.
#[must_use]
pub fn attempts(charter: &Charter, rate: f64, attempts: u64, evaluated: u64) -> Vec<Rounds> {
    let mode = charter.privacy.mode;
    if mode == PrivacyMode::None {
        return Vec::new();
    }
    let steps = attempts * u64::from(charter.noised_steps());
    let training = Rounds::new(rate, charter.privacy.noise_multiplier, steps);
    // Under `client` the metrics are part of the one vector.
    let evaluation = charter.evaluation.as_ref().filter(|_| mode != PrivacyMode::Client && evaluated > 0);
    let evaluations = evaluation.map(|evaluation| Rounds::new(1.0, evaluation.noise_multiplier, evaluated));
    std::iter::once(training).chain(evaluations).collect()
}

/// The first round whose vector has every part that the charter knows of: with an evaluation, if it has any.
#[must_use]
pub fn fullest_round(charter: &Charter) -> RoundNumber {
    let every = charter.evaluation.as_ref().map_or(1, |evaluation| evaluation.every);
    RoundNumber::new(every).unwrap_or(RoundNumber::FIRST)
}

/// Attempts that may be evaluations: one for each evaluated round, and any attempt that is charged beyond the rounds.
#[must_use]
pub fn evaluations(charter: &Charter) -> u64 {
    let Some(every) = charter.evaluation.as_ref().map(|evaluation| evaluation.every.max(1)) else { return 0 };
    let again = charter.charged_rounds().saturating_sub(charter.rounds.count);
    let rounds = charter.rounds.count / every;
    if rounds == 0 { 0 } else { u64::from(rounds) + u64::from(again) }
}

/// The grid on which the noise of a cohort of `expected` houses lives, as the accountant takes it.
pub(crate) fn grid(charter: &Charter, expected: u32, dimension: usize) -> Grid {
    let rounds = &charter.rounds;
    let honest = u64::from(expected)
        .saturating_sub(u64::from(rounds.may_vanish))
        .saturating_sub(u64::from(charter.privacy.colluders));
    let shares = if charter.privacy.mode == PrivacyMode::RecordLocal { 1 } else { honest };
    Grid {
        dimension: dimension as u64,
        integer_norm: charter.privacy.integer_norm,
        shares,
        deviation: charter.share_deviation(expected, rounds.may_vanish),
    }
}

/// Refuses parts of a vector that rounding would fill, or cut to nothing.
pub(crate) fn check_parts(charter: &Charter, count: usize) -> Result<(), PrivacyTermsError> {
    let buckets = charter.evaluation.as_ref().map_or(0, |evaluation| evaluation.buckets);
    if charter.model.labels.is_empty() && buckets > 0 {
        return Err(PrivacyTermsError::BucketsWithoutLabels(buckets));
    }
    if let Some(cells) =
        MetricsShape::of(charter).map(|metrics| metrics.len()).filter(|cells| *cells > MetricsShape::MOST_CELLS)
    {
        return Err(PrivacyTermsError::TooManyMetrics { labels: charter.model.labels.len(), cells });
    }
    for round in [RoundNumber::FIRST, fullest_round(charter)] {
        let norms = Norms::of(charter, round);
        let parts = [
            ("adaptive_clipping", charter.adaptive_clipping.is_some(), norms.indicator, 1),
            ("evaluation", charter.is_evaluated(round), norms.metrics, MetricsShape::LEAST_NORM),
        ];
        for (section, used, norm, least) in parts {
            if used && norm < least {
                return Err(PrivacyTermsError::PartTooSmall { section, norm, least });
            }
        }
        if charter.privacy.mode == PrivacyMode::Client {
            let rounding = rounding(charter, round, count)?;
            let update = RoundShape::of(charter, round, count).update as f64;
            // 2 n exp(-t^2 / 2) = 2^-40, for how far a rotated coordinate goes; one more for rounding.
            let reach = (2.0 * (2.0 * update * 2f64.powi(40)).ln()).sqrt() * rounding.scale() / update.sqrt() + 1.0;
            let needed = reach.min(norms.update as f64).ceil() as u64;
            let needed = needed.max(norms.indicator).max(norms.metrics);
            if charter.privacy.clamp < needed {
                return Err(PrivacyTermsError::ClampCuts { clamp: charter.privacy.clamp, needed });
            }
        } else if let Some(evaluation) = charter.evaluation.as_ref().filter(|_| charter.is_evaluated(round)) {
            // All held-out units of a house may be in one cell; how many it has follows from its batch and its rate.
            let held_out = |house: &House| f64::from(house.nominal_batch) / house.sampling_rate * evaluation.held_out;
            let most = charter.houses.iter().map(held_out).fold(1.0, f64::max);
            let needed = (most * norms.metrics as f64).ceil() as u64;
            if charter.privacy.clamp < needed {
                return Err(PrivacyTermsError::ClampCuts { clamp: charter.privacy.clamp, needed });
            }
        }
    }
    Ok(())
}
