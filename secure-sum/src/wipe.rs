//! Wiping what finished work left on the stack: moved keys, round keys of AES, limbs of scalars.
//!
//! Compilers and libraries keep secrets in as many places of a frame as they like. All of these lie below the frame
//! of whoever called the work, so one pass over that range reaches them, whoever wrote them. It also keeps them from
//! being copied into the heap as the padding of whatever is moved there next.

use zeroize::Zeroize;

/// 64 KiB, several times what the deepest call here takes (a commitment, its tables on the heap).
const WORDS: usize = 8 * 1024;

/// Does the work, then zeroes the stack that it used on this thread.
pub(crate) fn after<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    stack();
    result
}

/// The same for work on all threads of the pool.
pub(crate) fn after_parallel<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    rayon::broadcast(|_| stack());
    stack();
    result
}

/// A frame of its own for the work, none of it in the caller's.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn stack() {
    let mut frame = [0_u64; WORDS];
    // Volatile writes, which the compiler does not leave out.
    frame.zeroize();
}
