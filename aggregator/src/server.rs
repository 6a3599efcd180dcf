//! The running aggregator: engine, services and TLS on one address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use protos::limits::{MESSAGE_BYTES, RESPONSE_BYTES};
use protos::v1::enrolment_server::EnrolmentServer;
use protos::v1::federation_server::FederationServer;
use protos::version::Version;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::connections::Connections;
use crate::engine::{Engine, FalseSum, Pace};
use crate::limits::Limits;
use crate::observe::{self, Metrics, Observe};
use crate::refusal::Refusal;
use crate::service::{Allowed, Crowd, EnrolmentService, FederationService, Gate, Rate, Shared};
use crate::setup::{self, SetupError};
use crate::store::CrashHook;

/// How long calls under way may take to end when the program drains.
const DRAIN: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(20);
const CONNECTION_AGE: Duration = Duration::from_secs(3_600);
/// How long calls may go on over a connection of that age; watchers then connect anew.
const CONNECTION_GRACE: Duration = Duration::from_secs(600);
/// Small enough to be sent again, large enough to be few files.
const BLOB_BYTES: usize = 4 << 20;
const HEADER_BYTES: u32 = 16 << 10;
const RESETS: usize = 20;
/// Longest join request: a signing request, four keys and a name fit with room.
const JOIN_BYTES: usize = 16 << 10;
/// Flow-control windows: what each sender may have on the way before it is read, and so what it can make this program hold. A run of chunks: 5 MB a second
/// over a round trip of 50 ms.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What [`start`] needs to know.
#[derive(Clone)]
pub struct Config {
    /// A directory that [`setup::init`] made.
    pub dir: PathBuf,
    /// Where to listen; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How long gathering waits for houses.
    pub pace: Pace,
    /// Runs of contributions are kept in blobs of about this many bytes: what is lost at most when a stream breaks off.
    pub blob_bytes: usize,
    /// Where people and their monitoring see what goes on; nowhere by default.
    pub observe: Option<Observe>,
    /// What anybody may take.
    pub limits: Limits,
    /// For tests: the version of the contract that it says.
    pub version: Version,
    /// For tests: the sum is a false one.
    pub fault: Option<FalseSum>,
    /// For tests: called at every durable change.
    pub crash: Option<CrashHook>,
}

impl Config {
    /// `dir` on `listen`, at the default pace.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, listen: SocketAddr) -> Self {
        Self {
            dir: dir.into(),
            listen,
            pace: Pace::default(),
            blob_bytes: BLOB_BYTES,
            observe: None,
            limits: Limits::default(),
            version: Version::PRESENT,
            fault: None,
            crash: None,
        }
    }
}

/// A running aggregator. Dropping it leaves it running; end it with [`Handle::shutdown`].
pub struct Handle {
    /// The address it listens on.
    pub addr: SocketAddr,
    /// The address of the page and the metrics.
    pub observed: Option<SocketAddr>,
    draining: watch::Sender<bool>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    engine: Engine,
}

/// Why the aggregator did not start or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The directory.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The stored rounds cannot be taken up again.
    #[error("cannot take up the stored rounds: {0}")]
    Engine(#[from] Refusal),
    /// The address.
    #[error("cannot listen on {addr}: {source}; choose another --listen address")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The page would be open to everybody.
    #[error("{0} can be reached by others: --observe there needs --observe-token-file, or listen on 127.0.0.1")]
    OpenToAll(SocketAddr),
    /// The server's certificate and key do not make a TLS identity.
    #[error("{}: server.pem and server-key.pem cannot be used for TLS ({reason}); restore them from a backup", dir.display())]
    Certificate {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// TLS or the network stack.
    #[error("the server stopped: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The contract's description.
    #[error("the contract's description is damaged: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The task that plays the rounds is gone.
    #[error(
        "the rounds are not played any more: their task ended; its last words are in the log. Start again: what was accepted is on the disk"
    )]
    EngineEnded,
    /// A task ended unexpectedly.
    #[error("the server's task ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl ServeError {
    /// Whether the same may work later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Setup(error) => error.is_passing(),
            Self::Listen { .. } | Self::Transport(_) | Self::Engine(_) | Self::Task(_) | Self::EngineEnded => true,
            Self::OpenToAll(_) | Self::Certificate { .. } | Self::Reflection(_) => false,
        }
    }
}

/// Opens the directory, takes its rounds up where they were, and serves.
///
/// Boxed, so that the future's code is made here once, and not again in every program and test that awaits it.
///
/// # Errors
/// [`ServeError`] naming what is in the way.
pub fn start(config: Config) -> BoxFuture<'static, Result<Handle, ServeError>> {
    Box::pin(serving(config))
}

