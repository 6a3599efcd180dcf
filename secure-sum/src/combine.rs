//! Answers of the committee, and the summed key that t of them give.

use curve25519_dalek::Scalar;
use zeroize::Zeroizing;

use crate::commitments::{self, Commitments};
use crate::committee::Committee;
use crate::deal::{self, KeyShare, ShareError};
use crate::digits::Digits;
use crate::gauss;
use crate::key::KeySum;
use crate::layout::Layout;
use crate::wipe;
use crate::wire::EncodingError;

const WHAT: &str = "share sum";

/// A member's answer: the sum of its shares over exactly the cohort. Wiped on drop.
pub struct ShareSum {
    values: Zeroizing<Vec<Scalar>>,
}

/// Why answers do not combine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CombineError {
    /// The cohort is below [`Layout::COHORT_MIN`] or above the layout's largest.
    #[error("a cohort of {cohort} clients is not opened under this layout")]
    Cohort {
        /// Clients in the cohort.
        cohort: usize,
    },
    /// Fewer than t answers.
    #[error("{found} answers where {needed} are needed")]
    TooFew {
        /// The threshold.
        needed: usize,
        /// Answers given.
        found: usize,
    },
    /// An answer's index belongs to no member.
    #[error("no member has share index {index}")]
    UnknownMember {
        /// The index.
        index: u8,
    },
    /// Two answers of one member.
    #[error("two answers of share index {index}")]
    Twice {
        /// The index.
        index: u8,
    },
    /// The member answered with a wrong sum: leave the answer out and combine again.
    #[error("the answer of share index {index} does not open the summed commitment")]
    FalseAnswer {
        /// The index.
        index: u8,
    },
    /// The commitments were summed for another committee, or an answer for another layout.
    #[error("commitments or answers belong to another committee or layout")]
    OtherCommittee,
    /// The combined key is no sum of one-time keys, so some client dealt another one; the round is void.
    #[error("the combined key is larger than a sum of {cohort} one-time keys; the round is void")]
    KeyNotSmall {
        /// Clients in the cohort.
        cohort: usize,
    },
}

impl ShareSum {
    /// The empty sum.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { values: Zeroizing::new(vec![Scalar::ZERO; layout.scalars() + 1]) }
    }

    /// Adds this member's share of one client's key.
    ///
    /// # Errors
    /// When the share is another layout's.
    pub fn add(&mut self, share: &KeyShare) -> Result<(), ShareError> {
        if share.values().len() != self.values.len() {
            return Err(ShareError::OtherLayout);
        }
        wipe::after(|| {
            for (sum, value) in self.values.iter_mut().zip(share.values()) {
                *sum += value;
            }
        });
        Ok(())
    }

    /// Checks an answer against the summed commitments.
    ///
    /// # Errors
    /// When it does not open the sum for this index, is another layout's, or nobody has this index.
    pub fn check(&self, commitments: &Commitments, index: u8) -> Result<(), ShareError> {
        let expected = commitments.of(index).ok_or(ShareError::UnknownMember { index })?;
        if self.values.len() != commitments.scalars() + 1 {
            return Err(ShareError::OtherLayout);
        }
        if commitments::commit_public(&self.values) == *expected {
            Ok(())
        } else {
            Err(ShareError::Commitment { index })
        }
    }

    /// Version, then 32 bytes a scalar.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(deal::write(&self.values))
    }

    /// Reads an answer of this layout.
    ///
    /// # Errors
    /// When length or version is wrong or a scalar is not canonical.
    pub fn from_bytes(layout: &Layout, bytes: &[u8]) -> Result<Self, EncodingError> {
        Ok(Self { values: deal::read(WHAT, layout, bytes)? })
    }
}

/// The cohort's summed key from at least t answers, every one of them checked against `commitments`, the sum of
/// the cohort's.
///
/// # Errors
/// Names the first member whose answer is false; leaving it out, the others may still suffice. See
/// [`CombineError`] for the rest.
pub fn combine(
    layout: &Layout,
    committee: &Committee,
    commitments: &Commitments,
    answers: &[(u8, ShareSum)],
    cohort: usize,
) -> Result<KeySum, CombineError> {
    if !layout.admits(cohort) {
        return Err(CombineError::Cohort { cohort });
    }
    check_answers(layout, committee, commitments, answers)?;
    let quorum = &answers[..usize::from(committee.threshold())];
    small_key(layout, quorum, cohort).ok_or(CombineError::KeyNotSmall { cohort })
}

