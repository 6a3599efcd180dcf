//! Proving to anybody that an envelope is wrong, without giving the private key away.
//!
//! A member that can not use a sealed share shows the Diffie-Hellman point D = x E of that envelope's encapsulated
//! key E, with a proof that the same x takes the base point to the member's public key P = x B. D alone gives
//! the envelope's keys, so anybody can open it and see what the member saw. It opens no other envelope: each
//! has its own E, of which its sender has proved to know the logarithm ([`Envelope`]), and the proof gives
//! nothing about x away but D.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::traits::IsIdentity;
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::commitments::{Commitments, DealingError};
use crate::committee::Committee;
use crate::deal::{KeyShare, ShareError};
use crate::envelope::Envelope;
use crate::layout::Layout;
use crate::logproof::{BASE, LogProof, NONCE, PROOF, Transcript};
use crate::seal::{KEY, SealError, SealingKey};
use crate::wipe;
use crate::wire::{self, EncodingError, VERSION};

const WHAT: &str = "envelope proof";
const LABEL: &[u8] = b"plainchant/secure-sum/envelope-proof/v1";
const SHARED: usize = 1 + KEY + PROOF;

/// What is wrong with an envelope. Its dealer is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// Anybody sees it: the form, the encapsulated key, or the proof that its sender knows the private one.
    #[error("the envelope is none: {0}")]
    Form(SealError),
    /// It does not open under the receiver's key, the info and the associated data.
    #[error("the envelope does not open")]
    Ciphertext,
    /// It holds no share of this layout.
    #[error("the envelope holds no share: {0}")]
    Share(EncodingError),
    /// It holds a share that does not open the dealer's commitment.
    #[error("the envelope holds a false share: {0}")]
    Commitment(ShareError),
    /// Anybody sees it: the committed shares lie on no polynomial of the committee's threshold, whatever this envelope holds.
    #[error("the committed shares lie on no polynomial of the committee's threshold")]
    Degree,
}

/// Why a complaint is refused. The member that complains is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ComplaintError {
    /// The envelope is good and holds a share that opens its commitment.
    #[error("the envelope is good: the share in it opens its commitment")]
    GoodEnvelope,
    /// The proof is for another envelope, key or context, or was altered.
    #[error("the proof does not hold for this envelope and sealing key")]
    Proof,
    /// The envelope is well formed, so only a shared point can show what is in it.
    #[error("the envelope is well formed and the proof shows no point that opens it")]
    NoPoint,
    /// The member's sealing key is not a canonical point of prime order: nobody could have sealed to it.
    #[error("the sealing key of the member is not a usable X25519 key")]
    SealingKey,
    /// The commitments are another committee's or layout's, so nothing can be said.
    #[error("the commitments were made for another committee or layout")]
    OtherCommittee,
    /// The commitments have no member with this share index.
    #[error("no member has share index {index}")]
    UnknownMember {
        /// The index.
        index: u8,
    },
}

/// What a member shows of an envelope so that others can open it; 97 bytes, or 1 when anybody sees that the envelope
/// is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeProof(Option<Shared>);

/// The Diffie-Hellman point of an envelope, and the proof that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shared {
    encoded: [u8; KEY],
    point: EdwardsPoint,
    proof: LogProof,
}

impl EnvelopeProof {
    /// Shows what is in the envelope `sealed` to `key`. To be made of envelopes alone that do not [`unseal`](crate::unseal)
    /// or hold no true share: everybody who gets the proof can read this one envelope.
    pub fn make<R: CryptoRng + ?Sized>(key: &SealingKey, info: &[u8], aad: &[u8], sealed: &[u8], rng: &mut R) -> Self {
        wipe::after(|| {
            let envelope = Envelope { receiver: &key.public(), info, aad, sealed };
            let Ok(checked) = envelope.checked() else {
                return Self(None);
            };
            let secret = key.secret();
            let point = secret.times(&checked.point);
            let encoded = point.compress().0;
            let mut nonce = Zeroizing::new([0; NONCE]);
            rng.fill_bytes(nonce.as_mut_slice());
            let proof = LogProof::new(&secret, [&BASE, &checked.point], transcript(&envelope, &encoded), &nonce);
            Self(Some(Shared { encoded, point, proof }))
        })
    }

    /// What a complaint about `envelope`, sealed to the member with share index `index` by the dealer of
    /// `commitments`, comes to.
    ///
    /// # Errors
    /// When the complaint is false: the member is at fault, not the dealer.
    pub fn judge(
        &self,
        envelope: &Envelope,
        layout: &Layout,
        committee: &Committee,
        commitments: &Commitments,
        index: u8,
    ) -> Result<EnvelopeFault, ComplaintError> {
        let public = envelope.receiver.point().ok_or(ComplaintError::SealingKey)?;
        if !committee.has(index) {
            return Err(ComplaintError::UnknownMember { index });
        }
        if commitments.scalars() != layout.scalars() {
            return Err(ComplaintError::OtherCommittee);
        }
        match commitments.check_degree(committee) {
            Err(DealingError::Degree) => return Ok(EnvelopeFault::Degree),
            Err(_) => return Err(ComplaintError::OtherCommittee),
            Ok(()) => {}
        }
        let checked = match envelope.checked() {
            Ok(checked) => checked,
            Err(fault) => return Ok(EnvelopeFault::Form(fault)),
        };
        let shared = self.0.as_ref().ok_or(ComplaintError::NoPoint)?;
        let pairs = [(&BASE, &public), (&checked.point, &shared.point)];
        if !shared.proof.holds(pairs, transcript(envelope, &shared.encoded)) {
            return Err(ComplaintError::Proof);
        }
        let Some(plaintext) = envelope.open_by(&shared.point, &checked) else {
            return Ok(EnvelopeFault::Ciphertext);
        };
        match KeyShare::from_bytes(layout, &plaintext) {
            Err(error) => Ok(EnvelopeFault::Share(error)),
            Ok(share) => match share.check(commitments, index) {
                Err(error) => Ok(EnvelopeFault::Commitment(error)),
                Ok(()) => Err(ComplaintError::GoodEnvelope),
            },
        }
    }

    /// Version; then, unless the envelope needs none, the point (32 bytes) and its proof (64).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        if let Some(shared) = &self.0 {
            bytes.extend(shared.encoded);
            bytes.extend(shared.proof.to_bytes());
        }
        bytes
    }

    /// Reads a proof.
    ///
    /// # Errors
    /// When length or version is wrong, the point is none of prime order, or a scalar is not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        let expected = if bytes.len() == 1 { 1 } else { SHARED };
        let rest = wire::body(WHAT, bytes, expected)?;
        if rest.is_empty() {
            return Ok(Self(None));
        }
        let (encoded, rest) = wire::take::<KEY>(WHAT, rest)?;
        let (proof, _) = wire::take::<PROOF>(WHAT, rest)?;
        let point = CompressedEdwardsY(encoded).decompress();
        let point = point.filter(|point| point.is_torsion_free() && !point.is_identity());
        Ok(Self(Some(Shared {
            encoded,
            point: point.ok_or(EncodingError::Element { what: WHAT, position: 0 })?,
            proof: LogProof::from_bytes(&proof).ok_or(EncodingError::Element { what: WHAT, position: 1 })?,
        })))
    }
}

/// What the proof speaks of: the member's key, the point and the whole envelope in its context.
fn transcript(envelope: &Envelope, point: &[u8; KEY]) -> Transcript {
    Transcript::new(LABEL, &[&envelope.receiver.u(), envelope.info, envelope.aad, envelope.sealed, point])
}
