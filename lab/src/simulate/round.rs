//! One round, by the same steps and the same cryptography as the programs: ready, announced, contributions, cohort, claim,
//! checksums, answers, opening, outcomes, record. Nothing is sent; every message is signed and checked all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use privacy::NoiseShare;
use protocol::client::{self, Effect};
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::server::{self, Start};
use protocol::{
    Announcement, Answer, AnswerPayload, Attempt, BodyChecksum, CohortList, CommitteeSeat, Contribution, Digest,
    HouseName, Message as _, Outcome, PROTOCOL_VERSION, RoundNumber, Signed, SumClaim, Verdict,
};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rayon::prelude::*;
use secure_sum::{
    Accumulator, Challenge, Checksum, Commitments, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey, ShareSum,
};
use terms::{Metrics, RoundSum};
use training::{Part, TrainError};
use zeroize::Zeroizing;

use super::SimulateError;
use super::federation::World;

/// Clients beside the committee that check a round to its end. The others contribute and take the outcome that t members of the committee
/// signed: thousands that each check thousands of signatures would only say the same again.
const WITNESSES: usize = 4;
/// Contributions that are encrypted side by side, so that not all values are in memory at once.
const TOGETHER: usize = 32;

/// What a round came to.
pub(super) struct Played {
    /// Bytes that all clients sent: bodies and sealed shares.
    pub(super) bytes_up: u64,
    /// What the sum says of held-out units.
    pub(super) metrics: Option<Metrics>,
}

