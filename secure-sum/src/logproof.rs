//! Proofs about the private scalars of X25519 keys: that one knows it (Schnorr 1991), and that it takes two bases
//! to two given points (Chaum and Pedersen 1992). Both are made non-interactive by a hash over all that they speak
//! of, in the form of RFC 9497, section 2.2: challenge and response, 32 bytes each.
//!
//! X25519 knows u-coordinates only, while a proof needs points. [`point`] takes the one of the two points of
//! edwards25519 whose x is even, and a [`Secret`] is the private scalar or its negative, whichever fits; u-coordinates
//! are the same for both. Only points of prime order and their canonical encodings are admitted, as every
//! honest key has, so neither the twist nor the cofactor gives room for a second meaning.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::montgomery::MontgomeryPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use sha2::{Digest, Sha512};
use subtle::{Choice, ConditionallyNegatable};
use zeroize::Zeroizing;

/// Bytes of a proof.
pub(crate) const PROOF: usize = 64;

/// Bytes of the randomness that a proof takes.
pub(crate) const NONCE: usize = 64;

const NONCE_LABEL: &[u8] = b"plainchant/secure-sum/proof-nonce/v1";

/// The base point that public keys are multiples of.
pub(crate) const BASE: EdwardsPoint = ED25519_BASEPOINT_POINT;

/// The point of prime order with this u-coordinate and an even x; none when it lies on the twist, has a component
/// of small order, or is not canonically encoded.
pub(crate) fn point(u: &[u8; 32]) -> Option<EdwardsPoint> {
    let point = MontgomeryPoint(*u).to_edwards(0)?;
    let usable = !point.is_identity() && point.is_torsion_free() && point.to_montgomery().to_bytes() == *u;
    usable.then_some(point)
}

/// The logarithm of a public key's [`point`].
pub(crate) struct Secret(Zeroizing<Scalar>);

impl Secret {
    /// Of a private key, clamped as RFC 7748 says.
    pub(crate) fn of(private: &[u8; 32]) -> Self {
        let mut scalar = Zeroizing::new(Scalar::from_bytes_mod_order(*private));
        let odd = EdwardsPoint::mul_base(&scalar).compress().0[31] >> 7;
        scalar.conditional_negate(Choice::from(odd));
        Self(scalar)
    }

    /// The Diffie-Hellman point with a point of prime order, in constant time.
    pub(crate) fn times(&self, point: &EdwardsPoint) -> EdwardsPoint {
        point * *self.0
    }
}

/// All that a proof speaks of, hashed with its lengths under a label.
pub(crate) struct Transcript(Sha512);

impl Transcript {
    pub(crate) fn new(label: &[u8], parts: &[&[u8]]) -> Self {
        let mut hash = Sha512::new();
        for part in [label].iter().chain(parts) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash)
    }

    fn nonce(&self, secret: &Secret, random: &[u8; NONCE]) -> Zeroizing<Scalar> {
        let spoken = self.0.clone().finalize();
        let parts: [&[u8]; 4] = [NONCE_LABEL, secret.0.as_bytes(), random, &spoken];
        Zeroizing::new(Scalar::from_hash(parts.iter().fold(Sha512::new(), |hash, part| hash.chain_update(part))))
    }

    fn challenge<const N: usize>(self, announced: &[EdwardsPoint; N]) -> Scalar {
        let points = announced.iter().map(|point| point.compress().0);
        Scalar::from_hash(points.fold(self.0, |hash, point| hash.chain_update(point)))
    }
}

/// A proof that one secret takes each of N bases to the point beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogProof {
    challenge: Scalar,
    response: Scalar,
}

impl LogProof {
    /// Proves it of `secret` for these bases. The nonce is hashed from `random`, the secret and the transcript, so that random
    /// bytes that come again (a machine put back to an earlier state) do not give the secret away.
    pub(crate) fn new<const N: usize>(
        secret: &Secret,
        bases: [&EdwardsPoint; N],
        transcript: Transcript,
        random: &[u8; NONCE],
    ) -> Self {
        let nonce = transcript.nonce(secret, random);
        let challenge = transcript.challenge(&bases.map(|base| base * *nonce));
        let masked = Zeroizing::new(challenge * *secret.0);
        Self { challenge, response: *nonce - *masked }
    }

    /// Whether the proof holds for these pairs of a base and a point, all of prime order.
    pub(crate) fn holds<const N: usize>(
        &self,
        pairs: [(&EdwardsPoint, &EdwardsPoint); N],
        transcript: Transcript,
    ) -> bool {
        let scalars = [&self.response, &self.challenge];
        let announced = pairs.map(|(base, point)| EdwardsPoint::vartime_multiscalar_mul(scalars, [base, point]));
        transcript.challenge(&announced) == self.challenge
    }

    pub(crate) fn to_bytes(&self) -> [u8; PROOF] {
        let mut bytes = [0; PROOF];
        bytes[..32].copy_from_slice(self.challenge.as_bytes());
        bytes[32..].copy_from_slice(self.response.as_bytes());
        bytes
    }

