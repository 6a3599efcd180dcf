//! Every call of the contract, fifty times and more, with its answer lost after the aggregator had done what was asked: asked again it answers the same,
//! nothing is counted twice, and every sum is exact.
//!
//! A relay passes a call on and loses what comes back; the connection is cut once the aggregator's own metrics say that it has answered. Which test a call
//! is of comes from its type: a new call does not build here before somebody says.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use aggregator::store::{Setting, Shelf};
use bytes::Bytes;
use common::opened::open;
use common::raw::{answered, call};
use common::relay::Relay;
use common::{CHARTER, HOUSES, Member, Site, announced, channel, join_request, rule, signer, values};
use prost::Message as _;
use protocol::log::Checkpoint;
use protocol::message::Approval;
use protocol::server::{Event, EventKind, Input};
use protocol::{CohortList, Digest, Message as _, Outcome, Roster, Signed, Verdict};
use protos::convert::{signed, to_wire};
use protos::rpc::Rpc;
use protos::v1;
use protos::v1::event::Kind;
use protos::v1::submit_request::Part;
use rcgen::{CertificateParams, KeyPair};
use secure_sum::{Layout, SealingKey};
use terms::{Terms, unit};
use tonic::transport::Channel;

/// Rounds of the first test: each call is made by each of three houses in each.
const ROUNDS: u32 = 17;
/// Answers of each call that are lost at least.
const LOST: usize = 50;

/// Which test loses a call's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Rounds,
    Complaint,
    HandOver,
}

const fn lost_in(rpc: Rpc) -> Where {
    match rpc {
        Rpc::Join
        | Rpc::GetRoster
        | Rpc::RenewCertificate
        | Rpc::OfferKeys
        | Rpc::MarkReady
        | Rpc::WatchEvents
        | Rpc::FindUpload
        | Rpc::Submit
        | Rpc::GetCohort
        | Rpc::GetSealedShares
        | Rpc::PutChecksums
        | Rpc::GetChecked
        | Rpc::GetBody
        | Rpc::PutAnswer
        | Rpc::GetSum
        | Rpc::GetAnswers
        | Rpc::PutOutcome
        | Rpc::PutCosignature
        | Rpc::GetCheckpoint
        | Rpc::GetProof => Where::Rounds,
        Rpc::PutComplaint => Where::Complaint,
        Rpc::PutApproval | Rpc::PutFinalState => Where::HandOver,
    }
}

/// An aggregator behind a relay.
struct Behind {
    site: Site,
    relay: Relay,
    lost: BTreeMap<Rpc, usize>,
}

/// Who calls: a certificate and its key.
type Caller<'a> = Option<(&'a str, &'a KeyPair)>;

impl Behind {
    async fn new(site: Site) -> Self {
        let relay = Relay::start(site.server.as_ref().unwrap().addr).await;
        Self { site, relay, lost: BTreeMap::new() }
    }

    fn channel(&self, caller: Caller<'_>) -> Channel {
        channel(self.relay.addr, &self.site.authority, caller)
    }

    /// Makes a call whose answer is lost, and twice more: both times it is answered, and the same.
    async fn call(&mut self, rpc: Rpc, caller: Caller<'_>, messages: Vec<Bytes>, most: usize) -> Vec<Bytes> {
        self.lose(rpc, caller, &messages, most).await;
        let first = self.answer(rpc, caller, &messages, most).await;
        let again = self.answer(rpc, caller, &messages, most).await;
        assert!(first == again, "{rpc:?} is answered in two ways");
        *self.lost.entry(rpc).or_default() += 1;
        first
    }

