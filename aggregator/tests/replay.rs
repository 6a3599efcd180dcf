//! Valid messages where they do not belong: sent again in their round, in the next, to another federation that has the same members, by another member, in
//! another role, in another call, with a certificate that has ended or was revoked, and by clocks that are ten minutes off. Each is refused by its rule, or
//! answered as before; nothing that is stored changes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use aggregator::setup::Home;
use aggregator::store::Renewal;
use bytes::Bytes;
use common::raw::call;
use common::{CHARTER, Member, Site, channel, rule, values};
use prost::Message as _;
use protocol::log::Checkpoint;
use protocol::message::{Approval, RecordHead};
use protocol::{Announcement, Digest, HouseName, Message as _, Outcome, Signed, Signer, Verdict};
use protos::convert::to_wire;
use protos::rpc::Rpc;
use protos::v1;
use protos::v1::submit_request::Part;
use rcgen::{CertificateParams, KeyPair};
use secure_sum::Layout;
use terms::{Terms, unit};
use tonic::transport::Channel;

const MEMBERS: [&str; 4] = ["abbey", "borough", "county", "notary"];
const TEN_MINUTES_MS: u64 = 600_000;
const NINETY_DAYS_MS: u64 = 90 * 86_400_000;

/// Two rounds of three houses and a trustee.
fn charter() -> String {
    CHARTER
        .replace("count = 1\n", "count = 2\n")
        .replace("close_ms = 20000", "close_ms = 240000")
        .replace("open_ms = 40000", "open_ms = 480000")
        + "[[trustee]]\nname = \"notary\"\n"
}

/// Where a message of abbey's, of round 1, comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Where {
    SameRound,
    NextRound,
    OtherFederation,
    OtherMember,
    OtherRole,
    Ended,
    EndedTenMinutesAgo,
    Revoked,
}

impl Where {
    const ALL: [Self; 8] = [
        Self::SameRound,
        Self::NextRound,
        Self::OtherFederation,
        Self::OtherMember,
        Self::OtherRole,
        Self::Ended,
        Self::EndedTenMinutesAgo,
        Self::Revoked,
    ];
}

/// What a call says that a member can say again; the others ask for something, and are refused or answered as anybody's who asks.
fn says_something(rpc: Rpc) -> bool {
    match rpc {
        Rpc::Join
        | Rpc::RenewCertificate
        | Rpc::OfferKeys
        | Rpc::MarkReady
        | Rpc::FindUpload
        | Rpc::Submit
        | Rpc::PutComplaint
        | Rpc::PutChecksums
        | Rpc::PutAnswer
        | Rpc::PutOutcome
        | Rpc::PutApproval
        | Rpc::PutFinalState
        | Rpc::PutCosignature => true,
        Rpc::GetRoster
        | Rpc::WatchEvents
        | Rpc::GetCohort
        | Rpc::GetSealedShares
        | Rpc::GetChecked
        | Rpc::GetBody
        | Rpc::GetSum
        | Rpc::GetAnswers
        | Rpc::GetCheckpoint
        | Rpc::GetProof => false,
    }
}

/// What it hears there. `ok` is the answer of before, or one that is anybody's: a certificate opens nothing without its key.
fn expected(rpc: Rpc, place: Where) -> &'static str {
    match (place, rpc) {
        // TLS lets it speak to nobody.
        (Where::Ended | Where::EndedTenMinutesAgo, _) => "tls",
        // Its complaint is of a share that was right, and comes after the answers.
        (Where::SameRound, Rpc::PutComplaint) => "wrong-state",
        (Where::NextRound | Where::OtherFederation, Rpc::PutComplaint) => "over",
        (Where::SameRound | Where::NextRound, Rpc::PutApproval) => "not-yet",
        (Where::NextRound, Rpc::MarkReady) => "wrong-round",
        // Of a head that is not there yet.
        (Where::SameRound | Where::OtherFederation, Rpc::PutCosignature) => "no-proof",
        (Where::OtherMember | Where::OtherRole, Rpc::PutCosignature) => "bad-cosignature",
        (Where::OtherFederation, Rpc::Join) => "unknown-invitation",
        (Where::OtherFederation, Rpc::FindUpload | Rpc::Submit) => "wrong-announcement",
        (Where::OtherFederation, Rpc::PutChecksums | Rpc::PutAnswer | Rpc::PutOutcome) => "wrong-state",
        (Where::OtherFederation, Rpc::OfferKeys | Rpc::MarkReady | Rpc::PutApproval) => "wrong-charter",
        (Where::Revoked, Rpc::Join) => "used-invitation",
        (Where::Revoked, _) => "revoked",
        (Where::SameRound | Where::NextRound | Where::OtherMember | Where::OtherRole, Rpc::Join) => "ok",
        (Where::OtherMember | Where::OtherRole | Where::OtherFederation, Rpc::RenewCertificate) => {
            "bad-signing-request"
        }
        // A trustee.
        (Where::OtherRole, Rpc::OfferKeys | Rpc::PutComplaint | Rpc::PutAnswer) => "not-the-caller",
        (Where::OtherRole, _) => "not-for-you",
        // Nobody signs it: its digest is looked at, once enough houses have approved.
        (_, Rpc::PutFinalState) => "final-state",
        (Where::OtherMember, _) => "not-the-caller",
        (Where::SameRound | Where::NextRound, _) => "ok",
        (Where::OtherFederation, _) => "?",
    }
}

