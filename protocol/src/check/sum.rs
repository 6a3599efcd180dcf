//! The rules of the verifiable sum and of complaints.

use std::collections::BTreeSet;

use super::{same_announcement, same_cohort};
use crate::checked::Checked;
use crate::encoding::Message as _;
use crate::federation::Federation;
use crate::ids::{Digest, HouseName};
use crate::message::{BodyChecksum, CohortList, Complaint, SumClaim};
use crate::rejection::{Party, Rejection};
use crate::signed::Signed;

/// Checks the aggregator's claim of a sum: its signature, announcement and cohort.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn claim(
    federation: &Federation,
    announcement: Digest,
    cohort: Digest,
    signed: &Signed<SumClaim>,
) -> Result<SumClaim, Rejection> {
    let who = Party::Aggregator;
    let claim = signed.verify_by(federation.charter().aggregator_key())?;
    same_announcement(&who, announcement, claim.announcement)?;
    same_cohort(&who, cohort, claim.cohort)?;
    Ok(claim)
}

/// Checks a checksum of a body: signature, bound to `claim`, about a house of the cohort, by that house or by the member
/// that the challenge drew for it. `houses` are those of the cohort.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn body_checksum(
    federation: &Federation,
    claim: &SumClaim,
    houses: &[HouseName],
    signed: &Signed<BodyChecksum>,
) -> Result<BodyChecksum, Rejection> {
    let said = signed.verify(federation.roster())?;
    let who = Party::named(&said.member);
    same_announcement(&who, claim.announcement, said.announcement)?;
    same_cohort(&who, claim.cohort, said.cohort)?;
    same_sum(&who, claim.body_sum, said.body_sum)?;
    if !houses.contains(&said.house) {
        return Err(Rejection::NotInCohort { who, house: said.house });
    }
    if said.member != said.house && claim.spot_check(&said.member, houses) != Some(&said.house) {
        return Err(Rejection::NotDrawn { name: said.member, house: said.house });
    }
    Ok(said)
}

/// Checks what the aggregator publishes when the checking is over: the claim, and every checksum under it, each once.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn checked(
    federation: &Federation,
    list: &CohortList,
    signed_claim: &Signed<SumClaim>,
    checksums: &[Signed<BodyChecksum>],
) -> Result<Checked, Rejection> {
    let claim = claim(federation, list.announcement, list.digest(), signed_claim)?;
    let houses: Vec<HouseName> = list.houses().cloned().collect();
    let mut seen = BTreeSet::new();
    let mut verified = Vec::with_capacity(checksums.len());
    for signed in checksums {
        let said = body_checksum(federation, &claim, &houses, signed)?;
        if !seen.insert((said.member.clone(), said.house.clone())) {
            return Err(Rejection::SecondChecksum { name: said.member, house: said.house });
        }
        verified.push((said, signed.clone()));
    }
    Ok(Checked::new((claim, signed_claim.clone()), verified))
}

/// Checks what of a complaint can be checked without `secure-sum`: signature, indices, a dealer in the cohort, and that
/// the sealed share is the one in the dealer's signed manifest. The list's signatures were checked before.
///
/// # Errors
/// [`Rejection`] naming what is wrong.
pub fn complaint(
    federation: &Federation,
    list: &CohortList,
    signed: &Signed<Complaint>,
) -> Result<Complaint, Rejection> {
    let roster = federation.roster();
    let complaint = signed.verify(roster)?;
    let who = Party::named(&complaint.member);
    same_announcement(&who, list.announcement, complaint.announcement)?;
    let expected = roster.index_of(&complaint.member).map_or(0, |index| index.get());
    let found = complaint.index.get();
    if found != expected {
        return Err(Rejection::WrongIndex { name: complaint.member, expected, found });
    }
    let bad = |field, rule: &str| Rejection::BadComplaint { who: who.clone(), field, rule: rule.to_owned() };
    let dealer = roster.at(complaint.dealer).ok_or_else(|| bad("dealer", "the roster has no such member"))?.name();
    if *dealer == complaint.member {
        return Err(bad("dealer", "a house does not complain of itself"));
    }
    let Some(manifest) = list.contributions.iter().find(|signed| signed.signer() == dealer) else {
        return Err(Rejection::NotInCohort { who, house: dealer.clone() });
    };
    let manifest = manifest.unverified().map_err(|error| Rejection::Malformed { who: Party::named(dealer), error })?;
    let sealed = manifest.sealed_shares.get(complaint.index.position());
    if sealed != Some(&Digest::sha256(&complaint.sealed)) {
        return Err(bad("sealed", "it is not the share in the dealer's manifest"));
    }
    Ok(complaint)
}

/// The sum that a statement speaks of is the claimed one.
pub(super) fn same_sum(who: &Party, expected: Digest, found: Digest) -> Result<(), Rejection> {
    let who = who.clone();
    if found == expected { Ok(()) } else { Err(Rejection::WrongSum { who, expected, found }) }
}
