//! Audits: does what runs leak no more than it claims? A lower bound on epsilon from the outside, beside the accountant's upper
//! bound.
//!
//! [`one_run`] puts many [`Canaries`] into one run of the real mechanism, each with a fair coin, and guesses from the opened
//! sums which are in; [`Guesses`] turns right guesses into a bound. [`Broken`] mechanisms show that a mistake is found.
//! [`membership`] attacks what is released at the end, as an outsider would.

mod bound;
mod broken;
mod canaries;
pub mod membership;
mod one_run;

pub use bound::Guesses;
pub use broken::{Broken, HalfNoise, ReusedNoise, Unclipped};
pub use canaries::Canaries;
pub use one_run::{Audit, AuditError, AuditRow, Finding, Setting, one_run};
