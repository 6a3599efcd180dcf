//! The tree against the published vectors of the certificate-transparency project; notes against Go's `note` package.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::note::open_note;
use super::tree::Frontier;
use super::*;
use crate::ids::HouseName;
use crate::message::RecordHead;
use crate::signed::{PublicKey, Signer};

/// The eight leaves of certificate-transparency's `merkle_tree_test`, in hexadecimal.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// The roots of the first one, two, ... eight of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn vector_log() -> Log {
    let mut log = Log::new();
    for leaf in LEAVES {
        log.append_bytes(&hex::decode(leaf).unwrap());
    }
    log
}

fn numbered_log(size: u8) -> Log {
    Log::from_leaf_hashes((0..size).map(|n| leaf_hash(&[n])).collect())
}

#[test]
fn roots_are_the_published_ones() {
    let log = vector_log();
    assert_eq!(Log::new().head().root.to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size, root) in (1..).zip(ROOTS) {
        assert_eq!(log.head_at(size).unwrap().root.to_string(), root, "{size} leaves");
    }
    assert_eq!(log.head_at(9), None);
}

#[test]
fn a_frontier_has_the_published_roots_and_those_of_the_whole_tree() {
    let mut frontier = Frontier::default();
    assert_eq!(frontier.head(), Log::new().head());
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        frontier.push(leaf_hash(&hex::decode(leaf).unwrap()));
        assert_eq!(frontier.head().root.to_string(), root);
    }
    let (log, mut frontier) = (numbered_log(70), Frontier::default());
    for n in 0..70 {
        assert_eq!(Some(frontier.head()), log.head_at(n));
        frontier.push(log.leaf(n).unwrap());
    }
}

#[test]
fn proofs_are_the_published_ones() {
    let expected = [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ];
    let text = |proof: Vec<Digest>| proof.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(text(vector_log().inclusion(0, 8).unwrap()), expected);
    assert_eq!(text(vector_log().consistency(1, 8).unwrap()), expected);
}

#[test]
fn every_inclusion_proof_holds_and_only_for_its_leaf_place_and_root() {
    let log = numbered_log(33);
    for size in 1..=33 {
        let root = log.head_at(size).unwrap().root;
        for index in 0..size {
            let proof = log.inclusion(index, size).unwrap();
            let leaf = log.leaf(index).unwrap();
            assert!(verify_inclusion(&leaf, index, size, &root, &proof));
            assert!(!verify_inclusion(&leaf_hash(b"other"), index, size, &root, &proof));
            assert!(!verify_inclusion(&leaf, size, size, &root, &proof));
            assert!(!verify_inclusion(&leaf, index, size, &leaf_hash(b"root"), &proof));
            if size > 1 {
                assert!(!verify_inclusion(&leaf, (index + 1) % size, size, &root, &proof));
                assert!(!verify_inclusion(&leaf, index, size, &root, &proof[1..]));
            }
            let longer: Vec<Digest> = proof.iter().copied().chain([leaf]).collect();
            assert!(!verify_inclusion(&leaf, index, size, &root, &longer));
        }
    }
    assert_eq!(log.inclusion(3, 3), None);
}

#[test]
fn every_consistency_proof_holds_and_no_changed_one_does() {
    let log = numbered_log(33);
    let mut forked = numbered_log(5);
    forked.append_bytes(b"fork");
    for size in 0..=33 {
        let new = log.head_at(size).unwrap();
        for old_size in 0..=size {
            let old = log.head_at(old_size).unwrap();
            let proof = log.consistency(old_size, size).unwrap();
            let holds = |old_root: &Digest, root: &Digest, proof: &[Digest]| {
                verify_consistency(old_size, old_root, size, root, proof)
            };
            assert!(holds(&old.root, &new.root, &proof), "{old_size} to {size}");
            let other = leaf_hash(b"other");
            assert!(!holds(&other, &new.root, &proof), "{old_size} to {size}");
            let longer: Vec<Digest> = proof.iter().copied().chain([other]).collect();
            assert!(!holds(&old.root, &new.root, &longer), "{old_size} to {size}");
            for step in 0..proof.len() {
                let mut changed = proof.clone();
                changed[step] = other;
                assert!(!holds(&old.root, &new.root, &changed), "{old_size} to {size}");
            }
        }
    }
    let (old, new) = (forked.head(), log.head());
    let proof = log.consistency(old.size, new.size).unwrap();
    assert!(!verify_consistency(old.size, &old.root, new.size, &new.root, &proof));
    assert!(!verify_consistency(new.size, &new.root, old.size, &old.root, &[]));
}

#[test]
fn the_note_of_the_go_packages_documentation_opens() {
    let key = base64_key("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let signature = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let note = format!("{text}\n{signature}");
    assert_eq!(open_note(&note, "PeterNeumann", &key), Ok(text));
    assert_eq!(open_note(&note, "EnochRoot", &key), Err(CheckpointError::Unsigned));
    let changed = note.replace("cryptography", "steganography");
    assert_eq!(open_note(&changed, "PeterNeumann", &key), Err(CheckpointError::BadSignature));
}

#[test]
fn a_checkpoint_opens_under_its_key_and_origin_only() {
    let signer = Signer::new(HouseName::new("aggregator").unwrap(), &[7; 32]);
    let head = RecordHead { size: 42, root: leaf_hash(b"x") };
    let checkpoint = Checkpoint::new("icd10", head);
    let note = checkpoint.sign(&signer);
    let key = signer.public_key();
    assert_eq!(Checkpoint::open(&note, "plainchant/icd10", &key), Ok(checkpoint));
    assert_eq!(Checkpoint::open(&note, "plainchant/other", &key), Err(CheckpointError::Unsigned));
    let other = Signer::new(HouseName::new("aggregator").unwrap(), &[8; 32]).public_key();
    assert_eq!(Checkpoint::open(&note, "plainchant/icd10", &other), Err(CheckpointError::Unsigned));
    let changed = note.replacen("\n42\n", "\n43\n", 1);
    assert_eq!(Checkpoint::open(&changed, "plainchant/icd10", &key), Err(CheckpointError::BadSignature));
    for cut in 0..note.len() {
        if let Some(part) = note.get(..cut) {
            assert!(Checkpoint::open(part, "plainchant/icd10", &key).is_err(), "{cut} bytes");
        }
    }
}

fn base64_key(text: &str) -> PublicKey {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    assert_eq!(bytes[0], 1, "Ed25519");
    PublicKey::from_bytes(bytes[1..].try_into().unwrap()).unwrap()
}
