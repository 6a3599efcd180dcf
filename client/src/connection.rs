//! The way to the aggregator: TLS that trusts exactly the invitation's authority, and waits between attempts.

use std::error::Error as _;
use std::time::Duration;

use base64::Engine as _;
use protos::limits;
use protos::v1::federation_client::FederationClient;
use rand::RngExt as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::identity::Identity;
use crate::proxy::{self, Connector, Environment, Network};
use crate::version::Speaking;

/// The name in every aggregator's certificate. The pinned authority signs one server only, so the address does not matter.
pub const SERVER_NAME: &str = "aggregator.plainchant";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The address or a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {url}: {reason}")]
pub struct ConnectError {
    /// The aggregator's address.
    pub url: String,
    /// What is wrong.
    pub reason: String,
}

/// A lazy channel to `url` that trusts only `authority` (DER), as the member `identity` or as nobody yet, by the
/// way that `network` or the environment says.
pub(crate) fn channel(
    url: &str,
    authority: &[u8],
    identity: Option<&Identity>,
    network: &Network,
) -> Result<Speaking, ConnectError> {
    let endpoint = endpoint(url, authority, identity)?;
    let failed = |reason: String| ConnectError { url: url.to_owned(), reason };
    let proxy = proxy::of(network, &Environment::read(), endpoint.uri()).map_err(|e| failed(e.to_string()))?;
    let channel = match proxy {
        None => endpoint.connect_timeout(CONNECT_TIMEOUT).connect_lazy(),
        // The proxy's own limits come first: their errors name it.
        Some(proxy) => {
            endpoint.connect_timeout(CONNECT_TIMEOUT + proxy::LONGEST).connect_with_connector_lazy(Connector(proxy))
        }
    };
    Ok(Speaking::over(channel))
}

/// The aggregator at `url`, by the authority that alone is trusted for it.
pub(crate) fn endpoint(url: &str, authority: &[u8], identity: Option<&Identity>) -> Result<Endpoint, ConnectError> {
    let failed = |reason: String| ConnectError { url: url.to_owned(), reason };
    let mut tls =
        ClientTlsConfig::new().domain_name(SERVER_NAME).ca_certificate(Certificate::from_pem(to_pem(authority)));
    if let Some(member) = identity {
        let certificate = member.certificate_pem();
        tls = tls.identity(tonic::transport::Identity::from_pem(certificate, member.tls_pem.as_bytes()));
    }
    let endpoint = Endpoint::from_shared(url.to_owned()).and_then(|endpoint| endpoint.tls_config(tls));
    Ok(endpoint
        .map_err(|e| failed(chain(&e)))?
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// A client of the federation, as `identity`; it dials when it is first used.
///
/// # Errors
/// [`ConnectError`]: the address, a key or the proxy cannot be used.
pub fn federation(identity: &Identity, network: &Network) -> Result<FederationClient<Speaking>, ConnectError> {
    Ok(over(of_member(identity, network)?))
}

/// The same, for whoever counts calls: each is made once. A member's are made again when the aggregator is too busy.
///
/// # Errors
/// [`ConnectError`]: the address, a key or the proxy cannot be used.
pub fn impatient(identity: &Identity, network: &Network) -> Result<FederationClient<Speaking>, ConnectError> {
    Ok(over(of_member(identity, network)?.impatient()))
}

fn of_member(identity: &Identity, network: &Network) -> Result<Speaking, ConnectError> {
    channel(network.address(&identity.url), &identity.authority_der, Some(identity), network)
}

/// A client of the federation over this channel.
pub(crate) fn over(channel: Speaking) -> FederationClient<Speaking> {
    FederationClient::new(channel)
        .max_decoding_message_size(limits::RESPONSE_BYTES)
        .max_encoding_message_size(limits::MESSAGE_BYTES)
}

/// Growing waits between attempts to connect, spread out so that members do not come back all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits from `shortest`, doubled after every failure, to `longest`.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, failures: 0 }
    }

    /// The next wait: between half and all of the doubled one.
    pub fn next_wait(&mut self) -> Duration {
        let full = self.shortest.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// A wait as after many failures, for what will not be mended soon.
    pub fn longest_wait(&mut self) -> Duration {
        self.failures = u32::MAX;
        self.next_wait()
    }

    /// It worked: the next failure waits briefly again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A status with its causes, for a log line.
pub(crate) fn describe(status: &tonic::Status) -> String {
    program::with_causes(status.message().to_owned(), status.source())
}

fn chain(error: &dyn std::error::Error) -> String {
    program::with_causes(error.to_string(), error.source())
}

fn to_pem(der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len()).step_by(64).map(|i| &body[i..(i + 64).min(body.len())]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_again_after_success() {
        let (shortest, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(shortest, longest);
        for failure in 0..20u32 {
            let full = shortest.saturating_mul(1 << failure.min(16)).min(longest);
            let wait = backoff.next_wait();
            assert!(full / 2 <= wait && wait <= full, "{failure}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= shortest);
        assert!(backoff.longest_wait() >= longest / 2);
    }
}
