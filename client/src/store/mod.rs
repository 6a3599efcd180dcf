//! What a client must not forget, in small files that are flushed before anything is done on their strength.
//!
//! ```text
//! state/lock            one process at a time
//! state/roster          the pinned roster
//! state/memory          what this member promised and knows (`protocol::client::Memory`)
//! state/adapter         the adapter state that the memory names
//! state/candidate       the state that the round under way came to, until t houses signed it
//! state/metrics         what opened sums said of held-out units, for people
//! state/handled         the last event of an attempt that is over
//! state/standing        whether the house takes part (`standing`), which other processes write
//! state/keys/SEQUENCE   one-time keys; each erased with its attempt
//! state/rounds/R-A/     one attempt's contribution, byte for byte as it was or will be sent
//! ```
//!
//! Roster, memory, metrics, numbers and the ledger's head end with their SHA-256: a promise that a disk has changed is no promise. States, keys and contributions
//! are known by digests and signatures elsewhere.

mod attempt;
mod metrics;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use protocol::client::Memory;
use protocol::{Attempt, Digest, Message, Roster, RoundNumber};
use rand::CryptoRng;
use secure_sum::SealingKey;

pub use attempt::{AttemptStore, KeptBody, Part};
pub use metrics::peek_metrics;

use crate::crash::{Crash, Kept, Stopped};
use crate::files::{self, FileError, Named as _};
use crate::sealing;

/// Larger than any adapter state, contribution or roster of ours.
const MAX_BYTES: usize = 1 << 31;
const KEYS: &str = "keys";

/// The open, locked store of one client.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    crash: Crash,
    _lock: File,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A test.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Another process has it open.
    #[error("{} is in use by another plainchant-client", .0.display())]
    InUse(PathBuf),
    /// A file holds something else.
    #[error("{}: {reason}. Do not put an older copy back: it would have forgotten promises and spent epsilon. \
             Keep the directory as it is and ask the model builder for a new invitation", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Which adapter state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The one that the next round starts from.
    Adapter,
    /// What the round under way came to.
    Candidate,
}

impl Slot {
    fn file(self) -> (&'static str, Kept) {
        match self {
            Self::Adapter => ("adapter", Kept::Adapter),
            Self::Candidate => ("candidate", Kept::Candidate),
        }
    }
}

/// A kept one-time key.
pub struct KeptKey {
    /// Its place in this member's sequence.
    pub sequence: u64,
    /// The key.
    pub key: SealingKey,
}

