//! Residues on the wire: exactly 50 bits each, little-endian, four in 25 bytes, no padding.
//!
//! Loops here and in the other inner files own what they use (`move`) and add with wrapping where a bound is stated:
//! behind a borrow, or with a check for overflow, the compiler uses no vectors.

#[cfg(target_arch = "x86_64")]
mod wide;

use crate::params::RESIDUE_BITS;
use crate::ring::{self, reduce_word};

const MASK: u64 = (1 << RESIDUE_BITS) - 1;

/// Residues of one group and its bytes.
pub(crate) const GROUP: usize = 4;
pub(crate) const GROUP_BYTES: usize = 25;

/// Packs residues below 2^50; the lengths are multiples of a group.
pub(crate) fn pack(residues: &[u64], bytes: &mut [u8]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (groups, _) = residues.as_chunks::<GROUP>();
            let (out, _) = bytes.as_chunks_mut::<GROUP_BYTES>();
            for (group, out) in groups.iter().zip(out) {
                pack_group(group, out);
            }
        },
    );
}

/// Unpacks residues; true when every one of them is below q.
pub(crate) fn unpack(bytes: &[u8], residues: &mut [u64], q: u64) -> bool {
    read::<false>(bytes, residues, q)
}

/// Adds packed residues onto `sums` without reduction: a sum of up to 2^14 residues stays below 2^64. True when
/// every residue is below q; the sums are of no use otherwise.
pub(crate) fn unpack_onto(bytes: &[u8], sums: &mut [u64], q: u64) -> bool {
    read::<true>(bytes, sums, q)
}

/// Adds unreduced sums into `sum` modulo q.
pub(crate) fn add(sum: &mut [u64], others: &[u64], q: u64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (sum, &other) in sum.iter_mut().zip(others) {
                *sum = reduce_word(sum.wrapping_add(other), q);
            }
        },
    );
}

/// Subtracts unreduced sums from `sum` modulo q.
pub(crate) fn subtract(sum: &mut [u64], others: &[u64], q: u64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            for (sum, &other) in sum.iter_mut().zip(others) {
                *sum = ring::reduce(sum.wrapping_add(q).wrapping_sub(reduce_word(other, q)), q);
            }
        },
    );
}

/// Reduces unreduced sums modulo q.
pub(crate) fn reduce(sums: &mut [u64], q: u64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || sums.iter_mut().for_each(|sum| *sum = reduce_word(*sum, q)),
    );
}

/// Writes what it unpacks, or adds it to what is there; true when every residue is below q.
fn read<const ONTO: bool>(bytes: &[u8], out: &mut [u64], q: u64) -> bool {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V4::try_new() {
        return wide::read::<ONTO>(simd, bytes, out, q);
    }
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || read_groups::<ONTO>(bytes, out, q),
    )
}

#[inline(always)]
fn read_groups<const ONTO: bool>(bytes: &[u8], out: &mut [u64], q: u64) -> bool {
    let (groups, _) = bytes.as_chunks::<GROUP_BYTES>();
    let (out, _) = out.as_chunks_mut::<GROUP>();
    // A residue that is not below q makes its difference negative.
    let mut negative = [0; GROUP];
    for (group, out) in groups.iter().zip(out) {
        let residues = unpack_group(group);
        for ((out, negative), residue) in out.iter_mut().zip(&mut negative).zip(residues) {
            *negative |= (q - 1).wrapping_sub(residue);
            *out = if ONTO { out.wrapping_add(residue) } else { residue };
        }
    }
    negative.iter().all(|difference| difference >> 63 == 0)
}

#[inline(always)]
fn pack_group(r: &[u64; GROUP], out: &mut [u8; GROUP_BYTES]) {
    out[0..8].copy_from_slice(&(r[0] | r[1] << 50).to_le_bytes());
    out[8..16].copy_from_slice(&(r[1] >> 14 | r[2] << 36).to_le_bytes());
    out[16..24].copy_from_slice(&(r[2] >> 28 | r[3] << 22).to_le_bytes());
    out[24] = (r[3] >> 42) as u8;
}

#[inline(always)]
fn unpack_group(bytes: &[u8; GROUP_BYTES]) -> [u64; GROUP] {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    [word(0) & MASK, word(6) >> 2 & MASK, word(12) >> 4 & MASK, word(17) >> 14]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Long enough for the vectors' loop and for what they leave over.
    const COUNT: usize = 48;

    proptest! {
        #[test]
        fn residues_survive_and_bits_lie_in_order(residues in prop::collection::vec(0..=MASK, COUNT)) {
            let mut bytes = [0; COUNT / GROUP * GROUP_BYTES];
            pack(&residues, &mut bytes);
            for (i, residue) in residues.iter().enumerate() {
                for bit in 0..50 {
                    let at = 50 * i + bit;
                    prop_assert_eq!(bytes[at / 8] >> (at % 8) & 1, (residue >> bit & 1) as u8);
                }
            }
            let largest = residues.iter().max().copied().unwrap_or(0);
            let mut back = [7; COUNT];
            prop_assert!(unpack(&bytes, &mut back, largest + 1));
            prop_assert_eq!(&back[..], &residues);
            prop_assert!(unpack_onto(&bytes, &mut back, largest + 1));
            prop_assert!(back.iter().zip(&residues).all(|(sum, r)| *sum == 2 * r));
            for refused in [unpack(&bytes, &mut back, largest), unpack_onto(&bytes, &mut back, largest)] {
                prop_assert!(!refused);
            }
        }

        #[test]
        fn groups_read_as_the_vectors_do(residues in prop::collection::vec(0..=MASK, COUNT), onto in any::<bool>()) {
            let mut bytes = [0; COUNT / GROUP * GROUP_BYTES];
            pack(&residues, &mut bytes);
            let (mut one, mut other) = ([3; COUNT], [3; COUNT]);
            let q = residues[0] + 1;
            let same = if onto {
                read_groups::<true>(&bytes, &mut one, q) == read::<true>(&bytes, &mut other, q)
            } else {
                read_groups::<false>(&bytes, &mut one, q) == read::<false>(&bytes, &mut other, q)
            };
            prop_assert!(same);
            prop_assert_eq!(one, other);
        }

        #[test]
        fn sums_are_reduced_to_the_end_of_their_range(
            sums in prop::collection::vec(prop_oneof![any::<u64>(), Just(u64::MAX)], 8), start in 0..1_u64 << 49,
        ) {
            for &q in crate::ParameterSet::P100.moduli() {
                let (mut reduced, mut sum) = (sums.clone(), [start; 8]);
                reduce(&mut reduced, q);
                prop_assert!(reduced.iter().zip(&sums).all(|(r, s)| *r == s % q));
                add(&mut sum, &reduced, q);
                prop_assert!(sum.iter().zip(&sums).all(|(r, s)| *r == (start + s % q) % q));
                subtract(&mut sum, &sums, q);
                prop_assert_eq!(sum, [start; 8]);
            }
        }
    }
}
