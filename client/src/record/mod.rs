//! The federation's record against what this member keeps: the head that it saw, what it promised, and what its ledger says left the house.
//!
//! A record that holds by itself ([`protocol::log::audit`]) may still not be the one that this member took part in: an aggregator can sign
//! two. What is kept here tells them apart.

mod fetch;

use std::path::Path;

use privacy::Ledger;
use protocol::charter::PrivacyMode;
use protocol::client::Memory;
use protocol::log::Fault;
use protocol::log::audit::{Audited, AuditedAttempt, audit};
use protocol::{Charter, Conclusion, Digest, HouseName, Roster};
use terms::RecordTermsError;

pub use fetch::fetch;

use crate::config::Config;
use crate::identity::Identity;
use crate::round::RunError;
use crate::store;

/// Why a record is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It does not hold by itself.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// It is not one of its charter.
    #[error(transparent)]
    Terms(#[from] RecordTermsError),
    /// Another federation's.
    #[error("the header: it is of charter {found}; this member joined under {joined}")]
    OtherCharter {
        /// What was joined.
        joined: Digest,
        /// The record's.
        found: Digest,
    },
    /// Other members, or other keys of theirs.
    #[error("the header: it is of roster {found}; this member pinned {pinned}")]
    OtherRoster {
        /// The pinned one.
        pinned: Digest,
        /// The record's.
        found: Digest,
    },
    /// An older one.
    #[error("it is older than what this member saw: it has {found} entries, and {seen} were there")]
    Older {
        /// Entries of the head that this member holds.
        seen: u64,
        /// Entries of the record.
        found: u64,
    },
    /// It ends before a round that this member knows as applied.
    #[error("it is older than what this member saw: round {round}, which t houses signed as applied, is not in it")]
    Unsettled {
        /// The round.
        round: u32,
    },
    /// Another history.
    #[error(
        "FORKED: its first {size} entries have the root {found}; this member holds {held}, which the aggregator signed too. Keep both, and ask the \
         other houses which one they hold"
    )]
    Forked {
        /// Entries of the head that this member holds.
        size: u64,
        /// Its root.
        held: Digest,
        /// The record's.
        found: Digest,
    },
    /// An entry that contradicts what this member signed, saw or charged.
    #[error("entry {entry} (round {round}, attempt {attempt}): {what}")]
    Contradicts {
        /// Its place.
        entry: usize,
        /// Its round.
        round: u32,
        /// Its attempt.
        attempt: u32,
        /// What is wrong.
        what: &'static str,
    },
}

/// What a member keeps, read while it runs or not.
pub struct Kept {
    /// Keys, certificate, charter.
    pub identity: Identity,
    /// The house's configuration.
    pub config: Config,
    /// The pinned roster.
    pub roster: Option<Roster>,
    /// What it promised and knows.
    pub memory: Option<Memory>,
    /// Its ledger, where it has spent.
    pub ledger: Option<Ledger>,
}

impl Kept {
    /// Reads the folder of a member that has joined.
    ///
    /// # Errors
    /// [`RunError`] naming the file.
    pub fn load(dir: &Path) -> Result<Self, RunError> {
        let (identity, config) = (Identity::load(dir)?, Config::load(dir)?);
        let path = config.ledger_path(&dir.join("state"));
        let ledger = if path.exists() { Some(Ledger::open(&path)?) } else { None };
        Ok(Self { identity, config, roster: store::peek_roster(dir)?, memory: store::peek_memory(dir)?, ledger })
    }

    /// Checks a record's file by itself, and against all of this.
    ///
    /// # Errors
    /// [`RecordError`]: the first thing that is wrong.
    pub fn check(&self, file: &[u8]) -> Result<Audited, RecordError> {
        let audited = alone(file)?;
        self.contract(&audited)?;
        if let Some(memory) = &self.memory {
            heads(memory, &audited)?;
            promises(memory, self.identity.name(), &audited)?;
        }
        self.contributions(&audited)?;
        Ok(audited)
    }

    fn contract(&self, audited: &Audited) -> Result<(), RecordError> {
        let (joined, found) = (self.identity.charter.digest(), audited.federation.charter().digest());
        if found != joined {
            return Err(RecordError::OtherCharter { joined, found });
        }
        let approved = self.config.policy.roster.parse().ok();
        let pinned = self.roster.as_ref().map(protocol::Message::digest).or(approved);
        let found = audited.federation.roster_digest();
        match pinned.filter(|pinned| *pinned != found) {
            Some(pinned) => Err(RecordError::OtherRoster { pinned, found }),
            None => Ok(()),
        }
    }

