//! Sealing key shares to one member: HPKE (RFC 9180) base mode with X25519-HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! An envelope is an encapsulated key, a proof that its sender knows the private one ([`Envelope`] says why), and
//! the ciphertext.

use std::convert::Infallible;

use curve25519_dalek::edwards::EdwardsPoint;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::envelope::{self, Envelope};
use crate::logproof::{self, BASE, LogProof, NONCE, PROOF, Secret};
use crate::wipe;
use crate::wire::{self, EncodingError, VERSION};

/// Bytes of a key or an encapsulated key, of a tag, and of all that precedes the ciphertext.
pub(crate) const KEY: usize = 32;
const TAG: usize = 16;
const HEAD: usize = 1 + KEY + PROOF;

/// Bytes that sealing adds to a plaintext: version, encapsulated key, its proof, tag.
pub const SEAL_OVERHEAD: usize = HEAD + TAG;

/// Why sealing or unsealing failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The public key is not usable.
    #[error("the sealing key of the receiver is not a usable X25519 key")]
    PublicKey,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Randomness,
    /// hpke made its ephemeral key otherwise than from the bytes that it was given.
    #[error("the HPKE library made another ephemeral key than the one to be proved")]
    Ephemeral,
    /// The envelope was made for another key, info or associated data, or was altered.
    #[error("the envelope does not open under this key, info and associated data")]
    Envelope,
    /// The envelope is too short or of another version.
    #[error(transparent)]
    Encoding(#[from] EncodingError),
}

/// A member's one-time private key. hpke's key wipes itself on drop.
pub struct SealingKey(<X25519HkdfSha256 as Kem>::PrivateKey);

/// The public part of a [`SealingKey`], signed and uploaded ahead by its member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingPublicKey(<X25519HkdfSha256 as Kem>::PublicKey);

impl SealingKey {
    /// Draws a key pair.
    pub fn generate<R: CryptoRng>(rng: &mut R) -> Self {
        wipe::after(|| Self(X25519HkdfSha256::gen_keypair_with_rng(rng).0))
    }

    /// The public part.
    #[must_use]
    pub fn public(&self) -> SealingPublicKey {
        wipe::after(|| SealingPublicKey(X25519HkdfSha256::sk_to_pk(&self.0)))
    }

    /// The logarithm of the public key's point.
    pub(crate) fn secret(&self) -> Secret {
        let mut private = Zeroizing::new([0; KEY]);
        self.0.write_exact(private.as_mut_slice());
        Secret::of(&private)
    }

    /// Version and key, for the member's own store; 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![VERSION; 1 + KEY]);
        wipe::after(|| self.0.write_exact(&mut bytes[1..]));
        bytes
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When length or version is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        wipe::after(|| read_key("sealing key", bytes).map(Self))
    }
}

impl SealingPublicKey {
    /// The u-coordinate as it was published.
    pub(crate) fn u(&self) -> [u8; KEY] {
        self.0.to_bytes().into()
    }

    /// The key as a point, when it is usable.
    pub(crate) fn point(&self) -> Option<EdwardsPoint> {
        logproof::point(&self.u())
    }

    /// Whether anything can be sealed to this key: a canonical point of prime order. One to which nothing can would stop everybody that must.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.point().is_some()
    }

    /// Version and key; 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION; 1 + KEY];
        self.0.write_exact(&mut bytes[1..]);
        bytes
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When length or version is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        read_key("sealing public key", bytes).map(Self)
    }
}

fn read_key<T: Deserializable>(what: &'static str, bytes: &[u8]) -> Result<T, EncodingError> {
    let key = wire::body(what, bytes, 1 + KEY)?;
    T::from_bytes(key).map_err(|_| EncodingError::Element { what, position: 0 })
}

/// Seals `plaintext` to the holder of a key; `info` and `aad` must be the same when it is unsealed. All randomness
/// comes from the operating system and is wiped.
///
/// # Errors
/// When the public key is not a canonical point of prime order or the operating system has no randomness.
pub fn seal(receiver: &SealingPublicKey, info: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut random = Random::default();
    let filled = SysRng.try_fill_bytes(random.ephemeral.as_mut_slice());
    filled.and(SysRng.try_fill_bytes(random.nonce.as_mut_slice())).map_err(|_| SealError::Randomness)?;
    wipe::after(|| seal_from(receiver, info, aad, plaintext, &random))
}

/// [`seal`] with the caller's generator, for runs that must repeat.
///
/// # Errors
/// When the public key is not a canonical point of prime order.
pub fn seal_with<R: CryptoRng>(
    receiver: &SealingPublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    let mut random = Random::default();
    rng.fill_bytes(random.ephemeral.as_mut_slice());
    rng.fill_bytes(random.nonce.as_mut_slice());
    wipe::after(|| seal_from(receiver, info, aad, plaintext, &random))
}

/// Opens an envelope sealed to `key` under the same `info` and `aad`.
///
/// # Errors
/// When the envelope is malformed, altered, or made for anything else.
pub fn unseal(key: &SealingKey, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    wipe::after(|| {
        let envelope = Envelope { receiver: &key.public(), info, aad, sealed };
        let checked = envelope.checked()?;
        let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&checked.encapsulated);
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &key.0,
            &encapsulated.map_err(|_| SealError::Envelope)?,
            info,
            checked.ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError::Envelope)
    })
}

/// What one envelope needs: the seed of the ephemeral key and the nonce of its proof.
struct Random {
    ephemeral: Zeroizing<[u8; KEY]>,
    nonce: Zeroizing<[u8; NONCE]>,
}

impl Default for Random {
    fn default() -> Self {
        Self { ephemeral: Zeroizing::new([0; KEY]), nonce: Zeroizing::new([0; NONCE]) }
    }
}

fn seal_from(
    receiver: &SealingPublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    random: &Random,
) -> Result<Vec<u8>, SealError> {
    receiver.point().ok_or(SealError::PublicKey)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &receiver.0,
        info,
        plaintext,
        aad,
        &mut Given(&random.ephemeral),
    )
    .map_err(|_| SealError::PublicKey)?;
    let encapsulated: [u8; KEY] = encapsulated.to_bytes().into();
    // hpke derives its ephemeral key from one draw of 32 bytes, so the same bytes give it again.
    let ephemeral = SealingKey(X25519HkdfSha256::derive_keypair(random.ephemeral.as_slice()).0);
    if ephemeral.public().u() != encapsulated {
        return Err(SealError::Ephemeral);
    }
    let transcript = envelope::transcript(receiver, info, aad, &encapsulated, &ciphertext);
    let proof = LogProof::new(&ephemeral.secret(), [&BASE], transcript, &random.nonce);
    let mut sealed = Vec::with_capacity(HEAD + ciphertext.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&encapsulated);
    sealed.extend_from_slice(&proof.to_bytes());
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Hands hpke the bytes that were drawn for it, so that no generator with a state of its own is left behind.
struct Given<'a>(&'a [u8; KEY]);

impl TryRng for Given<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.iter_mut().zip(self.0.iter().cycle()).for_each(|(byte, given)| *byte = *given);
        Ok(())
    }
}

impl TryCryptoRng for Given<'_> {}
