//! One contribution's stream: the header is checked against its signature and the round, every chunk as it comes, and
//! all of it against the signed digest. Only then does the engine hear of it. Runs are noted as they come, so that a stream that broke
//! off goes on where it was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::message::{SHARE_INFO, ciphertext_digest_of, share_aad};
use protocol::{Contribution, Digest, HouseName, MemberIndex, Signed};
use protos::convert::{WireError, signed};
use protos::limits::{COMMITTEE_MEMBERS, RUN_BYTES, SEALED_SHARE_BYTES};
use protos::v1;
use protos::v1::submit_request::Part;
use secure_sum::{Commitments, Envelope, Layout, check_chunk};
use tokio::time::timeout;
use tonic::Streaming;

use super::authorise::Caller;
use super::room::Held;
use super::{Shared, sealing_key};
use crate::engine::{Admission, sealed_to_bytes};
use crate::refusal::{Refusal, SubmissionFault};
use crate::store::{KeptRun, Shelf, StoredContribution, Upload};

/// A sender that is silent for this long is dropped.
const IDLE: Duration = Duration::from_secs(30);
/// How often a member may begin anew to send a contribution to one attempt: what a try that failed left on the disk stays there
/// until the attempt is over. One that goes on where it broke off leaves nothing.
const MAX_TRIES: u32 = 32;

/// Who has a stream under way: one each; and how often each has tried in the attempt that it tried last.
pub(crate) struct Slots {
    /// What a second stream hears.
    busy: &'static str,
    taken: Mutex<BTreeSet<HouseName>>,
    tries: Mutex<BTreeMap<HouseName, (Digest, u32)>>,
}

pub(super) struct Slot<'a> {
    slots: &'a Slots,
    name: HouseName,
}

impl Slots {
    pub(super) fn new(busy: &'static str) -> Self {
        Self { busy, taken: Mutex::default(), tries: Mutex::default() }
    }

    pub(super) fn take(&self, name: &HouseName) -> Result<Slot<'_>, Refusal> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.insert(name.clone()) {
            Ok(Slot { slots: self, name: name.clone() })
        } else {
            Err(Refusal::Busy(self.busy))
        }
    }

    fn count_try(&self, name: &HouseName, announcement: Digest) -> Result<(), Refusal> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = tries.entry(name.clone()).or_insert((announcement, 0));
        if entry.0 != announcement {
            *entry = (announcement, 0);
        }
        if entry.1 >= MAX_TRIES {
            return Err(Refusal::Busy("too many of your submissions to this attempt broke off"));
        }
        entry.1 += 1;
        Ok(())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.slots.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Takes one contribution in.
pub(super) async fn submit(
    shared: &Arc<Shared>,
    caller: &Caller,
    mut stream: Streaming<v1::SubmitRequest>,
) -> Result<v1::SubmitResponse, Refusal> {
    let _slot = shared.submissions.take(caller.name())?;
    let Some(Part::Header(header)) = next(&mut stream).await? else {
        return Err(SubmissionFault::Header.into());
    };
    let manifest: Signed<Contribution> = signed("contribution", header.contribution)?;
    caller.speaks_for_itself(&manifest)?;
    let admission = match shared.engine.admit(manifest.clone()).await? {
        Some(admission) => admission,
        // Accepted before: the answer was lost, and is given again.
        None => return Ok(v1::SubmitResponse {}),
    };
    let _turn = shared.room.begin(caller.name())?;
    check_sealed(&header.sealed_shares, &admission.contribution)?;
    if header.first == 0 {
        shared.submissions.count_try(caller.name(), admission.contribution.announcement)?;
    }
    let admission = {
        let _checking = shared.room.check().await;
        check_dealing(admission, header.sealed_shares.clone()).await?
    };
    let upload = upload_of(&manifest, &admission.contribution);
    let mut receiver = Receiver::resume(shared, caller, upload, &admission.layout, header.first).await?;
    let runs = receiver.receive(&mut stream, admission.contribution.ciphertext).await?;
    let shelf = Shelf::Attempt(admission.contribution.announcement);
    let sealed = shared.store.blobs().put(shelf, sealed_to_bytes(&header.sealed_shares).into()).await?;
    caller.still_stands(&shared.store).await?;
    shared.engine.contribute(StoredContribution { manifest, sealed, runs }).await?;
    Ok(v1::SubmitResponse {})
}

async fn next(stream: &mut Streaming<v1::SubmitRequest>) -> Result<Option<Part>, Refusal> {
    let message = timeout(IDLE, stream.message())
        .await
        .map_err(|_| Refusal::Busy("the submission stood still for 30 s; send it again"))?
        .map_err(|status| SubmissionFault::Broken(status.message().to_owned()))?;
    match message {
        None => Ok(None),
        Some(v1::SubmitRequest { part: Some(part) }) => Ok(Some(part)),
        Some(v1::SubmitRequest { part: None }) => Err(WireError::Missing { field: "part" }.into()),
    }
}

