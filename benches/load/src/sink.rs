//! A service that takes what the aggregator's `Submit` takes, over the same TLS, and drops it; or keeps it, as whoever acknowledges something must.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use anyhow::Context as _;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use protos::limits::{MESSAGE_BYTES, RUN_BYTES};
use protos::v1;
use protos::v1::federation_client::FederationClient;
use protos::v1::submit_request::Part;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::server::{ClientStreamingService, Grpc, NamedService};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The one name in its certificate.
const HOST: &str = "localhost";

/// Names the files.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Counts the bytes of one stream; writes them to a file of a folder, flushed before it answers, where there is one.
struct Count(Option<PathBuf>);

impl ClientStreamingService<v1::SubmitRequest> for Count {
    type Response = v1::SubmitResponse;
    type Future = BoxFuture<'static, Result<Response<Self::Response>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::SubmitRequest>>) -> Self::Future {
        let kept = self.0.clone();
        Box::pin(async move {
            let (mut parts, mut bytes) = (request.into_inner(), 0);
            let mut file = match &kept {
                None => None,
                Some(folder) => {
                    Some(tokio::fs::File::create(folder.join(NEXT.fetch_add(1, Ordering::Relaxed).to_string())).await?)
                }
            };
            while let Some(part) = parts.next().await {
                let Some(Part::Run(run)) = part?.part else { continue };
                bytes += run.data.len();
                if let Some(file) = &mut file {
                    file.write_all(&run.data).await?;
                }
            }
            if let Some(mut file) = file {
                file.flush().await?;
                file.sync_all().await?;
            }
            tracing::debug!(bytes, "taken");
            Ok(Response::new(v1::SubmitResponse::default()))
        })
    }
}

/// Every call is a `Submit`.
#[derive(Clone)]
struct Sink(Option<PathBuf>);

impl NamedService for Sink {
    const NAME: &'static str = "plainchant.v1.Federation";
}

impl tower::Service<http::Request<Body>> for Sink {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let kept = self.0.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MESSAGE_BYTES);
            Ok(grpc.client_streaming(Count(kept), request).await)
        })
    }
}

/// Serves until the process is stopped.
pub(crate) async fn serve(dir: &Path, keep: bool) -> anyhow::Result<()> {
    let certified = rcgen::generate_simple_self_signed(vec![HOST.to_owned()])?;
    let identity = Identity::from_pem(certified.cert.pem(), certified.signing_key.serialize_pem());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join("authority.pem"), certified.cert.pem())?;
    std::fs::write(dir.join("port"), listener.local_addr()?.port().to_string())?;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let mut server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity))?;
    Ok(server.add_service(Sink(keep.then(|| dir.to_owned()))).serve_with_incoming(incoming).await?)
}

/// Sends `bytes` bytes over each of `houses` connections, all from one moment on.
pub(crate) async fn send(dir: &Path, houses: usize, bytes: usize) -> anyhow::Result<()> {
    let read = |name: &str| {
        std::fs::read_to_string(dir.join(name)).with_context(|| format!("no {name}: is the sink running?"))
    };
    let (port, authority) = (read("port")?, Certificate::from_pem(read("authority.pem")?));
    let tls = ClientTlsConfig::new().ca_certificate(authority).domain_name(HOST);
    let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}"))?.tls_config(tls)?;
    let body = Bytes::from((0..bytes).map(|i| ((i * 131) >> 3) as u8).collect::<Vec<u8>>());
    let (start, mut senders) = (Arc::new(Barrier::new(houses + 1)), JoinSet::new());
    for _ in 0..houses {
        senders.spawn(one(endpoint.connect().await?, body.clone(), Arc::clone(&start)));
    }
    start.wait().await;
    let began = Instant::now();
    while let Some(done) = senders.join_next().await {
        done??;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = (bytes * houses) as f64 / seconds / f64::from(1 << 20);
    println!("{}", json!({ "houses": houses, "bytes_each": bytes, "seconds": seconds, "mib_per_s": rate }));
    Ok(())
}

async fn one(channel: Channel, body: Bytes, start: Arc<Barrier>) -> anyhow::Result<()> {
    let mut client = FederationClient::new(channel);
    let runs = (0..body.len()).step_by(RUN_BYTES).map(move |at| {
        let data = body.slice(at..(at + RUN_BYTES).min(body.len()));
        v1::SubmitRequest { part: Some(Part::Run(v1::ChunkRun { first: 0, data })) }
    });
    start.wait().await;
    client.submit(futures::stream::iter(runs)).await?;
    Ok(())
}
