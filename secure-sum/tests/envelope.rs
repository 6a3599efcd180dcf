//! Complaints about sealed shares: every wrong envelope is proved, and no good one is.

#![expect(clippy::unwrap_used, reason = "tests")]

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION, X25519_LOW_ORDER_POINTS};
use curve25519_dalek::{EdwardsPoint, MontgomeryPoint, Scalar};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Commitments, Committee, ComplaintError, Dealing, EncodingError, Envelope, EnvelopeFault, EnvelopeProof, KeyShare,
    Layout, OneTimeKey, SealError, SealingKey, SealingPublicKey, ShareError, Values, deal, seal, seal_with, unseal,
};
use sha2::{Digest, Sha512};

const INFO: &[u8] = b"a round";
const AAD: &[u8] = b"dealer 1 to member 2";
/// The share index of the member that complains.
const INDEX: u8 = 2;

struct Fixture {
    layout: Layout,
    committee: Committee,
    dealing: Dealing,
    member: SealingKey,
    rng: ChaCha20Rng,
}

fn fixture() -> Fixture {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let layout = Layout::derive(3, Values { count: 100, clamp: 1_000, noise_deviation: 0.0 }).unwrap();
    let key = OneTimeKey::generate(&layout, &mut rng);
    let committee = Committee::new(4, 3).unwrap();
    let dealing = deal(&key, &layout, &committee, &mut rng).unwrap();
    Fixture { layout, committee, dealing, member: SealingKey::generate(&mut rng), rng }
}

impl Fixture {
    fn commitments(&self) -> &Commitments {
        &self.dealing.commitments
    }

    fn share(&self) -> Vec<u8> {
        self.dealing.shares[usize::from(INDEX) - 1].to_bytes().to_vec()
    }

    fn sealed(&self, plaintext: &[u8]) -> Vec<u8> {
        seal(&self.member.public(), INFO, AAD, plaintext).unwrap()
    }

    fn proof(&mut self, sealed: &[u8]) -> EnvelopeProof {
        EnvelopeProof::make(&self.member, INFO, AAD, sealed, &mut self.rng)
    }

    fn judge(&self, sealed: &[u8], proof: &EnvelopeProof) -> Result<EnvelopeFault, ComplaintError> {
        let envelope = Envelope { receiver: &self.member.public(), info: INFO, aad: AAD, sealed };
        proof.judge(&envelope, &self.layout, &self.committee, self.commitments(), INDEX)
    }

    /// What comes of an honest complaint, through the proof's encoding.
    fn complain(&mut self, sealed: &[u8]) -> Result<EnvelopeFault, ComplaintError> {
        let proof = EnvelopeProof::from_bytes(&self.proof(sealed).to_bytes()).unwrap();
        self.judge(sealed, &proof)
    }

    /// What a dealer can seal that does as it likes: hpke's ciphertext of `plaintext` under `aad`, altered, with a true
    /// proof of the ephemeral key for `AAD`, written from its description alone.
    fn forge(&mut self, aad: &[u8], plaintext: &[u8], alter: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let receiver = &self.member.public().to_bytes()[1..];
        let seed: [u8; 32] = self.rng.random();
        let mut drawn = [0; 32];
        ChaCha20Rng::from_seed(seed).fill_bytes(&mut drawn);
        let ephemeral: [u8; 32] = X25519HkdfSha256::derive_keypair(&drawn).0.to_bytes().into();
        let (encapsulated, mut ciphertext) =
            hpke::single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &<X25519HkdfSha256 as Kem>::PublicKey::from_bytes(receiver).unwrap(),
                INFO,
                plaintext,
                aad,
                &mut ChaCha20Rng::from_seed(seed),
            )
            .unwrap();
        alter(&mut ciphertext);
        let encapsulated: [u8; 32] = encapsulated.to_bytes().into();
        let nonce = Scalar::random(&mut self.rng);
        let challenge = knowledge_challenge(receiver, &encapsulated, &ciphertext, nonce);
        let mut secret = Scalar::from_bytes_mod_order(ephemeral);
        if EdwardsPoint::mul_base(&secret) != MontgomeryPoint(encapsulated).to_edwards(0).unwrap() {
            secret = -secret;
        }
        let response = nonce - challenge * secret;
        [&[1], &encapsulated[..], challenge.as_bytes(), response.as_bytes(), &ciphertext].concat()
    }
}

