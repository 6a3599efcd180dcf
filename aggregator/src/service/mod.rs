//! The gRPC services: what arrives is checked for shape and caller here, and decided by the engine.

mod authorise;
mod enrolment;
mod federation;
mod submit;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use protocol::{Charter, Digest};
use secure_sum::SealingPublicKey;

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
    /// The sum asked for last.
    pub(crate) latest_sum: tokio::sync::Mutex<Option<(Digest, Bytes)>>,
}

impl Shared {
    pub(crate) fn new(
        charter: Charter,
        identity: Arc<Identity>,
        store: Store,
        engine: Engine,
        draining: tokio::sync::watch::Receiver<bool>,
    ) -> Arc<Self> {
        let (submissions, latest_sum) = (submit::Slots::default(), tokio::sync::Mutex::default());
        Arc::new(Self { charter, identity, store, engine, draining, submissions, latest_sum })
    }
}

/// Whether something can be sealed to this X25519 key. One of low order would stop every member that must seal to it.
pub(crate) fn can_be_sealed_to(key: &[u8; 32]) -> bool {
    // `secure-sum` puts a version before a key.
    let versioned = [&[1], key.as_slice()].concat();
    SealingPublicKey::from_bytes(&versioned).is_ok_and(|key| secure_sum::seal(&key, b"", b"", b"").is_ok())
}