impl Store {
    /// Opens the store in `dir`, making it first where there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let dir = dir.join("state");
        files::create_dir(&dir.join(KEYS))?;
        files::create_dir(&dir.join("rounds"))?;
        let path = dir.join("lock");
        let lock = files::open_lock(&path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { dir, crash: Crash::default(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir)),
            Err(TryLockError::Error(source)) => Err(FileError { path, source }.into()),
        }
    }

    /// A test may end the member at what it keeps.
    pub(crate) fn set_crash(&mut self, crash: Crash) {
        self.crash = crash;
    }

    fn put(&self, kept: Kept, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.crash.keep(kept, || Ok(files::write(&self.dir.join(name), bytes)?))
    }

    /// As [`Self::put`], with its digest behind it.
    fn put_whole(&self, kept: Kept, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put(kept, name, &[bytes, Digest::sha256(bytes).as_bytes()].concat())
    }

    /// Bytes that its disk has left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn room(&self) -> Result<u64, StoreError> {
        Ok(files::room(&self.dir)?)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The digest of the ledger's last line when this house last sent something.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn ledger_head(&self) -> Result<Option<Digest>, StoreError> {
        let path = self.dir.join("ledger-head");
        let Some(bytes) = whole(&path)? else { return Ok(None) };
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| malformed(&path, "not 32 bytes"))?;
        Ok(Some(Digest::from_bytes(bytes)))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_ledger_head(&self, head: &Digest) -> Result<(), StoreError> {
        self.put_whole(Kept::LedgerHead, "ledger-head", head.as_bytes())
    }

    /// The pinned roster.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn roster(&self) -> Result<Option<Roster>, StoreError> {
        message(&self.dir, "roster")
    }

    /// Pins the roster, for good.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pin_roster(&self, roster: &Roster) -> Result<(), StoreError> {
        self.put_whole(Kept::Roster, "roster", &roster.to_bytes())
    }

    /// What this member promised and knows.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn memory(&self) -> Result<Option<Memory>, StoreError> {
        message(&self.dir, "memory")
    }

    /// Replaces the memory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_memory(&self, memory: &Memory) -> Result<(), StoreError> {
        self.put_whole(Kept::Memory, "memory", &memory.to_bytes())
    }

    /// The bytes of an adapter state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn state(&self, slot: Slot) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(files::read(&self.dir.join(slot.file().0), MAX_BYTES)?)
    }

    /// Keeps an adapter state.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_state(&self, slot: Slot, bytes: &[u8]) -> Result<(), StoreError> {
        let (name, kept) = slot.file();
        self.put(kept, name, bytes)
    }

    /// The last event of an attempt that is over; 0 for none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn handled(&self) -> Result<u64, StoreError> {
        self.number("handled")
    }

    /// Events up to `sequence` need no second look.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_handled(&self, sequence: u64) -> Result<(), StoreError> {
        self.put_whole(Kept::Handled, "handled", &sequence.to_be_bytes())
    }

    /// Makes `count` one-time keys, durable before their public halves leave. No sequence number is used twice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add_keys<R: CryptoRng>(&self, count: usize, rng: &mut R) -> Result<Vec<KeptKey>, StoreError> {
        let first = self.number("next-key")?;
        self.put_whole(Kept::NextKey, "next-key", &(first + count as u64).to_be_bytes())?;
        (first..)
            .take(count)
            .map(|sequence| {
                let key = SealingKey::generate(rng);
                let secret = sealing::to_secret(&key);
                self.put(Kept::OneTimeKey, &format!("{KEYS}/{sequence}"), secret.as_slice())?;
                Ok(KeptKey { sequence, key })
            })
            .collect()
    }

    /// The key with this sequence number, unless it was erased.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn key(&self, sequence: u64) -> Result<Option<SealingKey>, StoreError> {
        let path = self.key_path(sequence);
        let Some(secret) = files::read_secret(&path)? else { return Ok(None) };
        sealing::from_secret(&secret).map(Some).map_err(|e| malformed(&path, e))
    }

    /// Erases the keys up to `sequence`: the aggregator uses a member's keys in their order, so the ones before it are
    /// never used either.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn erase_keys(&self, sequence: u64) -> Result<(), StoreError> {
        let keys = self.dir.join(KEYS);
        self.crash.keep(Kept::Erasure, || {
            for entry in fs::read_dir(&keys).at(&keys)? {
                let path = entry.at(&keys)?.path();
                let number = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<u64>().ok());
                if number.is_some_and(|number| number <= sequence) {
                    files::erase(&path)?;
                }
            }
            Ok(())
        })
    }

    /// The files of an attempt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attempt(&self, round: RoundNumber, attempt: Attempt) -> Result<AttemptStore, StoreError> {
        let dir = self.dir.join("rounds").join(format!("{round}-{attempt}"));
        files::create_dir(&dir)?;
        Ok(AttemptStore::new(dir, self.crash.clone()))
    }

    /// Removes the files of attempts of rounds before `round`; what they proved is in the adapter and the ledger.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn forget_before(&self, round: u32) -> Result<(), StoreError> {
        let rounds = self.dir.join("rounds");
        self.crash.keep(Kept::Forgetting, || {
            for entry in fs::read_dir(&rounds).at(&rounds)? {
                let path = entry.at(&rounds)?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let number = name.split('-').next().and_then(|number| number.parse::<u32>().ok());
                if number.is_some_and(|number| number < round) {
                    fs::remove_dir_all(&path).at(&path)?;
                }
            }
            Ok(())
        })
    }

    /// Erases what a house that leaves must not use any more: every one-time key, and contributions that were not sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn withdraw(&self) -> Result<(), StoreError> {
        self.erase_keys(u64::MAX)?;
        self.forget_before(u32::MAX)
    }

    fn key_path(&self, sequence: u64) -> PathBuf {
        self.dir.join(KEYS).join(sequence.to_string())
    }

    fn number(&self, name: &str) -> Result<u64, StoreError> {
        let path = self.dir.join(name);
        let Some(bytes) = whole(&path)? else { return Ok(0) };
        let bytes: [u8; 8] = bytes.as_slice().try_into().map_err(|_| malformed(&path, "is no number"))?;
        Ok(u64::from_be_bytes(bytes))
    }
}

