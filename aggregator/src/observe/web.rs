//! The page and what it reads, over plain HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use zeroize::Zeroizing;

use super::{Metrics, Observe, listen};
use crate::setup::Home;
use crate::status::{self, Pasts, Status};
use crate::store::StoreError;

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const CURVES: &str = include_str!("curves.js");
const STYLE: &str = include_str!("page.css");

/// What says nothing of a federation.
const FILES: [&str; 3] = ["/page.js", "/page.css", "/curves.js"];

/// What the handlers need.
#[derive(Clone)]
struct Observed {
    home: Arc<Home>,
    latest: Arc<Mutex<Latest>>,
    metrics: Metrics,
    token: Option<Arc<Zeroizing<String>>>,
}

/// The status read last, for all who ask within [`FRESH`].
#[derive(Default)]
struct Latest {
    status: Option<(Instant, Arc<Status>)>,
    pasts: Pasts,
}

/// What the page reads: the status, and what only a running server knows.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    status: &'a Status,
    /// The newest protocol version of each member that has called.
    versions: BTreeMap<String, String>,
}

/// A status is read no more often than this, however many ask.
const FRESH: Duration = Duration::from_secs(1);

impl Observed {
    async fn status(&self) -> Result<Arc<Status>, StoreError> {
        let mut latest = self.latest.lock().await;
        if let Some((_, status)) = latest.status.as_ref().filter(|(read, _)| read.elapsed() < FRESH) {
            return Ok(Arc::clone(status));
        }
        let status = Arc::new(status::read_again(&self.home, &mut latest.pasts).await?);
        latest.status = Some((Instant::now(), Arc::clone(&status)));
        Ok(status)
    }
}

/// Serves until the program drains; gives the address.
///
/// # Errors
/// What the system says about the address.
pub(crate) async fn serve(
    observe: &Observe,
    home: Arc<Home>,
    metrics: Metrics,
    drained: watch::Receiver<bool>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(observe.listen).await?;
    let addr = listener.local_addr()?;
    let token = observe.token.clone().map(Arc::new);
    let observed = Observed { home, latest: Arc::default(), metrics, token };
    let router = Router::new()
        .route("/", get(page))
        .route(FILES[0], get(|| file("text/javascript; charset=utf-8", SCRIPT)))
        .route(FILES[1], get(|| file("text/css; charset=utf-8", STYLE)))
        .route(FILES[2], get(|| file("text/javascript; charset=utf-8", CURVES)))
        .route("/status.json", get(status_json))
        .route("/metrics", get(metrics_text))
        .layer(from_fn_with_state(observed.clone(), let_in))
        .with_state(observed);
    tokio::spawn(listen::serve(listener, router, drained));
    tracing::info!(%addr, "observed at");
    Ok(addr)
}

/// Whoever shows the token; without one, whoever reaches this machine by a name or address of its own: a page elsewhere must not read
/// this one through a visitor's browser.
async fn let_in(State(observed): State<Observed>, request: Request, next: Next) -> Response {
    let allowed = match &observed.token {
        // A browser asks for them without the token, and they are in everybody's copy of this program.
        _ if FILES.contains(&request.uri().path()) => true,
        Some(token) => shown(&request).is_some_and(|found| same(found.as_bytes(), token.as_bytes())),
        None => is_local(request.headers()),
    };
    if !allowed {
        let what = if observed.token.is_some() {
            "token missing or wrong\n"
        } else {
            "ask for this machine by its own address\n"
        };
        return (StatusCode::FORBIDDEN, what).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn shown(request: &Request) -> Option<&str> {
    let bearer = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let in_query = || request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("token="));
    bearer.and_then(|value| value.strip_prefix("Bearer ")).or_else(in_query)
}

/// By digest, so that the time says nothing of how much is right.
fn same(found: &[u8], token: &[u8]) -> bool {
    Sha256::digest(found) == Sha256::digest(token)
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

async fn page() -> Response {
    file("text/html; charset=utf-8", PAGE).await
}

async fn file(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn status_json(State(observed): State<Observed>) -> Response {
    let json = match observed.status().await {
        Ok(status) => serde_json::to_string(&Shown { status: &status, versions: observed.metrics.versions() })
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match json {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => failed(&error),
    }
}

async fn metrics_text(State(observed): State<Observed>) -> Response {
    let text = match observed.status().await {
        Ok(status) => observed.metrics.text(&status).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match text {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &str) -> Response {
    tracing::error!(error, "the status cannot be read");
    (StatusCode::INTERNAL_SERVER_ERROR, "the status cannot be read; the log says why\n").into_response()
}
