//! Every decoder and every check against bytes and numbers that no honest party sends.

#![expect(clippy::unwrap_used, reason = "tests")]

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, ChunkError, CombineError, Commitments, Committee, Dealing, EncodingError, EncryptError, KeyShare,
    Layout, MaskSeed, OneTimeKey, OpenError, SEAL_OVERHEAD, SealError, SealingKey, SealingPublicKey, ShareError,
    ShareSum, Values, check_chunk, combine, deal, encrypt, open, seal, seal_with, unseal,
};

const SEED: MaskSeed = MaskSeed([1; 32]);

struct Fixture {
    layout: Layout,
    committee: Committee,
    dealing: Dealing,
    rng: ChaCha20Rng,
}

fn values(count: usize, clamp: u64) -> Values {
    Values { count, clamp, noise_deviation: 0.0 }
}

fn fixture() -> Fixture {
    let mut rng = ChaCha20Rng::seed_from_u64(8);
    let layout = Layout::derive(3, values(15_000, 1_000)).unwrap();
    let committee = Committee::new(4, 3).unwrap();
    let key = OneTimeKey::generate(&layout, &mut rng);
    let dealing = deal(&key, &layout, &committee, &mut rng).unwrap();
    Fixture { layout, committee, dealing, rng }
}

impl Fixture {
    /// Encrypts under a key of its own.
    fn encrypt(&mut self, values: &[i64]) -> Result<Vec<u8>, EncryptError> {
        let key = OneTimeKey::generate(&self.layout, &mut self.rng);
        encrypt(&self.layout, &SEED, key, values, &mut self.rng)
    }
}

/// Every truncation and one byte more must be refused by length, every other version by version.
fn refuses_lengths_and_versions<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, EncodingError>) {
    assert!(decode(bytes).is_ok());
    for length in [0, 1, 2, bytes.len() / 2, bytes.len() - 1] {
        let refused = decode(&bytes[..length]).err().unwrap();
        assert!(matches!(refused, EncodingError::Length { found, .. } if found == length));
    }
    let longer = [bytes, &[0]].concat();
    assert!(matches!(decode(&longer).err().unwrap(), EncodingError::Length { .. }));
    for version in [0, 2, 255] {
        let mut other = bytes.to_vec();
        other[0] = version;
        let refused = decode(&other).err().unwrap();
        assert!(matches!(refused, EncodingError::Version { found, .. } if found == version));
    }
}

#[test]
fn encodings_round_trip_and_refuse_other_lengths_and_versions() {
    let f = fixture();
    let share = f.dealing.shares[0].to_bytes();
    assert_eq!(KeyShare::from_bytes(&f.layout, &share).unwrap().to_bytes(), share);
    refuses_lengths_and_versions(&share, |b| KeyShare::from_bytes(&f.layout, b));
    refuses_lengths_and_versions(&share, |b| ShareSum::from_bytes(&f.layout, b));

    let commitments = f.dealing.commitments.to_bytes();
    let decode = |b: &[u8]| Commitments::from_bytes(&f.layout, &f.committee, b);
    assert_eq!(decode(&commitments).unwrap(), f.dealing.commitments);
    refuses_lengths_and_versions(&commitments, decode);

    let sum = Accumulator::new(&f.layout).to_bytes();
    refuses_lengths_and_versions(&sum, |b| Accumulator::from_bytes(&f.layout, b));

    let sealing = SealingKey::generate(&mut ChaCha20Rng::seed_from_u64(1));
    let public = sealing.public().to_bytes();
    assert_eq!(SealingPublicKey::from_bytes(&public).unwrap(), sealing.public());
    refuses_lengths_and_versions(&public, SealingPublicKey::from_bytes);
    let private = sealing.to_bytes();
    assert_eq!(SealingKey::from_bytes(&private).unwrap().public(), sealing.public());
    refuses_lengths_and_versions(&private, SealingKey::from_bytes);
}

#[test]
fn elements_that_are_not_canonical_are_named() {
    let f = fixture();
    let mut share = f.dealing.shares[0].to_bytes();
    share[1 + 32 * 5..1 + 32 * 6].fill(0xff);
    let refused = KeyShare::from_bytes(&f.layout, &share).err().unwrap();
    assert!(matches!(refused, EncodingError::Element { position: 5, .. }));

    let mut commitments = f.dealing.commitments.to_bytes();
    commitments[4 + 32 * 2..4 + 32 * 3].fill(0xff);
    let refused = Commitments::from_bytes(&f.layout, &f.committee, &commitments).err().unwrap();
    assert!(matches!(refused, EncodingError::Element { position: 2, .. }));

    let mut commitments = f.dealing.commitments.to_bytes();
    commitments[3] = 5;
    let refused = Commitments::from_bytes(&f.layout, &f.committee, &commitments).err().unwrap();
    assert!(matches!(refused, EncodingError::Geometry { .. }));
}

