//! Verification of proofs without the tree, as RFC 9162 sections 2.1.3.2 and 2.1.4.2 put it (the hashes are RFC 6962's).

use super::node_hash;
use crate::ids::Digest;

/// The longest proof: a tree has at most 2^64 leaves.
pub const MAX_PROOF_LEN: usize = 65;

/// Whether `proof` shows `leaf` (a leaf hash) at `index` of the tree with `size` leaves and this root.
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, root: &Digest, proof: &[Digest]) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for step in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree with `size` leaves and `root` continues the one with `old_size` and `old_root`.
pub fn verify_consistency(old_size: u64, old_root: &Digest, size: u64, root: &Digest, proof: &[Digest]) -> bool {
    if old_size > size {
        return false;
    }
    if old_size == size {
        return proof.is_empty() && old_root == root;
    }
    if old_size == 0 {
        return proof.is_empty() && *old_root == Digest::sha256(b"");
    }
    // When the old tree is a complete subtree of the new one, its root is left out of the proof.
    let (first, rest) = match proof.split_first() {
        _ if old_size.is_power_of_two() => (*old_root, proof),
        Some((first, rest)) => (*first, rest),
        None => return false,
    };
    let shift = (old_size - 1).trailing_ones();
    let (mut node, mut last) = ((old_size - 1) >> shift, (size - 1) >> shift);
    let (mut old_hash, mut hash) = (first, first);
    for step in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(step, &old_hash);
            hash = node_hash(step, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, step);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && hash == *root
}
