//! Micro-batches on several cores.
//!
//! On the CPU each worker runs whole micro-batches with single-threaded kernels: many of flex's elementwise kernels use one core, so
//! parallel products alone would leave the others idle. An accelerator gets one micro-batch after the other.
//!
//! Workers stay for the next call: what a thread has allocated and given back is its own to use again, and a step allocates the same as the last one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::LoraError;

/// Runs `work` on every item with `threads` workers and hands each result to `sink`, on the caller's thread, in the order of
/// completion. The first error ends the run.
pub(crate) fn for_each<I: Sync, T: Send>(
    threads: usize,
    items: &[I],
    work: impl Fn(&I) -> Result<T, LoraError> + Sync,
    mut sink: impl FnMut(&I, T),
) -> Result<(), LoraError> {
    let workers = threads.min(items.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = sync_channel(workers);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                let run = || {
                    while let Some((index, item)) = take(items, next) {
                        if sender.send(work(item).map(|result| (index, result))).is_err() {
                            return;
                        }
                    }
                };
                match worker() {
                    Some(worker) => {
                        worker.install(run);
                        WORKERS.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
                    }
                    None => run(),
                }
            });
        }
        drop(sender);
        // Dropped with the first error, so that no worker waits for ever to hand its result over.
        let receiver = receiver;
        while let Ok(message) = receiver.recv() {
            let (index, result) = message?;
            sink(&items[index], result);
        }
        Ok(())
    })
}

/// Threads that nobody uses now.
static WORKERS: Mutex<Vec<ThreadPool>> = Mutex::new(Vec::new());

/// One that is there, or a new one; none where the system gives no thread.
fn worker() -> Option<ThreadPool> {
    let idle = WORKERS.lock().unwrap_or_else(PoisonError::into_inner).pop();
    idle.or_else(|| ThreadPoolBuilder::new().num_threads(1).build().ok())
}

fn take<'a, I>(items: &'a [I], next: &AtomicUsize) -> Option<(usize, &'a I)> {
    let index = next.fetch_add(1, Ordering::Relaxed);
    items.get(index).map(|item| (index, item))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_whatever_the_number_of_threads() {
        for threads in [1, 3, 50] {
            let items: Vec<usize> = (0..20).collect();
            let mut seen = vec![0; 20];
            for_each(
                threads,
                &items,
                |i| Ok(i * i),
                |i, square| {
                    assert_eq!(square, i * i);
                    seen[*i] += 1;
                },
            )
            .unwrap();
            assert_eq!(seen, vec![1; 20]);
        }
    }

    #[test]
    fn an_error_ends_the_run_and_is_returned() {
        let items: Vec<usize> = (0..100).collect();
        let work = |i: &usize| {
            if *i == 7 { Err(LoraError::Empty { example: 7 }) } else { Ok(()) }
        };
        let result = for_each(2, &items, work, |_, ()| ());
        assert!(matches!(result, Err(LoraError::Empty { example: 7 })));
    }
}
