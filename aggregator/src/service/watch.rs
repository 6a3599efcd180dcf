//! The history as a stream: what has happened since, then what happens.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::Stream;
use prost::Message as _;
use protos::v1;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Shared;
use super::authorise::Caller;
use crate::refusal::Refusal;
use crate::store::{Store, StoreError, StoredEvent};

/// Events read from the database at once.
const BATCH: u32 = 128;
/// Events waiting for a slow watcher.
const QUEUE: usize = 32;
/// How often a watcher asks whether anybody was revoked, and how old the answer may be: one that was is let go after both at most.
const RECHECK: Duration = Duration::from_secs(1);
/// How often it looks whether its certificate has ended.
const ENDS: Duration = Duration::from_secs(60);

pub(crate) type Events = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

/// What all watchers ask at the same moment, and the database is asked once.
#[derive(Default)]
pub(crate) struct Watched {
    batch: Mutex<Option<Batch>>,
    /// Revoked certificates, as they were counted last.
    revoked: Mutex<Option<(Instant, u64)>>,
}

/// Events after one, as they were when another was the last.
struct Batch {
    after: u64,
    last: u64,
    events: Arc<Vec<StoredEvent>>,
}

impl Watched {
    async fn events(&self, store: &Store, after: u64, last: u64) -> Result<Arc<Vec<StoredEvent>>, StoreError> {
        let mut batch = self.batch.lock().await;
        match &*batch {
            Some(batch) if (batch.after, batch.last) == (after, last) => Ok(Arc::clone(&batch.events)),
            _ => {
                let events = Arc::new(store.events(after, BATCH).await?);
                *batch = Some(Batch { after, last, events: Arc::clone(&events) });
                Ok(events)
            }
        }
    }

    /// How many certificates have been revoked: no number is the same after a revocation.
    async fn revoked(&self, store: &Store) -> Result<u64, StoreError> {
        let mut revoked = self.revoked.lock().await;
        if let Some((_, count)) = revoked.filter(|(at, _)| at.elapsed() < RECHECK) {
            return Ok(count);
        }
        let count = store.revocations().await?;
        *revoked = Some((Instant::now(), count));
        Ok(count)
    }
}

/// A watcher that may be revoked while it watches.
struct Watcher<'a> {
    shared: &'a Shared,
    caller: &'a Caller,
    revoked: u64,
    checked: Instant,
}

impl<'a> Watcher<'a> {
    async fn new(shared: &'a Shared, caller: &'a Caller) -> Result<Self, Refusal> {
        // In this order: whoever is revoked in between is found by one of them.
        let revoked = shared.watched.revoked(&shared.store).await?;
        caller.still_stands(&shared.store).await?;
        Ok(Self { shared, caller, revoked, checked: Instant::now() })
    }

    async fn still_stands(&mut self) -> Result<(), Refusal> {
        let revoked = self.shared.watched.revoked(&self.shared.store).await?;
        if revoked != self.revoked || self.checked.elapsed() >= ENDS {
            self.caller.still_stands(&self.shared.store).await?;
            (self.revoked, self.checked) = (revoked, Instant::now());
        }
        Ok(())
    }
}

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
    let mut watcher = Watcher::new(shared, caller).await?;
    let mut recheck = tokio::time::interval(RECHECK);
    loop {
        let newest = *last.borrow_and_update();
        let batch = shared.watched.events(&shared.store, after, newest).await?;
        let full = batch.len() == BATCH as usize;
        for stored in batch.iter() {
            after = stored.sequence;
            // Whoever reads slowly is looked at while it does.
            let place = loop {
                tokio::select! {
                    place = sender.reserve() => break place,
                    _ = recheck.tick() => {}
                }
                watcher.still_stands().await?;
            };
            let Ok(place) = place else { return Ok(()) };
            place.send(Ok(event(stored)?));
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
            watcher.still_stands().await?;
        }
    }
}

fn event(stored: &StoredEvent) -> Result<v1::Event, Refusal> {
    let mut event = v1::Event::decode(stored.body.as_slice())
        .map_err(|error| Refusal::Failure(format!("event {} cannot be read: {error}", stored.sequence)))?;
    event.live = stored.live;
    Ok(event)
}
