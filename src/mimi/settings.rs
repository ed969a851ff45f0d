//! Settings of the MIMI edge: who we are, where we listen, whom we trust, and how much a peer may take.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use url::Url;

use super::assets::AssetSettings;
use crate::ident::ProviderDomain;

/// Why the MIMI edge cannot start. Permanent until an operator changes the settings or the files they name.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A PEM holds nothing usable of the wanted kind.
    #[error("{what}: {why}")]
    Pem {
        /// Which setting.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not belong together, or TLS refuses them.
    #[error("certificate and key: {0}")]
    Identity(String),
    /// The certificate does not name our own domain: no peer would believe us.
    #[error("the certificate has no subjectAltName dNSName for {0}; ask your CA for one that has it")]
    WrongName(ProviderDomain),
    /// The public base URL is not usable.
    #[error("public_url: {0}")]
    PublicUrl(String),
    /// A peer's settings are not usable.
    #[error("peer {peer}: {why}")]
    Peer {
        /// The peer.
        peer: ProviderDomain,
        /// What is wrong.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A PEM text, given inline (it then holds `-----BEGIN`) or as the path of a file.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct PemSource(String);

impl PemSource {
    /// A PEM text, or the path of a file that holds one.
    #[must_use]
    pub fn new(pem_or_path: impl Into<String>) -> Self {
        Self(pem_or_path.into())
    }

    /// The file, unless the PEM is given inline.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        (!self.is_inline()).then(|| Path::new(&self.0))
    }

    /// Makes a relative path relative to `dir`.
    pub fn rebase(&mut self, dir: &Path) {
        if let Some(path) = self.path() {
            self.0 = dir.join(path).to_string_lossy().into_owned();
        }
    }

    /// The PEM text.
    pub fn read(&self) -> Result<Vec<u8>, SetupError> {
        match self.path() {
            None => Ok(self.0.clone().into_bytes()),
            Some(path) => std::fs::read(path).map_err(|source| SetupError::Read { path: path.to_owned(), source }),
        }
    }

    fn is_inline(&self) -> bool {
        self.0.contains("-----BEGIN")
    }
}

/// Shows a path, never an inline PEM: it may be a private key.
impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_inline() { f.write_str("(inline PEM)") } else { write!(f, "{:?}", self.0) }
    }
}

/// Everything that the provider server and the peer client need to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Our provider domain: the authority of our `mimi:` URIs, and the name that our certificate proves.
    pub own_domain: ProviderDomain,
    /// Where the provider server listens. Default `0.0.0.0:8449`.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The base that peers reach us at, as published in the directory: `https://mimi.example.com` or with a port.
    /// Default: `https://<own_domain>`.
    #[serde(default)]
    pub public_url: Option<Url>,
    /// Our certificate chain, leaf first; used as server and as client certificate.
    pub certificate: PemSource,
    /// The leaf's private key (PKCS#8, SEC1 or PKCS#1).
    pub private_key: PemSource,
    /// Time-outs and limits.
    #[serde(default)]
    pub limits: Limits,
    /// What assets may take.
    #[serde(default)]
    pub assets: AssetSettings,
    /// The providers that we talk with.
    #[serde(default)]
    pub peers: BTreeMap<ProviderDomain, PeerSettings>,
}

impl Settings {
    /// Makes relative paths relative to `dir` (where the configuration file lies).
    pub fn rebase(&mut self, dir: &Path) {
        self.certificate.rebase(dir);
        self.private_key.rebase(dir);
        for peer in self.peers.values_mut() {
            peer.ca.rebase(dir);
        }
    }

