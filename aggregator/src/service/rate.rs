//! How often somebody may call: a bucket of calls for each certificate and, without one, for each address, filled at a steady rate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::limits::Limits;
use crate::refusal::Refusal;

/// A bucket holds what comes in so many seconds.
const BURST_SECONDS: f64 = 20.0;
/// More buckets than this are looked through for full ones, which are as good as none.
const MANY: usize = 4096;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// By the certificate's digest.
    Certificate([u8; 32]),
    /// Without one.
    Address(Option<IpAddr>),
}

/// Everybody's buckets.
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    member: f64,
    anonymous: f64,
    buckets: Arc<Mutex<HashMap<Who, Bucket>>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    calls: f64,
    at: Instant,
}

impl Rate {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (member, anonymous) = (f64::from(limits.calls_per_second), f64::from(limits.anonymous_calls_per_second));
        Self { member, anonymous, buckets: Arc::default() }
    }

    /// Takes one call out of a bucket.
    ///
    /// # Errors
    /// [`Refusal::TooManyCalls`] when it is empty.
    pub(super) fn take(&self, who: Who, now: Instant) -> Result<(), Refusal> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MANY {
            buckets.retain(|who, bucket| self.filled(*who, bucket, now) < self.rate(*who) * BURST_SECONDS);
        }
        let rate = self.rate(who);
        let bucket = buckets.entry(who).or_insert(Bucket { calls: rate * BURST_SECONDS, at: now });
        *bucket = Bucket { calls: self.filled(who, bucket, now), at: now };
        if bucket.calls < 1.0 {
            return Err(Refusal::TooManyCalls { a_second: rate });
        }
        bucket.calls -= 1.0;
        Ok(())
    }

    fn rate(&self, who: Who) -> f64 {
        match who {
            Who::Certificate(_) => self.member,
            Who::Address(_) => self.anonymous,
        }
    }

    fn filled(&self, who: Who, bucket: &Bucket, now: Instant) -> f64 {
        let came = now.saturating_duration_since(bucket.at).as_secs_f64() * self.rate(who);
        (bucket.calls + came).min(self.rate(who) * BURST_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_calls_at_once_then_the_rate_and_nobody_pays_for_another() {
        let rate = Rate::new(&Limits { calls_per_second: 2, ..Limits::default() });
        let (one, other) = (Who::Certificate([1; 32]), Who::Certificate([2; 32]));
        let start = Instant::now();
        for _ in 0..40 {
            rate.take(one, start).unwrap();
        }
        assert!(matches!(rate.take(one, start), Err(Refusal::TooManyCalls { a_second }) if a_second == 2.0));
        rate.take(other, start).unwrap();
        rate.take(Who::Address(None), start).unwrap();
        let later = start + Duration::from_secs(3);
        assert_eq!((0..10).filter(|_| rate.take(one, later).is_ok()).count(), 6);
        // However long it is quiet, no more than a full bucket.
        let much_later = start + Duration::from_secs(10_000);
        assert_eq!((0..100).filter(|_| rate.take(one, much_later).is_ok()).count(), 40);
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten_and_empty_ones_are_not() {
        let rate = Rate::new(&Limits { anonymous_calls_per_second: 1, ..Limits::default() });
        let start = Instant::now();
        let who = |i: u32| Who::Address(Some(IpAddr::from(i.to_be_bytes())));
        (0..20).for_each(|_| rate.take(who(0), start).unwrap());
        let later = start + Duration::from_secs(2);
        for i in 1..=2 * MANY as u32 {
            rate.take(who(i), start).unwrap();
        }
        rate.take(who(u32::MAX), later).unwrap();
        assert!(rate.buckets.lock().unwrap().len() < MANY);
        assert_eq!((0..9).filter(|_| rate.take(who(0), later).is_ok()).count(), 2);
    }
}
