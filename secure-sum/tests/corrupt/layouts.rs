//! Layouts: version, cohort (4 bytes), count (8), clamp (8), deviation (8), set, field, noise and digit bits.

use secure_sum::{Layout, LayoutError};

use super::{Case, Decoder, Fixture, case, geometry, length, longer, version, with};

const WHAT: &str = "layout";

/// Where the fields begin.
const COHORT: usize = 1;
const COUNT: usize = 5;
const CLAMP: usize = 13;
const DEVIATION: usize = 21;
const WIDTHS: usize = 29;

const DECODE: Decoder = |_, bytes| Ok(Layout::from_bytes(bytes).map(drop)?);

pub(crate) fn cases(fixture: &Fixture) -> Vec<Case> {
    let good = fixture.layout.to_bytes();
    let edit = |at, new: &[u8]| with(&good, at, new);
    let width = |at: usize, by: u8| edit(WIDTHS + at, &[good[WIDTHS + at] + by]);
    let mut cases = vec![
        case("layout: empty", DECODE, [], length(WHAT, 33, 0)),
        case("layout: version only", DECODE, [1], length(WHAT, 33, 1)),
        case("layout: cut before the deviation", DECODE, &good[..DEVIATION], length(WHAT, 33, 21)),
        case("layout: cut before the widths", DECODE, &good[..WIDTHS], length(WHAT, 33, 29)),
        case("layout: one byte short", DECODE, &good[..32], length(WHAT, 33, 32)),
        case("layout: one byte more", DECODE, longer(&good, &[0]), length(WHAT, 33, 34)),
        case("layout: version 0", DECODE, edit(0, &[0]), version(WHAT, 0)),
        case("layout: version 2", DECODE, edit(0, &[2]), version(WHAT, 2)),
        case("layout: set of the wide one", DECODE, width(0, 1), geometry(WHAT)),
        case("layout: unknown set", DECODE, edit(WIDTHS, &[255]), geometry(WHAT)),
        case("layout: a field bit more", DECODE, width(1, 1), geometry(WHAT)),
        case("layout: a noise bit more", DECODE, width(2, 1), geometry(WHAT)),
        case("layout: a digit bit more", DECODE, width(3, 1), geometry(WHAT)),
        case("layout: another cohort, same widths claimed", DECODE, edit(COHORT, &[200]), geometry(WHAT)),
    ];
    for (name, found) in [
        ("layout: cohort 0", 0),
        ("layout: cohort 2", 2),
        ("layout: cohort 10,001", 10_001),
        ("layout: cohort 2^32 - 1", u32::MAX),
    ] {
        let expected = LayoutError::Cohort { found: found as usize };
        cases.push(case(name, DECODE, edit(COHORT, &found.to_le_bytes()), expected));
    }
    for (name, found) in [
        ("layout: count 0", 0),
        ("layout: count 2^36 + 1", (1_u64 << 36) + 1),
        ("layout: count 2^64 - 1, times a chunk beyond 64 bits", u64::MAX),
    ] {
        let expected = LayoutError::Count { found: found as usize };
        cases.push(case(name, DECODE, edit(COUNT, &found.to_le_bytes()), expected));
    }
    // Three clients: 2^60 leaves 62 bits and a sign, and no set has room; 2^64 - 1 times three is beyond 65 bits.
    for (name, clamp, expected) in [
        ("layout: clamp 0", 0, LayoutError::Clamp),
        ("layout: clamp 2^62, times three beyond 63 bits", 1_u64 << 62, LayoutError::TooWide { field_bits: 65 }),
        ("layout: clamp 2^64 - 1", u64::MAX, LayoutError::TooWide { field_bits: 67 }),
    ] {
        cases.push(case(name, DECODE, edit(CLAMP, &clamp.to_le_bytes()), expected));
    }
    for (name, found) in [
        ("layout: deviation NaN", f64::NAN),
        ("layout: deviation infinite", f64::INFINITY),
        ("layout: deviation minus infinite", f64::NEG_INFINITY),
        ("layout: deviation -1", -1.0),
        ("layout: deviation 2^60", 2_f64.powi(60)),
        ("layout: deviation the smallest negative", -f64::from_bits(1)),
    ] {
        let expected = LayoutError::NoiseDeviation { found };
        cases.push(case(name, DECODE, edit(DEVIATION, &found.to_bits().to_le_bytes()), expected));
    }
    let negative_zero = (-0.0_f64).to_bits().to_le_bytes();
    cases.push(case("layout: deviation -0.0", DECODE, edit(DEVIATION, &negative_zero), geometry(WHAT)));
    cases
}
