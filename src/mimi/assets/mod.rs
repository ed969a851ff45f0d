//! Assets (draft-ietf-mimi-protocol-06 section 5.10): our own, others' that we fetch as a hub, and others' for our own users.
//!
//! ```text
//!  GET /assets/<name>          --> AssetStore
//!  GET /v1/proxyDownload/{url} --> is its host an asset domain of a peer? --> cache --> the peer's asset server
//!  POST /v1/ohttpGateway       --> opened --^                                           (public address, pinned; no redirect)
//!  our users                   --> cache --> the room's hub: its proxyDownload, or its OHTTP gateway
//! ```

mod address;
mod cache;
mod fetch;
mod oblivious;
mod settings;
mod source;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::Semaphore, time::timeout};

pub use address::{Lookup, SystemLookup};
pub use settings::AssetSettings;

pub(super) use address::{AssetResolver, FixedAddresses, NotPublic};
pub(super) use fetch::{OHTTP_KEYS, OHTTP_REQUEST, OHTTP_RESPONSE};
pub(super) use source::Source;

use self::{cache::Cache, oblivious::Gateway, source::Sink};
use super::{MimiPeers, Settings};
use crate::{
    assets::{AssetError, AssetFile, AssetName, AssetStore, Upload},
    engine::ports::{self, CallError, Millis, Retry},
    ident::{ProviderDomain, UserUri},
    policy::{DownloadPrivacy, DownloadPrivacyType},
    store::BoxFuture,
    wire::path::DownloadUrl,
};

/// What stands before the name in the paths of our assets.
const PATH: &str = "/assets/";

/// Why an asset cannot be had from where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FetchError {
    /// 404: its server does not have it.
    #[error("not there")]
    NotFound,
    /// 403: it is not fetched from there.
    #[error("refused: {0}")]
    Refused(String),
    /// 502: larger than this many bytes.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// 504: its server is too slow.
    #[error("not there in time")]
    Slow,
    /// 503: too much at a time.
    #[error("too many at a time")]
    Busy,
    /// 502: its server cannot be reached, or answers what it should not.
    #[error("{0}")]
    Bad(String),
    /// 503: our own disk.
    #[error("disk: {0}")]
    Disk(String),
}

impl FetchError {
    /// What the engine makes of it.
    fn call_error(&self, hub: &ProviderDomain) -> CallError {
        let retry = match self {
            Self::NotFound | Self::Refused(_) | Self::TooLarge(_) => Retry::Permanent,
            Self::Slow | Self::Busy | Self::Bad(_) | Self::Disk(_) => Retry::Retriable(None),
        };
        CallError { what: format!("asset by way of {hub}: {self}"), retry, status: None, errcode: None }
    }
}

/// How an asset is asked of a hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// proxyDownload.
    Proxy,
    /// Oblivious HTTP: the request is sealed for the hub.
    Oblivious,
}