    /// The public base URL, checked: https, a host, nothing after the path; without trailing slash.
    pub fn base_url(&self) -> Result<String, SetupError> {
        let Some(url) = &self.public_url else { return Ok(format!("https://{}", self.own_domain)) };
        let bad = |why: &str| Err(SetupError::PublicUrl(format!("{url}: {why}")));
        if url.scheme() != "https" {
            return bad("must be https");
        }
        if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
            return bad("must be a host, with a port if need be, and without user or password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return bad("must not have a query or a fragment");
        }
        if url.path() != "/" {
            return bad("must not have a path: the endpoints live under /v1/");
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Reads certificate, key and CAs and checks that they fit together, without listening or connecting.
    pub fn validate(&self) -> Result<(), SetupError> {
        self.base_url()?;
        let identity = super::tls::Identity::load(self)?;
        super::tls::server_config(self, &identity)?;
        super::client::MimiPeers::new(self).map(drop)
    }

    /// The host in the URLs of our own assets.
    #[must_use]
    pub fn asset_domain(&self) -> &ProviderDomain {
        self.assets.domain.as_ref().unwrap_or(&self.own_domain)
    }

    /// When our certificate (first) and the authorities of the peers are good. [`Settings::validate`] does not look at it: an
    /// expired one is no reason not to start, but one to say so.
    pub fn periods(&self) -> Result<Vec<super::Period>, SetupError> {
        super::validity::periods(self)
    }
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, 8449).into()
}

fn yes() -> bool {
    true
}

/// One provider that we talk with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSettings {
    /// The CA certificates (one or several in one PEM) that this peer's certificate must chain to. No other CA is
    /// believed for this peer, and this CA is believed for no other peer.
    pub ca: PemSource,
    /// `host:port` to connect to instead of what DNS says for the peer's names. A port written in a URL of the
    /// peer's directory wins over this port.
    #[serde(default)]
    pub address: Option<String>,
    /// Hosts that the peer's directory may point at, besides its domain and that domain's subdomains.
    #[serde(default)]
    pub hosts: Vec<ProviderDomain>,
    /// Hosts of the peer's assets; nothing is fetched from others. Default: its domain, and the hosts that its directory points at.
    #[serde(default)]
    pub asset_domains: Option<Vec<ProviderDomain>>,
    /// `host:port` to connect to for assets instead of what DNS says. Default: `address` for the peer's domain, what is
    /// below it, and `hosts`; DNS and port 443 for other hosts.
    #[serde(default)]
    pub asset_address: Option<String>,
    /// Whether the peer is a gateway to Matrix: then events of types that MIMI has no form for (polls, custom ones) are taken
    /// from its messages. Default `false`: their text is shown.
    #[serde(default)]
    pub gateway: bool,
    /// `false` cuts the peer off in both directions and keeps its settings. Default `true`.
    #[serde(default = "yes")]
    pub allowed: bool,
}

