//! A hundred thousand mutated requests against a live server: each is refused by a rule, none changes anything or brings it down.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::raw::call;
use common::{CHARTER, Member, Site, announced, channel, values};
use futures::StreamExt as _;
use prost::Message as _;
use protocol::{Attempt, Digest, RoundNumber};
use protos::convert::to_wire;
use protos::rpc::Rpc;
use protos::v1;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use secure_sum::Layout;
use tonic::Code;

const REQUESTS: usize = 100_000;
/// Calls under way at once.
const TOGETHER: usize = 16;

fn mutate(valid: &[u8], rng: &mut StdRng) -> Bytes {
    let mut bytes = valid.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 => bytes.extend_from_slice(&valid[at.min(valid.len())..]),
            3 => drop(bytes.splice(at..(at + 9).min(bytes.len()), [0xff; 9])),
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
        }
    }
    bytes.into()
}

/// All that calls of this test could change.
async fn stored(site: &Site) -> (u64, usize, usize, u64, usize) {
    let store = site.home().await.store;
    let stock = store.stock(&protocol::HouseName::new("abbey").unwrap()).await.unwrap();
    let state = (
        store.last_event().await.unwrap(),
        store.steps(RoundNumber::FIRST, Attempt::FIRST).await.unwrap().len(),
        store.leaves().await.unwrap().len(),
        stock,
        store.members().await.unwrap().len(),
    );
    store.close().await;
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_mutated_requests_are_refused_by_a_rule_each_and_change_nothing() {
    let seed = rand::rng().random::<u64>();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let charter =
        CHARTER.replace("close_ms = 20000", "close_ms = 400000").replace("open_ms = 40000", "open_ms = 800000");
    let mut site = Site::new(&charter).await;
    // How often somebody may call is looked at elsewhere.
    site.limits.calls_per_second = u32::MAX;
    let (members, announced) = announced(&mut site, 4).await;
    let addr = site.server.as_ref().unwrap().addr;
    let abbey = &members[0];
    let announcement: Bytes = announced.body_digest().as_bytes().to_vec().into();
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    let parts = abbey.contribution(&announced, &values(0, count));
    let Some(v1::submit_request::Part::Header(header)) = parts[0].part.clone() else { panic!() };
    let offer = protocol::OneTimeKeyOffer {
        charter: Digest::sha256(b"another"),
        member: abbey.signer.name().clone(),
        sequence: 9,
        key: [9; 32],
    };
    let offer = to_wire(&protocol::Signed::sign(&offer, &abbey.signer));
    let join = abbey.join_request(&[7; 32], 1);
    let of_attempt = v1::GetCohortRequest { announcement: announcement.clone() }.encode_to_vec();
    let body = v1::GetBodyRequest { announcement, house: "abbey".into() }.encode_to_vec();
    let seed_of = |rpc: Rpc| match rpc {
        Rpc::Join => join.encode_to_vec(),
        Rpc::Submit => parts[0].encode_to_vec(),
        Rpc::FindUpload => v1::FindUploadRequest { contribution: header.contribution.clone() }.encode_to_vec(),
        Rpc::OfferKeys => v1::OfferKeysRequest { offers: vec![offer.clone()] }.encode_to_vec(),
        Rpc::GetBody => body.clone(),
        // What is signed, in a field where a signed message of another kind belongs.
        Rpc::MarkReady
        | Rpc::PutAnswer
        | Rpc::PutOutcome
        | Rpc::PutApproval
        | Rpc::PutComplaint
        | Rpc::PutChecksums => v1::MarkReadyRequest { ready: Some(offer.clone()) }.encode_to_vec(),
        Rpc::GetRoster
        | Rpc::RenewCertificate
        | Rpc::WatchEvents
        | Rpc::GetCohort
        | Rpc::GetSealedShares
        | Rpc::GetChecked
        | Rpc::GetSum
        | Rpc::GetAnswers
        | Rpc::PutFinalState
        | Rpc::PutCosignature
        | Rpc::GetCheckpoint
        | Rpc::GetProof => of_attempt.clone(),
    };
    let before = stored(&site).await;
    let calls: Vec<(Rpc, Bytes)> = (0..REQUESTS)
        .map(|_| {
            // A renewal or a watch that happens to be right is answered: it is not of this test.
            let all: Vec<Rpc> = Rpc::all().filter(|rpc| !matches!(rpc, Rpc::WatchEvents)).collect();
            let rpc = all[rng.random_range(0..all.len())];
            (rpc, mutate(&seed_of(rpc), &mut rng))
        })
        .collect();
    let channel = channel(addr, &site.authority, Some((&abbey.certificate, &abbey.tls)));
    let mut rules = BTreeMap::<String, usize>::new();
    let mut answers = futures::stream::iter(calls)
        .map(|(rpc, message)| {
            let channel = channel.clone();
            async move { (rpc, call(channel, rpc, vec![message], 1).await.map(drop)) }
        })
        .buffer_unordered(TOGETHER);
    while let Some((rpc, answer)) = answers.next().await {
        let rule = match answer {
            // Unknown fields are no fault, and some calls have no others.
            Ok(()) => "ok".to_owned(),
            Err(status) => {
                let rule = status.metadata().get(protos::rule::KEY).map(|rule| rule.to_str().unwrap().to_owned());
                let rule = rule.unwrap_or_else(|| panic!("{rpc:?} is answered without a rule: {status}"));
                assert!(
                    !matches!(status.code(), Code::Internal | Code::Unknown | Code::Unavailable),
                    "{rpc:?}: {status}"
                );
                rule
            }
        };
        *rules.entry(rule).or_default() += 1;
    }
    println!("{REQUESTS} requests: {rules:?}");
    assert_eq!(stored(&site).await, before, "a mutated request changed something");
    for rule in ["wire", "bad-submission", "unknown-attempt", "unknown-invitation", "bad-signing-request"] {
        assert!(rules.contains_key(rule), "{rule} refused nothing: {rules:?}");
    }
    // It serves on.
    let mut members: Vec<Member> = members;
    for (house, member) in members.iter_mut().enumerate().skip(1) {
        member.submit(member.contribution(&announced, &values(house, count))).await.unwrap();
    }
}
