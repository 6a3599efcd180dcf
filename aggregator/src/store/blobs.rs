//! Large bodies, outside the database: each under the SHA-256 of its bytes, written once, flushed before it counts.

use std::fmt::Write as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use protocol::Digest;

use super::transition::{Crash, Moment, Transition};

/// Where bodies are kept: any store of the `object_store` crate that can put-if-absent.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    folder: PathBuf,
    crash: Crash,
}

/// A family of blobs that live and go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Ciphertext runs and sealed shares of one attempt, by its announcement; gone when the attempt is over.
    Attempt(Digest),
    /// Sums and final states; kept.
    Kept,
}

impl Shelf {
    fn path(self) -> String {
        match self {
            Self::Attempt(announcement) => format!("attempts/{announcement}"),
            Self::Kept => "kept".to_owned(),
        }
    }

    fn place(self, digest: &Digest) -> Path {
        let mut path = self.path();
        // Writing to a string cannot fail.
        let _ = write!(path, "/{digest}");
        Path::from(path)
    }
}

/// Why a blob could not be written or read: a failure, never a peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The folder cannot be made or opened.
    #[error("{}: cannot keep blobs there ({source})", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store failed; a full disk shows up here.
    #[error("the blob store failed: {0}")]
    Store(#[from] object_store::Error),
    /// The bytes are not those that were written.
    #[error("blob {0} is damaged: its bytes have another digest; restore it from a backup")]
    Damaged(Digest),
}

impl Blobs {
    /// Blobs under a folder of the local disk, every write flushed to it.
    ///
    /// # Errors
    /// [`BlobError::Folder`] when the folder cannot be made.
    pub fn open(folder: &FilePath) -> Result<Self, BlobError> {
        let failed = |source| BlobError::Folder { path: folder.to_path_buf(), source };
        super::private_dir(folder).map_err(|error| failed(Box::new(error)))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(Box::new(error)))?;
        Ok(Self { store: Arc::new(store.with_fsync(true)), folder: folder.to_path_buf(), crash: Crash::default() })
    }

    /// Bytes that the disk has left, and of `limit` the folder that these are in.
    pub(super) fn room(&self, limit: Option<u64>) -> Result<u64, BlobError> {
        let failed = |source: std::io::Error| BlobError::Folder { path: self.folder.clone(), source: Box::new(source) };
        let disk = rustix::fs::statvfs(&self.folder).map_err(|errno| failed(errno.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let Some(limit) = limit else { return Ok(free) };
        let held = held(self.folder.parent().unwrap_or(&self.folder)).map_err(failed)?;
        Ok(free.min(limit.saturating_sub(held)))
    }

    pub(super) fn with_crash(self, crash: Crash) -> Self {
        Self { crash, ..self }
    }

    /// Keeps `bytes` and returns their digest; putting the same bytes again changes nothing.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn put(&self, shelf: Shelf, bytes: Bytes) -> Result<Digest, BlobError> {
        let digest = Digest::sha256(&bytes);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let transition = Transition::Put(shelf.into());
        self.crash.at(transition, Moment::Before);
        let place = shelf.place(&digest);
        match self.store.put_opts(&place, PutPayload::from_bytes(bytes.clone()), options).await {
            Ok(_) => {}
            Err(object_store::Error::AlreadyExists { .. }) => {
                // What is there must be what was put: a damaged one is put right.
                if self.get(shelf, &digest).await.is_err() {
                    self.store.put(&place, PutPayload::from_bytes(bytes)).await?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.crash.at(transition, Moment::After);
        Ok(digest)
    }

    /// The bytes with this digest, checked against it.
    ///
    /// # Errors
    /// [`BlobError::Store`] when they are missing, [`BlobError::Damaged`] when they changed.
    pub async fn get(&self, shelf: Shelf, digest: &Digest) -> Result<Bytes, BlobError> {
        let bytes = self.store.get(&shelf.place(digest)).await?.bytes().await?;
        if Digest::sha256(&bytes) == *digest { Ok(bytes) } else { Err(BlobError::Damaged(*digest)) }
    }

    /// Removes one blob that nothing speaks of any more. Ends without an error when there is none.
    ///
    /// # Errors
    /// [`BlobError::Store`].
    pub async fn remove(&self, shelf: Shelf, digest: &Digest) -> Result<(), BlobError> {
        match self.store.delete(&shelf.place(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all blobs of a finished attempt. Ends without an error when there are none.
    ///
    /// # Errors
    /// [`BlobError::Folder`].
    pub async fn clear(&self, announcement: &Digest) -> Result<(), BlobError> {
        let folder = self.folder.join(Shelf::Attempt(*announcement).path());
        if !folder.exists() {
            return Ok(());
        }
        self.crash.at(Transition::Clear, Moment::Before);
        // All of the folder: what a crash in the middle of a write left is in no listing of blobs.
        let removed = tokio::fs::remove_dir_all(&folder).await;
        removed.map_err(|source| BlobError::Folder { path: folder, source: Box::new(source) })?;
        self.crash.at(Transition::Clear, Moment::After);
        Ok(())
    }
}

/// Bytes of all files below `folder`; what goes away meanwhile does not count.
fn held(folder: &FilePath) -> std::io::Result<u64> {
    let gone = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(found) if found.is_dir() => held(&entry.path())?,
            Ok(found) => found.len(),
            Err(error) if gone(&error) => 0,
            Err(error) => return Err(error),
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn blobs_come_back_by_digest_and_a_flipped_byte_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let attempt = Shelf::Attempt(Digest::sha256(b"announcement"));
        let digest = blobs.put(attempt, Bytes::from_static(b"body")).await.unwrap();
        assert_eq!(digest, blobs.put(attempt, Bytes::from_static(b"body")).await.unwrap());
        assert_eq!(&blobs.get(attempt, &digest).await.unwrap()[..], b"body");
        assert!(blobs.get(Shelf::Kept, &digest).await.is_err());

        let file = dir.path().join(format!("{}/{digest}", attempt.path()));
        std::fs::write(&file, b"bodz").unwrap();
        assert!(matches!(blobs.get(attempt, &digest).await, Err(BlobError::Damaged(found)) if found == digest));
    }

    #[tokio::test]
    async fn clearing_an_attempt_leaves_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path()).unwrap();
        let (one, two) = (Digest::sha256(b"1"), Digest::sha256(b"2"));
        let gone = blobs.put(Shelf::Attempt(one), Bytes::from_static(b"x")).await.unwrap();
        let kept = blobs.put(Shelf::Attempt(two), Bytes::from_static(b"x")).await.unwrap();
        blobs.clear(&one).await.unwrap();
        blobs.clear(&one).await.unwrap();
        assert!(blobs.get(Shelf::Attempt(one), &gone).await.is_err());
        assert!(blobs.get(Shelf::Attempt(two), &kept).await.is_ok());
    }
}
