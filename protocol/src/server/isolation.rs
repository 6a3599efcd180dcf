//! Isolation: who spoils rounds, when no message shows it, found by attempts over parts of the houses.
//!
//! A contribution that is no encryption of small values makes the opened sum void, and nothing says whose it was. The
//! first such void is simply tried again. From the second in a row on, its cohort is suspected, and an attempt leaves out
//! half of the suspects: void, and those it had are the suspects; applied, and they are cleared. The last suspect of a
//! void is accused and left out; it is isolated when an attempt without it is applied.
//!
//! What it finds is an inference, not a proof: right when one house spoils every attempt that it is in. Houses that spoil
//! some attempts and not others, or several at once, can throw suspicion on another, so the operator may readmit a house.
//! A house whose wrong sealed share was proved is isolated by that proof.
//!
//! [`Isolation`] is a fold over the attempts in their order, so that it is rebuilt from what is stored of them.

use std::collections::BTreeMap;

use crate::ids::HouseName;
use crate::message::{Verdict, VoidReason};
use crate::record::{Conclusion, RecordLeaf};
use crate::rejection::Abandonment;
use crate::roster::Roster;

/// Why a house is isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// Attempts with it were void, and one without it was applied.
    Inferred,
    /// A member proved that it sealed a wrong share.
    Proven,
}

impl Ground {
    /// A stable name of the ground.
    pub fn code(self) -> &'static str {
        match self {
            Self::Inferred => "inferred",
            Self::Proven => "proven",
        }
    }
}

/// What counts of the past, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Past {
    /// An attempt ended.
    Ended {
        /// The houses of its cohort, in roster order; empty when none was fixed.
        houses: Vec<HouseName>,
        /// How.
        conclusion: Conclusion,
    },
    /// The operator readmitted a house.
    Readmitted(HouseName),
}

impl From<&RecordLeaf> for Past {
    fn from(leaf: &RecordLeaf) -> Self {
        Self::Ended { houses: leaf.houses.clone(), conclusion: leaf.conclusion }
    }
}

/// The expected set of the next attempt, in roster order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Every ready house that is not isolated; nobody need be left out.
    Everybody(Vec<HouseName>),
    /// Some suspects are left out, to tell which spoils rounds.
    Probe(Vec<HouseName>),
    /// Every ready house that is not isolated, because without suspects too few are left: the operator must look.
    Inseparable(Vec<HouseName>),
    /// Too few houses are ready that are not isolated.
    TooFew {
        /// How many are.
        found: usize,
    },
}

impl Choice {
    /// The houses to expect; `None` when there are too few.
    pub fn expected(&self) -> Option<&[HouseName]> {
        match self {
            Self::Everybody(expected) | Self::Probe(expected) | Self::Inseparable(expected) => Some(expected),
            Self::TooFew { .. } => None,
        }
    }
}

/// Who is suspected, accused and isolated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// Voids in a row that only a client can cause.
    voids: u32,
    suspects: Vec<HouseName>,
    accused: Option<HouseName>,
    isolated: BTreeMap<HouseName, Ground>,
}

