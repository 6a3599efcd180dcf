//! Key shares, sums of shares and commitments: versions, counts, scalars and points.

use secure_sum::{Commitments, DealingError, KeyShare, ShareSum};

use super::{Case, Decoder, Fixture, case, element, geometry, length, longer, version, with};

const SHARE: &str = "key share";
const SUM: &str = "share sum";
const POINTS: &str = "commitments";

const KEY_SHARE: Decoder = |f, bytes| Ok(KeyShare::from_bytes(&f.layout, bytes).map(drop)?);
const SHARE_SUM: Decoder = |f, bytes| Ok(ShareSum::from_bytes(&f.layout, bytes).map(drop)?);
const COMMITMENTS: Decoder = |f, bytes| Ok(Commitments::from_bytes(&f.layout, &f.committee, bytes).map(drop)?);
const DEALING: Decoder =
    |f, bytes| Ok(Commitments::from_bytes(&f.layout, &f.committee, bytes)?.check_degree(&f.committee)?);

/// The order of the scalars, 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 9496, section 4).
pub(crate) const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The field's prime 2^255 - 19, little-endian.
pub(crate) const PRIME: [u8; 32] = {
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed;
    bytes[31] = 0x7f;
    bytes
};

/// A small number, little-endian.
pub(crate) const fn small(value: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = value;
    bytes
}

pub(crate) fn cases(f: &Fixture) -> Vec<Case> {
    let mut cases = shares(f);
    cases.extend(commitment_sizes(f));
    cases.extend(commitment_points(f));
    cases
}

fn shares(f: &Fixture) -> Vec<Case> {
    let good = f.dealing.shares[0].to_bytes();
    let wide = f.wide_dealing.shares[0].to_bytes();
    let (size, last) = (good.len(), good.len() / 32 - 1);
    let scalar = |at: usize, value: &[u8; 32]| with(&good, 1 + 32 * at, value);
    let mut cases = vec![
        case("share: empty", KEY_SHARE, [], length(SHARE, size, 0)),
        case("share: version only", KEY_SHARE, [1], length(SHARE, size, 1)),
        case("share: cut after a scalar", KEY_SHARE, &good[..33], length(SHARE, size, 33)),
        case("share: without its blinding", KEY_SHARE, &good[..size - 32], length(SHARE, size, size - 32)),
        case("share: one byte more", KEY_SHARE, longer(&good, &[0]), length(SHARE, size, size + 1)),
        case("share: one scalar more", KEY_SHARE, longer(&good, &[0; 32]), length(SHARE, size, size + 32)),
        case("share: version 0", KEY_SHARE, with(&good, 0, &[0]), version(SHARE, 0)),
        case("share: of the wide layout", KEY_SHARE, &wide[..], length(SHARE, size, wide.len())),
        case("share: a scalar is the group's order", KEY_SHARE, scalar(0, &ORDER), element(SHARE, 0)),
        case("share: a scalar has the highest bit", KEY_SHARE, with(&good, 1 + 32 * 8 - 1, &[0x80]), element(SHARE, 7)),
        case("share: a scalar is 2^256 - 1", KEY_SHARE, scalar(20, &[0xff; 32]), element(SHARE, 20)),
        case("share: the blinding is the group's order", KEY_SHARE, scalar(last, &ORDER), element(SHARE, last)),
        case("sum: empty", SHARE_SUM, [], length(SUM, size, 0)),
        case("sum: version 2", SHARE_SUM, with(&good, 0, &[2]), version(SUM, 2)),
        case("sum: one byte short", SHARE_SUM, &good[..size - 1], length(SUM, size, size - 1)),
        case("sum: of the wide layout", SHARE_SUM, &wide[..], length(SUM, size, wide.len())),
        case("sum: the blinding is 2^256 - 1", SHARE_SUM, scalar(last, &[0xff; 32]), element(SUM, last)),
    ];
    let commitments = f.dealing.commitments.to_bytes();
    let found = commitments.len();
    cases.push(case("share: commitments instead", KEY_SHARE, commitments, length(SHARE, size, found)));
    cases
}

fn commitment_sizes(f: &Fixture) -> Vec<Case> {
    let good = f.dealing.commitments.to_bytes();
    let size = good.len();
    let count = |scalars: u16| with(&good, 1, &scalars.to_le_bytes());
    vec![
        case("commitments: empty", COMMITMENTS, [], length(POINTS, size, 0)),
        case("commitments: head only", COMMITMENTS, &good[..4], length(POINTS, size, 4)),
        case("commitments: a member less", COMMITMENTS, &good[..size - 32], length(POINTS, size, size - 32)),
        case("commitments: half a point", COMMITMENTS, &good[..size - 16], length(POINTS, size, size - 16)),
        case("commitments: one byte more", COMMITMENTS, longer(&good, &[0]), length(POINTS, size, size + 1)),
        case("commitments: version 3", COMMITMENTS, with(&good, 0, &[3]), version(POINTS, 3)),
        case("commitments: no scalars", COMMITMENTS, count(0), geometry(POINTS)),
        case("commitments: 65,535 scalars", COMMITMENTS, count(u16::MAX), geometry(POINTS)),
        case("commitments: the wide layout's", COMMITMENTS, f.wide_dealing.commitments.to_bytes(), geometry(POINTS)),
        case("commitments: no members", COMMITMENTS, with(&good, 3, &[0]), geometry(POINTS)),
        case("commitments: five members claimed", COMMITMENTS, with(&good, 3, &[5]), geometry(POINTS)),
        case("commitments: 255 members claimed", COMMITMENTS, with(&good, 3, &[255]), geometry(POINTS)),
    ]
}

fn commitment_points(f: &Fixture) -> Vec<Case> {
    let good = f.dealing.commitments.to_bytes();
    let point = |at: usize, value: &[u8; 32]| with(&good, 4 + 32 * at, value);
    let mut above = PRIME;
    above[0] += 1;
    let mut minus_one = PRIME;
    minus_one[0] -= 1;
    // What no encoder writes (RFC 9496, section 4.3.1): s not reduced, s negative (odd), no square for s.
    let mut cases = vec![
        case("commitments: a point is p, not reduced", COMMITMENTS, point(0, &PRIME), element(POINTS, 0)),
        case("commitments: a point is p + 1, not reduced", COMMITMENTS, point(1, &above), element(POINTS, 1)),
        case("commitments: a point is 2^256 - 1", COMMITMENTS, point(2, &[0xff; 32]), element(POINTS, 2)),
        case("commitments: a point is 1, negative", COMMITMENTS, point(3, &small(1)), element(POINTS, 3)),
        case("commitments: a point is p - 1, no point", COMMITMENTS, point(1, &minus_one), element(POINTS, 1)),
    ];
    let mut negated = good[4..36].to_vec();
    negate(&mut negated);
    cases.push(case("commitments: a point's s is negated", COMMITMENTS, with(&good, 4, &negated), element(POINTS, 0)));
    let degree = DealingError::Degree;
    let swapped = [&good[..4], &good[36..68], &good[4..36], &good[68..]].concat();
    cases.push(case("commitments: two points swapped", DEALING, swapped, &degree));
    cases.push(case("commitments: a point is the identity", DEALING, point(2, &[0; 32]), &degree));
    cases
}

/// p - s, little-endian, for 0 < s < p.
fn negate(s: &mut [u8]) {
    let mut borrow = 0;
    for (digit, p) in s.iter_mut().zip(PRIME) {
        let difference = i16::from(p) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = difference.rem_euclid(256) as u8;
    }
}