/// SHA-512 over label, receiver, info, associated data, encapsulated key and ciphertext, each after its length in 8
/// bytes, and the nonce's point.
fn knowledge_challenge(receiver: &[u8], encapsulated: &[u8], ciphertext: &[u8], nonce: Scalar) -> Scalar {
    let label = b"plainchant/secure-sum/ephemeral/v1".as_slice();
    let mut hash = Sha512::new();
    for part in [label, receiver, INFO, AAD, encapsulated, ciphertext] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(EdwardsPoint::mul_base(&nonce).compress().as_bytes());
    Scalar::from_hash(hash)
}

#[test]
fn every_wrong_envelope_is_proved_with_its_own_reason() {
    let mut f = fixture();
    let share = f.share();
    let garbage = f.forge(AAD, &share, |ciphertext| ciphertext.fill(7));
    assert_eq!(f.complain(&garbage), Ok(EnvelopeFault::Ciphertext));
    let cut = f.forge(AAD, &share, |ciphertext| ciphertext.truncate(16));
    assert_eq!(f.complain(&cut), Ok(EnvelopeFault::Ciphertext));
    let flipped = f.forge(AAD, &share, |ciphertext| ciphertext[100] ^= 1);
    assert_eq!(f.complain(&flipped), Ok(EnvelopeFault::Ciphertext));
    let other_aad = f.forge(b"dealer 1 to member 3", &share, |_| ());
    assert_eq!(f.complain(&other_aad), Ok(EnvelopeFault::Ciphertext));

    let short = f.sealed(&share[1..]);
    let (expected, found) = (share.len(), share.len() - 1);
    let what = "key share";
    assert_eq!(f.complain(&short), Ok(EnvelopeFault::Share(EncodingError::Length { what, expected, found })));
    let mut large = share.clone();
    large[1..33].fill(0xff);
    let fault = EnvelopeFault::Share(EncodingError::Element { what, position: 0 });
    assert_eq!(f.complain(&f.sealed(&large)), Ok(fault));

    let others = f.sealed(&f.dealing.shares[0].to_bytes());
    let fault = EnvelopeFault::Commitment(ShareError::Commitment { index: INDEX });
    assert_eq!(f.complain(&others), Ok(fault.clone()));
    let mut off_by_one = share.clone();
    off_by_one[1] ^= 1;
    assert_eq!(f.complain(&f.sealed(&off_by_one)), Ok(fault));
    // A forged envelope with nothing altered is a good one: the forgeries above fail for their reason only.
    let good = f.forge(AAD, &share, |_| ());
    assert_eq!(unseal(&f.member, INFO, AAD, &good).unwrap().as_slice(), &share[..]);
    assert_eq!(f.complain(&good), Err(ComplaintError::GoodEnvelope));
}

#[test]
fn an_envelope_that_is_none_needs_no_point_to_be_shown() {
    let mut f = fixture();
    let good = f.sealed(&f.share());
    let elsewhere = seal(&f.member.public(), INFO, b"dealer 3 to member 2", &f.share()).unwrap();
    let to_another = seal(&SealingKey::generate(&mut f.rng).public(), INFO, AAD, &f.share()).unwrap();
    let mut altered = good.clone();
    altered[200] ^= 1;
    let spliced = [&f.sealed(&f.share())[..33], &good[33..]].concat();
    for sealed in [elsewhere, to_another, altered, spliced] {
        assert_eq!(unseal(&f.member, INFO, AAD, &sealed), Err(SealError::Envelope));
        assert_eq!(f.proof(&sealed).to_bytes(), [1]);
        assert_eq!(f.complain(&sealed), Ok(EnvelopeFault::Form(SealError::Envelope)));
    }
    for sealed in [vec![], vec![1], good[..112].to_vec(), [&[2], &good[1..]].concat()] {
        assert_eq!(f.proof(&sealed).to_bytes(), [1]);
        assert!(matches!(f.complain(&sealed), Ok(EnvelopeFault::Form(SealError::Encoding(_)))));
    }
}

