//! A contribution on its way: when it leaves, how it is cut, and that it leaves only while its house takes part.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::{Announcement, Contribution, Signed};
use protos::convert::to_wire;
use protos::limits::RUN_BYTES;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use protos::v1::submit_request::Part as Sent;

use super::{is_refusal, now_ms};
use crate::connection::Backoff;
use crate::standing::Standing;
use crate::version::Speaking;

/// Between the time at which contributions leave and the close, late ones leave at one of this many moments, so that when
/// a batch was done is not seen.
const LATE_DEPARTURES: u64 = 8;

/// Why a contribution did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSent {
    /// What the aggregator or the network said.
    #[error("{}", .0.message())]
    Said(#[from] tonic::Status),
    /// The house paused or left before it was sent.
    #[error("{0}")]
    Aside(String),
}

/// One contribution on its way.
pub(crate) struct Submission {
    pub(crate) client: FederationClient<Speaking>,
    pub(crate) whole: Whole,
    pub(crate) departure: u64,
    pub(crate) close: u64,
    pub(crate) backoff: Backoff,
    /// Where the house's standing is.
    pub(crate) state: PathBuf,
}

impl Submission {
    /// Waits for the departure, then sends, again and again until it is answered or the round closes, for as long as the house takes part. Gives the
    /// seconds of the transfer that was answered.
    pub(crate) async fn send(mut self) -> Result<f64, NotSent> {
        tokio::time::sleep(Duration::from_millis(self.departure.saturating_sub(now_ms()))).await;
        loop {
            let standing = Standing::read(&self.state).map_err(|error| NotSent::Aside(error.to_string()))?;
            if let Some(reason) = standing.aside() {
                return Err(NotSent::Aside(reason.to_string()));
            }
            let start = Instant::now();
            match self.try_once().await {
                Ok(()) => return Ok(start.elapsed().as_secs_f64()),
                Err(status) if is_refusal(&status) || now_ms() >= self.close => return Err(status.into()),
                Err(status) => {
                    tracing::info!("the submission broke off and goes on: {}", status.message());
                    tokio::time::sleep(self.backoff.next_wait().min(Duration::from_secs(2))).await;
                }
            }
        }
    }

    /// Sends what the aggregator has not kept of an earlier try.
    async fn try_once(&mut self) -> Result<(), tonic::Status> {
        let contribution = Some(to_wire(&self.whole.signed));
        let found = self.client.find_upload(v1::FindUploadRequest { contribution }).await?.into_inner();
        if found.accepted {
            return Ok(());
        }
        if found.chunks > 0 {
            tracing::info!(chunks = found.chunks, "the aggregator has kept a part of it");
        }
        self.client.submit(futures::stream::iter(self.whole.parts(found.chunks))).await.map(drop)
    }
}

/// When a contribution leaves: at the announced time, or at the next of a few moments after it.
pub(crate) fn departure(announcement: &Announcement, now_ms: u64) -> u64 {
    let (submit, close) = (announcement.submit_time_ms(), announcement.close_time_ms());
    let step = (close.saturating_sub(submit) / LATE_DEPARTURES).max(1);
    submit + now_ms.saturating_sub(submit).div_ceil(step) * step
}

/// A contribution, and how it is cut.
pub(crate) struct Whole {
    pub(crate) signed: Signed<Contribution>,
    pub(crate) sealed: Vec<Vec<u8>>,
    pub(crate) body: Bytes,
    /// Bytes of a chunk.
    pub(crate) chunk: usize,
}

impl Whole {
    /// The header, and the chunks from `first` on in runs.
    fn parts(&self, first: u32) -> Vec<v1::SubmitRequest> {
        let sealed_shares = self.sealed.iter().cloned().map(Bytes::from).collect();
        let header = v1::SubmitHeader { contribution: Some(to_wire(&self.signed)), sealed_shares, first };
        let chunks_a_run = (RUN_BYTES / self.chunk).max(1);
        let (first, count) = (first as usize, self.body.len().div_ceil(self.chunk));
        let runs = (first..count).step_by(chunks_a_run).map(|first| {
            let end = ((first + chunks_a_run) * self.chunk).min(self.body.len());
            let first_chunk = u32::try_from(first).unwrap_or(u32::MAX);
            Sent::Run(v1::ChunkRun { first: first_chunk, data: self.body.slice(first * self.chunk..end) })
        });
        let parts = std::iter::once(Sent::Header(header)).chain(runs);
        parts.map(|part| v1::SubmitRequest { part: Some(part) }).collect()
    }
}
