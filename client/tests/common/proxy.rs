//! A malicious aggregator: it holds the aggregator's own keys, forwards a member's calls to the real one, and tampers. Or a
//! malicious member: it holds the member's own keys, and tampers with what the member sends.

#![allow(dead_code, reason = "each test file uses its own attacks")]

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aggregator::identity::Identity;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use protocol::{Announcement, CohortList, Digest, Message as _, Signed, SumClaim};
use protos::convert;
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use protos::v1::federation_server::{Federation, FederationServer};
use protos::v1::{self};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Server, server::TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

#[path = "malice.rs"]
mod malice;
use malice::Malice;

/// What the proxy does to what the member sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Announces under another charter, signed all the same.
    OtherCharter,
    /// One bit of a signature in the cohort list is changed.
    AlteredSignature,
    /// After the member answered, the same round is closed again with one house less.
    SecondSet,
    /// Says that the federation is completed before its first round, so that the house hands its state over.
    EarlyEnd,
    /// Wants the final state although no house has approved handing it over.
    NoConsent,
    /// Has no shares for the member: its attempt is said to be over.
    NoShares,
    /// Serves other bytes than the claimed sum, until it is told to stop.
    OtherSum,
    /// When the checksums are in, claims another sum than before.
    OtherClaim,
    /// Forwards everything as it is.
    Nothing,
    /// Has no bodies any more: their attempt is said to be over.
    NoBodies,
    /// Shows another body than was signed.
    OtherBody,
    /// The member is the malicious one: it says a false checksum of its own body.
    FalseChecksum,
    /// The member is the malicious one: its answers are those of other shares.
    FalseAnswer,
    /// The member is the malicious one: to `borough` it seals a share of another key, once.
    WrongShare,
    /// The member is the malicious one: each body has a chunk that is no encryption. All else about it is right.
    SpoiltBody,
}

pub(crate) struct Proxy {
    real: FederationClient<Channel>,
    keys: Arc<Identity>,
    attack: Attack,
    lists: AtomicUsize,
    given: Given,
    member: Malice,
}

/// What the member gave to the attacker, and asked of it.
#[derive(Clone, Default)]
pub(crate) struct Given {
    pub(crate) answers: Arc<AtomicUsize>,
    pub(crate) handed_over: Arc<AtomicUsize>,
    pub(crate) contributions: Arc<AtomicUsize>,
    pub(crate) bodies: Arc<AtomicUsize>,
    /// Of the messages of all contributions.
    pub(crate) bytes: Arc<AtomicUsize>,
}

/// A channel to `addr` with a member's own key and certificate.
pub(crate) async fn as_member(house: &Path, addr: SocketAddr, authority_pem: &str) -> FederationClient<Channel> {
    let certificate = std::fs::read(house.join("certificate.pem")).unwrap();
    let key = std::fs::read(house.join("keys/tls.pem")).unwrap();
    let tls = ClientTlsConfig::new()
        .domain_name("aggregator.plainchant")
        .ca_certificate(Certificate::from_pem(authority_pem))
        .identity(tonic::transport::Identity::from_pem(certificate, key));
    let endpoint = Endpoint::from_shared(format!("https://{addr}")).unwrap().tls_config(tls).unwrap();
    FederationClient::new(endpoint.connect().await.unwrap())
}

/// Puts the attacker between a house and the aggregator.
pub(crate) async fn redirect(federation: &crate::common::Federation, house: &str, kind: Attack) -> Given {
    let house = federation.house(house);
    let (addr, given) = attack(&house, &federation.house("aggregator"), federation.addr, kind).await;
    let membership = std::fs::read_to_string(house.join("membership.toml")).unwrap();
    let redirected = membership.replace(&federation.addr.to_string(), &addr.to_string());
    assert_ne!(membership, redirected);
    std::fs::write(house.join("membership.toml"), redirected).unwrap();
    given
}

/// Serves the attack to one member; gives the address and counts of what the member gave.
async fn attack(house: &Path, aggregator: &Path, real: SocketAddr, attack: Attack) -> (SocketAddr, Given) {
    let keys = Arc::new(Identity::load(aggregator).unwrap());
    let authority = std::fs::read_to_string(aggregator.join("authority.pem")).unwrap();
    let real = as_member(house, real, &authority).await;
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = incoming.local_addr().unwrap();
    let (given, member) = (Given::default(), Malice::new(house));
    let tls = keys.tls();
    let proxy = Proxy { real, keys, attack, lists: AtomicUsize::new(0), given: given.clone(), member };
    let router = Server::builder().tls_config(tls).unwrap().add_service(FederationServer::new(proxy));
    tokio::spawn(router.serve_with_incoming(incoming));
    (addr, given)
}

