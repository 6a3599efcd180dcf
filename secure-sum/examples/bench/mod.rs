//! What the examples that measure share: time, and vectors drawn ahead.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// `--quick` asks for figures that are good enough to see that all works.
pub(crate) fn is_quick() -> bool {
    std::env::args().skip(1).any(|argument| argument == "--quick")
}

/// Seconds of the fastest repetition, after one that warms up: at least three and for at least 0.7 s.
pub(crate) fn fastest<E>(mut step: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let least = Duration::from_millis(if is_quick() { 100 } else { 700 });
    step()?;
    let (start, mut best, mut count) = (Instant::now(), f64::INFINITY, 0);
    while start.elapsed() < least || count < 3 {
        let one = Instant::now();
        step()?;
        best = best.min(one.elapsed().as_secs_f64());
        count += 1;
    }
    Ok(best)
}

/// Client number `client`'s values, each from -clamp to clamp: another vector for every client.
pub(crate) fn values(client: usize, count: usize, clamp: u64) -> Vec<i64> {
    let mut rng = ChaCha20Rng::seed_from_u64(client as u64);
    (0..count).map(|_| (rng.next_u64() % (2 * clamp + 1)) as i64 - clamp as i64).collect()
}
