//! What came, read as an aggregator and a committee read it, and attempts to open it.

use std::collections::BTreeMap;

use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{Contribution, Digest, Signed};
use protos::v1;
use protos::v1::submit_request::Part;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use secure_sum::{
    Accumulator, Commitments, KeyShare, KeySum, Layout, MaskSeed, OneTimeKey, OpenError, ShareSum, combine,
    combine_unchecked, open_measured,
};
use zeroize::Zeroizing;

use super::ProveError;
use super::far_end::Arrived;
use super::rehearsal::Rehearsal;

/// Sums are of at least so many contributions: the canary, and zeros.
pub(super) const COHORT: usize = Layout::COHORT_MIN;

/// Share sums as bytes, by their member's index.
type Shares = BTreeMap<u8, Zeroizing<Vec<u8>>>;

/// A contribution that came.
pub(super) struct Opened<'a> {
    rehearsal: &'a Rehearsal,
    pub(super) header: &'a v1::SubmitHeader,
    pub(super) body: Vec<u8>,
    pub(super) manifest: Contribution,
    /// Bodies of the contributions of zeros.
    others_bodies: Vec<Vec<u8>>,
    commitments: Commitments,
    /// Each member's shares of the canary's key.
    canary: Shares,
    /// Each member's shares of the other keys.
    others: Shares,
    /// Their sums: a member's answer.
    answers: Shares,
}

impl<'a> Opened<'a> {
    /// Verifies what came, unseals every share, and makes two contributions of zeros, since nothing opens one alone.
    pub(super) fn read(rehearsal: &'a Rehearsal, arrived: &'a Arrived) -> Result<Self, ProveError> {
        let (layout, committee) = (&rehearsal.layout, &rehearsal.committee);
        let (header, body) = whole(arrived, layout)?;
        let signed: Signed<Contribution> =
            protos::convert::signed("contribution", header.contribution.clone()).map_err(|e| wrong(&e))?;
        let manifest = signed.verify(rehearsal.federation.roster()).map_err(|e| wrong(&e))?;
        if ciphertext_digest(body.chunks(layout.chunk_bytes())) != manifest.ciphertext {
            return Err(wrong(&"the body is not the signed one"));
        }
        let sealed = || header.sealed_shares.iter().map(|sealed| Digest::sha256(sealed));
        if !sealed().eq(manifest.sealed_shares.iter().copied()) || sealed().len() != rehearsal.keys.len() {
            return Err(wrong(&format!(
                "{} sealed shares came for {} members, or others than the signed ones",
                sealed().len(),
                rehearsal.keys.len()
            )));
        }
        let mut commitments =
            Commitments::from_bytes(layout, committee, &manifest.commitments).map_err(|e| wrong(&e))?;
        commitments.check_degree(committee).map_err(|e| wrong(&e))?;
        let (mut canary, mut others, mut answers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (sealed, seat) in header.sealed_shares.iter().zip(&rehearsal.announcement.committee) {
            let index = seat.index.get();
            let key = rehearsal.keys.get(&index).ok_or_else(|| wrong(&"a share for no member came"))?;
            let aad = share_aad(&manifest.announcement, &manifest.member, seat.index, &manifest.ciphertext);
            let bytes = secure_sum::unseal(key, SHARE_INFO, &aad, sealed).map_err(|e| wrong(&e))?;
            let share = KeyShare::from_bytes(layout, &bytes).map_err(|e| wrong(&e))?;
            share.check(&commitments, index).map_err(|e| wrong(&e))?;
            let mut sum = ShareSum::new(layout);
            sum.add(&share).map_err(|e| wrong(&e))?;
            canary.insert(index, sum.to_bytes());
            answers.insert(index, sum);
            others.insert(index, ShareSum::new(layout));
        }
        let mut others_bodies = Vec::new();
        for _ in 1..COHORT {
            let rng = &mut UnwrapErr(SysRng);
            let key = OneTimeKey::generate(layout, rng);
            let dealing = secure_sum::deal(&key, layout, committee, rng).map_err(|e| wrong(&e))?;
            let zeros = vec![0; layout.values().count];
            let body = secure_sum::encrypt(layout, &rehearsal.seed(), key, &zeros, rng).map_err(|e| wrong(&e))?;
            others_bodies.push(body);
            commitments.add(&dealing.commitments).map_err(|e| wrong(&e))?;
            for (index, sum) in answers.iter_mut().chain(&mut others) {
                if let Some(share) = dealing.shares.get(usize::from(*index) - 1) {
                    sum.add(share).map_err(|e| wrong(&e))?;
                }
            }
        }
        let written =
            |sums: BTreeMap<u8, ShareSum>| sums.into_iter().map(|(index, sum)| (index, sum.to_bytes())).collect();
        let (others, answers) = (written(others), written(answers));
        Ok(Self { rehearsal, header, body, manifest, others_bodies, commitments, canary, others, answers })
    }

    /// Indices of all members.
    pub(super) fn members(&self) -> Vec<u8> {
        self.answers.keys().copied().collect()
    }

    /// The sum in which the canary's body is this one.
    fn sum(&self, body: &[u8]) -> Option<Accumulator> {
        let mut sum = Accumulator::new(&self.rehearsal.layout);
        let bodies: Vec<&[u8]> = self.others_bodies.iter().map(Vec::as_slice).chain([body]).collect();
        sum.add_all(&bodies).ok().map(|()| sum)
    }

    /// What these members hold of `shares`.
    fn held(&self, shares: &Shares, set: &[u8]) -> Vec<(u8, ShareSum)> {
        let layout = &self.rehearsal.layout;
        let of = |index: &u8| Some((*index, ShareSum::from_bytes(layout, shares.get(index)?).ok()?));
        set.iter().filter_map(of).collect()
    }

    /// The canary's key as these members' shares of it give it, however few; the other keys are known to whoever tries.
    pub(super) fn force(&self, set: &[u8]) -> Option<KeySum> {
        combine_unchecked(&self.rehearsal.layout, &self.held(&self.canary, set), COHORT)
    }

    /// Whether the sum opens with the other keys alone: as if the canary had none. `None` where these can not be had.
    pub(super) fn opens_without_a_key(&self, set: &[u8]) -> Option<bool> {
        let others = combine_unchecked(&self.rehearsal.layout, &self.held(&self.others, set), COHORT)?;
        Some(self.open_with(&others, self.rehearsal.seed(), &self.body).is_ok())
    }

    /// The key of the sum, as a committee gives it.
    pub(super) fn key(&self, set: &[u8]) -> Result<KeySum, ProveError> {
        let Rehearsal { layout, committee, .. } = self.rehearsal;
        combine(layout, committee, &self.commitments, &self.held(&self.answers, set), COHORT).map_err(|e| wrong(&e))
    }

    /// The sum's values and the mean square of its errors, under this mask and with this body for the canary's.
    pub(super) fn open_with(&self, key: &KeySum, seed: MaskSeed, body: &[u8]) -> Result<(Vec<i64>, f64), OpenError> {
        let sum = self.sum(body).ok_or(OpenError::OtherLayout)?;
        open_measured(&self.rehearsal.layout, &seed, &sum, key, COHORT)
    }
}

/// The contribution's one header, and its body in one piece.
fn whole<'a>(arrived: &'a Arrived, layout: &Layout) -> Result<(&'a v1::SubmitHeader, Vec<u8>), ProveError> {
    let mut parts = arrived.came.parts.iter().map(|message| message.part.as_ref());
    let Some(Some(Part::Header(header))) = parts.next() else { return Err(wrong(&"no header came first")) };
    let mut body = Vec::with_capacity(layout.contribution_bytes());
    for part in parts {
        match part {
            Some(Part::Run(run)) if run.first as usize * layout.chunk_bytes() == body.len() => {
                body.extend_from_slice(&run.data);
            }
            _ => return Err(wrong(&"what follows the header is not the body, chunk after chunk")),
        }
    }
    Ok((header, body))
}

