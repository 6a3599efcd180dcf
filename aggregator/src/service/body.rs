//! One house's ciphertext, for a member that computes its checksum: straight from the kept blobs, a run at a time.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use protocol::{CohortList, Message as _};
use protos::convert::{digest, name};
use protos::limits::RUN_BYTES;
use protos::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Shared;
use super::authorise::Caller;
use crate::refusal::Refusal;
use crate::store::{BlobError, Shelf, StoredContribution};

/// Runs waiting for a slow reader.
const QUEUE: usize = 4;

pub(crate) type Runs = Pin<Box<dyn Stream<Item = Result<v1::ChunkRun, Status>> + Send>>;

/// The chunks of one house of an attempt's cohort, in order.
pub(super) async fn body(shared: &Arc<Shared>, caller: &Caller, request: v1::GetBodyRequest) -> Result<Runs, Refusal> {
    let announcement = digest("announcement", &request.announcement)?;
    let house = name("house", &request.house)?;
    // What follows reads much; one at a time for each caller.
    let slot = shared.downloads.take(caller.name())?;
    let attempt = shared.store.attempt(&announcement).await?.ok_or(Refusal::UnknownAttempt(announcement))?;
    let cohort = shared.store.cohort(&announcement).await?.ok_or(Refusal::NotYet { what: "the cohort list" })?;
    let damaged = |what: &str| Refusal::Failure(format!("stored {what} cannot be read"));
    let cohort = CohortList::from_bytes(&cohort).map_err(|_| damaged("cohort list"))?;
    let listed = cohort.contributions.iter().find(|manifest| *manifest.signer() == house);
    let listed = listed.ok_or_else(|| Refusal::NoPart { caller: house.clone(), what: "this cohort" })?;
    let kept = shared.store.contributions(&announcement).await?;
    let stored = kept.into_iter().find(|stored| stored.manifest == *listed);
    let stored = stored.ok_or_else(|| damaged("contribution"))?;
    let chunk_bytes = shared.engine.layout(&attempt).await?.chunk_bytes();
    drop(slot);
    let (sender, receiver) = mpsc::channel(QUEUE);
    let (shared, caller) = (Arc::clone(shared), caller.clone());
    tokio::spawn(async move {
        let sent = send(&shared, &caller, Shelf::Attempt(announcement), &stored, chunk_bytes, &sender).await;
        if let Err(refusal) = sent {
            // The reader is gone when this fails.
            let _ = sender.send(Err(refusal.into())).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

async fn send(
    shared: &Shared,
    caller: &Caller,
    shelf: Shelf,
    stored: &StoredContribution,
    chunk_bytes: usize,
    sender: &mpsc::Sender<Result<v1::ChunkRun, Status>>,
) -> Result<(), Refusal> {
    let _slot = shared.downloads.take(caller.name())?;
    let run_bytes = (RUN_BYTES / chunk_bytes).max(1) * chunk_bytes;
    let mut first = 0;
    for run in &stored.runs {
        caller.still_stands(&shared.store).await?;
        let blob = match shared.store.blobs().get(shelf, run).await {
            Err(BlobError::Store(object_store::Error::NotFound { .. })) => {
                return Err(Refusal::Over { what: "the attempt" });
            }
            blob => blob?,
        };
        for start in (0..blob.len()).step_by(run_bytes) {
            let data = blob.slice(start..blob.len().min(start + run_bytes));
            let chunks = u32::try_from(data.len() / chunk_bytes).unwrap_or(u32::MAX);
            if sender.send(Ok(v1::ChunkRun { first, data })).await.is_err() {
                return Ok(());
            }
            first += chunks;
        }
    }
    Ok(())
}
