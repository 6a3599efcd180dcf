//! Checks a record's file, offline: every byte of it is a digest's, a signature's or a rule's business.
//!
//! For each entry, in order: its announcement passes the protocol's own checks and is the aggregator's; it was made over exactly the
//! entries before it (the Merkle root in it is computed again), in the right round and attempt, from the state that t houses had agreed
//! on, with one-time keys that were never used before; the cohort is within the expected set, large enough, each house once and by its own
//! signature; t houses signed the verdict; and the leaf says just that. At the end the aggregator's signed head, and what members
//! countersigned of it, is over these leaves.
//!
//! What is not in it: whether a sum is right is for the houses that signed the verdict; an abandonment's reason is the aggregator's word,
//! but for a complaint, whose cryptographic proof `secure-sum` judges; and a file that was made up from its first byte, with keys of its
//! maker, is whole too: compare the digests of charter and roster with what you know.

use std::collections::BTreeMap;

use super::fault::{Fault, Flaw, Place};
use super::file::{Entry, Parts, Section};
use super::note::{Checkpoint, Cosignature};
use super::tree::Frontier;
use super::{Log, leaf_hash};
use crate::charter::Charter;
use crate::check;
use crate::encoding::Message as _;
use crate::federation::Federation;
use crate::ids::{Attempt, Digest, HouseName, RoundNumber};
use crate::message::{Announcement, Contribution, RecordHead, Verdict};
use crate::record::{Conclusion, RecordLeaf};
use crate::rejection::Abandonment;
use crate::roster::Roster;

/// A record that holds.
#[derive(Debug)]
pub struct Audited {
    /// Charter and roster.
    pub federation: Federation,
    /// Every attempt, in order.
    pub attempts: Vec<AuditedAttempt>,
    /// The signed head.
    pub head: RecordHead,
    /// The members of the committee that countersigned the head, in roster order.
    pub cosignatures: Vec<Cosignature>,
    log: Log,
}

/// One attempt of a record that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedAttempt {
    /// What is recorded.
    pub leaf: RecordLeaf,
    /// The adapter state that it started from.
    pub adapter: Digest,
    /// How many houses were expected.
    pub expected: usize,
    /// When it was announced, in Unix milliseconds of the aggregator's clock.
    pub announced_at_ms: u64,
    /// What each house of the cohort signed, with the digest of that.
    pub contributions: Vec<(Digest, Contribution)>,
}

impl Audited {
    /// The head when the record had `size` entries; `None` above its size.
    pub fn head_at(&self, size: u64) -> Option<RecordHead> {
        self.log.head_at(size)
    }

    /// The adapter state that the first attempt started from: the one that follows from the charter, which this crate can not compute.
    pub fn first_adapter(&self) -> Option<Digest> {
        self.attempts.first().map(|attempt| attempt.adapter)
    }

    /// Rounds that were applied.
    pub fn applied(&self) -> usize {
        self.attempts.iter().filter(|attempt| attempt.applied().is_some()).count()
    }

    /// The state after the last applied round.
    pub fn last_state(&self) -> Option<Digest> {
        self.attempts.iter().rev().find_map(AuditedAttempt::applied)
    }
}

impl AuditedAttempt {
    /// The state that it led to, where it was applied.
    pub fn applied(&self) -> Option<Digest> {
        match self.leaf.conclusion {
            Conclusion::Settled(Verdict::Applied { state, .. }) => Some(state),
            _ => None,
        }
    }
}

/// Checks all of a file.
///
/// # Errors
/// The first [`Fault`].
pub fn audit(bytes: &[u8]) -> Result<Audited, Fault> {
    let mut parts = Parts::of(bytes)?;
    let mut chain = Chain::new(header(&parts)?);
    let note = loop {
        match parts.next()? {
            Section::Entry(entry) => chain.take(entry)?,
            Section::Checkpoint(note) => break note,
        }
    };
    parts.finish()?;
    chain.close(note)
}

fn header(parts: &Parts<'_>) -> Result<Federation, Fault> {
    let at = |flaw| Fault::at(Place::Header, flaw);
    let charter = Charter::parse(parts.charter).map_err(|error| at(Flaw::Charter(error)))?;
    let roster = Roster::from_bytes(parts.roster).map_err(|error| at(Flaw::Format(error)))?;
    Federation::new(charter, roster).map_err(|error| at(Flaw::Roster(error)))
}

/// What the entries so far came to.
struct Chain {
    federation: Federation,
    frontier: Frontier,
    leaves: Vec<Digest>,
    attempts: Vec<AuditedAttempt>,
    /// The round that is next.
    round: RoundNumber,
    /// The last attempt at it.
    attempt: Option<Attempt>,
    /// The state that the next attempt starts from, once one is known.
    adapter: Option<Digest>,
    over: bool,
    /// The last one-time key of each member.
    keys: BTreeMap<HouseName, u64>,
}

