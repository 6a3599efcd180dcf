//! Every call by every kind of caller, and what a revoked certificate still opens. The table of `docs/security.md` says what is
//! expected; the program has its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aggregator::authorisation::{Whom, whom};
use aggregator::cli;
use aggregator::store::Renewal;
use common::{CHARTER, Member, Site, channel, rule};
use protocol::{HouseName, Role};
use protos::rpc::Rpc;
use protos::v1;
use rcgen::{CertificateParams, KeyPair};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

const DOCUMENT: &str = include_str!("../../docs/security.md");

/// Three houses of which one holds no key shares, and a trustee.
fn charter() -> String {
    let charter = CHARTER.replace("threshold = 3", "threshold = 2\nhouses = [\"abbey\", \"borough\"]");
    charter + "[[trustee]]\nname = \"notary\"\n"
}

/// The calls that each column of the document's table allows, by the call's name.
fn documented() -> BTreeMap<String, [bool; 4]> {
    let (_, table) =
        DOCUMENT.split_once("| call | anonymous | house | house without key shares | trustee |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let allowed: [bool; 4] = std::array::from_fn(|column| match cells[column + 1] {
            "yes" => true,
            "-" => false,
            other => panic!("{other}"),
        });
        (cells[0].trim_matches('`').to_owned(), allowed)
    })
    .collect()
}

#[test]
fn the_programs_table_is_the_documents() {
    let documented = documented();
    assert_eq!(documented.len(), Rpc::all().count());
    for rpc in Rpc::all() {
        let of = |role| whom(rpc).includes(role);
        let anonymous = whom(rpc) == Whom::Invited;
        let row = [anonymous, of(Role::House), of(Role::Contributor), of(Role::Trustee)];
        assert_eq!(documented[&format!("{rpc:?}")], row, "{rpc:?}");
    }
}

/// How an empty request to this path is answered; `None` for a stream that stays open.
async fn call(channel: &Channel, path: &'static str) -> Option<Result<(), Status>> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    let answer = async {
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::<(), ()>::default();
        grpc.unary(Request::new(()), PathAndQuery::from_static(path), codec).await.map(drop)
    };
    tokio::time::timeout(Duration::from_secs(2), answer).await.ok()
}

fn pem_digest(pem: &str) -> [u8; 32] {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    aggregator::identity::certificate_digest(&pem.contents)
}

fn with_identity(addr: SocketAddr, authority: &[u8], certificate: &str, key: &str) -> Channel {
    let tls = ClientTlsConfig::new()
        .domain_name(aggregator::identity::SERVER_NAME)
        .ca_certificate(Certificate::from_pem(common::pem(authority)))
        .identity(tonic::transport::Identity::from_pem(certificate, key));
    Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap().connect_lazy()
}

