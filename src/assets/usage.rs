//! Who has how many bytes of assets here.

use std::{collections::BTreeMap, fmt};

use crate::ident::{ProviderDomain, UserUri};

/// What the assets may take. All in bytes, but [`Quotas::keep`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// One asset.
    pub asset: u64,
    /// All assets of one user.
    pub user: u64,
    /// All assets of the users of one other provider.
    pub peer: u64,
    /// All assets.
    pub total: u64,
    /// Milliseconds for which an asset is kept at most; [`u64::MAX`] for ever.
    pub keep: u64,
}

/// Which quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// The user's.
    User,
    /// The provider's, of which the user is.
    Peer,
    /// That of all together.
    Total,
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "the user",
            Self::Peer => "the user's provider",
            Self::Total => "all assets",
        })
    }
}

/// Bytes in use, with those of uploads that run.
#[derive(Debug)]
pub(super) struct Usage {
    own: ProviderDomain,
    users: BTreeMap<UserUri, u64>,
    peers: BTreeMap<ProviderDomain, u64>,
    total: u64,
}

impl Usage {
    pub(super) fn new(own: ProviderDomain) -> Self {
        Self { own, users: BTreeMap::new(), peers: BTreeMap::new(), total: 0 }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Counts bytes that are there already.
    pub(super) fn add(&mut self, owner: &UserUri, bytes: u64) {
        *self.users.entry(owner.clone()).or_default() += bytes;
        *self.peers.entry(owner.provider()).or_default() += bytes;
        self.total += bytes;
    }

    /// Counts bytes if there is room for them.
    pub(super) fn reserve(&mut self, owner: &UserUri, bytes: u64, quotas: &Quotas) -> Result<(), Quota> {
        let after = |used: Option<&u64>| used.copied().unwrap_or_default().saturating_add(bytes);
        let peer = owner.provider();
        if after(self.users.get(owner)) > quotas.user {
            return Err(Quota::User);
        }
        if peer != self.own && after(self.peers.get(&peer)) > quotas.peer {
            return Err(Quota::Peer);
        }
        if after(Some(&self.total)) > quotas.total {
            return Err(Quota::Total);
        }
        self.add(owner, bytes);
        Ok(())
    }

    /// Gives bytes back.
    pub(super) fn remove(&mut self, owner: &UserUri, bytes: u64) {
        let peer = owner.provider();
        take(&mut self.users, owner, bytes);
        take(&mut self.peers, &peer, bytes);
        self.total = self.total.saturating_sub(bytes);
    }
}

fn take<K: Ord>(map: &mut BTreeMap<K, u64>, key: &K, bytes: u64) {
    if let Some(used) = map.get_mut(key) {
        *used = used.saturating_sub(bytes);
        if *used == 0 {
            map.remove(key);
        }
    }
}
