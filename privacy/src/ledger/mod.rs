//! What a house has spent: an append-only, hash-chained file, written before the data is touched.
//!
//! ```text
//! adopt(filter), once  ->  reserve(entry)  ->  train, clip, noise, encrypt  ->  confirm  ->  submit
//! ```
//!
//! A reservation counts as spent from the moment it is durable, whether it is confirmed or not: a crash costs its round.
//! The file is fsynced before `reserve` returns, file and directory when the ledger is opened. A last line without its
//! newline was never acknowledged: it is completed if it is whole and valid, else cut off. Any other line that is not
//! what was written is an error that names it. Lines cut off at the end, or an old copy put back, keep the chain intact:
//! compare with a [`Head`] kept elsewhere by [`Ledger::includes`]. One process at a time: the file is locked.

mod chain;
mod entry;
mod filter;

use crate::accountant::{self, AccountantError, Epsilon, Rounds};
use chain::Chain;
pub use chain::Head;
pub use entry::{Entry, Kind};
use entry::{Event, Name};
pub use filter::Filter;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// The privacy ledger of one data set in one house.
#[derive(Debug)]
pub struct Ledger {
    chain: Chain,
    filter: Option<Filter>,
    entries: Vec<Entry>,
    names: HashSet<Name>,
    confirmed: HashSet<Name>,
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
    /// Another process holds the ledger.
    #[error("ledger {path} is in use by another process")]
    Locked {
        /// The ledger's file.
        path: PathBuf,
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
    /// An earlier write failed: open the ledger again, which repairs it.
    #[error("an earlier write to ledger {path} failed; open it again")]
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
    /// The ledger was opened with another ceiling or delta, which cannot be changed after the fact.
    #[error(
        "ledger {path} was opened with the ceiling {ceiling} at delta {delta:e}, not {asked} at {asked_delta:e}; write these values into the configuration, or, for other data, use another ledger"
    )]
    OtherFilter {
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
    },
    /// The ledger holds rounds, and no ceiling was fixed before them.
    #[error(
        "ledger {path} holds rounds and no ceiling in its first line: an older version wrote it; nothing may be added to it"
    )]
    NoFilter {
        /// The ledger's file.
        path: PathBuf,
    },
    /// A value is outside the accountant's rules.
    #[error(transparent)]
    Accountant(#[from] AccountantError),
}