/// A dealer that builds on an honest dealer's encapsulated key E' would make the complaint about its own envelope open the
/// honest one: for E = E' + r B the member's point is D' + r P. It has no proof, so the member shows no point.
#[test]
fn a_point_is_shown_of_no_key_that_another_dealer_made() {
    let mut f = fixture();
    let honest = f.sealed(&f.share());
    let encapsulated: [u8; 32] = honest[1..33].try_into().unwrap();
    let shifted = MontgomeryPoint(encapsulated).to_edwards(0).unwrap() + ED25519_BASEPOINT_POINT * Scalar::from(7_u8);
    for key in [encapsulated, shifted.to_montgomery().0] {
        let copied = [&[1], &key[..], &honest[33..97], &[0; 500]].concat();
        assert_eq!(f.proof(&copied).to_bytes(), [1]);
        let other_aad = EnvelopeProof::make(&f.member, INFO, b"dealer 9 to member 2", &honest, &mut f.rng);
        assert_eq!(other_aad.to_bytes(), [1]);
    }
}

#[test]
fn complaints_about_good_envelopes_are_refused() {
    let mut f = fixture();
    let good = f.sealed(&f.share());
    assert_eq!(f.complain(&good), Err(ComplaintError::GoodEnvelope));
    let without_point = EnvelopeProof::from_bytes(&[1]).unwrap();
    assert_eq!(f.judge(&good, &without_point), Err(ComplaintError::NoPoint));
    let bad = f.sealed(b"no share");
    assert_eq!(f.judge(&bad, &without_point), Err(ComplaintError::NoPoint));
}

#[test]
fn proofs_of_anything_else_are_refused() {
    let mut f = fixture();
    let (sealed, other) = (f.sealed(b"no share"), f.sealed(b"no share"));
    let proof = f.proof(&sealed);
    assert!(matches!(f.judge(&sealed, &proof), Ok(EnvelopeFault::Share(_))));
    assert_eq!(f.judge(&other, &proof), Err(ComplaintError::Proof));
    // Sealed to another member: that one's envelope is well formed for its key alone.
    let stranger = SealingKey::generate(&mut f.rng);
    let theirs = seal(&stranger.public(), INFO, AAD, b"no share").unwrap();
    let without_key = EnvelopeProof::make(&f.member, INFO, AAD, &theirs, &mut f.rng);
    let judge = |proof: &EnvelopeProof, receiver: &SealingKey, info, aad, sealed: &[u8]| {
        let envelope = Envelope { receiver: &receiver.public(), info, aad, sealed };
        proof.judge(&envelope, &f.layout, &f.committee, f.commitments(), INDEX)
    };
    assert_eq!(judge(&proof, &stranger, INFO, AAD, &theirs), Err(ComplaintError::Proof));
    assert_eq!(judge(&without_key, &stranger, INFO, AAD, &theirs), Err(ComplaintError::NoPoint));
    // In another context the envelope is none, and one made for that context has another proof.
    for (info, aad) in [(b"A round".as_slice(), AAD), (INFO, b"dealer 1 to member 4")] {
        let form = Ok(EnvelopeFault::Form(SealError::Envelope));
        assert_eq!(judge(&proof, &f.member, info, aad, &sealed), form);
        let there = seal(&f.member.public(), info, aad, b"no share").unwrap();
        assert_eq!(judge(&proof, &f.member, info, aad, &there), Err(ComplaintError::Proof));
    }
    for bit in 8..8 * 97 {
        let mut flipped = proof.to_bytes();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(flipped) = EnvelopeProof::from_bytes(&flipped) {
            assert_eq!(f.judge(&sealed, &flipped), Err(ComplaintError::Proof), "bit {bit}");
        }
    }
}

/// A member that lies about the point would make a good envelope look like garbage.
#[test]
fn a_false_point_for_a_good_envelope_is_refused() {
    let mut f = fixture();
    let good = f.sealed(&f.share());
    let proof = f.proof(&good).to_bytes();
    let point = curve25519_dalek::edwards::CompressedEdwardsY(proof[1..33].try_into().unwrap()).decompress().unwrap();
    for false_point in [-point, point + ED25519_BASEPOINT_POINT, point + point] {
        let lie = [&[1], &false_point.compress().0[..], &proof[33..]].concat();
        assert_eq!(f.judge(&good, &EnvelopeProof::from_bytes(&lie).unwrap()), Err(ComplaintError::Proof));
    }
    for torsion in &EIGHT_TORSION[1..] {
        let lie = [&[1], &(point + torsion).compress().0[..], &proof[33..]].concat();
        assert!(matches!(EnvelopeProof::from_bytes(&lie), Err(EncodingError::Element { position: 0, .. })));
    }
}

