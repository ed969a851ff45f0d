//! `[homeserver]`: the Matrix homeserver that this gateway serves.

use std::{path::PathBuf, time::Duration};

use ruma::OwnedServerName;
use serde::Deserialize;
use url::Url;

use super::error::ConfigError;

/// The Matrix homeserver that this gateway serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeserverConfig {
    /// Base URL of its client-server API, `http` or `https`.
    pub url: Url,
    /// Its server name: what follows the colon in its users' ids.
    pub server_name: OwnedServerName,
    /// CA certificates (PEM) that its `https` URL is checked against; without it the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// How long one request may take.
    #[serde(default = "default_timeout")]
    pub request_timeout_seconds: u64,
}

fn default_timeout() -> u64 {
    30
}

impl HomeserverConfig {
    /// How long one request may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds)
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        base_url("homeserver.url", &self.url, &["http", "https"], faults);
        if self.request_timeout_seconds == 0 {
            faults.push(ConfigError::invalid("homeserver.request_timeout_seconds", "must be at least 1"));
        }
        if self.ca.is_some() && self.url.scheme() != "https" {
            faults.push(ConfigError::invalid("homeserver.ca", "has no effect, since `homeserver.url` is not https; remove it or use https"));
        }
    }
}

/// A base URL: scheme, host, port and path, nothing else.
pub(super) fn base_url(key: &str, url: &Url, schemes: &[&str], faults: &mut Vec<ConfigError>) {
    if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        faults.push(ConfigError::invalid(key, format!("must be a URL with a host that starts with {}://", schemes.join(":// or "))));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        faults.push(ConfigError::invalid(key, "must have no user, query or fragment"));
    }
}