async fn serving(config: Config) -> Result<Handle, ServeError> {
    let mut home = setup::open(&config.dir).await?;
    let lock = setup::lock(&config.dir)?;
    if let Some(hook) = &config.crash {
        home.store = home.store.with_crash_hook(hook.clone());
    }
    home.store = home.store.within(config.limits.disk_mib);
    let listening = |source| ServeError::Listen { addr: config.listen, source };
    let incoming = TcpIncoming::bind(config.listen).map_err(listening)?.with_nodelay(Some(true));
    let incoming = incoming.with_keepalive(Some(KEEPALIVE));
    let addr = incoming.local_addr().map_err(listening)?;
    let tls = home.identity.tls().timeout(HANDSHAKE);
    let engine = Engine::start(&home, config.pace, config.fault).await?;
    let (draining, drained) = watch::channel(false);
    let metrics = Metrics::new();
    let (rate, crowd) = (Rate::new(&config.limits), Arc::new(Crowd::new()));
    let allowed = Allowed { rate, crowd: Arc::clone(&crowd), version: config.version };
    let gate = Gate::new(home.store.clone(), home.charter.clone(), metrics.clone(), allowed);
    let observed = match &config.observe {
        None => None,
        Some(observe) if observe.token.is_none() && !observe.listen.ip().is_loopback() => {
            return Err(ServeError::OpenToAll(observe.listen));
        }
        Some(observe) => {
            let served = observe::serve(observe, Arc::new(home.clone()), metrics.clone(), drained.clone()).await;
            Some(served.map_err(|source| ServeError::Listen { addr: observe.listen, source })?)
        }
    };
    let connections = Connections::new(incoming, &config.limits, metrics.clone(), Arc::clone(&crowd));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(protos::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<FederationServer<FederationService>>().await;
    let shared = Shared::new(
        home.charter,
        home.identity,
        home.store,
        engine.clone(),
        drained.clone(),
        &config,
        (metrics, crowd),
    );

    let federation = FederationServer::new(FederationService::new(shared.clone()))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(RESPONSE_BYTES);
    let enrolment = EnrolmentServer::new(EnrolmentService::new(shared)).max_decoding_message_size(JOIN_BYTES);
    let unusable = |error: tonic::transport::Error| {
        let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        ServeError::Certificate { dir: config.dir.clone(), reason }
    };
    let router = Server::builder()
        .tls_config(tls)
        .map_err(unusable)?
        .max_concurrent_streams(config.limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_max_pending_accept_reset_streams(Some(RESETS))
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_connection_age(CONNECTION_AGE)
        .max_connection_age_grace(CONNECTION_GRACE)
        .layer(gate)
        .add_service(health)
        .add_service(reflection)
        .add_service(enrolment)
        .add_service(federation);
    let server = router.serve_with_incoming_shutdown(connections, async move {
        let mut drained = drained;
        // An error means that the handle is gone without a word: serve on until the process ends.
        if drained.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
        // A load balancer looks elsewhere while calls under way end.
        reporter.set_not_serving::<FederationServer<FederationService>>().await;
    });
    let server = tokio::spawn(async move {
        let _held = lock;
        server.await
    });
    tracing::info!(%addr, "listening");
    Ok(Handle { addr, observed, draining, server, engine })
}

impl Handle {
    /// Takes no new calls, lets those under way end for a while, and closes the storage.
    ///
    /// # Errors
    /// [`ServeError`] when the server had failed.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        let Self { draining, mut server, engine, .. } = self;
        draining.send_replace(true);
        let ended = tokio::time::timeout(DRAIN, &mut server).await;
        if ended.is_err() {
            // The address is free again once the task is gone; how it ended says nothing new.
            server.abort();
            let _ = server.await;
        }
        engine.stop().await;
        match ended {
            Ok(result) => Ok(result??),
            Err(_) => Ok(()),
        }
    }

    /// Stops at once, as a crash would: whatever the engine had not committed is lost, and calls under way fail.
    pub async fn kill(self) {
        self.engine.kill().await;
        // A failure of the server adds nothing to a crash.
        let _ = self.shutdown().await;
    }

    /// Resolves when the server or its engine stops by itself, which only a failure makes them do.
    ///
    /// # Errors
    /// [`ServeError`]: what failed.
    pub async fn failed(&mut self) -> Result<(), ServeError> {
        tokio::select! {
            ended = &mut self.server => Ok(ended??),
            () = self.engine.ended() => Err(ServeError::EngineEnded),
        }
    }
}
