//! Collecting: contributions come in until all are there or the close.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::effect::Step;
use super::frame::{Announced, Fixed, abandon, wrong_state};
use super::{Abandoned, Checking, Event};
use crate::check;
use crate::ids::{HouseName, RosterPosition};
use crate::message::{CohortList, Contribution};
use crate::rejection::{Abandonment, Party, Rejection};
use crate::signed::Signed;

/// Contributions come in.
#[derive(Debug, Clone)]
pub struct Collecting {
    announced: Arc<Announced>,
    contributions: BTreeMap<RosterPosition, Arc<Signed<Contribution>>>,
}

impl Collecting {
    pub(super) fn new(announced: Arc<Announced>) -> Self {
        Self { announced, contributions: BTreeMap::new() }
    }

    /// The announcement.
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// The houses whose contribution is in, in roster order.
    pub fn submitted(&self) -> impl Iterator<Item = &HouseName> {
        self.contributions.values().map(|signed| signed.signer())
    }

    pub(super) fn step(self, at_ms: u64, event: &Event) -> Result<Step, Rejection> {
        match event {
            Event::Ready(signed) => self.announced.late_ready(signed).map(|()| Step::same(self)),
            Event::Announced(signed) => self.announced.late_announcement(signed).map(|()| Step::same(self)),
            Event::Contribution(signed) => self.take(at_ms, signed),
            Event::Tick if at_ms >= self.announced.announcement().close_time_ms() => Ok(self.close()),
            Event::Tick => Ok(Step::same(self)),
            Event::Stop => Ok(abandon(Abandoned::unfixed(self.announced, Abandonment::Stopped))),
            other => Err(wrong_state(other, "collecting")),
        }
    }

    fn take(mut self, at_ms: u64, signed: &Signed<Contribution>) -> Result<Step, Rejection> {
        let announced = &self.announced;
        let announcement = announced.announcement();
        let manifest = check::contribution(announced.federation(), announcement, announced.digest(), signed)?;
        let name = manifest.member;
        let Some(position) = announced.federation().roster().position_of(&name) else {
            return Err(Rejection::UnknownMember { name });
        };
        if let Some(first) = self.contributions.get(&position) {
            let (first, second) = (first.body_digest(), signed.body_digest());
            if first == second {
                return Ok(Step::same(self));
            }
            return Err(Rejection::SecondContribution { name, first, second });
        }
        let deadline_ms = announcement.close_time_ms();
        if at_ms >= deadline_ms {
            return Err(Rejection::Late { who: Party::named(&name), input: "contribution", at_ms, deadline_ms });
        }
        let all = announcement.expected.len();
        self.contributions.insert(position, Arc::new(signed.clone()));
        if self.contributions.len() == all { Ok(self.close()) } else { Ok(Step::to(self, Vec::new())) }
    }

    /// Fixes the cohort, or gives up: a cohort below the floor is never opened.
    fn close(self) -> Step {
        let (found, needed) = (self.contributions.len(), self.announced.cohort_floor());
        if found < needed {
            let reason = Abandonment::CohortTooSmall { needed: needed as u32, found: found as u32 };
            return abandon(Abandoned::unfixed(self.announced, reason));
        }
        let contributions = self.contributions.into_values().map(|signed| Signed::clone(&signed)).collect();
        let list = CohortList { announcement: self.announced.digest(), contributions };
        Checking::new(Arc::new(Fixed::new(self.announced, list))).begin()
    }
}
