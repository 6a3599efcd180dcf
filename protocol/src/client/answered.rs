//! Answered: one claimed sum of one cohort list is promised an answer; no other ever gets one. Answers of all members come in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::{Effect, Event, Step};
use super::hear::{self, Heard};
use super::listed::same_cohort;
use super::memory::Memory;
use super::{Combined, Round};
use crate::check;
use crate::checked::Checked;
use crate::ids::{Digest, MemberIndex};
use crate::message::{Answer, CohortList, SumClaim, Verdict, VoidReason};
use crate::rejection::{Party, Rejection};
use crate::signed::Signed;

/// One claimed sum of one cohort list is promised an answer.
#[derive(Debug, Clone)]
pub struct Answered {
    heard: Arc<Heard>,
    memory: Memory,
    list: Arc<CohortList>,
    cohort: Digest,
    checked: Arc<Checked>,
    answers: BTreeMap<MemberIndex, Arc<Signed<Answer>>>,
    false_answers: BTreeSet<MemberIndex>,
    settled: Option<Verdict>,
}

impl Answered {
    pub(super) fn new(
        heard: Arc<Heard>,
        memory: Memory,
        list: Arc<CohortList>,
        cohort: Digest,
        checked: Arc<Checked>,
    ) -> Self {
        let (answers, false_answers) = (BTreeMap::new(), BTreeSet::new());
        Self { heard, memory, list, cohort, checked, answers, false_answers, settled: None }
    }

    /// The announcement.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// The one cohort list.
    pub fn list(&self) -> &Arc<CohortList> {
        &self.list
    }

