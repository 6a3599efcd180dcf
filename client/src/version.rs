//! Which version of the protocol is spoken with the aggregator: every request says this program's, every answer the aggregator's.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use protos::version::{Apart, Unreadable, Version, agree};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, StatusCode};
use tonic::codegen::{Service, StdError};
use tonic::transport::Channel;

use crate::connection::Backoff;
use crate::patience;

/// This program and the aggregator speak no version of the protocol in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OtherVersion {
    /// They are too far apart.
    #[error(transparent)]
    Apart(#[from] Apart),
    /// It says something that is no version.
    #[error("the aggregator's answer: {0}; ask the model builder what listens there")]
    Unreadable(#[from] Unreadable),
}

impl OtherVersion {
    /// What a call failed of, where it is this.
    pub(crate) fn of(status: &tonic::Status) -> Option<&Self> {
        status.source()?.downcast_ref()
    }
}

/// A channel to the aggregator. Calls fail with [`OtherVersion`] once an answer shows that no version is spoken by both.
#[derive(Debug, Clone)]
pub struct Speaking {
    channel: Channel,
    /// The aggregator's, as it was logged last.
    told: Arc<Mutex<Version>>,
    /// Before a call is made again that was refused for the moment only; `None`: it is made once.
    waits: Option<Backoff>,
}

impl Speaking {
    /// Over this channel.
    pub(crate) fn over(channel: Channel) -> Self {
        Self { channel, told: Arc::new(Mutex::new(Version::PRESENT)), waits: Some(patience::waits()) }
    }

    /// The same, whose calls are made once, whatever the answer.
    pub(crate) fn impatient(self) -> Self {
        Self { waits: None, ..self }
    }
}

/// Whether anything is spoken with an aggregator of this version; says in the log what, where it is another one than was `told`.
fn heard(aggregator: Version, told: &Mutex<Version>) -> Result<(), OtherVersion> {
    let spoken = agree(Version::PRESENT, aggregator)?;
    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
    if *told != aggregator {
        *told = aggregator;
        tracing::info!(%aggregator, this_program = %Version::PRESENT, %spoken, "the aggregator says which protocol version it speaks");
    }
    Ok(())
}

impl Service<Request<Body>> for Speaking {
    type Response = Response<Body>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.channel.poll_ready(context).map_err(StdError::from)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        Version::PRESENT.say(request.headers_mut());
        // The one that was found ready makes the call.
        let next = self.channel.clone();
        let mut ready = std::mem::replace(&mut self.channel, next);
        let (told, waits) = (Arc::clone(&self.told), self.waits.clone());
        Box::pin(async move {
            let answer = match waits {
                Some(waits) => patience::call(ready, request, waits).await?,
                None => ready.call(request).await?,
            };
            // All of gRPC's have this one; others are of a server that did not come to ask which call it is.
            if answer.status() == StatusCode::OK {
                let aggregator = Version::said(answer.headers()).map_err(OtherVersion::from)?;
                heard(aggregator, &told)?;
            }
            Ok(answer)
        })
    }
}
