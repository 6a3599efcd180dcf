//! What people and their monitoring see of a running aggregator, on a port of its own: a page that updates by itself, the same as JSON,
//! and Prometheus metrics. Read-only, and never anything of a contribution: names, counts, times and what the record says.

mod listen;
mod metrics;
mod web;

use std::net::SocketAddr;

pub(crate) use metrics::Metrics;
pub(crate) use web::serve;
use zeroize::Zeroizing;

/// Where it is served, and to whom.
#[derive(Clone)]
pub struct Observe {
    /// The address. One that others reach needs a token.
    pub listen: SocketAddr,
    /// What a caller must show: as `Authorization: Bearer TOKEN`, or in the page's address, `?token=TOKEN`.
    pub token: Option<Zeroizing<String>>,
}
