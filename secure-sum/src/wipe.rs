//! Wiping what finished work left on the stack: moved keys, round keys of AES, limbs of scalars.
//!
//! Compilers and libraries keep secrets in as many places of a frame as they like. All but what the work returns by
//! value lie below the frame of whoever called it, so one pass over that range reaches them, whoever wrote them. It also
//! keeps them from being copied into the heap as the padding of whatever is moved there next.
//!
//! Work on several threads wipes each thread's stack where its part ends: inside the parallel closure, or when the
//! thread's scratch buffers are dropped. Nothing waits for other work of the pool.

use zeroize::Zeroize;

/// 64 KiB, several times what the deepest call here takes (a commitment, its tables on the heap).
const WORDS: usize = 8 * 1024;

/// Does the work, then zeroes the stack that it used on this thread.
pub(crate) fn after<T>(work: impl FnOnce() -> T) -> T {
    let result = below(work);
    stack();
    result
}

/// A frame of its own for the work, none of it in the caller's.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Zeroes the stack below the caller, for drops of what a thread worked with.
#[inline(never)]
pub(crate) fn stack() {
    let mut frame = [0_u64; WORDS];
    // Volatile writes, which the compiler does not leave out.
    frame.zeroize();
}
