//! A contribution on its way: when it leaves, how it is cut, and that it leaves only while its house takes part. Its body stays on the disk: a few runs of it are
//! in memory at a time, however large it is.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::SinkExt as _;
use futures::channel::mpsc;
use protocol::{Announcement, Contribution, Signed};
use protos::convert::to_wire;
use protos::limits::RUN_BYTES;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use protos::v1::submit_request::Part as Sent;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{is_refusal, now_ms};
use crate::connection::Backoff;
use crate::files::{FileError, Named as _};
use crate::standing::Standing;
use crate::store::KeptBody;
use crate::version::Speaking;

/// Between the time at which contributions leave and the close, late ones leave at one of this many moments, so that when
/// a batch was done is not seen.
const LATE_DEPARTURES: u64 = 8;
/// Runs that are read ahead of the connection.
const AHEAD: usize = 2;

/// Why a contribution did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotSent {
    /// What the aggregator or the network said.
    #[error("{}", .0.message())]
    Said(#[from] tonic::Status),
    /// The house paused or left before it was sent, or can not read what it kept.
    #[error("{0}")]
    Aside(String),
}

impl From<FileError> for NotSent {
    fn from(error: FileError) -> Self {
        Self::Aside(error.to_string())
    }
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
                Err(NotSent::Said(status)) if !is_refusal(&status) && now_ms() < self.close => {
                    tracing::info!("the submission broke off and goes on: {}", status.message());
                    tokio::time::sleep(self.backoff.next_wait().min(Duration::from_secs(2))).await;
                }
                Err(not_sent) => return Err(not_sent),
            }
        }
    }

    /// Sends what the aggregator has not kept of an earlier try.
    async fn try_once(&mut self) -> Result<(), NotSent> {
        let contribution = Some(to_wire(&self.whole.signed));
        let found = self.client.find_upload(v1::FindUploadRequest { contribution }).await?.into_inner();
        if found.accepted {
            return Ok(());
        }
        if found.chunks > 0 {
            tracing::info!(chunks = found.chunks, "the aggregator has kept a part of it");
        }
        let (parts, coming) = mpsc::channel(AHEAD);
        let mut reading = std::pin::pin!(self.whole.read(found.chunks, parts));
        let mut sending = std::pin::pin!(self.client.submit(coming));
        // An answer may come before all is sent, and then nobody takes the rest. What can not be read ends the stream.
        let answer = tokio::select! {
            answer = &mut sending => answer,
            read = &mut reading => {
                read?;
                sending.await
            }
        };
        Ok(answer.map(drop)?)
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
    pub(crate) body: KeptBody,
    /// Bytes of a chunk.
    pub(crate) chunk: usize,
}

impl Whole {
    /// Gives the header, and the chunks from `first` on in runs, each read when there is room for it. Ends early, without an error, when nobody takes them
    /// any more.
    async fn read(&self, first: u32, mut parts: mpsc::Sender<v1::SubmitRequest>) -> Result<(), FileError> {
        let sealed_shares = self.sealed.iter().cloned().map(Bytes::from).collect();
        let header = v1::SubmitHeader { contribution: Some(to_wire(&self.signed)), sealed_shares, first };
        let part = |part| v1::SubmitRequest { part: Some(part) };
        if parts.send(part(Sent::Header(header))).await.is_err() {
            return Ok(());
        }
        let mut at = u64::from(first) * self.chunk as u64;
        let mut file = self.body.open(at).await.at(&self.body.path)?;
        let chunks_a_run = (RUN_BYTES / self.chunk).max(1);
        let (mut first, run_bytes) = (first, chunks_a_run * self.chunk);
        while at < self.body.bytes {
            let length = usize::try_from(self.body.bytes - at).map_or(run_bytes, |left| left.min(run_bytes));
            let mut data = BytesMut::zeroed(length);
            file.read_exact(&mut data).await.at(&self.body.path)?;
            let run = v1::ChunkRun { first, data: data.freeze() };
            if parts.send(part(Sent::Run(run))).await.is_err() {
                return Ok(());
            }
            at += length as u64;
            first = first.saturating_add(u32::try_from(chunks_a_run).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}

impl KeptBody {
    async fn open(&self, at: u64) -> io::Result<tokio::fs::File> {
        let mut file = tokio::fs::File::open(&self.path).await?;
        file.seek(io::SeekFrom::Start(at)).await?;
        Ok(file)
    }
}
