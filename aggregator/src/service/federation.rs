//! The calls of enrolled members, who came through the gate.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use protocol::{BodyChecksum, Digest, Message as _, OneTimeKeyOffer, PublicKey, Rejection, Signed};
use protos::convert::{WireError, bounded, digest, signed, to_wire};
use protos::limits::{CHECKSUMS_PER_CALL, KEYS_PER_OFFER, SIGNING_REQUEST_BYTES};
use protos::v1;
use protos::v1::federation_server::Federation;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::authorise::Caller;
use super::crowd::AtWork;
use super::rate::Who;
use super::{Shared, body, can_be_sealed_to, complaint, submit, watch};
use crate::clock;
use crate::identity::{IssueError, is_over_key_of};
use crate::refusal::Refusal;
use crate::store::{Renewal, Shelf, StoredKey};

/// Bytes of a sum in one message.
const CHUNK_BYTES: usize = 256 << 10;

type Chunks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Bytes that many callers share, each chunk copied only when it is its turn to leave.
fn in_chunks<T: Send + 'static>(bytes: Bytes, chunk: fn(Bytes) -> T) -> impl Stream<Item = Result<T, Status>> + Send {
    let starts = (0..bytes.len().div_ceil(CHUNK_BYTES)).map(|index| index * CHUNK_BYTES);
    futures::stream::iter(starts.map(move |start| Ok(chunk(bytes.slice(start..bytes.len().min(start + CHUNK_BYTES))))))
}
/// How old the answer may be that all houses get which ask for the check at about the same time.
const CHECKED_FRESH: Duration = Duration::from_secs(1);
/// A sender that is silent for this long is dropped.
const IDLE: Duration = Duration::from_secs(30);
/// A certificate that is not older is given again to who asks with the one before it: the answer was lost.
const AGAIN_MS: u64 = 30 * 86_400_000;
/// Unused keys that a member may have in stock.
const MAX_STOCK: u64 = 4_096;

/// Open to enrolled members only.
pub(crate) struct FederationService {
    shared: Arc<Shared>,
}