#[test]
fn chunks_of_a_wrong_length_or_coefficient_leave_the_sum_alone() {
    let mut f = fixture();
    let inputs = vec![7; 15_000];
    let contribution = f.encrypt(&inputs).unwrap();
    let chunk = &contribution[..f.layout.chunk_bytes()];
    let mut sum = Accumulator::new(&f.layout);
    sum.add(&contribution).unwrap();
    let before = sum.to_bytes();

    let longer = [chunk, &[0]].concat();
    for wrong in [&chunk[..0], &chunk[1..], &longer] {
        let refused = ChunkError::Length { expected: chunk.len(), found: wrong.len() };
        assert_eq!(check_chunk(&f.layout, wrong), Err(refused.clone()));
        assert_eq!(sum.add_chunk(0, wrong), Err(refused));
    }
    let count = f.layout.chunk_count();
    assert_eq!(sum.add_chunk(count, chunk), Err(ChunkError::Index { index: count, count }));

    // Residue 5 becomes q itself, the smallest that is too large, then q - 1, the largest that is not.
    let q = f.layout.set().moduli()[0];
    for (residue, verdict) in [(q, Err(ChunkError::Coefficient { position: 5 })), (q - 1, Ok(()))] {
        let mut bad = chunk.to_vec();
        for bit in 0..50 {
            let (at, one) = (5 * 50 + bit, (residue >> bit & 1) as u8);
            bad[at / 8] = bad[at / 8] & !(1 << (at % 8)) | one << (at % 8);
        }
        assert_eq!(check_chunk(&f.layout, &bad), verdict);
        if verdict.is_err() {
            assert_eq!(sum.add_chunk(0, &bad), verdict);
            let mut whole = contribution.clone();
            whole[f.layout.chunk_bytes()..2 * f.layout.chunk_bytes()].copy_from_slice(&bad);
            assert_eq!(sum.add(&whole), verdict);
            let encoded = [&[1], whole.as_slice()].concat();
            let refused = Accumulator::from_bytes(&f.layout, &encoded).err().unwrap();
            let position = f.layout.chunk_bytes() * 8 / 50 + 5;
            assert!(matches!(refused, EncodingError::Element { position: p, .. } if p == position));
        }
    }
    assert_eq!(sum.to_bytes(), before);
}

#[test]
fn values_that_do_not_suit_the_layout_are_not_encrypted() {
    let mut f = fixture();
    let mut inputs = vec![0; 15_000];
    inputs[4_321] = -1_001;
    let result = f.encrypt(&inputs);
    assert_eq!(result, Err(EncryptError::ValueOutOfRange { index: 4_321, limit: 1_000 }));
    inputs[4_321] = i64::MIN;
    assert!(f.encrypt(&inputs).is_err());
    let result = f.encrypt(&inputs[1..]);
    assert_eq!(result, Err(EncryptError::Count { expected: 15_000, found: 14_999 }));

    let wide = Layout::derive(3, values(15_000, 1 << 45)).unwrap();
    assert_ne!(wide.set(), f.layout.set());
    inputs[4_321] = 0;
    let key = OneTimeKey::generate(&f.layout, &mut f.rng);
    assert!(deal(&key, &wide, &f.committee, &mut f.rng).is_err());
    assert_eq!(encrypt(&wide, &SEED, key, &inputs, &mut f.rng), Err(EncryptError::OtherKey));
}

