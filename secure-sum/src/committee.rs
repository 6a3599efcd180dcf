//! The committee: how many members hold shares of a one-time key, and how many of them open.

/// k members of whom any t open the sum; share indices run from 1 to k.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Committee {
    members: u8,
    threshold: u8,
}

/// The numbers describe no safe committee.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{threshold} of {members} members is no committee: the threshold must be at most all members and more than half of them"
)]
pub struct CommitteeError {
    /// Members asked for.
    pub members: u8,
    /// Threshold asked for.
    pub threshold: u8,
}

impl Committee {
    /// A committee of `members` of whom any `threshold` open: 1 <= t <= k, and 2t > k, since with less two
    /// disjoint quorums could open two different cohorts.
    ///
    /// # Errors
    /// When the numbers break one of these rules.
    pub const fn new(members: u8, threshold: u8) -> Result<Self, CommitteeError> {
        if threshold == 0 || threshold > members || 2 * threshold as u16 <= members as u16 {
            return Err(CommitteeError { members, threshold });
        }
        Ok(Self { members, threshold })
    }

    /// k, the number of members.
    #[must_use]
    pub const fn members(self) -> u8 {
        self.members
    }

    /// t, the number of answers that open.
    #[must_use]
    pub const fn threshold(self) -> u8 {
        self.threshold
    }

    /// c = 2t - k - 1: how many members may collude with the aggregator before two sets can both be opened.
    #[must_use]
    pub const fn colluders_tolerated(self) -> u8 {
        (2 * self.threshold as u16 - self.members as u16 - 1) as u8
    }

    /// Share indices, 1 to k.
    pub fn indices(self) -> impl Iterator<Item = u8> {
        1..=self.members
    }

    /// Whether a share index belongs to a member.
    pub(crate) const fn has(self, index: u8) -> bool {
        1 <= index && index <= self.members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_majorities_are_committees() {
        for members in 0..=255_u8 {
            for threshold in 0..=255_u8 {
                let valid = threshold >= 1 && threshold <= members && 2 * u16::from(threshold) > u16::from(members);
                assert_eq!(Committee::new(members, threshold).is_ok(), valid);
            }
        }
    }

    #[test]
    fn colluders_are_those_of_the_threat_model() {
        for (members, threshold, colluders) in [(4, 3, 1), (10, 7, 3), (3, 3, 2), (255, 255, 254)] {
            let committee = Committee::new(members, threshold);
            assert_eq!(committee.map(Committee::colluders_tolerated), Ok(colluders));
        }
    }
}
