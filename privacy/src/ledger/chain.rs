//! The file: lines of JSON, each holding the digest of the line before it.

use super::{
    LedgerError,
    entry::{Event, digest},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Longest line: ours have about 600 bytes.
const LONGEST_LINE: usize = 4096;
/// Longest file: half a million rounds.
const LONGEST_FILE: u64 = 512 << 20;
/// First input of every line's digest.
const LABEL: &[u8] = b"plainchant ledger line v1\n";

/// Where a ledger stands: how many lines it has and the last one's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Lines so far.
    pub lines: u64,
    /// Digest of the last line; zeros for none.
    pub digest: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    line: u64,
    event: Event,
    #[serde(with = "digest")]
    previous: [u8; 32],
    #[serde(with = "digest")]
    digest: [u8; 32],
}

/// The open file, how much of it is known, and the digest of each of its lines. It is locked only during an operation, so
/// that several processes can spend from one ledger.
#[derive(Debug)]
pub(crate) struct Chain {
    file: File,
    path: PathBuf,
    /// Bytes that were verified.
    known: u64,
    digests: Vec<[u8; 32]>,
    /// A write or a reading failed half way: what is known is not what is on the disk until the file is opened again.
    broken: bool,
}

/// Opens the file, or makes one that its owner only reads. One that root makes in a folder of somebody else's is that one's, who could not write it else.
fn open(path: &Path, directory: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    let mut new = options.clone();
    new.create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut new, 0o600);
    let made = match new.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return options.open(path),
        other => other?,
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, fchown};
        let owner = std::fs::metadata(directory)?;
        if made.metadata()?.uid() == 0 && owner.uid() != 0 {
            fchown(&made, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(made)
}

impl Chain {
    /// Opens or creates; nothing is read yet.
    pub(crate) fn open(path: &Path) -> Result<Self, LedgerError> {
        let io = |error| LedgerError::Io { path: path.to_owned(), error };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = open(path, directory).map_err(io)?;
        // The file's name must survive a crash as well as its content.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(Self { file, path: path.to_owned(), known: 0, digests: Vec::new(), broken: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn head(&self) -> Head {
        Head { lines: self.digests.len() as u64, digest: self.last() }
    }

    pub(crate) fn includes(&self, digest: &[u8; 32]) -> bool {
        *digest == [0; 32] || self.digests.contains(digest)
    }

    /// Locks the file, waiting for who holds it, and gives what others wrote since; verifies it, and repairs a torn last line.
    pub(crate) fn lock(&mut self) -> Result<Vec<Event>, LedgerError> {
        self.file.lock().map_err(|error| self.io(error))?;
        let events = self.catch_up();
        if events.is_err() {
            // Lines before the wrong one were read and are not in what was given: going on would forget them.
            self.spoil();
            self.unlock();
        }
        events
    }

    /// Refuses everything until the file is opened again.
    pub(crate) fn spoil(&mut self) {
        self.broken = true;
    }

    /// Lets others at it.
    pub(crate) fn unlock(&self) {
        // The lock also ends with the file; nothing is lost if this fails.
        let _ = self.file.unlock();
    }

    /// Appends a line to the locked file; it is on the disk when this returns.
    pub(crate) fn append(&mut self, event: &Event) -> Result<(), LedgerError> {
        if self.broken {
            return Err(LedgerError::Broken { path: self.path.clone() });
        }
        let number = self.digests.len() as u64 + 1;
        let (text, digest) = encode(number, event, self.last())?;
        self.broken = true;
        self.write(text.as_bytes()).map_err(|error| self.io(error))?;
        self.broken = false;
        self.digests.push(digest);
        self.known += text.len() as u64;
        Ok(())
    }

    fn last(&self) -> [u8; 32] {
        self.digests.last().copied().unwrap_or_default()
    }

    fn io(&self, error: std::io::Error) -> LedgerError {
        LedgerError::Io { path: self.path.clone(), error }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::End(0))?;
        self.file.write_all(bytes)?;
        self.file.sync_all()
    }

    fn catch_up(&mut self) -> Result<Vec<Event>, LedgerError> {
        if self.broken {
            return Err(LedgerError::Broken { path: self.path.clone() });
        }
        let length = self.file.metadata().map_err(|error| self.io(error))?.len();
        if length > LONGEST_FILE {
            return Err(LedgerError::TooLong { path: self.path.clone() });
        }
        let line = self.digests.len() as u64;
        if length < self.known {
            return Err(LedgerError::Altered { path: self.path.clone(), line, what: "lines that were there are gone" });
        }
        if length == self.known {
            return Ok(Vec::new());
        }
        let mut bytes = Vec::with_capacity((length - self.known) as usize);
        self.file.seek(SeekFrom::Start(self.known)).map_err(|error| self.io(error))?;
        (&self.file).take(LONGEST_FILE).read_to_end(&mut bytes).map_err(|error| self.io(error))?;
        let events = self.load(&bytes)?;
        // A line that a process wrote and died before syncing is read back from memory: make it durable before it counts.
        self.file.sync_all().map_err(|error| self.io(error))?;
        Ok(events)
    }

    fn load(&mut self, bytes: &[u8]) -> Result<Vec<Event>, LedgerError> {
        let mut events = Vec::new();
        for text in bytes.split_inclusive(|byte| *byte == b'\n') {
            let number = self.digests.len() as u64 + 1;
            let decoded = decode(number, text.strip_suffix(b"\n").unwrap_or(text), self.last());
            let complete = text.ends_with(b"\n");
            match decoded {
                Ok((event, digest)) => {
                    self.digests.push(digest);
                    events.push(event);
                    self.known += text.len() as u64;
                    if !complete {
                        self.repair(|chain| chain.write(b"\n"))?;
                        self.known += 1;
                    }
                }
                // Without its newline the line was never acknowledged: nothing was trained on its strength.
                Err(_) if !complete && is_torn(number, text) => self.repair(|chain| {
                    chain.file.set_len(chain.known)?;
                    chain.file.sync_all()
                })?,
                Err(what) => return Err(LedgerError::Altered { path: self.path.clone(), line: number, what }),
            }
        }
        Ok(events)
    }

    fn repair(&mut self, how: impl FnOnce(&mut Self) -> std::io::Result<()>) -> Result<(), LedgerError> {
        how(self).map_err(|error| self.io(error))
    }
}

