//! Unpacking eight residues at a time with AVX-512: 50 bytes are 25 words of 16 bits, residue i lies in the words
//! 3i to 3i+3 from bit 2i on. One permutation of words, one shift, one mask.

use pulp::x86::V4;
use pulp::{Simd, cast};

use super::MASK;

/// Residues of one vector and their bytes.
const LANES: usize = 8;
const BYTES: usize = 50;

const WORDS: [u16; 32] = {
    let mut words = [0; 32];
    let mut at = 0;
    while at < 32 {
        words[at] = (3 * (at / 4) + at % 4) as u16;
        at += 1;
    }
    words
};
const SHIFTS: [u64; LANES] = [0, 2, 4, 6, 8, 10, 12, 14];

/// [`read_groups`](super::read_groups) in vectors.
#[inline(always)]
pub(super) fn read<const ONTO: bool>(simd: V4, bytes: &[u8], out: &mut [u64], q: u64) -> bool {
    simd.vectorize(
        #[inline(always)]
        || {
            let (words, shifts) = (cast(WORDS), cast(SHIFTS));
            let (mask, limit) = (simd.splat_u64s(MASK), simd.splat_u64s(q - 1));
            let mut negative = simd.splat_u64s(0);
            // A load is 64 bytes wide, so the last group is left to the loop without vectors.
            let full = (bytes.len().saturating_sub(64 - BYTES) / BYTES).min(out.len() / LANES);
            for (at, out) in out.as_chunks_mut::<LANES>().0.iter_mut().take(full).enumerate() {
                let Some(loaded) = bytes[BYTES * at..].first_chunk::<64>() else { break };
                let lanes = simd.avx512bw._mm512_permutexvar_epi16(words, cast(*loaded));
                let residues = cast(simd.avx512f._mm512_srlv_epi64(lanes, shifts));
                let residues = simd.and_u64s(residues, mask);
                negative = simd.or_u64s(negative, simd.sub_u64s(limit, residues));
                *out = cast(if ONTO { simd.add_u64s(cast(*out), residues) } else { residues });
            }
            let rest = super::read_groups::<ONTO>(&bytes[BYTES * full..], &mut out[LANES * full..], q);
            let negative: [u64; LANES] = cast(negative);
            rest & negative.iter().all(|difference| difference >> 63 == 0)
        },
    )
}
