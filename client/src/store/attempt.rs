//! One attempt's contribution, byte for byte as it was or will be sent.

use std::io;
use std::path::PathBuf;

use super::{MAX_BYTES, StoreError};
use crate::crash::{Crash, Kept};
use crate::files::{self, Named as _};

/// One attempt's files.
#[derive(Debug, Clone)]
pub struct AttemptStore {
    dir: PathBuf,
    crash: Crash,
}

/// Where a ciphertext lies: it may be larger than what should be held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBody {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
}

/// A part of a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The ciphertext.
    Body,
    /// The key shares, sealed.
    SealedShares,
    /// The signed manifest. Kept last: with it the contribution is whole.
    Manifest,
}

impl Part {
    fn file(self) -> (&'static str, Kept) {
        match self {
            Self::Body => ("body", Kept::Body),
            Self::SealedShares => ("sealed", Kept::SealedShares),
            Self::Manifest => ("manifest", Kept::Manifest),
        }
    }
}

impl AttemptStore {
    pub(super) fn new(dir: PathBuf, crash: Crash) -> Self {
        Self { dir, crash }
    }

    /// A part of the contribution, where it is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(&self, part: Part) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(files::read(&self.dir.join(part.file().0), MAX_BYTES)?)
    }

    /// Where the ciphertext is, where it is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn body(&self) -> Result<Option<KeptBody>, StoreError> {
        let path = self.dir.join(Part::Body.file().0);
        match std::fs::metadata(&path) {
            Ok(found) => Ok(Some(KeptBody { path, bytes: found.len() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(Err(error).at(&path)?),
        }
    }

    /// Keeps a part of the contribution.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
        let (name, kept) = part.file();
        self.crash.keep(kept, || Ok(files::write(&self.dir.join(name), bytes)?))
    }
}
