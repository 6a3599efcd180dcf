//! A federation of this hour: the charter that was joined, but with keys that are all made here, so that what leaves can be opened here.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use adapter::State;
use protocol::client::Memory;
use protocol::message::RecordHead;
use protocol::signed::AGGREGATOR;
use protocol::{
    Announcement, Attempt, Charter, CommitteeSeat, Digest, Federation, HouseName, Invitation, Member, OneTimeKeyOffer,
    PROTOCOL_VERSION, Roster, Signed, Signer,
};
use rand::Rng as _;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use secure_sum::{Committee, Layout, SealingKey};
use tempfile::TempDir;
use terms::Terms;
use zeroize::Zeroizing;

use super::ProveError;
use crate::connection::SERVER_NAME;
use crate::crash::Crash;
use crate::identity::{Identity, IdentityError, Keys};
use crate::round::now_ms;
use crate::sealing;

/// Never dialled: the far end is in this process.
const URL: &str = "https://rehearsal.invalid:7443";

/// The rehearsed federation, one round announced.
pub(super) struct Rehearsal {
    /// This house, with keys of this hour.
    pub(super) identity: Arc<Identity>,
    pub(super) federation: Arc<Federation>,
    /// The rehearsed aggregator.
    pub(super) aggregator: Signer,
    /// What it announces.
    pub(super) announcement: Arc<Announcement>,
    pub(super) layout: Layout,
    pub(super) committee: Committee,
    /// What the round starts from: the charter's first state.
    pub(super) state: State,
    /// The committee's one-time keys, by index.
    pub(super) keys: BTreeMap<u8, SealingKey>,
    /// The far end's TLS.
    pub(super) server: Server,
    dir: TempDir,
}

/// The far end's certificate and key, and the authority whose members it lets in.
pub(super) struct Server {
    pub(super) authority: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
}

impl Rehearsal {
    /// Rehearses `house`'s part in a round of `charter` that carries all that any round of it carries.
    pub(super) fn new(charter: &Charter, house: &HouseName) -> Result<Self, ProveError> {
        let rng = &mut UnwrapErr(SysRng);
        let mut secret = || {
            let mut secret = Zeroizing::new([0; 32]);
            rng.fill_bytes(secret.as_mut_slice());
            secret
        };
        let failed = |error: &dyn std::fmt::Display| ProveError::Rehearsal(error.to_string());
        let name = |text| HouseName::new(text).map_err(|e| failed(&e));
        let aggregator = Signer::new(name(AGGREGATOR)?, &secret());
        let charter = with_aggregator(charter, &aggregator)?;

        let (identity, server) = join(&charter, house)?;
        let identity = Arc::new(identity);

        let (mut members, mut signers) = (Vec::new(), BTreeMap::new());
        for (name, role) in charter.members() {
            let (signing_key, mailbox, certificate) = if name == *house {
                (identity.signer.public_key(), sealing::public(&identity.mailbox), Digest::sha256(&server.authority))
            } else {
                let signer = Signer::new(name.clone(), &secret());
                let key = signer.public_key();
                signers.insert(name.clone(), signer);
                (key, sealing::public(&SealingKey::generate(&mut UnwrapErr(SysRng))), Digest::sha256(key.as_bytes()))
            };
            members.push(Member::new(name, role, signing_key, mailbox, certificate));
        }
        let roster = Roster::new(&charter, members).map_err(|e| failed(&e))?;

        let (mut keys, mut seats) = (BTreeMap::new(), Vec::new());
        for member in roster.committee() {
            let Some(index) = roster.index_of(member.name()) else { continue };
            let key = SealingKey::generate(&mut UnwrapErr(SysRng));
            let offer = OneTimeKeyOffer {
                charter: charter.digest(),
                member: member.name().clone(),
                sequence: 0,
                key: sealing::public(&key),
            };
            let signer = signers.get(member.name()).unwrap_or(&identity.signer);
            seats.push(CommitteeSeat { index, offer: Signed::sign(&offer, signer) });
            keys.insert(index.get(), key);
        }
        let terms = Terms::of(&charter)?;
        let (state, committee) = (terms.first_state()?, terms::committee(&charter)?);
        let federation = Federation::new(charter, roster).map_err(|e| failed(&e))?;
        let (announcement, layout) = announce(&federation, house, &state, seats)?;
        let dir = temporary()?;
        Ok(Self {
            identity,
            federation: Arc::new(federation),
            aggregator,
            announcement: Arc::new(announcement),
            layout,
            committee,
            state,
            keys,
            server,
            dir,
        })
    }

    /// What a member remembers that has done everything before this round, and nothing in it.
    pub(super) fn memory(&self) -> Memory {
        Memory { next_round: self.announcement.round, ..Memory::new(Digest::from_bytes(self.state.digest())) }
    }

    /// The announcement as the aggregator signs it.
    pub(super) fn signed(&self) -> Signed<Announcement> {
        Signed::sign(&self.announcement, &self.aggregator)
    }

