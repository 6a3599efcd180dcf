//! The announcement of a round: everything that is fixed before anybody trains. The mask seed follows from all of it.

use super::MAX_LAYOUT_BYTES;
use super::ready::OneTimeKeyOffer;
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Attempt, Digest, HouseName, MemberIndex, RoundNumber};
use crate::roster::{MAX_MEMBERS, MAX_ROSTER};
use crate::signed::{AGGREGATOR, Signed, Statement};

/// The head of the federation's record: how many leaves, and the Merkle root over them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHead {
    /// Leaves.
    pub size: u64,
    /// The RFC 6962 root.
    pub root: Digest,
}

impl RecordHead {
    /// Writes it.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.u64(self.size);
        writer.digest(&self.root);
    }

    /// Reads it.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self { size: reader.u64("record.size")?, root: reader.digest("record.root")? })
    }
}

/// A committee member's place in this round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitteeSeat {
    /// Its share index.
    pub index: MemberIndex,
    /// Its one-time key, signed by itself.
    pub offer: Signed<OneTimeKeyOffer>,
}

/// A round, as the aggregator announces and signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// [`crate::PROTOCOL_VERSION`].
    pub protocol_version: u32,
    /// The head of the record before this round.
    pub record: RecordHead,
    /// The charter's digest.
    pub charter: Digest,
    /// The roster's digest.
    pub roster: Digest,
    /// The round.
    pub round: RoundNumber,
    /// The attempt.
    pub attempt: Attempt,
    /// E: the houses whose contribution is expected, in roster order.
    pub expected: Vec<HouseName>,
    /// d: how many of them may vanish.
    pub may_vanish: u32,
    /// The digest of the adapter state that everybody starts from.
    pub adapter: Digest,
    /// When it was announced, in Unix milliseconds of the aggregator's clock.
    pub announced_at_ms: u64,
    /// When contributions leave, in milliseconds after the announcement.
    pub submit_at_ms: u64,
    /// When the cohort is fixed.
    pub close_ms: u64,
    /// When the opening is given up.
    pub open_ms: u64,
    /// All members in roster order, with a fresh key each.
    pub committee: Vec<CommitteeSeat>,
    /// `secure-sum`'s layout, as its bytes.
    pub layout: Vec<u8>,
    /// A commitment to data, where a federation asks for one.
    pub data_commitment: Option<Digest>,
}

impl Announcement {
    /// The seed of the common mask: SHA-256 over all of the announcement, so nobody chooses it.
    pub fn mask_seed(&self) -> [u8; 32] {
        *Digest::of("mask-seed", &self.to_bytes()).as_bytes()
    }

    /// The Unix time, in milliseconds, at which contributions leave.
    pub fn submit_time_ms(&self) -> u64 {
        self.announced_at_ms.saturating_add(self.submit_at_ms)
    }

    /// The Unix time, in milliseconds, at which the cohort is fixed.
    pub fn close_time_ms(&self) -> u64 {
        self.announced_at_ms.saturating_add(self.close_ms)
    }

    /// The Unix time, in milliseconds, until which checksums of the claimed sum are waited for: half way from the close to
    /// the end of the opening.
    pub fn check_time_ms(&self) -> u64 {
        let half = self.open_ms.saturating_sub(self.close_ms) / 2;
        self.close_time_ms().saturating_add(half)
    }

    /// The Unix time, in milliseconds, at which the opening is given up.
    pub fn open_time_ms(&self) -> u64 {
        self.announced_at_ms.saturating_add(self.open_ms)
    }

    /// Whether `name` is in the expected set.
    pub fn expects(&self, name: &HouseName) -> bool {
        self.expected.contains(name)
    }
}

impl Message for Announcement {
    const LABEL: &'static str = "announcement";

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.protocol_version);
        self.record.write(writer);
        writer.digest(&self.charter);
        writer.digest(&self.roster);
        writer.u32(self.round.get());
        writer.u32(self.attempt.get());
        writer.list(&self.expected, Writer::name);
        writer.u32(self.may_vanish);
        writer.digest(&self.adapter);
        writer.u64(self.announced_at_ms);
        writer.u64(self.submit_at_ms);
        writer.u64(self.close_ms);
        writer.u64(self.open_ms);
        writer.list(&self.committee, |writer, seat| {
            writer.u8(seat.index.get());
            seat.offer.write(writer);
        });
        writer.bytes(&self.layout);
        writer.option(self.data_commitment.as_ref(), Writer::digest);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            protocol_version: reader.u32("protocol_version")?,
            record: RecordHead::read(reader)?,
            charter: reader.digest("charter")?,
            roster: reader.digest("roster")?,
            round: reader.round("round")?,
            attempt: reader.attempt("attempt")?,
            expected: reader.list("expected", MAX_ROSTER, |reader| reader.name("expected"))?,
            may_vanish: reader.u32("may_vanish")?,
            adapter: reader.digest("adapter")?,
            announced_at_ms: reader.u64("announced_at_ms")?,
            submit_at_ms: reader.u64("submit_at_ms")?,
            close_ms: reader.u64("close_ms")?,
            open_ms: reader.u64("open_ms")?,
            committee: reader.list("committee", MAX_MEMBERS, |reader| {
                Ok(CommitteeSeat { index: reader.index("index")?, offer: Signed::read(reader)? })
            })?,
            layout: reader.bytes("layout", MAX_LAYOUT_BYTES)?.to_vec(),
            data_commitment: reader.option("data_commitment", |reader| reader.digest("data_commitment"))?,
        })
    }
}

impl Statement for Announcement {
    fn speaker(&self) -> &str {
        AGGREGATOR
    }
}
