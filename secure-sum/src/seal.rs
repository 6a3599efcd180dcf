//! Sealing key shares to one member: HPKE (RFC 9180) base mode with X25519-HKDF-SHA256 and ChaCha20-Poly1305.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::TryRng;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::rngs::{StdRng, SysRng};
use rand::{CryptoRng, SeedableRng};
use zeroize::Zeroizing;

use crate::wire::{self, EncodingError, VERSION};

/// Bytes of a key, an encapsulated key and a tag.
const KEY: usize = 32;
const TAG: usize = 16;
const HEAD: usize = 1 + KEY;

/// Bytes that sealing adds to a plaintext.
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
        Self(X25519HkdfSha256::gen_keypair_with_rng(rng).0)
    }

    /// The public part.
    #[must_use]
    pub fn public(&self) -> SealingPublicKey {
        SealingPublicKey(X25519HkdfSha256::sk_to_pk(&self.0))
    }

    /// Version and key, for the member's own store; 33 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![VERSION; 1 + KEY]);
        self.0.write_exact(&mut bytes[1..]);
        bytes
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When length or version is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        read_key("sealing key", bytes).map(Self)
    }
}

impl SealingPublicKey {
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

/// Seals `plaintext` to the holder of a key; `info` and `aad` must be the same when it is unsealed. The ephemeral
/// key comes from the operating system.
///
/// # Errors
/// When the public key is of low order or the operating system has no randomness.
pub fn seal(receiver: &SealingPublicKey, info: &[u8], aad: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(seed.as_mut_slice()).map_err(|_| SealError::Randomness)?;
    seal_with(receiver, info, aad, plaintext, &mut StdRng::from_seed(*seed))
}

/// [`seal`] with the caller's generator, for runs that must repeat.
///
/// # Errors
/// When the public key is of low order.
pub fn seal_with<R: CryptoRng>(
    receiver: &SealingPublicKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    rng: &mut R,
) -> Result<Vec<u8>, SealError> {
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeS::Base,
        &receiver.0,
        info,
        plaintext,
        aad,
        rng,
    )
    .map_err(|_| SealError::PublicKey)?;
    let mut sealed = Vec::with_capacity(plaintext.len() + SEAL_OVERHEAD);
    sealed.push(VERSION);
    sealed.extend_from_slice(&encapsulated.to_bytes());
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// Opens an envelope sealed to `key` under the same `info` and `aad`.
///
/// # Errors
/// When the envelope is malformed, altered, or made for anything else.
pub fn unseal(key: &SealingKey, info: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let rest = wire::body("envelope", sealed, sealed.len().max(SEAL_OVERHEAD))?;
    let (encapsulated, ciphertext) = wire::take::<KEY>("envelope", rest)?;
    let encapsulated =
        <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&encapsulated).map_err(|_| SealError::Envelope)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key.0,
        &encapsulated,
        info,
        ciphertext,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| SealError::Envelope)
}
