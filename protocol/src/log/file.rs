//! The record as one file: a federation's contract, every attempt with what proves it, and the signed head.
//!
//! ```text
//! "plainchant-record/1\n"
//! charter                      a byte string: the contract, byte for byte
//! roster                       a byte string: canonical bytes
//! 'E', entry                   for each leaf, in order: canonical bytes of an `Entry`
//! 'C', checkpoint              once, at the end: the signed note with its cosignatures
//! ```
//!
//! A byte string has its length before it, 32 bits, big-endian. Nothing follows the checkpoint. A reader holds the file and looks at one
//! entry at a time: what a length says is compared with its limit, and with what is there, before anything is made of it.

use super::fault::{Fault, Flaw, Place};
use crate::charter::MAX_CHARTER_BYTES;
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::message::{Announcement, CohortList, Complaint, MAX_BODY_BYTES, Outcome, SumClaim};
use crate::record::RecordLeaf;
use crate::roster::{MAX_MEMBERS, MAX_ROSTER};
use crate::signed::Signed;

/// What a file of this version begins with.
pub const MAGIC: &[u8] = b"plainchant-record/1\n";
/// The largest file that programs read, in bytes: readers hold it whole.
pub const MAX_FILE_BYTES: usize = 1 << 31;
/// The most entries.
pub const MAX_ENTRIES: u64 = 1 << 20;
/// The longest entry: a cohort list of all houses of the largest federation.
const MAX_ENTRY_BYTES: usize = 512 << 20;
/// The longest roster: names, roles and three keys each.
const MAX_ROSTER_BYTES: usize = MAX_ROSTER * 256;
/// The longest checkpoint: as long as a note may be.
const MAX_CHECKPOINT_BYTES: usize = super::note::MAX_NOTE_BYTES;
const ENTRY: u8 = b'E';
const CHECKPOINT: u8 = b'C';

/// One attempt: its leaf, and the signed messages that it follows from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What the Merkle tree hashes.
    pub leaf: RecordLeaf,
    /// The announcement, signed by the aggregator.
    pub announcement: Signed<Announcement>,
    /// The cohort, once there was one: each house's signed contribution.
    pub cohort: Option<CohortList>,
    /// The aggregator's claim of the sum; of a settled attempt.
    pub claim: Option<Signed<SumClaim>>,
    /// The proof of a wrong share; of an attempt that it ended.
    pub complaint: Option<Signed<Complaint>>,
    /// What the houses signed that the leaf names, in its order; of a settled attempt.
    pub outcomes: Vec<Signed<Outcome>>,
}

impl Message for Entry {
    const LABEL: &'static str = "record-entry";

    fn write(&self, writer: &mut Writer) {
        writer.bytes(&self.leaf.to_bytes());
        self.announcement.write(writer);
        writer.option(self.cohort.as_ref(), |writer, list| list.write(writer));
        writer.option(self.claim.as_ref(), |writer, claim| claim.write(writer));
        writer.option(self.complaint.as_ref(), |writer, complaint| complaint.write(writer));
        writer.list(&self.outcomes, |writer, outcome| outcome.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            leaf: RecordLeaf::from_bytes(reader.bytes("leaf", MAX_BODY_BYTES)?)?,
            announcement: Signed::read(reader)?,
            cohort: reader.option("cohort", CohortList::read)?,
            claim: reader.option("claim", Signed::read)?,
            complaint: reader.option("complaint", Signed::read)?,
            outcomes: reader.list("outcomes", MAX_MEMBERS, Signed::read)?,
        })
    }
}

/// Writes a file, entry by entry.
#[derive(Debug)]
pub struct RecordWriter {
    writer: Writer,
}

impl RecordWriter {
    /// A file with this contract: the charter's exact text, the roster's canonical bytes.
    pub fn new(charter: &str, roster: &[u8]) -> Self {
        let mut writer = Writer::new();
        writer.fixed(MAGIC);
        writer.bytes(charter.as_bytes());
        writer.bytes(roster);
        Self { writer }
    }

    /// Appends the next entry.
    pub fn push(&mut self, entry: &Entry) {
        self.writer.u8(ENTRY);
        self.writer.bytes(&entry.to_bytes());
    }

    /// The whole file, under this checkpoint.
    pub fn finish(mut self, checkpoint: &str) -> Vec<u8> {
        self.writer.u8(CHECKPOINT);
        self.writer.bytes(checkpoint.as_bytes());
        self.writer.into_bytes()
    }
}

/// The parts of a file, where they lie in its bytes; nothing of them is checked.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) charter: &'a str,
    pub(super) roster: &'a [u8],
    sections: Reader<'a>,
    /// Entries so far.
    read: u64,
}

/// What comes next in a file.
pub(super) enum Section<'a> {
    Entry(&'a [u8]),
    Checkpoint(&'a str),
}

impl<'a> Parts<'a> {
    /// Reads a file's beginning.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, Fault> {
        let at = |error| Fault::at(Place::Header, Flaw::Format(error));
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| Fault::at(Place::Header, Flaw::NoRecord))?;
        let mut sections = Reader::new(rest);
        let charter = text("charter", sections.bytes("charter", MAX_CHARTER_BYTES).map_err(at)?).map_err(at)?;
        let roster = sections.bytes("roster", MAX_ROSTER_BYTES).map_err(at)?;
        Ok(Self { charter, roster, sections, read: 0 })
    }

    /// The next entry, or the checkpoint.
    pub(super) fn next(&mut self) -> Result<Section<'a>, Fault> {
        let place = Place::Entry(self.read);
        let at = |error| Fault::at(place, Flaw::Format(error));
        let kind = self.sections.u8("section").map_err(at)?;
        match kind {
            ENTRY if self.read < MAX_ENTRIES => {
                let entry = self.sections.bytes("entry", MAX_ENTRY_BYTES).map_err(at)?;
                self.read += 1;
                Ok(Section::Entry(entry))
            }
            CHECKPOINT => {
                let at = |error| Fault::at(Place::Checkpoint, Flaw::Format(error));
                let note = self.sections.bytes("checkpoint", MAX_CHECKPOINT_BYTES).map_err(at)?;
                Ok(Section::Checkpoint(text("checkpoint", note).map_err(at)?))
            }
            _ => Err(at(EncodingError::invalid("section", "is neither an entry nor the checkpoint"))),
        }
    }

    /// Nothing may follow the checkpoint.
    pub(super) fn finish(self) -> Result<(), Fault> {
        self.sections.finish().map_err(|error| Fault::at(Place::Checkpoint, Flaw::Format(error)))
    }
}

fn text<'a>(field: &'static str, bytes: &'a [u8]) -> Result<&'a str, EncodingError> {
    std::str::from_utf8(bytes).map_err(|_| EncodingError::invalid(field, "is not UTF-8"))
}
