//! What an operator bounds, with defaults that no honest member reaches. What the protocol bounds is in [`protos::limits`].

use serde::Deserialize;

/// `[limits]` of `aggregator.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls a second that each certificate may make; twenty times as many at once.
    pub calls_per_second: u32,
    /// Calls a second without a certificate, which are joins and questions about health, from one address; twenty times as many at once.
    pub anonymous_calls_per_second: u32,
    /// Connections in all.
    pub connections: u32,
    /// Connections from one address, or one network of 64 bits of IPv6.
    pub connections_per_address: u32,
    /// Calls that one connection may have under way.
    pub streams_per_connection: u32,
    /// Contributions that come in at once; other houses wait their turn.
    pub uploads_at_once: u32,
    /// Memory for contributions that are coming in, of all houses together, in MiB.
    pub intake_mib: u32,
    /// What the folder may hold, in MiB: no round is announced that could need more. 0: as much as the disk.
    pub disk_mib: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_second: 50,
            anonymous_calls_per_second: 100,
            connections: 10_000,
            connections_per_address: 1_000,
            streams_per_connection: protos::limits::STREAMS_PER_CONNECTION,
            uploads_at_once: 64,
            intake_mib: 64,
            disk_mib: 0,
        }
    }
}

impl Limits {
    /// Refuses what no federation could run under.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn check(&self) -> Result<(), String> {
        let least = [
            ("calls_per_second", self.calls_per_second, 1),
            ("anonymous_calls_per_second", self.anonymous_calls_per_second, 1),
            ("connections", self.connections, 16),
            ("connections_per_address", self.connections_per_address, 4),
            ("streams_per_connection", self.streams_per_connection, 4),
            ("uploads_at_once", self.uploads_at_once, 1),
            ("intake_mib", self.intake_mib, 4),
        ];
        match least.into_iter().find(|(_, value, least)| value < least) {
            Some((key, value, least)) => Err(format!("limits.{key} is {value}; it must be at least {least}")),
            None => Ok(()),
        }
    }
}
