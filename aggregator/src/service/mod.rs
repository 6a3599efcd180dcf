//! The gRPC services: what arrives is checked for caller and shape here, and decided by the engine.

mod authorise;
mod body;
mod complaint;
mod crowd;
mod enrolment;
mod federation;
mod rate;
mod room;
mod submit;
mod watch;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use protocol::{Charter, Digest};
use protos::v1;
use secure_sum::SealingPublicKey;

use crate::engine::Engine;
use crate::identity::Identity;
use crate::observe::Metrics;
use crate::server::Config;
use crate::store::Store;

pub(crate) use authorise::{Allowed, Gate};
pub(crate) use crowd::Crowd;
pub(crate) use enrolment::EnrolmentService;
pub(crate) use federation::FederationService;
pub(crate) use rate::Rate;

/// What every service needs.
pub(crate) struct Shared {
    pub(crate) charter: Charter,
    pub(crate) identity: Arc<Identity>,
    pub(crate) store: Store,
    pub(crate) engine: Engine,
    /// Turns true when the program drains: long streams end.
    pub(crate) draining: tokio::sync::watch::Receiver<bool>,
    pub(crate) submissions: submit::Slots,
    /// For what they hold in memory.
    pub(crate) room: room::Room,
    /// Calls that are worked on.
    pub(crate) crowd: Arc<Crowd>,
    /// Who is reading a house's ciphertext.
    pub(crate) downloads: submit::Slots,
    /// Whose complaint is being judged.
    pub(crate) complaints: submit::Slots,
    /// Runs of contributions are kept in blobs of about this many bytes.
    pub(crate) blob_bytes: usize,
    pub(crate) metrics: Metrics,
    /// What watchers ask at the same moment.
    pub(crate) watched: watch::Watched,
    /// The cohort list asked for last, by its announcement.
    pub(crate) latest_cohort: tokio::sync::Mutex<Option<(Digest, Bytes)>>,
    /// The check asked for last, by its announcement, and when it was read.
    pub(crate) latest_checked: tokio::sync::Mutex<Option<(Digest, Instant, v1::GetCheckedResponse)>>,
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
        config: &Config,
        (metrics, crowd): (Metrics, Arc<Crowd>),
    ) -> Arc<Self> {
        let submissions = submit::Slots::new("another submission of yours is under way");
        let downloads = submit::Slots::new("another body is on its way to you");
        let complaints = submit::Slots::new("another complaint of yours is being judged");
        let latest_sum = tokio::sync::Mutex::default();
        Arc::new(Self {
            charter,
            identity,
            store,
            engine,
            draining,
            submissions,
            room: room::Room::new(&config.limits, config.blob_bytes),
            crowd,
            downloads,
            complaints,
            blob_bytes: config.blob_bytes,
            metrics,
            watched: watch::Watched::default(),
            latest_cohort: tokio::sync::Mutex::default(),
            latest_checked: tokio::sync::Mutex::default(),
            latest_sum,
        })
    }
}

/// This X25519 key, when something can be sealed to it. One of low order would stop every member that must seal to it.
pub(crate) fn can_be_sealed_to(key: &[u8; 32]) -> Option<SealingPublicKey> {
    sealing_key(key).filter(SealingPublicKey::is_usable)
}

/// An X25519 key that was found usable when it was offered.
pub(crate) fn sealing_key(key: &[u8; 32]) -> Option<SealingPublicKey> {
    // `secure-sum` puts a version before a key.
    SealingPublicKey::from_bytes(&[&[1], key.as_slice()].concat()).ok()
}