/// All that is stored, as text.
async fn stored(dir: &Path) -> String {
    let pool = sqlx::SqlitePool::connect(&format!("sqlite://{}", dir.join("plainchant.db").display())).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY name",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut all = String::new();
    for table in tables {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info($1) ORDER BY name")
            .bind(&table)
            .fetch_all(&pool)
            .await
            .unwrap();
        let row: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let rows = format!("SELECT {} AS row FROM {table} ORDER BY row", row.join(" || ',' || "));
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&pool).await.unwrap();
        all += &format!("{table}\n{}\n", rows.join("\n"));
    }
    pool.close().await;
    all
}

/// What the answer to a call was.
async fn heard(channel: Channel, rpc: Rpc, messages: &[Bytes]) -> String {
    match call(channel, rpc, messages.to_vec(), usize::MAX).await {
        Ok(_) => "ok".to_owned(),
        Err(status) if status.metadata().contains_key(protos::rule::KEY) => rule(&status),
        Err(_) => "tls".to_owned(),
    }
}

fn one<M: prost::Message>(message: &M) -> Vec<Bytes> {
    vec![message.encode_to_vec().into()]
}

fn signed_by<T: protocol::Statement>(statement: &T, signer: &Signer) -> Option<v1::Signed> {
    Some(to_wire(&Signed::sign(statement, signer)))
}

struct Federation {
    site: Site,
    members: Vec<Member>,
    /// Abbey's request to join.
    join: v1::JoinRequest,
    /// Abbey's first keys.
    offers: v1::OfferKeysRequest,
}

/// A federation with its first attempt announced.
async fn federation() -> (Federation, Signed<Announcement>) {
    let mut site = Site::new(&charter()).await;
    let addr = site.serve().await;
    let charter = site.charter.digest();
    let (mut members, mut join, mut offers) = (Vec::new(), None, None);
    for (secret, name) in (1..).zip(MEMBERS) {
        let invitation = site.invite(name).await;
        let mut member = Member::join_with(&site, addr, name, secret, &invitation.token).await.unwrap();
        join.get_or_insert_with(|| member.join_request(&invitation.token, secret));
        let offered = member.offers(charter, 2);
        member.client.offer_keys(offered.clone()).await.unwrap();
        offers.get_or_insert(offered);
        members.push(member);
    }
    let roster = members[0].roster().await.digest();
    for member in &mut members[..3] {
        let ready = member.ready_for((charter, roster), 1, 1);
        member.client.mark_ready(ready).await.unwrap();
    }
    let announced = members[0].announcement_of(1).await;
    (Federation { site, members, join: join.unwrap(), offers: offers.unwrap() }, announced)
}

