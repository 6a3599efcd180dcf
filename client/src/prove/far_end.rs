//! Where the canary arrives: TLS and gRPC as an aggregator's, in this process, on a connection that is no network's and opens no port.
//! Every byte is kept as it came, under TLS and out of it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use protos::rpc::Rpc;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use protos::version::Version;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tonic::codegen::{Body, Service, StdError, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService, UnaryService};
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::ProveError;
use super::rehearsal::{Rehearsal, Server};
use crate::connection;
use crate::version::Speaking;

/// Bytes that lie between both ends.
const BETWEEN: usize = 1 << 20;
/// How long the far end may take to see that all was said.
const LAST_WORDS: Duration = Duration::from_secs(30);

/// What came.
pub(super) struct Arrived {
    /// As it would stand on the cable: TLS.
    pub(super) wire: Vec<u8>,
    /// Out of TLS, as an aggregator has it: HTTP/2 with gRPC's messages in it.
    pub(super) read: Vec<u8>,
    /// The messages in it.
    pub(super) came: Came,
}

/// Messages, each kind in the order in which it came.
#[derive(Default)]
pub(super) struct Came {
    pub(super) finds: Vec<v1::FindUploadRequest>,
    pub(super) parts: Vec<v1::SubmitRequest>,
}

type Log = Arc<Mutex<Vec<u8>>>;
type Messages = Arc<Mutex<Came>>;

fn taken<T: Default>(shared: &Mutex<T>) -> T {
    std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs `send` with a client whose connection, made as any to the aggregator, ends here.
pub(super) async fn receive<F, R>(
    rehearsal: &Rehearsal,
    send: impl FnOnce(FederationClient<Speaking>) -> F,
) -> Result<Arrived, ProveError>
where
    F: Future<Output = Result<R, ProveError>>,
{
    let failed = |error: &dyn std::fmt::Display| ProveError::Rehearsal(error.to_string());
    let identity = &rehearsal.identity;
    let (near, far) = tokio::io::duplex(BETWEEN);
    let endpoint = connection::endpoint(&identity.url, &identity.authority_der, Some(identity));
    let channel = endpoint.map_err(|e| failed(&e))?.connect_with_connector_lazy(Once(Some(near)));
    let tls = TlsAcceptor::from(Arc::new(tls(&rehearsal.server).map_err(|e| failed(&e))?));
    let (wire, read, messages) = (Log::default(), Log::default(), Messages::default());
    let service = FarEnd(Arc::clone(&messages));
    let far = Tee { inner: far, log: Arc::clone(&wire) };
    let read_too = Arc::clone(&read);
    let (all_said, enough) = tokio::sync::oneshot::channel::<()>();
    let mut served = tokio::spawn(async move {
        let stream = Tee { inner: tls.accept(far).await?, log: read_too };
        // A server ends with the last of its connections: there is one, and none after it.
        let incoming = futures::stream::iter([Ok::<_, io::Error>(stream)]).chain(futures::stream::pending());
        let server = tonic::transport::Server::builder().add_service(service);
        let enough = async { drop(enough.await) };
        server.serve_with_incoming_shutdown(incoming, enough).await.map_err(io::Error::other)
    });
    let flat = |ended: Result<Result<(), io::Error>, tokio::task::JoinError>| match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed(&error)),
        Err(error) => Err(failed(&error)),
    };
    tokio::select! {
        sent = send(connection::over(Speaking::over(channel))) => drop(sent?),
        ended = &mut served => {
            flat(ended)?;
            return Err(failed(&"the far end was gone before everything was sent"));
        }
    }
    drop(all_said);
    flat(tokio::time::timeout(LAST_WORDS, served).await.map_err(|e| failed(&e))?)?;
    Ok(Arrived { wire: taken(&wire), read: taken(&read), came: taken(&messages) })
}

/// As the aggregator's, but that nobody without a certificate is let in.
fn tls(server: &Server) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(server.authority.clone()))?;
    let members = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = vec![CertificateDer::from(server.certificate.clone())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server.key.to_vec()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(members)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// The one connection there is.
struct Once(Option<DuplexStream>);

impl Service<Uri> for Once {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::ready(self.0.take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::ConnectionRefused.into()))
    }
}

/// Keeps what is read from a stream.
struct Tee<S> {
    inner: S,
    log: Log,
}

impl<S: AsyncRead + Unpin> AsyncRead for Tee<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tee<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S> Connected for Tee<S> {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// The two calls with which a contribution comes; it has nothing else to say.
#[derive(Clone)]
struct FarEnd(Messages);

impl NamedService for FarEnd {
    const NAME: &'static str = v1::federation_server::SERVICE_NAME;
}

impl<B> Service<http::Request<B>> for FarEnd
where
    B: Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            let path = request.uri().path();
            let mut answer = if path == Rpc::FindUpload.path() {
                Grpc::new(ProstCodec::default()).unary(own, request).await
            } else if path == Rpc::Submit.path() {
                Grpc::new(ProstCodec::default()).client_streaming(own, request).await
            } else {
                Status::unimplemented("the rehearsal takes a contribution and nothing else").into_http()
            };
            Version::PRESENT.say(answer.headers_mut());
            Ok(answer)
        })
    }
}

impl UnaryService<v1::FindUploadRequest> for FarEnd {
    type Response = v1::FindUploadResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<v1::FindUploadRequest>) -> Self::Future {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).finds.push(request.into_inner());
        Box::pin(async { Ok(Response::new(v1::FindUploadResponse { chunks: 0, accepted: false })) })
    }
}

impl ClientStreamingService<v1::SubmitRequest> for FarEnd {
    type Response = v1::SubmitResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::SubmitRequest>>) -> Self::Future {
        let messages = Arc::clone(&self.0);
        Box::pin(async move {
            let mut came = request.into_inner();
            while let Some(message) = came.message().await? {
                messages.lock().unwrap_or_else(PoisonError::into_inner).parts.push(message);
            }
            Ok(Response::new(v1::SubmitResponse {}))
        })
    }
}