/// Our assets, and how we get others'.
pub struct Assets {
    peers: Arc<MimiPeers>,
    store: AssetStore,
    cache: Arc<Cache>,
    gateway: Gateway,
    settings: AssetSettings,
    own: ProviderDomain,
    domain: ProviderDomain,
    /// Fetches from each peer's servers.
    fetches: BTreeMap<ProviderDomain, Arc<Semaphore>>,
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Assets {
    /// Puts it together. What others' assets are kept in lies in the store's directory; it is emptied. Blocks on the disk.
    pub fn open(
        settings: &Settings,
        peers: Arc<MimiPeers>,
        store: AssetStore,
        store_dir: &Path,
    ) -> Result<Self, AssetError> {
        let limits = &settings.assets;
        let permits = || Arc::new(Semaphore::new(limits.max_fetches_per_peer.min(Semaphore::MAX_PERMITS)));
        Ok(Self {
            peers,
            store,
            cache: Arc::new(Cache::open(store_dir, limits.cache_bytes)?),
            gateway: Gateway::new(limits)?,
            settings: limits.clone(),
            own: settings.own_domain.clone(),
            domain: settings.asset_domain().clone(),
            fetches: settings.peers.keys().map(|peer| (peer.clone(), permits())).collect(),
        })
    }

    /// The store of our own assets.
    #[must_use]
    pub fn store(&self) -> &AssetStore {
        &self.store
    }

    /// The URL of an asset of ours.
    #[must_use]
    pub fn url(&self, name: &AssetName) -> String {
        format!("https://{}{PATH}{}", self.domain, name.as_str())
    }

    /// The asset of ours that a URL names.
    fn own_name(&self, url: &DownloadUrl) -> Option<AssetName> {
        let path = url.as_str().strip_prefix("https://")?.strip_prefix(self.domain.as_str())?;
        path.strip_prefix(PATH)?.parse().ok()
    }

    /// Refuses a peer that we have nothing to do with for now.
    pub(super) fn admit(&self, peer: &ProviderDomain) -> Result<(), FetchError> {
        if self.peers.is_open(peer) {
            return Ok(());
        }
        tracing::debug!(%peer, "an asset is not given to a provider that is denied");
        Err(FetchError::Refused("this provider is not talked to".into()))
    }

    /// Refuses what lies at a provider that we have nothing to do with for now.
    fn admit_host(&self, url: &DownloadUrl) -> Result<(), FetchError> {
        match self.peers.shut_host(url.host()) {
            Some(peer) => Err(FetchError::Refused(format!("{peer}, where it lies, is denied"))),
            None => Ok(()),
        }
    }

    /// How long handing an asset over may take.
    pub(super) fn transfer_timeout(&self) -> Duration {
        self.settings.transfer_timeout
    }

    /// An asset of ours.
    pub(super) async fn own(&self, name: &AssetName) -> Result<AssetFile, FetchError> {
        let found = self.store.get(name, now()).await.map_err(|error| FetchError::Disk(error.to_string()))?;
        found.ok_or(FetchError::NotFound)
    }

    /// An asset from its own server, or from our cache, for a peer that asks us as its hub. Returns once it begins to come. Nothing is
    /// asked of anybody unless the host is an asset domain of ours or of a known peer.
    pub(super) async fn direct(&self, url: &DownloadUrl) -> Result<(Source, Option<u64>), FetchError> {
        if *url.host() == self.domain {
            let name = self.own_name(url).ok_or(FetchError::NotFound)?;
            let file = self.own(&name).await?;
            return Ok((Source::from(&file), Some(file.bytes())));
        }
        self.admit_host(url)?;
        let Some(peer) = self.peers.asset_peer(url.host()).await else {
            return Err(FetchError::Refused("the host is no asset domain of a peer".into()));
        };
        let permits = self.fetches.get(&peer).cloned().ok_or(FetchError::Busy)?;
        let key = (None, url.as_str().to_owned());
        let mut source = self
            .cache
            .get(key, |sink| {
                let (peers, url) = (Arc::clone(&self.peers), url.clone());
                let (limit, time) = (self.settings.max_asset_bytes, self.settings.transfer_timeout);
                async move {
                    let _permit = permits.try_acquire().map_err(|_| FetchError::Busy)?;
                    timeout(time, peers.fetch_direct(&peer, &url, limit, time, &sink))
                        .await
                        .unwrap_or(Err(FetchError::Slow))
                }
            })
            .await?;
        let total = source.begun().await?;
        Ok((source, total))
    }

    /// An asset for our own users: ours, or by way of the room's hub, whole. Stays readable as long as it is held.
    pub async fn get(&self, hub: &ProviderDomain, url: &DownloadUrl, way: Way) -> Result<AssetFile, CallError> {
        let failed = |error: FetchError| error.call_error(hub);
        if *url.host() == self.domain {
            let name = self.own_name(url).ok_or(FetchError::NotFound).map_err(failed)?;
            return self.own(&name).await.map_err(failed);
        }
        if *hub == self.own {
            return self.direct(url).await.map_err(failed)?.0.finished().await.map_err(failed);
        }
        if !self.peers.is_open(hub) {
            return Err(failed(FetchError::Refused(format!("{hub}, which hosts the room, is denied"))));
        }
        self.admit_host(url).map_err(failed)?;
        // Both ways ask the same hub for the same bytes.
        let key = (Some(hub.clone()), url.as_str().to_owned());
        let fetch = |sink: Arc<Sink>| {
            let (peers, hub, url) = (Arc::clone(&self.peers), hub.clone(), url.clone());
            let (limits, time) = (self.settings.clone(), self.settings.transfer_timeout);
            async move {
                let fetching = async {
                    match way {
                        Way::Proxy => peers.fetch_by_proxy(&hub, &url, limits.max_asset_bytes, time, &sink).await,
                        Way::Oblivious => oblivious::fetch(&peers, &hub, &url, limits.max_oblivious_bytes, &sink).await,
                    }
                };
                timeout(time, fetching).await.unwrap_or(Err(FetchError::Slow))
            }
        };
        let source = self.cache.get(key, fetch).await.map_err(failed)?;
        source.finished().await.map_err(failed)
    }

    /// Stores a whole asset of a user of ours until `expires` at most; its URL, once it is durable.
    pub async fn put(&self, owner: &UserUri, bytes: &[u8], expires: Millis) -> Result<String, AssetError> {
        let name = self.store.put(owner.clone(), bytes, expires, now()).await?;
        Ok(self.url(&name))
    }

    /// Forwards an encapsulated request of a user of ours to the hub's Oblivious HTTP gateway, as its relay (RFC 9458): what is
    /// in it neither we nor the answer's bystanders learn, and the hub learns of the user nothing but the provider.
    pub async fn relay(&self, hub: &ProviderDomain, request: &[u8]) -> Result<Vec<u8>, CallError> {
        self.peers.relay(hub, request, self.settings.max_oblivious_bytes).await
    }
}

impl ports::Assets for Assets {
    fn begin<'a>(&'a self, owner: &'a UserUri, name: AssetName) -> BoxFuture<'a, Result<Upload, AssetError>> {
        Box::pin(self.store.begin_as(name, owner.clone(), Millis::MAX, now()))
    }