impl FederationService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Who calls, and its place among the calls that are worked on.
    async fn enter<T: Sync>(&self, request: &Request<T>) -> Result<(Caller, AtWork<'_>), Refusal> {
        let caller = Caller::of(request)?;
        let at_work = self.shared.crowd.enter(Who::Certificate(caller.certificate())).await?;
        Ok((caller, at_work))
    }

    async fn renew(&self, caller: &Caller, request: &[u8]) -> Result<String, Refusal> {
        let request = bounded("signing_request", request, SIGNING_REQUEST_BYTES, "1 to 4096")?;
        let now_ms = clock::now_ms();
        let issued = self.shared.identity.issue(caller.name().as_str(), request, now_ms)?;
        let (old, renewed) = (caller.certificate(), issued.certificate_digest);
        let newest = self.shared.store.newest_certificate(caller.name()).await?;
        let newest = newest.ok_or_else(|| Refusal::Revoked(caller.name().clone()))?;
        if !is_over_key_of(&newest.pem, request) {
            return Err(IssueError::OtherKey.into());
        }
        if newest.digest != old && now_ms < newest.issued_at_ms.saturating_add(AGAIN_MS) {
            return Ok(newest.pem);
        }
        match self.shared.store.renew(old, renewed, &issued.certificate_pem, now_ms).await? {
            Renewal::Noted => {}
            Renewal::Revoked => return Err(Refusal::Revoked(caller.name().clone())),
            Renewal::TooMany => return Err(Refusal::Busy("as many certificates of yours stand as may")),
        }
        tracing::info!(member = %caller.name(), "certificate renewed");
        Ok(issued.certificate_pem)
    }

    async fn offer(&self, caller: &Caller, offers: Vec<v1::Signed>) -> Result<v1::OfferKeysResponse, Refusal> {
        if offers.len() > KEYS_PER_OFFER {
            return Err(WireError::Length { field: "offers", found: offers.len(), rule: "at most 256" }.into());
        }
        let member = self.shared.store.member(caller.name()).await?.ok_or(Refusal::NotEnrolled)?;
        let key = PublicKey::from_bytes(&member.signing_key).ok_or(Refusal::BadKey { field: "members.signing_key" })?;
        let mut keys = Vec::with_capacity(offers.len());
        for offer in offers {
            let offer: Signed<OneTimeKeyOffer> = signed("offers", Some(offer))?;
            caller.speaks_for_itself(&offer)?;
            let statement = offer.verify_by(&key)?;
            if can_be_sealed_to(&statement.key).is_none() {
                return Err(Refusal::BadKey { field: "offers.key" });
            }
            let (expected, found) = (self.shared.charter.digest(), statement.charter);
            if found != expected {
                let who = protocol::Party::Member(caller.name().clone());
                return Err(Rejection::WrongCharter { who, expected, found }.into());
            }
            keys.push(StoredKey { sequence: statement.sequence, body: offer.to_bytes() });
        }
        if self.shared.store.stock(caller.name()).await? + keys.len() as u64 > MAX_STOCK {
            return Err(Refusal::Busy("your stock of one-time keys is full"));
        }
        let stock = self.shared.store.add_keys(caller.name(), &keys).await?;
        self.shared.engine.look().await?;
        Ok(v1::OfferKeysResponse { stock: u32::try_from(stock).unwrap_or(u32::MAX) })
    }

    async fn cohort(&self, announcement: &[u8]) -> Result<Bytes, Refusal> {
        let attempt = self.attempt(announcement).await?;
        // All houses ask for one list at about the same time: they share its bytes.
        let mut latest = self.shared.latest_cohort.lock().await;
        if let Some((_, bytes)) = latest.as_ref().filter(|(announcement, _)| *announcement == attempt.announcement) {
            return Ok(bytes.clone());
        }
        let cohort = self.shared.store.cohort(&attempt.announcement).await?;
        let bytes = Bytes::from(cohort.ok_or(Refusal::NotYet { what: "the cohort list" })?);
        *latest = Some((attempt.announcement, bytes.clone()));
        Ok(bytes)
    }

    async fn checked(&self, announcement: &[u8]) -> Result<v1::GetCheckedResponse, Refusal> {
        let announcement = digest("announcement", announcement)?;
        // As with the list; but what was said of a body may come late.
        let mut latest = self.shared.latest_checked.lock().await;
        if let Some((_, _, response)) =
            latest.as_ref().filter(|(of, at, _)| *of == announcement && at.elapsed() < CHECKED_FRESH)
        {
            return Ok(response.clone());
        }
        let attempt = self.attempt(announcement.as_bytes()).await?;
        let (claim, checksums) = self.shared.engine.checked(&attempt).await?;
        let checksums = checksums.iter().map(to_wire).collect();
        let response = v1::GetCheckedResponse { claim: Some(to_wire(&claim)), checksums };
        *latest = Some((announcement, Instant::now(), response.clone()));
        Ok(response)
    }

    async fn attempt(&self, announcement: &[u8]) -> Result<crate::store::StoredAttempt, Refusal> {
        let announcement = digest("announcement", announcement)?;
        self.shared.store.attempt(&announcement).await?.ok_or(Refusal::UnknownAttempt(announcement))
    }

    async fn sum(&self, announcement: &[u8]) -> Result<Bytes, Refusal> {
        let sum = self.attempt(announcement).await?.sum.ok_or(Refusal::NotYet { what: "the sum" })?;
        // As with the list.
        let mut latest = self.shared.latest_sum.lock().await;
        if let Some((_, bytes)) = latest.as_ref().filter(|(digest, _)| *digest == sum) {
            return Ok(bytes.clone());
        }
        let bytes = self.shared.store.blobs().get(Shelf::Kept, &sum).await?;
        *latest = Some((sum, bytes.clone()));
        Ok(bytes)
    }

    async fn checksums(&self, caller: &Caller, checksums: Vec<v1::Signed>) -> Result<(), Refusal> {
        if checksums.len() > CHECKSUMS_PER_CALL {
            return Err(WireError::Length { field: "checksums", found: checksums.len(), rule: "at most 2" }.into());
        }
        let checksums = checksums.into_iter().map(|one| Ok(signed("checksums", Some(one))?));
        let checksums: Vec<Signed<BodyChecksum>> = checksums.collect::<Result<_, Refusal>>()?;
        checksums.iter().try_for_each(|one| caller.speaks_for_itself(one))?;
        self.shared.engine.checksums(checksums).await
    }

    async fn proof(&self, request: v1::GetProofRequest) -> Result<v1::GetProofResponse, Refusal> {
        use v1::get_proof_request::Of;
        let (hashes, leaf): (Vec<Digest>, Vec<u8>) = match request.of {
            Some(Of::Inclusion(query)) => self.shared.engine.inclusion(query.leaf_index, query.tree_size).await?,
            Some(Of::Consistency(query)) => {
                (self.shared.engine.consistency(query.old_size, query.new_size).await?, Vec::new())
            }
            None => return Err(WireError::Missing { field: "of" }.into()),
        };
        let hashes = hashes.iter().map(|hash| Bytes::copy_from_slice(hash.as_bytes())).collect();
        Ok(v1::GetProofResponse { hashes, leaf: leaf.into() })
    }

    /// Nothing is read before the state is wanted, and one stream a member at a time.
    async fn final_state(
        &self,
        caller: &Caller,
        mut stream: Streaming<v1::PutFinalStateRequest>,
    ) -> Result<(), Refusal> {
        let _slot = self.shared.submissions.take(caller.name())?;
        if !self.shared.engine.wants_final().await? {
            return Ok(());
        }
        let limit = self.shared.engine.state_bytes();
        let mut state = Vec::new();
        let broken = |status: Status| Refusal::FinalState(format!("the stream broke: {}", status.message()));
        let silent = |_| Refusal::FinalState("the stream stood still for 30 s".into());
        while let Some(part) = timeout(IDLE, stream.message()).await.map_err(silent)?.map_err(broken)? {
            if state.len() + part.data.len() > limit {
                return Err(Refusal::FinalState(format!(
                    "it has more than the {limit} bytes of this charter's states"
                )));
            }
            state.extend_from_slice(&part.data);
        }
        caller.still_stands(&self.shared.store).await?;
        self.shared.engine.final_state(state).await
    }
}

