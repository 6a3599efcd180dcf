//! The federation's record: an append-only Merkle tree over [`crate::RecordLeaf`]s, as in RFC 6962 section 2.1, and its
//! signed checkpoints, as in C2SP's tlog-checkpoint and signed-note, which members countersign as in its tlog-cosignature.
//!
//! [`mod@file`] is the record as one file, each leaf with what proves it; [`audit`] checks such a file, offline.

pub mod audit;
mod fault;
pub mod file;
mod note;
mod show;
mod tree;
mod verify;

pub use fault::{Fault, Flaw, Place};
pub use note::{Checkpoint, CheckpointError, Cosignature};
pub use tree::Log;
pub use verify::{MAX_PROOF_LEN, verify_consistency, verify_inclusion};

use sha2::{Digest as _, Sha256};

use crate::ids::Digest;

/// The hash of a leaf: SHA-256 over `0x00 || data`.
pub fn leaf_hash(data: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update([0]);
    hash.update(data);
    Digest::from_bytes(hash.finalize().into())
}

/// The hash of an inner node: SHA-256 over `0x01 || left || right`.
pub(crate) fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update([1]);
    hash.update(left.as_bytes());
    hash.update(right.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

#[cfg(test)]
mod tests;
