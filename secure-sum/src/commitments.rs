//! Hiding Pedersen vector commitments, one a member: C_x = sum_j share_xj G_j + r_x H over ristretto255.
//!
//! The generators are hashed to the group, so nobody knows a relation between them; r_x is the value at x of one
//! more random polynomial. Commitments are linear like the shares: their sum commits to the sum of the shares.
//! That all shares lie on polynomials of degree below t is checked in the exponent by one random word of the
//! dual code (SCRAPE, Cascudo and David 2017): sum_x f(x) / prod_(y != x) (x - y) C_x = 0 for random f of
//! degree below k - t; a dealer who deviates passes with probability 2^-252.

use std::sync::OnceLock;

use curve25519_dalek::Scalar;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::traits::{Identity, IsIdentity, MultiscalarMul, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};

use crate::committee::Committee;
use crate::layout::Layout;
use crate::wire::{self, EncodingError, VERSION};

const GENERATOR_LABEL: &[u8] = b"plainchant/secure-sum/generator/v1";
const DEGREE_LABEL: &[u8] = b"plainchant/secure-sum/degree/v1";
const WHAT: &str = "commitments";

/// No layout has more scalars a share: 4096 coefficients, at least 18 a scalar.
const GENERATORS_MAX: usize = 4096 / 18 + 1;

/// Bytes before the points: version, scalars of a share, members.
const HEAD: usize = 1 + 2 + 1;

/// Bytes of the commitments to the key shares of so many members.
pub(crate) const fn commitment_bytes(members: usize) -> usize {
    HEAD + 32 * members
}

/// Why a client's dealing is refused. The dealer is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DealingError {
    /// The shares lie on no polynomial of degree t - 1.
    #[error("the committed shares lie on no polynomial of the committee's threshold")]
    Degree,
    /// The commitments are to another number of members or scalars.
    #[error("the commitments were made for another committee or layout")]
    OtherCommittee,
    /// The key was generated for another parameter set.
    #[error("the one-time key belongs to a layout with another parameter set")]
    OtherKey,
}

/// A commitment to each member's share vector, in order of the share indices; or the sum of such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitments {
    scalars: usize,
    points: Vec<RistrettoPoint>,
}

impl Commitments {
    /// The empty sum.
    #[must_use]
    pub fn zero(layout: &Layout, committee: &Committee) -> Self {
        Self { scalars: layout.scalars(), points: vec![RistrettoPoint::identity(); usize::from(committee.members())] }
    }

    pub(crate) fn new(layout: &Layout, points: Vec<RistrettoPoint>) -> Self {
        Self { scalars: layout.scalars(), points }
    }

    /// Checks that all committed shares lie on polynomials of degree t - 1.
    ///
    /// # Errors
    /// When they do not, or the commitments are another committee's.
    pub fn check_degree(&self, committee: &Committee) -> Result<(), DealingError> {
        if self.points.len() != usize::from(committee.members()) {
            return Err(DealingError::OtherCommittee);
        }
        // With t = k every vector lies on such a polynomial.
        let word = self.dual_word(committee);
        if RistrettoPoint::vartime_multiscalar_mul(&word, &self.points).is_identity() {
            Ok(())
        } else {
            Err(DealingError::Degree)
        }
    }

    /// Adds another client's commitments.
    ///
    /// # Errors
    /// When they are another committee's or another layout's.
    pub fn add(&mut self, other: &Self) -> Result<(), DealingError> {
        if self.points.len() != other.points.len() || self.scalars != other.scalars {
            return Err(DealingError::OtherCommittee);
        }
        for (sum, point) in self.points.iter_mut().zip(&other.points) {
            *sum += point;
        }
        Ok(())
    }

