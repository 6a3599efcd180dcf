//! A data holder's side of Plainchant: local training, the house's policy, the gRPC client, the program
//! `plainchant-client`.
//!
//! The way through it:
//!
//! 1. [`join`]: an [`identity`] is made here, and an invitation exchanged for a certificate and the charter.
//! 2. [`config`] is the house's `client.toml`, [`policy`] what of a charter it refuses.
//! 3. [`trainer`] turns the house's rows into clipped, noised integers, with the crate `training`.
//! 4. [`round`]: the event loop. It charges the ledger, trains, encrypts, submits, answers, opens and applies, as
//!    `protocol::client::Round` says; [`store`] keeps what must survive a crash, and [`crash`] is where tests let it.
//! 5. [`proxy`] is the way out of the house's network, where there is one; [`connection`] goes through it, and [`version`] is what is
//!    spoken on it.
//! 6. [`standing`] is whether the house takes part at all: it may pause, and leave; [`hours`] is when it trains.
//! 7. [`progress`] is what the house sees of it; [`record`] compares the federation's record with what this member keeps, and [`evidence`]
//!    puts both into a folder for others; [`prove`] shows what leaves, with a canary for data; [`cli`] is the program.
//!
//! Only sums leave: loss, batch sizes and epsilon stay in the house's own files.

pub mod cli;
pub mod config;
pub mod connection;
pub mod crash;
pub mod evidence;
pub mod files;
pub mod hours;
mod html;
pub mod identity;
pub mod join;
mod patience;
pub mod policy;
pub mod progress;
pub mod prove;
pub mod proxy;
pub mod record;
pub mod round;
mod sealing;
mod signature;
pub mod standing;
pub mod store;
pub mod trainer;
pub mod version;
