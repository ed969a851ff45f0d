//! Which peer an asset's host belongs to, and the clients and URLs for getting assets.

use std::sync::Arc;

use super::{MimiPeers, Peer, outcome};
use crate::{
    engine::ports::{CallError, Gate, Retry},
    ident::ProviderDomain,
    mimi::{assets::FixedAddresses, settings::PeerSettings},
    wire::directory::{DirectoryEntry, Target},
};

/// Whose assets are where.
pub(super) struct AssetHosts {
    domain: ProviderDomain,
    /// Hosts of its directory's URLs, besides the domain and what is below it.
    hosts: Vec<ProviderDomain>,
    /// What the operator says; else it is for the peer's directory to say.
    configured: Option<Vec<ProviderDomain>>,
}

enum Belongs {
    Yes,
    No,
    /// If the directory points there.
    AskDirectory,
}

impl AssetHosts {
    pub(super) fn new(domain: &ProviderDomain, peer: &PeerSettings) -> Self {
        Self { domain: domain.clone(), hosts: peer.hosts.clone(), configured: peer.asset_domains.clone() }
    }

    fn belongs(&self, host: &ProviderDomain) -> Belongs {
        match &self.configured {
            Some(domains) if domains.contains(host) => Belongs::Yes,
            None if *host == self.domain => Belongs::Yes,
            None if is_of(host.as_str(), &self.domain, &self.hosts) => Belongs::AskDirectory,
            Some(_) | None => Belongs::No,
        }
    }
}

fn is_of(host: &str, domain: &ProviderDomain, hosts: &[ProviderDomain]) -> bool {
    host == domain.as_str()
        || host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.ends_with('.'))
        || hosts.iter().any(|known| known.as_str() == host)
}

/// Where the operator says that a host of the peer's assets is.
pub(super) fn fixed_addresses(domain: &ProviderDomain, peer: &PeerSettings) -> FixedAddresses {
    let (domain, peer) = (domain.clone(), peer.clone());
    Arc::new(move |host| {
        let own = peer.address.as_ref().filter(|_| is_of(host, &domain, &peer.hosts));
        peer.asset_address.as_ref().or(own).cloned()
    })
}

impl MimiPeers {
    /// From now on assets are neither served to nor fetched from providers that this says no to. The first one counts.
    pub fn ask_first(&self, gate: Gate) {
        // Whoever comes second changes nothing.
        let _ = self.gate.set(gate);
    }

    /// Whether assets are served to this peer, and fetched by way of it.
    pub(in crate::mimi) fn is_open(&self, peer: &ProviderDomain) -> bool {
        self.gate.get().is_none_or(|gate| gate(peer))
    }

    /// The peer to which an asset's host would belong, if we have nothing to do with it. Nobody is asked.
    pub(in crate::mimi) fn shut_host(&self, host: &ProviderDomain) -> Option<&ProviderDomain> {
        let belongs = |peer: &Peer| !matches!(peer.asset_hosts.belongs(host), Belongs::No);
        self.peers.iter().find(|(domain, peer)| !self.is_open(domain) && belongs(peer)).map(|(domain, _)| domain)
    }

    /// The peer that has its assets on this host. Directories are asked only of a peer to which the host would belong.
    pub(in crate::mimi) async fn asset_peer(&self, host: &ProviderDomain) -> Option<ProviderDomain> {
        let mut ask = Vec::new();
        for (domain, peer) in &self.peers {
            match peer.asset_hosts.belongs(host) {
                Belongs::Yes => return Some(domain.clone()),
                Belongs::AskDirectory => ask.push((domain, peer)),
                Belongs::No => {}
            }
        }
        for (domain, peer) in ask {
            match peer.directory.points_at(&peer.http, host).await {
                Ok(true) => return Some(domain.clone()),
                Ok(false) => {}
                Err(error) => tracing::warn!(peer = %domain, %error, "whose asset it is cannot be told"),
            }
        }
        None
    }

    /// The client for a peer's asset servers.
    pub(in crate::mimi) fn asset_client(&self, peer: &ProviderDomain) -> Option<&reqwest::Client> {
        self.peers.get(peer).map(|peer| &peer.assets)
    }

    /// A hub's client, and the URL of one of its endpoints.
    pub(in crate::mimi) async fn entry(
        &self,
        hub: &ProviderDomain,
        entry: DirectoryEntry,
        target: Target<'_>,
    ) -> Result<(&reqwest::Client, url::Url), CallError> {
        let Some(Peer { http, directory, .. }) = self.peers.get(hub) else {
            return Err(outcome::error(format!("{hub} is not a configured, allowed peer"), Retry::Permanent));
        };
        Ok((http, directory.entry(http, entry, target).await?))
    }
}
