//! How many calls are worked on at once. More of them wait for a moment and are then told to come back: what is answered is answered soon, however much is
//! asked. Without that all would wait for each other, each with what it holds, until nobody is there any more to hear the answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use protos::limits::STREAMS_PER_CONNECTION;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::rate::Who;
use crate::refusal::Refusal;

/// Calls that are worked on at once: so many that the disk has something to do while others compute.
const AT_WORK: usize = 64;
/// Calls that wait for that: what these take to be worked on is a moment too, and more would only be told later to come back.
const WAITING: usize = 128;
/// While fewer wait, whoever is held comes sooner: what waits is always enough for those who work.
const FEW: usize = WAITING / 2;
/// How long a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(1);
/// Calls of one caller that wait or are worked on: one that asks too much stands in nobody's way for long.
const EACH: u32 = STREAMS_PER_CONNECTION;

const TOO_MANY: Refusal = Refusal::Busy("more is asked than can be answered; come back in a moment");

/// The calls that are there, but for streams, which have limits of their own.
pub(crate) struct Crowd {
    places: Semaphore,
    callers: Mutex<HashMap<Who, u32>>,
    /// Of all callers.
    there: AtomicUsize,
    /// Told when few wait.
    few: Notify,
}

/// A call that is worked on; another's turn comes when it is dropped.
pub(super) struct AtWork<'a> {
    _place: SemaphorePermit<'a>,
    _counted: Counted<'a>,
}

/// A call that is there.
pub(crate) struct Counted<'a> {
    crowd: &'a Crowd,
    who: Who,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self {
            places: Semaphore::new(AT_WORK),
            callers: Mutex::default(),
            there: AtomicUsize::new(0),
            few: Notify::new(),
        }
    }

    /// Waits for its turn, first come first served.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: it did not come, or too many calls of this caller are there.
    pub(super) async fn enter(&self, who: Who) -> Result<AtWork<'_>, Refusal> {
        self.enter_within(who, PATIENCE).await
    }

    /// Whether the next call would have to wait behind too many, and is refused.
    pub(crate) fn is_full(&self) -> bool {
        self.there.load(Ordering::Relaxed) >= AT_WORK + WAITING
    }

    /// Until few wait, so that others may ask: one at a time, first come first served.
    pub(crate) async fn few_wait(&self) {
        self.few.notified().await;
    }

    async fn enter_within(&self, who: Who, patience: Duration) -> Result<AtWork<'_>, Refusal> {
        let counted = self.count(who)?;
        // It is never closed.
        let place = timeout(patience, self.places.acquire()).await.ok().and_then(Result::ok).ok_or(TOO_MANY)?;
        Ok(AtWork { _place: place, _counted: counted })
    }

    /// As many calls as may be there.
    #[cfg(test)]
    #[expect(clippy::unwrap_used, reason = "tests")]
    pub(crate) fn full(&self) -> Vec<Counted<'_>> {
        let who = |number: usize| Who::Certificate([u8::try_from(number / EACH as usize).unwrap(); 32]);
        (0..AT_WORK + WAITING).map(|number| self.count(who(number)).unwrap()).collect()
    }

    /// Counts a call that is looked at before it can be worked on.
    ///
    /// # Errors
    /// [`Refusal::Busy`]: too many calls are there, or too many of this caller.
    pub(super) fn count(&self, who: Who) -> Result<Counted<'_>, Refusal> {
        if self.is_full() {
            return Err(TOO_MANY);
        }
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let there = callers.entry(who).or_insert(0);
        if *there >= EACH {
            return Err(Refusal::Busy("as many calls of yours are under way as may be"));
        }
        *there += 1;
        self.there.fetch_add(1, Ordering::Relaxed);
        Ok(Counted { crowd: self, who })
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.crowd.there.fetch_sub(1, Ordering::Relaxed) <= AT_WORK + FEW {
            self.crowd.few.notify_one();
        }
        let mut callers = self.crowd.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = callers.get_mut(&self.who) {
            *there -= 1;
            if *there == 0 {
                callers.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    fn who(number: u8) -> Who {
        Who::Certificate([number; 32])
    }

    #[tokio::test]
    async fn so_many_calls_are_worked_on_the_next_waits_in_vain_or_for_the_end_of_one() {
        let crowd = Crowd::new();
        let mut at_work = Vec::new();
        for number in 0..AT_WORK {
            at_work.push(crowd.enter_within(who(u8::try_from(number).unwrap()), SOON).await.unwrap());
        }
        assert!(matches!(crowd.enter_within(who(200), SOON).await, Err(Refusal::Busy(_))));
        let (waited, ()) = tokio::join!(crowd.enter(who(200)), async { drop(at_work.pop()) });
        drop(waited.unwrap());
        drop(at_work);
        assert!(crowd.callers.lock().unwrap().is_empty(), "nobody is counted who is not there");
    }

    #[tokio::test]
    async fn behind_so_many_that_wait_nobody_waits() {
        let crowd = Crowd::new();
        let mut all = crowd.full();
        assert!(crowd.is_full());
        assert!(matches!(crowd.enter(who(201)).await, Err(Refusal::Busy(_))));
        all.pop();
        crowd.enter_within(who(201), SOON).await.unwrap();
    }

    #[tokio::test]
    async fn one_caller_has_so_many_and_the_others_have_theirs() {
        let crowd = Crowd::new();
        let mut at_work = Vec::new();
        for _ in 0..EACH {
            at_work.push(crowd.enter(who(1)).await.unwrap());
        }
        assert!(matches!(crowd.enter(who(1)).await, Err(Refusal::Busy(_))));
        crowd.enter_within(who(2), SOON).await.unwrap();
        at_work.pop();
        crowd.enter_within(who(1), SOON).await.unwrap();
    }
}