/// hpke refuses the keys of small order only when it decapsulates, and takes the others; unsealing and judging agree
/// on refusing them all, since no honest sender makes them.
#[test]
fn encapsulated_keys_that_no_honest_sender_makes_are_the_dealers_fault() {
    let mut f = fixture();
    let good = f.sealed(&f.share());
    let encapsulated: [u8; 32] = good[1..33].try_into().unwrap();
    let low_order = X25519_LOW_ORDER_POINTS.map(|point| point.0);
    let top_bit = |mut u: [u8; 32]| {
        u[31] |= 0x80;
        u
    };
    let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&f.member.to_bytes()[1..]).unwrap();
    for u in low_order.into_iter().chain(low_order.map(top_bit)) {
        let key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&u).unwrap();
        assert!(X25519HkdfSha256::decap(&private, None, &key).is_err());
    }
    let mixed = MontgomeryPoint(encapsulated).to_edwards(0).unwrap() + EIGHT_TORSION[1];
    let mut twist = [0; 32];
    twist[0] = 2;
    let others = [top_bit(encapsulated), mixed.to_montgomery().0, twist, [0xff; 32]];
    for u in low_order.into_iter().chain(low_order.map(top_bit)).chain(others) {
        let sealed = [&[1], &u[..], &good[33..]].concat();
        assert_eq!(unseal(&f.member, INFO, AAD, &sealed), Err(SealError::Envelope));
        assert_eq!(f.complain(&sealed), Ok(EnvelopeFault::Form(SealError::Envelope)));
    }
}

#[test]
fn members_with_unusable_keys_or_no_seat_can_not_complain() {
    let mut f = fixture();
    let sealed = f.sealed(b"no share");
    let proof = f.proof(&sealed);
    let own: [u8; 32] = f.member.public().to_bytes()[1..].try_into().unwrap();
    let mut top_bit = own;
    top_bit[31] |= 0x80;
    let mixed = MontgomeryPoint(own).to_edwards(0).unwrap() + EIGHT_TORSION[3];
    assert!(f.member.public().is_usable());
    for u in [top_bit, mixed.to_montgomery().0, [0; 32], [0xff; 32]] {
        let receiver = SealingPublicKey::from_bytes(&[&[1], &u[..]].concat()).unwrap();
        assert_eq!(seal_with(&receiver, INFO, AAD, b"share", &mut f.rng), Err(SealError::PublicKey));
        assert!(!receiver.is_usable());
        let envelope = Envelope { receiver: &receiver, info: INFO, aad: AAD, sealed: &sealed };
        let judged = proof.judge(&envelope, &f.layout, &f.committee, f.commitments(), INDEX);
        assert_eq!(judged, Err(ComplaintError::SealingKey));
    }
    let envelope = Envelope { receiver: &f.member.public(), info: INFO, aad: AAD, sealed: &sealed };
    for index in [0, 5, 255] {
        let judged = proof.judge(&envelope, &f.layout, &f.committee, f.commitments(), index);
        assert_eq!(judged, Err(ComplaintError::UnknownMember { index }));
    }
}

/// A member that complains of a dealing off the polynomial is right, though its own share opens its commitment.
#[test]
fn a_dealing_off_the_polynomial_is_the_dealers_fault_whatever_the_envelope_holds() {
    let mut f = fixture();
    let good = f.sealed(&f.share());
    let proof = f.proof(&good);
    assert_eq!(f.judge(&good, &proof), Err(ComplaintError::GoodEnvelope));
    // The last member's commitment is the first one's; the complainer's own is untouched.
    let mut bytes = f.commitments().to_bytes();
    let first = bytes[4..36].to_vec();
    bytes[100..132].copy_from_slice(&first);
    f.dealing.commitments = Commitments::from_bytes(&f.layout, &f.committee, &bytes).unwrap();
    let share = KeyShare::from_bytes(&f.layout, &f.share()).unwrap();
    assert_eq!(share.check(f.commitments(), INDEX), Ok(()));
    assert_eq!(f.judge(&good, &proof), Ok(EnvelopeFault::Degree));
}

