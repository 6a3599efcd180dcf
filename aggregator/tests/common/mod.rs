//! An aggregator on a loopback port, and members made by hand: every message built here, none by our client.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use aggregator::identity::SERVER_NAME;
use aggregator::server::{self, Config, Handle};
use ed25519_dalek::{Signer as _, SigningKey};
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{
    Announcement, Answer, AnswerPayload, Approval, Attempt, BodyChecksum, Charter, CohortList, Complaint, Contribution,
    Digest, HouseName, Invitation, Message as _, OneTimeKeyOffer, Outcome, Ready, Roster, RoundNumber, SealedFor,
    Signed, Signer, SumClaim, Verdict,
};
use protos::convert::to_wire;
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use protos::v1::submit_request::Part;
use rcgen::{CertificateParams, KeyPair};
use secure_sum::{
    Challenge, Checksum, Committee, EnvelopeProof, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey,
    SealingPublicKey, ShareSum,
};
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

pub const HOUSES: [&str; 3] = ["abbey", "borough", "county"];

/// Three houses, two of them and more open, 1 round, policy `aggregator`.
pub const CHARTER: &str = r#"
name = "test-federation"
protocol_version = 1
aggregator_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
[model]
name = "tiny"
sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
architecture = "bert"
num_hidden_layers = 1
hidden_size = 8
intermediate_size = 16
labels = ["eye", "ear", "nose"]
max_tokens = 16
[lora]
r = 2
lora_alpha = 4.0
target_modules = ["query", "value"]
modules_to_save = ["classifier"]
seed = 1
[optimizer]
kind = "sgd"
learning_rate = 1.0
momentum = 0.0
[privacy]
mode = "record-shared"
epsilon = 8.0
delta = 1e-5
clipping_norm = 1.0
integer_norm = 1024
clamp = 8192
noise_multiplier = 1.0
colluders = 1
[rounds]
count = 1
min_cohort = 3
max_cohort = 3
may_vanish = 0
submit_at_ms = 1
close_ms = 20000
open_ms = 40000
max_attempts = 2
[committee]
threshold = 3
[release]
policy = "aggregator"
[[house]]
name = "abbey"
sampling_rate = 0.01
nominal_batch = 4
[[house]]
name = "borough"
sampling_rate = 0.01
nominal_batch = 4
[[house]]
name = "county"
sampling_rate = 0.01
nominal_batch = 4
"#;

/// A directory with an aggregator, and its server.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub charter: Charter,
    pub authority: Vec<u8>,
    pub server: Option<Handle>,
}

impl Site {
    pub async fn new(charter: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home =
            aggregator::setup::init(&dir.path().join("fed"), Some(charter), &[], &mut rand::rng()).await.unwrap();
        home.store.close().await;
        let authority = home.identity.authority_der().to_vec();
        Self { dir, charter: home.charter, authority, server: None }
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("fed")
    }

    pub async fn home(&self) -> aggregator::setup::Home {
        aggregator::setup::open(&self.path()).await.unwrap()
    }

    pub async fn serve(&mut self) -> SocketAddr {
        let mut config = Config::new(self.path(), "127.0.0.1:0".parse().unwrap());
        config.pace.gather = Duration::from_millis(100);
        let handle = server::start(config).await.unwrap();
        let addr = handle.addr;
        self.server = Some(handle);
        addr
    }

    /// Ends the server as a crash would and starts it again; members connect anew.
    pub async fn restart(&mut self, members: &mut [Member]) {
        self.server.take().unwrap().kill().await;
        let addr = self.serve().await;
        for member in members {
            member.connect(addr, &self.authority);
        }
    }

    pub async fn invite(&self, name: &str) -> Invitation {
        let home = self.home().await;
        home.invite(&HouseName::new(name).unwrap(), "https://127.0.0.1:1", &mut rand::rng()).await.unwrap()
    }
}

/// A member's keys, certificate and connection.
pub struct Member {
    pub signer: Signer,
    pub tls: KeyPair,
    pub mailbox: SealingKey,
    pub certificate: String,
    pub client: FederationClient<Channel>,
    pub keys: Vec<SealingKey>,
}