/// What these answers give when they are taken for enough, however few they are: the attack that the threshold is there to withstand, for
/// showing that it fails. `None` unless the result could be a sum of `cohort` one-time keys. Fewer than t answers of an honest dealing
/// are independent of the key, so what they give is as good as random.
#[must_use]
pub fn combine_unchecked(layout: &Layout, answers: &[(u8, ShareSum)], cohort: usize) -> Option<KeySum> {
    let fits = answers.iter().all(|(index, answer)| *index != 0 && answer.values.len() == layout.scalars() + 1);
    let distinct =
        answers.iter().enumerate().all(|(at, (index, _))| answers[..at].iter().all(|(other, _)| other != index));
    if answers.is_empty() || !fits || !distinct || !layout.admits(cohort) {
        return None;
    }
    small_key(layout, answers, cohort)
}

/// The key that this many answers give, if it is small enough for a sum of keys.
fn small_key(layout: &Layout, quorum: &[(u8, ShareSum)], cohort: usize) -> Option<KeySum> {
    wipe::after(|| interpolate(layout, quorum))
        .filter(|key| is_small(key, layout.set().sigma(), cohort))
        .map(KeySum::new)
}

/// The coefficients at zero, or none when the scalars there hold no digits.
fn interpolate(layout: &Layout, quorum: &[(u8, ShareSum)]) -> Option<Zeroizing<Vec<i32>>> {
    let mut packed = Zeroizing::new(vec![Scalar::ZERO; layout.scalars()]);
    for (index, answer) in quorum {
        let factor = lagrange_at_zero(quorum, *index);
        for (sum, value) in packed.iter_mut().zip(answer.values.iter()) {
            *sum += factor * value;
        }
    }
    Digits::of(layout).unpack(&packed, layout.set().ring_degree())
}

fn check_answers(
    layout: &Layout,
    committee: &Committee,
    commitments: &Commitments,
    answers: &[(u8, ShareSum)],
) -> Result<(), CombineError> {
    let needed = usize::from(committee.threshold());
    if answers.len() < needed {
        return Err(CombineError::TooFew { needed, found: answers.len() });
    }
    if commitments.members() != usize::from(committee.members()) || commitments.scalars() != layout.scalars() {
        return Err(CombineError::OtherCommittee);
    }
    let mut seen = [false; 256];
    for (index, answer) in answers {
        if !committee.has(*index) {
            return Err(CombineError::UnknownMember { index: *index });
        }
        if std::mem::replace(&mut seen[usize::from(*index)], true) {
            return Err(CombineError::Twice { index: *index });
        }
        if answer.values.len() != layout.scalars() + 1 {
            return Err(CombineError::OtherCommittee);
        }
        if answer.check(commitments, *index).is_err() {
            return Err(CombineError::FalseAnswer { index: *index });
        }
    }
    Ok(())
}

/// prod_(y != x) y / (y - x) over the quorum's indices, which are distinct and not zero.
fn lagrange_at_zero(quorum: &[(u8, ShareSum)], index: u8) -> Scalar {
    let x = Scalar::from(index);
    let others = quorum.iter().map(|(y, _)| *y).filter(|&y| y != index);
    let (mut above, mut below) = (Scalar::ONE, Scalar::ONE);
    for y in others.map(Scalar::from) {
        above *= y;
        below *= y - x;
    }
    above * below.invert()
}

/// Every coefficient within the cohort's table tails, and the mean square within 4 |U| sigma^2.
fn is_small(key: &[i32], sigma: f64, cohort: usize) -> bool {
    let largest = i64::from(gauss::LARGEST) * cohort as i64;
    let squares: f64 = key.iter().map(|&c| f64::from(c).powi(2)).sum();
    key.iter().all(|&c| i64::from(c).abs() <= largest)
        && squares <= 4.0 * cohort as f64 * sigma.powi(2) * key.len() as f64
}
