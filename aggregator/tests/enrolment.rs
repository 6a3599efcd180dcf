//! Joining over the wire: who gets a certificate, who does not, and what a caller without one may do.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{CHARTER, Member, Site, channel, join_request, rule, sign, signer};
use protocol::{Digest, HouseName};
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use protos::v1::federation_client::FederationClient;
use rcgen::KeyPair;
use secure_sum::SealingKey;
use sha2::{Digest as _, Sha256};
use tonic::Code;

#[tokio::test]
async fn only_the_invited_with_their_own_keys_get_a_certificate() {
    let mut site = Site::new(CHARTER).await;
    let invitation = site.invite("abbey").await;
    let addr = site.serve().await;
    let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
    let (tls, mailbox) = (KeyPair::generate().unwrap(), SealingKey::generate(&mut rand::rng()));
    let good = join_request("abbey", &invitation.token, &tls, 1, &mailbox);

    let mut wrong_token = join_request("abbey", &[0; 32], &tls, 1, &mailbox);
    let refused = enrolment.join(wrong_token.clone()).await.unwrap_err();
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::PermissionDenied, "unknown-invitation"));
    wrong_token.token = vec![0; 31].into();
    assert_eq!(rule(&enrolment.join(wrong_token).await.unwrap_err()), "wire");

    let other_name = join_request("borough", &invitation.token, &tls, 1, &mailbox);
    assert_eq!(rule(&enrolment.join(other_name).await.unwrap_err()), "unknown-invitation");

    let mut not_signed = good.clone();
    not_signed.mailbox_key = vec![9; 32].into();
    assert_eq!(rule(&enrolment.join(not_signed).await.unwrap_err()), "bad-join-signature");

    let mut bad_csr = good.clone();
    let mut csr = bad_csr.signing_request.to_vec();
    *csr.last_mut().unwrap() ^= 1;
    bad_csr.signing_request = csr.into();
    sign(&mut bad_csr, 1);
    assert_eq!(rule(&enrolment.join(bad_csr).await.unwrap_err()), "bad-signing-request");

    let first = enrolment.join(good.clone()).await.unwrap().into_inner();
    let again = enrolment.join(good).await.unwrap().into_inner();
    assert_eq!(first, again, "a lost answer is given again");
    let thief = join_request("abbey", &invitation.token, &KeyPair::generate().unwrap(), 2, &mailbox);
    assert_eq!(rule(&enrolment.join(thief).await.unwrap_err()), "used-invitation");
}

/// Strangers who guess can keep each other out, but nobody who was invited.
#[tokio::test]
async fn guesses_are_locked_and_the_invited_still_join() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
    let (tls, mailbox) = (KeyPair::generate().unwrap(), SealingKey::generate(&mut rand::rng()));
    let guess = join_request("abbey", &[0; 32], &tls, 9, &mailbox);
    for _ in 0..100 {
        assert_eq!(rule(&enrolment.join(guess.clone()).await.unwrap_err()), "unknown-invitation");
    }
    let locked = enrolment.join(guess).await.unwrap_err();
    assert_eq!((locked.code(), rule(&locked).as_str()), (Code::ResourceExhausted, "locked"));
    Member::join(&site, addr, "abbey", 1).await;
}

#[tokio::test]
async fn a_key_of_low_order_is_refused_where_it_would_stop_whoever_seals_to_it() {
    let mut site = Site::new(CHARTER).await;
    let invitation = site.invite("abbey").await;
    let addr = site.serve().await;
    let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
    let (tls, mailbox) = (KeyPair::generate().unwrap(), SealingKey::generate(&mut rand::rng()));
    let mut low = join_request("abbey", &invitation.token, &tls, 1, &mailbox);
    for byte in [0, 1] {
        low.mailbox_key = [vec![byte], vec![0; 31]].concat().into();
        sign(&mut low, 1);
        assert_eq!(rule(&enrolment.join(low.clone()).await.unwrap_err()), "bad-key");
    }
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    let (charter, member) = (site.charter.digest(), HouseName::new("abbey").unwrap());
    let offer = protocol::OneTimeKeyOffer { charter, member, sequence: 1, key: [0; 32] };
    let offers = vec![protos::convert::to_wire(&protocol::Signed::sign(&offer, &abbey.signer))];
    assert_eq!(rule(&abbey.client.offer_keys(v1::OfferKeysRequest { offers }).await.unwrap_err()), "bad-key");
}

#[tokio::test]
async fn an_expired_invitation_is_refused() {
    let mut site = Site::new(CHARTER).await;
    let (home, token) = (site.home().await, [7_u8; 32]);
    home.store.invite(Sha256::digest(token).into(), &HouseName::new("abbey").unwrap(), 1).await.unwrap();
    let addr = site.serve().await;
    let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
    let (tls, mailbox) = (KeyPair::generate().unwrap(), SealingKey::generate(&mut rand::rng()));
    let request = join_request("abbey", &token, &tls, 1, &mailbox);
    assert_eq!(rule(&enrolment.join(request).await.unwrap_err()), "expired-invitation");
}

