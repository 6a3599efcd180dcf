//! A member made by hand.

use std::net::SocketAddr;
use std::time::Duration;

use futures::TryStreamExt as _;
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{
    Announcement, Answer, AnswerPayload, Approval, Attempt, BodyChecksum, CohortList, Complaint, Contribution, Digest,
    HouseName, Message as _, OneTimeKeyOffer, Outcome, Ready, Roster, RosterPosition, RoundNumber, SealedFor, Signed,
    Signer, SumClaim, Verdict,
};
use protos::convert::to_wire;
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use protos::v1::submit_request::Part;
use rcgen::KeyPair;
use secure_sum::{
    Challenge, Checksum, EnvelopeProof, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey, SealingPublicKey, ShareSum,
};
use tonic::Status;
use tonic::transport::Channel;

use super::{HOUSES, Site, channel, committee, join_request, signer};

/// A member's keys, certificate and connection.
pub struct Member {
    pub signer: Signer,
    pub tls: KeyPair,
    pub mailbox: SealingKey,
    pub certificate: String,
    pub client: FederationClient<Channel>,
    pub keys: Vec<SealingKey>,
}

impl Member {
    /// Joins over the wire.
    pub async fn join(site: &Site, addr: SocketAddr, name: &str, secret: u8) -> Self {
        Self::try_join(site, addr, name, secret).await.unwrap()
    }

    /// The request to join with this member's keys.
    pub fn join_request(&self, token: &[u8], secret: u8) -> v1::JoinRequest {
        join_request(self.signer.name().as_str(), token, &self.tls, secret, &self.mailbox)
    }

    pub async fn try_join(site: &Site, addr: SocketAddr, name: &str, secret: u8) -> Result<Self, Status> {
        let invitation = site.invite(name).await;
        Self::join_with(site, addr, name, secret, &invitation.token).await
    }

    /// Joins with the token of an invitation.
    pub async fn join_with(
        site: &Site,
        addr: SocketAddr,
        name: &str,
        secret: u8,
        token: &[u8],
    ) -> Result<Self, Status> {
        let (tls, signer) = (KeyPair::generate().unwrap(), signer(name, secret));
        let mailbox = SealingKey::generate(&mut rand::rng());
        let request = join_request(name, token, &tls, secret, &mailbox);
        let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
        let response = enrolment.join(request).await?.into_inner();
        assert_eq!(response.charter, site.charter.text().as_bytes());
        let server = (addr, site.authority.as_slice());
        Ok(Self::with_certificate(server, signer, (tls, mailbox), response.certificate))
    }

    /// One that has joined.
    pub fn with_certificate(
        (addr, authority): (SocketAddr, &[u8]),
        signer: Signer,
        (tls, mailbox): (KeyPair, SealingKey),
        certificate: String,
    ) -> Self {
        let client = FederationClient::new(channel(addr, authority, Some((&certificate, &tls))));
        Self { signer, tls, mailbox, certificate, client, keys: Vec::new() }
    }

    pub fn connect(&mut self, addr: SocketAddr, authority: &[u8]) {
        self.client = FederationClient::new(channel(addr, authority, Some((&self.certificate, &self.tls))));
    }

    pub async fn offer_keys(&mut self, charter: Digest, count: u64) -> u32 {
        self.try_offer_keys(charter, count).await.unwrap()
    }

    pub async fn try_offer_keys(&mut self, charter: Digest, count: u64) -> Result<u32, Status> {
        let offers = self.offers(charter, count);
        Ok(self.client.offer_keys(offers).await?.into_inner().stock)
    }

    /// New one-time keys, and what offers them.
    pub fn offers(&mut self, charter: Digest, count: u64) -> v1::OfferKeysRequest {
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
        v1::OfferKeysRequest { offers }
    }

    pub async fn roster(&mut self) -> Roster {
        let roster = self.client.get_roster(v1::GetRosterRequest {}).await.unwrap().into_inner().roster;
        Roster::from_bytes(&roster).unwrap()
    }

    pub async fn checkpoint(&mut self) -> String {
        self.client.get_checkpoint(v1::GetCheckpointRequest {}).await.unwrap().into_inner().checkpoint
    }

    pub async fn ready(&mut self, charter: Digest, roster: Digest, attempt: u32) -> Result<(), Status> {
        let ready = self.ready_for((charter, roster), 1, attempt);
        self.client.mark_ready(ready).await.map(|_| ())
    }

    /// What says that this member is ready.
    pub fn ready_for(&self, (charter, roster): (Digest, Digest), round: u32, attempt: u32) -> v1::MarkReadyRequest {
        let ready = Ready {
            charter,
            roster,
            round: RoundNumber::new(round).unwrap(),
            attempt: Attempt::new(attempt).unwrap(),
            member: self.signer.name().clone(),
        };
        v1::MarkReadyRequest { ready: Some(to_wire(&Signed::sign(&ready, &self.signer))) }
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
        self.announcement_of(1).await
    }

    /// The number of the event by which this round is settled.
    pub async fn settled(&mut self, round: u32) -> u64 {
        self.event(|event| match &event.kind {
            Some(Kind::Settled(settled)) => {
                (settled.attempt.as_ref().unwrap().round == round).then_some(event.sequence)
            }
            _ => None,
        })
        .await
    }

