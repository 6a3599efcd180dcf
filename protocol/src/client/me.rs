//! Who this member is, and what it accepts whatever the charter says.

use std::sync::Arc;

use crate::charter::{Charter, PrivacyMode};
use crate::federation::Federation;
use crate::ids::{HouseName, MemberIndex};
use crate::rejection::{Party, Rejection};

/// A data holder's own limits, from its own configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The most epsilon that its ledger may come to. A trustee's ledger stays empty.
    pub epsilon_ceiling: f64,
    /// Whether a charter without privacy is acceptable (comparisons, public data).
    pub allow_no_privacy: bool,
    /// The smallest cohort that it lets be opened.
    pub min_cohort: u32,
    /// The least c: committee members that may collude without opening two sets.
    pub min_colluding_members: u32,
    /// How far the aggregator's clock may be ahead of its own, in milliseconds.
    pub max_clock_skew_ms: u64,
    /// Whether a grown record needs a consistency proof.
    pub require_record_proof: bool,
}

impl Policy {
    /// Checks a charter before joining.
    ///
    /// # Errors
    /// [`Rejection::AgainstPolicy`] naming the charter's key.
    pub fn check(&self, charter: &Charter) -> Result<(), Rejection> {
        let refuse = |field, rule| Err(Rejection::AgainstPolicy { who: Party::Aggregator, field, rule });
        if charter.privacy.mode == PrivacyMode::None && !self.allow_no_privacy {
            return refuse("privacy.mode", "`none` protects nobody".to_owned());
        }
        if charter.privacy.epsilon > self.epsilon_ceiling {
            let (epsilon, ceiling) = (charter.privacy.epsilon, self.epsilon_ceiling);
            return refuse("privacy.epsilon", format!("{epsilon} is above the ceiling {ceiling}"));
        }
        let (min, floor) = (charter.rounds.min_cohort, self.min_cohort);
        if min < floor {
            return refuse("rounds.min_cohort", format!("{min} is below {floor}"));
        }
        let (c, floor) = (charter.colluding_members_tolerated(), self.min_colluding_members);
        if c < floor as usize {
            return refuse("committee.threshold", format!("it tolerates {c} colluding members, not {floor}"));
        }
        Ok(())
    }
}

/// A member of a pinned federation.
#[derive(Debug)]
pub struct Me {
    federation: Arc<Federation>,
    name: HouseName,
    seat: Option<MemberIndex>,
    is_house: bool,
    policy: Policy,
}

impl Me {
    /// Checks that the member is in the roster and the charter within its policy.
    ///
    /// # Errors
    /// [`Rejection::UnknownMember`], [`Rejection::AgainstPolicy`].
    pub fn new(federation: Arc<Federation>, name: HouseName, policy: Policy) -> Result<Self, Rejection> {
        let Some(member) = federation.roster().member(&name) else {
            return Err(Rejection::UnknownMember { name });
        };
        policy.check(federation.charter())?;
        let is_house = member.is_house();
        let seat = federation.roster().index_of(&name);
        Ok(Self { federation, name, seat, is_house, policy })
    }

    /// Charter and roster.
    pub fn federation(&self) -> &Arc<Federation> {
        &self.federation
    }

    /// Its name.
    pub fn name(&self) -> &HouseName {
        &self.name
    }

    /// Its share index; none for a house outside of the committee, which contributes and combines, but neither answers nor
    /// signs outcomes.
    pub fn seat(&self) -> Option<MemberIndex> {
        self.seat
    }

    /// Whether it holds data.
    pub fn is_house(&self) -> bool {
        self.is_house
    }

    /// Its limits.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(super) fn party(&self) -> Party {
        Party::Member(self.name.clone())
    }
}