    async fn lose(&self, rpc: Rpc, caller: Caller<'_>, messages: &[Bytes], most: usize) {
        let observed = self.site.server.as_ref().unwrap().observed.unwrap();
        let channel = self.channel(caller);
        // It is connected when its first call is refused or answered.
        let _ = call(channel.clone(), Rpc::GetCheckpoint, vec![Bytes::new()], 1).await;
        let before = answered(observed, rpc).await;
        self.relay.lose_answers();
        let lost = tokio::spawn(call(channel, rpc, messages.to_vec(), most));
        let done = async {
            while answered(observed, rpc).await == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), done).await.unwrap();
        self.relay.cut();
        let status = lost.await.unwrap().unwrap_err();
        assert!(status.metadata().get(protos::rule::KEY).is_none(), "{rpc:?} was refused: {status}");
    }

    async fn answer(&self, rpc: Rpc, caller: Caller<'_>, messages: &[Bytes], most: usize) -> Vec<Bytes> {
        for _ in 0..1_000 {
            match call(self.channel(caller), rpc, messages.to_vec(), most).await {
                Ok(answer) => return answer,
                // The aggregator may not have noticed that the stream that was cut is gone.
                Err(status) if status.metadata().contains_key(protos::rule::KEY) && rule(&status) == "busy" => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(status) => panic!("{rpc:?}: {status}"),
            }
        }
        panic!("{rpc:?} stays busy");
    }

    async fn one<M: prost::Message>(&mut self, rpc: Rpc, member: &Member, message: &M) -> Bytes {
        let caller = Some((member.certificate.as_str(), &member.tls));
        let mut answer = self.call(rpc, caller, vec![message.encode_to_vec().into()], usize::MAX).await;
        assert_eq!(answer.len(), 1);
        answer.remove(0)
    }

    /// All of an answer in parts.
    async fn parts<M: prost::Message>(&mut self, rpc: Rpc, member: &Member, message: &M) -> Vec<Bytes> {
        let caller = Some((member.certificate.as_str(), &member.tls));
        self.call(rpc, caller, vec![message.encode_to_vec().into()], usize::MAX).await
    }

    fn says_how_many(&self, place: Where) {
        println!("answers lost: {:?}", self.lost);
        for rpc in Rpc::all().filter(|rpc| lost_in(*rpc) == place) {
            let lost = self.lost.get(&rpc).copied().unwrap_or(0);
            assert!(lost >= LOST, "{lost} answers of {rpc:?} were lost");
        }
    }
}

