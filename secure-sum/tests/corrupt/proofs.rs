//! Proofs of wrong envelopes: version; then point (32 bytes), challenge and response (32 each), or nothing.

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use secure_sum::{EnvelopeProof, SealingKey, seal_with};

use super::shares::{ORDER, PRIME, small};
use super::{Case, Decoder, case, element, length, longer, version, with};

const WHAT: &str = "envelope proof";

const DECODE: Decoder = |_, bytes| Ok(EnvelopeProof::from_bytes(bytes).map(drop)?);

pub(crate) fn cases() -> Vec<Case> {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let key = SealingKey::generate(&mut rng);
    let sealed = seal_with(&key.public(), b"info", b"aad", b"no share", &mut rng).unwrap();
    let good = EnvelopeProof::make(&key, b"info", b"aad", &sealed, &mut rng).to_bytes();
    let mut minus_one = PRIME;
    minus_one[0] -= 1;
    let point = |y: &[u8; 32]| with(&good, 1, y);
    vec![
        case("proof: empty", DECODE, [], length(WHAT, 97, 0)),
        case("proof: two bytes", DECODE, &good[..2], length(WHAT, 97, 2)),
        case("proof: point only", DECODE, &good[..33], length(WHAT, 97, 33)),
        case("proof: without its response", DECODE, &good[..65], length(WHAT, 97, 65)),
        case("proof: one byte short", DECODE, &good[..96], length(WHAT, 97, 96)),
        case("proof: one byte more", DECODE, longer(&good, &[0]), length(WHAT, 97, 98)),
        case("proof: none, of version 0", DECODE, [0], version(WHAT, 0)),
        case("proof: version 2", DECODE, with(&good, 0, &[2]), version(WHAT, 2)),
        // y = 2 has no x: 3 / (4 d + 1) is no square.
        case("proof: a point that is not on the curve", DECODE, point(&small(2)), element(WHAT, 0)),
        case("proof: the point of order 2", DECODE, point(&minus_one), element(WHAT, 0)),
        case("proof: a point of order 4", DECODE, point(&[0; 32]), element(WHAT, 0)),
        case("proof: the challenge is the group's order", DECODE, with(&good, 33, &ORDER), element(WHAT, 1)),
        case("proof: the response is the group's order", DECODE, with(&good, 65, &ORDER), element(WHAT, 1)),
        case("proof: the response is 2^256 - 1", DECODE, with(&good, 65, &[0xff; 32]), element(WHAT, 1)),
    ]
}