#[tokio::test]
async fn a_member_waits_for_the_roster_and_a_stranger_gets_nothing() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    let waits = abbey.client.get_roster(v1::GetRosterRequest {}).await.unwrap_err();
    assert_eq!((waits.code(), rule(&waits).as_str()), (Code::FailedPrecondition, "roster-incomplete"));
    assert!(waits.message().contains("borough, county"), "{waits}");
    assert_eq!(abbey.offer_keys(site.charter.digest(), 3).await, 3);

    let mut nobody = FederationClient::new(channel(addr, &site.authority, None));
    let refused = nobody.get_roster(v1::GetRosterRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::Unauthenticated, "no-certificate"));
    let refused = nobody.watch_events(v1::WatchEventsRequest { after: 0 }).await.unwrap_err();
    assert_eq!(rule(&refused), "no-certificate");

    // Signed by the right authority, but of nobody in the table of members.
    let key = KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
    let made = site.home().await.identity.issue("abbey", csr.der(), aggregator::clock::now_ms()).unwrap();
    let mut forged = FederationClient::new(channel(addr, &site.authority, Some((&made.certificate_pem, &key))));
    let refused = forged.get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::PermissionDenied, "not-enrolled"));

    // Another authority's certificate does not get through TLS.
    let other = Site::new(CHARTER).await;
    let made = other.home().await.identity.issue("abbey", csr.der(), aggregator::clock::now_ms()).unwrap();
    let mut foreign = FederationClient::new(channel(addr, &site.authority, Some((&made.certificate_pem, &key))));
    assert!(foreign.get_checkpoint(v1::GetCheckpointRequest {}).await.is_err());
}

#[tokio::test]
async fn a_message_signed_by_another_member_is_refused() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(common::HOUSES) {
        members.push(Member::join(&site, addr, name, secret).await);
    }
    let roster = members[0].roster().await;
    assert_eq!(roster.members().len(), 3);
    let digest = protocol::Message::digest(&roster);
    let (charter, wrong) = (site.charter.digest(), Digest::sha256(b"another"));
    assert_eq!(rule(&members[0].ready(wrong, digest, 1).await.unwrap_err()), "wrong-charter");
    assert_eq!(rule(&members[0].ready(charter, wrong, 1).await.unwrap_err()), "wrong-roster");
    assert_eq!(rule(&members[0].ready(charter, digest, 2).await.unwrap_err()), "wrong-attempt");
    let berta = members[1].client.clone();
    let own = std::mem::replace(&mut members[0].client, berta);
    assert_eq!(rule(&members[0].ready(charter, digest, 1).await.unwrap_err()), "not-the-caller");
    members[0].client = own;
    members[0].ready(charter, digest, 1).await.unwrap();
    members[0].ready(charter, digest, 1).await.unwrap();
}

#[tokio::test]
async fn a_directory_in_use_and_an_unknown_member_are_refused() {
    let site = Site::new(CHARTER).await;
    let again = aggregator::setup::init(&site.path(), Some(CHARTER), &[], &mut rand::rng()).await;
    assert!(matches!(again, Err(aggregator::setup::SetupError::InUse(_))));
    let home = site.home().await;
    let name = HouseName::new("nowhere").unwrap();
    let unknown = home.invite(&name, "https://localhost:1", &mut rand::rng()).await;
    assert!(matches!(unknown, Err(aggregator::setup::SetupError::NotAMember { .. })));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(site.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
    // Only the key's line of the charter has changed.
    let changed: Vec<_> = home.charter.text().lines().zip(CHARTER.lines()).filter(|(a, b)| a != b).collect();
    assert_eq!(changed.len(), 1);
    assert!(changed[0].0.starts_with("aggregator_key = "));
}

/// Its folder was lost, say, before anybody's roster had its keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_member_holds_the_roster_up_until_it_joins_again_and_its_new_keys_are_pinned() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    Member::join(&site, addr, "abbey", 1).await;
    let home = site.home().await;
    home.revoke(&HouseName::new("abbey").unwrap()).await.unwrap();
    let mut borough = Member::join(&site, addr, "borough", 2).await;
    Member::join(&site, addr, "county", 3).await;
    let waits = borough.client.get_roster(v1::GetRosterRequest {}).await.unwrap_err();
    assert_eq!(rule(&waits), "roster-incomplete");
    assert!(waits.message().contains("still to join: abbey"), "{waits}");
    assert_eq!(aggregator::status::read(&home).await.unwrap().missing, ["abbey"]);
    Member::join(&site, addr, "abbey", 9).await;
    let roster = borough.roster().await;
    let pinned = roster.member(&HouseName::new("abbey").unwrap()).unwrap();
    assert_eq!(*pinned.signing_key(), signer("abbey", 9).public_key());
}
