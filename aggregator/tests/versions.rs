//! Callers of every version: whole rounds by houses that say none, and what each call is answered whatever is said.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{CHARTER, HOUSES, Member, Site, announced, channel, raw, rule, values};
use protocol::{Digest, HouseName, Message as _, Verdict};
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use secure_sum::Layout;
use terms::{Terms, unit};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const KEY: &str = "plainchant-version";

/// A request of a caller that says this of its version.
fn saying<T>(message: T, said: &[&[u8]]) -> Request<T> {
    let mut request = Request::new(message);
    for one in said {
        request.metadata_mut().append(KEY, MetadataValue::try_from(*one).unwrap());
    }
    request
}

/// What an answer says of the aggregator's, once.
fn said(metadata: &MetadataMap) -> &str {
    let all: Vec<_> = metadata.get_all(KEY).iter().map(|one| one.to_str().unwrap()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

/// The rule that refused a call, of an answer that says the aggregator's version.
fn refused(status: &Status) -> String {
    assert_eq!(said(status.metadata()), "1.1", "{status}");
    rule(status)
}

/// Houses made by hand, which say no version, as programs did before 1.1.
#[tokio::test]
async fn houses_that_say_no_version_play_a_whole_round_and_are_shown_to_speak_the_first() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 2).await;
    let (announcement, digest) = (announced.unverified().unwrap(), announced.body_digest());
    let count = Layout::from_bytes(&announcement.layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        let parts = member.contribution(&announced, &values(house, count));
        member.submit(parts).await.unwrap();
    }
    let cohort = members[0].cohort(digest).await.digest();
    for member in &mut members {
        member.attest(&announced).await;
    }
    for member in &mut members {
        let answer = member.answer(&announced).await;
        member.put_answer(&answer).await.unwrap();
    }
    members[0].event(|event| matches!(event.kind, Some(Kind::Opened(_))).then_some(())).await;
    let mut expected = Terms::of(&site.charter).unwrap().first_state().unwrap();
    let sum: Vec<i64> = (0..count).map(|i| (0..3).map(|house| values(house, count)[i]).sum()).collect();
    expected.apply(&sum, unit(&site.charter), 12.0).unwrap();
    let verdict = Verdict::Applied { state: Digest::from_bytes(expected.digest()), last: false };
    for member in &mut members {
        member.put_outcome(digest, cohort, verdict).await.unwrap();
    }
    let completed = members[1].event(|event| match &event.kind {
        Some(Kind::Completed(completed)) => Some(completed.clone()),
        _ => None,
    });
    assert_eq!(&completed.await.state[..], &expected.digest());

    let observed = site.server.as_ref().unwrap().observed.unwrap();
    let text = raw::get(observed, "/metrics").await;
    for house in HOUSES {
        let line = format!("plainchant_member_version{{member=\"{house}\",version=\"1.0\"}} 1\n");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
    let status = raw::get(observed, "/status.json").await;
    assert!(status.contains(r#""versions":{"abbey":"1.0","borough":"1.0","county":"1.0"}"#), "{status}");
}

/// What a caller says.
struct Says {
    said: Vec<Vec<u8>>,
    served: bool,
    /// Which version the operator is then shown; as before where it is none.
    shown: Option<&'static str>,
}

fn callers() -> Vec<Says> {
    let one = |text: &'static str, served| Says { said: vec![text.into()], served, shown: Some(text) };
    let none =
        |said: &[&[u8]]| Says { said: said.iter().map(|one| one.to_vec()).collect(), served: false, shown: None };
    let long = [b"1.".as_slice(), &[b'1'; 8_000]].concat();
    vec![
        Says { said: vec![], served: true, shown: Some("1.0") },
        one("1.0", true),
        one("1.1", true),
        one("1.2", true),
        one("1.3", false),
        one("0.9", false),
        one("2.0", false),
        one("2.1", false),
        none(&[b"1.1.1"]),
        none(&[b"version\xff"]),
        none(&[b""]),
        none(&[&long]),
        none(&[b"1.1", b"1.1"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_has_its_answer_at_every_door_and_whoever_is_nobody_learns_the_aggregators_version_and_no_more() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    let mut borough = Member::join(&site, addr, "borough", 2).await;
    let home = site.home().await;
    home.revoke(&HouseName::new("borough").unwrap()).await.unwrap();
    home.store.close().await;
    let observed = site.server.as_ref().unwrap().observed.unwrap();
    let nobody = channel(addr, &site.authority, None);
    let mut shown = "1.0";
    let mut refusals = 0;
    for Says { said: says, served, shown: shows } in callers() {
        let says: Vec<&[u8]> = says.iter().map(Vec::as_slice).collect();
        let name = says.iter().map(|one| String::from_utf8_lossy(&one[..one.len().min(20)])).collect::<Vec<_>>();
        // A member.
        let status = abbey.client.get_roster(saying(v1::GetRosterRequest {}, &says)).await.unwrap_err();
        let rule = if served { "roster-incomplete" } else { "unsupported-version" };
        assert_eq!((refused(&status).as_str(), status.code()), (rule, Code::FailedPrecondition), "{name:?}");
        if !served {
            refusals += 1;
            let text = status.message();
            assert!(text.contains("1.1") && text.len() < 400, "{name:?}: {text}");
            assert!(shows.is_none_or(|shows| text.contains(&format!(" {shows} "))), "{name:?}: {text}");
        }
        let answer = abbey.client.get_checkpoint(saying(v1::GetCheckpointRequest {}, &says)).await;
        assert_eq!(answer.is_ok(), served, "{name:?}");
        if let Ok(answer) = answer {
            assert_eq!(said(answer.metadata()), "1.1");
        }
        let watched = abbey.client.watch_events(saying(v1::WatchEventsRequest { after: 0 }, &says)).await;
        assert_eq!(watched.is_ok(), served, "{name:?}");
        // Joining, without an invitation that is one.
        let mut enrolment = EnrolmentClient::new(nobody.clone());
        let status = enrolment.join(saying(v1::JoinRequest::default(), &says)).await.unwrap_err();
        assert_eq!(refused(&status), if served { "wire" } else { "unsupported-version" }, "{name:?}");
        // Nobody, and somebody who may no more: as without a version.
        let mut federation = FederationClient::new(nobody.clone());
        let status = federation.get_roster(saying(v1::GetRosterRequest {}, &says)).await.unwrap_err();
        assert_eq!(refused(&status), "no-certificate", "{name:?}");
        let status = borough.client.get_roster(saying(v1::GetRosterRequest {}, &says)).await.unwrap_err();
        assert_eq!(refused(&status), "revoked", "{name:?}");
        // gRPC's own.
        let mut health = HealthClient::new(nobody.clone());
        let alive = health.check(saying(HealthCheckRequest::default(), &says)).await.unwrap();
        assert_eq!(said(alive.metadata()), "1.1");

        shown = shows.unwrap_or(shown);
        let text = raw::get(observed, "/metrics").await;
        let versions: Vec<&str> = text.lines().filter(|line| line.starts_with("plainchant_member_version{")).collect();
        assert_eq!(
            versions,
            [format!("plainchant_member_version{{member=\"abbey\",version=\"{shown}\"}} 1")],
            "{name:?}: of members that are let in, one each"
        );
        let counted = format!("plainchant_calls_total{{rpc=\"GetRoster\",answer=\"unsupported-version\"}} {refusals}");
        assert!(refusals == 0 || text.lines().any(|line| line == counted), "{name:?}: no {counted} in\n{text}");
    }
    // Beyond what headers may have, the call fails before it is one, and the next is served.
    let beyond = [b'1'; 20 << 10];
    abbey.client.get_checkpoint(saying(v1::GetCheckpointRequest {}, &[&beyond])).await.unwrap_err();
    abbey.client.get_checkpoint(saying(v1::GetCheckpointRequest {}, &[b"1.1"])).await.unwrap();
}

/// A table of what a pair of programs speaks, by the versions of both.
#[tokio::test(flavor = "multi_thread")]
async fn an_aggregator_serves_exactly_the_versions_next_to_its_own_whichever_that_is() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    let mut served = BTreeMap::new();
    for own in ["1.0", "1.2", "2.0"] {
        site.version = own.parse().unwrap();
        site.restart(std::slice::from_mut(&mut abbey)).await;
        let mut taken = Vec::new();
        for one in ["0.1", "1.0", "1.1", "1.2", "1.3", "1.4", "2.0", "2.1", "2.2", "3.0"] {
            let answer = abbey.client.get_checkpoint(saying(v1::GetCheckpointRequest {}, &[one.as_bytes()])).await;
            let metadata = answer.as_ref().map_or_else(Status::metadata, tonic::Response::metadata);
            assert_eq!(said(metadata), own);
            if answer.is_ok() {
                taken.push(one);
            }
        }
        served.insert(own, taken);
    }
    let expected = [("1.0", vec!["1.0", "1.1"]), ("1.2", vec!["1.1", "1.2", "1.3"]), ("2.0", vec!["2.0", "2.1"])];
    assert_eq!(served, BTreeMap::from(expected));
}
