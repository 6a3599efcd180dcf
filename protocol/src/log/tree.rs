//! The tree itself, from its leaf hashes. Roots and proofs are computed when asked for: rounds are few.

use super::{leaf_hash, node_hash};
use crate::encoding::Message as _;
use crate::ids::Digest;
use crate::message::RecordHead;
use crate::record::RecordLeaf;

/// An append-only Merkle tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    leaves: Vec<Digest>,
}

impl Log {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// A tree from stored leaf hashes ([`super::leaf_hash`]).
    pub fn from_leaf_hashes(leaves: Vec<Digest>) -> Self {
        Self { leaves }
    }

    /// Appends a leaf; gives its index.
    pub fn append(&mut self, leaf: &RecordLeaf) -> u64 {
        self.append_bytes(&leaf.to_bytes())
    }

    /// Appends a leaf's bytes; gives its index.
    pub fn append_bytes(&mut self, data: &[u8]) -> u64 {
        self.leaves.push(leaf_hash(data));
        self.size() - 1
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The hash of the leaf at `index`.
    pub fn leaf(&self, index: u64) -> Option<Digest> {
        self.leaves.get(usize::try_from(index).ok()?).copied()
    }

    /// Size and root.
    pub fn head(&self) -> RecordHead {
        RecordHead { size: self.size(), root: root(&self.leaves) }
    }

    /// Size and root when the tree had `size` leaves; `None` above its size.
    pub fn head_at(&self, size: u64) -> Option<RecordHead> {
        Some(RecordHead { size, root: root(self.prefix(size)?) })
    }

    /// The proof that the leaf at `index` is in the tree of `size` leaves (RFC 6962, 2.1.1). `None` out of range.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        let leaves = self.prefix(size)?;
        let index = usize::try_from(index).ok().filter(|index| *index < leaves.len())?;
        let mut proof = Vec::new();
        path(leaves, index, &mut proof);
        Some(proof)
    }

    /// The proof that the tree of `size` leaves continues the one of `old` (RFC 6962, 2.1.2). Empty when `old` is 0 or
    /// `size`; `None` out of range.
    pub fn consistency(&self, old: u64, size: u64) -> Option<Vec<Digest>> {
        let leaves = self.prefix(size)?;
        let old = usize::try_from(old).ok().filter(|old| *old <= leaves.len())?;
        let mut proof = Vec::new();
        if old > 0 {
            subproof(leaves, old, true, &mut proof);
        }
        Some(proof)
    }

    fn prefix(&self, size: u64) -> Option<&[Digest]> {
        self.leaves.get(..usize::try_from(size).ok()?)
    }
}

/// The head of a tree that only grows: of n leaves it holds the roots of the at most 64 whole subtrees that they make, so that every head
/// on the way costs a few hashes.
#[derive(Debug, Clone, Default)]
pub(super) struct Frontier {
    size: u64,
    /// The largest subtree first; their sizes are the binary digits of `size`.
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// Appends a leaf by its hash.
    pub(super) fn push(&mut self, leaf: Digest) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// Size and root.
    pub(super) fn head(&self) -> RecordHead {
        let root = self.subtrees.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        RecordHead { size: self.size, root: root.unwrap_or_else(|| Digest::sha256(b"")) }
    }
}

/// MTH of RFC 6962.
fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// PATH of RFC 6962.
fn path(leaves: &[Digest], index: usize, proof: &mut Vec<Digest>) {
    if leaves.len() < 2 {
        return;
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    if index < middle {
        path(left, index, proof);
        proof.push(root(right));
    } else {
        path(right, index - middle, proof);
        proof.push(root(left));
    }
}

/// SUBPROOF of RFC 6962; `known` while the verifier holds the root of the first `old` leaves.
fn subproof(leaves: &[Digest], old: usize, known: bool, proof: &mut Vec<Digest>) {
    if old == leaves.len() {
        if !known {
            proof.push(root(leaves));
        }
        return;
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    if old <= middle {
        subproof(left, old, known, proof);
        proof.push(root(right));
    } else {
        subproof(right, old - middle, false, proof);
        proof.push(root(left));
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}
