//! The calls that bring an asset: GET, nothing of the asker's, no redirect, capped in size and time.

use std::{error::Error, time::Duration};

use http::{
    StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

use super::{FetchError, NotPublic, source::Sink};
use crate::{
    engine::ports::{CallError, Retry},
    ident::ProviderDomain,
    mimi::{MimiPeers, client::outcome},
    wire::{
        directory::{DirectoryEntry, Target},
        path::DownloadUrl,
    },
};

/// Largest list of key configurations, in bytes.
const MAX_KEYS: usize = 16 * 1024;
/// What an encapsulated answer has besides the asset, in bytes.
const ENVELOPE: u64 = 16 * 1024;
/// Media types of Oblivious HTTP (RFC 9458 section 9).
pub(in crate::mimi) const OHTTP_KEYS: &str = "application/ohttp-keys";
pub(in crate::mimi) const OHTTP_REQUEST: &str = "message/ohttp-req";
pub(in crate::mimi) const OHTTP_RESPONSE: &str = "message/ohttp-res";

impl MimiPeers {
    /// From the asset server itself. The URL's host has been found to be this peer's.
    pub(super) async fn fetch_direct(
        &self,
        peer: &ProviderDomain,
        url: &DownloadUrl,
        limit: u64,
        time: Duration,
        sink: &Sink,
    ) -> Result<(), FetchError> {
        let client = self.asset_client(peer).ok_or_else(|| FetchError::Refused("no such peer".into()))?;
        take(client.get(url.as_str()).timeout(time), limit, sink).await
    }

    /// By the hub's proxyDownload.
    pub(super) async fn fetch_by_proxy(
        &self,
        hub: &ProviderDomain,
        url: &DownloadUrl,
        limit: u64,
        time: Duration,
        sink: &Sink,
    ) -> Result<(), FetchError> {
        let (client, at) =
            self.entry(hub, DirectoryEntry::ProxyDownload, Target::Url(url.as_str())).await.map_err(unusable)?;
        take(client.get(at).timeout(time), limit, sink).await
    }

    /// The key configurations of a hub's Oblivious HTTP gateway.
    pub(super) async fn oblivious_keys(&self, hub: &ProviderDomain) -> Result<Vec<u8>, CallError> {
        let (client, at) = self.entry(hub, DirectoryEntry::OhttpKeys, Target::Nothing).await?;
        let response = client.get(at).send().await.map_err(|error| outcome::from_transport(&error))?;
        whole(response, OHTTP_KEYS, MAX_KEYS).await
    }

    /// Forwards an encapsulated request to a hub's gateway, and brings its answer.
    pub(super) async fn relay(&self, hub: &ProviderDomain, request: &[u8], limit: u64) -> Result<Vec<u8>, CallError> {
        let (client, at) = self.entry(hub, DirectoryEntry::OhttpGateway, Target::Nothing).await?;
        let sent = client.post(at).header(CONTENT_TYPE, OHTTP_REQUEST).body(request.to_vec()).send().await;
        let response = sent.map_err(|error| outcome::from_transport(&error))?;
        whole(response, OHTTP_RESPONSE, usize::try_from(limit.saturating_add(ENVELOPE)).unwrap_or(usize::MAX)).await
    }
}

fn unusable(error: CallError) -> FetchError {
    FetchError::Bad(error.what)
}

async fn whole(response: reqwest::Response, kind: &str, limit: usize) -> Result<Vec<u8>, CallError> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(outcome::from_status(status, response.headers(), b"", std::time::SystemTime::now()));
    }
    if response.headers().get(CONTENT_TYPE).is_none_or(|value| value.as_bytes() != kind.as_bytes()) {
        return Err(outcome::error(format!("the answer is no {kind}"), Retry::Permanent));
    }
    crate::mimi::client::read_capped(response, limit).await
}

/// Sends the request and writes what comes.
async fn take(request: reqwest::RequestBuilder, limit: u64, sink: &Sink) -> Result<(), FetchError> {
    let mut response = request.send().await.map_err(|error| transport(&error))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(FetchError::NotFound),
        StatusCode::GATEWAY_TIMEOUT => return Err(FetchError::Slow),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => return Err(FetchError::Busy),
        StatusCode::FORBIDDEN => return Err(FetchError::Refused("by its server".into())),
        other if other.is_redirection() => return Err(FetchError::Bad("its server redirects".into())),
        other => return Err(FetchError::Bad(format!("its server answers {}", other.as_u16()))),
    }
    if response.headers().contains_key(CONTENT_ENCODING) {
        return Err(FetchError::Bad("its server encodes it".into()));
    }
    let total = response.content_length();
    if total.is_some_and(|total| total > limit) {
        return Err(FetchError::TooLarge(limit));
    }
    sink.begin(total);
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if sink.bytes().saturating_add(chunk.len() as u64) > limit {
            return Err(FetchError::TooLarge(limit));
        }
        sink.write(chunk).await.map_err(|error| FetchError::Disk(error.to_string()))?;
    }
    Ok(())
}

fn transport(error: &reqwest::Error) -> FetchError {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(cause) = source {
        if cause.is::<NotPublic>() {
            return FetchError::Refused(NotPublic.to_string());
        }
        source = cause.source();
    }
    if error.is_timeout() { FetchError::Slow } else { FetchError::Bad(outcome::from_transport(error).what) }
}