    /// Every contribution of this house that the record counts was charged, and is the one that left.
    fn contributions(&self, audited: &Audited) -> Result<(), RecordError> {
        let (charter, name) = (&self.identity.charter, self.identity.name());
        if charter.privacy.mode == PrivacyMode::None {
            return Ok(());
        }
        for (entry, attempt) in audited.attempts.iter().enumerate() {
            let Some((digest, manifest)) = own(attempt, name) else { continue };
            let fault = |what| Err(contradiction(entry, attempt, what));
            let Some(ledger) = &self.ledger else {
                return fault("it counts a contribution of this house, which has no ledger");
            };
            if !ledger.includes(manifest.ledger_head.as_bytes()) {
                return fault(
                    "this house's ledger never stood where its contribution says: it is an older copy, or another one",
                );
            }
            let left = left(ledger, charter, name, attempt);
            if left.is_empty() {
                return fault("it counts a contribution of this house that its ledger never charged");
            }
            if left.contains(&None) {
                return fault(
                    "it counts a contribution of this house that its ledger does not know as one that left: it is an older copy",
                );
            }
            if left.iter().any(|left| *left != Some(*digest)) {
                return fault("it counts another contribution of this house than the one that its ledger says left");
            }
        }
        Ok(())
    }
}

/// A record by itself: its chain, its signatures, its charter.
///
/// # Errors
/// [`RecordError`].
pub fn alone(file: &[u8]) -> Result<Audited, RecordError> {
    let audited = audit(file)?;
    terms::check_record(&audited)?;
    Ok(audited)
}

/// What this house contributed to an attempt: its manifest, and the digest of that.
pub(crate) fn own<'a>(
    attempt: &'a AuditedAttempt,
    name: &HouseName,
) -> Option<&'a (Digest, protocol::message::Contribution)> {
    attempt.contributions.iter().find(|(_, manifest)| manifest.member == *name)
}

/// What left under each line that the ledger has of this attempt.
fn left(ledger: &Ledger, charter: &Charter, name: &HouseName, attempt: &AuditedAttempt) -> Vec<Option<Digest>> {
    let (round, number) = (u64::from(attempt.leaf.round.get()), attempt.leaf.attempt.get());
    let of_it = ledger.entries().iter().filter(|line| {
        line.federation == *charter.digest().as_bytes()
            && line.house == name.as_str()
            && (line.round, line.attempt) == (round, number)
    });
    of_it.map(|line| ledger.contribution(line).map(Digest::from_bytes)).collect()
}

/// The record continues the one whose head this member holds.
fn heads(memory: &Memory, audited: &Audited) -> Result<(), RecordError> {
    let seen = memory.record;
    let Some(then) = audited.head_at(seen.size) else {
        return Err(RecordError::Older { seen: seen.size, found: audited.head.size });
    };
    if then.root != seen.root {
        return Err(RecordError::Forked { size: seen.size, held: seen.root, found: then.root });
    }
    let known = memory.next_round.get() - 1;
    if known == 0 {
        return Ok(());
    }
    let applied = audited.attempts.iter().enumerate();
    let mut applied = applied.filter(|(_, attempt)| attempt.leaf.round.get() == known && attempt.applied().is_some());
    match applied.next() {
        None => Err(RecordError::Unsettled { round: known }),
        Some((_, attempt)) if attempt.applied() == Some(memory.adapter) => Ok(()),
        Some((entry, attempt)) => {
            Err(contradiction(entry, attempt, "it was applied to another state than the one that t houses signed here"))
        }
    }
}

/// The attempt that this member heard of last is in the record as it heard it, once it is in it.
fn promises(memory: &Memory, name: &HouseName, audited: &Audited) -> Result<(), RecordError> {
    let Some(seen) = &memory.seen else { return Ok(()) };
    let named = |attempt: &AuditedAttempt| (attempt.leaf.round, attempt.leaf.attempt) == (seen.round, seen.attempt);
    // It was announced over the head that is kept, unless the run is over: then that head counts it.
    let next = usize::try_from(memory.record.size).unwrap_or(usize::MAX);
    let place = audited.attempts.iter().position(named).unwrap_or(next);
    let Some(attempt) = audited.attempts.get(place) else { return Ok(()) };
    let fault = |what| Err(contradiction(place, attempt, what));
    if attempt.leaf.announcement != seen.announcement {
        return fault("FORKED: it was announced otherwise to this member, over the same entries");
    }
    if let (Some(promised), Some(found)) = (seen.cohort, attempt.leaf.cohort)
        && promised != found
    {
        return fault("FORKED: its cohort is not the one that was shown to this member");
    }
    let mine = seen.contribution.as_ref().map(protocol::Signed::body_digest);
    if let Some((found, _)) = own(attempt, name)
        && mine != Some(*found)
    {
        return fault("it counts a contribution of this house that it did not make");
    }
    match (seen.verdict, attempt.leaf.conclusion) {
        (Some(own), Conclusion::Settled(signed)) if own != signed => fault("this house came to another verdict"),
        _ => Ok(()),
    }
}

fn contradiction(entry: usize, attempt: &AuditedAttempt, what: &'static str) -> RecordError {
    RecordError::Contradicts { entry, round: attempt.leaf.round.get(), attempt: attempt.leaf.attempt.get(), what }
}
