//! Calls that the aggregator refused before it did anything for them, because too much was asked of it at that moment: they are made again over the same
//! connection. A house that took such an answer for a lost connection would follow the events anew, and ask for more than before.

use std::future::poll_fn;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use protos::rpc::Rpc;
use protos::rule;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Service, StdError};

use crate::connection::Backoff;

/// How often a call is made. After that its caller hears of it, some fifteen seconds later.
const CALLS: u32 = 8;

/// The waits between them.
pub(crate) fn waits() -> Backoff {
    Backoff::new(Duration::from_millis(250), Duration::from_secs(4))
}

/// Makes a call by a service that is ready, and makes it again after a wait while the answer is that too much is asked. A stream of the caller's is sent once:
/// it is not kept, and whoever sends it knows where it goes on.
pub(crate) async fn call<S>(
    mut service: S,
    request: Request<Body>,
    mut waits: Backoff,
) -> Result<Response<Body>, StdError>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Into<StdError>,
{
    let rpc = Rpc::of_path(request.uri().path());
    let Some(rpc) = rpc.filter(|rpc| !matches!(rpc, Rpc::Submit | Rpc::PutFinalState)) else {
        return service.call(request).await.map_err(Into::into);
    };
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, body.collect().await?.to_bytes());
    for _ in 1..CALLS {
        let answer = service.call(request.clone().map(whole)).await.map_err(Into::into)?;
        let Some(rule) = passing(&answer) else { return Ok(answer) };
        let wait = waits.next_wait();
        tracing::info!(
            ?rpc,
            rule,
            wait_ms = wait.as_millis(),
            "more is asked of the aggregator than it answers: asked again later"
        );
        tokio::time::sleep(wait).await;
        poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
    }
    service.call(request.map(whole)).await.map_err(Into::into)
}

fn whole(bytes: bytes::Bytes) -> Body {
    Body::new(Full::new(bytes))
}

/// The rule by which a call was refused that may be made again in a moment.
fn passing(answer: &Response<Body>) -> Option<&'static str> {
    let refused = answer.headers().get(rule::KEY)?;
    [rule::BUSY, rule::TOO_MANY_CALLS].into_iter().find(|rule| refused == rule)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use tonic::codegen::http::HeaderValue;
    use tower::service_fn;

    use super::*;

    /// What is asked by calls whose answers, in this order, are refused by these rules; and how the caller's one call ended.
    async fn asked(rpc: Rpc, rules: &[&'static str]) -> (Vec<Bytes>, Option<HeaderValue>) {
        let rules: VecDeque<_> = rules.iter().copied().collect();
        let there = Arc::new(Mutex::new((rules, Vec::new())));
        let seen = Arc::clone(&there);
        let service = service_fn(move |request: Request<Body>| {
            let seen = Arc::clone(&seen);
            async move {
                assert_eq!(request.headers()["kept"], "yes");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut seen = seen.lock().unwrap();
                seen.1.push(body);
                let mut answer = Response::new(Body::empty());
                if let Some(rule) = seen.0.pop_front() {
                    answer.headers_mut().insert(rule::KEY, HeaderValue::from_static(rule));
                }
                Ok::<_, StdError>(answer)
            }
        });
        let request = Request::builder().uri(format!("https://aggregator{}", rpc.path())).header("kept", "yes");
        let request = request.body(whole(Bytes::from_static(b"what is asked"))).unwrap();
        let short = Backoff::new(Duration::from_millis(1), Duration::from_millis(4));
        let answer = call(service, request, short).await.unwrap();
        let asked = there.lock().unwrap().1.clone();
        (asked, answer.headers().get(rule::KEY).cloned())
    }

    #[tokio::test]
    async fn a_call_that_is_refused_for_the_moment_is_made_again_with_the_same_bytes_until_it_is_answered() {
        let (asked, refused) = asked(Rpc::MarkReady, &["busy", "too-many-calls", "busy"]).await;
        assert_eq!(asked, vec![Bytes::from_static(b"what is asked"); 4]);
        assert_eq!(refused, None);
    }

    #[tokio::test]
    async fn a_call_that_is_refused_again_and_again_ends_with_that_answer() {
        let (asked, refused) = asked(Rpc::GetRoster, &["busy"; 20]).await;
        assert_eq!((asked.len(), refused.unwrap()), (CALLS as usize, HeaderValue::from_static("busy")));
    }

    #[tokio::test]
    async fn what_is_refused_by_another_rule_and_what_is_streamed_is_asked_once() {
        for (rpc, rule) in [(Rpc::MarkReady, "over"), (Rpc::Submit, "busy"), (Rpc::PutFinalState, "busy")] {
            let (asked, refused) = asked(rpc, &[rule]).await;
            assert_eq!((asked.len(), refused.unwrap()), (1, HeaderValue::from_static(rule)), "{rpc:?}");
        }
    }
}
