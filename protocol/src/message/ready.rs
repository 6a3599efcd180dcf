//! Before a round: stocks of one-time keys, and *ready*, which depends on no data.

use super::MAX_KEY_STOCK;
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Attempt, Digest, HouseName, RoundNumber};
use crate::signed::{Signed, Statement};

/// A house can take part in this attempt at this round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The charter's digest.
    pub charter: Digest,
    /// The roster's digest.
    pub roster: Digest,
    /// The round.
    pub round: RoundNumber,
    /// The attempt.
    pub attempt: Attempt,
    /// Who says it.
    pub member: HouseName,
}

impl Message for Ready {
    const LABEL: &'static str = "ready";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.charter);
        writer.digest(&self.roster);
        writer.u32(self.round.get());
        writer.u32(self.attempt.get());
        writer.name(&self.member);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            charter: reader.digest("charter")?,
            roster: reader.digest("roster")?,
            round: reader.round("round")?,
            attempt: reader.attempt("attempt")?,
            member: reader.name("member")?,
        })
    }
}

impl Statement for Ready {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}

/// One HPKE key of a member, for the shares of one round; its secret half is erased after that round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneTimeKeyOffer {
    /// The charter's digest.
    pub charter: Digest,
    /// Whose key.
    pub member: HouseName,
    /// Counts the member's keys; none is used twice.
    pub sequence: u64,
    /// The X25519 public key.
    pub key: [u8; 32],
}

impl Message for OneTimeKeyOffer {
    const LABEL: &'static str = "one-time-key";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.charter);
        writer.name(&self.member);
        writer.u64(self.sequence);
        writer.fixed(&self.key);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            charter: reader.digest("charter")?,
            member: reader.name("member")?,
            sequence: reader.u64("sequence")?,
            key: reader.array("key")?,
        })
    }
}

impl Statement for OneTimeKeyOffer {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}

/// A stock of one-time keys, uploaded ahead. Each is signed by itself, so that it can go into an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStock {
    /// Whose keys.
    pub member: HouseName,
    /// The keys, in the order in which they are to be used.
    pub offers: Vec<Signed<OneTimeKeyOffer>>,
}

impl Message for KeyStock {
    const LABEL: &'static str = "key-stock";

    fn write(&self, writer: &mut Writer) {
        writer.name(&self.member);
        writer.list(&self.offers, |writer, offer| offer.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self { member: reader.name("member")?, offers: reader.list("offers", MAX_KEY_STOCK, Signed::read)? })
    }
}
