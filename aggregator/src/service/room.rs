//! Memory for what comes in: however many houses send at once, only so much of it is held before it is on the disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protocol::HouseName;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use crate::limits::Limits;
use crate::refusal::Refusal;

/// Who was told that it may send has its turn for so long.
const TOLD: Duration = Duration::from_secs(5);
/// Who sends has it for so long, and then sends on beside the others: slow senders stop nobody.
const TURN: Duration = Duration::from_secs(20);
/// How long a sender may hold room that others wait for.
const HOLD: Duration = Duration::from_secs(2);
/// How long others wait for room before they go on without: as long as it can take until everybody before them has had it, with the limits' defaults. What
/// goes on without is kept in many small runs, which take longer to keep than to send.
const PATIENCE: Duration = Duration::from_secs(8);

/// Turns to send, room for runs, each of which is kept as one blob, and for dealings that are being checked.
pub(crate) struct Room {
    /// Whose turn it is, and until when.
    turns: Mutex<BTreeMap<HouseName, Instant>>,
    at_once: usize,
    runs: Semaphore,
    checks: Semaphore,
}

/// Room for one run.
pub(super) struct Held<'a> {
    _permit: SemaphorePermit<'a>,
    until: Instant,
}

impl Room {
    /// For runs of `blob_bytes` bytes. Beside them each stream has its flow-control window and one message.
    pub(super) fn new(limits: &Limits, blob_bytes: usize) -> Self {
        let runs = ((limits.intake_mib as usize) << 20) / blob_bytes.max(1);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            turns: Mutex::default(),
            at_once: limits.uploads_at_once as usize,
            runs: Semaphore::new(runs.clamp(1, 1 << 16)),
            checks: Semaphore::new(cores),
        }
    }

    /// Whether it is this house's turn to send: it was told so, or there are fewer than may be at once.
    fn turn(&self, house: &HouseName, time: Duration) -> Result<(), Refusal> {
        let now = Instant::now();
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, until| *until > now);
        if turns.len() >= self.at_once && !turns.contains_key(house) {
            return Err(Refusal::Busy("other houses are sending their contributions; come back in a moment"));
        }
        turns.insert(house.clone(), now + time);
        Ok(())
    }

    /// Tells a house that it may send, for a moment.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: others are sending.
    pub(super) fn promise(&self, house: &HouseName) -> Result<(), Refusal> {
        self.turn(house, TOLD)
    }

    /// A house begins to send.
    ///
    /// # Errors
    /// As [`promise`](Self::promise).
    pub(super) fn begin(&self, house: &HouseName) -> Result<Turn<'_>, Refusal> {
        self.turn(house, TURN)?;
        Ok(Turn { room: self, house: house.clone() })
    }

    /// Room for one run, first come first served; none where it takes too long: then the sender's bytes go to the disk as they come, so that
    /// slow senders stop nobody.
    pub(super) async fn hold(&self) -> Option<Held<'_>> {
        self.hold_within(PATIENCE).await
    }

    async fn hold_within(&self, patience: Duration) -> Option<Held<'_>> {
        let permit = timeout(patience, self.runs.acquire()).await.ok()?.ok()?;
        Some(Held { _permit: permit, until: Instant::now() + HOLD })
    }
}

impl Room {
    /// Room for the check of one dealing, which takes a core and several times the dealing's size.
    pub(super) async fn check(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.checks.acquire().await.ok()
    }
}

/// A house sends; another's turn comes when it is dropped.
pub(super) struct Turn<'a> {
    room: &'a Room,
    house: HouseName,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.room.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.house);
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

    #[test]
    fn so_many_send_at_once_who_was_told_so_may_begin_and_the_end_of_one_is_anothers_turn() {
        let room = Room::new(&Limits { uploads_at_once: 2, ..Limits::default() }, 1);
        let names = ["abbey", "borough", "county"].map(|name| HouseName::new(name).unwrap());
        let [abbey, borough, county] = &names;
        room.promise(abbey).unwrap();
        let sending = room.begin(borough).unwrap();
        assert!(matches!(room.promise(county), Err(Refusal::Busy(_))));
        assert!(room.begin(county).is_err());
        drop(room.begin(abbey).unwrap());
        room.promise(county).unwrap();
        assert!(room.begin(abbey).is_err());
        drop(sending);
        assert!(room.begin(abbey).is_ok());
    }

    #[tokio::test]
    async fn room_is_for_so_many_runs_and_who_waits_for_it_in_vain_goes_on_without() {
        let room = Room::new(&Limits::default(), 8 << 20);
        let held: Vec<Held<'_>> =
            futures::future::join_all((0..8).map(|_| room.hold())).await.into_iter().flatten().collect();
        assert_eq!(held.len(), 8);
        let (before, patience) = (Instant::now(), Duration::from_millis(50));
        assert!(room.hold_within(patience).await.is_none());
        assert!(before.elapsed() >= patience);
        assert!(held[0].left() <= HOLD.saturating_sub(patience), "it counts down while others wait");
        drop(held);
        assert!(room.hold().await.unwrap().left() > HOLD / 2);
    }
}
