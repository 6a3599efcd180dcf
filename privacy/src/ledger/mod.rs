//! What a house has spent: an append-only, hash-chained file, written before the data is touched.
//!
//! ```text
//! adopt(limit, unit), once  ->  reserve(entries)  ->  train, clip, noise, encrypt  ->  confirm  ->  submit
//! ```
//!
//! A reservation counts as spent from the moment it is durable, whether it is confirmed or not: a crash costs its round.
//! The file is fsynced before `reserve` returns, file and directory when the ledger is opened. A last line without its
//! newline was never acknowledged: it is completed if it is whole and valid, else cut off. Any other line that is not
//! what was written is an error that names it. Lines cut off at the end, or an old copy put back, keep the chain intact:
//! compare with a digest kept elsewhere by [`Ledger::includes`]. Several processes may spend from one ledger: each operation locks the file and
//! takes in what others wrote.

mod chain;
mod entry;
mod error;
mod filter;
mod limit;

use crate::accountant::{self, Epsilon, Rounds};
use chain::Chain;
pub use chain::Head;
pub use entry::{Entry, Kind, ProtectedUnit};
use entry::{Event, Name};
pub use error::LedgerError;
pub use filter::Filter;
pub use limit::{Limit, Plan, Planned, PlannedRounds};
use rand::CryptoRng;
use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

/// The privacy ledger of one data set in one house.
#[derive(Debug)]
pub struct Ledger {
    chain: Chain,
    limit: Option<Limit>,
    unit: Option<ProtectedUnit>,
    entries: Vec<Entry>,
    names: HashSet<Name>,
    /// With the digest of what left.
    confirmed: HashMap<Name, [u8; 32]>,
    unprotected: HashSet<([u8; 32], String)>,
    /// Lines taken in.
    lines: u64,
}