pub fn channel(addr: SocketAddr, authority: &[u8], member: Option<(&str, &KeyPair)>) -> Channel {
    let pem = pem(authority);
    let mut tls = ClientTlsConfig::new().domain_name(SERVER_NAME).ca_certificate(Certificate::from_pem(pem));
    if let Some((certificate, key)) = member {
        tls = tls.identity(tonic::transport::Identity::from_pem(certificate, key.serialize_pem()));
    }
    Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap().connect_lazy()
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// A well-formed, signed request to join.
pub fn join_request(name: &str, token: &[u8], tls: &KeyPair, secret: u8, mailbox: &SealingKey) -> v1::JoinRequest {
    let csr = CertificateParams::default().serialize_request(tls).unwrap();
    let mut request = v1::JoinRequest {
        name: name.into(),
        token: token.to_vec().into(),
        signing_request: csr.der().to_vec().into(),
        signing_key: signer(name, secret).public_key().as_bytes().to_vec().into(),
        mailbox_key: mailbox.public().to_bytes()[1..].to_vec().into(),
        signature: Vec::new().into(),
    };
    sign(&mut request, secret);
    request
}

/// Signs a request to join (anew).
pub fn sign(request: &mut v1::JoinRequest, secret: u8) {
    let key = SigningKey::from_bytes(&[secret; 32]);
    request.signature = key.sign(&protos::join::signed_bytes(request)).to_bytes().to_vec().into();
}

pub fn signer(name: &str, secret: u8) -> Signer {
    Signer::new(HouseName::new(name).unwrap(), &[secret; 32])
}

impl Member {
    /// Joins over the wire.
    pub async fn join(site: &Site, addr: SocketAddr, name: &str, secret: u8) -> Self {
        let invitation = site.invite(name).await;
        let (tls, signer) = (KeyPair::generate().unwrap(), signer(name, secret));
        let mailbox = SealingKey::generate(&mut rand::rng());
        let request = join_request(name, &invitation.token, &tls, secret, &mailbox);
        let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
        let response = enrolment.join(request).await.unwrap().into_inner();
        assert_eq!(response.charter, site.charter.text().as_bytes());
        let client = FederationClient::new(channel(addr, &site.authority, Some((&response.certificate, &tls))));
        Self { signer, tls, mailbox, certificate: response.certificate, client, keys: Vec::new() }
    }

    pub fn connect(&mut self, addr: SocketAddr, authority: &[u8]) {
        self.client = FederationClient::new(channel(addr, authority, Some((&self.certificate, &self.tls))));
    }

    pub async fn offer_keys(&mut self, charter: Digest, count: u64) -> u32 {
        let mut offers = Vec::new();
        for _ in 0..count {
            let key = SealingKey::generate(&mut rand::rng());
            let offer = OneTimeKeyOffer {
                charter,
                member: self.signer.name().clone(),
                sequence: self.keys.len() as u64 + 1,
                key: key.public().to_bytes()[1..].try_into().unwrap(),
            };
            offers.push(to_wire(&Signed::sign(&offer, &self.signer)));
            self.keys.push(key);
        }
        self.client.offer_keys(v1::OfferKeysRequest { offers }).await.unwrap().into_inner().stock
    }

    pub async fn roster(&mut self) -> Roster {
        let roster = self.client.get_roster(v1::GetRosterRequest {}).await.unwrap().into_inner().roster;
        Roster::from_bytes(&roster).unwrap()
    }

    pub async fn ready(&mut self, charter: Digest, roster: Digest, attempt: u32) -> Result<(), Status> {
        let ready = Ready {
            charter,
            roster,
            round: RoundNumber::FIRST,
            attempt: Attempt::new(attempt).unwrap(),
            member: self.signer.name().clone(),
        };
        let ready = Some(to_wire(&Signed::sign(&ready, &self.signer)));
        self.client.mark_ready(v1::MarkReadyRequest { ready }).await.map(|_| ())
    }

    /// The first event for which `pick` gives something.
    pub async fn event<T>(&mut self, mut pick: impl FnMut(&v1::Event) -> Option<T>) -> T {
        let mut events = self.client.watch_events(v1::WatchEventsRequest { after: 0 }).await.unwrap().into_inner();
        let found = async {
            loop {
                let event = events.message().await.unwrap().unwrap();
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.unwrap()
    }

    pub async fn announcement(&mut self) -> Signed<Announcement> {
        self.event(|event| match &event.kind {
            Some(Kind::Announced(signed)) => Some(protos::convert::signed("announced", Some(signed.clone())).unwrap()),
            _ => None,
        })
        .await
    }

    /// A contribution of `values`, as it goes over the wire: a header and runs of one chunk.
    pub fn contribution(&self, announced: &Signed<Announcement>, values: &[i64]) -> Vec<v1::SubmitRequest> {
        let announcement = announced.unverified().unwrap();
        let layout = Layout::from_bytes(&announcement.layout).unwrap();
        let committee = committee(&announcement);
        let seed = MaskSeed(announcement.mask_seed());
        let rng = &mut rand::rng();
        let key = OneTimeKey::generate(&layout, rng);
        let dealing = secure_sum::deal(&key, &layout, &committee, rng).unwrap();
        let body = secure_sum::encrypt(&layout, &seed, key, values, rng).unwrap();
        let ciphertext = ciphertext_digest(body.chunks(layout.chunk_bytes()));
        let digest = announced.body_digest();
        let mut sealed = Vec::new();
        for (share, seat) in dealing.shares.iter().zip(&announcement.committee) {
            let mut raw = vec![1];
            raw.extend(seat.offer.unverified().unwrap().key);
            let aad = share_aad(&digest, self.signer.name(), seat.index, &ciphertext);
            let key = SealingPublicKey::from_bytes(&raw).unwrap();
            sealed.push(secure_sum::seal(&key, SHARE_INFO, &aad, &share.to_bytes()).unwrap());
        }
        let manifest = Contribution {
            announcement: digest,
            member: self.signer.name().clone(),
            ciphertext,
            chunk_count: u32::try_from(layout.chunk_count()).unwrap(),
            commitments: dealing.commitments.to_bytes(),
            sealed_shares: sealed.iter().map(|share| Digest::sha256(share)).collect(),
        };
        let header = v1::SubmitHeader {
            contribution: Some(to_wire(&Signed::sign(&manifest, &self.signer))),
            sealed_shares: sealed.into_iter().map(Into::into).collect(),
        };
        let runs = body.chunks(layout.chunk_bytes()).enumerate().map(|(first, chunk)| {
            Part::Run(v1::ChunkRun { first: u32::try_from(first).unwrap(), data: chunk.to_vec().into() })
        });
        let parts = std::iter::once(Part::Header(header)).chain(runs);
        parts.map(|part| v1::SubmitRequest { part: Some(part) }).collect()
    }

    pub async fn submit(&mut self, parts: Vec<v1::SubmitRequest>) -> Result<(), Status> {
        self.client.submit(tokio_stream::iter(parts)).await.map(|_| ())
    }

    pub async fn cohort(&mut self, announcement: Digest) -> CohortList {
        self.event(|event| matches!(event.kind, Some(Kind::Closed(_))).then_some(())).await;
        let request = v1::GetCohortRequest { announcement: announcement.as_bytes().to_vec().into() };
        CohortList::from_bytes(&self.client.get_cohort(request).await.unwrap().into_inner().cohort).unwrap()
    }

    /// What the aggregator claims as the sum.
    pub async fn claim(&mut self) -> Signed<SumClaim> {
        self.event(|event| match &event.kind {
            Some(Kind::Claimed(signed)) => Some(protos::convert::signed("claimed", Some(signed.clone())).unwrap()),
            _ => None,
        })
        .await
    }

    /// What this member says of the body of `house`, which is `body`.
    pub async fn checksum(
        &mut self,
        announced: &Signed<Announcement>,
        house: &str,
        body: &[u8],
    ) -> Signed<BodyChecksum> {
        let claim = self.claim().await.unverified().unwrap();
        let layout = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap();
        let value = Checksum::of(&layout, &Challenge(claim.challenge()), body).unwrap();
        let (member, house) = (self.signer.name().clone(), HouseName::new(house).unwrap());
        Signed::sign(&BodyChecksum::under(&claim, member, house, value.to_bytes()), &self.signer)
    }

    pub async fn put_checksum(&mut self, signed: &Signed<BodyChecksum>) -> Result<(), Status> {
        let checksums = vec![to_wire(signed)];
        self.client.put_checksums(v1::PutChecksumsRequest { checksums }).await.map(|_| ())
    }

    /// Says the checksums that are waited for, of bodies as the aggregator shows them: its own, and a drawn one.
    pub async fn attest(&mut self, announced: &Signed<Announcement>) {
        let (digest, me) = (announced.body_digest(), self.signer.name().clone());
        let houses: Vec<HouseName> = self.cohort(digest).await.houses().cloned().collect();
        let drawn = self.claim().await.unverified().unwrap().spot_check(&me, &houses).cloned();
        for house in [Some(me), drawn].into_iter().flatten() {
            let body = self.body(digest, house.as_str()).await.unwrap();
            let signed = self.checksum(announced, house.as_str(), &body).await;
            self.put_checksum(&signed).await.unwrap();
        }
    }

    /// A house's body, as the aggregator shows it.
    pub async fn body(&mut self, announcement: Digest, house: &str) -> Result<Vec<u8>, Status> {
        let announcement = announcement.as_bytes().to_vec().into();
        let request = v1::GetBodyRequest { announcement, house: house.to_owned() };
        let mut stream = self.client.get_body(request).await?.into_inner();
        let mut body = Vec::new();
        while let Some(run) = stream.message().await? {
            body.extend_from_slice(&run.data);
        }
        Ok(body)
    }

    pub async fn checked(&mut self, announcement: Digest) -> v1::GetCheckedResponse {
        self.event(|event| matches!(event.kind, Some(Kind::Checked(_))).then_some(())).await;
        let request = v1::GetCheckedRequest { announcement: announcement.as_bytes().to_vec().into() };
        self.client.get_checked(request).await.unwrap().into_inner()
    }

    /// This member's answer to the claimed sum, from the shares that the aggregator passes on.
    pub async fn answer(&mut self, announced: &Signed<Announcement>) -> Signed<Answer> {
        let announcement = announced.unverified().unwrap();
        let layout = Layout::from_bytes(&announcement.layout).unwrap();
        let digest = announced.body_digest();
        let list = self.cohort(digest).await;
        let seat = announcement.committee.iter().find(|seat| seat.offer.signer() == self.signer.name()).unwrap();
        let sequence = seat.offer.unverified().unwrap().sequence;
        let request = v1::GetSealedSharesRequest { announcement: digest.as_bytes().to_vec().into() };
        let shares = self.client.get_sealed_shares(request).await.unwrap().into_inner().shares;
        let mut sum = ShareSum::new(&layout);
        for (share, signed) in shares.iter().zip(&list.contributions) {
            let manifest = signed.unverified().unwrap();
            assert_eq!(share.sender, manifest.member.as_str());
            let aad = share_aad(&digest, &manifest.member, seat.index, &manifest.ciphertext);
            let key = &self.keys[usize::try_from(sequence).unwrap() - 1];
            let opened = secure_sum::unseal(key, SHARE_INFO, &aad, &share.sealed).unwrap();
            sum.add(&KeyShare::from_bytes(&layout, &opened).unwrap()).unwrap();
        }
        let claim = self.claim().await.unverified().unwrap();
        self.signed_answer(&claim, seat.index, sum.to_bytes().to_vec())
    }

    /// What this member shows to complain of the share that `dealer` sealed to it, and the key and share it is about.
    pub async fn complaint(&mut self, announced: &Signed<Announcement>, dealer: &str) -> Complaint {
        let announcement = announced.unverified().unwrap();
        let digest = announced.body_digest();
        let list = self.cohort(digest).await;
        let seat =
            |name: &str| announcement.committee.iter().find(|seat| seat.offer.signer().as_str() == name).unwrap();
        let (mine, theirs) = (seat(self.signer.name().as_str()), seat(dealer));
        let key = &self.keys[usize::try_from(mine.offer.unverified().unwrap().sequence).unwrap() - 1];
        let manifest = list.contributions.iter().find(|signed| signed.signer().as_str() == dealer).unwrap();
        let manifest = manifest.unverified().unwrap();
        let request = v1::GetSealedSharesRequest { announcement: digest.as_bytes().to_vec().into() };
        let shares = self.client.get_sealed_shares(request).await.unwrap().into_inner().shares;
        let sealed = shares.iter().find(|share| share.sender == dealer).unwrap().sealed.to_vec();
        let aad = share_aad(&digest, &manifest.member, mine.index, &manifest.ciphertext);
        let proof = EnvelopeProof::make(key, SHARE_INFO, &aad, &sealed, &mut rand::rng()).to_bytes();
        let member = self.signer.name().clone();
        Complaint { announcement: digest, member, index: mine.index, dealer: theirs.index, sealed, proof }
    }

    pub async fn put_complaint(&mut self, complaint: &Complaint) -> Result<(), Status> {
        let complaint = Some(to_wire(&Signed::sign(complaint, &self.signer)));
        self.client.put_complaint(v1::PutComplaintRequest { complaint }).await.map(|_| ())
    }

    pub fn signed_answer(&self, claim: &SumClaim, index: protocol::MemberIndex, sum: Vec<u8>) -> Signed<Answer> {
        let (member, SumClaim { announcement, cohort, body_sum }) = (self.signer.name().clone(), *claim);
        let answer = Answer { announcement, cohort, body_sum, member, index, payload: AnswerPayload::Open(sum) };
        Signed::sign(&answer, &self.signer)
    }

    /// Under `clients`: an answer that the aggregator cannot read.
    pub fn sealed_answer(&self, claim: &SumClaim, index: protocol::MemberIndex) -> Signed<Answer> {
        let (member, SumClaim { announcement, cohort, body_sum }) = (self.signer.name().clone(), *claim);
        let sealed = HOUSES.map(|house| SealedFor { house: HouseName::new(house).unwrap(), sealed: vec![7; 64] });
        let payload = AnswerPayload::Sealed(sealed.into());
        let answer = Answer { announcement, cohort, body_sum, member, index, payload };
        Signed::sign(&answer, &self.signer)
    }

    /// Consents to hand `state` over; true when it is wanted now.
    pub async fn approve(&mut self, charter: Digest, state: Digest) -> Result<bool, Status> {
        let approval = Approval { charter, member: self.signer.name().clone(), state };
        let approval = Some(to_wire(&Signed::sign(&approval, &self.signer)));
        Ok(self.client.put_approval(v1::PutApprovalRequest { approval }).await?.into_inner().wanted)
    }

    pub async fn put_final(&mut self, state: &[u8]) -> Result<(), Status> {
        let parts: Vec<_> =
            state.chunks(1_000).map(|data| v1::PutFinalStateRequest { data: data.to_vec().into() }).collect();
        self.client.put_final_state(tokio_stream::iter(parts)).await.map(|_| ())
    }

    pub async fn put_answer(&mut self, answer: &Signed<Answer>) -> Result<(), Status> {
        self.client.put_answer(v1::PutAnswerRequest { answer: Some(to_wire(answer)) }).await.map(|_| ())
    }

    pub async fn put_outcome(&mut self, announcement: Digest, cohort: Digest, verdict: Verdict) -> Result<(), Status> {
        let member = self.signer.name().clone();
        let outcome = Outcome { announcement, cohort, member, verdict };
        let outcome = Some(to_wire(&Signed::sign(&outcome, &self.signer)));
        self.client.put_outcome(v1::PutOutcomeRequest { outcome }).await.map(|_| ())
    }
}

/// Values of a house: both signs, different for each.
pub fn values(house: usize, count: usize) -> Vec<i64> {
    (0..count as i64).map(|i| (house as i64 * 7_919 + i * 613) % 16_001 - 8_000).collect()
}

/// All members have joined and are ready, with `count` one-time keys each; the first attempt is announced.
pub async fn announced(site: &mut Site, count: u64) -> (Vec<Member>, Signed<Announcement>) {
    let addr = site.serve().await;
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(HOUSES) {
        let mut member = Member::join(site, addr, name, secret).await;
        member.offer_keys(site.charter.digest(), count).await;
        members.push(member);
    }
    let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
    for member in &mut members {
        member.ready(charter, roster, 1).await.unwrap();
    }
    let announcement = members[0].announcement().await;
    (members, announcement)
}

/// The body in a submission.
pub fn body_of(parts: &[v1::SubmitRequest]) -> Vec<u8> {
    let run = |part: &v1::SubmitRequest| match &part.part {
        Some(Part::Run(run)) => run.data.to_vec(),
        _ => Vec::new(),
    };
    parts.iter().flat_map(run).collect()
}

pub fn committee(announcement: &Announcement) -> Committee {
    Committee::new(u8::try_from(announcement.committee.len()).unwrap(), 3).unwrap()
}

/// The broken rule's name in a status.
pub fn rule(status: &Status) -> String {
    status.metadata().get(aggregator::refusal::RULE_KEY).unwrap().to_str().unwrap().to_owned()
}
