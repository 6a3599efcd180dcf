//! Adding up the cohort's ciphertexts, a few kept runs at a time: memory grows with the model, not with the cohort. Then the
//! claim of what the sum is, which houses check.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::server::{Event, Fixed};
use protocol::{CohortList, Contribution, Digest, HouseName, Signed, SumClaim};
use secure_sum::{Accumulator, Layout};
use tokio::time::Instant;

use super::core::{Core, Done, IDLE, RETRY, Stage};
use crate::refusal::Refusal;
use crate::store::{Shelf, Store, Write};

impl Core {
    /// Starts adding the current attempt's cohort, unless its sum is kept already.
    pub(super) fn fold(&mut self) {
        let Stage::Running(current) = &self.stage else { return };
        let (Some(fixed), Some(layout), false) = (current.round.fixed(), current.layout.clone(), current.summed) else {
            return;
        };
        let (store, list, fault) = (self.store.clone(), Arc::clone(fixed.list()), self.fault);
        self.jobs.spawn(async move {
            let announcement = list.announcement;
            Done::Folded { announcement, sum: fold(&store, &layout, &list, fault).await }
        });
    }

    /// Adds once more what could not be added or noted as added; returns how long to wait for that.
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

    /// The sum is kept: says, once and signed, that it is the one.
    pub(super) async fn folded(&mut self, announcement: Digest, sum: Result<Digest, Refusal>) -> Result<(), Refusal> {
        let Stage::Running(current) = &mut self.stage else { return Ok(()) };
        let Some(cohort) = current.round.fixed().map(Fixed::digest) else { return Ok(()) };
        if current.announcement() != Some(announcement) || current.summed {
            return Ok(());
        }
        let body_sum = match sum {
            Ok(sum) => sum,
            Err(refusal) if refusal.passes() => {
                // Until the opening is given up by the clock: houses were charged for this attempt.
                current.fold_again = Some(Instant::now() + RETRY);
                return Err(refusal);
            }
            Err(refusal) => {
                tracing::error!(error = %refusal, "the cohort cannot be added; the attempt is given up");
                return self.input(Event::Stop, Vec::new()).await;
            }
        };
        // One transaction: a claim always has its sum. Made again after a crash, it is the same to the bit.
        let claim = SumClaim { announcement, cohort, body_sum };
        let claimed = Event::Claimed(Signed::sign(&claim, self.identity.signer()));
        let offered = self.input(claimed, vec![Write::Sum { announcement, sum: body_sum }]).await;
        if let Stage::Running(current) = &mut self.stage {
            match &offered {
                Ok(()) => current.summed = true,
                // Without this row no house ever hears of the claim.
                Err(_) => current.fold_again = Some(Instant::now() + RETRY),
            }
        }
        offered
    }
}

/// Bodies that are added side by side; each has one run of about 4 MiB in memory.
const TOGETHER: usize = 16;

/// A false sum, as a malicious aggregator would make it: for tests of what houses do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FalseSum {
    /// The first house's contribution is left out.
    LeftOut,
    /// The first house's contribution is in twice.
    Twice,
    /// The second house's body stands in for the first one's.
    Substituted,
}

impl FalseSum {
    /// The contributions that are added in place of `list`.
    fn of(self, list: &[Signed<Contribution>]) -> Vec<Signed<Contribution>> {
        let mut list = list.to_vec();
        match (self, list.as_mut_slice()) {
            (Self::LeftOut, [_, ..]) => drop(list.remove(0)),
            (Self::Twice, [first, ..]) => {
                let again = first.clone();
                list.push(again);
            }
            (Self::Substituted, [first, second, ..]) => *first = second.clone(),
            _ => {}
        }
        list
    }
}

/// Adds exactly the listed contributions and keeps the sum; returns its digest.
async fn fold(
    store: &Store,
    layout: &Arc<Layout>,
    list: &CohortList,
    fault: Option<FalseSum>,
) -> Result<Digest, Refusal> {
    let kept = store.contributions(&list.announcement).await?;
    let contributions = fault.map_or_else(|| list.contributions.clone(), |fault| fault.of(&list.contributions));
    let mut bodies = Vec::with_capacity(contributions.len());
    for manifest in &contributions {
        let stored = kept.iter().find(|stored| stored.manifest == *manifest);
        let stored = stored.ok_or_else(|| Refusal::Failure(format!("{} has no kept body", manifest.signer())))?;
        bodies.push(Body { house: manifest.signer(), runs: stored.runs.iter(), rest: Bytes::new() });
    }
    let mut sum = Accumulator::new(layout);
    for group in bodies.chunks_mut(TOGETHER) {
        sum = add_group(store, Shelf::Attempt(list.announcement), layout, group, sum).await?;
    }
    let bytes = blocking(move || Ok(sum.to_bytes())).await?;
    Ok(store.blobs().put(Shelf::Kept, bytes.into()).await?)
}

/// A kept body, read run by run.
struct Body<'a> {
    house: &'a HouseName,
    runs: std::slice::Iter<'a, Digest>,
    /// Read and not added yet: whole chunks.
    rest: Bytes,
}

/// Adds some bodies side by side: the sum is read and written once for all of them.
async fn add_group(
    store: &Store,
    shelf: Shelf,
    layout: &Layout,
    bodies: &mut [Body<'_>],
    mut sum: Accumulator,
) -> Result<Accumulator, Refusal> {
    let mut next = 0;
    while next < layout.chunk_count() {
        for body in bodies.iter_mut().filter(|body| body.rest.is_empty()) {
            let run = body.runs.next().ok_or_else(|| broken(body.house))?;
            body.rest = store.blobs().get(shelf, run).await?;
        }
        // Houses cut their bodies into runs as they like.
        let common = bodies.iter().map(|body| body.rest.len()).min().unwrap_or(0);
        let runs: Vec<Bytes> = bodies.iter_mut().map(|body| body.rest.split_to(common)).collect();
        let first = next;
        next += common / layout.chunk_bytes();
        sum = blocking(move || {
            let runs: Vec<&[u8]> = runs.iter().map(AsRef::as_ref).collect();
            let failed = |error| Refusal::Failure(format!("kept chunks are refused: {error}"));
            sum.add_chunks(first, &runs).map_err(failed)?;
            Ok(sum)
        })
        .await?;
    }
    match bodies.iter().find(|body| !body.rest.is_empty() || body.runs.len() > 0) {
        Some(body) => Err(broken(body.house)),
        None => Ok(sum),
    }
}

fn broken(house: &HouseName) -> Refusal {
    Refusal::Failure(format!("the kept body of {house} has not the layout's chunks"))
}

/// Runs arithmetic beside the network's threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let stopped = |error| Refusal::Failure(format!("a computation stopped: {error}"));
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}