type Sent<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Proxy {
    fn other_charter(&self, event: v1::Event) -> v1::Event {
        let Some(Kind::Announced(signed)) = event.kind.clone() else { return event };
        let signed: Signed<Announcement> = convert::signed("announced", Some(signed)).unwrap();
        let mut announcement = signed.unverified().unwrap();
        announcement.charter = Digest::sha256(b"another charter");
        let signed = Signed::sign(&announcement, self.keys.signer());
        v1::Event { kind: Some(Kind::Announced(convert::to_wire(&signed))), ..event }
    }
}

impl Proxy {
    /// The digest of the state before the first round is no secret.
    fn early_end(&self, event: v1::Event) -> v1::Event {
        let Some(Kind::Announced(signed)) = event.kind.clone() else { return event };
        let signed: Signed<Announcement> = convert::signed("announced", Some(signed)).unwrap();
        let state = signed.unverified().unwrap().adapter.as_bytes().to_vec().into();
        v1::Event { kind: Some(Kind::Completed(v1::Completed { rounds: 1, state })), ..event }
    }
}

/// Calls that pass through unchanged, in the form that `async_trait` gives to methods.
macro_rules! forward {
    ($($name:ident: $request:ty => $response:ty),* $(,)?) => {
        $(fn $name<'a, 'async_trait>(
            &'a self,
            request: Request<$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<$response>, Status>> + Send + 'async_trait>>
        where
            'a: 'async_trait,
            Self: 'async_trait,
        {
            let mut real = self.real.clone();
            Box::pin(async move { real.$name(request.into_inner()).await })
        })*
    };
}

#[tonic::async_trait]
impl Federation for Proxy {
    type WatchEventsStream = Sent<v1::Event>;
    type GetCohortStream = Sent<v1::CohortChunk>;
    type GetSumStream = Sent<v1::SumChunk>;
    type GetBodyStream = Sent<v1::ChunkRun>;

    forward! {
        get_roster: v1::GetRosterRequest => v1::GetRosterResponse,
        find_upload: v1::FindUploadRequest => v1::FindUploadResponse,
        renew_certificate: v1::RenewCertificateRequest => v1::RenewCertificateResponse,
        offer_keys: v1::OfferKeysRequest => v1::OfferKeysResponse,
        mark_ready: v1::MarkReadyRequest => v1::MarkReadyResponse,
        put_complaint: v1::PutComplaintRequest => v1::PutComplaintResponse,
        get_answers: v1::GetAnswersRequest => v1::GetAnswersResponse,
        put_outcome: v1::PutOutcomeRequest => v1::PutOutcomeResponse,
        put_cosignature: v1::PutCosignatureRequest => v1::PutCosignatureResponse,
        get_checkpoint: v1::GetCheckpointRequest => v1::GetCheckpointResponse,
        get_proof: v1::GetProofRequest => v1::GetProofResponse,
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let events = self.real.clone().watch_events(request.into_inner()).await?.into_inner();
        let attack = self.attack;
        let tamper = Proxy {
            real: self.real.clone(),
            keys: Arc::clone(&self.keys),
            attack,
            lists: AtomicUsize::new(0),
            given: self.given.clone(),
            member: self.member.clone(),
        };
        let events = events.flat_map(move |event| {
            let Ok(event) = event else { return futures::stream::iter(vec![event]) };
            if let Some(checksum) = tamper.member.hears(&event) {
                let (mut real, request) = (tamper.real.clone(), v1::PutChecksumsRequest { checksums: vec![checksum] });
                // Of an attempt that is over it is refused.
                tokio::spawn(async move { real.put_checksums(request).await });
            }
            let all = match attack {
                Attack::OtherCharter => vec![tamper.other_charter(event)],
                Attack::SecondSet if matches!(event.kind, Some(Kind::Closed(_))) => {
                    let live = v1::Event { live: true, ..event };
                    vec![live.clone(), live]
                }
                Attack::EarlyEnd => vec![tamper.early_end(event)],
                _ => vec![event],
            };
            futures::stream::iter(all.into_iter().map(Ok).collect::<Vec<_>>())
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn submit(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let mut parts: Vec<v1::SubmitRequest> =
            request.into_inner().filter_map(|part| async { part.ok() }).collect().await;
        let weighed = parts.iter().map(prost::Message::encoded_len).sum();
        self.given.bytes.fetch_add(weighed, Ordering::Relaxed);
        let before = self.given.contributions.fetch_add(1, Ordering::Relaxed);
        match self.attack {
            Attack::WrongShare if before == 0 => parts = self.member.contribution(Some("borough")),
            Attack::SpoiltBody => parts = self.member.contribution(None),
            _ => {}
        }
        self.real.clone().submit(futures::stream::iter(parts)).await
    }

    async fn get_sealed_shares(
        &self,
        request: Request<v1::GetSealedSharesRequest>,
    ) -> Result<Response<v1::GetSealedSharesResponse>, Status> {
        if self.attack == Attack::NoShares {
            return Err(Status::failed_precondition("over: the attempt is over"));
        }
        self.real.clone().get_sealed_shares(request.into_inner()).await
    }

    async fn put_approval(
        &self,
        request: Request<v1::PutApprovalRequest>,
    ) -> Result<Response<v1::PutApprovalResponse>, Status> {
        if self.attack == Attack::NoConsent {
            // Its own approval is all that there is.
            let approvals = request.into_inner().approval.into_iter().collect();
            return Ok(Response::new(v1::PutApprovalResponse { wanted: true, approvals }));
        }
        self.real.clone().put_approval(request.into_inner()).await
    }

    async fn get_cohort(
        &self,
        request: Request<v1::GetCohortRequest>,
    ) -> Result<Response<Self::GetCohortStream>, Status> {
        let chunks = self.real.clone().get_cohort(request.into_inner()).await?.into_inner();
        let chunks: Vec<v1::CohortChunk> = chunks.try_collect().await?;
        let cohort = chunks.iter().flat_map(|chunk| chunk.data.iter().copied()).collect::<Vec<u8>>();
        let asked = self.lists.fetch_add(1, Ordering::Relaxed);
        let mut list = CohortList::from_bytes(&cohort).unwrap();
        match self.attack {
            Attack::AlteredSignature => {
                let first = &list.contributions[1];
                let mut signature = *first.signature();
                signature[40] ^= 1;
                list.contributions[1] =
                    Signed::from_parts(first.body().to_vec(), first.signer().clone(), signature).unwrap();
            }
            Attack::SecondSet if asked > 0 => drop(list.contributions.pop()),
            _ => {}
        }
        let altered = v1::CohortChunk { data: list.to_bytes().into() };
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(altered)]))))
    }

    async fn put_answer(
        &self,
        request: Request<v1::PutAnswerRequest>,
    ) -> Result<Response<v1::PutAnswerResponse>, Status> {
        self.given.answers.fetch_add(1, Ordering::Relaxed);
        let mut request = request.into_inner();
        if self.attack == Attack::FalseAnswer {
            request.answer = request.answer.map(|answer| self.member.false_answer(answer));
        }
        self.real.clone().put_answer(request).await
    }

    async fn get_sum(&self, request: Request<v1::GetSumRequest>) -> Result<Response<Self::GetSumStream>, Status> {
        let sum = self.real.clone().get_sum(request.into_inner()).await?.into_inner();
        let attack = self.attack;
        let sum = sum.map(move |chunk| {
            let mut chunk = chunk?;
            if attack == Attack::OtherSum {
                let mut data = chunk.data.to_vec();
                data[9] ^= 1;
                chunk.data = data.into();
            }
            Ok(chunk)
        });
        Ok(Response::new(Box::pin(sum)))
    }

    async fn put_checksums(
        &self,
        request: Request<v1::PutChecksumsRequest>,
    ) -> Result<Response<v1::PutChecksumsResponse>, Status> {
        let mut request = request.into_inner();
        if self.attack == Attack::FalseChecksum {
            request.checksums = request.checksums.into_iter().map(|one| self.member.false_checksum(one)).collect();
        }
        self.real.clone().put_checksums(request).await
    }

    async fn get_checked(
        &self,
        request: Request<v1::GetCheckedRequest>,
    ) -> Result<Response<v1::GetCheckedResponse>, Status> {
        let mut response = self.real.clone().get_checked(request.into_inner()).await?.into_inner();
        if self.attack == Attack::OtherClaim {
            let claim: Signed<SumClaim> = convert::signed("claim", response.claim).unwrap();
            let claim = SumClaim { body_sum: Digest::sha256(b"another sum"), ..claim.unverified().unwrap() };
            response.claim = Some(convert::to_wire(&Signed::sign(&claim, self.keys.signer())));
            // Those that are there speak of the first.
            response.checksums.clear();
        }
        Ok(Response::new(response))
    }

    async fn get_body(&self, request: Request<v1::GetBodyRequest>) -> Result<Response<Self::GetBodyStream>, Status> {
        self.given.bodies.fetch_add(1, Ordering::Relaxed);
        if self.attack == Attack::NoBodies {
            return Err(Status::failed_precondition("over: the attempt is over"));
        }
        let body = self.real.clone().get_body(request.into_inner()).await?.into_inner();
        let attack = self.attack;
        let body = body.map(move |run| {
            let mut run = run?;
            if attack == Attack::OtherBody {
                let mut data = run.data.to_vec();
                data[9] ^= 1;
                run.data = data.into();
            }
            Ok(run)
        });
        Ok(Response::new(Box::pin(body)))
    }

    async fn put_final_state(
        &self,
        _: Request<Streaming<v1::PutFinalStateRequest>>,
    ) -> Result<Response<v1::PutFinalStateResponse>, Status> {
        self.given.handed_over.fetch_add(1, Ordering::Relaxed);
        Err(Status::failed_precondition("final-state: not in these tests"))
    }
}
