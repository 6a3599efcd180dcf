//! The gRPC services: what arrives is checked for shape and caller here, and decided by the engine.

mod authorise;
mod enrolment;
mod federation;
mod submit;
mod watch;

use std::sync::Arc;

use protocol::Charter;

use crate::engine::Engine;
use crate::identity::Identity;
use crate::store::Store;

pub(crate) use enrolment::EnrolmentService;
pub(crate) use federation::FederationService;

/// What every service needs.
pub(crate) struct Shared {
    pub(crate) charter: Charter,
    pub(crate) identity: Arc<Identity>,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    /// Turns true when the program drains: long streams end.
    pub(crate) draining: tokio::sync::watch::Receiver<bool>,
    pub(crate) submissions: submit::Slots,
}

impl Shared {
    pub(crate) fn new(
        charter: Charter,
        identity: Arc<Identity>,
        store: Store,
        engine: Engine,
        draining: tokio::sync::watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self { charter, identity, store, engine, draining, submissions: submit::Slots::default() })
    }
}