/// The memory of the client in `dir`, whether it runs or not: files are replaced whole.
///
/// # Errors
/// [`StoreError`].
pub fn peek_memory(dir: &Path) -> Result<Option<Memory>, StoreError> {
    message(&dir.join("state"), "memory")
}

/// The pinned roster of the client in `dir`, whether it runs or not.
///
/// # Errors
/// [`StoreError`].
pub fn peek_roster(dir: &Path) -> Result<Option<Roster>, StoreError> {
    message(&dir.join("state"), "roster")
}

/// A message that is kept in the folder `state`.
fn message<T: Message>(state: &Path, name: &str) -> Result<Option<T>, StoreError> {
    let path = state.join(name);
    let Some(bytes) = whole(&path)? else { return Ok(None) };
    T::from_bytes(&bytes).map(Some).map_err(|e| malformed(&path, e))
}

/// What [`Store::put_whole`] wrote.
fn whole(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(mut bytes) = files::read(path, MAX_BYTES)? else { return Ok(None) };
    match bytes.split_last_chunk::<32>() {
        Some((body, digest)) if Digest::sha256(body).as_bytes() == digest => {
            bytes.truncate(bytes.len() - 32);
            Ok(Some(bytes))
        }
        _ => Err(malformed(path, "its bytes are not those that were written")),
    }
}

fn malformed(path: &Path, reason: impl ToString) -> StoreError {
    StoreError::Malformed { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn everything_is_there_after_opening_again_and_only_one_process_may() {
        let dir = tempfile::tempdir().unwrap();
        let (round, attempt) = (RoundNumber::new(3).unwrap(), Attempt::FIRST);
        let store = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse(_))));
        store.put_state(Slot::Adapter, b"state").unwrap();
        store.put_handled(77).unwrap();
        let memory = Memory::new(Digest::sha256(b"first"));
        store.put_memory(&memory).unwrap();
        store.attempt(round, attempt).unwrap().put(Part::Body, b"bytes").unwrap();
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.state(Slot::Adapter).unwrap().unwrap(), b"state");
        assert!(store.state(Slot::Candidate).unwrap().is_none());
        assert_eq!((store.handled().unwrap(), store.memory().unwrap().unwrap()), (77, memory));
        let files = store.attempt(round, attempt).unwrap();
        assert_eq!(files.get(Part::Body).unwrap().unwrap(), b"bytes");
        let body = files.body().unwrap().unwrap();
        assert_eq!((fs::read(body.path).unwrap().as_slice(), body.bytes), (b"bytes".as_slice(), 5));
        store.forget_before(4).unwrap();
        assert!(store.attempt(round, attempt).unwrap().get(Part::Body).unwrap().is_none());
    }

    #[test]
    fn a_promise_with_any_bit_changed_or_any_byte_missing_is_refused_by_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.put_memory(&Memory::new(Digest::sha256(b"first"))).unwrap();
        store.put_handled(77).unwrap();
        for (name, read) in [
            ("memory", (|store| store.memory().map(drop)) as fn(&Store) -> Result<(), StoreError>),
            ("handled", |store| store.handled().map(drop)),
        ] {
            let path = store.dir().join(name);
            let written = fs::read(&path).unwrap();
            let flipped = (0..written.len() * 8).map(|bit| {
                let mut bytes = written.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                bytes
            });
            for bytes in flipped.chain((0..written.len()).map(|length| written[..length].to_vec())) {
                fs::write(&path, bytes).unwrap();
                let refused = read(&store).unwrap_err();
                assert!(matches!(&refused, StoreError::Malformed { path: named, .. } if *named == path), "{refused}");
            }
            fs::write(&path, written).unwrap();
            read(&store).unwrap();
        }
    }

    #[test]
    fn an_erased_key_is_gone_and_its_number_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let keys = store.add_keys(3, &mut rand::rng()).unwrap();
        assert_eq!(keys.iter().map(|key| key.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        let kept = store.key(2).unwrap().unwrap();
        assert_eq!(sealing::public(&kept), sealing::public(&keys[2].key));
        store.erase_keys(1).unwrap();
        assert!(store.key(0).unwrap().is_none() && store.key(1).unwrap().is_none() && store.key(2).unwrap().is_some());
        store.erase_keys(9).unwrap();
        assert_eq!(store.add_keys(1, &mut rand::rng()).unwrap()[0].sequence, 3);
    }
}
