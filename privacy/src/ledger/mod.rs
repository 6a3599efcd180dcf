//! What a house has spent: an append-only, hash-chained file, written before the data is touched.
//!
//! ```text
//! adopt(limit), once  ->  reserve(entries)  ->  train, clip, noise, encrypt  ->  confirm  ->  submit
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
mod filter;
mod limit;

use crate::accountant::{self, AccountantError, Epsilon, Rounds};
use chain::Chain;
pub use chain::Head;
pub use entry::{Entry, Kind};
use entry::{Event, Name};
pub use filter::Filter;
pub use limit::{Limit, Plan, Planned, PlannedRounds};
use rand::CryptoRng;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// The privacy ledger of one data set in one house.
#[derive(Debug)]
pub struct Ledger {
    chain: Chain,
    limit: Option<Limit>,
    entries: Vec<Entry>,
    names: HashSet<Name>,
    confirmed: HashSet<Name>,
    /// Lines taken in.
    lines: u64,
}

/// Why the ledger refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Reading or writing failed.
    #[error("ledger {path}: {error}")]
    Io {
        /// The ledger's file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        error: std::io::Error,
    },
    /// The file is longer than any ledger.
    #[error("ledger {path} is longer than 512 MiB")]
    TooLong {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A line was changed, deleted, inserted or moved.
    #[error("ledger {path} was altered: line {line}: {what}")]
    Altered {
        /// The ledger's file.
        path: PathBuf,
        /// Number of the first wrong line, from 1.
        line: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// An earlier write or reading failed: open the ledger again, which repairs it or says what is wrong.
    #[error("an earlier write to or reading of ledger {path} failed; open it again")]
    Broken {
        /// The ledger's file.
        path: PathBuf,
    },
    /// The entry has no JSON form.
    #[error("a ledger line could not be encoded: {0}")]
    Encode(#[source] serde_json::Error),
    /// This round, attempt and kind is reserved already: it may have been trained, so it is not trained again. Wait for
    /// the next attempt.
    #[error("round {round}, attempt {attempt} is already in the ledger")]
    AlreadyReserved {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
    },
    /// Nothing to confirm.
    #[error("round {round}, attempt {attempt} was never reserved")]
    NotReserved {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
    },
    /// The round would go past the ceiling.
    #[error(
        "epsilon would be {would_be:.4} at delta {delta:e}, counted at Renyi order {order}, past this house's ceiling of {ceiling}"
    )]
    Ceiling {
        /// Epsilon with this round, at the filter's order.
        would_be: f64,
        /// The ceiling.
        ceiling: f64,
        /// Delta of both.
        delta: f64,
        /// The filter's order.
        order: f64,
    },
    /// Not even what is named fits below the house's ceiling.
    #[error(
        "{what} cost epsilon {needed:.4} at delta {delta:e}, above this house's ceiling of {ceiling}; write an epsilon_ceiling of at least {needed:.4}, or do not join"
    )]
    CeilingTooLow {
        /// The ceiling.
        ceiling: f64,
        /// Delta of both.
        delta: f64,
        /// What would be enough.
        needed: f64,
        /// What for.
        what: &'static str,
    },
    /// The ledger's plan has no such round.
    #[error("round {round}, attempt {attempt} is not in the plan of this ledger: {rule}")]
    Unplanned {
        /// Round number.
        round: u64,
        /// Attempt.
        attempt: u32,
        /// Why.
        rule: &'static str,
    },
    /// The ledger was opened with another limit, which cannot be changed after the fact.
    #[error(
        "ledger {path} was opened for {what}the ceiling {ceiling} at delta {delta:e}, not {asked} at {asked_delta:e}; write these values into the configuration, or, for other data, use another ledger"
    )]
    OtherLimit {
        /// The ledger's file.
        path: PathBuf,
        /// The ledger's ceiling.
        ceiling: f64,
        /// The ledger's delta.
        delta: f64,
        /// The ceiling asked for.
        asked: f64,
        /// The delta asked for.
        asked_delta: f64,
        /// What else it is limited to.
        what: &'static str,
    },
    /// The ledger holds rounds, and no limit was fixed before them.
    #[error(
        "ledger {path} holds rounds and no limit in its first line: an older version wrote it; nothing may be added to it"
    )]
    NoLimit {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A value is outside the accountant's rules.
    #[error(transparent)]
    Accountant(#[from] AccountantError),
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
            entries: Vec::new(),
            names: HashSet::new(),
            confirmed: HashSet::new(),
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

    /// Fixes the limit of a new ledger, as its first line; or checks that the ledger has this limit. The order of a filter stays the one of
    /// the first line.
    ///
    /// # Errors
    /// [`LedgerError::OtherLimit`], [`LedgerError::NoLimit`], or what [`Ledger::open`] gives.
    pub fn adopt<R: CryptoRng + ?Sized>(&mut self, limit: Limit, rng: &mut R) -> Result<(), LedgerError> {
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        self.locked(|ledger| {
            let path = || ledger.chain.path().to_owned();
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
            ledger.write(&Event::Opened { limit, salt })
        })
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

    /// Notes, before it is submitted, that the reserved attempt leaves: from then on nothing else may be released under this
    /// reservation. It changes nothing in what is spent. Confirming twice is harmless.
    ///
    /// # Errors
    /// [`LedgerError::NotReserved`], or what [`Ledger::open`] gives.
    pub fn confirm(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.locked(|ledger| {
            if let Some(unknown) = entries.iter().find(|entry| !ledger.is_reserved(entry)) {
                return Err(LedgerError::NotReserved { round: unknown.round, attempt: unknown.attempt });
            }
            for entry in entries {
                if !ledger.is_confirmed(entry) {
                    let (federation, round, attempt, kind) = entry.name();
                    ledger.write(&Event::Confirmed { federation, round, attempt, kind })?;
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
        self.confirmed.contains(&entry.name())
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
            Event::Opened { limit, .. } if line == 1 && limit.check().is_ok() => self.limit = Some(limit),
            Event::Opened { .. } => return Err(altered("it is no first line with a limit")),
            Event::Reserved(entry) => {
                entry.rounds().check().map_err(|_| altered("its values break the accountant's rules"))?;
                if !self.names.insert(entry.name()) {
                    return Err(altered("it reserves a round twice"));
                }
                self.entries.push(entry);
            }
            Event::Confirmed { federation, round, attempt, kind } => {
                let name = (federation, round, attempt, kind);
                if !self.names.contains(&name) || !self.confirmed.insert(name) {
                    return Err(altered("it confirms what is not open"));
                }
            }
        }
        Ok(())
    }

    fn fits(&self, entries: &[&Entry]) -> Result<(), LedgerError> {
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