/// Plays round 1 up to the last house's outcome. Gives what abbey said, call by call, and that outcome.
async fn first_round(
    federation: &mut Federation,
    announced: &Signed<Announcement>,
) -> (BTreeMap<Rpc, Vec<Bytes>>, v1::PutOutcomeRequest) {
    let Federation { site, members, join, offers } = federation;
    let mut said = BTreeMap::new();
    said.insert(Rpc::Join, one(join));
    said.insert(Rpc::OfferKeys, one(offers));
    let csr = CertificateParams::default().serialize_request(&members[0].tls).unwrap().der().to_vec();
    let renewal = v1::RenewCertificateRequest { signing_request: csr.into() };
    said.insert(Rpc::RenewCertificate, one(&renewal));
    members[0].client.renew_certificate(renewal).await.unwrap();
    let (charter, digest) = (site.charter.digest(), announced.body_digest());
    let roster = members[0].roster().await.digest();
    said.insert(Rpc::MarkReady, one(&members[0].ready_for((charter, roster), 1, 1)));
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    for (house, member) in members[..3].iter_mut().enumerate() {
        let parts = member.contribution(announced, &values(house, count));
        if house == 0 {
            let Some(Part::Header(header)) = parts[0].part.clone() else { panic!("a header comes first") };
            said.insert(Rpc::FindUpload, one(&v1::FindUploadRequest { contribution: header.contribution }));
            said.insert(Rpc::Submit, parts.iter().map(|part| part.encode_to_vec().into()).collect());
        }
        member.submit(parts).await.unwrap();
    }
    let complaint = members[0].complaint(announced, "borough").await;
    let complaint = signed_by(&complaint, &members[0].signer);
    said.insert(Rpc::PutComplaint, one(&v1::PutComplaintRequest { complaint }));
    let body = members[0].body(digest, "abbey").await.unwrap();
    let checksums = vec![to_wire(&members[0].checksum(announced, "abbey", &body).await)];
    said.insert(Rpc::PutChecksums, one(&v1::PutChecksumsRequest { checksums }));
    for member in &mut members[..3] {
        member.attest(announced).await;
    }
    members[0].checked(digest).await;
    for member in &mut *members {
        let answer = member.answer(announced).await;
        member.put_answer(&answer).await.unwrap();
        if member.signer.name().as_str() == "abbey" {
            said.insert(Rpc::PutAnswer, one(&v1::PutAnswerRequest { answer: Some(to_wire(&answer)) }));
        }
    }
    let list = members[0].cohort(digest).await;
    let mut state = Terms::of(&site.charter).unwrap().first_state().unwrap();
    let sum: Vec<i64> = (0..count).map(|i| (0..3).map(|house| values(house, count)[i]).sum()).collect();
    state.apply(&sum, unit(&site.charter), 12.0).unwrap();
    let verdict = Verdict::Applied { state: Digest::from_bytes(state.digest()), last: false };
    let outcome = |member: &Member| {
        let name = member.signer.name().clone();
        let outcome = Outcome { announcement: digest, cohort: list.digest(), member: name, verdict };
        v1::PutOutcomeRequest { outcome: signed_by(&outcome, &member.signer) }
    };
    let outcomes: Vec<_> = members[..3].iter().map(outcome).collect();
    said.insert(Rpc::PutOutcome, one(&outcomes[0]));
    for (member, outcome) in members[..2].iter_mut().zip(&outcomes) {
        member.client.put_outcome(outcome.clone()).await.unwrap();
    }
    let approval =
        Approval { charter, member: members[0].signer.name().clone(), state: Digest::from_bytes(state.digest()) };
    let approval = signed_by(&approval, &members[0].signer);
    said.insert(Rpc::PutApproval, one(&v1::PutApprovalRequest { approval }));
    said.insert(Rpc::PutFinalState, one(&v1::PutFinalStateRequest { data: state.to_bytes().into() }));
    said.insert(Rpc::PutCosignature, one(&cosignature(site, &members[0], RecordHead { size: 1, root: digest })));
    assert!(Rpc::all().all(|rpc| said.contains_key(&rpc) == says_something(rpc)), "a call has no message");
    (said, outcomes[2].clone())
}

/// A member's word for a head.
fn cosignature(site: &Site, member: &Member, head: RecordHead) -> v1::PutCosignatureRequest {
    let line = Checkpoint::new(site.charter.name.as_str(), head).cosign(&member.signer, 1_700_000_000);
    v1::PutCosignatureRequest { size: head.size, line }
}

/// Sends everything by this channel; nothing may change.
async fn all_heard(dir: &Path, said: &BTreeMap<Rpc, Vec<Bytes>>, channel: &Channel) -> BTreeMap<Rpc, String> {
    let mut answers = BTreeMap::new();
    for (rpc, messages) in said {
        let before = stored(dir).await;
        answers.insert(*rpc, heard(channel.clone(), *rpc, messages).await);
        assert!(stored(dir).await == before, "{rpc:?} changed what is stored");
    }
    answers
}