    fn url(&self, name: &AssetName) -> String {
        Self::url(self, name)
    }

    fn get<'a>(
        &'a self,
        hub: &'a ProviderDomain,
        url: &'a DownloadUrl,
        ways: Option<&'a DownloadPrivacy>,
    ) -> BoxFuture<'a, Result<AssetFile, CallError>> {
        Box::pin(async move {
            let allowed = |way| ways.is_none_or(|ways| ways.allows(way));
            let usual = |way| ways.is_some_and(|ways| ways.default_download_type == way);
            let oblivious = self.settings.use_oblivious || usual(DownloadPrivacyType::Ohttp);
            let proxy = allowed(DownloadPrivacyType::HubProxy);
            if (oblivious || !proxy) && allowed(DownloadPrivacyType::Ohttp) {
                match Self::get(self, hub, url, Way::Oblivious).await {
                    Err(_) if proxy => {}
                    got => return got,
                }
            }
            if proxy {
                return Self::get(self, hub, url, Way::Proxy).await;
            }
            // What remains is to ask its own server, which learns that it goes to somebody here, and no more.
            if !allowed(DownloadPrivacyType::Direct) {
                let why = FetchError::Refused("the room allows no way to fetch it".to_owned());
                return Err(why.call_error(hub));
            }
            let failed = |error: FetchError| error.call_error(hub);
            self.direct(url).await.map_err(failed)?.0.finished().await.map_err(failed)
        })
    }

    fn delete<'a>(&'a self, url: &'a DownloadUrl) -> BoxFuture<'a, Result<bool, AssetError>> {
        Box::pin(async move {
            match self.own_name(url) {
                Some(name) => self.store.delete(&name).await,
                None => Ok(false),
            }
        })
    }
}