impl Ledger {
    /// Opens the ledger at `path`, or creates it; locks it, verifies every line, repairs a torn last one.
    ///
    /// # Errors
    /// [`LedgerError::Io`], `Locked`, `TooLong`, or `Altered` with the first wrong line.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, LedgerError> {
        let path = path.as_ref();
        let (chain, events) = Chain::open(path)?;
        let mut ledger =
            Self { chain, filter: None, entries: Vec::new(), names: HashSet::new(), confirmed: HashSet::new() };
        for (index, event) in events.into_iter().enumerate() {
            let altered = |what| LedgerError::Altered { path: path.to_owned(), line: index as u64 + 1, what };
            match event {
                Event::Opened(filter) if index == 0 && filter.budget().is_ok() => ledger.filter = Some(filter),
                Event::Opened(_) => return Err(altered("it is no first line with a ceiling")),
                Event::Reserved(entry) => {
                    entry.rounds().check().map_err(|_| altered("its values break the accountant's rules"))?;
                    if !ledger.names.insert(entry.name()) {
                        return Err(altered("it reserves a round twice"));
                    }
                    ledger.entries.push(entry);
                }
                Event::Confirmed { federation, round, attempt, kind } => {
                    let name = (federation, round, attempt, kind);
                    if !ledger.names.contains(&name) || !ledger.confirmed.insert(name) {
                        return Err(altered("it confirms what is not open"));
                    }
                }
            }
        }
        Ok(ledger)
    }

    /// Fixes the ceiling of a new ledger, as its first line; or checks that the ledger has this ceiling at this delta. The
    /// order stays the one of the first line.
    ///
    /// # Errors
    /// [`LedgerError::OtherFilter`], [`LedgerError::NoFilter`], or `Io` / `Broken`.
    pub fn adopt(&mut self, filter: Filter) -> Result<(), LedgerError> {
        let path = || self.chain.path().to_owned();
        match self.filter {
            Some(own) if own.ceiling() == filter.ceiling() && own.delta() == filter.delta() => return Ok(()),
            Some(own) => {
                return Err(LedgerError::OtherFilter {
                    path: path(),
                    ceiling: own.ceiling(),
                    delta: own.delta(),
                    asked: filter.ceiling(),
                    asked_delta: filter.delta(),
                });
            }
            None if !self.entries.is_empty() => return Err(LedgerError::NoFilter { path: path() }),
            None => {}
        }
        self.chain.append(&Event::Opened(filter))?;
        self.filter = Some(filter);
        Ok(())
    }

    /// The ceiling that was fixed, if one was.
    pub fn filter(&self) -> Option<&Filter> {
        self.filter.as_ref()
    }

    /// Reserves a round: when this returns, it is on the disk and counts as spent.
    ///
    /// # Errors
    /// [`LedgerError::Ceiling`], [`LedgerError::AlreadyReserved`] (a second reservation is refused, even of an equal entry:
    /// the first may have been trained), a broken rule of the accountant, or `Io` / `Broken`: then do not train.
    pub fn reserve(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        self.check_new(entry)?;
        self.check(entry)?;
        self.chain.append(&Event::Reserved(entry.clone()))?;
        self.names.insert(entry.name());
        self.entries.push(entry.clone());
        Ok(())
    }

    /// Notes, before it is submitted, that the reserved round leaves: from then on nothing else may be released under this
    /// reservation. It changes nothing in what is spent. Confirming twice is harmless.
    ///
    /// # Errors
    /// [`LedgerError::NotReserved`], `Io`, `Broken`.
    pub fn confirm(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        let name = entry.name();
        if !self.names.contains(&name) {
            return Err(LedgerError::NotReserved { round: entry.round, attempt: entry.attempt });
        }
        if self.confirmed.contains(&name) {
            return Ok(());
        }
        let (federation, round, attempt, kind) = name;
        self.chain.append(&Event::Confirmed { federation, round, attempt, kind })?;
        self.confirmed.insert(name);
        Ok(())
    }

    /// Epsilon spent so far, at `delta`, over every federation whose rounds were reserved in this ledger.
    ///
    /// # Errors
    /// [`LedgerError::Accountant`].
    pub fn epsilon(&self, delta: f64) -> Result<Epsilon, LedgerError> {
        Ok(accountant::epsilon(&self.spent(None), delta)?)
    }

    /// Epsilon if `entry` were reserved too.
    ///
    /// # Errors
    /// [`LedgerError::Accountant`].
    pub fn epsilon_with(&self, entry: &Entry, delta: f64) -> Result<Epsilon, LedgerError> {
        Ok(accountant::epsilon(&self.spent(Some(entry)), delta)?)
    }

    /// Whether `entry` still fits below the ceiling, by the filter's order; always, where no ceiling was fixed.
    ///
    /// # Errors
    /// [`LedgerError::Ceiling`], or a broken rule of the accountant.
    pub fn check(&self, entry: &Entry) -> Result<(), LedgerError> {
        let Some(filter) = &self.filter else { return Ok(()) };
        let mut divergence = 0.0;
        for rounds in self.spent(Some(entry)) {
            divergence += accountant::renyi(&rounds, filter.order())?;
        }
        let (ceiling, delta, order) = (filter.ceiling(), filter.delta(), filter.order());
        if divergence <= filter.budget()? {
            return Ok(());
        }
        let would_be = accountant::epsilon_of_renyi(divergence, order, delta)?;
        Err(LedgerError::Ceiling { would_be, ceiling, delta, order })
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

    /// Whether this ledger once stood at `head`, so that it is the same ledger or a later one.
    pub fn includes(&self, head: &Head) -> bool {
        self.chain.includes(head)
    }

    fn check_new(&self, entry: &Entry) -> Result<(), LedgerError> {
        entry.rounds().check()?;
        if self.is_reserved(entry) {
            return Err(LedgerError::AlreadyReserved { round: entry.round, attempt: entry.attempt });
        }
        Ok(())
    }

    /// The entries with equal ones put together: a charter's rounds are mostly equal, and the accountant takes each once.
    fn spent(&self, extra: Option<&Entry>) -> Vec<Rounds> {
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
