//! From a simulated round's cohort to its outcome: the claim, checksums, answers, opening.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::client::{self, Effect};
use protocol::message::{SHARE_INFO, share_aad};
use protocol::server;
use protocol::{
    Announcement, Answer, AnswerPayload, BodyChecksum, CohortList, Contribution, Digest, HouseName, Message as _,
    Outcome, Signed, SumClaim,
};
use rayon::prelude::*;
use secure_sum::{Accumulator, Challenge, Checksum, Commitments, KeyShare, Layout, MaskSeed, SealingKey, ShareSum};
use terms::{Metrics, RoundSum};

use super::SimulateError;
use super::contribute::{Made, TOGETHER};
use super::federation::World;

/// What an opening came to.
pub(super) struct Opened {
    pub(super) metrics: Option<Metrics>,
    pub(super) outcomes: Vec<Signed<Outcome>>,
}

impl World {
    /// From the cohort to the outcome.
    #[expect(clippy::too_many_arguments, reason = "what one round is made of")]
    pub(super) fn open(
        &mut self,
        announcement: &Arc<Announcement>,
        layout: &Layout,
        keys: &[SealingKey],
        made: &[Made],
        list: &Arc<CohortList>,
        mut server: server::Round,
        mut members: BTreeMap<usize, client::Round>,
    ) -> Result<Opened, SimulateError> {
        let digest = announcement.digest();
        let bodies: Vec<&[u8]> = made.iter().map(|one| one.body.as_slice()).collect();
        let mut sum = Accumulator::new(layout);
        for group in bodies.chunks(TOGETHER) {
            sum.add_all(group).map_err(SimulateError::internal)?;
        }
        let body_sum = Digest::sha256(&sum.to_bytes());
        let claim = SumClaim { announcement: digest, cohort: list.digest(), body_sum };
        let claimed = Signed::sign(&claim, &self.aggregator);
        server = self.serve(&server, server::Event::Claimed(claimed.clone()))?.next;
        let challenge = Challenge(claim.challenge());
        let mut total = Checksum::zero(layout);
        for one in made {
            let checksum = Checksum::of(layout, &challenge, &one.body).map_err(SimulateError::internal)?;
            total.add(&checksum).map_err(SimulateError::internal)?;
            let signer = &self.clients[one.client].signer;
            let said = BodyChecksum::under(&claim, signer.name().clone(), signer.name().clone(), checksum.to_bytes());
            let event = server::Event::Checksum(Signed::sign(&said, signer));
            if server.name() == "checking" {
                server = self.serve(&server, event)?.next;
            }
        }
        let of_sum = Checksum::of_sum(layout, &challenge, &sum).map_err(SimulateError::internal)?;
        if of_sum != total {
            return Err(SimulateError::Stuck {
                round: announcement.round.get(),
                state: "a sum that is not the bodies'",
            });
        }
        if server.name() == "checking" {
            self.now_ms = server.next_deadline_ms().unwrap_or(self.now_ms);
            server = self.serve(&server, server::Event::Tick)?.next;
        }
        let checked =
            server.checked().map(|checked| (checked.signed_claim().clone(), checked.signed_checksums().to_vec()));
        let (claim_shown, checksums) =
            checked.ok_or(SimulateError::Stuck { round: announcement.round.get(), state: server.name() })?;
        let mut answers = Vec::new();
        for (watcher, member) in &mut members {
            let heard = self.hear(member, client::Event::Cohort(CohortList::clone(list)))?.next;
            let heard = self.hear(&heard, client::Event::Claimed(claimed.clone()))?.next;
            let event = client::Event::Checked { claim: claim_shown.clone(), checksums: checksums.clone() };
            let step = self.hear(&heard, event)?;
            *member = step.next;
            if step.effects.iter().any(|effect| matches!(effect, Effect::Answer { .. })) {
                answers.push(self.answer(announcement, layout, &keys[*watcher], *watcher, made, list, body_sum)?);
            }
        }
        for answer in &answers {
            if server.name() == "opening" {
                server = self.serve(&server, server::Event::Answer(answer.clone()))?.next;
            }
        }
        self.settle(announcement, layout, &sum, list, &answers, server, members)
    }