#[tonic::async_trait]
impl Federation for FederationService {
    type WatchEventsStream = watch::Events;
    type GetCohortStream = Chunks<v1::CohortChunk>;
    type GetSumStream = Chunks<v1::SumChunk>;
    type GetBodyStream = body::Runs;

    async fn get_roster(
        &self,
        request: Request<v1::GetRosterRequest>,
    ) -> Result<Response<v1::GetRosterResponse>, Status> {
        let _at_work = self.enter(&request).await?;
        let roster = self.shared.engine.roster().await?;
        Ok(Response::new(v1::GetRosterResponse { roster: roster.into() }))
    }

    async fn renew_certificate(
        &self,
        request: Request<v1::RenewCertificateRequest>,
    ) -> Result<Response<v1::RenewCertificateResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let certificate = self.renew(&caller, &request.into_inner().signing_request).await?;
        Ok(Response::new(v1::RenewCertificateResponse { certificate }))
    }

    async fn offer_keys(
        &self,
        request: Request<v1::OfferKeysRequest>,
    ) -> Result<Response<v1::OfferKeysResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        Ok(Response::new(self.offer(&caller, request.into_inner().offers).await?))
    }

    async fn mark_ready(
        &self,
        request: Request<v1::MarkReadyRequest>,
    ) -> Result<Response<v1::MarkReadyResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let ready = signed("ready", request.into_inner().ready).map_err(Refusal::from)?;
        caller.speaks_for_itself(&ready)?;
        self.shared.engine.ready(ready).await?;
        Ok(Response::new(v1::MarkReadyResponse {}))
    }

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let (caller, after) = (Caller::of(&request)?, request.into_inner().after);
        let events = watch::events(Arc::clone(&self.shared), caller, after).await?;
        Ok(Response::new(events))
    }

    async fn find_upload(
        &self,
        request: Request<v1::FindUploadRequest>,
    ) -> Result<Response<v1::FindUploadResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let manifest = signed("contribution", request.into_inner().contribution).map_err(Refusal::from)?;
        Ok(Response::new(submit::find(&self.shared, &caller, manifest).await?))
    }

    async fn submit(
        &self,
        request: Request<Streaming<v1::SubmitRequest>>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(submit::submit(&self.shared, &caller, request.into_inner()).await?))
    }

    async fn get_cohort(
        &self,
        request: Request<v1::GetCohortRequest>,
    ) -> Result<Response<Self::GetCohortStream>, Status> {
        let _at_work = self.enter(&request).await?;
        let cohort = self.cohort(&request.into_inner().announcement).await?;
        Ok(Response::new(Box::pin(in_chunks(cohort, |data| v1::CohortChunk { data }))))
    }

    async fn get_sealed_shares(
        &self,
        request: Request<v1::GetSealedSharesRequest>,
    ) -> Result<Response<v1::GetSealedSharesResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let attempt = self.attempt(&request.into_inner().announcement).await?;
        let shares = self.shared.engine.sealed_shares(caller.name(), &attempt).await?;
        let shares = shares
            .into_iter()
            .map(|(sender, sealed)| v1::SealedShare { sender: sender.to_string(), sealed: sealed.into() })
            .collect();
        Ok(Response::new(v1::GetSealedSharesResponse { shares }))
    }

    async fn put_complaint(
        &self,
        request: Request<v1::PutComplaintRequest>,
    ) -> Result<Response<v1::PutComplaintResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        complaint::complaint(&self.shared, &caller, request.into_inner()).await?;
        Ok(Response::new(v1::PutComplaintResponse {}))
    }

    async fn put_checksums(
        &self,
        request: Request<v1::PutChecksumsRequest>,
    ) -> Result<Response<v1::PutChecksumsResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        self.checksums(&caller, request.into_inner().checksums).await?;
        Ok(Response::new(v1::PutChecksumsResponse {}))
    }

    async fn get_checked(
        &self,
        request: Request<v1::GetCheckedRequest>,
    ) -> Result<Response<v1::GetCheckedResponse>, Status> {
        let _at_work = self.enter(&request).await?;
        Ok(Response::new(self.checked(&request.into_inner().announcement).await?))
    }

    async fn get_body(&self, request: Request<v1::GetBodyRequest>) -> Result<Response<Self::GetBodyStream>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        Ok(Response::new(body::body(&self.shared, &caller, request.into_inner()).await?))
    }

    async fn put_answer(
        &self,
        request: Request<v1::PutAnswerRequest>,
    ) -> Result<Response<v1::PutAnswerResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let answer = signed("answer", request.into_inner().answer).map_err(Refusal::from)?;
        caller.speaks_for_itself(&answer)?;
        self.shared.engine.answer(answer).await?;
        Ok(Response::new(v1::PutAnswerResponse {}))
    }

    async fn get_sum(&self, request: Request<v1::GetSumRequest>) -> Result<Response<Self::GetSumStream>, Status> {
        let _at_work = self.enter(&request).await?;
        let sum = self.sum(&request.into_inner().announcement).await?;
        Ok(Response::new(Box::pin(in_chunks(sum, |data| v1::SumChunk { data }))))
    }

    async fn get_answers(
        &self,
        request: Request<v1::GetAnswersRequest>,
    ) -> Result<Response<v1::GetAnswersResponse>, Status> {
        let _at_work = self.enter(&request).await?;
        let attempt = self.attempt(&request.into_inner().announcement).await?;
        let answers = self.shared.engine.answers(&attempt).await?;
        let answers = answers.iter().map(to_wire).collect();
        Ok(Response::new(v1::GetAnswersResponse { answers }))
    }

    async fn put_outcome(
        &self,
        request: Request<v1::PutOutcomeRequest>,
    ) -> Result<Response<v1::PutOutcomeResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let outcome = signed("outcome", request.into_inner().outcome).map_err(Refusal::from)?;
        caller.speaks_for_itself(&outcome)?;
        self.shared.engine.outcome(outcome).await?;
        Ok(Response::new(v1::PutOutcomeResponse {}))
    }

    async fn put_approval(
        &self,
        request: Request<v1::PutApprovalRequest>,
    ) -> Result<Response<v1::PutApprovalResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let approval = signed("approval", request.into_inner().approval).map_err(Refusal::from)?;
        caller.speaks_for_itself(&approval)?;
        let approvals = self.shared.engine.approve(approval).await?;
        let wanted = approvals.is_some();
        let approvals = approvals.iter().flatten().map(to_wire).collect();
        Ok(Response::new(v1::PutApprovalResponse { wanted, approvals }))
    }

    async fn put_final_state(
        &self,
        request: Request<Streaming<v1::PutFinalStateRequest>>,
    ) -> Result<Response<v1::PutFinalStateResponse>, Status> {
        let caller = Caller::of(&request)?;
        self.final_state(&caller, request.into_inner()).await?;
        Ok(Response::new(v1::PutFinalStateResponse {}))
    }

    async fn put_cosignature(
        &self,
        request: Request<v1::PutCosignatureRequest>,
    ) -> Result<Response<v1::PutCosignatureResponse>, Status> {
        let (caller, _at_work) = self.enter(&request).await?;
        let v1::PutCosignatureRequest { size, line } = request.into_inner();
        self.shared.engine.cosign(caller.name().clone(), size, line).await?;
        Ok(Response::new(v1::PutCosignatureResponse {}))
    }

    async fn get_checkpoint(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let _at_work = self.enter(&request).await?;
        let checkpoint = self.shared.engine.checkpoint().await?;
        Ok(Response::new(v1::GetCheckpointResponse { checkpoint }))
    }

    async fn get_proof(&self, request: Request<v1::GetProofRequest>) -> Result<Response<v1::GetProofResponse>, Status> {
        let _at_work = self.enter(&request).await?;
        Ok(Response::new(self.proof(request.into_inner()).await?))
    }
}
