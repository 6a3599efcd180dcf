//! The round engine, its storage, the gRPC server and the model builder's program.
//!
//! The way through it:
//! 1. [`setup`]: an aggregator's directory (keys by [`identity`], the charter, the database) and invitations to it.
//! 2. [`store`]: what survives a restart. Every accepted input is a row before it is acted on.
//! 3. `engine`: one task that owns the round; `protocol`'s steps decide, the engine has them stored and carried out.
//! 4. `service`: the gRPC calls, each behind one table, [`authorisation`]; [`refusal`]: everything a caller can be told.
//! 5. [`server`]: all of it on one address, within what `connections` lets in. [`isolation`]: who is left out. [`status`]: where a federation is, [`observe`]: who sees it,
//!    [`record`]: its record as a file. [`config`]: its file,
//!    with its [`limits`]. [`cli`]: the program.
//!
//! The aggregator never sees a contribution in the clear. Under release policy `aggregator` it opens each round's sum
//! and checks that it comes to the same state as the houses; under `clients` it stores and relays what it cannot read.

pub mod authorisation;
pub mod cli;
pub mod clock;
pub mod config;
mod connections;
mod engine;
pub mod identity;
pub mod isolation;
pub mod limits;
pub mod observe;
pub mod record;
pub mod refusal;
pub mod server;
mod service;
pub mod setup;
pub mod status;
pub mod store;

pub use engine::{FalseSum, Pace};
