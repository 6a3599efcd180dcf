//! Announced: the round is accepted; a house in E trains.

use std::sync::Arc;

use super::event::{Effect, Event, Step};
use super::hear::{self, Heard};
use super::memory::Memory;
use super::{Contributed, Round};
use crate::rejection::{Party, Rejection};

/// The round is accepted.
#[derive(Debug, Clone)]
pub struct Announced {
    heard: Arc<Heard>,
    memory: Memory,
}

impl Announced {
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

    pub(super) fn step(mut self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Contributed(signed) => {
                hear::own_contribution(&self.heard, signed)?;
                let deadline_ms = self.heard.announcement().close_time_ms();
                if at_ms >= deadline_ms {
                    let who = Party::named(signed.signer());
                    return Err(Rejection::Late { who, input: "contribution", at_ms, deadline_ms });
                }
                self.memory.promise(|seen| seen.contribution = Some(signed.clone()));
                let effects = vec![Effect::Remember(self.memory.clone()), Effect::Submit(signed.clone())];
                Ok(Step::to(Round::Contributed(Contributed::new(self.heard, self.memory)), effects))
            }
            Event::Cohort(list) => hear::cohort(&self.heard, self.memory, list),
            Event::Announced { signed, .. } if signed.body_digest() == self.heard.digest() => {
                Ok(Step::to(Round::Announced(self), Vec::new()))
            }
            other => hear::otherwise(&self.heard, &self.memory, at_ms, other, "announced"),
        }
    }
}
