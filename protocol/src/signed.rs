//! A message with its signer's name and Ed25519 signature; [`Signed::verify`] is the only way to its content's trust.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName};
use crate::message::MAX_BODY_BYTES;
use crate::rejection::{Party, Rejection};
use crate::roster::Roster;

/// A message that somebody says and signs.
pub trait Statement: Message {
    /// Who says it: a member's name, or [`AGGREGATOR`].
    fn speaker(&self) -> &str;
}

/// The aggregator's name as a signer; no member may have it.
pub const AGGREGATOR: &str = "aggregator";

/// An Ed25519 public key that is a valid, not weak point.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Checks a key. `None` when it is no point or a weak one (of small order).
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether `signature` over `message` holds, by the strict rules (no malleability).
    pub fn holds(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.as_bytes()))
    }
}

/// A name and the key it signs with. The key is wiped on drop; it is neither cloned nor printed.
pub struct Signer {
    name: HouseName,
    key: SigningKey,
}

impl Signer {
    /// A signer from the 32 secret bytes, which the caller drew from the operating system and wipes.
    pub fn new(name: HouseName, secret: &[u8; 32]) -> Self {
        Self { name, key: SigningKey::from_bytes(secret) }
    }

    /// Its name.
    pub fn name(&self) -> &HouseName {
        &self.name
    }

    /// Its public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// Signs a JSON object as it stands, for people who verify it with common tools. `None` for other text: everything else that such a key
    /// signs begins otherwise, so that no document passes for a message of the protocol.
    pub fn sign_json(&self, object: &str) -> Option<[u8; 64]> {
        object.starts_with('{').then(|| self.sign_raw(object.as_bytes()))
    }

    /// Signs bytes that are no [`Message`] (checkpoints).
    pub(crate) fn sign_raw(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }
}

/// The canonical bytes of a `T`, who signed them, and the signature.
///
/// The signature is over `"plainchant/v1/sign/" || LABEL || 0x00 || name || 0x00 || bytes`.
pub struct Signed<T> {
    parts: Arc<Parts>,
    kind: PhantomData<fn() -> T>,
}

/// Never changed once made, so that what was found of them stays true; shared by all clones.
struct Parts {
    body: Vec<u8>,
    signer: HouseName,
    signature: [u8; 64],
    /// A key under which the signature was found to hold. The same message is verified at many steps of a round.
    holds_under: OnceLock<PublicKey>,
}

impl<T: Statement> Signed<T> {
    /// Signs a statement.
    pub fn sign(statement: &T, signer: &Signer) -> Self {
        let body = statement.to_bytes();
        let signature = signer.sign_raw(&signed_bytes::<T>(signer.name(), &body));
        Self::of(body, signer.name.clone(), signature)
    }

    fn of(body: Vec<u8>, signer: HouseName, signature: [u8; 64]) -> Self {
        let holds_under = OnceLock::new();
        Self { parts: Arc::new(Parts { body, signer, signature, holds_under }), kind: PhantomData }
    }

    fn holds(&self, key: &PublicKey) -> bool {
        let Parts { body, signer, signature, holds_under } = &*self.parts;
        if holds_under.get() == Some(key) {
            return true;
        }
        let holds = key.holds(&signed_bytes::<T>(signer, body), signature);
        if holds {
            // Another thread may have been faster.
            let _ = holds_under.set(*key);
        }
        holds
    }

    /// The statement, when its signer is in the roster, speaks for itself, and the signature holds.
    ///
    /// # Errors
    /// [`Rejection::UnknownMember`], [`Rejection::BadSignature`], [`Rejection::WrongSpeaker`], [`Rejection::Malformed`].
    pub fn verify(&self, roster: &Roster) -> Result<T, Rejection> {
        let member =
            roster.member(self.signer()).ok_or_else(|| Rejection::UnknownMember { name: self.signer().clone() })?;
        self.verify_by(member.signing_key())
    }

    /// The statement, when the signature holds under `key`, which the caller knows to be the signer's.
    ///
    /// # Errors
    /// [`Rejection::BadSignature`], [`Rejection::WrongSpeaker`], [`Rejection::Malformed`].
    pub fn verify_by(&self, key: &PublicKey) -> Result<T, Rejection> {
        let who = Party::named(self.signer());
        if !self.holds(key) {
            return Err(Rejection::BadSignature { who, label: T::LABEL });
        }
        let statement = T::from_bytes(self.body()).map_err(|error| Rejection::Malformed { who: who.clone(), error })?;
        if statement.speaker() != self.signer().as_str() {
            return Err(Rejection::WrongSpeaker { who, speaker: statement.speaker().to_owned() });
        }
        Ok(statement)
    }

