//! Combined: this house knows what the round came to; it counts when t houses signed the same.

use std::sync::Arc;

use super::Round;
use super::answered::{check_cohort, same_claim};
use super::event::{Effect, Event, Step};
use super::hear::{self, Heard};
use super::listed::same_cohort;
use super::memory::Memory;
use crate::check;
use crate::checked::Checked;
use crate::ids::Digest;
use crate::message::{CohortList, Verdict};
use crate::rejection::Rejection;

/// This house's own verdict is found and signed.
#[derive(Debug, Clone)]
pub struct Combined {
    heard: Arc<Heard>,
    memory: Memory,
    list: Arc<CohortList>,
    cohort: Digest,
    checked: Arc<Checked>,
    verdict: Verdict,
}

impl Combined {
    pub(super) fn new(
        heard: Arc<Heard>,
        memory: Memory,
        list: Arc<CohortList>,
        cohort: Digest,
        checked: Arc<Checked>,
        verdict: Verdict,
    ) -> Self {
        Self { heard, memory, list, cohort, checked, verdict }
    }

    /// The announcement.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The one cohort list.
    pub fn list(&self) -> &Arc<CohortList> {
        &self.list
    }

    /// Its own verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        let me = self.heard.me();
        match event {
            Event::Settled { cohort, outcomes } => {
                check_cohort(self.cohort, *cohort)?;
                let verdict = check::settled(me.federation(), self.heard.digest(), *cohort, outcomes)?;
                if verdict != self.verdict {
                    return Err(Rejection::OutcomeDisagrees { who: me.party() });
                }
                Ok(hear::settle(&self.heard, self.memory, verdict))
            }
            Event::Cohort(list) => {
                same_cohort(self.cohort, list)?;
                Ok(Step::to(Round::Combined(self), Vec::new()))
            }
            Event::Claimed(claim) => {
                same_claim(&self.heard, self.cohort, &self.checked, claim)?;
                Ok(Step::to(Round::Combined(self), Vec::new()))
            }
            Event::Checked { claim, .. } => {
                same_claim(&self.heard, self.cohort, &self.checked, claim)?;
                let answer = self.memory.promises(self.heard.digest()).and_then(|seen| seen.answer.clone());
                let outcome = hear::outcome(&self.heard, self.cohort, self.verdict);
                let effects = answer.map(Effect::SendAnswer).into_iter().chain(outcome).collect();
                Ok(Step::to(Round::Combined(self), effects))
            }
            Event::Combined(verdict) if *verdict == self.verdict => {
                let outcome = hear::outcome(&self.heard, self.cohort, self.verdict);
                Ok(Step::to(Round::Combined(self), outcome.into_iter().collect()))
            }
            Event::Combined(_) => Err(Rejection::OutcomeDisagrees { who: me.party() }),
            Event::Answered(signed) => {
                check::answer(me.federation(), self.checked.claim(), signed)?;
                Ok(Step::to(Round::Combined(self), Vec::new()))
            }
            Event::Announced { signed, .. } if signed.body_digest() == self.heard.digest() => {
                Ok(Step::to(Round::Combined(self), Vec::new()))
            }
            other => hear::otherwise(&self.heard, &self.memory, at_ms, other, "combined"),
        }
    }
}
