//! Requests to the hub. Redirects are followed here, since the token goes to nobody but the hub: not to the stores that it leads to.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

/// Redirects that are followed, one after the other.
const REDIRECTS: usize = 5;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum WireError {
    /// The network.
    Network(String),
    /// A status that is no success.
    Status(u16),
    /// No answer of a hub.
    Strange(String),
    /// What came cannot be written to this file.
    Disk(PathBuf, io::Error),
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// What a file is; answered by the hub itself, wherever the file lies.
    About,
    /// A body from this byte on.
    Body(u64),
}

/// Whoever asks the hub.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    agent: Agent,
    authorization: Option<String>,
}

impl Wire {
    /// With a token. Whoever calls gives up after `silence`; the calls end by themselves a little later.
    pub(crate) fn new(token: Option<&str>, silence: Duration) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(silence * 2))
            .timeout_recv_response(Some(silence * 2))
            .user_agent(concat!("plainchant/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), authorization: token.map(|token| format!("Bearer {token}")) }
    }

    /// The answer of the last address that `url` leads to; for [`Ask::About`], of the last one on the hub's own host.
    pub(crate) fn ask(&self, url: &str, what: Ask) -> Result<Response<Body>, WireError> {
        let strange = |what: &str, text: &str| WireError::Strange(format!("{what} {text:?}"));
        let hub: Uri = url.parse().map_err(|_| strange("the address", url))?;
        let mut at = hub.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.once(&at, same_host(&at, &hub), what)?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            if !status.is_redirection() {
                return Err(WireError::Status(status.as_u16()));
            }
            let location = answer.headers().get("location").and_then(|text| text.to_str().ok()).unwrap_or_default();
            let next = follow(&at, location).ok_or_else(|| strange("a redirect to", location))?;
            if what == Ask::About && !same_host(&next, &hub) {
                return Ok(answer);
            }
            at = next;
        }
        Err(strange("more redirects than are followed, to", &at.to_string()))
    }

    fn once(&self, at: &Uri, on_hub: bool, what: Ask) -> Result<Response<Body>, WireError> {
        let mut request = if what == Ask::About { self.agent.head(at) } else { self.agent.get(at) };
        // Lengths and ranges are those of the file itself.
        request = request.header("Accept-Encoding", "identity");
        if let Some(authorization) = self.authorization.as_ref().filter(|_| on_hub) {
            request = request.header("Authorization", authorization);
        }
        if let Ask::Body(from @ 1..) = what {
            request = request.header("Range", format!("bytes={from}-"));
        }
        request.call().map_err(|error| WireError::Network(error.to_string()))
    }
}

fn same_host(a: &Uri, b: &Uri) -> bool {
    (a.scheme(), a.authority()) == (b.scheme(), b.authority())
}

/// Where a redirect leads; never from TLS to plain text.
fn follow(from: &Uri, location: &str) -> Option<Uri> {
    let to: Uri = location.parse().ok()?;
    let uri = if to.authority().is_some() {
        to
    } else {
        let mut parts = from.clone().into_parts();
        parts.path_and_query = Some(to.path_and_query().filter(|path| path.as_str().starts_with('/'))?.clone());
        Uri::from_parts(parts).ok()?
    };
    let (before, now) = (from.scheme_str(), uri.scheme_str());
    (now == Some("https") || (now == Some("http") && before == Some("http"))).then_some(uri)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_redirect_leads_on_the_host_or_away_and_never_out_of_tls() {
        let from: Uri = "https://hub.example/a/b?c".parse().unwrap();
        let to = |location: &str| follow(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/d?e").as_deref(), Some("https://hub.example/d?e"));
        assert_eq!(to("https://cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        for bad in ["", "http://hub.example/a", "ftp://cdn.example/x", "not an address", "d"] {
            assert_eq!(to(bad), None, "{bad:?}");
        }
        assert!(!same_host(&from, &"https://hub.example:8443/".parse().unwrap()));
        assert!(!same_host(&from, &"https://hub.example.evil/".parse().unwrap()));
    }
}
