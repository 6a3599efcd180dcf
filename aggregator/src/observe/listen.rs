//! Connections to the page: so many at a time, none for ever. Whoever reaches its port must not take the files and the memory that the rounds need, with or
//! without a token: a request that never ends has none to show.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

/// Connections at a time; one beyond is closed.
const CONNECTIONS: usize = 64;
/// How long the head of a request may take, and how long a connection may wait for its next one.
const HEAD: Duration = Duration::from_secs(5);
/// After this a connection ends with the answer under way: others want its place.
const LIFE: Duration = Duration::from_secs(60);
/// How long that answer may take.
const LAST_ANSWER: Duration = Duration::from_secs(5);
/// After `accept` failed, which it does while no more files can be opened.
const AGAIN: Duration = Duration::from_millis(200);

/// Serves until the program drains.
pub(super) async fn serve(listener: TcpListener, router: Router, mut drained: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that the server is gone: so is this.
            _ = drained.wait_for(|drained| *drained) => return,
        };
        match (accepted, Arc::clone(&places).try_acquire_owned()) {
            (Ok((stream, _)), Ok(place)) => drop(tokio::spawn(connection(stream, router.clone(), place))),
            (Ok(_), Err(_)) => {}
            (Err(error), _) => {
                tracing::warn!(%error, "a connection to the page is not taken");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, router: Router, _place: OwnedSemaphorePermit) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // How it ended is the caller's affair.
    if timeout(LIFE, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER, connection).await;
    }
}
