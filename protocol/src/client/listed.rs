//! Listed: one cohort list is promised. Its sum is claimed and checked; the answer comes after that.

use std::sync::Arc;

use super::event::{Effect, Event, Step};
use super::hear::{self, Heard};
use super::memory::Memory;
use super::{Answered, Round};
use crate::check;
use crate::encoding::Message as _;
use crate::ids::{Digest, HouseName};
use crate::message::{BodyChecksum, CohortList, SumClaim};
use crate::rejection::Rejection;
use crate::signed::Signed;

/// One cohort list is promised.
#[derive(Debug, Clone)]
pub struct Listed {
    heard: Arc<Heard>,
    memory: Memory,
    list: Arc<CohortList>,
    cohort: Digest,
    claim: Option<SumClaim>,
    said: Arc<Vec<Signed<BodyChecksum>>>,
}

impl Listed {
    pub(super) fn new(heard: Arc<Heard>, memory: Memory, list: Arc<CohortList>, cohort: Digest) -> Self {
        Self { heard, memory, list, cohort, claim: None, said: Arc::default() }
    }

    /// The announcement.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The one cohort list.
    pub fn list(&self) -> &Arc<CohortList> {
        &self.list
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Cohort(list) => {
                same_cohort(self.cohort, list)?;
                let again = hear::own_complaint(&self.heard, &self.memory);
                Ok(Step::to(Round::Listed(self), again.into_iter().collect()))
            }
            Event::Claimed(signed) => self.claimed(signed),
            Event::Checksummed(said) => self.checksummed(said),
            Event::Complained(signed) => {
                let mut memory = self.memory.clone();
                let effects = hear::complain(&self.heard, &mut memory, &self.list, signed)?;
                Ok(Step::to(Round::Listed(Self { memory, ..self }), effects))
            }
            Event::Checked { claim, checksums } => self.checked(claim, checksums),
            Event::Announced { signed, .. } if signed.body_digest() == self.heard.digest() => {
                Ok(Step::to(Round::Listed(self), Vec::new()))
            }
            other => hear::otherwise(&self.heard, &self.memory, at_ms, other, "listed"),
        }
    }

    /// The first claim is promised before anything is said under it. A house of the cohort says its body's checksum, and
    /// checks another's body where the challenge draws it; a trustee only follows.
    fn claimed(mut self, signed: &Signed<SumClaim>) -> Result<Step, Rejection> {
        let claim = check::claim(self.heard.me().federation(), self.heard.digest(), self.cohort, signed)?;
        let mut effects = hear::promise_sum(&self.heard, &mut self.memory, claim.body_sum)?;
        self.claim = Some(claim);
        let (me, houses) = (self.heard.me().name(), self.houses());
        if !self.said.is_empty() {
            effects.extend(self.said.iter().cloned().map(Effect::SendChecksum));
        } else if houses.contains(me) {
            let bodies = claim.spot_check(me, &houses).cloned().into_iter().collect();
            effects.push(Effect::Check { list: Arc::clone(&self.list), claim, bodies });
        }
        Ok(Step::to(Round::Listed(self), effects))
    }

    fn checksummed(mut self, said: &[Signed<BodyChecksum>]) -> Result<Step, Rejection> {
        let me = self.heard.me();
        let Some(claim) = self.claim else {
            return Err(hear::wrong_state(me, &Event::Checksummed(Vec::new()), "unclaimed"));
        };
        let houses = self.houses();
        for signed in said {
            let checksum = check::body_checksum(me.federation(), &claim, &houses, signed)?;
            if checksum.member != *me.name() {
                return Err(Rejection::WrongSpeaker { who: me.party(), speaker: checksum.member.to_string() });
            }
        }
        self.said = Arc::new(said.to_vec());
        let effects = said.iter().cloned().map(Effect::SendChecksum).collect();
        Ok(Step::to(Round::Listed(self), effects))
    }

    /// The sum is promised durably, then answered. A member whose shares were wrong complains instead.
    fn checked(mut self, claim: &Signed<SumClaim>, checksums: &[Signed<BodyChecksum>]) -> Result<Step, Rejection> {
        let checked = check::checked(self.heard.me().federation(), &self.list, claim, checksums)?;
        let mut effects = hear::promise_sum(&self.heard, &mut self.memory, checked.body_sum())?;
        let answered = Answered::new(self.heard, self.memory, self.list, self.cohort, Arc::new(checked));
        effects.extend(answered.answer());
        Ok(Step::to(Round::Answered(answered), effects))
    }

    fn houses(&self) -> Vec<HouseName> {
        self.list.houses().cloned().collect()
    }
}

/// The list once more; another one is a second opening.
pub(super) fn same_cohort(first: Digest, list: &CohortList) -> Result<(), Rejection> {
    let second = list.digest();
    if first == second { Ok(()) } else { Err(Rejection::SecondOpening { first, second }) }
}
