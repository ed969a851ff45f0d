//! The peer client: the engine's [`Peers`] over one HTTPS client a peer.
//!
//! A client believes only its peer's own CA, shows our certificate, follows no redirect and uses no proxy. Calls
//! share one HTTP/2 connection where the peer offers it.

mod assets;
mod directory;
pub(super) mod outcome;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use axum::body::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_TYPE, FROM},
};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use self::{assets::AssetHosts, directory::DirectoryCache};
use super::{
    app::MIMI_PROTOCOL,
    assets::{AssetResolver, Lookup, SystemLookup},
    from,
    settings::{Limits, PeerSettings, Settings, SetupError},
    tls::{self, Identity},
};
use crate::{
    engine::ports::{CallError, Endpoint, Gate, PathTarget, Peers, Retry},
    ident::ProviderDomain,
    store::BoxFuture,
    wire,
};

/// Idle connections are closed by us before the server's idle time-out ends them under our hands.
const POOL_IDLE: Duration = Duration::from_secs(90);
/// Between keep-alive pings on HTTP/2 while calls wait.
const PING_EVERY: Duration = Duration::from_secs(20);
/// For the answer to a ping; then the calls on that connection are uncertain.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest problem document that is read, in bytes.
const MAX_PROBLEM: usize = 8 * 1024;

/// The configured peers, ready to be called.
pub struct MimiPeers {
    peers: BTreeMap<ProviderDomain, Peer>,
    gate: OnceLock<Gate>,
}

struct Peer {
    http: reqwest::Client,
    directory: DirectoryCache,
    /// For its asset servers.
    assets: reqwest::Client,
    asset_hosts: AssetHosts,
    gateway: bool,
}

impl MimiPeers {
    /// Reads certificate, key and CAs. Connects to nobody yet.
    pub fn new(settings: &Settings) -> Result<Self, SetupError> {
        Self::with_lookup(settings, &(Arc::new(SystemLookup) as Arc<dyn Lookup>))
    }

    /// The same, with another way to find the addresses of asset servers.
    pub fn with_lookup(settings: &Settings, lookup: &Arc<dyn Lookup>) -> Result<Self, SetupError> {
        let identity = Identity::load(settings)?;
        let mut peers = BTreeMap::new();
        for (domain, peer) in settings.peers.iter().filter(|(_, peer)| peer.allowed) {
            let why = |error: reqwest::Error| SetupError::Peer { peer: domain.clone(), why: error.to_string() };
            let mut http = http_client(settings, &identity, domain, peer)?;
            if let Some(address) = &peer.address {
                http = http.dns_resolver(FixedAddress(address.clone()));
            }
            let assets = http_client(settings, &identity, domain, peer)?.dns_resolver(AssetResolver {
                lookup: Arc::clone(lookup),
                allow_private: settings.assets.allow_private_addresses,
                fixed: assets::fixed_addresses(domain, peer),
            });
            let directory = DirectoryCache::new(domain.clone(), peer.hosts.clone());
            let asset_hosts = AssetHosts::new(domain, peer);
            let (http, assets) = (http.build().map_err(why)?, assets.build().map_err(why)?);
            peers.insert(domain.clone(), Peer { http, directory, assets, asset_hosts, gateway: peer.gateway });
        }
        Ok(Self { peers, gate: OnceLock::new() })
    }

    /// Fetches a peer's directory, as `check` does: says whether it is there, knows our certificate and offers what we call.
    pub async fn probe(&self, domain: &ProviderDomain) -> Result<(), CallError> {
        let Some(peer) = self.peers.get(domain) else {
            return Err(outcome::error(format!("{domain} is not a configured, allowed peer"), Retry::Permanent));
        };
        peer.directory.probe(&peer.http).await
    }

    async fn post(
        &self,
        domain: &ProviderDomain,
        endpoint: Endpoint,
        target: &PathTarget,
        body: &[u8],
    ) -> Result<Vec<u8>, CallError> {
        let Some(peer) = self.peers.get(domain) else {
            return Err(outcome::error(format!("{domain} is not a configured, allowed peer"), Retry::Permanent));
        };
        let named = |error: CallError| CallError { what: format!("{endpoint} at {domain}: {}", error.what), ..error };
        let url = peer.directory.url(&peer.http, endpoint, target, body).await.map_err(named)?;
        let request = peer.http.post(url).header(CONTENT_TYPE, MIMI_PROTOCOL);
        let response =
            request.body(body.to_vec()).send().await.map_err(|error| named(outcome::from_transport(&error)))?;
        let status = response.status();
        if status.is_success() {
            return read_capped(response, wire::limits::BODY).await.map_err(named);
        }
        if matches!(status.as_u16(), 404 | 405 | 410 | 421) {
            // Perhaps the peer moved its endpoints: look again soon.
            peer.directory.doubt();
        }
        let headers = response.headers().clone();
        let problem = if is_problem(&headers) {
            read_capped(response, MAX_PROBLEM).await.unwrap_or_default()
        } else {
            Vec::new()
        };
        Err(named(outcome::from_status(status, &headers, &problem, SystemTime::now())))
    }
}

impl Peers for MimiPeers {
    fn call<'a>(
        &'a self,
        peer: &'a ProviderDomain,
        endpoint: Endpoint,
        target: &'a PathTarget,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>> {
        Box::pin(self.post(peer, endpoint, target, body))
    }

    fn knows(&self, peer: &ProviderDomain) -> bool {
        self.peers.contains_key(peer)
    }

    fn all(&self) -> Vec<ProviderDomain> {
        self.peers.keys().cloned().collect()
    }

    fn is_gateway(&self, peer: &ProviderDomain) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.gateway)
    }
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"))
}

/// The whole body of an answer, or an error once it is larger than `limit`.
pub(super) async fn read_capped(mut response: reqwest::Response, limit: usize) -> Result<Vec<u8>, CallError> {
    let status = Some(response.status().as_u16());
    let too_large = || CallError {
        what: format!("the answer is larger than {limit} bytes"),
        retry: Retry::Permanent,
        status,
        errcode: None,
    };
    if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    loop {
        let chunk: Option<Bytes> = response.chunk().await.map_err(|error| CallError {
            retry: Retry::Uncertain,
            status,
            ..outcome::from_transport(&error)
        })?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
}

fn http_client(
    settings: &Settings,
    identity: &Identity,
    domain: &ProviderDomain,
    peer: &PeerSettings,
) -> Result<reqwest::ClientBuilder, SetupError> {
    let why = |why: String| SetupError::Peer { peer: domain.clone(), why };
    let limits: &Limits = &settings.limits;
    let own: HeaderValue = from::own(&settings.own_domain).ok_or_else(|| why("own domain not usable".into()))?;
    for address in [&peer.address, &peer.asset_address].into_iter().flatten() {
        if address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
            return Err(why(format!("address {address:?} is not host:port")));
        }
    }
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config(domain, peer, identity)?)
        .https_only(true)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .default_headers(HeaderMap::from_iter([(FROM, own)]))
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(limits.connect_timeout)
        .timeout(limits.call_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .tcp_nodelay(true))
}

/// Resolves every name of a peer to its configured `host:port`.
struct FixedAddress(String);

impl Resolve for FixedAddress {
    fn resolve(&self, _name: Name) -> Resolving {
        let address = self.0.clone();
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host(&address).await?.collect();
            if found.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "no address").into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
