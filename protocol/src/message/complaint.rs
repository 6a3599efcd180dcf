//! A complaint: a member proves that the key share that a house sealed to it is wrong.

use super::{MAX_PROOF_BYTES, MAX_SEALED_BYTES};
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName, MemberIndex, RosterPosition};
use crate::signed::Statement;

/// With the announcement and the dealer's signed manifest, which holds the sealed share's digest, this is evidence that
/// anybody can judge, and it opens this one sealed share only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The announcement's digest.
    pub announcement: Digest,
    /// Who complains.
    pub member: HouseName,
    /// Its share index.
    pub index: MemberIndex,
    /// Where the house that sealed the share stands in the roster.
    pub dealer: RosterPosition,
    /// The sealed share.
    pub sealed: Vec<u8>,
    /// `secure-sum`'s proof, as its bytes.
    pub proof: Vec<u8>,
}

impl Message for Complaint {
    const LABEL: &'static str = "complaint";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.name(&self.member);
        writer.u8(self.index.get());
        writer.u32(self.dealer.get());
        writer.bytes(&self.sealed);
        writer.bytes(&self.proof);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            announcement: reader.digest("announcement")?,
            member: reader.name("member")?,
            index: reader.index("index")?,
            dealer: RosterPosition::new(reader.u32("dealer")?)
                .map_err(|error| EncodingError::invalid("dealer", error))?,
            sealed: reader.bytes("sealed", MAX_SEALED_BYTES)?.to_vec(),
            proof: reader.bytes("proof", MAX_PROOF_BYTES)?.to_vec(),
        })
    }
}

impl Statement for Complaint {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}