    /// A folder for this house's state, gone with the rehearsal.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The same round with the fewest houses that may be announced: each then adds most noise.
    pub(super) fn with_fewest(&self) -> Announcement {
        let charter = self.federation.charter();
        let fewest = charter.rounds.smallest_expected() as usize;
        let mut announcement = Announcement::clone(&self.announcement);
        let mut left = fewest.saturating_sub(1);
        // This house, and as many others.
        announcement.expected.retain(|name| {
            let own = name == self.identity.name();
            let taken = own || left > 0;
            left -= usize::from(taken && !own);
            taken
        });
        announcement
    }
}

/// The same charter under another aggregator's key: the one that was joined is signed by a key that is not here.
fn with_aggregator(charter: &Charter, aggregator: &Signer) -> Result<Charter, ProveError> {
    let mut terms = protocol::charter::Terms::clone(charter);
    terms.aggregator_key = hex::encode(aggregator.public_key().as_bytes());
    Charter::of(&terms).map_err(|error| ProveError::Rehearsal(error.to_string()))
}

fn temporary() -> Result<TempDir, ProveError> {
    let failed = |error| {
        ProveError::Rehearsal(format!("{}: {error}; TMPDIR names another folder", std::env::temp_dir().display()))
    };
    TempDir::with_prefix("plainchant-prove-").map_err(failed)
}

/// Joins as `join` does, but for the aggregator, whose part is played here. The keys are on the disk for this moment only.
fn join(charter: &Charter, house: &HouseName) -> Result<(Identity, Server), ProveError> {
    let dir = temporary()?;
    let joined = join_in(dir.path(), charter, house).map_err(|error| ProveError::Rehearsal(error.to_string()))?;
    dir.close().map_err(|error| ProveError::Rehearsal(error.to_string()))?;
    Ok(joined)
}

fn join_in(dir: &Path, charter: &Charter, house: &HouseName) -> Result<(Identity, Server), IdentityError> {
    let crash = Crash::default();
    let keys = Keys::load_or_create(dir, &crash, &mut UnwrapErr(SysRng))?;
    let made = IdentityError::TlsKey;
    let authority_key = KeyPair::generate().map_err(made)?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Plainchant rehearsal authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&authority_key).map_err(made)?.der().to_vec();
    let issuer = Issuer::from_ca_cert_der(&authority.as_slice().into(), authority_key).map_err(made)?;
    let signed = |names: Vec<String>, common: &str, usage, key: &KeyPair| {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, common);
        params.extended_key_usages = vec![usage];
        params.signed_by(key, &issuer)
    };
    let server_key = KeyPair::generate().map_err(made)?;
    let server = signed(vec![SERVER_NAME.to_owned()], SERVER_NAME, ExtendedKeyUsagePurpose::ServerAuth, &server_key);
    let own_key = KeyPair::from_pem(&keys.tls_pem).map_err(made)?;
    let own = signed(Vec::new(), house.as_str(), ExtendedKeyUsagePurpose::ClientAuth, &own_key).map_err(made)?;
    let invitation = Invitation {
        url: URL.to_owned(),
        authority: authority.clone(),
        charter: charter.digest(),
        name: house.clone(),
        token: [0; 32],
    };
    Identity::store(dir, &invitation, charter, &own.pem(), &crash)?;
    let server = Server {
        authority,
        certificate: server.map_err(made)?.der().to_vec(),
        key: Zeroizing::new(server_key.serialize_der()),
    };
    Ok((Identity::load(dir)?, server))
}

/// One round, as an honest aggregator announces it when the largest cohort is ready.
fn announce(
    federation: &Federation,
    house: &HouseName,
    state: &State,
    committee: Vec<CommitteeSeat>,
) -> Result<(Announcement, Layout), ProveError> {
    let (charter, rounds) = (federation.charter(), &federation.charter().rounds);
    let round = terms::fullest_round(charter);
    // The charter's order is the roster's; this house is among them.
    let others = (rounds.max_cohort as usize).saturating_sub(1);
    let with: Vec<&HouseName> =
        charter.houses.iter().map(|one| &one.name).filter(|name| *name != house).take(others).collect();
    let in_it = |name: &HouseName| name == house || with.contains(&name);
    let expected: Vec<HouseName> =
        charter.houses.iter().map(|one| &one.name).filter(|name| in_it(name)).cloned().collect();
    let layout = terms::layout(charter, round, expected.len(), rounds.may_vanish, state.update_len())?;
    let announcement = Announcement {
        protocol_version: PROTOCOL_VERSION,
        record: RecordHead { size: 0, root: Digest::sha256(b"") },
        charter: charter.digest(),
        roster: federation.roster_digest(),
        round,
        attempt: Attempt::FIRST,
        expected,
        may_vanish: rounds.may_vanish,
        adapter: Digest::from_bytes(state.digest()),
        announced_at_ms: now_ms(),
        submit_at_ms: rounds.submit_at_ms,
        close_ms: rounds.close_ms,
        open_ms: rounds.open_ms,
        committee,
        layout: layout.to_bytes(),
        data_commitment: None,
    };
    Ok((announcement, layout))
}
