//! `plainchant-client prove` in the folder of a house that has joined: what it writes, what it leaves alone, and that its signature holds.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use common::{Federation, HOUSES, logs};
use ed25519_dalek::{Signature, VerifyingKey};
use protocol::Digest;
use serde_json::Value;

async fn prove(dir: &Path, out: &Path) -> Output {
    let (dir, out) = (dir.to_owned(), out.to_owned());
    let program = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-client"));
        command.arg("prove").arg(dir).arg("--out").arg(out).output().unwrap()
    };
    tokio::task::spawn_blocking(program).await.unwrap()
}

/// Every file below `dir`, with its bytes.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            drop(found.insert(path.clone(), std::fs::read(&path).unwrap()))
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_shows_what_leaves_it_signed_with_every_sites_key_and_nothing_of_its_own_is_touched() {
    logs();
    let federation = Federation::new("clients", 1, 1).await;
    let (abbey, own) = (federation.house("abbey"), tempfile::tempdir().unwrap());
    let before = files(&abbey);
    let out = own.path().join("proof");
    let output = prove(&abbey, &out).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Everything is as it should be") && !said.contains("FAILED"), "{said}");
    assert_eq!(files(&abbey), before, "nothing in the house's folder has changed");

    let json = std::fs::read(out.join("proof.json")).unwrap();
    // The last 32 bytes are the key (RFC 8410, section 4).
    let pem = std::fs::read_to_string(out.join("house.pub.pem")).unwrap();
    let der = base64::engine::general_purpose::STANDARD.decode(pem.lines().nth(1).unwrap()).unwrap();
    let key = VerifyingKey::from_bytes(der[der.len() - 32..].try_into().unwrap()).unwrap();
    let signature = Signature::from_slice(&std::fs::read(out.join("proof.json.sig")).unwrap()).unwrap();
    key.verify_strict(&json, &signature).unwrap();
    let proof: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(proof["house"]["key_sha256"], Digest::sha256(key.as_bytes()).to_string());
    assert_eq!((proof["passed"].as_bool(), proof["roster_pinned"].as_bool()), (Some(true), Some(false)));
    assert_eq!(proof["charter"], federation.charter.digest().to_string());
    for (name, digest) in proof["files"].as_object().unwrap() {
        assert_eq!(*digest, Digest::sha256(&std::fs::read(out.join(name)).unwrap()).to_string(), "{name}");
    }
    let keys: Vec<String> = HOUSES
        .map(|house| {
            let identity = client::identity::Identity::load(&federation.house(house)).unwrap();
            Digest::sha256(identity.signer.public_key().as_bytes()).to_string()
        })
        .into();
    let listed: Vec<&str> =
        proof["members"].as_array().unwrap().iter().map(|one| one["key_sha256"].as_str().unwrap()).collect();
    assert_eq!(listed, keys);

    // What left holds the parts that it is said to hold: no more bytes than they have.
    let left: u64 = proof["left"].as_array().unwrap().iter().map(|part| part["bytes"].as_u64().unwrap()).sum();
    let cable = std::fs::read(out.join("on-the-cable.bin")).unwrap();
    assert_eq!(left, cable.len() as u64);
    // Records of TLS, each with its length, from the first byte to the last (RFC 8446, section 5.1).
    let (mut at, mut records) = (0, 0);
    while at < cable.len() {
        assert!((20..=23).contains(&cable[at]) && cable[at + 1] == 3, "no record of TLS at {at}");
        at += 5 + usize::from(u16::from_be_bytes([cable[at + 3], cable[at + 4]]));
        records += 1;
    }
    assert!(at == cable.len() && records > 3);
    let read = std::fs::read(out.join("at-the-aggregator.bin")).unwrap();
    assert!(read.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "the preface of RFC 9113, section 3.4");
    let page = std::fs::read_to_string(out.join("proof.html")).unwrap();
    assert!(!page.contains("<script") && page.contains(listed[3]), "{page}");

    let again = prove(&abbey, &out).await;
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already"));
    let stranger = prove(own.path(), &own.path().join("other")).await;
    assert_eq!(stranger.status.code(), Some(2));
    assert!(String::from_utf8(stranger.stderr).unwrap().contains("has not joined"));

    // A house that would run under no such charter shows nothing.
    let config = std::fs::read_to_string(abbey.join("client.toml")).unwrap();
    std::fs::write(abbey.join("client.toml"), config.replace("min_cohort = 3", "min_cohort = 4")).unwrap();
    let refused = prove(&abbey, &own.path().join("other")).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("policy.min_cohort"));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trustee_has_nothing_to_show() {
    logs();
    let federation = Federation::with_trustees("aggregator", 1, 1, &["notary"]).await;
    let own = tempfile::tempdir().unwrap();
    let output = prove(&federation.house("notary"), &own.path().join("proof")).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no house of this charter"));
    federation.stop().await;
}
