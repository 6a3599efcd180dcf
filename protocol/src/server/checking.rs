//! Checking: the aggregator claims a sum of the fixed cohort; houses say the checksums of their bodies under it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effect::{Effect, Step};
use super::frame::{self, Fixed, abandon, wrong_state};
use super::{Abandoned, Event, Opening, Round};
use crate::check;
use crate::checked::Checked;
use crate::ids::HouseName;
use crate::message::{BodyChecksum, CohortList, Complaint, SumClaim};
use crate::notice::Notice;
use crate::rejection::{Abandonment, Rejection};
use crate::signed::Signed;

type Said = Arc<(BodyChecksum, Signed<BodyChecksum>)>;

/// The cohort is fixed and published; its sum is folded, claimed and checked. Once there is a claim, this ends when every
/// house has spoken of its own body and every drawn check of another's is in, or at the check time with what there is.
/// Without a claim it ends with the time to open.
#[derive(Debug, Clone)]
pub struct Checking {
    fixed: Arc<Fixed>,
    houses: Arc<Vec<HouseName>>,
    claim: Option<Arc<(SumClaim, Signed<SumClaim>)>>,
    /// By who says it and whose body.
    checksums: BTreeMap<(HouseName, HouseName), Said>,
}

impl Checking {
    pub(super) fn new(fixed: Arc<Fixed>) -> Self {
        let houses = Arc::new(fixed.houses());
        Self { fixed, houses, claim: None, checksums: BTreeMap::new() }
    }

    /// The cohort.
    pub fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// The claim, once made: no other is ever signed for this cohort.
    pub fn claim(&self) -> Option<&Signed<SumClaim>> {
        self.claim.as_deref().map(|(_, signed)| signed)
    }

    /// The checksums so far.
    pub fn checksums(&self) -> impl Iterator<Item = &BodyChecksum> {
        self.checksums.values().map(|said| &said.0)
    }

    /// The step into this state.
    pub(super) fn begin(self) -> Step {
        let list = CohortList::clone(self.fixed.list());
        let effects = vec![self.fixed.fold(), Effect::Publish(Notice::Cohort(list))];
        Step::to(Round::Checking(self), effects)
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        let mut notices = self.fixed.notices();
        notices.extend(self.claim().cloned().map(Notice::Claimed));
        notices
    }

    /// The next tick that matters.
    pub(super) fn deadline_ms(&self) -> u64 {
        let announcement = self.fixed.announced().announcement();
        if self.claim.is_some() { announcement.check_time_ms() } else { announcement.open_time_ms() }
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Claimed(signed) => self.take_claim(at_ms, signed),
            Event::Checksum(signed) => self.take_checksum(signed),
            Event::Complaint(signed) => complained(&self.fixed, signed),
            Event::Tick if at_ms >= self.deadline_ms() => Ok(match self.claim {
                Some(_) => self.pass(),
                None => {
                    let needed = self.fixed.federation().threshold() as u32;
                    let reason = Abandonment::TooFewAnswers { needed, found: 0 };
                    abandon(Abandoned::fixed_cohort(self.fixed, reason))
                }
            }),
            Event::Tick => Ok(Step::same(self)),
            Event::Stop => Ok(abandon(Abandoned::fixed_cohort(self.fixed, Abandonment::Stopped))),
            other => self.fixed.late(other, "checking").map(|()| Step::same(self)),
        }
    }

    fn take_claim(mut self, at_ms: u64, signed: &Signed<SumClaim>) -> Result<Step, Rejection> {
        let fixed = &self.fixed;
        let claim = check::claim(fixed.federation(), fixed.announced().digest(), fixed.digest(), signed)?;
        if let Some(first) = &self.claim {
            return frame::same_claim(&first.0, &claim).map(|()| Step::same(self));
        }
        self.claim = Some(Arc::new((claim, signed.clone())));
        let mut step = self.go_on(at_ms);
        step.effects.insert(0, Effect::Publish(Notice::Claimed(signed.clone())));
        Ok(step)
    }

    fn take_checksum(mut self, signed: &Signed<BodyChecksum>) -> Result<Step, Rejection> {
        let Some(claim) = &self.claim else {
            return Err(wrong_state(&Event::Checksum(signed.clone()), "unclaimed"));
        };
        if self.checksums.values().any(|held| held.1 == *signed) {
            return Ok(Step::same(self));
        }
        let said = check::body_checksum(self.fixed.federation(), &claim.0, &self.houses, signed)?;
        let key = (said.member.clone(), said.house.clone());
        match self.checksums.get(&key) {
            Some(first) if first.0 == said => return Ok(Step::same(self)),
            Some(_) => return Err(Rejection::SecondChecksum { name: said.member, house: said.house }),
            None => self.checksums.insert(key, Arc::new((said, signed.clone()))),
        };
        Ok(self.go_on(0))
    }

    /// On to the opening, when nothing is left to wait for.
    fn go_on(self, at_ms: u64) -> Step {
        if at_ms >= self.fixed.announced().announcement().check_time_ms() || self.is_complete() {
            return self.pass();
        }
        Step::to(Round::Checking(self), Vec::new())
    }

    fn is_complete(&self) -> bool {
        let Some(claim) = &self.claim else { return false };
        let drawn = claim.0.spot_checks(&self.houses);
        let own = self.houses.iter().map(|house| (house, house));
        own.chain(drawn).all(|(who, house)| self.checksums.contains_key(&(who.clone(), house.clone())))
    }

    fn pass(self) -> Step {
        let Some(claim) = self.claim.as_deref().cloned() else {
            return Step::same(Round::Checking(self));
        };
        let checksums = self.checksums.into_values().map(Arc::unwrap_or_clone);
        let checked = Arc::new(Checked::new(claim, checksums));
        let publish = Effect::Publish(checked.notice());
        Step::to(Opening::new(self.fixed, checked), vec![publish])
    }
}

/// A complaint that `secure-sum` found right, before the round can be opened: the attempt ends.
pub(super) fn complained(fixed: &Arc<Fixed>, signed: &Signed<Complaint>) -> Result<Step, Rejection> {
    let complaint = check::complaint(fixed.federation(), fixed.list(), signed)?;
    Ok(abandon(Abandoned::complained(Arc::clone(fixed), complaint.dealer, signed)))
}
