//! Envelopes: what anybody can check of one, and opening one by its Diffie-Hellman point alone.

use curve25519_dalek::edwards::EdwardsPoint;
use hpke::OpModeR;
use hpke::aead::{AeadCtxR, ChaCha20Poly1305};
use hpke::kdf::{HkdfSha256, Kdf};
use hpke::kem::{SharedSecret, X25519HkdfSha256};
use zeroize::Zeroizing;

use crate::logproof::{self, BASE, LogProof, PROOF, Transcript};
use crate::seal::{KEY, SEAL_OVERHEAD, SealError, SealingPublicKey};
use crate::wire;

const WHAT: &str = "envelope";
const EPHEMERAL_LABEL: &[u8] = b"plainchant/secure-sum/ephemeral/v1";

/// The KEM's identifier in its key derivation (RFC 9180, sections 4.1 and 7.1).
const KEM_SUITE: &[u8] = b"KEM\x00\x20";

/// An envelope, with what it was sealed for.
///
/// Beside the encapsulated key E = e B it holds a proof that its sender knows e, bound to all else in and around it.
/// Without that a member that proves an envelope wrong ([`EnvelopeProof`](crate::EnvelopeProof)) would be an oracle:
/// it shows the Diffie-Hellman point of E, and a malicious sender could have made E from the encapsulated key E'
/// of an honest one (E = E' + r B), so that the point opens the honest sender's envelope. A sender that
/// knows e knows the point e P already and learns nothing from being shown it. In the algebraic group and random oracle
/// models that is a proof: e is read off the sender's Schnorr proof, D = e P is computed without the receiver's key, and
/// the proof beside D is simulated. Schnorr-signed ElGamal is treated in those models by Fuchsbauer, Plouviez and Seurin
/// (EUROCRYPT 2020); danger and remedy are described by Shoup and Gennaro (EUROCRYPT 1998).
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Whom it was sealed to.
    pub receiver: &'a SealingPublicKey,
    /// The context, as given to [`seal`](crate::seal).
    pub info: &'a [u8],
    /// The associated data, as given to [`seal`](crate::seal).
    pub aad: &'a [u8],
    /// The sealed bytes.
    pub sealed: &'a [u8],
}

/// An envelope whose sender knows the ephemeral key.
pub(crate) struct Checked<'a> {
    pub(crate) encapsulated: [u8; KEY],
    /// The encapsulated key as a point.
    pub(crate) point: EdwardsPoint,
    pub(crate) ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Checks all that can be checked without the receiver's key: form, encapsulated key and its proof.
    /// [`unseal`](crate::unseal) refuses whatever this refuses.
    ///
    /// # Errors
    /// When the sender is at fault.
    pub fn check(&self) -> Result<(), SealError> {
        self.checked().map(drop)
    }

    pub(crate) fn checked(&self) -> Result<Checked<'a>, SealError> {
        let rest = wire::body(WHAT, self.sealed, self.sealed.len().max(SEAL_OVERHEAD))?;
        let (encapsulated, rest) = wire::take::<KEY>(WHAT, rest)?;
        let (proof, ciphertext) = wire::take::<PROOF>(WHAT, rest)?;
        let point = logproof::point(&encapsulated).ok_or(SealError::Envelope)?;
        let proof = LogProof::from_bytes(&proof).ok_or(SealError::Envelope)?;
        let transcript = transcript(self.receiver, self.info, self.aad, &encapsulated, ciphertext);
        if !proof.holds([(&BASE, &point)], transcript) {
            return Err(SealError::Envelope);
        }
        Ok(Checked { encapsulated, point, ciphertext })
    }

    /// What the receiver sees whose Diffie-Hellman point this is: RFC 9180's decapsulation from the point on, its key schedule
    /// and its decryption, by the code that [`unseal`](crate::unseal) runs too.
    pub(crate) fn open_by(&self, shared: &EdwardsPoint, checked: &Checked) -> Option<Zeroizing<Vec<u8>>> {
        let shared = Zeroizing::new(shared.to_montgomery().to_bytes());
        let context = [checked.encapsulated, self.receiver.u()];
        let mut secret = SharedSecret::<X25519HkdfSha256>::default();
        HkdfSha256::extract_and_expand(shared.as_slice(), KEM_SUITE, context.as_flattened(), &mut secret.0).ok()?;
        let mode = OpModeR::<X25519HkdfSha256>::Base;
        let context = HkdfSha256::combine_secrets::<ChaCha20Poly1305, _, _>(&mode, secret, self.info);
        AeadCtxR::from(context).open(checked.ciphertext, self.aad).map(Zeroizing::new).ok()
    }
}

/// What the proof of the ephemeral key speaks of.
pub(crate) fn transcript(
    receiver: &SealingPublicKey,
    info: &[u8],
    aad: &[u8],
    encapsulated: &[u8; KEY],
    ciphertext: &[u8],
) -> Transcript {
    Transcript::new(EPHEMERAL_LABEL, &[&receiver.u(), info, aad, encapsulated, ciphertext])
}

#[cfg(test)]
mod tests;
