//! The history as a stream: what has happened since, then what happens.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use prost::Message as _;
use protos::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Shared;
use super::authorise::Caller;
use crate::refusal::Refusal;
use crate::store::StoredEvent;

/// Events read from the database at once.
const BATCH: u32 = 128;
/// Events waiting for a slow watcher.
const QUEUE: usize = 32;
/// A watcher whose certificate is revoked is let go after this long at most.
const RECHECK: Duration = Duration::from_secs(2);

pub(crate) type Events = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

/// Every event after `after`, then new ones until the caller or the program goes.
///
/// # Errors
/// [`Refusal::OlderCopy`] to a caller that has seen more than there is: it would wait for what this aggregator has forgotten.
pub(crate) async fn events(shared: Arc<Shared>, caller: Caller, after: u64) -> Result<Events, Refusal> {
    let last = shared.store.last_event().await?;
    if after > last {
        return Err(Refusal::OlderCopy { caller: caller.name().clone(), seen: after, last });
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(refusal) = pump(&shared, &caller, after, &sender).await {
            // The watcher is gone when this fails.
            let _ = sender.send(Err(refusal.into())).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

async fn pump(
    shared: &Shared,
    caller: &Caller,
    mut after: u64,
    sender: &mpsc::Sender<Result<v1::Event, Status>>,
) -> Result<(), Refusal> {
    let mut last = shared.engine.watch();
    let mut draining = shared.draining.clone();
    let mut recheck = tokio::time::interval(RECHECK);
    loop {
        last.borrow_and_update();
        let batch = shared.store.events(after, BATCH).await?;
        let full = batch.len() == BATCH as usize;
        for stored in batch {
            after = stored.sequence;
            // Whoever reads slowly is looked at while it does.
            let place = loop {
                tokio::select! {
                    place = sender.reserve() => break place,
                    _ = recheck.tick() => {}
                }
                caller.still_stands(&shared.store).await?;
            };
            let Ok(place) = place else { return Ok(()) };
            place.send(Ok(event(&stored)?));
        }
        if full {
            continue;
        }
        let due = tokio::select! {
            changed = last.changed() => if changed.is_err() { return Err(Refusal::ShuttingDown) } else { false },
            _ = draining.wait_for(|draining| *draining) => return Err(Refusal::ShuttingDown),
            () = sender.closed() => return Ok(()),
            _ = recheck.tick() => true,
        };
        if due {
            caller.still_stands(&shared.store).await?;
        }
    }
}

fn event(stored: &StoredEvent) -> Result<v1::Event, Refusal> {
    let mut event = v1::Event::decode(stored.body.as_slice())
        .map_err(|error| Refusal::Failure(format!("event {} cannot be read: {error}", stored.sequence)))?;
    event.live = stored.live;
    Ok(event)
}