fn of(announcement: Digest) -> Bytes {
    announcement.as_bytes().to_vec().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_seventeen_rounds_every_answer_is_lost_once_and_every_sum_is_exact() {
    let charter = CHARTER
        .replace("count = 1\n", &format!("count = {ROUNDS}\n"))
        .replace("max_attempts = 2", "max_attempts = 2\ncharged = 20");
    let mut site = Site::new(&charter).await;
    // How often somebody may call is looked at elsewhere.
    (site.limits.calls_per_second, site.limits.anonymous_calls_per_second) = (u32::MAX, u32::MAX);
    site.serve().await;
    let mut behind = Behind::new(site).await;
    let mut members = join(&mut behind).await;
    let terms = Terms::of(&behind.site.charter).unwrap();
    let mut expected = terms.first_state().unwrap();
    for round in 1..=ROUNDS {
        let sum = play(&mut behind, &mut members, round, &mut expected).await;
        let wanted: Vec<i64> =
            (0..sum.len()).map(|i| (0..3).map(|house| given(house, round, sum.len())[i]).sum()).collect();
        assert!(sum == wanted, "the opened sum of round {round} is not that of what went in");
    }
    behind.says_how_many(Where::Rounds);
    nothing_is_stored_twice(&behind.site, &expected).await;
}

fn given(house: usize, round: u32, count: usize) -> Vec<i64> {
    values(house + 3 * round as usize, count)
}

async fn join(behind: &mut Behind) -> Vec<Member> {
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(HOUSES) {
        let invitation = behind.site.invite(name).await;
        let (tls, mailbox) = (KeyPair::generate().unwrap(), SealingKey::generate(&mut rand::rng()));
        let request = join_request(name, &invitation.token, &tls, secret, &mailbox);
        let request: Bytes = request.encode_to_vec().into();
        let mut answers = Vec::new();
        for _ in 0..ROUNDS {
            answers.extend(behind.call(Rpc::Join, None, vec![request.clone()], usize::MAX).await);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "one member, one certificate");
        let certificate = v1::JoinResponse::decode(answers.remove(0)).unwrap().certificate;
        let addr = behind.site.server.as_ref().unwrap().addr;
        let server = (addr, behind.site.authority.as_slice());
        members.push(Member::with_certificate(server, signer(name, secret), (tls, mailbox), certificate));
    }
    members
}

/// One round in which each answer to each house is lost once. Gives the opened sum, and applies it to `state`.
async fn play(behind: &mut Behind, members: &mut [Member], round: u32, state: &mut adapter::State) -> Vec<i64> {
    let charter = behind.site.charter.digest();
    for member in &mut *members {
        let offers = member.offers(charter, 1);
        let stock = behind.one(Rpc::OfferKeys, member, &offers).await;
        assert_eq!(v1::OfferKeysResponse::decode(stock).unwrap().stock, 1, "a key is offered once");
        let csr = CertificateParams::default().serialize_request(&member.tls).unwrap().der().to_vec();
        behind.one(Rpc::RenewCertificate, member, &v1::RenewCertificateRequest { signing_request: csr.into() }).await;
    }
    let mut roster = Bytes::new();
    for member in &*members {
        roster = behind.one(Rpc::GetRoster, member, &v1::GetRosterRequest {}).await;
    }
    let roster = v1::GetRosterResponse::decode(roster).unwrap().roster;
    for member in &*members {
        let ready = member.ready_for((charter, Roster::from_bytes(&roster).unwrap().digest()), round, 1);
        behind.one(Rpc::MarkReady, member, &ready).await;
    }
    let announced = members[0].announcement_of(round).await;
    let digest = announced.body_digest();
    let announcement = announced.unverified().unwrap();
    assert_eq!(announcement.adapter.as_bytes(), &state.digest());
    let layout = Layout::from_bytes(&announcement.layout).unwrap();
    let count = layout.values().count;

    for (house, member) in members.iter().enumerate() {
        let parts = member.contribution(&announced, &given(house, round, count));
        let Some(Part::Header(header)) = parts[0].part.clone() else { panic!("a header comes first") };
        let find = v1::FindUploadRequest { contribution: header.contribution };
        let found = v1::FindUploadResponse::decode(behind.one(Rpc::FindUpload, member, &find).await).unwrap();
        assert!(!found.accepted && found.chunks == 0);
        let caller = Some((member.certificate.as_str(), &member.tls));
        let messages: Vec<Bytes> = parts.iter().map(|part| part.encode_to_vec().into()).collect();
        behind.call(Rpc::Submit, caller, messages, usize::MAX).await;
        let found = call(behind.channel(caller), Rpc::FindUpload, vec![find.encode_to_vec().into()], 1).await.unwrap();
        assert!(v1::FindUploadResponse::decode(found[0].clone()).unwrap().accepted);
    }
    let list = members[0].cohort(digest).await;
    assert_eq!(list.contributions.len(), 3);
    let claim = members[0].claim_of(digest).await;
    let houses: Vec<_> = list.houses().cloned().collect();
    for member in &mut *members {
        let cohort = behind.parts(Rpc::GetCohort, member, &v1::GetCohortRequest { announcement: of(digest) }).await;
        let cohort: Vec<u8> = cohort.into_iter().flat_map(|part| v1::CohortChunk::decode(part).unwrap().data).collect();
        assert_eq!(CohortList::from_bytes(&cohort).unwrap().digest(), list.digest());
        behind.one(Rpc::GetSealedShares, member, &v1::GetSealedSharesRequest { announcement: of(digest) }).await;
        let me = member.signer.name().clone();
        let drawn = claim.spot_check(&me, &houses).cloned();
        for house in [Some(me), drawn].into_iter().flatten() {
            let request = v1::GetBodyRequest { announcement: of(digest), house: house.to_string() };
            let runs = behind.parts(Rpc::GetBody, member, &request).await;
            let body: Vec<u8> = runs.into_iter().flat_map(|run| v1::ChunkRun::decode(run).unwrap().data).collect();
            let said = member.checksum(&announced, house.as_str(), &body).await;
            behind.one(Rpc::PutChecksums, member, &v1::PutChecksumsRequest { checksums: vec![to_wire(&said)] }).await;
        }
    }
    members[0].checked(digest).await;
    for member in &mut *members {
        behind.one(Rpc::GetChecked, member, &v1::GetCheckedRequest { announcement: of(digest) }).await;
        let answer = member.answer(&announced).await;
        behind.one(Rpc::PutAnswer, member, &v1::PutAnswerRequest { answer: Some(to_wire(&answer)) }).await;
    }
    members[0]
        .event(|event| match &event.kind {
            Some(Kind::Opened(opened)) => (opened.announcement == of(digest)).then_some(()),
            _ => None,
        })
        .await;
    let mut opened = Vec::new();
    for member in &*members {
        let sum = behind.parts(Rpc::GetSum, member, &v1::GetSumRequest { announcement: of(digest) }).await;
        let sum: Vec<u8> = sum.into_iter().flat_map(|part| v1::SumChunk::decode(part).unwrap().data).collect();
        let answers = behind.one(Rpc::GetAnswers, member, &v1::GetAnswersRequest { announcement: of(digest) }).await;
        let answers = v1::GetAnswersResponse::decode(answers).unwrap().answers;
        let answers: Vec<_> = answers.into_iter().map(|answer| signed("answers", Some(answer)).unwrap()).collect();
        opened.push(open(&announcement, &list, &sum, &answers));
    }
    assert!(opened[0] == opened[1] && opened[1] == opened[2]);
    let sum = opened.remove(0);
    state.apply(&sum, unit(&behind.site.charter), 12.0).unwrap();
    let verdict = Verdict::Applied { state: Digest::from_bytes(state.digest()), last: false };
    for member in &*members {
        let outcome =
            Outcome { announcement: digest, cohort: list.digest(), member: member.signer.name().clone(), verdict };
        let outcome = Some(to_wire(&Signed::sign(&outcome, &member.signer)));
        behind.one(Rpc::PutOutcome, member, &v1::PutOutcomeRequest { outcome }).await;
    }
    let history = members[0].settled(round).await;
    for member in &*members {
        let caller = Some((member.certificate.as_str(), &member.tls));
        let watch = v1::WatchEventsRequest { after: 0 }.encode_to_vec().into();
        let events = behind.call(Rpc::WatchEvents, caller, vec![watch], history as usize).await;
        let numbers: Vec<u64> = events.into_iter().map(|event| v1::Event::decode(event).unwrap().sequence).collect();
        assert_eq!(numbers, (1..=history).collect::<Vec<_>>());
        let shown = behind.one(Rpc::GetCheckpoint, member, &v1::GetCheckpointRequest {}).await;
        let note = v1::GetCheckpointResponse::decode(shown).unwrap().checkpoint;
        let origin = Checkpoint::origin_of(behind.site.charter.name.as_str());
        let head = Checkpoint::open(&note, &origin, behind.site.charter.aggregator_key()).unwrap();
        let line = head.cosign(&member.signer, 1_700_000_000);
        behind.one(Rpc::PutCosignature, member, &v1::PutCosignatureRequest { size: head.head.size, line }).await;
        let query = v1::InclusionQuery { leaf_index: u64::from(round) - 1, tree_size: u64::from(round) };
        let proof = v1::GetProofRequest { of: Some(v1::get_proof_request::Of::Inclusion(query)) };
        behind.one(Rpc::GetProof, member, &proof).await;
    }
    sum
}

/// What is stored says that each house did each thing once a round, and that two certificates of each stand.
async fn nothing_is_stored_twice(site: &Site, expected: &adapter::State) {
    let store = site.home().await.store;
    assert_eq!(store.leaves().await.unwrap().len(), ROUNDS as usize);
    for round in store.announced_rounds().await.unwrap() {
        let mut kinds = BTreeMap::<EventKind, usize>::new();
        let steps = store.steps(round, protocol::Attempt::FIRST).await.unwrap();
        let (mut own, mut announcement) = (0, None);
        for step in steps {
            let event = Input::from_bytes(&step.body).unwrap().event;
            if let Event::Checksum(signed) = &event {
                let said = signed.unverified().unwrap();
                own += usize::from(said.member == said.house);
            }
            if let Event::Announced(signed) = &event {
                announcement = Some(signed.body_digest());
            }
            *kinds.entry(EventKind::from(&event)).or_default() += 1;
        }
        for kind in [EventKind::Ready, EventKind::Contribution, EventKind::Answer, EventKind::Outcome] {
            assert_eq!(kinds[&kind], 3, "{kind:?} in round {round}");
        }
        assert_eq!((own, kinds[&EventKind::Announced], kinds[&EventKind::Claimed]), (3, 1, 1));
        assert_eq!(store.contributions(&announcement.unwrap()).await.unwrap().len(), 3);
    }
    let members = store.members().await.unwrap();
    assert_eq!(members.len(), 3);
    for _ in 0..400 {
        if let Some(blob) = store.setting(Setting::FinalState).await.unwrap() {
            let blob = Digest::from_bytes(blob.as_slice().try_into().unwrap());
            assert_eq!(store.blobs().get(Shelf::Kept, &blob).await.unwrap()[..], expected.to_bytes()[..]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the aggregator has no final state");
}

/// A complaint ends its attempt once, and names the dealer once.
#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_whose_answer_is_lost_fifty_times_counts_once() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 2).await;
    let mut behind = Behind::new(site).await;
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        let mut parts = member.contribution(&announced, &values(house, count));
        if house == 0 {
            parts = member.with_a_wrong_share(&announced, parts, 2);
        }
        member.submit(parts).await.unwrap();
    }
    let complaint = members[1].complaint(&announced, "abbey").await;
    let complaint = Some(to_wire(&Signed::sign(&complaint, &members[1].signer)));
    let complaint = v1::PutComplaintRequest { complaint };
    for _ in 0..LOST {
        behind.one(Rpc::PutComplaint, &members[1], &complaint).await;
    }
    behind.says_how_many(Where::Complaint);
    let home = behind.site.home().await;
    let status = aggregator::status::read(&home).await.unwrap();
    assert_eq!((status.isolated.len(), status.record), (1, 1));
    let steps = home.store.steps(protocol::RoundNumber::FIRST, protocol::Attempt::FIRST).await.unwrap();
    let complaints = steps.iter().map(|step| Input::from_bytes(&step.body).unwrap().event);
    assert_eq!(complaints.filter(|event| matches!(event, Event::Complaint(_))).count(), 1);
}

/// Approvals and the state itself, after a last round under `clients`.
#[tokio::test(flavor = "multi_thread")]
async fn the_final_state_is_handed_over_once_however_often_answers_are_lost() {
    let mut site = Site::new(&CHARTER.replace("policy = \"aggregator\"", "policy = \"clients\"")).await;
    (site.limits.calls_per_second, site.limits.anonymous_calls_per_second) = (u32::MAX, u32::MAX);
    let (mut members, announced) = announced(&mut site, 2).await;
    let (charter, digest, announcement) =
        (site.charter.digest(), announced.body_digest(), announced.unverified().unwrap());
    let count = Layout::from_bytes(&announcement.layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        member.submit(member.contribution(&announced, &values(house, count))).await.unwrap();
    }
    let list = members[0].cohort(digest).await.digest();
    for member in &mut members {
        member.attest(&announced).await;
    }
    let claim = members[0].claim_of(digest).await;
    let mut last = Terms::of(&site.charter).unwrap().first_state().unwrap();
    last.apply(&values(1, count), unit(&site.charter), 12.0).unwrap();
    let state = Digest::from_bytes(last.digest());
    for (member, seat) in members.iter_mut().zip(&announcement.committee) {
        member.put_answer(&member.sealed_answer(&claim, seat.index)).await.unwrap();
    }
    for member in &mut members {
        member.put_outcome(digest, list, Verdict::Applied { state, last: false }).await.unwrap();
    }
    let mut behind = Behind::new(site).await;
    for _ in 0..ROUNDS {
        for member in &members {
            let approval = Approval { charter, member: member.signer.name().clone(), state };
            let approval = Some(to_wire(&Signed::sign(&approval, &member.signer)));
            behind.one(Rpc::PutApproval, member, &v1::PutApprovalRequest { approval }).await;
        }
    }
    let bytes = last.to_bytes();
    let parts: Vec<Bytes> = bytes
        .chunks(1_000)
        .map(|data| v1::PutFinalStateRequest { data: data.to_vec().into() }.encode_to_vec().into())
        .collect();
    for turn in 0..LOST {
        let member = &members[turn % 3];
        behind.call(Rpc::PutFinalState, Some((&member.certificate, &member.tls)), parts.clone(), usize::MAX).await;
    }
    behind.says_how_many(Where::HandOver);
    let store = behind.site.home().await.store;
    assert_eq!(store.approvals().await.unwrap().len(), 3);
    let kept = Digest::from_bytes(store.setting(Setting::FinalState).await.unwrap().unwrap().try_into().unwrap());
    assert_eq!(store.blobs().get(Shelf::Kept, &kept).await.unwrap()[..], bytes[..]);
}
