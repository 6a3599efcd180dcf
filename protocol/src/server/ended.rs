//! The two ends of an attempt. Both stay, to answer repeats and to serve who was away.

use std::sync::Arc;

use super::Event;
use super::effect::{Effect, Step};
use super::frame::{Announced, Fixed, Start, wrong_state};
use super::opening::{self, Answers};
use crate::check;
use crate::checked::Checked;
use crate::federation::Federation;
use crate::ids::RosterPosition;
use crate::message::{Answer, Complaint, Outcome, Verdict};
use crate::notice::Notice;
use crate::record::{Conclusion, RecordLeaf};
use crate::rejection::{Abandonment, Party, Rejection};
use crate::signed::Signed;

/// t houses signed the same verdict.
#[derive(Debug, Clone)]
pub struct Finished {
    fixed: Arc<Fixed>,
    checked: Arc<Checked>,
    answers: Answers,
    verdict: Verdict,
    outcomes: Arc<Vec<Signed<Outcome>>>,
}

impl Finished {
    pub(super) fn new(
        fixed: Arc<Fixed>,
        checked: Arc<Checked>,
        answers: Answers,
        verdict: Verdict,
        outcomes: Vec<Signed<Outcome>>,
    ) -> Self {
        Self { fixed, checked, answers, verdict, outcomes: Arc::new(outcomes) }
    }

    /// The cohort.
    pub fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// The claimed sum and what was said of single bodies.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// What the round came to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The t outcomes that prove it.
    pub fn outcomes(&self) -> &[Signed<Outcome>] {
        &self.outcomes
    }

    /// The answers, by index; houses that were away open the sum from them.
    pub fn answers(&self) -> impl Iterator<Item = &Signed<Answer>> {
        self.answers.values().map(Arc::as_ref)
    }

    /// Its leaf in the record.
    pub fn leaf(&self) -> RecordLeaf {
        let start = self.fixed.announced().start();
        RecordLeaf {
            round: start.round,
            attempt: start.attempt,
            announcement: self.fixed.announced().digest(),
            cohort: Some(self.fixed.digest()),
            houses: self.fixed.houses(),
            conclusion: Conclusion::Settled(self.verdict),
            signers: self.outcomes.iter().map(|signed| signed.signer().clone()).collect(),
        }
    }

    pub(super) fn settled(&self) -> Notice {
        Notice::Settled {
            announcement: self.fixed.announced().digest(),
            cohort: self.fixed.digest(),
            outcomes: self.outcomes.to_vec(),
        }
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        let mut notices = opening::notices(&self.fixed, &self.checked, &self.answers);
        notices.push(self.settled());
        notices
    }

    pub(super) fn duties(&self) -> Vec<Effect> {
        let (federation, start) = (self.fixed.federation(), self.fixed.announced().start());
        let next = match self.verdict {
            Verdict::Void { .. } => next_attempt(federation, start),
            Verdict::Applied { last: true, .. } => Effect::FederationDone,
            Verdict::Applied { .. } => match start.round.next() {
                Some(round) if round.get() <= federation.charter().rounds.count => Effect::NextRound(round),
                _ => Effect::FederationDone,
            },
        };
        vec![Effect::AppendLog(self.leaf()), next]
    }

    /// Repeats and late agreement change nothing.
    pub(super) fn step(self, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Tick | Event::Stop => {}
            Event::Answer(signed) => {
                opening::take(&self.fixed, &self.checked, &mut self.answers.clone(), signed)?;
            }
            Event::Outcome(signed) => {
                let (announcement, cohort) = (self.fixed.announced().digest(), self.fixed.digest());
                let outcome = check::outcome(self.fixed.federation(), announcement, cohort, signed)?;
                if outcome.verdict != self.verdict {
                    return Err(Rejection::OutcomeDisagrees { who: Party::named(&outcome.member) });
                }
            }
            other => self.fixed.late_to(&self.checked, other, "finished")?,
        }
        Ok(Step::same(self))
    }
}

/// Given up. Nothing more is taken.
#[derive(Debug, Clone)]
pub struct Abandoned {
    federation: Arc<Federation>,
    start: Start,
    announced: Option<Arc<Announced>>,
    fixed: Option<Arc<Fixed>>,
    complaint: Option<Arc<Signed<Complaint>>>,
    reason: Abandonment,
}

impl Abandoned {
    pub(super) fn before_announcement(federation: Arc<Federation>, start: Start, reason: Abandonment) -> Self {
        Self { federation, start, announced: None, fixed: None, complaint: None, reason }
    }

    pub(super) fn unfixed(announced: Arc<Announced>, reason: Abandonment) -> Self {
        let (federation, start) = (Arc::clone(announced.federation()), announced.start().clone());
        Self { federation, start, announced: Some(announced), fixed: None, complaint: None, reason }
    }

    pub(super) fn fixed_cohort(fixed: Arc<Fixed>, reason: Abandonment) -> Self {
        let announced = Arc::clone(fixed.announced_arc());
        Self { fixed: Some(fixed), ..Self::unfixed(announced, reason) }
    }

    pub(super) fn complained(fixed: Arc<Fixed>, dealer: RosterPosition, complaint: &Signed<Complaint>) -> Self {
        let complaint = Some(Arc::new(complaint.clone()));
        Self { complaint, ..Self::fixed_cohort(fixed, Abandonment::WrongEnvelope { dealer }) }
    }

    /// Why.
    pub fn reason(&self) -> Abandonment {
        self.reason
    }

    /// The evidence of [`Abandonment::WrongEnvelope`].
    pub fn complaint(&self) -> Option<&Signed<Complaint>> {
        self.complaint.as_deref()
    }

    /// Its leaf in the record; an attempt that was never announced leaves none.
    pub fn leaf(&self) -> Option<RecordLeaf> {
        let announced = self.announced.as_ref()?;
        Some(RecordLeaf {
            round: self.start.round,
            attempt: self.start.attempt,
            announcement: announced.digest(),
            cohort: self.fixed.as_ref().map(|fixed| fixed.digest()),
            houses: self.fixed.as_ref().map(|fixed| fixed.houses()).unwrap_or_default(),
            conclusion: Conclusion::Abandoned(self.reason),
            signers: Vec::new(),
        })
    }

    pub(super) fn start(&self) -> &Start {
        &self.start
    }

    pub(super) fn announced(&self) -> Option<&Announced> {
        self.announced.as_deref()
    }

    pub(super) fn fixed(&self) -> Option<&Fixed> {
        self.fixed.as_deref()
    }

    pub(super) fn notice(&self) -> Notice {
        Notice::Abandoned { round: self.start.round, attempt: self.start.attempt, reason: self.reason }
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        let evidence = self.complaint().cloned().map(Notice::Complained);
        evidence.into_iter().chain([self.notice()]).collect()
    }

    pub(super) fn duties(&self) -> Vec<Effect> {
        let append = self.leaf().map(Effect::AppendLog);
        append.into_iter().chain([next_attempt(&self.federation, &self.start)]).collect()
    }

    pub(super) fn step(self, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Tick | Event::Stop => Ok(Step::same(self)),
            Event::Complaint(signed) if self.complaint() == Some(signed) => Ok(Step::same(self)),
            other => Err(wrong_state(other, "abandoned")),
        }
    }
}

fn next_attempt(federation: &Federation, start: &Start) -> Effect {
    match start.attempt.next() {
        Some(attempt) if attempt.get() <= federation.charter().rounds.max_attempts => Effect::NextAttempt(attempt),
        _ => Effect::AttemptsUsedUp,
    }
}