impl Ledger {
    /// Opens the ledger at `path`, or creates it; verifies every line, repairs a torn last one.
    ///
    /// # Errors
    /// [`LedgerError::Io`], `TooLong`, or `Altered` with the first wrong line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let chain = Chain::open(path.as_ref())?;
        let mut ledger = Self {
            chain,
            limit: None,
            unit: None,
            entries: Vec::new(),
            names: HashSet::new(),
            confirmed: HashMap::new(),
            unprotected: HashSet::new(),
            lines: 0,
        };
        ledger.refresh()?;
        Ok(ledger)
    }

    /// Takes in what other processes wrote since.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn refresh(&mut self) -> Result<(), LedgerError> {
        self.locked(|_| Ok(()))
    }

    /// Fixes limit and unit of a new ledger, as its first line; or checks that the ledger has these. The order of a filter stays the one of
    /// the first line.
    ///
    /// # Errors
    /// [`LedgerError::OtherLimit`], [`LedgerError::OtherUnit`], [`LedgerError::Unprotected`], [`LedgerError::NoLimit`], or what [`Ledger::open`] gives.
    pub fn adopt<R: CryptoRng + ?Sized>(
        &mut self,
        limit: Limit,
        unit: ProtectedUnit,
        rng: &mut R,
    ) -> Result<(), LedgerError> {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        self.locked(|ledger| {
            let path = || ledger.chain.path().to_owned();
            if ledger.is_unprotected() {
                return Err(LedgerError::Unprotected { path: path() });
            }
            if let Some(own) = ledger.unit.clone().filter(|own| *own != unit) {
                return Err(LedgerError::OtherUnit { path: path(), own, asked: unit });
            }
            match &ledger.limit {
                Some(own) if own.agrees(&limit) => return Ok(()),
                Some(own) => {
                    return Err(LedgerError::OtherLimit {
                        path: path(),
                        ceiling: own.ceiling(),
                        delta: own.delta(),
                        asked: limit.ceiling(),
                        asked_delta: limit.delta(),
                        what: if matches!(own, Limit::Plan(_)) { "the rounds of one charter, with " } else { "" },
                    });
                }
                None if !ledger.entries.is_empty() => return Err(LedgerError::NoLimit { path: path() }),
                None => {}
            }
            ledger.write(&Event::Opened { limit, unit, salt })
        })
    }

    /// Notes that this house's rows leave without noise, in a federation of mode `none`; once is enough.
    ///
    /// # Errors
    /// [`LedgerError::Protected`] where a limit was fixed, or what [`Ledger::open`] gives: then do not train.
    pub fn give_up_protection(&mut self, federation: [u8; 32], house: &str) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            if ledger.limit.is_some() || !ledger.entries.is_empty() {
                return Err(LedgerError::Protected { path: ledger.chain.path().to_owned() });
            }
            let known = ledger.unprotected.contains(&(federation, house.to_owned()));
            if known { Ok(()) } else { ledger.write(&Event::Unprotected { federation, house: house.to_owned() }) }
        })
    }

    /// Whether rows of this data left without noise.
    pub fn is_unprotected(&self) -> bool {
        !self.unprotected.is_empty()
    }

    /// What it protects, if it was fixed.
    pub fn unit(&self) -> Option<&ProtectedUnit> {
        self.unit.as_ref()
    }

    /// The limit that was fixed, if one was.
    pub fn limit(&self) -> Option<&Limit> {
        self.limit.as_ref()
    }

    /// Reserves the lines of one attempt: when this returns, they are on the disk and count as spent. Lines of them that are there from a call that
    /// did not return are not written again: nothing was trained on their strength.
    ///
    /// # Errors
    /// [`LedgerError::Ceiling`] or [`LedgerError::Unplanned`] when they do not fit together, [`LedgerError::AlreadyReserved`] (a second reservation is refused, even of
    /// equal entries: the first may have been trained), a broken rule of the accountant, or what [`Ledger::open`] gives: then do not
    /// train.
    pub fn reserve(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            entries.iter().try_for_each(|entry| entry.rounds().check())?;
            let missing: Vec<&Entry> = entries.iter().filter(|entry| !ledger.is_reserved(entry)).collect();
            if let (true, Some(first)) = (missing.is_empty(), entries.first()) {
                return Err(LedgerError::AlreadyReserved { round: first.round, attempt: first.attempt });
            }
            ledger.fits(&missing)?;
            missing.into_iter().try_for_each(|entry| ledger.write(&Event::Reserved(entry.clone())))
        })
    }

    /// Notes, before it is submitted, that a contribution to the reserved attempt leaves, by its digest: from then on nothing else may be
    /// released under this reservation. It changes nothing in what is spent. Confirming the same twice is harmless.
    ///
    /// # Errors
    /// [`LedgerError::NotReserved`], [`LedgerError::AlreadyConfirmed`], or what [`Ledger::open`] gives: then do not submit.
    pub fn confirm(&mut self, entries: &[Entry], contribution: [u8; 32]) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            if let Some(unknown) = entries.iter().find(|entry| !ledger.is_reserved(entry)) {
                return Err(LedgerError::NotReserved { round: unknown.round, attempt: unknown.attempt });
            }
            let left = |entry: &Entry| ledger.confirmed.get(&entry.name()).copied();
            if let Some(entry) = entries.iter().find(|entry| left(entry).is_some_and(|left| left != contribution)) {
                return Err(LedgerError::AlreadyConfirmed { round: entry.round, attempt: entry.attempt });
            }
            for entry in entries {
                if !ledger.is_confirmed(entry) {
                    let (federation, house, round, attempt, kind) = entry.name();
                    ledger.write(&Event::Confirmed { federation, house, round, attempt, kind, contribution })?;
                }
            }
            Ok(())
        })
    }

    /// Epsilon spent so far, at `delta`, over every federation whose rounds were reserved in this ledger; of a plan's ledger, what the whole plan
    /// gives at its own delta, as soon as one round is in it.
    ///
    /// # Errors
    /// [`LedgerError::Accountant`].
    pub fn epsilon(&self, delta: f64) -> Result<Epsilon, LedgerError> {
        self.epsilon_with(&[], delta)
    }

    /// Epsilon if `entries` were reserved too.
    ///
    /// # Errors
    /// [`LedgerError::Accountant`].
    pub fn epsilon_with(&self, entries: &[Entry], delta: f64) -> Result<Epsilon, LedgerError> {
        match &self.limit {
            Some(Limit::Plan(plan)) if !(self.entries.is_empty() && entries.is_empty()) => {
                Ok(Epsilon { epsilon: plan.epsilon(), order: 0.0 })
            }
            _ => Ok(accountant::epsilon(&self.spent(entries), delta)?),
        }
    }

    /// Whether `entries` still fit, all together, below the ceiling, or into the plan; always, where no limit was fixed.
    ///
    /// # Errors
    /// [`LedgerError::Ceiling`], [`LedgerError::Unplanned`], a broken rule of the accountant, or what [`Ledger::open`] gives.
    pub fn check(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.locked(|ledger| ledger.fits(&entries.iter().collect::<Vec<_>>()))
    }

    /// Everything reserved, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether this entry's round, attempt and kind was reserved.
    pub fn is_reserved(&self, entry: &Entry) -> bool {
        self.names.contains(&entry.name())
    }

    /// Whether this entry's round, attempt and kind was confirmed.
    pub fn is_confirmed(&self, entry: &Entry) -> bool {
        self.confirmed.contains_key(&entry.name())
    }

    /// The digest of what left under this entry's reservation, where something may have.
    pub fn contribution(&self, entry: &Entry) -> Option<[u8; 32]> {
        self.confirmed.get(&entry.name()).copied()
    }

    /// Where the ledger stands now: keep it elsewhere (the federation's record) to notice an old copy put back.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    /// Whether this ledger's last line once had this digest, so that it is the same ledger or a later one. Zeros, for no line, always.
    pub fn includes(&self, digest: &[u8; 32]) -> bool {
        self.chain.includes(digest)
    }

    /// Runs `work` on the locked, up-to-date file.
    fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        let events = self.chain.lock()?;
        let taken = events.into_iter().try_for_each(|event| self.take(event));
        if taken.is_err() {
            self.chain.spoil();
        }
        let result = taken.and_then(|()| work(self));
        self.chain.unlock();
        result
    }

    fn write(&mut self, event: &Event) -> Result<(), LedgerError> {
        self.chain.append(event)?;
        self.take(event.clone())
    }

    /// Takes a line's content in.
    fn take(&mut self, event: Event) -> Result<(), LedgerError> {
        self.lines += 1;
        let (path, line) = (self.chain.path(), self.lines);
        let altered = |what| LedgerError::Altered { path: path.to_owned(), line, what };
        match event {
            Event::Opened { limit, unit, .. } if line == 1 && limit.check().is_ok() => {
                (self.limit, self.unit) = (Some(limit), Some(unit));
            }
            Event::Opened { .. } => return Err(altered("it is no first line with a limit")),
            Event::Reserved(entry) => {
                entry.rounds().check().map_err(|_| altered("its values break the accountant's rules"))?;
                if !self.names.insert(entry.name()) {
                    return Err(altered("it reserves a round twice"));
                }
                self.entries.push(entry);
            }
            Event::Confirmed { federation, house, round, attempt, kind, contribution } => {
                let name = (federation, house, round, attempt, kind);
                if !self.names.contains(&name) || self.confirmed.insert(name, contribution).is_some() {
                    return Err(altered("it confirms what is not open"));
                }
            }
            Event::Unprotected { federation, house } => {
                if self.limit.is_some() || !self.entries.is_empty() {
                    return Err(altered("it gives up what the lines before promise"));
                }
                self.unprotected.insert((federation, house));
            }
        }
        Ok(())
    }

    fn fits(&self, entries: &[&Entry]) -> Result<(), LedgerError> {
        if self.is_unprotected() && !entries.is_empty() {
            return Err(LedgerError::Unprotected { path: self.chain.path().to_owned() });
        }
        match &self.limit {
            None => Ok(()),
            Some(Limit::Plan(plan)) => entries.iter().try_for_each(|entry| plan.admits(entry, &self.entries)),
            Some(Limit::Filter(filter)) => {
                let mut divergence = 0.0;
                for rounds in self.spent(entries.iter().copied()) {
                    divergence += accountant::renyi(&rounds, filter.order())?;
                }
                let (ceiling, delta, order) = (filter.ceiling(), filter.delta(), filter.order());
                if divergence <= filter.budget()? {
                    return Ok(());
                }
                let would_be = accountant::epsilon_of_renyi(divergence, order, delta)?;
                Err(LedgerError::Ceiling { would_be, ceiling, delta, order })
            }
        }
    }

    /// The entries with equal ones put together: a charter's rounds are mostly equal, and the accountant takes each once.
    fn spent<'a>(&'a self, extra: impl IntoIterator<Item = &'a Entry>) -> Vec<Rounds> {
        let mut index: HashMap<_, usize> = HashMap::new();
        let mut spent: Vec<Rounds> = Vec::new();
        for rounds in self.entries.iter().chain(extra).map(Entry::rounds) {
            let grid = rounds.grid.map(|g| (g.dimension, g.integer_norm, g.shares, g.deviation.to_bits()));
            let key = (rounds.rate.to_bits(), rounds.noise_multiplier.to_bits(), grid);
            match index.get(&key) {
                Some(&at) => spent[at].rounds = spent[at].rounds.saturating_add(rounds.rounds),
                None => {
                    index.insert(key, spent.len());
                    spent.push(rounds);
                }
            }
        }
        spent
    }
}
