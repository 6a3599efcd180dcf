//! Texts as tokens, in memory up to a bound and beyond it in a file without a name.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use lora::Encoded;

use crate::{DataError, TrainError};

const TOKEN_BYTES: usize = size_of::<u32>();
/// Tokens that are written to the file at once.
const BLOCK_TOKENS: usize = 1 << 18;

/// Texts as token ids, in the order in which they were added. A text costs 8 bytes and 4 a token.
///
/// Those that find no room any more are written, as numbers of four bytes, to a file that has no name from the start, so that nobody else can open it and
/// nothing is left of it after a crash; only this user could read it.
#[derive(Debug)]
pub struct Texts {
    /// Where each text ends, in tokens from the start of all.
    ends: Vec<u64>,
    /// The first texts.
    memory: Vec<u32>,
    /// Tokens that `memory` may hold.
    room: usize,
    /// Where the file is made.
    folder: PathBuf,
    /// The texts after those in memory.
    disk: Option<Disk>,
}

#[derive(Debug)]
struct Disk {
    /// Its position is nobody's: each access seeks.
    file: Mutex<File>,
    /// Tokens in it.
    written: u64,
    /// The last texts, not in it yet.
    block: Vec<u32>,
}

impl Default for Texts {
    fn default() -> Self {
        Self { ends: Vec::new(), memory: Vec::new(), room: usize::MAX, folder: PathBuf::new(), disk: None }
    }
}

impl FromIterator<Encoded> for Texts {
    fn from_iter<I: IntoIterator<Item = Encoded>>(texts: I) -> Self {
        let mut all = Self::default();
        for text in texts {
            all.memory.extend_from_slice(&text.ids);
            all.ends.push(all.memory.len() as u64);
        }
        all
    }
}

impl From<Vec<Encoded>> for Texts {
    fn from(texts: Vec<Encoded>) -> Self {
        texts.into_iter().collect()
    }
}

impl Texts {
    /// No texts yet. Up to `bytes` of tokens lie in memory, the others in a file that is made in `folder` once it is needed.
    #[must_use]
    pub fn within(bytes: usize, folder: &Path) -> Self {
        Self { room: bytes / TOKEN_BYTES, folder: folder.to_owned(), ..Self::default() }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// [`DataError::Scratch`]: the file cannot be made or written.
    pub fn push(&mut self, text: &Encoded) -> Result<(), DataError> {
        if self.disk.is_none() && self.memory.len().saturating_add(text.ids.len()) > self.room {
            let file = tempfile::tempfile_in(&self.folder).map_err(|source| self.failed(source))?;
            tracing::info!(folder = %self.folder.display(), "the tokens of this data lie in a temporary file from here on");
            self.disk = Some(Disk { file: Mutex::new(file), written: 0, block: Vec::new() });
        }
        let folder = &self.folder;
        match &mut self.disk {
            None => self.memory.extend_from_slice(&text.ids),
            Some(disk) => {
                disk.push(&text.ids).map_err(|source| DataError::Scratch { folder: folder.clone(), source })?
            }
        }
        self.ends.push(self.ends.last().copied().unwrap_or(0) + text.ids.len() as u64);
        Ok(())
    }

    /// A text.
    ///
    /// # Errors
    /// [`TrainError::NoRow`], or [`DataError::Scratch`]: the file cannot be read.
    pub fn get(&self, row: usize) -> Result<Encoded, TrainError> {
        let end = *self.ends.get(row).ok_or(TrainError::NoRow(row))?;
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        let (in_memory, range) = (self.memory.len() as u64, start as usize..end as usize);
        let ids = match &self.disk {
            Some(disk) if end > in_memory => {
                disk.get(start - in_memory, range.len()).map_err(|source| self.failed(source))?
            }
            _ => self.memory.get(range).ok_or(TrainError::NoRow(row))?.to_vec(),
        };
        Ok(Encoded { ids })
    }

    /// How many texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn failed(&self, source: io::Error) -> DataError {
        DataError::Scratch { folder: self.folder.clone(), source }
    }
}

impl Disk {
    fn push(&mut self, ids: &[u32]) -> io::Result<()> {
        self.block.extend_from_slice(ids);
        if self.block.len() >= BLOCK_TOKENS {
            let bytes: Vec<u8> = self.block.iter().flat_map(|id| id.to_le_bytes()).collect();
            let file = self.file.get_mut().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.written * TOKEN_BYTES as u64))?;
            file.write_all(&bytes)?;
            self.written += self.block.len() as u64;
            self.block.clear();
        }
        Ok(())
    }

    /// `count` tokens of one text, which begins at `start`. Blocks hold whole texts.
    fn get(&self, start: u64, count: usize) -> io::Result<Vec<u32>> {
        if let Some(start) = start.checked_sub(self.written) {
            let start = start as usize;
            return self
                .block
                .get(start..start + count)
                .map(<[u32]>::to_vec)
                .ok_or(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; count * TOKEN_BYTES];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start * TOKEN_BYTES as u64))?;
        file.read_exact(&mut bytes)?;
        let (tokens, _) = bytes.as_chunks::<TOKEN_BYTES>();
        Ok(tokens.iter().map(|token| u32::from_le_bytes(*token)).collect())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Beside a vector; some texts in memory, some in the file, some not written yet.
        #[test]
        fn texts_come_back_wherever_they_lie(
            lengths in proptest::collection::vec(prop_oneof![0usize..40, 90_000usize..200_000], 1..12), room in 0usize..300_000,
            order in any::<proptest::sample::Index>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let wanted: Vec<Encoded> =
                lengths.iter().enumerate().map(|(i, length)| Encoded { ids: (0..*length as u32).map(|j| j ^ (i as u32) << 20).collect() }).collect();
            let mut texts = Texts::within(room * TOKEN_BYTES, dir.path());
            for (count, text) in wanted.iter().enumerate() {
                texts.push(text).unwrap();
                let asked = order.index(count + 1);
                prop_assert_eq!(&texts.get(asked).unwrap(), &wanted[asked]);
            }
            for (row, text) in wanted.iter().enumerate().rev() {
                prop_assert_eq!(&texts.get(row).unwrap(), text);
            }
            prop_assert_eq!(texts.len(), wanted.len());
            prop_assert!(matches!(texts.get(wanted.len()), Err(TrainError::NoRow(_))));
            // Nobody sees the file.
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_named() {
        let mut texts = Texts::within(8, Path::new("/nowhere/at/all"));
        let text = Encoded { ids: vec![1, 2] };
        texts.push(&text).unwrap();
        let error = texts.push(&text).unwrap_err();
        assert!(matches!(error, DataError::Scratch { .. }) && error.to_string().contains("/nowhere/at/all"), "{error}");
        assert_eq!((texts.get(0).unwrap(), texts.len()), (text, 1));
    }
}
