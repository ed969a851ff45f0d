//! `[assets]`: what assets may take of our disk, our memory and our peers' time.

use std::time::Duration;

use serde::Deserialize;

use crate::{assets::Quotas, ident::ProviderDomain, mimi::settings::seconds};

/// A day, in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// How assets are stored, fetched for peers, and fetched for our own users.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AssetSettings {
    /// The host in the URLs of our own assets (port 443). Default: our provider domain.
    pub domain: Option<ProviderDomain>,
    /// Largest asset, stored or fetched, in bytes. Default 64 MiB.
    pub max_asset_bytes: u64,
    /// All assets of one of our users, in bytes. Default 2 GiB.
    pub max_bytes_per_user: u64,
    /// All assets that users of one other provider have here, in bytes. Default 4 GiB.
    pub max_bytes_per_peer: u64,
    /// All assets, in bytes. Default 16 GiB.
    pub max_bytes: u64,
    /// Days after which an asset is gone, if its owner does not want it gone earlier; 0: it stays. Default 0.
    pub keep_days: u32,
    /// What was fetched from others and is kept to be given again, in bytes; 0 keeps nothing. Default 1 GiB.
    pub cache_bytes: u64,
    /// Seconds for an asset to come from its server, or to go to who asked for it. Default 60.
    #[serde(rename = "transfer_timeout_seconds", deserialize_with = "seconds")]
    pub transfer_timeout: Duration,
    /// Assets that one peer may be getting at a time; one more is answered 429. Default 16.
    pub max_downloads_per_peer: usize,
    /// Assets that are fetched from the servers of one peer at a time; one more is answered 503. Default 8.
    pub max_fetches_per_peer: usize,
    /// Whether asset servers may have private addresses: for closed networks. An `address` that is configured for the peer
    /// may be private in any case. Default `false`.
    pub allow_private_addresses: bool,
    /// Largest asset that the Oblivious HTTP gateway fetches: it has to be in memory, several times over. In bytes. Default 8 MiB.
    pub max_oblivious_bytes: u64,
    /// Requests that the Oblivious HTTP gateway works on at a time; one more is answered 503. Default 8.
    pub max_oblivious_requests: usize,
    /// Whether our users' assets are asked of the hub by Oblivious HTTP, where it offers that and they are small enough, instead of
    /// proxyDownload. Default `false`.
    pub use_oblivious: bool,
}

impl Default for AssetSettings {
    fn default() -> Self {
        Self {
            domain: None,
            max_asset_bytes: 64 << 20,
            max_bytes_per_user: 2 << 30,
            max_bytes_per_peer: 4 << 30,
            max_bytes: 16 << 30,
            keep_days: 0,
            cache_bytes: 1 << 30,
            transfer_timeout: Duration::from_mins(1),
            max_downloads_per_peer: 16,
            max_fetches_per_peer: 8,
            allow_private_addresses: false,
            max_oblivious_bytes: 8 << 20,
            max_oblivious_requests: 8,
            use_oblivious: false,
        }
    }
}

impl AssetSettings {
    /// What the store of our own assets keeps to.
    #[must_use]
    pub fn quotas(&self) -> Quotas {
        Quotas {
            asset: self.max_asset_bytes,
            user: self.max_bytes_per_user,
            peer: self.max_bytes_per_peer,
            total: self.max_bytes,
            keep: if self.keep_days == 0 { u64::MAX } else { u64::from(self.keep_days) * DAY },
        }
    }
}
