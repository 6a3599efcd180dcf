//! Dealing a one-time key: Shamir shares of its packed coefficients, and commitments to them.

use curve25519_dalek::Scalar;
use rand::CryptoRng;
use rayon::prelude::*;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::commitments::{self, Commitments, DealingError};
use crate::committee::Committee;
use crate::digits::Digits;
use crate::key::OneTimeKey;
use crate::layout::Layout;
use crate::wipe;
use crate::wire::{self, EncodingError, VERSION};

const WHAT: &str = "key share";

/// Why a key share or a sum of shares is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// The share index belongs to no member.
    #[error("no member has share index {index}")]
    UnknownMember {
        /// The index.
        index: u8,
    },
    /// The share does not open the commitment: its dealer, or the member who answered, is at fault.
    #[error("the share of index {index} does not open its commitment")]
    Commitment {
        /// The index.
        index: u8,
    },
    /// The share has another layout's length.
    #[error("the share was made for another layout")]
    OtherLayout,
}

/// One member's share of one client's key: a scalar for every few coefficients, and the blinding of its
/// commitment as the last one. Wiped on drop.
pub struct KeyShare {
    values: Zeroizing<Vec<Scalar>>,
}

/// What a client hands out about its one-time key.
pub struct Dealing {
    /// Shares of the members 1 to k, each to be sealed to its member.
    pub shares: Vec<KeyShare>,
    /// A commitment to each of them, for everybody.
    pub commitments: Commitments,
}

/// Shares a one-time key among the committee: every scalar by its own random polynomial of degree t - 1.
///
/// # Errors
/// When the key was generated for another parameter set.
pub fn deal<R: CryptoRng + ?Sized>(
    key: &OneTimeKey,
    layout: &Layout,
    committee: &Committee,
    rng: &mut R,
) -> Result<Dealing, DealingError> {
    if !key.serves(layout) {
        return Err(DealingError::OtherKey);
    }
    Ok(wipe::after(|| share(key, layout, committee, rng)))
}

fn share<R: CryptoRng + ?Sized>(key: &OneTimeKey, layout: &Layout, committee: &Committee, rng: &mut R) -> Dealing {
    let mut secret = Zeroizing::new(Vec::with_capacity(layout.scalars() + 1));
    secret.extend_from_slice(&Digits::of(layout).pack(key.coefficients()));
    secret.push(Scalar::random(rng));
    let higher: Vec<Zeroizing<Vec<Scalar>>> = (1..committee.threshold())
        .map(|_| Zeroizing::new(secret.iter().map(|_| Scalar::random(rng)).collect()))
        .collect();
    let (shares, points) = (1..=committee.members())
        .into_par_iter()
        .map(|index| {
            wipe::after(|| {
                let values = evaluate(&secret, &higher, index);
                let point = commitments::commit(&values);
                (KeyShare { values }, point)
            })
        })
        .unzip();
    Dealing { shares, commitments: Commitments::new(layout, points) }
}

/// The polynomials with these constant terms and higher coefficients, at `index`.
fn evaluate(constant: &[Scalar], higher: &[Zeroizing<Vec<Scalar>>], index: u8) -> Zeroizing<Vec<Scalar>> {
    let x = Scalar::from(index);
    let mut values = Zeroizing::new(vec![Scalar::ZERO; constant.len()]);
    for (j, value) in values.iter_mut().enumerate() {
        for coefficients in higher.iter().rev() {
            *value = (*value + coefficients[j]) * x;
        }
        *value += constant[j];
    }
    values
}

impl KeyShare {
    /// Checks the share of index `index` against its dealer's commitments.
    ///
    /// # Errors
    /// When the share does not open its commitment, is another layout's, or nobody has this index.
    pub fn check(&self, commitments: &Commitments, index: u8) -> Result<(), ShareError> {
        let expected = commitments.of(index).ok_or(ShareError::UnknownMember { index })?;
        if self.values.len() != commitments.scalars() + 1 {
            return Err(ShareError::OtherLayout);
        }
        if wipe::after(|| commitments::commit(&self.values)).ct_eq(expected).into() {
            Ok(())
        } else {
            Err(ShareError::Commitment { index })
        }
    }

    /// Version, then 32 bytes a scalar.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(write(&self.values))
    }

    /// Reads a share of this layout.
    ///
    /// # Errors
    /// When length or version is wrong or a scalar is not canonical.
    pub fn from_bytes(layout: &Layout, bytes: &[u8]) -> Result<Self, EncodingError> {
        Ok(Self { values: read(WHAT, layout, bytes)? })
    }

    pub(crate) fn values(&self) -> &[Scalar] {
        &self.values
    }
}

/// Bytes of a share of so many scalars, before it is sealed.
pub(crate) const fn share_bytes(scalars: usize) -> usize {
    1 + 32 * scalars
}

/// Version, then the scalars, in a buffer that never grows, so that no copy stays behind.
pub(crate) fn write(values: &[Scalar]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(share_bytes(values.len()));
    bytes.push(VERSION);
    for value in values {
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// Reads the scalars of a share or of a sum of shares.
pub(crate) fn read(what: &'static str, layout: &Layout, bytes: &[u8]) -> Result<Zeroizing<Vec<Scalar>>, EncodingError> {
    let count = layout.scalars() + 1;
    let rest = wire::body(what, bytes, share_bytes(count))?;
    let mut values = Zeroizing::new(Vec::with_capacity(count));
    wipe::after(|| {
        for (position, scalar) in rest.as_chunks::<32>().0.iter().enumerate() {
            let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(*scalar));
            values.push(scalar.ok_or(EncodingError::Element { what, position })?);
        }
        Ok(())
    })?;
    Ok(values)
}
