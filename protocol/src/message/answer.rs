//! A committee member's answer: the sum of its key shares over exactly the cohort.

use super::MAX_SEALED_BYTES;
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName, MemberIndex};
use crate::roster::MAX_MEMBERS;
use crate::signed::Statement;

/// The HPKE info of a sealed answer.
pub const ANSWER_INFO: &[u8] = b"plainchant/v1/answer";

/// A member's answer to one cohort list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The announcement's digest.
    pub announcement: Digest,
    /// The cohort list's digest.
    pub cohort: Digest,
    /// The claimed sum's digest: a member answers one sum of one cohort in an attempt.
    pub body_sum: Digest,
    /// Who answers.
    pub member: HouseName,
    /// Its share index.
    pub index: MemberIndex,
    /// The sum of its shares.
    pub payload: AnswerPayload,
}

/// A sum of shares, as the release policy wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerPayload {
    /// Policy `aggregator`: `secure-sum`'s share sum, as its bytes.
    Open(Vec<u8>),
    /// Policy `clients`: the same, sealed to every house's mailbox key, in roster order.
    Sealed(Vec<SealedFor>),
}

/// A share sum sealed to one house, under [`ANSWER_INFO`] and [`answer_aad`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFor {
    /// Who can unseal it.
    pub house: HouseName,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

/// The associated data under which the member at `sender` seals its share sum to the house `receiver`.
pub fn answer_aad(announcement: &Digest, cohort: &Digest, sender: MemberIndex, receiver: &HouseName) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.digest(announcement);
    writer.digest(cohort);
    writer.u8(sender.get());
    writer.name(receiver);
    writer.into_bytes()
}

impl Message for Answer {
    const LABEL: &'static str = "answer";
    /// 2: `body_sum`.
    const VERSION: u8 = 2;

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.digest(&self.cohort);
        writer.digest(&self.body_sum);
        writer.name(&self.member);
        writer.u8(self.index.get());
        match &self.payload {
            AnswerPayload::Open(share_sum) => {
                writer.u8(0);
                writer.bytes(share_sum);
            }
            AnswerPayload::Sealed(sealed) => {
                writer.u8(1);
                writer.list(sealed, |writer, one| {
                    writer.name(&one.house);
                    writer.bytes(&one.sealed);
                });
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            announcement: reader.digest("announcement")?,
            cohort: reader.digest("cohort")?,
            body_sum: reader.digest("body_sum")?,
            member: reader.name("member")?,
            index: reader.index("index")?,
            payload: match reader.u8("payload")? {
                0 => AnswerPayload::Open(reader.bytes("share_sum", MAX_SEALED_BYTES)?.to_vec()),
                1 => AnswerPayload::Sealed(reader.list("sealed", MAX_MEMBERS, |reader| {
                    let house = reader.name("house")?;
                    Ok(SealedFor { house, sealed: reader.bytes("sealed", MAX_SEALED_BYTES)?.to_vec() })
                })?),
                _ => {
                    return Err(EncodingError::invalid("payload", "is neither 0 (open) nor 1 (sealed)"));
                }
            },
        })
    }
}

impl Statement for Answer {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}
