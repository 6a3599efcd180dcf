//! Who is calling: in front of all services, from the TLS certificate alone. What the table does not allow is denied here, and
//! a service finds the caller with the request.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use protocol::{Charter, HouseName, Role, Signed, Statement};
use protos::rpc::Rpc;
use protos::rule;
use protos::version::{Unreadable, Version, agree};
use tonic::codegen::http;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Request, Status};
use tower::{Layer, Service};

use super::crowd::Crowd;
use super::rate::{Rate, Who};
use crate::authorisation::{HEALTH, REFLECTION, Whom, whom};
use crate::clock;
use crate::connections::Peer;
use crate::identity::{MEMBER_MS, certificate_digest};
use crate::observe::Metrics;
use crate::refusal::Refusal;
use crate::store::Store;

/// How long a call may take up to its answer, with its request: one that comes byte by byte holds memory and a stream. Contributions and final states have
/// limits of their own.
const CALL: Duration = Duration::from_secs(60);

/// An enrolled member, as its TLS certificate says; there is no other way to make one.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    name: HouseName,
    certificate: [u8; 32],
}

impl Caller {
    /// Who makes this call.
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        request.extensions().get::<Self>().cloned().ok_or(Refusal::NoCertificate)
    }

    /// The digest of its certificate.
    pub(crate) fn certificate(&self) -> [u8; 32] {
        self.certificate
    }

    /// Its name.
    pub(crate) fn name(&self) -> &HouseName {
        &self.name
    }

    /// Refuses a message that another member signed, whoever passes it on.
    pub(crate) fn speaks_for_itself<T: Statement>(&self, message: &Signed<T>) -> Result<(), Refusal> {
        if *message.signer() == self.name {
            return Ok(());
        }
        Err(Refusal::NotTheCaller { caller: self.name.clone(), signer: message.signer().clone() })
    }

    /// Its certificate may have been revoked since the call began.
    pub(crate) async fn still_stands(&self, store: &Store) -> Result<(), Refusal> {
        member_of(store, self.certificate).await.map(drop)
    }
}

async fn member_of(store: &Store, certificate: [u8; 32]) -> Result<HouseName, Refusal> {
    let stored = store.certificate(certificate).await?.ok_or(Refusal::NotEnrolled)?;
    if stored.revoked {
        return Err(Refusal::Revoked(stored.member));
    }
    // TLS looks when a connection begins, and not again.
    if clock::now_ms() >= stored.issued_at_ms.saturating_add(MEMBER_MS) {
        return Err(Refusal::Expired(stored.member));
    }
    Ok(stored.member)
}

/// Where a call comes from.
pub(super) fn address_of(call: &http::Extensions) -> Option<IpAddr> {
    call.get::<TlsConnectInfo<Peer>>()?.get_ref().address()
}

/// The table, in front of all services.
#[derive(Clone)]
pub(crate) struct Gate {
    store: Store,
    charter: Arc<Charter>,
    metrics: Metrics,
    allowed: Arc<Allowed>,
}

/// What every call is held to, whoever makes it.
pub(crate) struct Allowed {
    /// How often.
    pub(crate) rate: Rate,
    /// How many at once.
    pub(crate) crowd: Arc<Crowd>,
    /// What is spoken here.
    pub(crate) version: Version,
}

impl Gate {
    pub(crate) fn new(store: Store, charter: Charter, metrics: Metrics, allowed: Allowed) -> Self {
        Self { store, charter: Arc::new(charter), metrics, allowed: Arc::new(allowed) }
    }