fn wrong(error: &dyn std::fmt::Display) -> ProveError {
    ProveError::Contribution(error.to_string())
}

impl Rehearsal {
    /// The seed of the round's common mask.
    pub(super) fn seed(&self) -> MaskSeed {
        MaskSeed(self.announcement.mask_seed())
    }
}

/// Sets of `size` members: all of them where there are at most `most`, else so many, the first and the last among them.
pub(super) fn sets_of(members: &[u8], size: usize, most: usize) -> Vec<Vec<u8>> {
    if size == 0 || size > members.len() {
        return Vec::new();
    }
    let mut sets = Vec::new();
    let mut places: Vec<usize> = (0..size).collect();
    loop {
        sets.push(places.iter().filter_map(|place| members.get(*place).copied()).collect());
        // The next one in order: the last place that can move does, and those after it follow.
        let movable = (0..size).rev().find(|at| places[*at] < members.len() - size + at);
        let Some(at) = movable else { return sets };
        if sets.len() + 1 == most {
            sets.push(members[members.len() - size..].to_vec());
            return sets;
        }
        places[at] += 1;
        for next in at + 1..size {
            places[next] = places[next - 1] + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_all_there_are_or_as_many_as_asked_with_the_last_one() {
        assert_eq!(sets_of(&[1, 2, 3], 2, 50), [[1, 2], [1, 3], [2, 3]]);
        assert_eq!(sets_of(&[1, 2, 3], 3, 50), [[1, 2, 3]]);
        assert!(sets_of(&[1, 2], 3, 50).is_empty() && sets_of(&[1, 2], 0, 50).is_empty());
        let many = sets_of(&(1..=30).collect::<Vec<_>>(), 5, 50);
        assert_eq!(many.len(), 50);
        assert_eq!(many.last(), Some(&vec![26, 27, 28, 29, 30]));
        assert!(many.iter().enumerate().all(|(at, set)| !many[..at].contains(set)));
    }
}
