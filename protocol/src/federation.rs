//! A charter and the roster that goes with it, pinned together: what every check of a round refers to.

use crate::charter::{Charter, ReleasePolicy};
use crate::encoding::Message as _;
use crate::ids::Digest;
use crate::roster::{Roster, RosterError};

/// A charter and its roster.
#[derive(Clone)]
pub struct Federation {
    charter: Charter,
    roster: Roster,
    roster_digest: Digest,
}

/// Which one it is: all of it would fill pages.
impl std::fmt::Debug for Federation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Federation(charter {}, roster {})", self.charter.digest(), self.roster_digest)
    }
}

impl Federation {
    /// Pins `roster` to `charter`.
    ///
    /// # Errors
    /// [`RosterError`] when they do not belong together.
    pub fn new(charter: Charter, roster: Roster) -> Result<Self, RosterError> {
        roster.check(&charter)?;
        let roster_digest = roster.digest();
        Ok(Self { charter, roster, roster_digest })
    }

    /// The charter.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The roster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The roster's digest, computed once.
    pub fn roster_digest(&self) -> Digest {
        self.roster_digest
    }

    /// The committee's threshold t.
    pub fn threshold(&self) -> usize {
        usize::from(self.charter.committee.threshold)
    }

    /// The smallest cohort that may be opened of an announced set of `expected` houses: max(|E| - d, min_cohort).
    pub fn cohort_floor(&self, expected: usize, may_vanish: u32) -> usize {
        let floor = self.charter.rounds.min_cohort as usize;
        expected.saturating_sub(may_vanish as usize).max(floor)
    }

    /// Whether members seal their answers to the houses.
    pub fn seals_answers(&self) -> bool {
        self.charter.release.policy == ReleasePolicy::Clients
    }
}
