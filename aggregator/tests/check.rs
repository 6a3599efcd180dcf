//! The check of a claimed sum, and complaints: what the aggregator takes, refuses, and does about it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{CHARTER, HOUSES, Member, Site, announced, body_of, rule, values};
use prost::Message;
use protocol::{BodyChecksum, Complaint, RosterPosition, Signed};
use secure_sum::Layout;

/// Contributions of all three; their bodies.
async fn submitted(members: &mut [Member], announced: &Signed<protocol::Announcement>) -> Vec<Vec<u8>> {
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    let mut bodies = Vec::new();
    for (house, member) in members.iter_mut().enumerate() {
        let parts = member.contribution(announced, &values(house, count));
        bodies.push(body_of(&parts));
        member.submit(parts).await.unwrap();
    }
    bodies
}

#[tokio::test]
async fn each_body_of_the_cohort_is_shown_to_members_as_it_was_sent() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let digest = announced.body_digest();
    assert_eq!(rule(&members[0].body(digest, "abbey").await.unwrap_err()), "not-yet", "there is no cohort");
    let bodies = submitted(&mut members, &announced).await;
    for (house, body) in HOUSES.iter().zip(&bodies) {
        assert_eq!(&members[1].body(digest, house).await.unwrap(), body);
    }
    assert_eq!(rule(&members[0].body(digest, "dale").await.unwrap_err()), "no-part");
    assert_eq!(
        rule(&members[0].body(protocol::Digest::sha256(b"none"), "abbey").await.unwrap_err()),
        "unknown-attempt"
    );
    let raw = protos::v1::GetBodyRequest { announcement: vec![1; 31].into(), house: "abbey".into() };
    assert_eq!(rule(&members[0].client.get_body(raw).await.unwrap_err()), "wire");
}

#[tokio::test]
async fn checksums_that_are_none_or_not_the_callers_or_not_drawn_are_refused_by_name() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let bodies = submitted(&mut members, &announced).await;
    let good = members[0].checksum(&announced, "abbey", &bodies[0]).await;
    let say = |change: &dyn Fn(&mut BodyChecksum)| {
        let mut said = good.unverified().unwrap();
        change(&mut said);
        Signed::sign(&said, &common::signer(said.member.as_str(), 1))
    };
    let other = protocol::HouseName::new("borough").unwrap();
    let claim = members[0].claim().await.unverified().unwrap();
    let houses = HOUSES.map(|house| protocol::HouseName::new(house).unwrap());
    let mut cases = vec![
        ("bad-checksum", say(&|said| said.value[1..9].fill(0xff))),
        ("bad-checksum", say(&|said| said.value.truncate(10))),
        ("wrong-sum", say(&|said| said.body_sum = protocol::Digest::sha256(b"another sum"))),
        ("wrong-cohort", say(&|said| said.cohort = protocol::Digest::sha256(b"another cohort"))),
        ("not-in-cohort", say(&|said| said.house = protocol::HouseName::new("dale").unwrap())),
        ("not-the-caller", members[1].checksum(&announced, "borough", &bodies[1]).await),
    ];
    if claim.spot_check(&houses[0], &houses) != Some(&other) {
        cases.push(("not-drawn", say(&|said| said.house = other.clone())));
    }
    for (expected, signed) in cases {
        assert_eq!(rule(&members[0].put_checksum(&signed).await.unwrap_err()), expected);
    }
    let three = protos::v1::PutChecksumsRequest { checksums: vec![protos::convert::to_wire(&good); 3] };
    assert_eq!(rule(&members[0].client.put_checksums(three).await.unwrap_err()), "wire");
    members[0].put_checksum(&good).await.unwrap();
    members[0].put_checksum(&good).await.unwrap();
    let second = say(&|said| said.value[1] ^= 1);
    assert_eq!(rule(&members[0].put_checksum(&second).await.unwrap_err()), "second-checksum");
}

/// Beside a body of 165 kB, the smallest of the hospitals' example, that is below 1 %.
#[tokio::test]
async fn what_a_check_costs_on_the_wire_does_not_depend_on_the_model() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    submitted(&mut members, &announced).await;
    for member in &mut members {
        member.attest(&announced).await;
    }
    let checked = members[0].checked(announced.body_digest()).await;
    let (claim, checksums) = (checked.claim.as_ref().unwrap().encoded_len(), checked.checksums.len());
    let each = checked.checksums.iter().map(Message::encoded_len).max().unwrap();
    eprintln!("claim {claim} B, {checksums} checksums of at most {each} B, together {} B", checked.encoded_len());
    assert!(claim < 200 && each < 300 && checked.encoded_len() < 200 + checksums * 300);
}

#[tokio::test]
async fn a_house_that_says_nothing_is_waited_for_until_the_check_is_over_and_no_longer() {
    let charter = CHARTER.replace("close_ms = 20000", "close_ms = 3000").replace("open_ms = 40000", "open_ms = 5000");
    let mut site = Site::new(&charter).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    submitted(&mut members, &announced).await;
    for member in &mut members[..2] {
        member.attest(&announced).await;
    }
    let checked = members[0].checked(announced.body_digest()).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let due = Duration::from_millis(announced.unverified().unwrap().check_time_ms());
    assert!(now >= due && now < due + Duration::from_secs(1), "{now:?} {due:?}");
    assert!(checked.checksums.iter().all(|one| one.signer != "county"));
    // Its answer still counts, a checksum does not any more.
    let late = members[2].body(announced.body_digest(), "county").await.unwrap();
    let late = members[2].checksum(&announced, "county", &late).await;
    assert_eq!(rule(&members[2].put_checksum(&late).await.unwrap_err()), "wrong-state");
    let answer = members[2].answer(&announced).await;
    members[2].put_answer(&answer).await.unwrap();
}

/// Spoils a complaint.
type Spoil<'a> = &'a dyn Fn(&mut Complaint);

#[tokio::test]
async fn a_complaint_without_ground_names_its_maker_and_changes_nothing() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    submitted(&mut members, &announced).await;
    let good = members[1].complaint(&announced, "abbey").await;
    let refused = members[1].put_complaint(&good).await.unwrap_err();
    assert_eq!(rule(&refused), "false-complaint", "the share opens its commitment");
    assert!(refused.message().contains("`borough`") && refused.message().contains("`abbey`"), "{refused}");
    let other = members[1].complaint(&announced, "county").await;
    let cases: [(&str, Spoil<'_>); 5] = [
        ("false-complaint", &|complaint| complaint.proof.clone_from(&other.proof)),
        ("false-complaint", &|complaint| complaint.proof.truncate(1)),
        ("bad-complaint", &|complaint| complaint.proof.truncate(40)),
        ("bad-complaint", &|complaint| complaint.sealed.push(0)),
        ("bad-complaint", &|complaint| complaint.dealer = RosterPosition::new(complaint.index.get().into()).unwrap()),
    ];
    for (expected, change) in cases {
        let mut complaint = good.clone();
        change(&mut complaint);
        let refused = members[1].put_complaint(&complaint).await.unwrap_err();
        assert_eq!(rule(&refused), expected, "{refused}");
    }
    for member in &mut members {
        member.attest(&announced).await;
    }
    members[0].checked(announced.body_digest()).await;
    let status = aggregator::status::read(&site.home().await).await.unwrap();
    assert!(status.isolated.is_empty());
}
