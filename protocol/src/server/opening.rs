//! Opening: committee members answer the one claimed sum, until t have or the time is up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::checking::complained;
use super::effect::{Effect, Step};
use super::frame::{Fixed, abandon};
use super::{Abandoned, Event, Settling};
use crate::check;
use crate::checked::Checked;
use crate::ids::MemberIndex;
use crate::message::Answer;
use crate::notice::Notice;
use crate::rejection::{Abandonment, Party, Rejection};
use crate::signed::Signed;

/// Answers by share index.
pub(super) type Answers = BTreeMap<MemberIndex, Arc<Signed<Answer>>>;

/// Members answer.
#[derive(Debug, Clone)]
pub struct Opening {
    fixed: Arc<Fixed>,
    checked: Arc<Checked>,
    answers: Answers,
}

impl Opening {
    pub(super) fn new(fixed: Arc<Fixed>, checked: Arc<Checked>) -> Self {
        Self { fixed, checked, answers: Answers::new() }
    }

    /// The cohort.
    pub fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// The claimed sum and what was said of single bodies.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// The answers so far, by index.
    pub fn answers(&self) -> impl Iterator<Item = &Signed<Answer>> {
        self.answers.values().map(Arc::as_ref)
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        notices(&self.fixed, &self.checked, &self.answers)
    }

    pub(super) fn step(mut self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        let deadline_ms = self.fixed.announced().announcement().open_time_ms();
        match event {
            Event::Answer(signed) => {
                if !take(&self.fixed, &self.checked, &mut self.answers, signed)? {
                    return Ok(Step::same(self));
                }
                if at_ms >= deadline_ms {
                    let who = Party::named(signed.signer());
                    return Err(Rejection::Late { who, input: "answer", at_ms, deadline_ms });
                }
                let publish = Effect::Publish(Notice::Answered(signed.clone()));
                if self.answers.len() < self.fixed.federation().threshold() {
                    return Ok(Step::to(self, vec![publish]));
                }
                let settling = Settling::new(self.fixed, self.checked, self.answers);
                let mut effects = vec![publish];
                effects.extend(settling.combine());
                Ok(Step::to(settling, effects))
            }
            Event::Tick if at_ms >= deadline_ms => {
                let needed = self.fixed.federation().threshold() as u32;
                let found = self.answers.len() as u32;
                let reason = Abandonment::TooFewAnswers { needed, found };
                Ok(abandon(Abandoned::fixed_cohort(self.fixed, reason)))
            }
            Event::Complaint(signed) => complained(&self.fixed, signed),
            Event::Tick => Ok(Step::same(self)),
            Event::Stop => Ok(abandon(Abandoned::fixed_cohort(self.fixed, Abandonment::Stopped))),
            other => self.fixed.late_to(&self.checked, other, "opening").map(|()| Step::same(self)),
        }
    }
}

/// Takes an answer; `false` for a repeat.
pub(super) fn take(
    fixed: &Fixed,
    checked: &Checked,
    answers: &mut Answers,
    signed: &Signed<Answer>,
) -> Result<bool, Rejection> {
    if answers.values().any(|held| held.as_ref() == signed) {
        return Ok(false);
    }
    let answer = check::answer(fixed.federation(), checked.claim(), signed)?;
    match answers.get(&answer.index) {
        Some(first) if first.body_digest() == signed.body_digest() => Ok(false),
        Some(_) => Err(Rejection::SecondAnswer { name: answer.member }),
        None => {
            answers.insert(answer.index, Arc::new(signed.clone()));
            Ok(true)
        }
    }
}

/// The notices of a checked cohort with these answers.
pub(super) fn notices(fixed: &Fixed, checked: &Checked, answers: &Answers) -> Vec<Notice> {
    let mut notices = fixed.notices();
    notices.push(Notice::Claimed(checked.signed_claim().clone()));
    notices.push(checked.notice());
    notices.extend(answers.values().map(|signed| Notice::Answered(Signed::clone(signed))));
    notices
}
