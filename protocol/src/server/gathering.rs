//! Gathering: houses say ready; the caller announces a round over the ready ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::effect::{Effect, Step};
use super::frame::{Announced, Start, abandon, check_ready, wrong_state};
use super::{Abandoned, Collecting, Event};
use crate::federation::Federation;
use crate::ids::{HouseName, RosterPosition};
use crate::message::{Announcement, Ready};
use crate::notice::Notice;
use crate::rejection::{Abandonment, Party, Rejection};
use crate::signed::Signed;

/// Houses say ready. Nothing here depends on data.
#[derive(Debug, Clone)]
pub struct Gathering {
    federation: Arc<Federation>,
    start: Start,
    ready: BTreeMap<RosterPosition, HouseName>,
}

impl Gathering {
    pub(super) fn new(federation: Arc<Federation>, start: Start) -> Self {
        Self { federation, start, ready: BTreeMap::new() }
    }

    /// The ready houses, in roster order.
    pub fn ready(&self) -> impl Iterator<Item = &HouseName> {
        self.ready.values()
    }

    /// How many ready houses an announcement with the charter's d needs.
    pub fn needed(&self) -> usize {
        self.federation.charter().rounds.smallest_expected() as usize
    }

    pub(super) fn start(&self) -> &Start {
        &self.start
    }

    pub(super) fn notice(&self) -> Notice {
        Notice::Gathering { round: self.start.round, attempt: self.start.attempt }
    }

    /// The effect of enough ready houses.
    pub(super) fn gathered(&self) -> Option<Effect> {
        let most = self.federation.charter().rounds.max_cohort as usize;
        let expected: Vec<HouseName> = self.ready().take(most).cloned().collect();
        (expected.len() >= self.needed()).then_some(Effect::Gathered { expected })
    }

    pub(super) fn step(self, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Ready(signed) => self.take_ready(signed),
            Event::Announced(signed) => self.announce(signed),
            Event::Tick => Ok(Step::same(self)),
            Event::Stop => {
                Ok(abandon(Abandoned::before_announcement(self.federation, self.start, Abandonment::Stopped)))
            }
            other => Err(wrong_state(other, "gathering")),
        }
    }

    fn take_ready(mut self, signed: &Signed<Ready>) -> Result<Step, Rejection> {
        let ready = check_ready(&self.federation, &self.start, signed)?;
        let Some(position) = self.federation.roster().position_of(&ready.member) else {
            return Err(Rejection::UnknownMember { name: ready.member });
        };
        // Every field of a ready is checked against this attempt, so a repeat is the same statement.
        if self.ready.insert(position, ready.member).is_some() {
            return Ok(Step::same(self));
        }
        let effects = self.gathered().into_iter().collect();
        Ok(Step::to(self, effects))
    }

    fn announce(self, signed: &Signed<Announcement>) -> Result<Step, Rejection> {
        let announced = Announced::new(self.federation, self.start, signed)?;
        let ready: BTreeSet<&HouseName> = self.ready.values().collect();
        let absent = announced.announcement().expected.iter().find(|name| !ready.contains(name));
        if let Some(name) = absent {
            let rule = format!("`{name}` has not said ready");
            return Err(Rejection::BadAnnouncement { who: Party::Aggregator, field: "expected", rule });
        }
        let notice = announced.notice();
        Ok(Step::to(Collecting::new(Arc::new(announced)), vec![Effect::Publish(notice)]))
    }
}
