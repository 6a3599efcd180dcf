//! The table searched in registers, 32 samples at a time, with AVX-512.
//!
//! A sample's 96 bits (its 95 and the sign below them) and twice an entry are six digits of 16 bits; a number v is
//! below an entry t exactly if 2v + sign is below 2t. Entries with the same number of leading zero digits are a
//! group; their first other digits differ, and there are at most 31 of them, so one register holds them. A binary
//! search counts those above a sample's digit; only the next entry can have the same digit, and the digits behind
//! decide then. A group counts when the digits before it are zero. Every step is taken for every sample.

use pulp::x86::V4;
use pulp::{NullaryFnOnce, WithSimd, bytemuck, cast};
use std::arch::x86_64::__m512i;

use super::Compare;
use super::table::TAILS;

const DIGITS: usize = 6;
const LANES: usize = 32;

/// Entries whose first digits are zero up to this one's.
struct Group {
    /// The digits, a register each; zero behind the last entry and before the first digit.
    digits: [[u16; LANES]; DIGITS],
    /// The first step of the search: the largest power of two that is at most the group's size.
    step: u16,
}

const GROUPS: [Group; DIGITS] = groups();

/// [`Compare`] in registers.
pub(super) fn search(simd: V4, work: Compare<'_>) {
    simd.vectorize(Search { simd, work });
}

/// A type of its own, because the compiler leaves a closure of this size out of line, where it has no vectors.
struct Search<'a> {
    simd: V4,
    work: Compare<'a>,
}

impl NullaryFnOnce for Search<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { simd, work: Compare { limbs: [high, middle, low], samples } } = self;
        let (samples, rest) = samples.as_chunks_mut::<LANES>();
        let done = samples.len() * LANES;
        let limbs = high.as_chunks::<LANES>().0.iter().zip(middle.as_chunks::<LANES>().0);
        for ((limbs, low), out) in limbs.zip(low.as_chunks::<LANES>().0).zip(samples) {
            *out = search_lanes(simd, [limbs.0, limbs.1, low]);
        }
        Compare { limbs: [&high[done..], &middle[done..], &low[done..]], samples: rest }.with_simd(simd);
    }
}

#[inline(always)]
fn search_lanes(simd: V4, limbs: [&[u32; LANES]; 3]) -> [u32; LANES] {
    let digits = digits(simd, limbs);
    let (mut count, mut within) = (cast([0_u16; LANES]), u32::MAX);
    count = add_group::<0>(simd, &digits, count, &mut within);
    count = add_group::<1>(simd, &digits, count, &mut within);
    count = add_group::<2>(simd, &digits, count, &mut within);
    count = add_group::<3>(simd, &digits, count, &mut within);
    count = add_group::<4>(simd, &digits, count, &mut within);
    count = add_group::<5>(simd, &digits, count, &mut within);
    let bw = simd.avx512bw;
    let odd = bw._mm512_test_epi16_mask(digits[DIGITS - 1], splat(simd, 1));
    let signed = bw._mm512_mask_sub_epi16(count, odd, splat(simd, 0), count);
    // A sample of the second half lies in the low word of a lane, one of the first half in the high word.
    let first = simd.avx512f._mm512_srai_epi32::<16>(signed);
    let second = simd.avx512f._mm512_srai_epi32::<16>(simd.avx512f._mm512_slli_epi32::<16>(signed));
    bytemuck::cast::<[[u32; LANES / 2]; 2], _>([cast(first), cast(second)])
}

/// The digits of 32 samples: the first 16 in the high words, the others in the low words.
#[inline(always)]
fn digits(simd: V4, limbs: [&[u32; LANES]; 3]) -> [__m512i; DIGITS] {
    let mut digits = [splat(simd, 0); DIGITS];
    for (limb, digits) in limbs.into_iter().zip(digits.as_chunks_mut::<2>().0) {
        let [first, second]: [[u32; LANES / 2]; 2] = bytemuck::cast(*limb);
        let (first, second) = (cast(first), cast(second));
        let high_words = 0xaaaa_aaaa;
        let moved = simd.avx512f._mm512_srli_epi32::<16>(second);
        digits[0] = simd.avx512bw._mm512_mask_blend_epi16(high_words, moved, first);
        let moved = simd.avx512f._mm512_slli_epi32::<16>(first);
        digits[1] = simd.avx512bw._mm512_mask_blend_epi16(high_words, second, moved);
    }
    digits
}

/// Adds how many of the group's entries are above the samples whose digits before are zero (`within`), and takes
/// those whose digit is not zero out of `within`.
#[inline(always)]
fn add_group<const G: usize>(simd: V4, digits: &[__m512i; DIGITS], count: __m512i, within: &mut u32) -> __m512i {
    let (bw, table) = (simd.avx512bw, const { &GROUPS[G] });
    let first = splat(simd, table.digits[G][table.step as usize - 1]);
    let above = bw._mm512_cmplt_epu16_mask(digits[G], first);
    let mut place = bw._mm512_mask_blend_epi16(above, splat(simd, 0), splat(simd, table.step));
    let mut step = table.step / 2;
    while step > 0 {
        let entry = look_up(simd, bw._mm512_add_epi16(place, splat(simd, step - 1)), &table.digits[G]);
        let above = bw._mm512_cmplt_epu16_mask(digits[G], entry);
        place = bw._mm512_mask_add_epi16(place, above, place, splat(simd, step));
        step /= 2;
    }
    let mut below = 0;
    for digit in (G + 1..DIGITS).rev() {
        let entry = look_up(simd, place, &table.digits[digit]);
        below = bw._mm512_cmplt_epu16_mask(digits[digit], entry)
            | bw._mm512_mask_cmpeq_epu16_mask(below, digits[digit], entry);
    }
    below = bw._mm512_mask_cmpeq_epu16_mask(below & *within, digits[G], look_up(simd, place, &table.digits[G]));
    let count = bw._mm512_mask_add_epi16(count, *within, count, place);
    *within = bw._mm512_mask_cmpeq_epu16_mask(*within, digits[G], splat(simd, 0));
    bw._mm512_mask_add_epi16(count, below, count, splat(simd, 1))
}

/// Entries by their places.
#[inline(always)]
fn look_up(simd: V4, places: __m512i, table: &[u16; LANES]) -> __m512i {
    simd.avx512bw._mm512_permutexvar_epi16(places, cast(*table))
}

#[inline(always)]
fn splat(simd: V4, digit: u16) -> __m512i {
    simd.avx512f._mm512_set1_epi16(digit.cast_signed())
}

const fn groups() -> [Group; DIGITS] {
    let mut groups = [const { Group { digits: [[0; LANES]; DIGITS], step: 0 } }; DIGITS];
    let (mut group, mut size, mut k) = (0, 0, 0);
    while k < TAILS.len() {
        while digit(k, group) == 0 {
            (group, size) = (group + 1, 0);
        }
        // Entries decrease, and a search of 31 leaves a zero behind the last one.
        assert!(size < LANES - 1 && (size == 0 || digit(k, group) != digit(k - 1, group)));
        let mut place = group;
        while place < DIGITS {
            groups[group].digits[place][size] = digit(k, place);
            place += 1;
        }
        size += 1;
        groups[group].step = 1 << (usize::BITS - 1 - size.leading_zeros());
        k += 1;
    }
    groups
}

/// A digit of twice entry k, counted from the highest.
const fn digit(k: usize, place: usize) -> u16 {
    ((TAILS[k] << 1) >> (16 * (DIGITS - 1 - place))) as u16
}