impl Isolation {
    /// What the past comes to.
    pub fn fold<'a>(roster: &Roster, past: impl IntoIterator<Item = &'a Past>) -> Self {
        let mut isolation = Self::default();
        for one in past {
            isolation.after(roster, one);
        }
        isolation
    }

    /// Goes on after one more piece of the past.
    pub fn after(&mut self, roster: &Roster, past: &Past) {
        let (houses, conclusion) = match past {
            Past::Ended { houses, conclusion } => (houses, conclusion),
            Past::Readmitted(house) => {
                self.isolated.remove(house);
                return;
            }
        };
        match conclusion {
            Conclusion::Settled(Verdict::Applied { .. }) => self.after_applied(houses),
            Conclusion::Settled(Verdict::Void { reason }) if by_a_client(*reason) => self.after_void(houses),
            Conclusion::Abandoned(Abandonment::WrongEnvelope { dealer }) => {
                if let Some(member) = roster.at(*dealer) {
                    self.isolate(member.name().clone(), Ground::Proven);
                }
            }
            // The aggregator, the network or the operator ended it: nothing is learnt of a house.
            Conclusion::Settled(Verdict::Void { .. }) | Conclusion::Abandoned(_) => {}
        }
    }

    /// Takes a house in again, by the operator's word; `false` when it was not isolated. Store it as [`Past::Readmitted`].
    pub fn readmit(&mut self, house: &HouseName) -> bool {
        self.isolated.remove(house).is_some()
    }

    /// The houses one of which spoils rounds.
    pub fn suspects(&self) -> &[HouseName] {
        &self.suspects
    }

    /// The house that is left out of the next attempt, to see whether it is applied without it.
    pub fn accused(&self) -> Option<&HouseName> {
        self.accused.as_ref()
    }

    /// The isolated houses: never expected, until readmitted.
    pub fn isolated(&self) -> impl Iterator<Item = (&HouseName, Ground)> {
        self.isolated.iter().map(|(house, ground)| (house, *ground))
    }

    /// The expected set over the `ready` houses (in roster order): at least `need` (`min_cohort` + d), at most `most`
    /// (`max_cohort`) of them.
    pub fn expected<'a>(&self, ready: impl IntoIterator<Item = &'a HouseName>, need: usize, most: usize) -> Choice {
        let ready: Vec<&HouseName> = ready.into_iter().filter(|house| !self.isolated.contains_key(*house)).collect();
        if ready.len() < need {
            return Choice::TooFew { found: ready.len() };
        }
        let is_suspect = |house: &HouseName| self.suspects.contains(house) || self.accused.as_ref() == Some(house);
        let suspects: Vec<&HouseName> = ready.iter().copied().filter(|house| is_suspect(house)).collect();
        let others = ready.len() - suspects.len();
        // A last suspect that no void named stays in: a void shall name it first.
        let fewest = match suspects.len() {
            _ if self.accused.is_some() => 0,
            1 => 1,
            count => count / 2,
        };
        let with = fewest.max(need.saturating_sub(others));
        let probed = &suspects[..with.min(suspects.len()).min(most)];
        let mut room = most - probed.len();
        let chosen = ready.iter().copied().filter(|house| {
            if is_suspect(house) {
                return probed.contains(house);
            }
            let fits = room > 0;
            room = room.saturating_sub(1);
            fits
        });
        let chosen: Vec<HouseName> = chosen.cloned().collect();
        match suspects.len() {
            0 => Choice::Everybody(chosen),
            count if probed.len() < count => Choice::Probe(chosen),
            1 if self.accused.is_none() => Choice::Everybody(chosen),
            _ => Choice::Inseparable(chosen),
        }
    }

    fn after_applied(&mut self, houses: &[HouseName]) {
        self.voids = 0;
        self.suspects.retain(|house| !houses.contains(house));
        if let Some(accused) = self.accused.take()
            && !houses.contains(&accused)
        {
            self.isolate(accused, Ground::Inferred);
        }
    }

    fn after_void(&mut self, houses: &[HouseName]) {
        self.voids = self.voids.saturating_add(1);
        if let Some(accused) = &self.accused {
            if houses.contains(accused) {
                return;
            }
            // It was not there, so it is not the one, or not the only one: from the start.
            self.accused = None;
            self.suspects = houses.to_vec();
            return;
        }
        if self.suspects.is_empty() && self.voids < 2 {
            return;
        }
        let there: Vec<HouseName> = self.suspects.iter().filter(|house| houses.contains(house)).cloned().collect();
        match &there[..] {
            [] => self.suspects = houses.to_vec(),
            [last] => {
                self.accused = Some(last.clone());
                self.suspects.clear();
            }
            _ => self.suspects = there,
        }
    }

    fn isolate(&mut self, house: HouseName, ground: Ground) {
        self.suspects.retain(|suspect| *suspect != house);
        if self.accused.as_ref() == Some(&house) {
            self.accused = None;
        }
        self.isolated.insert(house, ground);
    }
}

/// Whether only a contribution can have caused it, not an answer and not the aggregator.
fn by_a_client(reason: VoidReason) -> bool {
    match reason {
        VoidReason::KeySum | VoidReason::FieldRange | VoidReason::Residual => true,
        VoidReason::FalseAnswers | VoidReason::WrongSum => false,
    }
}