/// Time-outs and limits of server and client. The limits of body sizes are `wire`'s, one for each endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Seconds for a TLS handshake. Default 10.
    #[serde(rename = "handshake_timeout_seconds", deserialize_with = "seconds")]
    pub handshake_timeout: Duration,
    /// Seconds for a request's headers, counted from the end of the handshake or of the request before it on
    /// HTTP/1.1. Default 15.
    #[serde(rename = "header_timeout_seconds", deserialize_with = "seconds")]
    pub header_timeout: Duration,
    /// Seconds for a whole request body. Default 30.
    #[serde(rename = "body_timeout_seconds", deserialize_with = "seconds")]
    pub body_timeout: Duration,
    /// Seconds for an answer to be made, then 503. Default 60.
    #[serde(rename = "request_timeout_seconds", deserialize_with = "seconds")]
    pub request_timeout: Duration,
    /// Seconds without request after which an HTTP/2 connection is closed. Default 180.
    #[serde(rename = "idle_timeout_seconds", deserialize_with = "seconds")]
    pub idle_timeout: Duration,
    /// Seconds that running requests get at shutdown. Default 10.
    #[serde(rename = "shutdown_grace_seconds", deserialize_with = "seconds")]
    pub shutdown_grace: Duration,
    /// Connections in their handshake at a time; one more pushes the oldest out. Default 512.
    pub max_handshakes: usize,
    /// Connections of authenticated peers. Default 1024.
    pub max_connections: usize,
    /// Connections of one peer. Default 16.
    pub max_connections_per_peer: usize,
    /// Requests of one peer at a time, over all its connections; one more is answered 429. Default 128.
    pub max_requests_per_peer: usize,
    /// Streams of one HTTP/2 connection at a time. Default 64.
    pub max_streams_per_connection: u32,
    /// Bytes of request bodies of one peer in memory at a time; more have to wait. At least the largest body limit.
    /// Default 32 MiB.
    pub max_body_bytes_per_peer: usize,
    /// Invitations of one peer within a week that nobody has accepted; a further one is answered 429. Default 1,000.
    pub max_open_invitations_per_peer: usize,
    /// Rooms of one peer that our users are in or asked into.
    pub max_rooms_per_peer: usize,
    /// Searches (identifierQuery) that one peer may make within an hour; a further one is answered 429. None at all: every one
    /// is answered `forbidden`. Default 600.
    pub max_searches_per_peer_per_hour: u32,
    /// Seconds to connect to a peer. Default 5.
    #[serde(rename = "connect_timeout_seconds", deserialize_with = "seconds")]
    pub connect_timeout: Duration,
    /// Seconds for a whole call to a peer; after that its outcome is uncertain. Default 60.
    #[serde(rename = "call_timeout_seconds", deserialize_with = "seconds")]
    pub call_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_mins(1),
            idle_timeout: Duration::from_mins(3),
            shutdown_grace: Duration::from_secs(10),
            max_handshakes: 512,
            max_connections: 1024,
            max_connections_per_peer: 16,
            max_requests_per_peer: 128,
            max_streams_per_connection: 64,
            max_body_bytes_per_peer: 32 << 20,
            max_open_invitations_per_peer: 1000,
            max_rooms_per_peer: 10_000,
            max_searches_per_peer_per_hour: 600,
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_mins(1),
        }
    }
}

pub(super) fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(serde::de::Error::custom("must be a positive number of seconds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Result<Settings, toml::de::Error> {
        toml::from_str(&format!("own_domain = \"a.example\"\ncertificate = \"c.pem\"\nprivate_key = \"k.pem\"\n{more}"))
    }

    #[test]
    fn the_least_settings_have_sane_defaults() {
        let settings = settings("").unwrap();
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(settings.base_url().unwrap(), "https://a.example");
        assert_eq!(settings.listen.port(), 8449);
    }

    #[test]
    fn peers_and_limits_are_read_and_unknown_keys_refused() {
        let text = "[limits]\nhandshake_timeout_seconds = 0.5\n[peers.\"b.example\"]\nca = \"b.pem\"\naddress = \"127.0.0.1:1\"";
        let read = settings(text).unwrap();
        assert_eq!(read.limits.handshake_timeout, Duration::from_millis(500));
        let peer = &read.peers[&ProviderDomain::parse("b.example").unwrap()];
        assert!(peer.allowed);
        assert_eq!(peer.address.as_deref(), Some("127.0.0.1:1"));
        assert!(settings("[limits]\nhandshake_timeout = 1").is_err());
        assert!(settings("[limits]\nbody_timeout_seconds = 0").is_err());
        assert!(settings("[peers.\"B.example\"]\nca = \"b.pem\"").is_err());
    }

    #[test]
    fn a_public_url_is_an_https_origin() {
        assert_eq!(
            settings("public_url = \"https://m.a.example:8449/\"").unwrap().base_url().unwrap(),
            "https://m.a.example:8449"
        );
        for bad in ["http://a.example", "https://u@a.example", "https://a.example/?x", "https://a.example/mimi"] {
            assert!(settings(&format!("public_url = \"{bad}\"")).unwrap().base_url().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_inline_pem_is_never_shown() {
        let pem = PemSource::new("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----");
        assert!(!format!("{pem:?}").contains("c2Vj"));
        assert_eq!(pem.path(), None);
        let mut file = PemSource::new("k.pem");
        file.rebase(Path::new("/etc/gw"));
        assert_eq!(file.path(), Some(Path::new("/etc/gw/k.pem")));
    }
}
