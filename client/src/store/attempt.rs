//! One attempt's contribution, byte for byte as it was or will be sent.

use std::path::PathBuf;

use super::{MAX_BYTES, StoreError};
use crate::crash::{Crash, Kept};
use crate::files;

/// One attempt's files.
#[derive(Debug, Clone)]
pub struct AttemptStore {
    dir: PathBuf,
    crash: Crash,
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

    /// Keeps a part of the contribution.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
        let (name, kept) = part.file();
        self.crash.keep(kept, || Ok(files::write(&self.dir.join(name), bytes)?))
    }
}
