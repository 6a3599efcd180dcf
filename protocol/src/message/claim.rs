//! The verifiable sum: what the aggregator claims to have added up, and what members say of single bodies in answer.

use super::MAX_CHECKSUM_BYTES;
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName};
use crate::signed::{AGGREGATOR, Statement};

/// The aggregator claims that the bodies of exactly this cohort add up to the body with this digest. It claims one sum a
/// cohort; members answer that one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumClaim {
    /// The announcement's digest.
    pub announcement: Digest,
    /// The cohort list's digest; it holds the digest of every ciphertext.
    pub cohort: Digest,
    /// Plain SHA-256 of the summed body, as it is served.
    pub body_sum: Digest,
}

/// Of 256 members that could check another house's body, so many do: 1 in 128.
const SPOT_CHECKS_IN_256: u8 = 2;

impl SumClaim {
    /// The challenge of the checksums: SHA-256 over all of the claim, so it is fixed by the announcement, every
    /// ciphertext and the sum, and known to nobody before them.
    pub fn challenge(&self) -> [u8; 32] {
        *Digest::of("sum-challenge", &self.to_bytes()).as_bytes()
    }

    /// Which other house's body `checker` checks, beside its own: with chance 1/128 one, drawn by the challenge, so that no
    /// house knows it before the sum is claimed, and everybody can tell it after. `houses` are those of the cohort.
    pub fn spot_check<'a>(&self, checker: &HouseName, houses: &'a [HouseName]) -> Option<&'a HouseName> {
        let mut bytes = self.challenge().to_vec();
        bytes.extend_from_slice(checker.as_str().as_bytes());
        let drawn = Digest::of("spot-check", &bytes);
        let (chance, number) = (drawn.as_bytes()[0], drawn.as_bytes().last_chunk::<8>()?);
        // First: with thousands of houses, most of which are not drawn, looking for each among all is the cost of a round.
        if chance >= SPOT_CHECKS_IN_256 {
            return None;
        }
        let others = houses.iter().filter(|house| *house != checker).count() as u64;
        if others == 0 || !houses.contains(checker) {
            return None;
        }
        // 64 bits over at most 255 houses: the bias is below 2^-56.
        let nth = u64::from_be_bytes(*number) % others;
        houses.iter().filter(|house| *house != checker).nth(nth as usize)
    }

    /// Every drawn check of another house's body: (checker, house). At most one a checker.
    pub fn spot_checks<'a>(&self, houses: &'a [HouseName]) -> Vec<(&'a HouseName, &'a HouseName)> {
        houses.iter().filter_map(|checker| Some((checker, self.spot_check(checker, houses)?))).collect()
    }
}

impl Message for SumClaim {
    const LABEL: &'static str = "sum-claim";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.digest(&self.cohort);
        writer.digest(&self.body_sum);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            announcement: reader.digest("announcement")?,
            cohort: reader.digest("cohort")?,
            body_sum: reader.digest("body_sum")?,
        })
    }
}

impl Statement for SumClaim {
    fn speaker(&self) -> &str {
        AGGREGATOR
    }
}

/// A member says what the checksum of one body is under a claim's challenge: a house of its own body, or, where the
/// challenge draws it, of another's, which it has downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyChecksum {
    /// The announcement's digest.
    pub announcement: Digest,
    /// The cohort list's digest.
    pub cohort: Digest,
    /// The claimed sum's digest.
    pub body_sum: Digest,
    /// Who says it.
    pub member: HouseName,
    /// Whose body.
    pub house: HouseName,
    /// `secure-sum`'s checksum, as its bytes.
    pub value: Vec<u8>,
}

impl BodyChecksum {
    /// What `member` says of the body of `house` under `claim`.
    pub fn under(claim: &SumClaim, member: HouseName, house: HouseName, value: Vec<u8>) -> Self {
        let SumClaim { announcement, cohort, body_sum } = *claim;
        Self { announcement, cohort, body_sum, member, house, value }
    }
}

impl Message for BodyChecksum {
    const LABEL: &'static str = "body-checksum";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.digest(&self.cohort);
        writer.digest(&self.body_sum);
        writer.name(&self.member);
        writer.name(&self.house);
        writer.bytes(&self.value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            announcement: reader.digest("announcement")?,
            cohort: reader.digest("cohort")?,
            body_sum: reader.digest("body_sum")?,
            member: reader.name("member")?,
            house: reader.name("house")?,
            value: reader.bytes("value", MAX_CHECKSUM_BYTES)?.to_vec(),
        })
    }
}

impl Statement for BodyChecksum {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}
