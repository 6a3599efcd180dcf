//! Residues on the wire: exactly 50 bits each, little-endian, four in 25 bytes, no padding.

const MASK: u64 = (1 << 50) - 1;

/// Residues of one group and its bytes.
pub(crate) const GROUP: usize = 4;
pub(crate) const GROUP_BYTES: usize = 25;

/// Packs residues below 2^50; the lengths are multiples of a group.
pub(crate) fn pack(residues: &[u64], bytes: &mut [u8]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
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
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let (groups, _) = bytes.as_chunks::<GROUP_BYTES>();
            let (out, _) = residues.as_chunks_mut::<GROUP>();
            let mut largest = [0; GROUP];
            for (group, out) in groups.iter().zip(out) {
                *out = unpack_group(group);
                for (largest, &residue) in largest.iter_mut().zip(out.iter()) {
                    *largest = residue.max(*largest);
                }
            }
            largest.iter().all(|&residue| residue < q)
        },
    )
}

/// Adds `other` into `sum` modulo q.
pub(crate) fn add(sum: &mut [u64], other: &[u64], q: u64) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (sum, &other) in sum.iter_mut().zip(other) {
                *sum = crate::ring::reduce(*sum + other, q);
            }
        },
    );
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

    proptest! {
        #[test]
        fn residues_survive_and_bits_lie_in_order(residues in prop::array::uniform8(0..=MASK)) {
            let mut bytes = [0; 50];
            pack(&residues, &mut bytes);
            for (i, residue) in residues.iter().enumerate() {
                for bit in 0..50 {
                    let at = 50 * i + bit;
                    prop_assert_eq!(bytes[at / 8] >> (at % 8) & 1, (residue >> bit & 1) as u8);
                }
            }
            let mut back = [0; 8];
            let largest = residues.iter().max().copied().unwrap_or(0);
            prop_assert!(unpack(&bytes, &mut back, largest + 1));
            prop_assert!(!unpack(&bytes, &mut back, largest));
            prop_assert_eq!(back, residues);
        }
    }
}
