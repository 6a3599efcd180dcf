//! The vector of a round: which integers stand where, and what their noise is.

use privacy::accountant::Grid;
use protocol::charter::PrivacyMode;
use protocol::{Charter, RoundNumber};
use secure_sum::{Layout, Values};

use crate::TermsError;

/// How a round's vector is laid out: `[ update | indicator ]`, all integers in grid units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundShape {
    /// Coordinates of the update: the trained weights, or under `client` the next power of two, over which an update is
    /// rotated.
    pub update: usize,
    /// 1 where a house says whether its update was below the clipping norm, else 0.
    pub indicator: usize,
}

impl RoundShape {
    /// The vector of `round`, over `count` trained weights.
    #[must_use]
    pub fn of(charter: &Charter, _round: RoundNumber, count: usize) -> Self {
        match charter.privacy.mode {
            PrivacyMode::Client => {
                Self { update: count.next_power_of_two(), indicator: usize::from(charter.adaptive_clipping.is_some()) }
            }
            PrivacyMode::RecordShared | PrivacyMode::RecordLocal | PrivacyMode::None => {
                Self { update: count, indicator: 0 }
            }
        }
    }

    /// All its coordinates.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a round without coordinates does not exist")]
    pub fn len(&self) -> usize {
        self.update + self.indicator
    }
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