/// The beginning of a line of ours, or blocks that the file grew by and that were never filled; anything else may be
/// somebody's file and is not cut.
fn is_torn(number: u64, text: &[u8]) -> bool {
    let start = format!("{{\"line\":{number},");
    let common = start.len().min(text.len());
    text.len() <= LONGEST_LINE && (text[..common] == start.as_bytes()[..common] || text.iter().all(|byte| *byte == 0))
}

fn encode(line: u64, event: &Event, previous: [u8; 32]) -> Result<(String, [u8; 32]), LedgerError> {
    let body = serde_json::to_vec(event).map_err(LedgerError::Encode)?;
    let digest: [u8; 32] = Sha256::new()
        .chain_update(LABEL)
        .chain_update(line.to_be_bytes())
        .chain_update(previous)
        .chain_update(body)
        .finalize()
        .into();
    let line = Line { line, event: event.clone(), previous, digest };
    let mut text = serde_json::to_string(&line).map_err(LedgerError::Encode)?;
    text.push('\n');
    Ok((text, digest))
}

/// A line must be, byte for byte, what we would have written there.
fn decode(number: u64, text: &[u8], previous: [u8; 32]) -> Result<(Event, [u8; 32]), &'static str> {
    if text.len() > LONGEST_LINE {
        return Err("it is too long");
    }
    let line: Line = serde_json::from_slice(text).map_err(|_| "it is no ledger line")?;
    if line.line != number {
        return Err("its number is out of order");
    }
    if line.previous != previous {
        return Err("it does not follow the line before it");
    }
    match encode(number, &line.event, previous) {
        Ok((expected, digest)) if expected.strip_suffix('\n').map(str::as_bytes) == Some(text) => {
            Ok((line.event, digest))
        }
        _ => Err("its digest is not that of its content"),
    }
}