    /// None when a scalar is not canonical.
    pub(crate) fn from_bytes(bytes: &[u8; PROOF]) -> Option<Self> {
        let [challenge, response] = bytes.as_chunks::<32>().0 else {
            return None;
        };
        Some(Self {
            challenge: Option::from(Scalar::from_canonical_bytes(*challenge))?,
            response: Option::from(Scalar::from_canonical_bytes(*response))?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use curve25519_dalek::constants::{EIGHT_TORSION, X25519_LOW_ORDER_POINTS};
    use curve25519_dalek::scalar::clamp_integer;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// The ladder on u-coordinates is the independent one.
        #[test]
        fn points_and_secrets_give_what_the_montgomery_ladder_gives(ours: [u8; 32], theirs: [u8; 32]) {
            let secret = Secret::of(&clamp_integer(ours));
            let public = MontgomeryPoint::mul_base_clamped(ours);
            prop_assert_eq!(secret.times(&BASE), point(&public.0).unwrap());
            let other = MontgomeryPoint::mul_base_clamped(theirs);
            let shared = secret.times(&point(&other.0).unwrap());
            prop_assert_eq!(shared.to_montgomery().0, other.mul_clamped(ours).0);
        }

        #[test]
        fn proofs_hold_for_what_was_proved_and_for_nothing_else(key: [u8; 32], other: [u8; 32], nonce: [[u8; 32]; 2]) {
            let (secret, base) = (Secret::of(&clamp_integer(key)), Secret::of(&clamp_integer(other)).times(&BASE));
            let (public, shared) = (secret.times(&BASE), secret.times(&base));
            let transcript = || Transcript::new(b"label", &[b"one", b"two"]);
            let nonce = nonce.as_flattened().try_into().unwrap();
            let proof = LogProof::new(&secret, [&BASE, &base], transcript(), nonce);
            prop_assert_eq!(LogProof::from_bytes(&proof.to_bytes()), Some(proof.clone()));
            prop_assert!(proof.holds([(&BASE, &public), (&base, &shared)], transcript()));
            prop_assert!(!proof.holds([(&BASE, &public), (&base, &-shared)], transcript()));
            prop_assert!(!proof.holds([(&BASE, &public), (&base, &(shared + BASE))], transcript()));
            prop_assert!(!proof.holds([(&BASE, &-public), (&base, &shared)], transcript()));
            prop_assert!(!proof.holds([(&BASE, &public)], transcript()));
            for parts in [[b"on".as_slice(), b"etwo"], [b"one", b"twp"]] {
                prop_assert!(!proof.holds([(&BASE, &public), (&base, &shared)], Transcript::new(b"label", &parts)));
            }
            let relabelled = Transcript::new(b"Label", &[b"one", b"two"]);
            prop_assert!(!proof.holds([(&BASE, &public), (&base, &shared)], relabelled));
        }
    }

    /// With one nonce twice, the secret would be the quotient of two differences.
    #[test]
    fn random_bytes_that_come_again_give_another_nonce() {
        let secret = Secret::of(&clamp_integer([5; 32]));
        let nonce = |part: &[u8], secret: &Secret| *Transcript::new(b"label", &[part]).nonce(secret, &[7; NONCE]);
        assert_eq!(nonce(b"one", &secret), nonce(b"one", &secret));
        assert_ne!(nonce(b"one", &secret), nonce(b"two", &secret));
        assert_ne!(nonce(b"one", &secret), nonce(b"one", &Secret::of(&clamp_integer([6; 32]))));
        let [one, two] = [b"one", b"two"]
            .map(|part| LogProof::new(&secret, [&BASE], Transcript::new(b"label", &[part]), &[7; NONCE]));
        let guess = (one.response - two.response) * (two.challenge - one.challenge).invert();
        assert_ne!(guess, *secret.0);
    }

    #[test]
    fn only_canonical_points_of_prime_order_are_admitted() {
        let base = BASE.to_montgomery().0;
        assert_eq!(base[0], 9);
        assert!(point(&base).is_some());
        // The top bit, which X25519 ignores, and coordinates not below p = 2^255 - 19.
        let mut high = base;
        high[31] |= 0x80;
        assert!(point(&high).is_none());
        for low in 0xed..=0xff {
            let mut large = [0xff; 32];
            (large[0], large[31]) = (low, 0x7f);
            assert!(point(&large).is_none());
        }
        for low_order in X25519_LOW_ORDER_POINTS {
            assert!(point(&low_order.0).is_none());
        }
        for torsion in &EIGHT_TORSION[1..] {
            assert!(point(&(BASE + torsion).to_montgomery().0).is_none());
        }
        // u = 2 lies on the twist: 2^3 + 486662 * 2^2 + 2 is not a square.
        let mut twist = [0; 32];
        twist[0] = 2;
        assert!(MontgomeryPoint(twist).to_edwards(0).is_none() && point(&twist).is_none());
    }
}
