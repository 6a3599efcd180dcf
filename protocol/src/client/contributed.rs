//! Contributed: the one contribution to this round is made; the cohort comes next.

use std::sync::Arc;

use super::Round;
use super::event::{Effect, Event, Step};
use super::hear::{self, Heard};
use super::memory::Memory;
use crate::rejection::Rejection;
use crate::signed::Signed;

/// The contribution is made.
#[derive(Debug, Clone)]
pub struct Contributed {
    heard: Arc<Heard>,
    memory: Memory,
}

impl Contributed {
    pub(super) fn new(heard: Arc<Heard>, memory: Memory) -> Self {
        Self { heard, memory }
    }

    /// The announcement.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Contributed(signed) => {
                // What was begun for an earlier attempt may be done only now.
                hear::own_contribution(&self.heard, signed)?;
                let first = self.memory.promises(self.heard.digest()).and_then(|seen| seen.contribution.clone());
                let (name, second) = (signed.signer().clone(), signed.body_digest());
                match first.as_ref().map(Signed::body_digest) {
                    Some(first) if first != second => Err(Rejection::SecondContribution { name, first, second }),
                    _ => Ok(Step::to(Round::Contributed(self), vec![Effect::Submit(signed.clone())])),
                }
            }
            Event::Cohort(list) => hear::cohort(&self.heard, self.memory, list),
            // Said again: perhaps the submission was lost.
            Event::Announced { signed, .. } if signed.body_digest() == self.heard.digest() => {
                let first = self.memory.promises(self.heard.digest()).and_then(|seen| seen.contribution.clone());
                Ok(Step::to(Round::Contributed(self), first.map(Effect::Submit).into_iter().collect()))
            }
            other => hear::otherwise(&self.heard, &self.memory, at_ms, other, "contributed"),
        }
    }
}