    /// Version, scalars of a share, members, then a compressed point a member.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(commitment_bytes(self.points.len()));
        bytes.push(VERSION);
        bytes.extend((self.scalars as u16).to_le_bytes());
        bytes.push(self.points.len() as u8);
        for point in &self.points {
            bytes.extend(point.compress().as_bytes());
        }
        bytes
    }

    /// Reads the commitments of one dealing for this layout and committee.
    ///
    /// # Errors
    /// When length, version or sizes are wrong, or a point is not canonical.
    pub fn from_bytes(layout: &Layout, committee: &Committee, bytes: &[u8]) -> Result<Self, EncodingError> {
        let members = usize::from(committee.members());
        let rest = wire::body(WHAT, bytes, commitment_bytes(members))?;
        let (scalars, rest) = wire::take::<2>(WHAT, rest)?;
        let ([count], rest) = wire::take::<1>(WHAT, rest)?;
        if usize::from(u16::from_le_bytes(scalars)) != layout.scalars() || count != committee.members() {
            return Err(EncodingError::Geometry { what: WHAT });
        }
        let points = rest
            .as_chunks::<32>()
            .0
            .iter()
            .enumerate()
            .map(|(position, point)| {
                CompressedRistretto(*point).decompress().ok_or(EncodingError::Element { what: WHAT, position })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::new(layout, points))
    }

    /// The commitment of the member with this share index.
    pub(crate) fn of(&self, index: u8) -> Option<&RistrettoPoint> {
        self.points.get(usize::from(index).checked_sub(1)?)
    }

    /// Scalars of a committed share, without its blinding.
    pub(crate) fn scalars(&self) -> usize {
        self.scalars
    }

    /// Committed members.
    pub(crate) fn members(&self) -> usize {
        self.points.len()
    }

    /// f(x) / prod_(y != x) (x - y) for every x, f from a hash of the commitments; all zero for t = k.
    fn dual_word(&self, committee: &Committee) -> Vec<Scalar> {
        let degree = committee.members() - committee.threshold();
        let transcript = Sha512::new()
            .chain_update(DEGREE_LABEL)
            .chain_update([committee.threshold()])
            .chain_update(self.to_bytes());
        let f: Vec<Scalar> = (0..degree).map(|j| Scalar::from_hash(transcript.clone().chain_update([j]))).collect();
        let inverses = inverse_factorials(committee.members());
        committee
            .indices()
            .map(|index| {
                let x = Scalar::from(index);
                let value = f.iter().rev().fold(Scalar::ZERO, |sum, c| sum * x + c);
                let above = committee.members() - index;
                // prod_(y != x) (x - y) is (x - 1)! (k - x)!, negative when an odd number of y lies above x.
                let weight = value * inverses[usize::from(index) - 1] * inverses[usize::from(above)];
                if above.is_multiple_of(2) { weight } else { -weight }
            })
            .collect()
    }
}

/// 1/0!, 1/1!, ..., 1/n! by one inversion.
fn inverse_factorials(n: u8) -> Vec<Scalar> {
    let factorial: Scalar = (1..=n).map(Scalar::from).product();
    let mut inverses = vec![factorial.invert(); usize::from(n) + 1];
    for i in (0..n).rev() {
        inverses[usize::from(i)] = inverses[usize::from(i) + 1] * Scalar::from(i + 1);
    }
    inverses
}

/// Commits to a share vector whose last entry is the blinding, in constant time.
pub(crate) fn commit(share: &[Scalar]) -> RistrettoPoint {
    RistrettoPoint::multiscalar_mul(share, points_for(share))
}

/// The same in variable time, for an answer that is public to whoever runs this: it may open the sum with it.
pub(crate) fn commit_public(share: &[Scalar]) -> RistrettoPoint {
    RistrettoPoint::vartime_multiscalar_mul(share, points_for(share))
}

/// G_1, G_2, ... for all entries but the last, and H for that one.
fn points_for(share: &[Scalar]) -> impl Iterator<Item = &'static RistrettoPoint> {
    let (blinding, others) = generators();
    others.iter().take(share.len().saturating_sub(1)).chain(std::iter::once(blinding))
}

/// H and the G_j, hashed to the group once a process.
fn generators() -> (&'static RistrettoPoint, &'static [RistrettoPoint]) {
    static POINTS: OnceLock<(RistrettoPoint, Vec<RistrettoPoint>)> = OnceLock::new();
    let (blinding, others) = POINTS.get_or_init(|| {
        let point = |index: u16| {
            let hash = Sha512::new().chain_update(GENERATOR_LABEL).chain_update(index.to_le_bytes());
            RistrettoPoint::from_hash(hash)
        };
        let others = (1..=GENERATORS_MAX as u16).map(point).collect();
        (point(0), others)
    });
    (blinding, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverse_factorials_times_factorials_are_one() {
        let mut factorial = Scalar::ONE;
        for (i, inverse) in inverse_factorials(255).into_iter().enumerate() {
            factorial *= Scalar::from(i.max(1) as u64);
            assert_eq!(inverse * factorial, Scalar::ONE, "{i}!");
        }
    }
}
