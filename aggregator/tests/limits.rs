//! Every limit, by what is just within it and what is just beyond: the one is served, the other is refused by a named rule and counted.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use aggregator::limits::Limits;
use common::{CHARTER, HOUSES, Member, Site, announced, channel, rule, values};
use protocol::Message as _;
use protos::limits::{CHECKSUMS_PER_CALL, COMMITTEE_MEMBERS, KEYS_PER_OFFER, MESSAGE_BYTES, SEALED_SHARE_BYTES};
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use protos::v1::submit_request::Part;
use secure_sum::Layout;
use tonic::{Code, Status};

fn refused(status: &Status) -> (Code, String) {
    (status.code(), rule(status))
}

fn too_many() -> (Code, String) {
    (Code::ResourceExhausted, "too-many-calls".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_calls_too_often_hears_so_the_others_do_not_and_it_is_served_again_later() {
    let mut site = Site::new(CHARTER).await;
    site.limits = Limits { calls_per_second: 2, ..Limits::default() };
    let addr = site.serve().await;
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(HOUSES) {
        members.push(Member::join(&site, addr, name, secret).await);
    }
    // Twenty seconds' worth at once.
    for _ in 0..40 {
        members[0].roster().await;
    }
    let status = loop {
        // What came in meanwhile is served too.
        if let Err(status) = members[0].client.get_roster(v1::GetRosterRequest {}).await {
            break status;
        }
    };
    assert_eq!(refused(&status), too_many(), "{status}");
    assert!(status.message().contains("at most 2 a second"), "{status}");
    members[1].roster().await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    members[0].roster().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_certificate_share_what_their_address_may_call() {
    let mut site = Site::new(CHARTER).await;
    site.limits = Limits { anonymous_calls_per_second: 1, ..Limits::default() };
    let addr = site.serve().await;
    let mut codes = Vec::new();
    for _ in 0..22 {
        let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
        codes.push(rule(&enrolment.join(v1::JoinRequest::default()).await.unwrap_err()));
    }
    assert_eq!((codes[0].as_str(), codes[19].as_str(), codes[21].as_str()), ("wire", "wire", "too-many-calls"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_hold_no_more_brings_no_round_and_one_that_may_does() {
    for (disk_mib, round) in [(64, false), (200, true)] {
        let mut site = Site::new(CHARTER).await;
        site.limits = Limits { disk_mib, ..Limits::default() };
        let addr = site.serve().await;
        let mut members = Vec::new();
        for (secret, name) in (1..).zip(HOUSES) {
            members.push(Member::join(&site, addr, name, secret).await);
        }
        let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
        for member in &mut members {
            member.offer_keys(charter, 2).await;
            member.ready(charter, roster, 1).await.unwrap();
        }
        let mut events =
            members[0].client.watch_events(v1::WatchEventsRequest { after: 0 }).await.unwrap().into_inner();
        let gathering = events.message().await.unwrap().unwrap();
        assert!(matches!(gathering.kind, Some(Kind::Gathering(_))));
        let next = tokio::time::timeout(Duration::from_secs(3), events.message()).await;
        assert_eq!(next.is_ok(), round, "{disk_mib} MiB: {next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_lists_are_taken_up_to_their_limits_and_no_further() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, round) = announced(&mut site, 4).await;
    let addr = site.server.as_ref().unwrap().addr;
    let charter = site.charter.digest();

    // A message: one byte more is not read.
    let mut sized = async |bytes: usize| {
        // Two headers of a tag and four bytes of length.
        let announcement = vec![0; bytes - 5].into();
        members[0].client.get_sum(v1::GetSumRequest { announcement }).await.map(drop).unwrap_err()
    };
    assert_eq!(refused(&sized(MESSAGE_BYTES).await), (Code::InvalidArgument, "wire".to_owned()));
    assert_eq!(refused(&sized(MESSAGE_BYTES + 1).await), (Code::ResourceExhausted, "too-large".to_owned()));

    // One-time keys in an offer.
    members[0].keys.clear();
    let offered = members[1].try_offer_keys(charter, KEYS_PER_OFFER as u64 + 1).await.unwrap_err();
    assert_eq!(refused(&offered), (Code::InvalidArgument, "wire".to_owned()), "{offered}");
    let mut other = site.path();
    other.push("unused");
    // Checksums in a call.
    let checksums = vec![v1::Signed::default(); CHECKSUMS_PER_CALL + 1];
    let status = members[0].client.put_checksums(v1::PutChecksumsRequest { checksums }).await.unwrap_err();
    assert!(rule(&status) == "wire" && status.message().contains("at most 2"), "{status}");

    // Shares of a contribution, and their size.
    let count = Layout::from_bytes(&round.unverified().unwrap().layout).unwrap().values().count;
    let parts = members[0].contribution(&round, &values(0, count));
    for shares in [vec![vec![0; SEALED_SHARE_BYTES + 1]; 3], vec![vec![0]; COMMITTEE_MEMBERS + 1]] {
        let mut parts = parts.clone();
        let Some(Part::Header(header)) = &mut parts[0].part else { panic!() };
        header.sealed_shares = shares.into_iter().map(Into::into).collect();
        let status = members[0].client.submit(futures::stream::iter(parts)).await.unwrap_err();
        assert_eq!(refused(&status), (Code::InvalidArgument, "bad-submission".to_owned()), "{status}");
    }
    // Chunks: one too many.
    let mut longer = parts.clone();
    let Some(Part::Run(last)) = longer[longer.len() - 1].part.clone() else { panic!() };
    longer.push(v1::SubmitRequest { part: Some(Part::Run(v1::ChunkRun { first: last.first + 1, data: last.data })) });
    let status = members[0].client.submit(futures::stream::iter(longer)).await.unwrap_err();
    assert!(rule(&status) == "bad-submission" && status.message().contains("chunk"), "{status}");
    // What is within all limits counts.
    members[0].client.submit(futures::stream::iter(parts)).await.unwrap();
    // A join request larger than any: not read.
    let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
    let large = v1::JoinRequest { signing_request: vec![0; 17 << 10].into(), ..Default::default() };
    assert_eq!(rule(&enrolment.join(large).await.unwrap_err()), "too-large");
}

/// Streams that stay open fill a connection, and not the server: a second connection of the same member is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_so_many_calls_under_way_and_the_next_waits() {
    let mut site = Site::new(CHARTER).await;
    site.limits = Limits { streams_per_connection: 4, ..Limits::default() };
    let addr = site.serve().await;
    let abbey = Member::join(&site, addr, "abbey", 1).await;
    let mut watching = Vec::new();
    for _ in 0..4 {
        watching.push(abbey.client.clone().watch_events(v1::WatchEventsRequest { after: 0 }).await.unwrap());
    }
    let mut client = abbey.client.clone();
    let fifth = client.get_checkpoint(v1::GetCheckpointRequest {});
    assert!(tokio::time::timeout(Duration::from_secs(1), fifth).await.is_err(), "a fifth call is served");
    let other = channel(addr, &site.authority, Some((&abbey.certificate, &abbey.tls)));
    FederationClient::new(other).get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap();
    watching.pop();
    client.get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap();
}
