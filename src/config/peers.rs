//! `[peers."b.example"]`: a provider that we talk to.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::ConfigError;
use crate::ident::ProviderDomain;

/// A provider that we talk to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerConfig {
    /// CA certificates (PEM) that this peer's certificate is checked against, as server and as client; without it the
    /// system's.
    pub ca: Option<PathBuf>,
    /// `host:port` to connect to instead of the domain at port 443. The certificate must still name the domain.
    pub address: Option<String>,
    /// Whether requests from and to this peer are let through.
    pub allow: bool,
}

impl Default for PeerConfig {
    fn default() -> Self {
        Self { ca: None, address: None, allow: true }
    }
}

impl PeerConfig {
    pub(super) fn validate(&self, domain: &ProviderDomain, faults: &mut Vec<ConfigError>) {
        if let Some(address) = &self.address {
            let good = address.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port != 0)
            });
            if !good {
                faults.push(ConfigError::invalid(
                    &format!("peers.\"{domain}\".address"),
                    "must be host:port, for example \"mimi.b.example:8443\"",
                ));
            }
        }
    }
}