    /// The statement without any check of its signature: for what this program signed or verified before.
    ///
    /// # Errors
    /// [`EncodingError`] when the bytes are no `T`.
    pub fn unverified(&self) -> Result<T, EncodingError> {
        T::from_bytes(self.body())
    }

    /// The digest of the statement, as [`Message::digest`] of it: two signatures over one statement have one digest.
    pub fn body_digest(&self) -> Digest {
        Digest::of(T::LABEL, self.body())
    }

    /// Who claims to have signed.
    pub fn signer(&self) -> &HouseName {
        &self.parts.signer
    }

    /// The canonical bytes of the statement.
    pub fn body(&self) -> &[u8] {
        &self.parts.body
    }

    /// The signature.
    pub fn signature(&self) -> &[u8; 64] {
        &self.parts.signature
    }

    /// Puts the parts together again (from the wire); nothing is checked before [`Signed::verify`].
    ///
    /// # Errors
    /// [`EncodingError::TooLong`] when the body is above [`MAX_BODY_BYTES`].
    pub fn from_parts(body: Vec<u8>, signer: HouseName, signature: [u8; 64]) -> Result<Self, EncodingError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(EncodingError::TooLong { field: "body", length: body.len(), limit: MAX_BODY_BYTES });
        }
        Ok(Self::of(body, signer, signature))
    }
}

impl<T: Statement> Message for Signed<T> {
    const LABEL: &'static str = "signed";

    fn write(&self, writer: &mut Writer) {
        // The label keeps the bytes of one signed type from being read as another's.
        writer.bytes(T::LABEL.as_bytes());
        writer.name(self.signer());
        writer.fixed(self.signature());
        writer.bytes(self.body());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        if reader.bytes("label", 64)? != T::LABEL.as_bytes() {
            return Err(EncodingError::invalid("label", format_args!("is not `{}`", T::LABEL)));
        }
        let signer = reader.name("signer")?;
        let signature = reader.array("signature")?;
        let body = reader.bytes("body", MAX_BODY_BYTES)?.to_vec();
        Ok(Self::of(body, signer, signature))
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts), kind: PhantomData }
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&*self.parts, &*other.parts);
        one.body == two.body && one.signer == two.signer && one.signature == two.signature
    }
}

impl<T> Eq for Signed<T> {}

impl<T: Statement> fmt::Debug for Signed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed<{}>({}, {})", T::LABEL, self.signer(), self.body_digest())
    }
}

fn signed_bytes<T: Message>(signer: &HouseName, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"plainchant/v1/sign/".to_vec();
    bytes.extend_from_slice(T::LABEL.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(signer.as_str().as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::message::Ready;
    use crate::{Attempt, RoundNumber};

    #[test]
    fn a_document_is_signed_as_it_stands_and_nothing_that_is_no_object() {
        let signer = Signer::new(HouseName::new("abbey").unwrap(), &[1; 32]);
        let signature = signer.sign_json("{\"a\": 1}").unwrap();
        assert!(signer.public_key().holds(b"{\"a\": 1}", &signature));
        for other in ["", " {}", "[]", "plainchant/v1/sign/", "cosignature/v1\n"] {
            assert!(signer.sign_json(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_signature_that_held_under_one_key_holds_under_no_other_and_a_clone_with_other_parts_is_checked_anew() {
        let name = HouseName::new("abbey").unwrap();
        let (signer, other) = (Signer::new(name.clone(), &[1; 32]), Signer::new(name.clone(), &[2; 32]));
        let digest = Digest::sha256(b"x");
        let ready = Ready {
            charter: digest,
            roster: digest,
            round: RoundNumber::FIRST,
            attempt: Attempt::FIRST,
            member: name.clone(),
        };
        let signed = Signed::sign(&ready, &signer);
        for _ in 0..2 {
            assert!(signed.verify_by(&other.public_key()).is_err());
            assert!(signed.clone().verify_by(&signer.public_key()).is_ok());
        }
        let mut body = signed.body().to_vec();
        *body.last_mut().unwrap() ^= 1;
        let altered = Signed::<Ready>::from_parts(body, name, *signed.signature()).unwrap();
        assert!(matches!(altered.verify_by(&signer.public_key()), Err(Rejection::BadSignature { .. })));
    }
}
