//! One round, by the same steps and the same cryptography as the programs: ready, announced, contributions, cohort, claim,
//! checksums, answers, opening, outcomes, record. Nothing is sent; every message is signed and checked all the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::client::{self, Effect};
use protocol::server::{self, Start};
use protocol::{
    Announcement, Attempt, CohortList, CommitteeSeat, Digest, Message as _, Outcome, PROTOCOL_VERSION, RoundNumber,
    Signed,
};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rayon::prelude::*;
use secure_sum::{Layout, SealingKey};
use terms::Metrics;

use super::SimulateError;
use super::contribute::{Contribute, Made, TOGETHER};
use super::federation::World;

/// Clients beside the committee that check a round to its end. The others contribute and take the outcome that t members of the committee
/// signed: thousands that each check thousands of signatures would only say the same again.
const WITNESSES: usize = 4;

/// What a round came to.
pub(super) struct Played {
    /// Bytes that all clients sent: bodies and sealed shares.
    pub(super) bytes_up: u64,
    /// What the sum says of held-out units.
    pub(super) metrics: Option<Metrics>,
}

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

    pub(super) fn serve(&self, round: &server::Round, event: server::Event) -> Result<server::Step, SimulateError> {
        Ok(round.step(&server::Input { at_ms: self.now_ms, event })?)
    }

    pub(super) fn hear(&self, member: &client::Round, event: client::Event) -> Result<client::Step, SimulateError> {
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
        let count = self.state.update_len();
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
