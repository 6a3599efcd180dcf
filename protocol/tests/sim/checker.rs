//! Sees everything, and holds the protocol's promises against it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::*;

use crate::common::World;

/// What must hold whatever the network, the crashes and the aggregator do.
#[derive(Default)]
pub struct Checker {
    answered: BTreeMap<(usize, Digest), Digest>,
    submitted: BTreeMap<(usize, Digest), Digest>,
    combined: BTreeMap<Digest, Digest>,
    states: BTreeMap<RoundNumber, Digest>,
    /// Rejections by rule.
    pub rejections: BTreeMap<&'static str, usize>,
    pub server_crashes: usize,
    pub member_crashes: usize,
    pub abandoned: BTreeMap<&'static str, usize>,
    pub voided: usize,
    pub partial_cohorts: usize,
}

/// Rules that faults of the network, crashes, or the two-faced lists and false outcomes of this simulation may break.
const EXPECTED: [&str; 11] = [
    "wrong-state",
    "wrong-attempt",
    "wrong-round",
    "wrong-announcement",
    "wrong-cohort",
    "late",
    "not-expected",
    "second-opening",
    "second-outcome",
    "outcome-disagrees",
    "small-cohort",
];

impl Checker {
    /// A member unseals its shares for this set: never for two sets of one announcement.
    pub fn answers(&mut self, member: usize, announcement: Digest, cohort: Digest) {
        let first = *self.answered.entry((member, announcement)).or_insert(cohort);
        assert_eq!(first, cohort, "member {member} answers two sets of one announcement");
    }

    /// A member sends a contribution: never two to one announcement.
    pub fn submits(&mut self, member: usize, announcement: Digest, contribution: Digest) {
        let first = *self.submitted.entry((member, announcement)).or_insert(contribution);
        assert_eq!(first, contribution, "member {member} submits two contributions to one announcement");
    }

    /// Somebody opens a sum from these answers. Gives the one-hot sum.
    pub fn opens(&mut self, world: &World, list: &CohortList, answers: &[Signed<Answer>]) -> Vec<u8> {
        let cohort = list.digest();
        let first = *self.combined.entry(list.announcement).or_insert(cohort);
        assert_eq!(first, cohort, "two sets of one announcement are opened");
        let members: BTreeSet<&HouseName> = answers.iter().map(Signed::signer).collect();
        assert!(members.len() >= world.federation.threshold(), "opened by fewer than t members");
        for answer in answers {
            assert_eq!(answer.unverified().unwrap().cohort, cohort, "an answer to another set");
        }
        let sum = one_hot_sum(world, list);
        assert!(sum.iter().all(|count| *count <= 1), "somebody is counted twice: {sum:?}");
        let counted = sum.iter().filter(|count| **count == 1).count();
        assert_eq!(counted, list.contributions.len());
        let rounds = &world.federation.charter().rounds;
        assert!(counted >= rounds.min_cohort as usize, "{counted} are below min_cohort");
        sum
    }

    /// A member goes on from this state: all from the same one.
    pub fn applies(&mut self, round: RoundNumber, state: Digest) {
        let first = *self.states.entry(round).or_insert(state);
        assert_eq!(first, state, "two states after round {round}");
    }

    pub fn rejects(&mut self, who: &str, rejection: &Rejection) {
        let code = rejection.code();
        assert!(EXPECTED.contains(&code), "{who} rejects what no fault explains: {code}: {rejection}");
        *self.rejections.entry(code).or_default() += 1;
    }

    pub fn ends(&mut self, world: &World, leaf: &RecordLeaf) {
        match leaf.conclusion {
            Conclusion::Settled(verdict) => {
                assert!(leaf.signers.len() >= world.federation.threshold());
                assert_eq!(leaf.cohort, self.combined.get(&leaf.announcement).copied());
                self.voided += usize::from(matches!(verdict, Verdict::Void { .. }));
                self.partial_cohorts += usize::from(leaf.houses.len() < world.house_names().len());
            }
            Conclusion::Abandoned(reason) => *self.abandoned.entry(reason.code()).or_default() += 1,
        }
    }
}

/// House i contributes a vector with a one at i, written as the number i; the sum shows who was counted how often.
pub fn one_hot_sum(world: &World, list: &CohortList) -> Vec<u8> {
    let mut sum = vec![0; world.members.len()];
    for signed in &list.contributions {
        let manifest = signed.unverified().unwrap();
        let member = usize::from(manifest.commitments[0]);
        assert_eq!(world.members[member].name(), signed.signer());
        sum[member] += 1;
    }
    sum
}

/// What everybody computes from an opened sum. A few rounds are void for everybody.
pub fn verdict(announcement: &Digest, adapter: &Digest, sum: &[u8]) -> Verdict {
    if announcement.as_bytes()[0] < 8 {
        return Verdict::Void { reason: VoidReason::Residual };
    }
    Verdict::Applied { state: Digest::of("state", &[adapter.as_bytes(), sum].concat()) }
}
