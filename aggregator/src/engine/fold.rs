//! Adding up the cohort's ciphertexts, one kept run at a time: memory grows with the model, not with the cohort.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::server::{Event, Round};
use protocol::{CohortList, Digest};
use protos::v1::event::Kind;
use secure_sum::{Accumulator, Layout};
use tokio::time::Instant;

use super::core::{Core, Done, IDLE, RETRY, Stage};
use super::effects::{event_row, place};
use crate::refusal::Refusal;
use crate::store::{Shelf, Store, Write};

impl Core {
    /// Starts adding the current attempt's cohort, unless its sum is kept already.
    pub(super) fn fold(&mut self) {
        let Stage::Running(current) = &self.stage else { return };
        let (Some(fixed), Some(layout), false) = (current.round.fixed(), current.layout.clone(), current.summed) else {
            return;
        };
        let (store, list) = (self.store.clone(), Arc::clone(fixed.list()));
        self.jobs.spawn(async move {
            let announcement = list.announcement;
            Done::Folded { announcement, sum: fold(&store, &layout, &list).await }
        });
    }

    /// Adds once more what could not be noted as added; returns how long to wait for that.
    pub(super) fn fold_when_due(&mut self) -> Duration {
        let Stage::Running(current) = &mut self.stage else { return IDLE };
        let Some(again) = current.fold_again else { return IDLE };
        let left = again.saturating_duration_since(Instant::now());
        if left.is_zero() {
            current.fold_again = None;
            self.fold();
            return IDLE;
        }
        left
    }

    /// The sum is kept: with t answers there, houses may open.
    pub(super) async fn folded(&mut self, announcement: Digest, sum: Result<Digest, Refusal>) -> Result<(), Refusal> {
        let Stage::Running(current) = &mut self.stage else { return Ok(()) };
        if current.announcement() != Some(announcement) {
            return Ok(());
        }
        let sum = match sum {
            Ok(sum) => sum,
            Err(refusal) => {
                tracing::error!(error = %refusal, "the cohort cannot be added; the attempt is given up");
                return self.input(Event::Stop, Vec::new()).await;
            }
        };
        let start = current.round.frame();
        let mut writes = vec![Write::Sum { announcement, sum }];
        let open = matches!(current.round, Round::Settling(_)) && !current.opened;
        let last = self.last_event + u64::from(open);
        if open {
            let opened = Kind::Opened(place(start.round, start.attempt, announcement));
            writes.push(event_row(last, start.round, start.attempt, opened));
        }
        if let Err(error) = self.store.commit(&writes).await {
            // Without this row no house ever hears that it may open.
            current.fold_again = Some(Instant::now() + RETRY);
            return Err(error.into());
        }
        current.summed = true;
        current.opened |= open;
        self.announce_events(last);
        self.open_current();
        Ok(())
    }
}

/// Adds exactly the listed contributions and keeps the sum; returns its digest.
async fn fold(store: &Store, layout: &Arc<Layout>, list: &CohortList) -> Result<Digest, Refusal> {
    let kept = store.contributions(&list.announcement).await?;
    let shelf = Shelf::Attempt(list.announcement);
    let mut sum = Accumulator::new(layout);
    for manifest in &list.contributions {
        let stored = kept.iter().find(|stored| stored.manifest == *manifest);
        let stored = stored.ok_or_else(|| Refusal::Failure(format!("{} has no kept body", manifest.signer())))?;
        let mut next = 0;
        for run in &stored.runs {
            let bytes = store.blobs().get(shelf, run).await?;
            (sum, next) = add(Arc::clone(layout), sum, next, bytes).await?;
        }
        if next != layout.chunk_count() {
            return Err(Refusal::Failure(format!("{} has {next} kept chunks", manifest.signer())));
        }
    }
    let bytes = blocking(move || Ok(sum.to_bytes())).await?;
    Ok(store.blobs().put(Shelf::Kept, bytes.into()).await?)
}

/// Adds a run of whole chunks that starts at chunk `first`; gives the sum back, and the chunk after the run.
async fn add(
    layout: Arc<Layout>,
    mut sum: Accumulator,
    first: usize,
    run: Bytes,
) -> Result<(Accumulator, usize), Refusal> {
    blocking(move || {
        let failed = |error| Refusal::Failure(format!("a kept chunk is refused: {error}"));
        if first == 0 && run.len() == layout.contribution_bytes() {
            sum.add(&run).map_err(failed)?;
            return Ok((sum, layout.chunk_count()));
        }
        let mut next = first;
        for chunk in run.chunks(layout.chunk_bytes()) {
            sum.add_chunk(next, chunk).map_err(failed)?;
            next += 1;
        }
        Ok((sum, next))
    })
    .await
}

/// Runs arithmetic beside the network's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let stopped = |error| Refusal::Failure(format!("a computation stopped: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}