/// A malicious client can replace its value but not hide that a sum left its range: three honest contributions of
/// a wider clamp under the narrow layout's widths.
#[test]
fn sums_out_of_range_and_wrong_cohorts_void_the_round() {
    let mut f = fixture();
    // The clients encrypt for a cohort of 20 (wider values pass); the opener holds them to a cohort of 3.
    let wide = Layout::derive(20, values(15_000, 1_000)).unwrap();
    let committee = f.committee;
    let mut sum = Accumulator::new(&wide);
    let mut commitments = Commitments::zero(&wide, &committee);
    let mut answers: Vec<_> = (1..=3).map(|i| (i, ShareSum::new(&wide))).collect();
    for _ in 0..4 {
        let key = OneTimeKey::generate(&wide, &mut f.rng);
        let mut inputs = vec![3; 15_000];
        inputs[77] = -1_000;
        let dealing = deal(&key, &wide, &committee, &mut f.rng).unwrap();
        sum.add(&encrypt(&wide, &SEED, key, &inputs, &mut f.rng).unwrap()).unwrap();
        commitments.add(&dealing.commitments).unwrap();
        for (index, answer) in &mut answers {
            answer.add(&dealing.shares[usize::from(*index) - 1]).unwrap();
        }
    }
    let key = combine(&wide, &committee, &commitments, &answers, 4).unwrap();
    assert_eq!(open(&wide, &SEED, &sum, &key, 3), Err(OpenError::Range { index: 77 }));
    assert_eq!(open(&wide, &SEED, &sum, &key, 4).unwrap()[77], -4_000);
    for cohort in [0, 1, 2, 21] {
        assert_eq!(open(&wide, &SEED, &sum, &key, cohort), Err(OpenError::Cohort { cohort }));
        let result = combine(&wide, &committee, &commitments, &answers, cohort);
        assert_eq!(result.err(), Some(CombineError::Cohort { cohort }));
    }
    assert_eq!(
        open(&wide, &SEED, &Accumulator::new(&Layout::derive(3, values(1, 1)).unwrap()), &key, 4),
        Err(OpenError::OtherLayout)
    );
}

#[test]
fn answers_of_nobody_and_repeated_answers_are_refused() {
    let f = fixture();
    let answer = || ShareSum::new(&f.layout);
    let zero = Commitments::zero(&f.layout, &f.committee);
    let attempt = |indices: [u8; 3]| {
        let answers = indices.map(|index| (index, answer()));
        combine(&f.layout, &f.committee, &zero, &answers, 3).err()
    };
    assert_eq!(attempt([1, 2, 5]), Some(CombineError::UnknownMember { index: 5 }));
    assert_eq!(attempt([0, 2, 3]), Some(CombineError::UnknownMember { index: 0 }));
    assert_eq!(attempt([2, 3, 2]), Some(CombineError::Twice { index: 2 }));
    // Zero shares open zero commitments to the zero key.
    assert_eq!(attempt([2, 3, 4]), None);

    let share = &f.dealing.shares[1];
    assert_eq!(share.check(&f.dealing.commitments, 2), Ok(()));
    assert_eq!(share.check(&f.dealing.commitments, 3), Err(ShareError::Commitment { index: 3 }));
    for index in [0, 5, 255] {
        assert_eq!(share.check(&f.dealing.commitments, index), Err(ShareError::UnknownMember { index }));
    }
    let wide = Layout::derive(3, values(1, 1 << 45)).unwrap();
    assert_eq!(ShareSum::new(&wide).add(share), Err(ShareError::OtherLayout));
}

#[test]
fn envelopes_open_only_as_they_were_sealed() {
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let (key, other) = (SealingKey::generate(&mut rng), SealingKey::generate(&mut rng));
    let sealed = seal(&key.public(), b"info", b"aad", b"a share").unwrap();
    assert_eq!(sealed.len(), b"a share".len() + SEAL_OVERHEAD);
    assert_eq!(unseal(&key, b"info", b"aad", &sealed).unwrap().as_slice(), b"a share");
    let refused = |key, info: &[u8], aad: &[u8], sealed: &[u8]| unseal(key, info, aad, sealed).err();
    assert_eq!(refused(&other, b"info", b"aad", &sealed), Some(SealError::Envelope));
    assert_eq!(refused(&key, b"Info", b"aad", &sealed), Some(SealError::Envelope));
    assert_eq!(refused(&key, b"info", b"aaa", &sealed), Some(SealError::Envelope));
    for at in 1..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 4;
        assert_eq!(refused(&key, b"info", b"aad", &altered), Some(SealError::Envelope));
    }
    for length in 0..SEAL_OVERHEAD {
        assert!(matches!(
            refused(&key, b"info", b"aad", &sealed[..length]),
            Some(SealError::Encoding(EncodingError::Length { .. }))
        ));
    }
    let mut low_order = key.public().to_bytes();
    low_order[1..].fill(0);
    let low_order = SealingPublicKey::from_bytes(&low_order).unwrap();
    assert_eq!(seal_with(&low_order, b"", b"", b"x", &mut rng).err(), Some(SealError::PublicKey));
}
