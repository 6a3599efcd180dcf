//! Sealing keys and envelopes: version, encapsulated key (32 bytes), its proof (64), ciphertext, tag (16).

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use secure_sum::{SEAL_OVERHEAD, SealError, SealingKey, SealingPublicKey, seal_with, unseal};

use super::{Case, Decoder, case, length, longer, version, with};

const ENVELOPE: &str = "envelope";
const PRIVATE: &str = "sealing key";
const PUBLIC: &str = "sealing public key";

const SEALING_KEY: Decoder = |_, bytes| Ok(SealingKey::from_bytes(bytes).map(drop)?);
const PUBLIC_KEY: Decoder = |_, bytes| Ok(SealingPublicKey::from_bytes(bytes).map(drop)?);
const UNSEAL: Decoder = |_, bytes| Ok(unseal(&receiver(), b"info", b"aad", bytes).map(drop)?);
const OTHER_ROUND: Decoder = |_, bytes| Ok(unseal(&receiver(), b"other", b"aad", bytes).map(drop)?);
const OTHER_MEMBER: Decoder = |_, bytes| Ok(unseal(&receiver(), b"info", b"bad", bytes).map(drop)?);
/// Sealing to a key that decodes but gives no secret.
const SEAL_TO: Decoder = |_, bytes| {
    let key = SealingPublicKey::from_bytes(bytes)?;
    Ok(seal_with(&key, b"info", b"aad", b"share", &mut ChaCha20Rng::seed_from_u64(3)).map(drop)?)
};

fn receiver() -> SealingKey {
    SealingKey::generate(&mut ChaCha20Rng::seed_from_u64(1))
}

/// Curve25519's points of small order as u-coordinates: 0, 1, two of order 8, p - 1, and 0 and 1 not reduced.
fn low_order() -> [(&'static str, [u8; 32]); 7] {
    let near_prime = |low: u8| {
        let mut u = [0xff; 32];
        (u[0], u[31]) = (low, 0x7f);
        u
    };
    let mut one = [0; 32];
    one[0] = 1;
    [
        ("receiver: u = 0", [0; 32]),
        ("receiver: u = 1", one),
        ("receiver: u of order 8", ORDER_8[0]),
        ("receiver: the other u of order 8", ORDER_8[1]),
        ("receiver: u = p - 1", near_prime(0xec)),
        ("receiver: u = p", near_prime(0xed)),
        ("receiver: u = p + 1", near_prime(0xee)),
    ]
}

/// The two u-coordinates of order 8 (Bernstein, "Curve25519: a state-of-the-art Diffie-Hellman function", FAQ).
const ORDER_8: [[u8; 32]; 2] = [
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44,
        0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = keys();
    cases.extend(envelopes());
    for (name, u) in low_order() {
        cases.push(case(name, SEAL_TO, longer(&[1], &u), SealError::PublicKey));
    }
    cases
}

fn keys() -> Vec<Case> {
    let (private, public) = (receiver().to_bytes(), receiver().public().to_bytes());
    vec![
        case("sealing key: empty", SEALING_KEY, [], length(PRIVATE, 33, 0)),
        case("sealing key: without version", SEALING_KEY, &private[1..], length(PRIVATE, 33, 32)),
        case("sealing key: one byte more", SEALING_KEY, longer(&private, &[0]), length(PRIVATE, 33, 34)),
        case("sealing key: version 2", SEALING_KEY, with(&private, 0, &[2]), version(PRIVATE, 2)),
        case("public key: empty", PUBLIC_KEY, [], length(PUBLIC, 33, 0)),
        case("public key: one byte short", PUBLIC_KEY, &public[..32], length(PUBLIC, 33, 32)),
        case("public key: one byte more", PUBLIC_KEY, longer(&public, &[9]), length(PUBLIC, 33, 34)),
        case("public key: version 0", PUBLIC_KEY, with(&public, 0, &[0]), version(PUBLIC, 0)),
    ]
}

fn envelopes() -> Vec<Case> {
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut sealed = |text: &[u8]| seal_with(&receiver().public(), b"info", b"aad", text, &mut rng).unwrap();
    let (good, other) = (sealed(&[7; 1_000]), sealed(&[8; 1_000]));
    let (size, tag) = (good.len(), good.len() - 16);
    let refused = || SealError::Envelope;
    let short = |found| length(ENVELOPE, SEAL_OVERHEAD, found);
    let spliced = [&other[..33], &good[33..]].concat();
    let tag_first = [&good[..33], &good[tag..], &good[33..tag]].concat();
    let mut cases = vec![
        case("envelope: empty", UNSEAL, [], short(0)),
        case("envelope: version only", UNSEAL, [1], short(1)),
        case("envelope: key only", UNSEAL, &good[..33], short(33)),
        case("envelope: one byte short of an empty text", UNSEAL, &good[..48], short(48)),
        case("envelope: version 0", UNSEAL, with(&good, 0, &[0]), version(ENVELOPE, 0)),
        case("envelope: version 255", UNSEAL, with(&good, 0, &[255]), version(ENVELOPE, 255)),
        case("envelope: one byte cut", UNSEAL, &good[..size - 1], refused()),
        case("envelope: its tag cut", UNSEAL, &good[..tag], refused()),
        case("envelope: one byte more", UNSEAL, longer(&good, &[0]), refused()),
        case("envelope: text and tag swapped", UNSEAL, tag_first, refused()),
        case("envelope: another dealer's encapsulated key", UNSEAL, spliced, refused()),
        case("envelope: last bit of the tag", UNSEAL, with(&good, size - 1, &[good[size - 1] ^ 1]), refused()),
        case("envelope: of another round", OTHER_ROUND, &good[..], refused()),
        case("envelope: of another member", OTHER_MEMBER, &good[..], refused()),
        case("envelope: text of zeros under the key 0", UNSEAL, longer(&[1], &[0; 200]), refused()),
    ];
    for u in ORDER_8 {
        cases.push(case("envelope: encapsulated key of order 8", UNSEAL, with(&good, 1, &u), refused()));
    }
    cases
}
