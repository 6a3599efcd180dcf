//! Memory for what comes in: however many houses send at once, only so much of it is held before it is on the disk.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

/// How long a sender may hold room that others wait for, and how long others wait before they go on without.
const PATIENCE: Duration = Duration::from_secs(2);

/// Room for runs, each of which is kept as one blob.
pub(crate) struct Room(Semaphore);

/// Room for one run.
pub(super) struct Held<'a> {
    _permit: SemaphorePermit<'a>,
    until: Instant,
}

impl Room {
    /// For runs of `blob_bytes` bytes, `intake_mib` MiB of them in all. Beside them each stream has its flow-control window and one message.
    pub(super) fn new(intake_mib: u32, blob_bytes: usize) -> Self {
        let runs = ((intake_mib as usize) << 20) / blob_bytes.max(1);
        Self(Semaphore::new(runs.clamp(1, 1 << 16)))
    }

    /// Room for one run, first come first served; none where it takes too long: then the sender's bytes go to the disk as they come, so that
    /// slow senders stop nobody.
    pub(super) async fn hold(&self) -> Option<Held<'_>> {
        let permit = timeout(PATIENCE, self.0.acquire()).await.ok()?.ok()?;
        Some(Held { _permit: permit, until: Instant::now() + PATIENCE })
    }
}

impl Held<'_> {
    /// How long it may still be held.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn room_is_for_so_many_runs_and_who_waits_for_it_in_vain_goes_on_without() {
        let room = Room::new(32, 8 << 20);
        let held: Vec<Held<'_>> =
            futures::future::join_all((0..4).map(|_| room.hold())).await.into_iter().flatten().collect();
        assert_eq!(held.len(), 4);
        let before = Instant::now();
        assert!(room.hold().await.is_none());
        assert!(before.elapsed() >= PATIENCE);
        assert_eq!(held[0].left(), Duration::ZERO);
        drop(held);
        assert!(room.hold().await.unwrap().left() > PATIENCE / 2);
    }
}