/// What a caller meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    /// The table, in this column.
    Table(usize),
    /// The gate, whatever it calls but `Join`.
    Gate(&'static str),
    /// TLS lets it speak to nobody.
    Tls,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_by_every_kind_of_caller_is_answered_as_the_table_says() {
    let mut site = Site::new(&charter()).await;
    let addr = site.serve().await;
    let mut members = BTreeMap::new();
    for (secret, name) in (1..).zip(["abbey", "borough", "county", "notary"]) {
        members.insert(name, Member::join(&site, addr, name, secret).await);
    }
    let (home, now_ms) = (site.home().await, aggregator::clock::now_ms());
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap();
    let issued = |site: &aggregator::setup::Home, at_ms| site.identity.issue("abbey", csr.der(), at_ms).unwrap();
    let unknown = issued(&home, now_ms);
    let expired = issued(&home, now_ms - 91 * 86_400_000);
    let abbeys = pem_digest(&members["abbey"].certificate);
    let noted = home.store.renew(abbeys, expired.certificate_digest, "", now_ms - 91 * 86_400_000).await.unwrap();
    assert_eq!(noted, Renewal::Noted);
    home.revoke(&HouseName::new("borough").unwrap()).await.unwrap();
    let other = Site::new(CHARTER).await;
    let foreign = issued(&other.home().await, now_ms);
    let self_signed = CertificateParams::new(vec!["abbey".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let servers = |file: &str| std::fs::read_to_string(site.path().join(file)).unwrap();

    let of_key = |certificate: &str| with_identity(addr, &site.authority, certificate, &key.serialize_pem());
    let of_member = |name: &str| channel(addr, &site.authority, Some((&members[name].certificate, &members[name].tls)));
    let callers = [
        ("anonymous", channel(addr, &site.authority, None), Meets::Table(0)),
        ("house", of_member("abbey"), Meets::Table(1)),
        ("house without key shares", of_member("county"), Meets::Table(2)),
        ("trustee", of_member("notary"), Meets::Table(3)),
        ("revoked", of_member("borough"), Meets::Gate("revoked")),
        ("signed by the authority, never enrolled", of_key(&unknown.certificate_pem), Meets::Gate("not-enrolled")),
        ("expired", of_key(&expired.certificate_pem), Meets::Tls),
        ("of another federation", of_key(&foreign.certificate_pem), Meets::Tls),
        ("self-signed", of_key(&self_signed), Meets::Tls),
        (
            "operator, with the server's own certificate",
            with_identity(addr, &site.authority, &servers("server.pem"), &servers("server-key.pem")),
            Meets::Tls,
        ),
    ];
    let (documented, mut cells) = (documented(), 0);
    for (who, channel, meets) in &callers {
        for rpc in Rpc::all() {
            let answer = call(channel, rpc.path()).await;
            let broken = answer.and_then(Result::err).map(|status| match status.metadata().get(protos::rule::KEY) {
                Some(_) => rule(&status),
                None => format!("tls: {status}"),
            });
            let stopped = broken.as_deref().filter(|rule| {
                ["no-certificate", "not-enrolled", "revoked", "not-for-you"].contains(rule) || rule.starts_with("tls")
            });
            let allowed = documented[&format!("{rpc:?}")];
            match meets {
                Meets::Table(column) if allowed[*column] => assert_eq!(stopped, None, "{who}: {rpc:?}"),
                Meets::Table(0) => assert_eq!(stopped, Some("no-certificate"), "{who}: {rpc:?}"),
                Meets::Table(_) if allowed[0] => {}
                Meets::Table(_) => assert_eq!(stopped, Some("not-for-you"), "{who}: {rpc:?}"),
                Meets::Gate(_) if allowed[0] => assert_eq!(stopped, None, "{who}: {rpc:?}"),
                Meets::Gate(rule) => assert_eq!(stopped, Some(*rule), "{who}: {rpc:?}"),
                Meets::Tls => {
                    assert!(stopped.is_some_and(|rule| rule.starts_with("tls")), "{who}: {rpc:?}: {broken:?}")
                }
            }
            cells += 1;
        }
        let missing = call(channel, "/plainchant.v1.Federation/GetEverything").await.unwrap().unwrap_err();
        if *meets != Meets::Tls {
            assert_eq!((missing.code(), rule(&missing).as_str()), (Code::Unimplemented, "no-such-call"), "{who}");
        }
    }
    println!("{cells} cells");
    home.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_member_is_cut_off_within_five_seconds_and_may_be_invited_back_with_its_own_keys_only() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let invitation = site.invite("abbey").await;
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    for (secret, name) in [(2, "borough"), (3, "county")] {
        Member::join(&site, addr, name, secret).await;
    }
    let mut events = abbey.client.watch_events(v1::WatchEventsRequest { after: 0 }).await.unwrap().into_inner();
    let dir = site.path();
    let revoke = ["plainchant-aggregator".into(), "revoke".into(), dir.into_os_string(), "abbey".into()];
    let code = tokio::task::spawn_blocking(move || cli::run(revoke)).await.unwrap();
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
    let start = Instant::now();
    let ended = async {
        loop {
            if let Err(status) = events.message().await {
                return status;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
    assert_eq!((ended.code(), rule(&ended).as_str()), (Code::PermissionDenied, "revoked"));
    println!("the open stream ended after {:?}", start.elapsed());
    let refused = abbey.client.get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap_err();
    assert_eq!(rule(&refused), "revoked");

    // Nothing that was given to it before lets it in again: not its first invitation, and not one that was never used.
    let again = abbey.join_request(&invitation.token, 1);
    let mut enrolment = v1::enrolment_client::EnrolmentClient::new(channel(addr, &site.authority, None));
    assert_eq!(rule(&enrolment.join(again).await.unwrap_err()), "used-invitation");
    let status = aggregator::status::read(&site.home().await).await.unwrap();
    assert!(status.stalled.unwrap().contains("2 houses may take part, and a round needs 3"));
    assert_eq!(status.waiting_for, ["borough", "county"], "nobody waits for one that is not let in");
    let other_keys = Member::try_join(&site, addr, "abbey", 9).await.err().unwrap();
    assert_eq!(rule(&other_keys), "already-joined");
    let request = abbey.join_request(&site.invite("abbey").await.token, 1);
    let back = enrolment.join(request).await.unwrap().into_inner();
    assert_ne!(back.certificate, abbey.certificate);
    abbey.certificate = back.certificate;
    abbey.connect(addr, &site.authority);
    abbey.client.get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap();
    assert_eq!(aggregator::status::read(&site.home().await).await.unwrap().stalled, None);
}

/// A renewal that was asked for before the revocation, and is noted after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_beats_a_renewal_under_way_and_renewals_are_few() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let abbey = Member::join(&site, addr, "abbey", 1).await;
    let (home, name, now_ms) = (site.home().await, HouseName::new("abbey").unwrap(), aggregator::clock::now_ms());
    let old = pem_digest(&abbey.certificate);
    for number in 1..8 {
        assert_eq!(home.store.renew(old, [number; 32], "pem", now_ms).await.unwrap(), Renewal::Noted);
    }
    assert_eq!(home.store.renew(old, [8; 32], "pem", now_ms).await.unwrap(), Renewal::TooMany);
    assert_eq!(home.revoke(&name).await.unwrap(), (8, 0));
    assert_eq!(home.store.renew(old, [9; 32], "pem", now_ms).await.unwrap(), Renewal::Revoked);
    assert_eq!(home.store.certificate([9; 32]).await.unwrap(), None);
    assert_eq!(home.store.revoked().await.unwrap(), [name]);
    home.store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_works_and_a_request_that_proves_no_key_is_refused() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    let csr = CertificateParams::default().serialize_request(&abbey.tls).unwrap().der().to_vec();
    let mut broken = csr.clone();
    *broken.last_mut().unwrap() ^= 1;
    let refused = abbey.client.renew_certificate(v1::RenewCertificateRequest { signing_request: broken.into() }).await;
    assert_eq!(rule(&refused.unwrap_err()), "bad-signing-request");
    let request = v1::RenewCertificateRequest { signing_request: csr.into() };
    let renewed = abbey.client.renew_certificate(request).await.unwrap().into_inner().certificate;
    assert_ne!(renewed, abbey.certificate);
    abbey.certificate = renewed;
    abbey.connect(addr, &site.authority);
    abbey.client.get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap();
}
