//! Sees everything, and holds the protocol's promises against it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::server::{Ground, Isolation};
use protocol::*;

use crate::common::World;

/// What must hold whatever the network, the crashes and the aggregator do.
#[derive(Default)]
pub struct Checker {
    answered: BTreeMap<(usize, Digest), SumClaim>,
    said: BTreeMap<(usize, Digest), SumClaim>,
    claimed: BTreeMap<Digest, Digest>,
    submitted: BTreeMap<(usize, Digest), Digest>,
    combined: BTreeMap<Digest, Digest>,
    states: BTreeMap<RoundNumber, Digest>,
    /// The house that spoils every round that it is in.
    pub culprit: Option<HouseName>,
    /// Rejections by rule.
    pub rejections: BTreeMap<&'static str, usize>,
    nobodys_voids: Vec<Digest>,
    pub clock_jumps: usize,
    pub server_crashes: usize,
    pub member_crashes: usize,
    pub abandoned: BTreeMap<&'static str, usize>,
    pub voided: usize,
    pub partial_cohorts: usize,
    pub wrong_sums: usize,
    pub false_checksums: usize,
    pub spot_checks: usize,
}

/// Rules that faults of the network, crashes, or the two-faced lists, claims and false outcomes of this simulation may
/// break.
const EXPECTED: [&str; 13] = [
    "wrong-state",
    "wrong-attempt",
    "wrong-round",
    "wrong-announcement",
    "wrong-cohort",
    "late",
    "not-expected",
    "second-opening",
    "second-claim",
    "wrong-sum",
    "second-outcome",
    "outcome-disagrees",
    "small-cohort",
];

/// So many rounds of a run at most are void though nobody spoils any: more could look like somebody's.
const NOBODYS_VOIDS: usize = 2;

impl Checker {
    pub fn new(culprit: Option<HouseName>) -> Self {
        Self { culprit, ..Self::default() }
    }

    /// A member unseals its shares for this set and sum: never for two of one announcement.
    pub fn answers(&mut self, member: usize, claim: &SumClaim) {
        let first = *self.answered.entry((member, claim.announcement)).or_insert(*claim);
        assert_eq!(first, *claim, "member {member} answers two sets or sums of one announcement");
    }

    /// A member says checksums under this claim: never under two of one announcement.
    pub fn says(&mut self, member: usize, claim: &SumClaim) {
        let first = *self.said.entry((member, claim.announcement)).or_insert(*claim);
        assert_eq!(first, *claim, "member {member} follows two claims of one announcement");
    }

    /// The aggregator signs a claim: never two of one cohort, whatever crashes.
    pub fn claims(&mut self, claim: &SumClaim) {
        let first = *self.claimed.entry(claim.cohort).or_insert(claim.body_sum);
        assert_eq!(first, claim.body_sum, "two sums of one cohort are claimed");
    }

    /// Whether the aggregator claims a false sum in this attempt.
    pub fn falsifies(&self, announcement: &Digest) -> bool {
        self.culprit.is_none() && announcement.as_bytes()[3] < 8
    }

    /// A member sends a contribution: never two to one announcement.
    pub fn submits(&mut self, member: usize, announcement: Digest, contribution: Digest) {
        let first = *self.submitted.entry((member, announcement)).or_insert(contribution);
        assert_eq!(first, contribution, "member {member} submits two contributions to one announcement");
    }

    /// Somebody opens a sum from these answers. Gives the one-hot sum.
    pub fn opens(
        &mut self,
        world: &World,
        list: &CohortList,
        body_sum: &Digest,
        answers: &[Signed<Answer>],
    ) -> Vec<u8> {
        let cohort = list.digest();
        let first = *self.combined.entry(list.announcement).or_insert(cohort);
        assert_eq!(first, cohort, "two sets of one announcement are opened");
        let members: BTreeSet<&HouseName> = answers.iter().map(Signed::signer).collect();
        assert!(members.len() >= world.federation.threshold(), "opened by fewer than t members");
        for answer in answers {
            let answer = answer.unverified().unwrap();
            assert_eq!((answer.cohort, answer.body_sum), (cohort, *body_sum), "an answer to another set or sum");
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

    /// What everybody computes from an opened sum: void with the culprit; without one, now and then.
    pub fn verdict(&mut self, list: &CohortList, adapter: &Digest, sum: &[u8]) -> Verdict {
        let spoilt = match &self.culprit {
            Some(culprit) => list.houses().any(|house| house == culprit),
            None => {
                let known = self.nobodys_voids.contains(&list.announcement);
                let again = list.announcement.as_bytes()[0] < 8 && self.nobodys_voids.len() < NOBODYS_VOIDS;
                if again && !known {
                    self.nobodys_voids.push(list.announcement);
                }
                known || again
            }
        };
        if spoilt {
            return Verdict::Void { reason: VoidReason::Residual };
        }
        Verdict::Applied { state: Digest::of("state", &[adapter.as_bytes(), sum].concat()), last: false }
    }

    /// At the end of many rounds the culprit is isolated, and never anybody else but by a proof.
    pub fn isolates(&self, isolation: &Isolation, rounds: u32) {
        let inferred: Vec<&HouseName> =
            isolation.isolated().filter(|(_, ground)| *ground == Ground::Inferred).map(|(house, _)| house).collect();
        let culprit: Vec<&HouseName> = self.culprit.iter().collect();
        assert!(inferred == culprit || rounds == 1 && inferred.is_empty(), "{isolation:?}");
    }

    pub fn rejects(&mut self, who: &str, rejection: &Rejection) {
        let code = rejection.code();
        // A clock that is wrong makes an announcement of the future.
        let clock = matches!(rejection, Rejection::AgainstPolicy { field: "announced_at_ms", .. });
        assert!(clock || EXPECTED.contains(&code), "{who} rejects what no fault explains: {code}: {rejection}");
        *self.rejections.entry(code).or_default() += 1;
    }

    pub fn ends(&mut self, world: &World, leaf: &RecordLeaf) {
        match leaf.conclusion {
            Conclusion::Settled(verdict) => {
                assert!(leaf.signers.len() >= world.federation.threshold());
                let wrong_sum = verdict == Verdict::Void { reason: VoidReason::WrongSum };
                assert_eq!(wrong_sum, self.falsifies(&leaf.announcement), "a false sum is void, and no other");
                self.wrong_sums += usize::from(wrong_sum);
                if !wrong_sum {
                    assert_eq!(leaf.cohort, self.combined.get(&leaf.announcement).copied());
                }
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