impl Chain {
    fn new(federation: Federation) -> Self {
        Self {
            federation,
            frontier: Frontier::default(),
            leaves: Vec::new(),
            attempts: Vec::new(),
            round: RoundNumber::FIRST,
            attempt: None,
            adapter: None,
            over: false,
            keys: BTreeMap::new(),
        }
    }

    /// The next entry.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let position = self.frontier.head().size;
        let entry = Entry::from_bytes(bytes).map_err(|error| Fault::at(Place::Entry(position), Flaw::Format(error)))?;
        let attempt = Some((entry.leaf.round, entry.leaf.attempt));
        let here = |flaw| Fault { attempt, ..Fault::at(Place::Entry(position), flaw) };
        let announced = check::announcement(&self.federation, &entry.announcement).map_err(|e| here(Flaw::Rule(e)))?;
        // The head in it vouches for the entry before: that one is the first that is wrong.
        self.stands(&announced).map_err(|flaw| match flaw {
            Flaw::OtherLeaf => self.before(),
            flaw => here(flaw),
        })?;
        self.follows(&announced).map_err(here)?;
        let contributions = shows(&self.federation, &entry, &announced).map_err(here)?;
        self.go_on(&entry.leaf);
        self.attempts.push(AuditedAttempt {
            adapter: announced.adapter,
            expected: announced.expected.len(),
            announced_at_ms: announced.announced_at_ms,
            contributions,
            leaf: entry.leaf,
        });
        Ok(())
    }

    /// The fault of the last entry, whose leaf is not the one that was counted.
    fn before(&self) -> Fault {
        let position = (self.attempts.len() as u64).saturating_sub(1);
        let attempt = self.attempts.last().map(|last| (last.leaf.round, last.leaf.attempt));
        Fault { attempt, ..Fault::at(Place::Entry(position), Flaw::OtherLeaf) }
    }

    /// It was announced over exactly the entries before it.
    fn stands(&self, announced: &Announcement) -> Result<(), Flaw> {
        let head = self.frontier.head();
        if announced.record.size != head.size {
            return Err(Flaw::Moved { says: announced.record.size });
        }
        match announced.record.root == head.root {
            true => Ok(()),
            false if head.size == 0 => Err(Flaw::NotEmpty),
            false => Err(Flaw::OtherLeaf),
        }
    }

    /// It is the next round or the next attempt, starts from the agreed state, and uses no key again.
    fn follows(&mut self, announced: &Announcement) -> Result<(), Flaw> {
        if self.over {
            return Err(Flaw::AfterEnd);
        }
        if announced.round != self.round {
            return Err(Flaw::Round { expected: self.round, found: announced.round });
        }
        // An attempt that was given up before it was announced leaves no entry.
        if let Some(last) = self.attempt.filter(|last| announced.attempt <= *last) {
            return Err(Flaw::Attempt { last, found: announced.attempt });
        }
        let (expected, found) = (self.adapter.unwrap_or(announced.adapter), announced.adapter);
        if found != expected {
            return Err(Flaw::Adapter { expected, found });
        }
        self.adapter = Some(found);
        for seat in &announced.committee {
            let member = seat.offer.signer().clone();
            let sequence = seat.offer.unverified().map_err(Flaw::Format)?.sequence;
            match self.keys.get(&member) {
                Some(last) if sequence <= *last => return Err(Flaw::KeyReused { member, sequence }),
                _ => self.keys.insert(member, sequence),
            };
        }
        Ok(())
    }

    fn go_on(&mut self, leaf: &RecordLeaf) {
        let hash = leaf_hash(&leaf.to_bytes());
        self.frontier.push(hash);
        self.leaves.push(hash);
        self.attempt = Some(leaf.attempt);
        if let Conclusion::Settled(Verdict::Applied { state, last }) = leaf.conclusion {
            self.adapter = Some(state);
            self.attempt = None;
            self.over = last || leaf.round.get() >= self.federation.charter().rounds.count;
            self.round = leaf.round.next().unwrap_or(leaf.round);
        }
    }

    /// The signed head counts exactly these entries.
    fn close(self, note: &str) -> Result<Audited, Fault> {
        let at = |flaw| Fault::at(Place::Checkpoint, flaw);
        let charter = self.federation.charter();
        let origin = Checkpoint::origin_of(charter.name.as_str());
        let members = self.federation.roster().committee().map(|member| (member.name(), member.signing_key()));
        let (checkpoint, cosignatures) = Checkpoint::open_cosigned(note, &origin, charter.aggregator_key(), members)
            .map_err(|error| at(Flaw::Checkpoint(error)))?;
        let (head, size) = (self.frontier.head(), checkpoint.head.size);
        if size > head.size {
            return Err(Fault::at(Place::Entry(head.size), Flaw::Missing { size }));
        }
        if size < head.size {
            return Err(Fault::at(Place::Entry(size), Flaw::Uncounted { size }));
        }
        if checkpoint.head.root != head.root {
            return Err(if size == 0 { at(Flaw::OtherLeaf) } else { self.before() });
        }
        let log = Log::from_leaf_hashes(self.leaves);
        Ok(Audited { federation: self.federation, attempts: self.attempts, head, cosignatures, log })
    }
}

