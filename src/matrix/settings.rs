//! Settings of the Matrix edge, and the credentials that follow from them and the registration file.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ruma::OwnedServerName;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::registration::Registration;

/// Why settings cannot be used. Permanent: someone has to change the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A setting is needed and is in neither the configuration nor the registration file.
    #[error("{0} is missing: set it in the configuration or in the registration file")]
    Missing(&'static str),
    /// The homeserver's address is not usable.
    #[error("the homeserver url must be http:// or https:// with a host and without query, got scheme {0:?}")]
    Url(String),
}

/// The `[matrix]` section of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixSettings {
    /// Where the homeserver's client-server API is reached, without `/_matrix`.
    #[serde(deserialize_with = "url_from_text")]
    pub homeserver_url: Url,
    /// The homeserver's name: the part of user ids after the colon.
    pub server_name: OwnedServerName,
    /// Address and port on which the appservice API listens. Default `127.0.0.1:9009`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The registration file. Default `registration.yaml`.
    #[serde(default = "default_registration")]
    pub registration: PathBuf,
    /// Token that the gateway shows to the homeserver. Default: the one in the registration file.
    #[serde(default, deserialize_with = "secret_from_text")]
    pub as_token: Option<SecretString>,
    /// Access token of an administrator of the homeserver, for what only those may ask. Default: none.
    #[serde(default, deserialize_with = "secret_from_text")]
    pub admin_token: Option<SecretString>,
    /// Token that the homeserver shows to the gateway. Default: the one in the registration file.
    #[serde(default, deserialize_with = "secret_from_text")]
    pub hs_token: Option<SecretString>,
    /// Localpart of the bridge bot. Default: the one in the registration file.
    #[serde(default)]
    pub sender_localpart: Option<String>,
    /// Display name of the bridge bot. Default `MIMI bridge`.
    #[serde(default = "default_bot_name")]
    pub bot_display_name: String,
    /// Seconds until a call to the homeserver counts as failed. Default 60.
    #[serde(default = "default_request_timeout")]
    pub request_timeout_seconds: u64,
    /// Seconds until connecting to the homeserver counts as failed. Default 10.
    #[serde(default = "default_connect_timeout")]
    pub connect_timeout_seconds: u64,
    /// Seconds that the homeserver has to send a request's headers, idle time on the connection included. Default 150.
    #[serde(default = "default_header_timeout")]
    pub header_timeout_seconds: u64,
    /// Seconds that the homeserver has to send a request's body. Default 60.
    #[serde(default = "default_body_timeout")]
    pub body_timeout_seconds: u64,
}

impl MatrixSettings {
    /// The tokens and names to use: the configuration's where it has them, else the registration file's.
    pub fn credentials(&self, registration: Option<&Registration>) -> Result<Credentials, SettingsError> {
        if !matches!(self.homeserver_url.scheme(), "http" | "https")
            || self.homeserver_url.host().is_none()
            || self.homeserver_url.query().is_some()
        {
            return Err(SettingsError::Url(self.homeserver_url.scheme().to_owned()));
        }
        let token = |own: &Option<SecretString>, file: Option<&str>, name| {
            own.clone()
                .or_else(|| file.map(SecretString::from))
                .filter(|token| !token.expose_secret().is_empty())
                .ok_or(SettingsError::Missing(name))
        };
        Ok(Credentials {
            id: registration.map_or_else(|| Registration::DEFAULT_ID.to_owned(), |file| file.base.id.clone()),
            as_token: token(&self.as_token, registration.map(|file| file.base.as_token.as_str()), "as_token")?,
            hs_token: token(&self.hs_token, registration.map(|file| file.base.hs_token.as_str()), "hs_token")?,
            sender_localpart: self
                .sender_localpart
                .clone()
                .or_else(|| registration.map(|file| file.base.sender_localpart.clone()))
                .filter(|localpart| !localpart.is_empty())
                .ok_or(SettingsError::Missing("sender_localpart"))?,
        })
    }

    /// [`MatrixSettings::request_timeout_seconds`] as a duration.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds.max(1))
    }

    /// [`MatrixSettings::connect_timeout_seconds`] as a duration.
    #[must_use]
    pub fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_seconds.max(1))
    }

    /// The server's limits that follow from the settings.
    #[must_use]
    pub fn server_limits(&self) -> super::ServerLimits {
        super::ServerLimits {
            header_timeout: Duration::from_secs(self.header_timeout_seconds.max(1)),
            body_timeout: Duration::from_secs(self.body_timeout_seconds.max(1)),
            ..super::ServerLimits::default()
        }
    }
}

/// What the two sides need to know each other.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The appservice's id in the registration file.
    pub id: String,
    /// We show it to the homeserver.
    pub as_token: SecretString,
    /// The homeserver shows it to us.
    pub hs_token: SecretString,
    /// The bridge bot's localpart.
    pub sender_localpart: String,
}

fn url_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(|error| serde::de::Error::custom(format!("not a URL: {error}")))
}

fn secret_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(SecretString::from))
}

fn default_listen() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9009))
}
fn default_registration() -> PathBuf {
    PathBuf::from("registration.yaml")
}
fn default_bot_name() -> String {
    "MIMI bridge".to_owned()
}
const fn default_request_timeout() -> u64 {
    60
}
const fn default_connect_timeout() -> u64 {
    10
}
const fn default_header_timeout() -> u64 {
    150
}
const fn default_body_timeout() -> u64 {
    60
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = "homeserver_url = 'http://127.0.0.1:8008'\nserver_name = 'a.example'\n";

    #[test]
    fn sane_defaults_and_no_token_in_debug_output() {
        let settings: MatrixSettings =
            toml::from_str(&format!("{MINIMAL}as_token = 'very-secret-1'\nhs_token = 'very-secret-2'\n")).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:9009");
        assert_eq!(settings.request_timeout(), Duration::from_mins(1));
        assert!(!format!("{settings:?}").contains("very-secret"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<MatrixSettings>(&format!("{MINIMAL}homserver = 1\n")).is_err());
    }

    #[test]
    fn what_the_configuration_lacks_comes_from_the_registration_file() {
        let mut settings: MatrixSettings = toml::from_str(MINIMAL).unwrap();
        assert_eq!(settings.credentials(None).unwrap_err(), SettingsError::Missing("as_token"));
        let file =
            Registration::generate(&settings.server_name, "http://127.0.0.1:9009", "mimi", Some("mimi_bot")).unwrap();
        let found = settings.credentials(Some(&file)).unwrap();
        assert_eq!((found.id.as_str(), found.sender_localpart.as_str()), ("mimi", "mimi_bot"));
        assert_eq!(found.as_token.expose_secret(), file.base.as_token);
        settings.as_token = Some("own".into());
        assert_eq!(settings.credentials(Some(&file)).unwrap().as_token.expose_secret(), "own");
        settings.hs_token = Some("".into());
        assert_eq!(settings.credentials(Some(&file)).unwrap_err(), SettingsError::Missing("hs_token"));
    }

    #[test]
    fn a_homeserver_url_of_another_scheme_is_refused() {
        let settings: MatrixSettings =
            toml::from_str("homeserver_url = 'ftp://127.0.0.1'\nserver_name = 'a.example'\n").unwrap();
        assert_eq!(settings.credentials(None).unwrap_err(), SettingsError::Url("ftp".into()));
    }
}
