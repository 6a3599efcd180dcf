//! Settling: the sum can be opened; houses sign what came of it, until t signed the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::{Effect, Step};
use super::frame::{Fixed, abandon};
use super::opening::{self, Answers};
use super::{Abandoned, Event, Finished};
use crate::check;
use crate::checked::Checked;
use crate::ids::MemberIndex;
use crate::message::{Answer, Outcome, Verdict};
use crate::notice::Notice;
use crate::rejection::{Abandonment, Rejection};
use crate::signed::Signed;

/// Signed outcomes by share index.
pub(super) type Outcomes = BTreeMap<MemberIndex, (Verdict, Arc<Signed<Outcome>>)>;

/// Houses sign outcomes. Time does not end this state while the round can be opened: houses that were away come back. With
/// fewer than t answers that may be true it ends at the deadline, or at once when no member is left to answer.
#[derive(Debug, Clone)]
pub struct Settling {
    fixed: Arc<Fixed>,
    checked: Arc<Checked>,
    answers: Answers,
    false_answers: BTreeSet<MemberIndex>,
    outcomes: Outcomes,
}

impl Settling {
    pub(super) fn new(fixed: Arc<Fixed>, checked: Arc<Checked>, answers: Answers) -> Self {
        Self { fixed, checked, answers, false_answers: BTreeSet::new(), outcomes: Outcomes::new() }
    }

    /// The cohort.
    pub fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// The claimed sum and what was said of single bodies.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The answers not known to be false, by index.
    pub fn answers(&self) -> impl Iterator<Item = &Signed<Answer>> {
        let held = self.answers.iter().filter(|(index, _)| !self.false_answers.contains(index));
        held.map(|(_, signed)| signed.as_ref())
    }

    /// The houses that signed an outcome so far, with their verdicts.
    pub fn outcomes(&self) -> impl Iterator<Item = (MemberIndex, Verdict)> {
        self.outcomes.iter().map(|(index, (verdict, _))| (*index, *verdict))
    }

    /// When it is given up: only where fewer than t answers may be true.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let short = self.answers().count() < self.fixed.federation().threshold();
        short.then(|| self.fixed.announced().announcement().open_time_ms())
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        opening::notices(&self.fixed, &self.checked, &self.answers)
    }

    /// What the aggregator does with the answers: it can combine them only when they are open to it.
    pub(super) fn combine(&self) -> Option<Effect> {
        let answers: Vec<Signed<Answer>> = self.answers().cloned().collect();
        let federation = self.fixed.federation();
        (!federation.seals_answers() && answers.len() >= federation.threshold()).then_some(Effect::Combine { answers })
    }

    pub(super) fn duties(&self) -> Vec<Effect> {
        std::iter::once(self.fixed.fold()).chain(self.combine()).collect()
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Tick if self.deadline_ms().is_some_and(|deadline_ms| at_ms >= deadline_ms) => Ok(self.too_few()),
            Event::Answer(signed) => self.take_answer(signed),
            Event::FalseAnswer(index) => self.drop_answer(*index),
            Event::Outcome(signed) => self.take_outcome(signed),
            Event::Tick => Ok(Step::same(self)),
            Event::Stop => Ok(abandon(Abandoned::fixed_cohort(self.fixed, Abandonment::Stopped))),
            other => self.fixed.late_to(&self.checked, other, "settling").map(|()| Step::same(self)),
        }
    }

    /// An answer beyond the t-th is published too: it helps where one of the first turns out false.
    fn take_answer(mut self, signed: &Signed<Answer>) -> Result<Step, Rejection> {
        if !opening::take(&self.fixed, &self.checked, &mut self.answers, signed)? {
            return Ok(Step::same(self));
        }
        let mut effects = vec![Effect::Publish(Notice::Answered(signed.clone()))];
        if !self.false_answers.is_empty() {
            effects.extend(self.combine());
        }
        Ok(Step::to(self, effects))
    }

    fn drop_answer(mut self, index: MemberIndex) -> Result<Step, Rejection> {
        if !self.answers.contains_key(&index) {
            return Err(Rejection::NoSuchAnswer { index: index.get() });
        }
        if !self.false_answers.insert(index) {
            return Ok(Step::same(self));
        }
        let federation = self.fixed.federation();
        if federation.roster().committee().len() - self.false_answers.len() < federation.threshold() {
            return Ok(self.too_few());
        }
        let effects = self.combine().into_iter().collect();
        Ok(Step::to(self, effects))
    }

    /// Nobody can open the round.
    fn too_few(self) -> Step {
        let (needed, found) = (self.fixed.federation().threshold() as u32, self.answers().count() as u32);
        abandon(Abandoned::fixed_cohort(self.fixed, Abandonment::TooFewAnswers { needed, found }))
    }

    fn take_outcome(mut self, signed: &Signed<Outcome>) -> Result<Step, Rejection> {
        let fixed = &self.fixed;
        let federation = fixed.federation();
        let outcome = check::outcome(federation, fixed.announced().digest(), fixed.digest(), signed)?;
        let Some(index) = federation.roster().index_of(&outcome.member) else {
            return Err(Rejection::NoSeat { name: outcome.member });
        };
        match self.outcomes.get(&index) {
            Some((verdict, _)) if *verdict == outcome.verdict => return Ok(Step::same(self)),
            Some(_) => return Err(Rejection::SecondOutcome { name: outcome.member }),
            None => self.outcomes.insert(index, (outcome.verdict, Arc::new(signed.clone()))),
        };
        let needed = federation.threshold();
        if let Some(verdict) = check::agreed(self.verdicts(), needed) {
            return Ok(self.finish(verdict));
        }
        let silent = federation.charter().committee_houses() - self.outcomes.len();
        let open =
            self.verdicts().any(|verdict| self.verdicts().filter(|other| *other == verdict).count() + silent >= needed);
        if open || silent >= needed {
            return Ok(Step::to(self, Vec::new()));
        }
        Ok(abandon(Abandoned::fixed_cohort(self.fixed, Abandonment::OutcomesSplit)))
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> + Clone {
        self.outcomes.values().map(|(verdict, _)| *verdict)
    }

    fn finish(self, verdict: Verdict) -> Step {
        let agreeing = self.outcomes.into_values().filter(|(other, _)| *other == verdict);
        let outcomes: Vec<Signed<Outcome>> = agreeing.map(|(_, signed)| Signed::clone(&signed)).collect();
        let finished = Finished::new(self.fixed, self.checked, self.answers, verdict, outcomes);
        let mut effects = vec![Effect::Publish(finished.settled())];
        effects.extend(finished.duties());
        Step::to(finished, effects)
    }
}
