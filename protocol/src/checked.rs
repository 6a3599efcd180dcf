//! What is known of a claimed sum when members answer it: the claim, and what was said of single bodies.

use crate::ids::{Digest, HouseName};
use crate::message::{BodyChecksum, SumClaim};
use crate::notice::Notice;
use crate::signed::Signed;

/// A claim and the checksums under it, all verified: signed, bound to this claim, each of a house of the cohort by itself
/// or by the member that the challenge drew for it. The arithmetic (that they add up) is `secure-sum`'s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    claim: SumClaim,
    signed_claim: Signed<SumClaim>,
    checksums: Vec<BodyChecksum>,
    signed_checksums: Vec<Signed<BodyChecksum>>,
}

impl Checked {
    /// From what the caller verified.
    pub(crate) fn new(
        claim: (SumClaim, Signed<SumClaim>),
        checksums: impl IntoIterator<Item = (BodyChecksum, Signed<BodyChecksum>)>,
    ) -> Self {
        let (checksums, signed_checksums) = checksums.into_iter().unzip();
        Self { claim: claim.0, signed_claim: claim.1, checksums, signed_checksums }
    }

    /// The claim.
    pub fn claim(&self) -> &SumClaim {
        &self.claim
    }

    /// The claim as signed.
    pub fn signed_claim(&self) -> &Signed<SumClaim> {
        &self.signed_claim
    }

    /// The digest of the claimed sum.
    pub fn body_sum(&self) -> Digest {
        self.claim.body_sum
    }

    /// Everything that was said of single bodies.
    pub fn checksums(&self) -> &[BodyChecksum] {
        &self.checksums
    }

    /// The same as signed, in the same order.
    pub fn signed_checksums(&self) -> &[Signed<BodyChecksum>] {
        &self.signed_checksums
    }

    /// What was said of the body of `house`.
    pub fn about(&self, house: &HouseName) -> impl Iterator<Item = &BodyChecksum> {
        self.checksums.iter().filter(move |said| said.house == *house)
    }

    /// The checksum of the body of `house`, when it said so itself and nobody says otherwise. Else that body must be
    /// downloaded.
    pub fn value_of(&self, house: &HouseName) -> Option<&[u8]> {
        let own = self.about(house).find(|said| said.member == *house)?;
        self.about(house).all(|said| said.value == own.value).then_some(own.value.as_slice())
    }

    pub(crate) fn notice(&self) -> Notice {
        Notice::Checked { claim: self.signed_claim.clone(), checksums: self.signed_checksums.clone() }
    }
}
