//! Checksums: version, then 8 bytes a value, three a prime; and the bodies they are taken of.

use secure_sum::{Challenge, Checksum, ChunkError};

use super::{Case, Decoder, Fixture, case, element, length, longer, version, with};

const WHAT: &str = "checksum";

const NARROW: Decoder = |f, bytes| Ok(Checksum::from_bytes(&f.layout, bytes).map(drop)?);
const WIDE: Decoder = |f, bytes| Ok(Checksum::from_bytes(&f.wide, bytes).map(drop)?);
const BODY: Decoder = |f, bytes| Ok(Checksum::of(&f.layout, &Challenge([1; 32]), bytes).map(drop)?);

pub(crate) fn cases(f: &Fixture) -> Vec<Case> {
    let narrow = Checksum::zero(&f.layout).to_bytes();
    let wide = Checksum::zero(&f.wide).to_bytes();
    let [q1, q2] = [f.wide.set().moduli()[0], f.wide.set().moduli()[1]];
    let value = |bytes: &[u8], at: usize, value: u64| with(bytes, 1 + 8 * at, &value.to_le_bytes());
    let body = f.contribution.len();
    vec![
        case("checksum: empty", NARROW, [], length(WHAT, 25, 0)),
        case("checksum: version only", NARROW, [1], length(WHAT, 25, 1)),
        case("checksum: a value short", NARROW, &narrow[..17], length(WHAT, 25, 17)),
        case("checksum: one byte more", NARROW, longer(&narrow, &[0]), length(WHAT, 25, 26)),
        case("checksum: version 2", NARROW, with(&narrow, 0, &[2]), version(WHAT, 2)),
        case("checksum: of the wide set", NARROW, &wide[..], length(WHAT, 25, 49)),
        case("checksum: of the narrow set", WIDE, &narrow[..], length(WHAT, 49, 25)),
        case("checksum: a value is its prime", NARROW, value(&narrow, 2, q1), element(WHAT, 2)),
        case("checksum: a value is 2^64 - 1", NARROW, value(&narrow, 0, u64::MAX), element(WHAT, 0)),
        case("checksum: the second prime among its own values", WIDE, value(&wide, 3, q2), element(WHAT, 3)),
        case("checksum: of an empty body", BODY, [], ChunkError::Length { expected: body, found: 0 }),
        case(
            "checksum: of a body without its last chunk",
            BODY,
            &f.contribution[..body / 3 * 2],
            ChunkError::Length { expected: body, found: body / 3 * 2 },
        ),
    ]
}