    /// The one claim, and what was said of single bodies.
    pub fn checked(&self) -> &Arc<Checked> {
        &self.checked
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Cohort(list) => {
                same_cohort(self.cohort, list)?;
                Ok(Step::to(Round::Answered(self), Vec::new()))
            }
            Event::Claimed(claim) => {
                same_claim(&self.heard, self.cohort, &self.checked, claim)?;
                Ok(Step::to(Round::Answered(self), Vec::new()))
            }
            Event::Checked { claim, .. } => {
                same_claim(&self.heard, self.cohort, &self.checked, claim)?;
                let again = self.answer();
                Ok(Step::to(Round::Answered(self), again.into_iter().collect()))
            }
            Event::Complained(signed) => {
                let mut memory = self.memory.clone();
                let effects = hear::complain(&self.heard, &mut memory, &self.list, signed)?;
                Ok(Step::to(Round::Answered(Self { memory, ..self }), effects))
            }
            Event::Answered(signed) => self.take(signed),
            Event::FalseAnswer(index) => self.drop_answer(*index),
            Event::Combined(verdict) => self.combined(*verdict),
            Event::Settled { cohort, outcomes } if self.heard.me().is_house() => {
                check_cohort(self.cohort, *cohort)?;
                let verdict = check::settled(self.heard.me().federation(), self.heard.digest(), *cohort, outcomes)?;
                Ok(Step::to(Round::Answered(Self { settled: Some(verdict), ..self }), Vec::new()))
            }
            Event::Announced { signed, .. } if signed.body_digest() == self.heard.digest() => {
                Ok(Step::to(Round::Answered(self), Vec::new()))
            }
            other => hear::otherwise(&self.heard, &self.memory, at_ms, other, "answered"),
        }
    }

    /// What this member does about its answer: make it, send it again, or complain instead. Without shares there is none.
    pub(super) fn answer(&self) -> Option<Effect> {
        self.heard.me().seat()?;
        if let Some(complaint) = hear::own_complaint(&self.heard, &self.memory) {
            return Some(complaint);
        }
        Some(match self.memory.promises(self.heard.digest()).and_then(|seen| seen.answer.clone()) {
            Some(answer) => Effect::SendAnswer(answer),
            None => Effect::Answer { list: Arc::clone(&self.list), body_sum: self.checked.body_sum() },
        })
    }

    fn take(mut self, signed: &Signed<Answer>) -> Result<Step, Rejection> {
        if self.answers.values().any(|held| held.as_ref() == signed) {
            return Ok(Step::to(Round::Answered(self), Vec::new()));
        }
        let me = self.heard.me();
        let answer = check::answer(me.federation(), self.checked.claim(), signed)?;
        let mut effects = Vec::new();
        if Some(answer.index) == me.seat() {
            if hear::own_complaint(&self.heard, &self.memory).is_some() {
                return Err(hear::wrong_state(me, &Event::Answered(signed.clone()), "complained"));
            }
            let first = self.memory.promises(self.heard.digest()).and_then(|seen| seen.answer.as_ref());
            match first.map(Signed::body_digest) {
                Some(first) if first != signed.body_digest() => {
                    return Err(Rejection::SecondAnswer { name: answer.member });
                }
                Some(_) => {}
                None => {
                    self.memory.promise(|seen| seen.answer = Some(signed.clone()));
                    effects.push(Effect::Remember(self.memory.clone()));
                    let used = self.heard.sequence();
                    effects.extend(used.map(|sequence| Effect::EraseOneTimeKeys { sequence }));
                    effects.push(Effect::SendAnswer(signed.clone()));
                }
            }
        }
        match self.answers.get(&answer.index) {
            Some(first) if first.body_digest() == signed.body_digest() => {}
            Some(_) => return Err(Rejection::SecondAnswer { name: answer.member }),
            None => {
                self.answers.insert(answer.index, Arc::new(signed.clone()));
                let held = self.answers.len() - self.false_answers.len();
                let short = !self.false_answers.is_empty();
                if held == self.threshold() || short {
                    effects.extend(self.combine());
                }
            }
        }
        Ok(Step::to(Round::Answered(self), effects))
    }

    fn drop_answer(mut self, index: MemberIndex) -> Result<Step, Rejection> {
        if !self.answers.contains_key(&index) {
            return Err(Rejection::NoSuchAnswer { index: index.get() });
        }
        self.false_answers.insert(index);
        let federation = self.heard.me().federation();
        if federation.roster().committee().len() - self.false_answers.len() < federation.threshold() {
            // Whoever answers now, nobody can open the round.
            return self.combined(Verdict::Void { reason: VoidReason::FalseAnswers });
        }
        let effects = self.combine().into_iter().collect();
        Ok(Step::to(Round::Answered(self), effects))
    }

    fn combine(&self) -> Option<Effect> {
        let held = self.answers.iter().filter(|(index, _)| !self.false_answers.contains(index));
        let answers: Vec<Signed<Answer>> = held.map(|(_, signed)| Signed::clone(signed)).collect();
        let ready = self.heard.me().is_house() && answers.len() >= self.threshold();
        let (list, checked) = (Arc::clone(&self.list), Arc::clone(&self.checked));
        ready.then_some(Effect::Combine { list, checked, answers })
    }

    fn combined(mut self, verdict: Verdict) -> Result<Step, Rejection> {
        let me = self.heard.me();
        if !me.is_house() {
            return Err(Rejection::NotAHouse { who: me.party() });
        }
        let before = self.memory.promises(self.heard.digest()).and_then(|seen| seen.verdict);
        if [before, self.settled].into_iter().flatten().any(|other| other != verdict) {
            return Err(Rejection::OutcomeDisagrees { who: me.party() });
        }
        self.memory.promise(|seen| seen.verdict = Some(verdict));
        let mut effects = vec![Effect::Remember(self.memory.clone())];
        effects.extend(hear::outcome(&self.heard, self.cohort, verdict));
        if self.settled.is_some() {
            let step = hear::settle(&self.heard, self.memory, verdict);
            effects.extend(step.effects);
            return Ok(Step::to(step.next, effects));
        }
        let combined = Combined::new(self.heard, self.memory, self.list, self.cohort, self.checked, verdict);
        Ok(Step::to(Round::Combined(combined), effects))
    }

    fn threshold(&self) -> usize {
        self.heard.me().federation().threshold()
    }
}

/// The claim once more; another one is a second claim.
pub(super) fn same_claim(
    heard: &Heard,
    cohort: Digest,
    checked: &Checked,
    signed: &Signed<SumClaim>,
) -> Result<(), Rejection> {
    if signed == checked.signed_claim() {
        return Ok(());
    }
    let second = check::claim(heard.me().federation(), heard.digest(), cohort, signed)?.body_sum;
    let first = checked.body_sum();
    if first == second { Ok(()) } else { Err(Rejection::SecondClaim { first, second }) }
}

/// The cohort that an outcome speaks of is the answered one.
pub(super) fn check_cohort(expected: Digest, found: Digest) -> Result<(), Rejection> {
    let who = Party::Aggregator;
    if found == expected { Ok(()) } else { Err(Rejection::WrongCohort { who, expected, found }) }
}
