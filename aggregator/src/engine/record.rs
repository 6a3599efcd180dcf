//! The federation's record in memory: the Merkle tree over its leaves, and what the leaves say.

use std::collections::HashMap;

use protocol::log::{Checkpoint, Log};
use protocol::{
    Attempt, Charter, Conclusion, Digest, Federation, HouseName, Message as _, RecordHead, RecordLeaf, Rejection,
    RoundNumber, Verdict,
};

use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::store::{Store, Write};

/// The record; every leaf is stored before it is pushed.
pub(crate) struct Record {
    log: Log,
    leaves: Vec<Vec<u8>>,
    /// The latest applied round: its announcement, its place and the state it led to.
    applied: Option<(Digest, (RoundNumber, Attempt), Digest)>,
    /// In how many cohorts each house was: at least as often its ledger was charged.
    cohorts: HashMap<HouseName, u32>,
    /// The newest cosignature of each member, and how many leaves it is over.
    cosignatures: HashMap<HouseName, (u64, String)>,
}

impl Record {
    /// From the stored leaves, in order, and cosignatures.
    pub(crate) async fn load(store: &Store) -> Result<Self, Refusal> {
        let (cosignatures, leaves) = (store.cosignatures().await?, store.leaves().await?);
        let mut record = Self {
            log: Log::new(),
            leaves: Vec::new(),
            applied: None,
            cohorts: HashMap::new(),
            cosignatures: cosignatures.into_iter().map(|(member, size, line)| (member, (size, line))).collect(),
        };
        for body in leaves {
            let position = record.len();
            RecordLeaf::from_bytes(&body)
                .map_err(|error| Refusal::Failure(format!("leaf {position} of the record: {error}")))?;
            record.push(body);
        }
        Ok(record)
    }

    pub(super) fn push(&mut self, body: Vec<u8>) {
        self.log.append_bytes(&body);
        if let Ok(leaf) = RecordLeaf::from_bytes(&body) {
            for house in leaf.houses {
                *self.cohorts.entry(house).or_default() += 1;
            }
            if let Conclusion::Settled(Verdict::Applied { state, .. }) = leaf.conclusion {
                self.applied = Some((leaf.announcement, (leaf.round, leaf.attempt), state));
            }
        }
        self.leaves.push(body);
    }

    pub(super) fn len(&self) -> u64 {
        self.log.size()
    }

    /// The bodies of the leaves.
    pub(crate) fn leaves(&self) -> &[Vec<u8>] {
        &self.leaves
    }

    pub(super) fn head(&self) -> RecordHead {
        self.log.head()
    }

    /// The state after the latest applied round.
    pub(super) fn last_state(&self) -> Option<Digest> {
        self.applied.map(|(_, _, state)| state)
    }

    /// The latest applied round's announcement and place.
    pub(super) fn last_applied(&self) -> Option<(Digest, (RoundNumber, Attempt))> {
        self.applied.map(|(announcement, place, _)| (announcement, place))
    }

    /// In how many cohorts this house was.
    pub(super) fn cohorts_of(&self, house: &HouseName) -> u32 {
        self.cohorts.get(house).copied().unwrap_or(0)
    }

    /// The signed head, with the cosignatures of exactly this head in roster order.
    pub(crate) fn checkpoint(&self, charter: &Charter, identity: &Identity) -> String {
        let mut note = Checkpoint::new(charter.name.as_str(), self.head()).sign(identity.signer());
        for (member, _) in charter.members() {
            if let Some((_, line)) = self.cosignatures.get(&member).filter(|(size, _)| *size == self.len()) {
                note.push_str(line);
            }
        }
        note
    }

    /// What is written for this cosignature of the head with `size` leaves; nothing where the member's newest is as new.
    pub(super) fn cosign(
        &self,
        federation: &Federation,
        caller: &HouseName,
        (size, line): (u64, String),
    ) -> Result<Option<Write>, Refusal> {
        let none = || Refusal::NoProof(format!("a head of {size} leaves; the record has {}", self.len()));
        let head = self.log.head_at(size).ok_or_else(none)?;
        let member = federation.roster().member(caller);
        let member = member.ok_or_else(|| Rejection::UnknownMember { name: caller.clone() })?;
        Checkpoint::new(federation.charter().name.as_str(), head).cosigned_by(&line, caller, member.signing_key())?;
        let newer = self.cosignatures.get(caller).is_none_or(|(newest, _)| *newest < size);
        Ok(newer.then(|| Write::Cosignature { member: caller.clone(), size, line }))
    }

    /// Takes in what was written.
    pub(super) fn cosigned(&mut self, write: Write) {
        if let Write::Cosignature { member, size, line } = write {
            self.cosignatures.insert(member, (size, line));
        }
    }

    pub(super) fn inclusion(&self, leaf: u64, size: u64) -> Result<(Vec<Digest>, Vec<u8>), Refusal> {
        let none = || Refusal::NoProof(format!("leaf {leaf} of {size}; the record has {} leaves", self.len()));
        let hashes = self.log.inclusion(leaf, size).ok_or_else(none)?;
        let body = usize::try_from(leaf).ok().and_then(|leaf| self.leaves.get(leaf)).ok_or_else(none)?;
        Ok((hashes, body.clone()))
    }

    pub(super) fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, Refusal> {
        let none = || Refusal::NoProof(format!("from {old} to {new}; the record has {} leaves", self.len()));
        self.log.consistency(old, new).ok_or_else(none)
    }
}
