//! Settled: t houses signed what the round came to. It hears what Idle hears.

use std::sync::Arc;

use super::event::{Event, Step};
use super::me::Me;
use super::memory::Memory;
use super::{Round, idle};
use crate::message::Verdict;
use crate::rejection::Rejection;

/// The round is over.
#[derive(Debug, Clone)]
pub struct Settled {
    me: Arc<Me>,
    memory: Memory,
    verdict: Verdict,
}

impl Settled {
    pub(super) fn new(me: Arc<Me>, memory: Memory, verdict: Verdict) -> Self {
        Self { me, memory, verdict }
    }

    /// What it came to.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            // Notices of the round that just ended, once more.
            Event::Settled { .. } | Event::Answered(_) => Ok(Step::to(Round::Settled(self), Vec::new())),
            other => idle::step(&self.me, &self.memory, at_ms, other, "settled"),
        }
    }
}
