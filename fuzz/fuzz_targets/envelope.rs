//! Sealing keys, envelopes, and what is in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited, pick};
use secure_sum::{Envelope, EnvelopeProof, KeyShare, SEAL_OVERHEAD, SealingKey, SealingPublicKey, seal_with, unseal};

fuzz_target!(|input: &[u8]| {
    let Some((fixture, rest)) = pick(input) else { return };
    let key = &fixture.receiver;
    let sealed = edited(&fixture.sealed, rest);
    if let Ok(text) = bounded(&sealed, 2, |sealed| unseal(key, b"info", b"aad", sealed)) {
        assert_eq!(sealed.len(), text.len() + SEAL_OVERHEAD);
        assert_eq!(sealed, fixture.sealed, "nobody else made an envelope");
        assert!(KeyShare::from_bytes(&fixture.layout, &text).is_ok());
    }
    let bytes = edited(&key.to_bytes(), rest);
    if let Ok(private) = bounded(&bytes, 0, SealingKey::from_bytes) {
        // X25519 sets five bits of a private key to what they must be, so that 32 byte strings are one key.
        let again = SealingKey::from_bytes(&private.to_bytes()).expect("what was written is read");
        assert_eq!(again.public(), private.public());
        let _ = unseal(&private, b"info", b"aad", &fixture.sealed);
    }
    let bytes = edited(&key.public().to_bytes(), rest);
    if let Ok(public) = bounded(&bytes, 0, SealingPublicKey::from_bytes) {
        assert_eq!(public.to_bytes(), bytes);
        let mut rng = <rand_chacha::ChaCha20Rng as rand_chacha::rand_core::SeedableRng>::seed_from_u64(1);
        let _ = seal_with(&public, b"info", b"aad", b"text", &mut rng);
    }
    let envelope = Envelope { receiver: &key.public(), info: b"info", aad: b"aad", sealed: &sealed };
    let bytes = edited(&fixture.proof, rest);
    if let Ok(proof) = bounded(&bytes, 2, EnvelopeProof::from_bytes) {
        assert_eq!(proof.to_bytes(), bytes);
        let complaint = proof.judge(&envelope, &fixture.layout, &fixture.committee, &fixture.dealing.commitments, 1);
        // Nobody convicts the dealer of a good envelope, whatever the proof.
        assert!(complaint.is_err() || sealed != fixture.sealed);
    }
});