/// A certificate of abbey's that was signed at that time, over the key that it has.
async fn signed_at(home: &Home, abbey: &Member, at_ms: u64) -> String {
    let csr = CertificateParams::default().serialize_request(&abbey.tls).unwrap();
    let issued = home.identity.issue("abbey", csr.der(), at_ms).unwrap();
    let newest = home.store.newest_certificate(abbey.signer.name()).await.unwrap().unwrap();
    let noted = home.store.renew(newest.digest, issued.certificate_digest, &issued.certificate_pem, at_ms).await;
    assert_eq!(noted.unwrap(), Renewal::Noted);
    issued.certificate_pem
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_once_is_refused_or_answered_as_before_wherever_it_comes_up_again() {
    let (mut here, announced) = federation().await;
    let (mut said, last_outcome) = first_round(&mut here, &announced).await;
    let Federation { site, mut members, .. } = here;
    let (addr, home, dir) = (site.server.as_ref().unwrap().addr, site.home().await, site.path());
    let by = |certificate: &str, key: &KeyPair| channel(addr, &site.authority, Some((certificate, key)));
    let of = |member: &Member| by(&member.certificate, &member.tls);
    let mut table = BTreeMap::new();
    table.insert(Where::SameRound, all_heard(&dir, &said, &of(&members[0])).await);

    // Round 2 is announced.
    members[2].client.put_outcome(last_outcome).await.unwrap();
    members[0].settled(1).await;
    let (note, origin) = (members[0].checkpoint().await, Checkpoint::origin_of(site.charter.name.as_str()));
    let head = Checkpoint::open(&note, &origin, site.charter.aggregator_key()).unwrap().head;
    let word = cosignature(&site, &members[0], head);
    members[0].client.put_cosignature(word.clone()).await.unwrap();
    said.insert(Rpc::PutCosignature, one(&word));
    let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
    for member in &mut members[..3] {
        let ready = member.ready_for((charter, roster), 2, 1);
        member.client.mark_ready(ready).await.unwrap();
    }
    members[0].announcement_of(2).await;
    table.insert(Where::NextRound, all_heard(&dir, &said, &of(&members[0])).await);
    table.insert(Where::OtherMember, all_heard(&dir, &said, &of(&members[1])).await);
    table.insert(Where::OtherRole, all_heard(&dir, &said, &of(&members[3])).await);

    // Signed messages have one form on the wire: each in every other call.
    let forms: Vec<_> = said.iter().filter(|(rpc, _)| has_signed(**rpc)).collect();
    for (rpc, messages) in &forms {
        for (other, _) in forms.iter().filter(|(other, _)| other != rpc) {
            let before = stored(&dir).await;
            let answer = heard(of(&members[0]), **other, messages).await;
            assert!(
                ["bad-signature", "malformed", "wire"].contains(&answer.as_str()),
                "{rpc:?} as {other:?}: {answer}"
            );
            assert!(stored(&dir).await == before, "{rpc:?} as {other:?} changed what is stored");
        }
    }

    // Another federation of the same members, with the same keys, at its own first round.
    let (there, _) = federation().await;
    let other = channel(
        there.site.server.as_ref().unwrap().addr,
        &there.site.authority,
        Some((&there.members[0].certificate, &there.members[0].tls)),
    );
    table.insert(Where::OtherFederation, all_heard(&there.site.path(), &said, &other).await);

    let now_ms = aggregator::clock::now_ms();
    let ended = signed_at(&home, &members[0], now_ms - 91 * 86_400_000).await;
    let just_ended = signed_at(&home, &members[0], now_ms - NINETY_DAYS_MS - TEN_MINUTES_MS).await;
    let nearly_ended = signed_at(&home, &members[0], now_ms - NINETY_DAYS_MS + TEN_MINUTES_MS).await;
    let ahead = signed_at(&home, &members[0], now_ms + TEN_MINUTES_MS).await;
    let behind = signed_at(&home, &members[0], now_ms - TEN_MINUTES_MS).await;
    table.insert(Where::Ended, all_heard(&dir, &said, &by(&ended, &members[0].tls)).await);
    table.insert(Where::EndedTenMinutesAgo, all_heard(&dir, &said, &by(&just_ended, &members[0].tls)).await);
    // Clocks that are ten minutes off, within a certificate's time, change no answer. The newest of all is renewed, which is no repeat.
    for certificate in [&nearly_ended, &ahead, &behind] {
        let mut said = said.clone();
        said.remove(&Rpc::RenewCertificate);
        let mut as_before = table[&Where::NextRound].clone();
        as_before.remove(&Rpc::RenewCertificate);
        assert_eq!(all_heard(&dir, &said, &by(certificate, &members[0].tls)).await, as_before);
    }
    home.revoke(&HouseName::new("abbey").unwrap()).await.unwrap();
    table.insert(Where::Revoked, all_heard(&dir, &said, &of(&members[0])).await);

    let mut wrong = Vec::new();
    for place in Where::ALL {
        for (rpc, answer) in &table[&place] {
            println!("{place:?} {rpc:?}: {answer}");
            if answer != expected(*rpc, place) {
                wrong.push((place, *rpc, answer.clone()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    home.store.close().await;
}

/// Whether a call takes signed messages and nothing else, in its first field.
fn has_signed(rpc: Rpc) -> bool {
    says_something(rpc)
        && !matches!(rpc, Rpc::Join | Rpc::RenewCertificate | Rpc::Submit | Rpc::PutFinalState | Rpc::PutCosignature)
}