#[test]
fn commitments_of_another_committee_or_layout_accuse_nobody() {
    let mut f = fixture();
    let sealed = f.sealed(b"no share");
    let proof = f.proof(&sealed);
    let receiver = f.member.public();
    let envelope = Envelope { receiver: &receiver, info: INFO, aad: AAD, sealed: &sealed };
    let larger = Committee::new(5, 3).unwrap();
    let wide = Layout::derive(3, Values { count: 100, clamp: 1 << 45, noise_deviation: 0.0 }).unwrap();
    for (layout, committee) in [(&f.layout, &larger), (&wide, &f.committee)] {
        let judged = proof.judge(&envelope, layout, committee, f.commitments(), INDEX);
        assert_eq!(judged, Err(ComplaintError::OtherCommittee));
    }
}

#[test]
fn proof_encodings_round_trip_and_others_are_refused() {
    let mut f = fixture();
    let sealed = f.sealed(b"no share");
    let proof = f.proof(&sealed);
    let bytes = proof.to_bytes();
    assert_eq!(bytes.len(), 97);
    assert_eq!(EnvelopeProof::from_bytes(&bytes).unwrap(), proof);
    for length in (0..97).filter(|&length| length != 1) {
        let refused = EnvelopeProof::from_bytes(&bytes[..length]);
        assert!(matches!(refused, Err(EncodingError::Length { found, .. }) if found == length));
    }
    assert!(matches!(EnvelopeProof::from_bytes(&[2]), Err(EncodingError::Version { found: 2, .. })));
    let versioned = [&[0], &bytes[1..]].concat();
    assert!(matches!(EnvelopeProof::from_bytes(&versioned), Err(EncodingError::Version { found: 0, .. })));
    for (at, position) in [(33, 1), (65, 1)] {
        let mut large = bytes.clone();
        large[at..at + 32].fill(0xff);
        let refused = EnvelopeProof::from_bytes(&large);
        assert!(matches!(refused, Err(EncodingError::Element { position: found, .. }) if found == position));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The judge sees what the member sees: it blames the dealer exactly when the member could not use the share.
    #[test]
    fn judge_and_member_agree_on_every_envelope(seed in any::<u64>(), kind in 0..4_u8, at in any::<prop::sample::Index>()) {
        let mut f = fixture();
        f.rng = ChaCha20Rng::seed_from_u64(seed);
        let mut share = f.share();
        let aad: &[u8] = if seed.is_multiple_of(5) { b"another" } else { AAD };
        let sealed = match kind {
            0 => f.forge(aad, &share, |ciphertext| ciphertext.truncate(at.index(ciphertext.len()))),
            1 => f.forge(aad, &share, |ciphertext| { let at = at.index(ciphertext.len()); ciphertext[at] ^= 1 }),
            2 => {
                let at = at.index(share.len());
                share[at] ^= 1;
                f.forge(aad, &share, |_| ())
            }
            _ => f.forge(aad, &share, |_| ()),
        };
        let used = unseal(&f.member, INFO, AAD, &sealed)
            .ok()
            .and_then(|bytes| KeyShare::from_bytes(&f.layout, &bytes).ok())
            .is_some_and(|share| share.check(f.commitments(), INDEX).is_ok());
        prop_assert_eq!(used, kind == 3 && aad == AAD);
        prop_assert_eq!(f.complain(&sealed).is_err(), used);
        // Where unsealing fails beyond the checks of form, hpke by itself fails too.
        let private = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(&f.member.to_bytes()[1..]).unwrap();
        if let (Some(encapsulated), Some(ciphertext)) = (sealed.get(1..33), sealed.get(97..)) {
            let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &private,
                &<X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).unwrap(),
                INFO,
                ciphertext,
                AAD,
            );
            prop_assert_eq!(opened.is_ok(), unseal(&f.member, INFO, AAD, &sealed).is_ok());
        }
    }
}
