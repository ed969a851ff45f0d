//! `[appservice]`: where the homeserver reaches us, and the tokens that both sides show.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;
use url::Url;

use super::{
    error::ConfigError,
    homeserver::{at_least_one, base_url},
    secret::Secret,
};
use crate::matrix::ServerLimits;

/// Where the homeserver reaches us, and the tokens that both sides show.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AppserviceConfig {
    /// Address and port on which transactions are accepted.
    pub listen: SocketAddr,
    /// The URL under which the homeserver reaches that address; goes into the registration. Default: `http://` + `listen`.
    pub url: Option<Url>,
    /// The registration file, made by `mimi-gateway registration` and read by the homeserver too.
    pub registration: PathBuf,
    /// Our token towards the homeserver, if it shall not be read from the registration.
    pub as_token: Option<Secret>,
    /// A file that holds `as_token`.
    pub as_token_file: Option<PathBuf>,
    /// The homeserver's token towards us, if it shall not be read from the registration.
    pub hs_token: Option<Secret>,
    /// A file that holds `hs_token`.
    pub hs_token_file: Option<PathBuf>,
    /// Localpart of the bridge bot, if it shall not be read from the registration.
    pub sender_localpart: Option<String>,
    /// Display name of the bridge bot.
    pub bot_display_name: String,
    /// How long the homeserver may take to send a request's head, idle time on the connection included.
    pub header_timeout_seconds: u64,
    /// How long the homeserver may take to send a request's body.
    pub body_timeout_seconds: u64,
}

impl Default for AppserviceConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9009)),
            url: None,
            registration: PathBuf::from("registration.yaml"),
            as_token: None,
            as_token_file: None,
            hs_token: None,
            hs_token_file: None,
            sender_localpart: None,
            bot_display_name: "MIMI bridge".to_owned(),
            header_timeout_seconds: ServerLimits::default().header_timeout.as_secs(),
            body_timeout_seconds: 60,
        }
    }
}

impl AppserviceConfig {
    /// The URL under which the homeserver reaches us, without a trailing slash.
    #[must_use]
    pub fn public_url(&self) -> String {
        self.url
            .as_ref()
            .map_or_else(|| format!("http://{}", self.listen), |url| url.as_str().trim_end_matches('/').to_owned())
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        match &self.url {
            Some(url) => base_url("appservice.url", url, &["http", "https"], faults),
            None if self.listen.ip().is_unspecified() => faults.push(ConfigError::invalid(
                "appservice.url",
                format!(
                    "is needed, since `appservice.listen` ({}) is no address that a homeserver can call",
                    self.listen
                ),
            )),
            None => {}
        }
        at_least_one("appservice.header_timeout_seconds", self.header_timeout_seconds, faults);
        at_least_one("appservice.body_timeout_seconds", self.body_timeout_seconds, faults);
        if self.as_token.is_some() != self.hs_token.is_some() {
            faults.push(ConfigError::invalid(
                "appservice.as_token",
                "and `appservice.hs_token` belong together: set both, or neither and both are read from the registration",
            ));
        }
    }
}
