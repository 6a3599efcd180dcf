//! What a house has spent: an append-only, hash-chained file, written before the data is touched.
//!
//! ```text
//! reserve_within(entry, ceiling)  ->  train, clip, noise, encrypt  ->  confirm  ->  submit
//! ```
//!
//! A reservation counts as spent from the moment it is durable, whether it is confirmed or not: a crash costs its round.
//! The file is fsynced before `reserve` returns, file and directory when the ledger is opened. A last line without its
//! newline was never acknowledged: it is completed if it is whole and valid, else cut off. Any other line that is not
//! what was written is an error that names it. Lines cut off at the end, or an old copy put back, keep the chain intact:
//! compare with a [`Head`] kept elsewhere by [`Ledger::includes`]. One process at a time: the file is locked.

mod chain;
mod entry;

use crate::accountant::{self, AccountantError, Epsilon, Rounds};
use chain::Chain;
pub use chain::Head;
pub use entry::{Entry, Kind};
use entry::{Event, Name};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// The privacy ledger of one data set in one house.
#[derive(Debug)]
pub struct Ledger {
    chain: Chain,
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
    #[error("epsilon would be {would_be:.4} at delta {delta:e}, past this house's ceiling of {ceiling}")]
    Ceiling {
        /// Epsilon with this round.
        would_be: f64,
        /// The ceiling.
        ceiling: f64,
        /// Delta of both.
        delta: f64,
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
        let mut ledger = Self { chain, entries: Vec::new(), names: HashSet::new(), confirmed: HashSet::new() };
        for (index, event) in events.into_iter().enumerate() {
            let altered = |what| LedgerError::Altered { path: path.to_owned(), line: index as u64 + 1, what };
            match event {
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

    /// Reserves a round: when this returns, it is on the disk and counts as spent. No ceiling is looked at.
    ///
    /// # Errors
    /// [`LedgerError::AlreadyReserved`] (a second reservation is refused, even of an equal entry: the first may have
    /// been trained), a broken rule of the accountant, or `Io` / `Broken`: then do not train.
    pub fn reserve(&mut self, entry: &Entry) -> Result<(), LedgerError> {
        self.check_new(entry)?;
        self.chain.append(&Event::Reserved(entry.clone()))?;
        self.names.insert(entry.name());
        self.entries.push(entry.clone());
        Ok(())
    }

    /// [`Ledger::check_ceiling`], then [`Ledger::reserve`]. Returns epsilon with this round.
    ///
    /// # Errors
    /// Of both.
    pub fn reserve_within(&mut self, entry: &Entry, ceiling: f64, delta: f64) -> Result<Epsilon, LedgerError> {
        self.check_new(entry)?;
        let spent = self.check_ceiling(entry, ceiling, delta)?;
        self.reserve(entry)?;
        Ok(spent)
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

    /// Whether `entry` still fits: returns epsilon with it.
    ///
    /// # Errors
    /// [`LedgerError::Ceiling`], or a broken rule of the accountant (a ceiling that is no positive number among them).
    pub fn check_ceiling(&self, entry: &Entry, ceiling: f64, delta: f64) -> Result<Epsilon, LedgerError> {
        if !(ceiling > 0.0 && ceiling.is_finite()) {
            return Err(AccountantError::Epsilon(ceiling).into());
        }
        let spent = self.epsilon_with(entry, delta)?;
        if spent.epsilon > ceiling {
            return Err(LedgerError::Ceiling { would_be: spent.epsilon, ceiling, delta });
        }
        Ok(spent)
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
