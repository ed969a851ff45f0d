//! `[homeserver]`: the Matrix homeserver that this gateway serves.

use std::{path::PathBuf, time::Duration};

use ruma::OwnedServerName;
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

use super::{error::ConfigError, secret::Secret};

/// The Matrix homeserver that this gateway serves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeserverConfig {
    /// Base URL of its client-server API, `http` or `https`.
    #[serde(deserialize_with = "url")]
    pub url: Url,
    /// Its server name: what follows the colon in its users' ids.
    pub server_name: OwnedServerName,
    /// An administrator's access token, for what only an administrator may ask.
    #[serde(default)]
    pub admin_token: Option<Secret>,
    /// A file that holds `admin_token`.
    #[serde(default)]
    pub admin_token_file: Option<PathBuf>,
    /// How often the list of what users reported is looked at.
    #[serde(default = "default_report_poll")]
    pub report_poll_interval_seconds: u64,
    /// How long one request may take.
    #[serde(default = "default_request_timeout")]
    pub request_timeout_seconds: u64,
    /// How long connecting may take.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
}

fn default_report_poll() -> u64 {
    60
}

fn default_request_timeout() -> u64 {
    60
}

fn default_connect_timeout() -> u64 {
    10
}

impl HomeserverConfig {
    /// How often the list of reports is looked at.
    #[must_use]
    pub fn report_poll(&self) -> Duration {
        Duration::from_secs(self.report_poll_interval_seconds.max(1))
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        base_url("homeserver.url", &self.url, &["http", "https"], faults);
        for (key, seconds) in [
            ("homeserver.report_poll_interval_seconds", self.report_poll_interval_seconds),
            ("homeserver.request_timeout_seconds", self.request_timeout_seconds),
            ("homeserver.connect_timeout_seconds", self.connect_timeout_seconds),
        ] {
            at_least_one(key, seconds, faults);
        }
    }
}

/// Reads a URL, and says what is missing if it is an address alone.
pub(super) fn url<'de, D: Deserializer<'de>>(reader: D) -> Result<Url, D::Error> {
    let text = String::deserialize(reader)?;
    Url::parse(&text).map_err(|e| match e {
        url::ParseError::RelativeUrlWithoutBase => {
            D::Error::custom(format!("{text:?} has no scheme: a URL begins with http:// or https://"))
        }
        other => D::Error::custom(format!("{text:?} is no URL: {other}")),
    })
}

/// As [`url()`], for what may be left out.
pub(super) fn optional_url<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Url>, D::Error> {
    url(reader).map(Some)
}

/// A base URL: scheme, host, port and path, nothing else.
pub(super) fn base_url(key: &str, url: &Url, schemes: &[&str], faults: &mut Vec<ConfigError>) {
    if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        faults.push(ConfigError::invalid(
            key,
            format!("must be a URL with a host that begins with {}://", schemes.join(":// or ")),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        faults.push(ConfigError::invalid(key, "must have no user, query or fragment"));
    }
}

/// A time-out of 0 would let nobody through.
pub(super) fn at_least_one(key: &str, seconds: u64, faults: &mut Vec<ConfigError>) {
    if seconds == 0 {
        faults.push(ConfigError::invalid(key, "must be at least 1"));
    }
}
