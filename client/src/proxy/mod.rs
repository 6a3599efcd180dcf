//! The way out of a house's network: an HTTP proxy that is asked by CONNECT for a tunnel, through which TLS goes end to end.
//!
//! `[network] proxy` in `client.toml` holds for every address. Without it `HTTPS_PROXY` does, except for this machine's own (loopback) addresses
//! and for what `NO_PROXY` names. The proxy learns the aggregator's host and port, and nothing of what is said.
//!
//! hyper-util's `Tunnel` is not used: its error has no status, so that a refusal could not be told from a proxy that does not get through.

mod error;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codegen::Service;
use tonic::codegen::http::uri::Authority;
use tonic::transport::Uri;
use zeroize::Zeroizing;

pub use error::ProxyError;

/// The longest head of an answer that is read, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// So many headers are read of it.
const MAX_HEADERS: usize = 64;
/// The port of a proxy whose address names none, as for any `http://` address.
const DEFAULT_PORT: u16 = 80;
/// How long a connection to the proxy may take.
const REACH: Duration = Duration::from_secs(10);
/// How long the proxy may take to answer: it dials the aggregator in this time.
const ANSWER: Duration = Duration::from_secs(20);
/// How long all of it may take.
pub(crate) const LONGEST: Duration = Duration::from_secs(30);
/// In place of a proxy: none, whatever the environment says.
const NONE: &str = "none";

/// `[network]` of `client.toml`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The proxy for all connections to the aggregator, or "none"; left out, the environment's.
    pub proxy: Option<Setting>,
    /// The aggregator's address, where it has moved since the invitation; its authority stays the invitation's.
    pub url: Option<String>,
}

impl Network {
    /// The aggregator's address: this one, else the invitation's.
    pub(crate) fn address<'a>(&'a self, invited: &'a str) -> &'a str {
        self.url.as_deref().unwrap_or(invited)
    }

    /// Whether the address, if one is written, is one.
    pub(crate) fn has_usable_url(&self) -> bool {
        let usable =
            |url: &str| url.parse::<Uri>().is_ok_and(|url| url.scheme_str() == Some("https") && url.host().is_some());
        self.url.as_deref().is_none_or(usable)
    }

    /// Whether a user stands in it, and so perhaps a password.
    pub(crate) fn has_user(&self) -> bool {
        self.proxy.as_ref().is_some_and(|proxy| proxy.0.contains('@'))
    }
}

/// A proxy as somebody wrote it. It may hold a password: it is wiped on drop, and not shown.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Setting(Zeroizing<String>);

impl From<String> for Setting {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Setting(..)")
    }
}

/// What a proxy's address must be.
const RULE: &str = "must be \"none\" or http://HOST:PORT, with USER:PASSWORD@ before HOST if need be, percent-encoded";

/// An address that names no proxy. What was written is not shown: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} {RULE}")]
pub struct SettingError(&'static str);

impl Setting {
    /// The proxy, or `None` for "none".
    ///
    /// # Errors
    /// What it must be.
    pub(crate) fn proxy(&self) -> Result<Option<Proxy>, &'static str> {
        if self.0.eq_ignore_ascii_case(NONE) { Ok(None) } else { Proxy::parse(&self.0).map(Some).ok_or(RULE) }
    }
}

/// What the environment says of proxies; an empty variable says nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    https_proxy: Option<Setting>,
    no_proxy: String,
}

impl Environment {
    /// Reads `HTTPS_PROXY` or `https_proxy`, and `NO_PROXY` or `no_proxy`.
    pub(crate) fn read() -> Self {
        let first = |names: [&str; 2]| {
            names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
        };
        Self {
            https_proxy: first(["HTTPS_PROXY", "https_proxy"]).map(Setting::from),
            no_proxy: first(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        }
    }
}

/// The proxy for `url`: the configuration's, else the environment's.
///
/// # Errors
/// [`SettingError`] naming the key or the variable.
pub(crate) fn of(network: &Network, environment: &Environment, url: &Uri) -> Result<Option<Proxy>, SettingError> {
    if let Some(setting) = &network.proxy {
        return setting.proxy().map_err(|_| SettingError("network.proxy"));
    }
    let (Some(setting), Some(host)) = (&environment.https_proxy, url.host()) else { return Ok(None) };
    if is_loopback(host) || is_excepted(&environment.no_proxy, host, port(url)) {
        return Ok(None);
    }
    setting.proxy().map_err(|_| SettingError("HTTPS_PROXY"))
}

/// The port of an aggregator's address.
pub(crate) fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(443)
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn is_loopback(host: &str) -> bool {
    match without_brackets(host).parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = host.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Whether `NO_PROXY` names this host: `*`, an address, or a name, which names what is under it too, with a port if need be.
fn is_excepted(list: &str, host: &str, port: u16) -> bool {
    let host = without_brackets(host).trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some(address) = address {
            return without_brackets(entry).parse() == Ok(address);
        }
        let (name, only) = match entry.rsplit_once(':').map(|(name, digits)| (name, digits.parse::<u16>())) {
            Some((name, Ok(only))) => (name, Some(only)),
            _ => (entry, None),
        };
        let name = name.trim_start_matches('*').trim_matches('.').to_ascii_lowercase();
        let is_named = host.strip_suffix(&name).is_some_and(|before| before.is_empty() || before.ends_with('.'));
        !name.is_empty() && is_named && only.is_none_or(|only| only == port)
    })
}

