//! A federation in one process: everybody's keys, the roster, the record, and each client's own state of the protocol.

use std::sync::Arc;

use adapter::State;
use protocol::client::{Me, Memory, Policy};
use protocol::{Charter, Digest, Federation, HouseName, Member, OneTimeKeyOffer, Role, Roster, Signed, Signer, log};
use rand::CryptoRng;
use secure_sum::{Committee, SealingKey};
use zeroize::Zeroizing;

use super::SimulateError;

/// The aggregator's name in every message.
const AGGREGATOR: &str = "aggregator";
/// When the first round is announced, on the clock of the simulation, in milliseconds.
pub(super) const START_MS: u64 = 1_000_000;

/// A client of the federation.
pub(super) struct Client {
    pub(super) signer: Signer,
    pub(super) me: Arc<Me>,
    pub(super) memory: Memory,
}

/// Everybody, between two rounds.
pub(super) struct World {
    pub(super) federation: Arc<Federation>,
    pub(super) aggregator: Signer,
    pub(super) committee: Committee,
    pub(super) clients: Vec<Client>,
    pub(super) record: log::Log,
    pub(super) state: State,
    /// One-time keys are numbered through.
    pub(super) sequence: u64,
    pub(super) now_ms: u64,
}

/// A signing key of the aggregator, drawn before the charter, which names it.
pub(super) fn aggregator<R: CryptoRng>(rng: &mut R) -> Result<Signer, SimulateError> {
    Ok(signer(HouseName::new(AGGREGATOR).map_err(SimulateError::internal)?, rng))
}

fn signer<R: CryptoRng>(name: HouseName, rng: &mut R) -> Signer {
    let mut secret = Zeroizing::new([0; 32]);
    rng.fill_bytes(secret.as_mut());
    Signer::new(name, &secret)
}

impl World {
    /// Draws everybody's keys, and enrols them. The record is empty; `state` is where the next round, `next`, starts.
    pub(super) fn new<R: CryptoRng>(
        charter: &Charter,
        aggregator: Signer,
        state: State,
        next: protocol::RoundNumber,
        rng: &mut R,
    ) -> Result<Self, SimulateError> {
        let mut signers = Vec::new();
        let mut members = Vec::new();
        for (name, role) in charter.members() {
            let signer = signer(name.clone(), rng);
            // Nothing is sealed to mailboxes under policy `aggregator`, and there is no TLS here.
            let certificate = Digest::sha256(name.as_str().as_bytes());
            let mailbox = *Digest::of("no mailbox", certificate.as_bytes()).as_bytes();
            members.push(Member::new(name, role, signer.public_key(), mailbox, certificate));
            signers.push((signer, role));
        }
        let roster = Roster::new(charter, members).map_err(SimulateError::internal)?;
        let federation = Federation::new(charter.clone(), roster).map_err(SimulateError::internal)?;
        let federation = Arc::new(federation);
        let adapter = Digest::from_bytes(state.digest());
        let client = |(signer, _): (Signer, Role)| {
            let me = Me::new(Arc::clone(&federation), signer.name().clone(), policy(charter))?;
            let memory = Memory { next_round: next, ..Memory::new(adapter) };
            Ok(Client { signer, me: Arc::new(me), memory })
        };
        let clients = signers.into_iter().map(client).collect::<Result<_, protocol::Rejection>>()?;
        Ok(Self {
            committee: terms::committee(charter)?,
            federation: Arc::clone(&federation),
            aggregator,
            clients,
            record: log::Log::new(),
            state,
            sequence: 0,
            now_ms: START_MS,
        })
    }

    pub(super) fn charter(&self) -> &Charter {
        self.federation.charter()
    }

    /// Committee members, by their place among the clients, which is their seat's too.
    pub(super) fn seats(&self) -> usize {
        self.federation.roster().committee().len()
    }

    /// A fresh one-time key for each seat, and the offer of it.
    pub(super) fn one_time_keys<R: CryptoRng>(&mut self, rng: &mut R) -> Vec<(SealingKey, Signed<OneTimeKeyOffer>)> {
        self.sequence += 1;
        let charter = self.charter().digest();
        let offer = |client: &Client| {
            let key = SealingKey::generate(rng);
            let mut raw = [0; 32];
            // The first byte is secure-sum's version.
            raw.iter_mut().zip(key.public().to_bytes().into_iter().skip(1)).for_each(|(raw, byte)| *raw = byte);
            let member = client.signer.name().clone();
            let offer = OneTimeKeyOffer { charter, member, sequence: self.sequence, key: raw };
            (key, Signed::sign(&offer, &client.signer))
        };
        self.clients.iter().take(self.federation.roster().committee().len()).map(offer).collect()
    }
}

/// Every client accepts its charter as it is.
fn policy(charter: &Charter) -> Policy {
    Policy {
        epsilon_ceiling: f64::INFINITY,
        allow_no_privacy: true,
        min_cohort: charter.rounds.min_cohort.min(2),
        min_colluding_members: 0,
        max_clock_skew_ms: 1000,
        require_record_proof: true,
    }
}
