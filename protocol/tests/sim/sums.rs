//! Toy bodies and checksums: vectors that add up, and a random linear function of them.

use protocol::*;

use crate::common::World;

/// The body of a contribution: a one at its house's place, and a number of its own.
pub fn body(world: &World, manifest: &Contribution) -> Vec<u64> {
    let mut body = vec![0; world.members.len() + 1];
    body[usize::from(manifest.commitments[0])] = 1;
    let own = manifest.commitments.last_chunk::<8>().unwrap();
    body[world.members.len()] = u64::from_le_bytes(*own);
    body
}

/// The true sum of the cohort's bodies.
pub fn sum(world: &World, list: &CohortList) -> Vec<u64> {
    let mut sum = vec![0u64; world.members.len() + 1];
    for signed in &list.contributions {
        for (total, value) in sum.iter_mut().zip(body(world, &signed.unverified().unwrap())) {
            *total = total.wrapping_add(value);
        }
    }
    sum
}

pub fn bytes(body: &[u64]) -> Vec<u8> {
    body.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The checksum of a body or a sum.
pub fn checksum(claim: &SumClaim, body: &[u64]) -> u64 {
    let weight = |place: usize| {
        let drawn = Digest::of("weight", &[&claim.challenge()[..], &place.to_le_bytes()].concat());
        u64::from_le_bytes(*drawn.as_bytes().first_chunk().unwrap())
    };
    body.iter().enumerate().fold(0, |total: u64, (place, value)| total.wrapping_add(weight(place).wrapping_mul(*value)))
}

/// Whether a house finds that `served` is the sum of the cohort's bodies: from what the houses said of them, or, when
/// that does not add up, from the bodies themselves.
pub fn is_right(world: &World, list: &CohortList, checked: &Checked, served: &[u64]) -> bool {
    assert_eq!(Digest::sha256(&bytes(served)), checked.body_sum(), "the served sum is not the claimed one");
    let claim = checked.claim();
    let of_body = |signed: &Signed<Contribution>| checksum(claim, &body(world, &signed.unverified().unwrap()));
    let said = |signed: &Signed<Contribution>| {
        let value = checked.value_of(signed.signer()).and_then(|value| value.try_into().ok());
        value.map_or_else(|| of_body(signed), u64::from_le_bytes)
    };
    let add_up = |values: &dyn Fn(&Signed<Contribution>) -> u64| {
        list.contributions.iter().fold(0u64, |total, signed| total.wrapping_add(values(signed)))
    };
    let expected = checksum(claim, served);
    add_up(&said) == expected || add_up(&of_body) == expected
}
