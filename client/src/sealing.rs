//! HPKE keys as the 32 plain bytes in which rosters and offers carry them; `secure-sum` puts a version before them.

use secure_sum::{EncodingError, SealingKey, SealingPublicKey};
use zeroize::Zeroizing;

/// The version that `secure-sum` writes before a key.
const VERSION: u8 = 1;

/// The public half's 32 bytes.
pub(crate) fn public(key: &SealingKey) -> [u8; 32] {
    let mut raw = [0; 32];
    raw.copy_from_slice(&key.public().to_bytes()[1..]);
    raw
}

/// A public key from its 32 bytes.
pub(crate) fn to_public(raw: &[u8; 32]) -> Result<SealingPublicKey, EncodingError> {
    SealingPublicKey::from_bytes(&versioned(raw))
}

/// Whether something can be sealed to this public key: one of low order would stop everybody that must seal to it.
pub(crate) fn is_usable(raw: &[u8; 32]) -> bool {
    to_public(raw).is_ok_and(|key| key.is_usable())
}

/// The secret half's 32 bytes.
pub(crate) fn to_secret(key: &SealingKey) -> Zeroizing<[u8; 32]> {
    let mut raw = Zeroizing::new([0; 32]);
    raw.copy_from_slice(&key.to_bytes()[1..]);
    raw
}

/// A key from the secret half's 32 bytes.
pub(crate) fn from_secret(raw: &[u8; 32]) -> Result<SealingKey, EncodingError> {
    SealingKey::from_bytes(&versioned(raw))
}

fn versioned(raw: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(33));
    bytes.push(VERSION);
    bytes.extend_from_slice(raw);
    bytes
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_key_of_low_order_is_not_usable() {
        let low_order = |byte| {
            let mut raw = [0; 32];
            raw[0] = byte;
            is_usable(&raw)
        };
        assert!(!low_order(0) && !low_order(1));
        assert!(is_usable(&public(&SealingKey::generate(&mut rand::rng()))));
    }

    #[test]
    fn what_is_sealed_to_the_raw_public_key_opens_under_the_raw_secret_key() {
        let key = SealingKey::generate(&mut rand::rng());
        let sealed = secure_sum::seal(&to_public(&public(&key)).unwrap(), b"info", b"aad", b"share").unwrap();
        let again = from_secret(&to_secret(&key)).unwrap();
        assert_eq!(*secure_sum::unseal(&again, b"info", b"aad", &sealed).unwrap(), b"share");
    }
}
