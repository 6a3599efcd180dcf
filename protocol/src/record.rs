//! What the federation's record keeps of one attempt at a round.

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Attempt, Digest, HouseName, RoundNumber};
use crate::message::Verdict;
use crate::rejection::Abandonment;
use crate::roster::MAX_ROSTER;

/// One leaf of the record; its bytes ([`Message::to_bytes`]) are what the Merkle tree hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLeaf {
    /// The round.
    pub round: RoundNumber,
    /// The attempt.
    pub attempt: Attempt,
    /// The announcement's digest.
    pub announcement: Digest,
    /// The cohort list's digest, once there was one.
    pub cohort: Option<Digest>,
    /// The houses whose contribution counts, in roster order; empty before a cohort was fixed.
    pub houses: Vec<HouseName>,
    /// How it ended.
    pub conclusion: Conclusion,
    /// The houses that signed the verdict, in roster order; empty when abandoned.
    pub signers: Vec<HouseName>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// t houses signed this verdict.
    Settled(Verdict),
    /// It was given up.
    Abandoned(Abandonment),
}

impl Message for RecordLeaf {
    const LABEL: &'static str = "record-leaf";

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.round.get());
        writer.u32(self.attempt.get());
        writer.digest(&self.announcement);
        writer.option(self.cohort.as_ref(), Writer::digest);
        writer.list(&self.houses, Writer::name);
        match &self.conclusion {
            Conclusion::Settled(verdict) => {
                writer.u8(0);
                verdict.write(writer);
            }
            Conclusion::Abandoned(reason) => {
                writer.u8(1);
                reason.write(writer);
            }
        }
        writer.list(&self.signers, Writer::name);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            round: reader.round("round")?,
            attempt: reader.attempt("attempt")?,
            announcement: reader.digest("announcement")?,
            cohort: reader.option("cohort", |reader| reader.digest("cohort"))?,
            houses: reader.list("houses", MAX_ROSTER, |reader| reader.name("houses"))?,
            conclusion: match reader.u8("conclusion")? {
                0 => Conclusion::Settled(Verdict::read(reader)?),
                1 => Conclusion::Abandoned(Abandonment::read(reader)?),
                _ => return Err(EncodingError::invalid("conclusion", "is not a known one")),
            },
            signers: reader.list("signers", MAX_ROSTER, |reader| reader.name("signers"))?,
        })
    }
}
