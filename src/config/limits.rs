//! `[limits]`: what bounds others' use of this process.

use serde::Deserialize;

use super::error::ConfigError;

/// Sizes, times and counts that bound what others can make us do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsConfig {
    /// Largest body of a homeserver's transaction. Homeservers send up to 100 events of 64 KiB.
    pub transaction_body_bytes: usize,
    /// Largest body of a peer's request, and of a peer's answer.
    pub peer_body_bytes: usize,
    /// How long a TLS handshake may take.
    pub tls_handshake_timeout_seconds: u64,
    /// How long a request's head may take to arrive.
    pub header_timeout_seconds: u64,
    /// How long a request's body may take to arrive.
    pub body_timeout_seconds: u64,
    /// How long a peer may take to answer us.
    pub peer_answer_timeout_seconds: u64,
    /// Connections of peers open at one time.
    pub peer_connections: usize,
    /// Requests that run at one time on one HTTP/2 connection.
    pub streams_per_connection: u32,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            transaction_body_bytes: 32 << 20,
            peer_body_bytes: 4 << 20,
            tls_handshake_timeout_seconds: 10,
            header_timeout_seconds: 10,
            body_timeout_seconds: 30,
            peer_answer_timeout_seconds: 30,
            peer_connections: 1024,
            streams_per_connection: 64,
        }
    }
}

impl LimitsConfig {
    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        let mut at_least = |key: &str, value: u64, least: u64, why: &str| {
            if value < least {
                faults.push(ConfigError::invalid(&format!("limits.{key}"), format!("must be at least {least}: {why}")));
            }
        };
        let big = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        at_least("transaction_body_bytes", big(self.transaction_body_bytes), 8 << 20, "homeservers send up to 100 events of 64 KiB at once");
        at_least("peer_body_bytes", big(self.peer_body_bytes), 64 << 10, "smaller ones cannot carry a commit");
        for (key, value) in [
            ("tls_handshake_timeout_seconds", self.tls_handshake_timeout_seconds),
            ("header_timeout_seconds", self.header_timeout_seconds),
            ("body_timeout_seconds", self.body_timeout_seconds),
            ("peer_answer_timeout_seconds", self.peer_answer_timeout_seconds),
            ("peer_connections", big(self.peer_connections)),
            ("streams_per_connection", u64::from(self.streams_per_connection)),
        ] {
            at_least(key, value, 1, "with 0 nobody gets through");
        }
    }
}