fn check_sealed(shares: &[Bytes], contribution: &Contribution) -> Result<(), Refusal> {
    let expected = contribution.sealed_shares.len();
    let fault = |index| SubmissionFault::SealedShares { index, found: shares.len(), expected };
    if shares.len() != expected || expected > COMMITTEE_MEMBERS {
        return Err(fault(shares.len().min(expected) + 1).into());
    }
    for (position, (share, digest)) in shares.iter().zip(&contribution.sealed_shares).enumerate() {
        if share.len() > SEALED_SHARE_BYTES || Digest::sha256(share) != *digest {
            return Err(fault(position + 1).into());
        }
    }
    Ok(())
}

/// The commitments are of this layout and committee, all shares behind them lie on one polynomial, and each sealed share is an
/// envelope to its member: what is wrong otherwise would end the attempt later, at everybody's cost.
async fn check_dealing(admission: Admission, sealed: Vec<Bytes>) -> Result<Admission, Refusal> {
    let expected = admission.layout.chunk_count();
    let found = admission.contribution.chunk_count;
    if usize::try_from(found) != Ok(expected) {
        return Err(SubmissionFault::ChunkCount { found, expected }.into());
    }
    let checked = tokio::task::spawn_blocking(move || {
        let Admission { layout, committee, keys, contribution } = &admission;
        let fault = |reason: String| Refusal::from(SubmissionFault::Commitments(reason));
        let commitments = Commitments::from_bytes(layout, committee, &contribution.commitments)
            .map_err(|error| fault(error.to_string()))?;
        commitments.check_degree(committee).map_err(|error| fault(error.to_string()))?;
        for ((seat, key), sealed) in committee.indices().zip(keys).zip(&sealed) {
            check_envelope(contribution, seat, key, sealed)?;
        }
        Ok(admission)
    });
    checked.await.map_err(|error| Refusal::Failure(format!("checking a dealing stopped: {error}")))?
}

fn check_envelope(contribution: &Contribution, seat: u8, key: &[u8; 32], sealed: &[u8]) -> Result<(), Refusal> {
    let failed = |what: &str| Refusal::Failure(format!("seat {seat}: {what}"));
    let receiver = sealing_key(key).ok_or_else(|| failed("its one-time key is not usable"))?;
    let seat = MemberIndex::new(seat).map_err(|error| failed(&error.to_string()))?;
    let aad = share_aad(&contribution.announcement, &contribution.member, seat, &contribution.ciphertext);
    let envelope = Envelope { receiver: &receiver, info: SHARE_INFO, aad: &aad, sealed };
    let fault = |reason: String| SubmissionFault::Envelope { index: usize::from(seat.get()), reason };
    envelope.check().map_err(|error| fault(error.to_string()).into())
}

/// How much of a contribution is kept, so that its house sends the rest.
pub(super) async fn find(
    shared: &Shared,
    caller: &Caller,
    manifest: Signed<Contribution>,
) -> Result<v1::FindUploadResponse, Refusal> {
    caller.speaks_for_itself(&manifest)?;
    let Some(admission) = shared.engine.admit(manifest.clone()).await? else {
        return Ok(v1::FindUploadResponse { chunks: admitted_chunks(&manifest), accepted: true });
    };
    shared.room.promise(caller.name())?;
    let kept = shared.store.kept_runs(&upload_of(&manifest, &admission.contribution)).await?;
    let chunks = kept.iter().map(|run| run.chunks).sum::<usize>();
    Ok(v1::FindUploadResponse { chunks: u32::try_from(chunks).unwrap_or(0), accepted: false })
}

fn admitted_chunks(manifest: &Signed<Contribution>) -> u32 {
    manifest.unverified().map_or(0, |contribution| contribution.chunk_count)
}

fn upload_of(manifest: &Signed<Contribution>, contribution: &Contribution) -> Upload {
    Upload {
        announcement: contribution.announcement,
        member: contribution.member.clone(),
        manifest: manifest.body_digest(),
    }
}

/// Reads, checks and keeps chunks.
struct Receiver<'a> {
    shared: &'a Shared,
    caller: &'a Caller,
    layout: &'a Layout,
    upload: Upload,
    /// Digests of the chunks so far.
    chunks: Vec<Digest>,
    /// Blobs of the runs so far.
    runs: Vec<Digest>,
    /// What came since the last blob.
    buffer: BytesMut,
    /// The room that it has.
    held: Option<Held<'a>>,
}

