//! Why a proxy gave no tunnel.

use std::io;

/// Why there is no tunnel. Names the proxy, without its password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// Nothing listens there, or the name is not known.
    #[error(
        "the proxy {proxy} is not reached: {source}; check host and port in `[network] proxy` of client.toml or in HTTPS_PROXY"
    )]
    Unreached {
        /// The proxy.
        proxy: String,
        /// What the system said.
        source: io::Error,
    },
    /// 407 (or 401), and nothing was given.
    #[error(
        "the proxy {proxy} wants a user and a password (status {status}): write it as http://USER:PASSWORD@HOST:PORT, percent-encoded"
    )]
    NoPassword {
        /// The proxy.
        proxy: String,
        /// The HTTP status.
        status: u16,
    },
    /// 407 (or 401), whatever was given.
    #[error(
        "the proxy {proxy} does not take this user and password (status {status}): correct them, percent-encoded; only Basic is known here"
    )]
    Password {
        /// The proxy.
        proxy: String,
        /// The HTTP status.
        status: u16,
    },
    /// The proxy's own rules.
    #[error(
        "the proxy {proxy} refuses a tunnel to {target} (status {status}): ask who runs it to allow CONNECT to that host and port"
    )]
    Refused {
        /// The proxy.
        proxy: String,
        /// The aggregator.
        target: String,
        /// The HTTP status.
        status: u16,
    },
    /// The proxy does not reach the aggregator.
    #[error(
        "the proxy {proxy} does not get through to {target} (status {status}): check the aggregator's address, or try again later"
    )]
    NotThrough {
        /// The proxy.
        proxy: String,
        /// The aggregator.
        target: String,
        /// The HTTP status.
        status: u16,
    },
    /// No answer in time.
    #[error(
        "the proxy {proxy} did not answer for {target} within {seconds} s: check that an HTTP proxy listens there, or try again later"
    )]
    Silent {
        /// The proxy.
        proxy: String,
        /// The aggregator.
        target: String,
        /// How long was waited.
        seconds: f64,
    },
    /// An answer without an end.
    #[error(
        "the proxy {proxy} answered with more than {limit} bytes of headers: check that an HTTP proxy listens there"
    )]
    Endless {
        /// The proxy.
        proxy: String,
        /// So many are read.
        limit: usize,
    },
    /// Another protocol.
    #[error("what listens at {proxy} does not answer as an HTTP proxy: {reason}; check host and port")]
    Garbled {
        /// The proxy.
        proxy: String,
        /// What is wrong.
        reason: String,
    },
    /// The connection broke before the answer.
    #[error("the proxy {proxy} ended the connection before it answered: {source}")]
    Broken {
        /// The proxy.
        proxy: String,
        /// What the system said.
        source: io::Error,
    },
}