/// The signed messages of an entry hold, and its leaf says what they show.
fn shows(
    federation: &Federation,
    entry: &Entry,
    announced: &Announcement,
) -> Result<Vec<(Digest, Contribution)>, Flaw> {
    let (leaf, announcement) = (&entry.leaf, entry.announcement.body_digest());
    let same = |holds: bool, field| if holds { Ok(()) } else { Err(Flaw::Leaf { field }) };
    same(leaf.round == announced.round, "round")?;
    same(leaf.attempt == announced.attempt, "attempt")?;
    same(leaf.announcement == announcement, "announcement")?;
    let mut contributions = Vec::new();
    let (mut houses, mut cohort) = (Vec::new(), None);
    if let Some(list) = &entry.cohort {
        let manifests = check::cohort_list(federation, announced, announcement, list).map_err(Flaw::Rule)?;
        cohort = Some(list.digest());
        houses = list.houses().cloned().collect();
        let digests = list.contributions.iter().map(crate::signed::Signed::body_digest);
        contributions = digests.zip(manifests).collect();
    }
    same(leaf.cohort == cohort, "cohort")?;
    same(leaf.houses == houses, "houses")?;
    match leaf.conclusion {
        Conclusion::Settled(verdict) => settled(federation, entry, announcement, verdict)?,
        Conclusion::Abandoned(reason) => abandoned(federation, entry, announced, reason)?,
    }
    Ok(contributions)
}

fn settled(federation: &Federation, entry: &Entry, announcement: Digest, verdict: Verdict) -> Result<(), Flaw> {
    let missing = |what| Flaw::Evidence { what };
    let cohort = entry.leaf.cohort.ok_or(missing("a settled attempt without a cohort"))?;
    let claim = entry.claim.as_ref().ok_or(missing("a settled attempt without the aggregator's claim of its sum"))?;
    check::claim(federation, announcement, cohort, claim).map_err(Flaw::Rule)?;
    if entry.complaint.is_some() {
        return Err(missing("a settled attempt with a complaint"));
    }
    let signed = check::settled(federation, announcement, cohort, &entry.outcomes).map_err(Flaw::Rule)?;
    // Others than the ones that agree are no evidence of anything.
    let agree = entry.outcomes.iter().all(|one| one.unverified().is_ok_and(|outcome| outcome.verdict == signed));
    if signed != verdict || !agree {
        return Err(Flaw::Leaf { field: "conclusion" });
    }
    let signers = entry.outcomes.iter().map(crate::signed::Signed::signer);
    if signers.eq(&entry.leaf.signers) { Ok(()) } else { Err(Flaw::Leaf { field: "signers" }) }
}

fn abandoned(
    federation: &Federation,
    entry: &Entry,
    announced: &Announcement,
    reason: Abandonment,
) -> Result<(), Flaw> {
    if !entry.leaf.signers.is_empty() {
        return Err(Flaw::Leaf { field: "signers" });
    }
    if entry.claim.is_some() || !entry.outcomes.is_empty() {
        return Err(Flaw::Evidence { what: "an abandoned attempt with a claim or outcomes" });
    }
    let fits = match (reason, &entry.cohort) {
        (Abandonment::CohortTooSmall { needed, found }, None) => {
            let floor = federation.cohort_floor(announced.expected.len(), announced.may_vanish);
            needed as usize == floor && found < needed
        }
        (Abandonment::TooFewAnswers { needed, found }, Some(_)) => {
            needed as usize == federation.threshold() && found < needed
        }
        (Abandonment::OutcomesSplit, Some(_)) | (Abandonment::Stopped, _) => true,
        (Abandonment::WrongEnvelope { dealer }, Some(list)) => {
            let complaint = entry.complaint.as_ref();
            let complaint =
                complaint.ok_or(Flaw::Evidence { what: "a wrong share without the complaint that proves it" })?;
            let complaint = check::complaint(federation, list, complaint).map_err(Flaw::Rule)?;
            return if complaint.dealer == dealer { Ok(()) } else { Err(Flaw::Leaf { field: "conclusion" }) };
        }
        _ => false,
    };
    if entry.complaint.is_some() {
        return Err(Flaw::Evidence { what: "a complaint that ended nothing" });
    }
    if fits { Ok(()) } else { Err(Flaw::Leaf { field: "conclusion" }) }
}
