//! How much noise a charter puts into a share and into a sum; both ends derive the same layout from it.

use super::{Charter, PrivacyMode};

impl Charter {
    /// Standard deviation of one house's noise share (of one local step) in grid units, for `expected` = |E| houses of which `may_vanish` may
    /// vanish: z · D / sqrt(|E| - d - m) under `record-shared` (only the honest houses of the smallest cohort are counted
    /// on), z · D under `record-local`, 0 under `none`. Infinite when no honest house would be left.
    pub fn share_deviation(&self, expected: u32, may_vanish: u32) -> f64 {
        let privacy = &self.privacy;
        let central = privacy.noise_multiplier * privacy.integer_norm as f64;
        let honest = f64::from(expected) - f64::from(may_vanish) - f64::from(privacy.colluders);
        match privacy.mode {
            PrivacyMode::None => 0.0,
            PrivacyMode::RecordLocal => central,
            PrivacyMode::RecordShared | PrivacyMode::Client if honest >= 1.0 => central / honest.sqrt(),
            PrivacyMode::RecordShared | PrivacyMode::Client => f64::INFINITY,
        }
    }

    /// Steps whose noise one contribution holds: the local ones under `record-local`, else 1.
    pub fn noised_steps(&self) -> u32 {
        if self.privacy.mode == PrivacyMode::RecordLocal { self.local.steps } else { 1 }
    }

    /// Standard deviation of the noise in the sum over all of `expected`, in grid units. A millionth is added for the
    /// rounding up of a share's deviation to a rational.
    pub fn sum_deviation(&self, expected: u32, may_vanish: u32) -> f64 {
        let shares = f64::from(expected) * f64::from(self.noised_steps());
        self.share_deviation(expected, may_vanish) * shares.sqrt() * (1.0 + 1e-6)
    }

    /// The noise in the sum over all of `expected`, as a multiple of central DP-SGD's: sqrt(|E| / (|E| - d - m)) under
    /// `record-shared`.
    pub fn noise_factor(&self, expected: u32, may_vanish: u32) -> f64 {
        let central = self.privacy.noise_multiplier * self.privacy.integer_norm as f64;
        if central > 0.0 {
            self.share_deviation(expected, may_vanish) * f64::from(expected).sqrt() / central
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::charter::{Charter, SAMPLE};

    #[test]
    fn factors_are_those_of_the_design_page() {
        // design.md, Privacy modes: m = 1; 4 houses: 1.15 at d = 0, 1.41 at d = 1; 10 houses: 1.05 and 1.12.
        let charter = Charter::parse(SAMPLE).unwrap();
        for (expected, may_vanish, factor) in [(4, 0, 1.15), (4, 1, 1.41), (10, 0, 1.05), (10, 1, 1.12)] {
            assert!((charter.noise_factor(expected, may_vanish) - factor).abs() < 0.006, "{expected} {may_vanish}");
        }
    }

    #[test]
    fn no_honest_house_left_means_no_finite_share() {
        assert!(Charter::parse(SAMPLE).unwrap().share_deviation(2, 1).is_infinite());
    }
}