/// A client's contribution, kept until the round is opened.
struct Made {
    client: usize,
    signed: Signed<Contribution>,
    sealed: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// What contributes: a client's integers, noise and all.
pub(super) type Contribute<'a> =
    dyn FnMut(&Part<'_>, usize, &adapter::State) -> Result<Zeroizing<Vec<i64>>, TrainError> + 'a;

impl World {
    /// Plays `round`; the clients for which `absent` is true vanish after they said ready. `pooled`: the noise of the whole sum, which the first
    /// contribution carries in place of everybody's shares.
    pub(super) fn play(
        &mut self,
        round: RoundNumber,
        absent: &[bool],
        pooled: bool,
        contribute: &mut Contribute<'_>,
    ) -> Result<Played, SimulateError> {
        let announced = self.announce(round)?;
        let Announced { announcement, signed, keys, layout, mut server } = announced;
        let present: Vec<usize> = (0..self.clients.len()).filter(|client| !absent[*client]).collect();
        let watchers = self.clients.len().min(self.seats() + WITNESSES);
        let listening = (0..watchers).map(|client| Ok((client, self.listen(client, &signed, &announcement)?)));
        let mut members = listening.collect::<Result<BTreeMap<usize, client::Round>, SimulateError>>()?;
        let mut pool = if pooled { self.pooled_noise(&announcement, present.len(), &layout)? } else { None };
        let mut made = Vec::with_capacity(present.len());
        for group in present.chunks(TOGETHER) {
            for one in self.contributions(&announcement, &layout, group, &mut pool, contribute)? {
                let member = match members.remove(&one.client) {
                    Some(member) => member,
                    None => self.listen(one.client, &signed, &announcement)?,
                };
                let member = self.hear(&member, client::Event::Contributed(one.signed.clone()))?.next;
                // Only who checks the round to its end is kept: a state holds the names of all clients.
                if one.client < watchers {
                    members.insert(one.client, member);
                }
                server = self.serve(&server, server::Event::Contribution(one.signed.clone()))?.next;
                made.push(one);
            }
        }
        if server.name() == "collecting" {
            self.now_ms = announcement.close_time_ms();
            server = self.serve(&server, server::Event::Tick)?.next;
        }
        let list = server.fixed().map(|fixed| Arc::clone(fixed.list()));
        let list = list.ok_or(SimulateError::Stuck { round: round.get(), state: server.name() })?;
        let played = self.open(&announcement, &layout, &keys, &made, &list, server, members)?;
        let bytes = |one: &Made| one.body.len() + one.sealed.iter().map(Vec::len).sum::<usize>();
        self.catch_up(&signed, &list, &played.outcomes)?;
        Ok(Played { bytes_up: made.iter().map(bytes).sum::<usize>() as u64, metrics: played.metrics })
    }

    /// A client that accepted the announcement.
    fn listen(
        &self,
        client: usize,
        signed: &Signed<Announcement>,
        announcement: &Announcement,
    ) -> Result<client::Round, SimulateError> {
        let client = &self.clients[client];
        let start = client::Round::start(Arc::clone(&client.me), client.memory.clone());
        let known = client.memory.record.size;
        let record_proof = if known > 0 { self.record.consistency(known, announcement.record.size) } else { None };
        let event = client::Event::Announced { signed: signed.clone(), epsilon_after: 0.0, record_proof };
        Ok(self.hear(&start, event)?.next)
    }

    fn serve(&self, round: &server::Round, event: server::Event) -> Result<server::Step, SimulateError> {
        Ok(round.step(&server::Input { at_ms: self.now_ms, event })?)
    }

    fn hear(&self, member: &client::Round, event: client::Event) -> Result<client::Step, SimulateError> {
        Ok(member.step(&client::Input { at_ms: self.now_ms, event })?)
    }

    fn announce(&mut self, round: RoundNumber) -> Result<Announced, SimulateError> {
        self.now_ms += 10_000;
        let charter = self.charter().clone();
        let adapter = Digest::from_bytes(self.state.digest());
        let start = Start { round, attempt: Attempt::FIRST, adapter, record: self.record.head() };
        let mut server = server::Round::start(Arc::clone(&self.federation), start.clone());
        for client in &self.clients {
            let member = client::Round::start(Arc::clone(&client.me), client.memory.clone());
            let event = client::Event::BecomeReady { round, attempt: Attempt::FIRST };
            for effect in self.hear(&member, event)?.effects {
                if let Effect::SendReady(ready) = effect {
                    server = self.serve(&server, server::Event::Ready(Signed::sign(&ready, &client.signer)))?.next;
                }
            }
        }
        let keys = self.one_time_keys(&mut UnwrapErr(SysRng));
        let seats = keys.iter().map(|(_, offer)| {
            let index = self.federation.roster().index_of(offer.signer());
            let index = index.ok_or(SimulateError::Stuck { round: round.get(), state: "a seat without a member" })?;
            Ok(CommitteeSeat { index, offer: offer.clone() })
        });
        let count = self.state.adapter().trainable_len();
        let layout = terms::layout(&charter, round, self.clients.len(), charter.rounds.may_vanish, count)?;
        let announcement = Announcement {
            protocol_version: PROTOCOL_VERSION,
            record: start.record,
            charter: charter.digest(),
            roster: self.federation.roster_digest(),
            round,
            attempt: Attempt::FIRST,
            expected: self.clients.iter().map(|client| client.signer.name().clone()).collect(),
            may_vanish: charter.rounds.may_vanish,
            adapter,
            announced_at_ms: self.now_ms,
            submit_at_ms: charter.rounds.submit_at_ms,
            close_ms: charter.rounds.close_ms,
            open_ms: charter.rounds.open_ms,
            committee: seats.collect::<Result<_, SimulateError>>()?,
            layout: layout.to_bytes(),
            data_commitment: None,
        };
        let signed = Signed::sign(&announcement, &self.aggregator);
        let server = self.serve(&server, server::Event::Announced(signed.clone()))?.next;
        let keys = keys.into_iter().map(|(key, _)| key).collect();
        Ok(Announced { announcement: Arc::new(announcement), signed, keys, layout, server })
    }

    /// Each client of `group` trains, one after the other; then all encrypt, side by side. The first takes what is in `pool`.
    fn contributions(
        &self,
        announcement: &Announcement,
        layout: &Layout,
        group: &[usize],
        pool: &mut Option<Zeroizing<Vec<i64>>>,
        contribute: &mut Contribute<'_>,
    ) -> Result<Vec<Made>, SimulateError> {
        let mut values = Vec::with_capacity(group.len());
        for client in group {
            let name = self.clients[*client].signer.name();
            let part = Part::announced(self.charter(), name, announcement);
            let mut own = contribute(&part, *client, &self.state)?;
            if let Some(noise) = pool.take() {
                own.iter_mut().zip(noise.iter()).for_each(|(own, noise)| *own = own.saturating_add(*noise));
            }
            values.push((*client, own));
        }
        let encrypted = values.par_iter().map(|(client, values)| self.encrypt(announcement, layout, *client, values));
        encrypted.collect()
    }

    /// One draw with the variance of all the shares of `cohort` together.
    fn pooled_noise(
        &self,
        announcement: &Announcement,
        cohort: usize,
        layout: &Layout,
    ) -> Result<Option<Zeroizing<Vec<i64>>>, SimulateError> {
        let name = self.clients[0].signer.name();
        let Some(share) = Part::announced(self.charter(), name, announcement).noise_share()? else { return Ok(None) };
        let norm = self.charter().privacy.integer_norm;
        let steps = f64::from(self.charter().noised_steps());
        let multiplier = share.deviation_of_sum(cohort) * steps.sqrt() / norm as f64;
        let sum = NoiseShare::local(multiplier, norm).map_err(TrainError::from)?;
        Ok(Some(sum.draw(layout.values().count).map_err(TrainError::from)?))
    }

    fn encrypt(
        &self,
        announcement: &Announcement,
        layout: &Layout,
        client: usize,
        values: &[i64],
    ) -> Result<Made, SimulateError> {
        let rng = &mut UnwrapErr(SysRng);
        let (signer, digest) = (&self.clients[client].signer, announcement.digest());
        let key = OneTimeKey::generate(layout, rng);
        let dealing = secure_sum::deal(&key, layout, &self.committee, rng).map_err(SimulateError::internal)?;
        let seed = MaskSeed(announcement.mask_seed());
        let body = secure_sum::encrypt(layout, &seed, key, values, rng).map_err(SimulateError::internal)?;
        let ciphertext = ciphertext_digest(body.chunks(layout.chunk_bytes()));
        let mut sealed = Vec::with_capacity(dealing.shares.len());
        for (seat, share) in announcement.committee.iter().zip(&dealing.shares) {
            let offer = seat.offer.unverified().map_err(SimulateError::internal)?;
            let mut versioned = vec![1];
            versioned.extend(offer.key);
            let receiver = secure_sum::SealingPublicKey::from_bytes(&versioned).map_err(SimulateError::internal)?;
            let aad = share_aad(&digest, signer.name(), seat.index, &ciphertext);
            let envelope = secure_sum::seal(&receiver, SHARE_INFO, &aad, &share.to_bytes());
            sealed.push(envelope.map_err(SimulateError::internal)?);
        }
        let manifest = Contribution {
            announcement: digest,
            member: signer.name().clone(),
            ciphertext,
            chunk_count: u32::try_from(layout.chunk_count()).unwrap_or(u32::MAX),
            commitments: dealing.commitments.to_bytes(),
            sealed_shares: sealed.iter().map(|share| Digest::sha256(share)).collect(),
            // Clients of a simulation have no ledger; what they spend is accounted for by the charter.
            ledger_head: Digest::from_bytes([0; 32]),
        };
        Ok(Made { client, signed: Signed::sign(&manifest, signer), sealed, body })
    }

    /// From the cohort to the outcome.
    #[expect(clippy::too_many_arguments, reason = "what one round is made of")]
    fn open(
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
        let opened = RoundSum { round, seed: digest.as_bytes(), cohort: &names, values: &values };
        let charter = self.charter().clone();
        let count = self.state.adapter().trainable_len();
        let metrics = opened.metrics(&charter, count, announcement.expected.len(), announcement.may_vanish);
        let mut state = self.state.clone();
        opened.apply(&charter, &mut state)?;
        let verdict = Verdict::Applied { state: Digest::from_bytes(state.digest()) };
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

    /// Every client goes on from what t members of the committee signed.
    fn catch_up(
        &mut self,
        signed: &Signed<Announcement>,
        list: &CohortList,
        outcomes: &[Signed<Outcome>],
    ) -> Result<(), SimulateError> {
        let cohort = list.digest();
        let now_ms = self.now_ms;
        let next = self.clients.par_iter().map(|client| -> Result<client::Round, SimulateError> {
            let start = client::Round::start(Arc::clone(&client.me), client.memory.clone());
            let event = client::Event::CaughtUp { signed: signed.clone(), cohort, outcomes: outcomes.to_vec() };
            Ok(start.step(&client::Input { at_ms: now_ms, event })?.next)
        });
        let next = next.collect::<Result<Vec<_>, _>>()?;
        for (client, round) in self.clients.iter_mut().zip(next) {
            client.memory = round.memory().clone();
        }
        Ok(())
    }
}

/// An announced round.
struct Announced {
    announcement: Arc<Announcement>,
    signed: Signed<Announcement>,
    keys: Vec<SealingKey>,
    layout: Layout,
    server: server::Round,
}

/// What an opening came to.
struct Opened {
    metrics: Option<Metrics>,
    outcomes: Vec<Signed<Outcome>>,
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
