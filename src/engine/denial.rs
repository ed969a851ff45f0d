//! Providers that we have nothing to do with for now: by the settings, or because an administrator said so while the gateway
//! runs. What goes to them waits; what they send is refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use ruma::UserId;
use serde::{Deserialize, Serialize};

use super::{
    core::{Engine, lock, now},
    ports::{CallError, Endpoint, Gate, Millis, PathTarget, Peers, Problem, Retry, VerifiedPeer},
    tables::DENIED,
};
use crate::{
    ident::ProviderDomain,
    policy::Envelope,
    room::{Cause, Refusal},
    store::{Batch, BoxFuture, Database, StoreError},
};

/// That a provider is denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The administrator who said so.
    pub by: String,
    /// When, in milliseconds since the UNIX epoch.
    pub since: Millis,
}

/// A provider as those who administrate see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderSummary {
    /// Its domain.
    pub domain: ProviderDomain,
    /// Whether the settings deny it.
    pub outside: bool,
    /// Whether an administrator denied it.
    pub denial: Option<Denial>,
}

type Denied = Arc<Mutex<BTreeMap<ProviderDomain, Denial>>>;

/// What stands before all peers.
pub(super) struct Doors {
    peers: Arc<dyn Peers>,
    envelope: Arc<Envelope>,
    denied: Denied,
}

impl Doors {
    pub(super) async fn load(
        db: &Database,
        peers: Arc<dyn Peers>,
        envelope: Arc<Envelope>,
    ) -> Result<Arc<Self>, StoreError> {
        let denied = DENIED.scan_all(db, &()).await?;
        let denied = denied.into_iter().filter_map(|(domain, row)| Some((ProviderDomain::parse(&domain).ok()?, row)));
        Ok(Arc::new(Self { peers, envelope, denied: Arc::new(Mutex::new(denied.collect())) }))
    }

    /// Whether we have to do with this provider.
    pub(super) fn open(&self, peer: &ProviderDomain) -> bool {
        is_open(&self.envelope, &self.denied, peer)
    }
}

fn is_open(envelope: &Envelope, denied: &Denied, peer: &ProviderDomain) -> bool {
    envelope.admits(peer) && !lock(denied).contains_key(peer)
}

impl Peers for Doors {
    fn call<'a>(
        &'a self,
        peer: &'a ProviderDomain,
        endpoint: Endpoint,
        target: &'a PathTarget,
        body: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CallError>> {
        if self.open(peer) {
            return self.peers.call(peer, endpoint, target, body);
        }
        Box::pin(async move {
            // It goes on once the provider is allowed again.
            Err(CallError {
                what: format!("{peer} is denied by an administrator or the settings; what goes there waits"),
                retry: Retry::Retriable(None),
                status: None,
                errcode: None,
            })
        })
    }

    fn knows(&self, peer: &ProviderDomain) -> bool {
        self.peers.knows(peer) && self.open(peer)
    }

    fn is_gateway(&self, peer: &ProviderDomain) -> bool {
        self.peers.is_gateway(peer)
    }

    fn all(&self) -> Vec<ProviderDomain> {
        self.peers.all()
    }
}

impl Engine {
    /// Whether we have to do with a provider, whenever it is asked: for what serves and fetches assets beside the engine.
    #[must_use]
    pub fn gate(&self) -> Gate {
        let (envelope, denied) = (Arc::clone(&self.0.doors.envelope), Arc::clone(&self.0.doors.denied));
        Arc::new(move |peer| is_open(&envelope, &denied, peer))
    }

    /// Whether a peer's request is looked at.
    pub(super) fn admit(&self, peer: &VerifiedPeer) -> Result<(), Problem> {
        if self.0.doors.open(peer.domain()) {
            return Ok(());
        }
        tracing::debug!(peer = %peer.domain(), "a request of a provider that is denied is refused");
        Err(Problem::Forbidden("this provider is not talked to".to_owned()))
    }

    /// Has nothing to do with a provider from now on; what is said.
    pub(super) async fn deny(
        &self,
        provider: &ProviderDomain,
        by: &UserId,
    ) -> Result<Result<String, Refusal>, StoreError> {
        if *provider == self.bounds().own {
            return Ok(Err(Refusal::new(Cause::Invalid, "That is this gateway's own domain.")));
        }
        let denial = Denial { by: by.to_string(), since: now() };
        let mut batch = Batch::new("a provider is denied");
        DENIED.put(&self.0.db, &mut batch, &provider.to_string(), &denial)?;
        self.0.db.commit(batch).await?;
        lock(&self.0.doors.denied).insert(provider.clone(), denial);
        tracing::warn!(%provider, %by, "a provider is denied from now on");
        Ok(Ok(format!(
            "{provider} is denied: what it sends is refused, and what goes there waits. Rooms stay as they are. “allow {provider}” \
             ends it."
        )))
    }

    /// Has to do with it again, as far as the settings say so.
    pub(super) async fn allow(
        &self,
        provider: &ProviderDomain,
        by: &UserId,
    ) -> Result<Result<String, Refusal>, StoreError> {
        if !lock(&self.0.doors.denied).contains_key(provider) {
            return Ok(Err(Refusal::new(Cause::NotFound, format!("{provider} was not denied by an administrator."))));
        }
        let mut batch = Batch::new("a provider is denied no more");
        DENIED.delete(&mut batch, &provider.to_string());
        self.0.db.commit(batch).await?;
        lock(&self.0.doors.denied).remove(provider);
        tracing::warn!(%provider, %by, "a provider is denied no more");
        let known = if self.0.peers.knows(provider) { "" } else { " The settings do not let me talk to it, though." };
        Ok(Ok(format!("{provider} is denied no more; what waited goes there within a minute.{known}")))
    }

    /// All providers of the settings, and all that are denied.
    #[must_use]
    pub fn providers(&self) -> Vec<ProviderSummary> {
        let doors = &self.0.doors;
        let denied = lock(&doors.denied).clone();
        let mut domains: std::collections::BTreeSet<ProviderDomain> = doors.all().into_iter().collect();
        domains.extend(denied.keys().cloned());
        let summary = |domain: ProviderDomain| ProviderSummary {
            outside: !doors.envelope.admits(&domain),
            denial: denied.get(&domain).cloned(),
            domain,
        };
        domains.into_iter().map(summary).collect()
    }

    pub(super) fn providers_in_words(&self) -> String {
        let providers = self.providers();
        if providers.is_empty() {
            return "The settings name no provider.".to_owned();
        }
        let lines: Vec<String> = providers
            .into_iter()
            .map(|ProviderSummary { domain, outside, denial }| match (outside, denial) {
                (_, Some(denial)) => format!("• {domain} — denied by {}", denial.by),
                (true, None) => format!("• {domain} — denied by the settings"),
                (false, None) => format!("• {domain}"),
            })
            .collect();
        lines.join("\n")
    }
}
