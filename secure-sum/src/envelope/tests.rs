//! Opening by the Diffie-Hellman point against hpke's own decapsulation and RFC 9180's vector.

#![expect(clippy::unwrap_used, reason = "tests")]

use curve25519_dalek::montgomery::MontgomeryPoint;
use hpke::rand_core::Rng;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::*;
use crate::{SealingKey, seal_with, unseal};

/// An envelope's parts without its proof, as any HPKE implementation sends them.
fn unproved<'a>(encapsulated: [u8; KEY], ciphertext: &'a [u8]) -> Checked<'a> {
    let point = logproof::point(&encapsulated).unwrap();
    Checked { encapsulated, point, ciphertext }
}

/// The Diffie-Hellman point by the ladder on u-coordinates; which of the two points it is does not matter.
fn shared(private: &[u8], encapsulated: &[u8; KEY]) -> EdwardsPoint {
    let u = MontgomeryPoint(*encapsulated).mul_clamped(private.try_into().unwrap());
    u.to_edwards(1).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// RFC 9180, appendix A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode, sequence number 0.
#[test]
fn the_vector_of_rfc_9180_opens() {
    let private = bytes("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
    let public = bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
    let encapsulated = bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a").try_into().unwrap();
    let ciphertext =
        bytes("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28");
    let receiver = SealingPublicKey::from_bytes(&[&[1], &public[..]].concat()).unwrap();
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let envelope = Envelope { receiver: &receiver, info: &info, aad: b"Count-0", sealed: &[] };
    let checked = unproved(encapsulated, &ciphertext);
    let plaintext = envelope.open_by(&shared(&private, &encapsulated), &checked).unwrap();
    assert_eq!(plaintext.as_slice(), b"Beauty is truth, truth beauty");
    assert!(envelope.open_by(&(shared(&private, &encapsulated) + BASE), &checked).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_hpke_seals_opens_by_the_point_alone(
        seed in any::<u64>(),
        info in prop::collection::vec(any::<u8>(), 0..100),
        aad in prop::collection::vec(any::<u8>(), 0..100),
        text in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (private, public) = X25519HkdfSha256::gen_keypair_with_rng(&mut rng);
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base, &public, &info, &text, &aad, &mut rng,
        ).unwrap();
        let encapsulated = encapsulated.to_bytes().into();
        let receiver = SealingPublicKey::from_bytes(&[&[1], &public.to_bytes()[..]].concat()).unwrap();
        let envelope = Envelope { receiver: &receiver, info: &info, aad: &aad, sealed: &[] };
        let checked = unproved(encapsulated, &ciphertext);
        let opened = envelope.open_by(&shared(&private.to_bytes(), &encapsulated), &checked).unwrap();
        prop_assert_eq!(opened.as_slice(), &text[..]);
    }

    /// Without version and proof an envelope is what hpke makes of the same randomness, and hpke alone opens it.
    #[test]
    fn an_envelope_is_hpke_and_a_proof(seed in any::<u64>(), text in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let key = SealingKey::generate(&mut rng);
        let sealed = seal_with(&key.public(), b"info", b"aad", &text, &mut rng.clone()).unwrap();
        let (private, public) = (&key.to_bytes()[1..], &key.public().to_bytes()[1..]);
        let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(private).unwrap();
        let public = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(public).unwrap();
        let mut first = [0; 32];
        rng.clone().fill_bytes(&mut first);
        let derived: [u8; KEY] = X25519HkdfSha256::derive_keypair(&first).1.to_bytes().into();
        prop_assert_eq!(&sealed[1..33], &derived[..]);
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base, &public, b"info", &text, b"aad", &mut rng,
        ).unwrap();
        let encoded: [u8; KEY] = encapsulated.to_bytes().into();
        prop_assert_eq!(&sealed[1..33], &encoded[..]);
        prop_assert_eq!(&sealed[33 + PROOF..], &ciphertext[..]);
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base, &private, &encapsulated, b"info", &ciphertext, b"aad",
        ).unwrap();
        prop_assert_eq!(&opened, &text);
        let unsealed = unseal(&key, b"info", b"aad", &sealed).unwrap();
        prop_assert_eq!(unsealed.as_slice(), &text[..]);
    }
}