/// An HTTP proxy. Shown, it has neither user nor password.
#[derive(Clone)]
pub(crate) struct Proxy {
    authority: Authority,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Arc<Zeroizing<String>>>,
    answer: Duration,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Proxy {
    /// Reads `http://USER:PASSWORD@HOST:PORT`; `http://` may be left out, as in the environment it often is.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some(_) => return None,
            None => text,
        };
        // A password is percent-encoded, but not every one that is written: only the last @ is before the host.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let authority: Authority = place.strip_suffix('/').unwrap_or(place).parse().ok()?;
        let port = authority.as_str().strip_prefix(authority.host())?;
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
        if authority.host().is_empty() || !is_port {
            return None;
        }
        let authorization = match user {
            Some(user) => Some(Arc::new(basic(user)?)),
            None => None,
        };
        Some(Self { authority, authorization, answer: ANSWER })
    }

    /// Its host, without brackets.
    pub(crate) fn host(&self) -> &str {
        without_brackets(self.authority.host())
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(DEFAULT_PORT)
    }

    /// A tunnel to `host` (an IPv6 address in brackets) and `port`, through which nothing has been said yet.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub(crate) async fn tunnel(&self, host: &str, port: u16) -> Result<TcpStream, ProxyError> {
        let unreached = |source| ProxyError::Unreached { proxy: self.to_string(), source };
        let connecting = TcpStream::connect((self.host(), self.port()));
        let mut stream = match tokio::time::timeout(REACH, connecting).await {
            Ok(connected) => connected.map_err(unreached)?,
            Err(_) => return Err(unreached(io::ErrorKind::TimedOut.into())),
        };
        stream.set_nodelay(true).map_err(unreached)?;
        let target = format!("{host}:{port}");
        match tokio::time::timeout(self.answer, self.ask(&mut stream, &target)).await {
            Ok(asked) => asked.map(|()| stream),
            Err(_) => Err(ProxyError::Silent { proxy: self.to_string(), target, seconds: self.answer.as_secs_f64() }),
        }
    }

    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, target: &str) -> Result<(), ProxyError> {
        let broken = |source| ProxyError::Broken { proxy: self.to_string(), source };
        let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some(authorization) = &self.authorization {
            // Grown at once: no copy of the password is left behind.
            request.reserve_exact(authorization.len() + 64);
            request.push_str("Proxy-Authorization: ");
            request.push_str(authorization);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        let mut head = Vec::new();
        loop {
            let room = MAX_HEAD_BYTES - head.len();
            if room == 0 {
                return Err(ProxyError::Endless { proxy: self.to_string(), limit: MAX_HEAD_BYTES });
            }
            let read = (&mut *stream).take(room as u64).read_buf(&mut head).await.map_err(broken)?;
            if read == 0 {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut answer = httparse::Response::new(&mut headers);
            let garbled = |reason: String| ProxyError::Garbled { proxy: self.to_string(), reason };
            match answer.parse(&head).map_err(|error| garbled(error.to_string()))? {
                httparse::Status::Partial => {}
                httparse::Status::Complete(length) => {
                    self.judge(answer.code.unwrap_or(0), target)?;
                    // The aggregator does not speak first in TLS.
                    return match head.len() - length {
                        0 => Ok(()),
                        more => Err(garbled(format!("{more} bytes after its answer, before anything was sent"))),
                    };
                }
            }
        }
    }

    /// What a status says.
    fn judge(&self, status: u16, target: &str) -> Result<(), ProxyError> {
        let (proxy, target) = (self.to_string(), target.to_owned());
        match status {
            200..=299 => Ok(()),
            // 401 is a server's, but tinyproxy answers so to a wrong password.
            401 | 407 if self.authorization.is_some() => Err(ProxyError::Password { proxy, status }),
            401 | 407 => Err(ProxyError::NoPassword { proxy, status }),
            500..=599 => Err(ProxyError::NotThrough { proxy, target, status }),
            _ => Err(ProxyError::Refused { proxy, target, status }),
        }
    }
}

/// `Basic` and base64 of what `USER:PASSWORD` decodes to.
fn basic(user: &str) -> Option<Zeroizing<String>> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    // A colon in the name would be read as the end of it (RFC 7617).
    let name: Zeroizing<Vec<u8>> = Zeroizing::new(percent_decode_str(name).collect());
    if name.contains(&b':') {
        return None;
    }
    let mut plain = Zeroizing::new(Vec::with_capacity(user.len() + 1));
    plain.extend_from_slice(&name);
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    let mut value = Zeroizing::new(String::with_capacity(8 + plain.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    BASE64_STANDARD.encode_string(&*plain, &mut value);
    Some(value)
}

/// Makes tonic's connections by way of a proxy; TLS comes on top, with the aggregator.
#[derive(Debug, Clone)]
pub(crate) struct Connector(pub(crate) Proxy);

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ProxyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        let proxy = self.0.clone();
        Box::pin(async move {
            // An endpoint without a host is refused before anything is dialled.
            let tunnel = proxy.tunnel(url.host().unwrap_or_default(), port(&url)).await?;
            Ok(TokioIo::new(tunnel))
        })
    }
}