impl<'a> Receiver<'a> {
    /// Goes on after the `first` chunks, which are kept.
    async fn resume(
        shared: &'a Shared,
        caller: &'a Caller,
        upload: Upload,
        layout: &'a Layout,
        first: u32,
    ) -> Result<Self, Refusal> {
        let (mut chunks, mut runs) = (Vec::with_capacity(layout.chunk_count()), Vec::new());
        if first > 0 {
            // Only at the end of all that is kept: what would be sent anew from the middle would leave its first copy on the disk.
            let kept = shared.store.kept_runs(&upload).await?;
            if kept.iter().map(|run| run.chunks).sum::<usize>() != first as usize {
                return Err(SubmissionFault::Resumed { found: first }.into());
            }
            for run in kept {
                // They were checked when they came; their digests make the contribution's.
                match shared.store.blobs().get(Shelf::Attempt(upload.announcement), &run.blob).await {
                    Ok(bytes) => chunks.extend(bytes.chunks(layout.chunk_bytes()).map(Digest::sha256)),
                    Err(error) => {
                        tracing::error!(%error, member = %upload.member, "what was kept of an upload cannot be read: it begins anew");
                        shared.store.forget_upload(&upload).await?;
                        return Err(SubmissionFault::Resumed { found: first }.into());
                    }
                }
                runs.push(run.blob);
            }
        }
        Ok(Self { shared, caller, layout, upload, chunks, runs, buffer: BytesMut::new(), held: None })
    }

    /// All that is left, up to the end of the stream; gives the blobs of the whole contribution, in order.
    async fn receive(
        &mut self,
        stream: &mut Streaming<v1::SubmitRequest>,
        expected: Digest,
    ) -> Result<Vec<Digest>, Refusal> {
        while let Some(part) = self.next(stream).await? {
            let Part::Run(run) = part else { return Err(SubmissionFault::Header.into()) };
            check_run(self.layout, run.first, &run.data, &mut self.chunks)?;
            self.shared.metrics.received(run.data.len());
            self.buffer.extend_from_slice(&run.data);
            let full = if self.held.is_some() { self.shared.blob_bytes } else { self.shared.blob_bytes.min(RUN_BYTES) };
            if self.buffer.len() >= full {
                self.keep().await?;
            }
        }
        if self.chunks.len() != self.layout.chunk_count() {
            let (found, expected) = (self.chunks.len(), self.layout.chunk_count());
            return Err(SubmissionFault::Truncated { found, expected }.into());
        }
        let found = ciphertext_digest_of(&self.chunks);
        if found != expected {
            self.shared.store.forget_upload(&self.upload).await?;
            return Err(SubmissionFault::Digest { found, expected }.into());
        }
        if !self.buffer.is_empty() {
            // Not noted: the contribution itself is, next.
            let blob = self.put().await?;
            self.runs.push(blob);
        }
        Ok(std::mem::take(&mut self.runs))
    }

    /// The next part. A run has its room from its first byte on; who holds room for too long gives it back, with what came so far on the disk.
    async fn next(&mut self, stream: &mut Streaming<v1::SubmitRequest>) -> Result<Option<Part>, Refusal> {
        if self.held.is_none() && self.buffer.is_empty() {
            self.held = self.shared.room.hold().await;
            if self.held.is_some() {
                // All at once: a buffer that doubles takes more, and again as much while it moves.
                let left = self.layout.chunk_count().saturating_sub(self.chunks.len()) * self.layout.chunk_bytes();
                self.buffer.reserve(left.min(self.shared.blob_bytes + RUN_BYTES));
            }
        }
        if let Some(held) = &self.held {
            if let Ok(part) = timeout(held.left(), next(stream)).await {
                return part;
            }
            if !self.buffer.is_empty() {
                self.keep().await?;
            }
            self.held = None;
        }
        next(stream).await
    }

    /// What came is on the disk, and need not come again.
    async fn keep(&mut self) -> Result<(), Refusal> {
        self.caller.still_stands(&self.shared.store).await?;
        let chunks = self.buffer.len() / self.layout.chunk_bytes();
        let blob = self.put().await?;
        self.shared.store.keep_run(&self.upload, self.runs.len(), &KeptRun { blob, chunks }).await?;
        self.runs.push(blob);
        Ok(())
    }

    /// What came as a blob; its room is others'.
    async fn put(&mut self) -> Result<Digest, Refusal> {
        let data = self.buffer.split().freeze();
        let blob = self.shared.store.blobs().put(Shelf::Attempt(self.upload.announcement), data).await?;
        self.held = None;
        Ok(blob)
    }
}

fn check_run(layout: &Layout, first: u32, data: &[u8], chunks: &mut Vec<Digest>) -> Result<(), SubmissionFault> {
    let expected = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    if first != expected {
        return Err(SubmissionFault::Order { found: first, expected });
    }
    let (chunk, limit) = (layout.chunk_bytes(), RUN_BYTES.max(layout.chunk_bytes()));
    if data.is_empty() || data.len() > limit || !data.len().is_multiple_of(chunk) {
        return Err(SubmissionFault::RunLength { found: data.len(), chunk, limit });
    }
    for bytes in data.chunks_exact(chunk) {
        let index = chunks.len();
        if index >= layout.chunk_count() {
            return Err(SubmissionFault::TooMany { expected: layout.chunk_count() });
        }
        check_chunk(layout, bytes).map_err(|source| SubmissionFault::Chunk { index, source })?;
        chunks.push(Digest::sha256(bytes));
    }
    Ok(())
}