    /// Who calls, where the table lets it; `None` for a call that needs no certificate. TLS has checked that the federation's
    /// authority signed it, that it is in its time and that the caller holds its key.
    async fn admit(
        &self,
        path: &str,
        rpc: Option<Rpc>,
        said: Result<Version, Unreadable>,
        certificate: Option<[u8; 32]>,
        address: Option<IpAddr>,
    ) -> Result<Option<Caller>, Refusal> {
        let who = certificate.map_or(Who::Address(address), Who::Certificate);
        // Before anything is looked up.
        self.allowed.rate.take(who, Instant::now())?;
        if path == HEALTH {
            return Ok(None);
        }
        // Until it is known who calls: what comes of the call is counted again once its request is there.
        let _looked_up = match rpc {
            Some(Rpc::WatchEvents | Rpc::Submit | Rpc::PutFinalState) => None,
            _ => Some(self.allowed.crowd.count(who)?),
        };
        let whom = if path == REFLECTION { Whom::Members } else { whom(rpc.ok_or(Refusal::NoSuchCall)?) };
        if whom == Whom::Invited {
            self.speaks(said)?;
            return Ok(None);
        }
        let certificate = certificate.ok_or(Refusal::NoCertificate)?;
        let name = member_of(&self.store, certificate).await?;
        let role = self.role(&name).ok_or(Refusal::NotEnrolled)?;
        if !whom.includes(role) {
            return Err(Refusal::NotForYou { caller: name, whom: whom.describe() });
        }
        // What reflection says, and how, is gRPC's.
        if rpc.is_some() {
            if let Ok(said) = said {
                self.metrics.speaks(&name, said);
            }
            self.speaks(said)?;
        }
        Ok(Some(Caller { name, certificate }))
    }

    /// Refuses a caller with which no version is spoken. It is asked after who it is, so that its operator can be told which member to update.
    fn speaks(&self, said: Result<Version, Unreadable>) -> Result<(), Refusal> {
        let said =
            said.map_err(|unreadable| Refusal::UnreadableVersion { unreadable, present: self.allowed.version })?;
        agree(said, self.allowed.version)?;
        Ok(())
    }

    fn role(&self, name: &HouseName) -> Option<Role> {
        self.charter.members().find(|(member, _)| member == name).map(|(_, role)| role)
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { gate: Arc::new(self.clone()), inner }
    }
}

/// An answer whose error names its rule. Ours do; tonic's own are about bytes that it could not read as a message, or that were too
/// many.
fn named<R: Default>(answer: http::Response<R>) -> http::Response<R> {
    if answer.headers().contains_key(rule::KEY) {
        return answer;
    }
    match answer.headers().get("grpc-status").map(|code| Code::from_bytes(code.as_bytes())) {
        Some(Code::Internal) => Status::from(Refusal::NoMessage).into_http(),
        Some(Code::OutOfRange) => Status::from(Refusal::TooLarge).into_http(),
        _ => answer,
    }
}

/// Services behind the gate.
#[derive(Clone)]
pub(crate) struct Gated<S> {
    gate: Arc<Gate>,
    inner: S,
}

impl<S, B, R> Service<http::Request<B>> for Gated<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        let gate = Arc::clone(&self.gate);
        // The one that was found ready makes the call.
        let next = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            // Nothing but what TLS checked makes a caller.
            request.extensions_mut().remove::<Caller>();
            let address = address_of(request.extensions());
            let connection = request.extensions().get::<TlsConnectInfo<Peer>>();
            let certificates = connection.and_then(TlsConnectInfo::peer_certs);
            let peer = connection.map(|connection| connection.get_ref().clone());
            let certificate = certificates.as_ref().and_then(|all| all.first()).map(|first| certificate_digest(first));
            let (rpc, start) = (Rpc::of_path(request.uri().path()), Instant::now());
            let said = Version::said(request.headers());
            let answer = match gate.admit(request.uri().path(), rpc, said, certificate, address).await {
                Ok(caller) => {
                    if let Some(caller) = caller {
                        request.extensions_mut().insert(caller);
                    }
                    match rpc {
                        Some(Rpc::Submit | Rpc::PutFinalState) => ready.call(request).await,
                        _ => match tokio::time::timeout(CALL, ready.call(request)).await {
                            Ok(answer) => answer,
                            Err(_) => Ok(Status::from(Refusal::TooSlow { seconds: CALL.as_secs() }).into_http()),
                        },
                    }
                }
                Err(refusal) => {
                    if let (Some(peer), Refusal::Busy(_)) = (&peer, &refusal) {
                        peer.refused();
                    }
                    Ok(Status::from(refusal).into_http())
                }
            };
            let mut answer = answer.map(named);
            if let Ok(answer) = &mut answer {
                gate.allowed.version.say(answer.headers_mut());
                let text = |key: &str| answer.headers().get(key).and_then(|value| value.to_str().ok());
                let failed = text("grpc-status").filter(|code| *code != "0").map(|_| "failed");
                gate.metrics.answered(rpc, text(rule::KEY).or(failed).unwrap_or("ok"), start.elapsed());
            }
            answer
        })
    }
}