    /// The first attempt at this round.
    pub async fn announcement_of(&mut self, round: u32) -> Signed<Announcement> {
        self.event(|event| match &event.kind {
            Some(Kind::Announced(signed)) => {
                let signed: Signed<Announcement> = protos::convert::signed("announced", Some(signed.clone())).unwrap();
                (signed.unverified().unwrap().round.get() == round).then_some(signed)
            }
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
            ledger_head: Digest::from_bytes([0; 32]),
        };
        let header = v1::SubmitHeader {
            contribution: Some(to_wire(&Signed::sign(&manifest, &self.signer))),
            sealed_shares: sealed.into_iter().map(Into::into).collect(),
            first: 0,
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
        self.event(|event| match &event.kind {
            Some(Kind::Closed(closed)) if closed.announcement == announcement.as_bytes()[..] => Some(()),
            _ => None,
        })
        .await;
        let request = v1::GetCohortRequest { announcement: announcement.as_bytes().to_vec().into() };
        let chunks = self.client.get_cohort(request).await.unwrap().into_inner();
        let chunks: Vec<v1::CohortChunk> = chunks.try_collect().await.unwrap();
        CohortList::from_bytes(&chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect::<Vec<u8>>())
            .unwrap()
    }

    /// What the aggregator claims as the sum of the first attempt that came so far.
    pub async fn claim(&mut self) -> Signed<SumClaim> {
        self.event(|event| match &event.kind {
            Some(Kind::Claimed(signed)) => Some(protos::convert::signed("claimed", Some(signed.clone())).unwrap()),
            _ => None,
        })
        .await
    }

    /// What the aggregator claims as the sum of the attempt with this announcement.
    pub async fn claim_of(&mut self, announcement: Digest) -> SumClaim {
        self.event(|event| match &event.kind {
            Some(Kind::Claimed(signed)) => {
                let signed: Signed<SumClaim> = protos::convert::signed("claimed", Some(signed.clone())).unwrap();
                signed.unverified().ok().filter(|claim| claim.announcement == announcement)
            }
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
        let claim = self.claim_of(announced.body_digest()).await;
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
        for signed in self.checksums(announced).await {
            self.put_checksum(&signed).await.unwrap();
        }
    }

    /// What [`Self::attest`] says.
    pub async fn checksums(&mut self, announced: &Signed<Announcement>) -> Vec<Signed<BodyChecksum>> {
        let (digest, me) = (announced.body_digest(), self.signer.name().clone());
        let houses: Vec<HouseName> = self.cohort(digest).await.houses().cloned().collect();
        let drawn = self.claim_of(digest).await.spot_check(&me, &houses).cloned();
        let mut said = Vec::new();
        for house in [Some(me), drawn].into_iter().flatten() {
            let body = self.body(digest, house.as_str()).await.unwrap();
            said.push(self.checksum(announced, house.as_str(), &body).await);
        }
        said
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
        let claim = self.claim_of(digest).await;
        self.signed_answer(&claim, seat.index, sum.to_bytes().to_vec())
    }

    /// What this member shows to complain of the share that `dealer` sealed to it, and the key and share it is about.
    pub async fn complaint(&mut self, announced: &Signed<Announcement>, dealer: &str) -> Complaint {
        let announcement = announced.unverified().unwrap();
        let digest = announced.body_digest();
        let list = self.cohort(digest).await;
        let seat =
            |name: &str| announcement.committee.iter().find(|seat| seat.offer.signer().as_str() == name).unwrap();
        let mine = seat(self.signer.name().as_str());
        // Every house of these tests is of the committee, so both numbers are one.
        let theirs = RosterPosition::new(seat(dealer).index.get().into()).unwrap();
        let key = &self.keys[usize::try_from(mine.offer.unverified().unwrap().sequence).unwrap() - 1];
        let manifest = list.contributions.iter().find(|signed| signed.signer().as_str() == dealer).unwrap();
        let manifest = manifest.unverified().unwrap();
        let request = v1::GetSealedSharesRequest { announcement: digest.as_bytes().to_vec().into() };
        let shares = self.client.get_sealed_shares(request).await.unwrap().into_inner().shares;
        let sealed = shares.iter().find(|share| share.sender == dealer).unwrap().sealed.to_vec();
        let aad = share_aad(&digest, &manifest.member, mine.index, &manifest.ciphertext);
        let proof = EnvelopeProof::make(key, SHARE_INFO, &aad, &sealed, &mut rand::rng()).to_bytes();
        let member = self.signer.name().clone();
        Complaint { announcement: digest, member, index: mine.index, dealer: theirs, sealed, proof }
    }

    /// This member's contribution with an envelope to `seat` (from 1) that is sealed as it should be, and holds no share.
    pub fn with_a_wrong_share(
        &self,
        announced: &Signed<Announcement>,
        mut parts: Vec<v1::SubmitRequest>,
        seat: usize,
    ) -> Vec<v1::SubmitRequest> {
        let Some(Part::Header(header)) = &mut parts[0].part else { panic!("a header comes first") };
        let signed: Signed<Contribution> = protos::convert::signed("contribution", header.contribution.take()).unwrap();
        let mut manifest = signed.unverified().unwrap();
        let seated = &announced.unverified().unwrap().committee[seat - 1];
        let key = [&[1], seated.offer.unverified().unwrap().key.as_slice()].concat();
        let key = SealingPublicKey::from_bytes(&key).unwrap();
        let aad = share_aad(&manifest.announcement, &manifest.member, seated.index, &manifest.ciphertext);
        let length = secure_sum::seal(&key, SHARE_INFO, &aad, &[]).unwrap().len();
        let wrong = vec![7; header.sealed_shares[seat - 1].len() - length];
        let sealed = secure_sum::seal(&key, SHARE_INFO, &aad, &wrong).unwrap();
        manifest.sealed_shares[seat - 1] = Digest::sha256(&sealed);
        header.sealed_shares[seat - 1] = sealed.into();
        header.contribution = Some(to_wire(&Signed::sign(&manifest, &self.signer)));
        parts
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