    /// A committee member's answer: the shares of exactly this cohort, unsealed, each checked against its dealer's commitments, and added.
    #[expect(clippy::too_many_arguments, reason = "what an answer is made of")]
    fn answer(
        &self,
        announcement: &Announcement,
        layout: &Layout,
        key: &SealingKey,
        member: usize,
        made: &[Made],
        list: &CohortList,
        body_sum: Digest,
    ) -> Result<Signed<Answer>, SimulateError> {
        let signer = &self.clients[member].signer;
        let index = self.federation.roster().index_of(signer.name());
        let index = index.ok_or(SimulateError::Stuck { round: announcement.round.get(), state: "no seat" })?;
        let digest = announcement.digest();
        let shares = made.par_iter().map(|one| -> Result<KeyShare, SimulateError> {
            let manifest = one.signed.unverified().map_err(SimulateError::internal)?;
            let aad = share_aad(&digest, &manifest.member, index, &manifest.ciphertext);
            let sealed = one.sealed.get(index.position()).map(Vec::as_slice).unwrap_or_default();
            let bytes = secure_sum::unseal(key, SHARE_INFO, &aad, sealed).map_err(SimulateError::internal)?;
            let share = KeyShare::from_bytes(layout, &bytes).map_err(SimulateError::internal)?;
            let commitments = commitments(layout, self.committee, &manifest)?;
            share.check(&commitments, index.get()).map_err(SimulateError::internal)?;
            Ok(share)
        });
        let mut sum = ShareSum::new(layout);
        for share in shares.collect::<Result<Vec<_>, _>>()? {
            sum.add(&share).map_err(SimulateError::internal)?;
        }
        let answer = Answer {
            announcement: digest,
            cohort: list.digest(),
            body_sum,
            member: signer.name().clone(),
            index,
            payload: AnswerPayload::Open(sum.to_bytes().to_vec()),
        };
        Ok(Signed::sign(&answer, signer))
    }

    /// Opens the sum, applies it, and lets the committee sign what came of it. Every member would compute the same; it is computed once.
    #[expect(clippy::too_many_arguments, reason = "what an opening is made of")]
    fn settle(
        &mut self,
        announcement: &Arc<Announcement>,
        layout: &Layout,
        sum: &Accumulator,
        list: &Arc<CohortList>,
        answers: &[Signed<Answer>],
        mut server: server::Round,
        members: BTreeMap<usize, client::Round>,
    ) -> Result<Opened, SimulateError> {
        let round = announcement.round;
        let mut summed = Commitments::zero(layout, &self.committee);
        for contribution in &list.contributions {
            let manifest = contribution.unverified().map_err(SimulateError::internal)?;
            summed.add(&commitments(layout, self.committee, &manifest)?).map_err(SimulateError::internal)?;
        }
        let mut shares = Vec::new();
        for answer in answers {
            let answer = answer.unverified().map_err(SimulateError::internal)?;
            let AnswerPayload::Open(bytes) = &answer.payload else { continue };
            shares.push((answer.index.get(), ShareSum::from_bytes(layout, bytes).map_err(SimulateError::internal)?));
        }
        let cohort = list.contributions.len();
        let key =
            secure_sum::combine(layout, &self.committee, &summed, &shares, cohort).map_err(SimulateError::internal)?;
        let seed = MaskSeed(announcement.mask_seed());
        let values = secure_sum::open(layout, &seed, sum, &key, cohort).map_err(SimulateError::internal)?;
        let names: Vec<&HouseName> = list.houses().collect();
        let digest = announcement.digest();
        let (expected, may_vanish) = (announcement.expected.len(), announcement.may_vanish);
        let opened = RoundSum { round, seed: digest.as_bytes(), cohort: &names, values: &values, expected, may_vanish };
        let charter = self.charter().clone();
        let metrics = opened.metrics(&charter, self.state.update_len());
        let mut state = self.state.clone();
        opened.apply(&charter, &mut state)?;
        let verdict = terms::applied(&charter, &state);
        let mut outcomes = Vec::new();
        for (watcher, mut member) in members {
            let (mut combine, mut outcome) = (false, None);
            for answer in answers {
                let step = self.hear(&member, client::Event::Answered(answer.clone()));
                // A house that has its t answers needs no more.
                let Ok(step) = step else { break };
                combine |= step.effects.iter().any(|effect| matches!(effect, Effect::Combine { .. }));
                member = step.next;
                if combine {
                    break;
                }
            }
            if combine {
                let step = self.hear(&member, client::Event::Combined(verdict))?;
                outcome = step.effects.into_iter().find_map(|effect| match effect {
                    Effect::SendOutcome(outcome) => Some(outcome),
                    _ => None,
                });
            }
            if let Some(outcome) = outcome {
                outcomes.push(Signed::sign(&outcome, &self.clients[watcher].signer));
            }
        }
        let mut settled = Vec::new();
        for outcome in &outcomes {
            let step = self.serve(&server, server::Event::Outcome(outcome.clone()))?;
            server = step.next;
            settled.push(outcome.clone());
            for effect in step.effects {
                if let server::Effect::AppendLog(leaf) = effect {
                    self.record.append(&leaf);
                }
            }
            if server.is_over() {
                break;
            }
        }
        if server.name() != "finished" {
            return Err(SimulateError::Stuck { round: round.get(), state: server.name() });
        }
        self.state = state;
        Ok(Opened { metrics, outcomes: settled })
    }
}

fn commitments(
    layout: &Layout,
    committee: secure_sum::Committee,
    manifest: &Contribution,
) -> Result<Commitments, SimulateError> {
    let commitments =
        Commitments::from_bytes(layout, &committee, &manifest.commitments).map_err(SimulateError::internal)?;
    commitments.check_degree(&committee).map_err(SimulateError::internal)?;
    Ok(commitments)
}
