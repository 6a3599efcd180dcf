//! Checking: between close and open, the place of the verifiable sum. There is nothing to check yet.

use std::sync::Arc;

use super::effect::{Effect, Step};
use super::frame::Fixed;
use super::{Opening, Round};
use crate::message::CohortList;
use crate::notice::Notice;

/// The cohort is fixed and not yet published.
#[derive(Debug, Clone)]
pub struct Checking {
    fixed: Arc<Fixed>,
}

impl Checking {
    pub(super) fn new(fixed: Arc<Fixed>) -> Self {
        Self { fixed }
    }

    /// The cohort.
    pub fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// Goes on to the opening.
    pub(super) fn pass(self) -> Step {
        let opening = Opening::new(self.fixed);
        let list = CohortList::clone(opening.fixed().list());
        let effects = vec![opening.fold(), Effect::Publish(Notice::Cohort(list))];
        Step::to(Round::Opening(opening), effects)
    }
}
