//! What all endpoints share: who we are, the engine behind us, the peers' budgets, and how a body is taken in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    assets::Assets,
    refusal::Refusal,
    settings::{Limits, Settings},
};
use crate::{
    engine::ports::{Problem, ProviderInbound, VerifiedPeer},
    ident::ProviderDomain,
};

/// The media type of every body of the protocol (none is registered; ours, as mimi-readings T9 says).
pub(super) const MIMI_PROTOCOL: HeaderValue = HeaderValue::from_static("application/mimi-protocol");
/// What is reserved for a body before it comes, at most, in bytes; it grows as bytes really arrive.
const FIRST_RESERVE: usize = 16 * 1024;

/// What one peer may take at a time.
pub(super) struct Budget {
    pub(super) connections: Arc<Semaphore>,
    pub(super) requests: Arc<Semaphore>,
    /// Assets on their way to it.
    pub(super) downloads: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
}

/// Shared by all connections.
pub(super) struct App {
    pub(super) own_domain: ProviderDomain,
    /// The host of our public URL, besides the own domain.
    pub(super) public_host: String,
    /// The host of our assets' URLs.
    pub(super) asset_host: ProviderDomain,
    /// Our assets, and what we fetch for others; without, nothing of the kind is served.
    pub(super) assets: Option<Arc<Assets>>,
    pub(super) inbound: Arc<dyn ProviderInbound>,
    pub(super) budgets: BTreeMap<ProviderDomain, Budget>,
    /// The directory document, ready to send.
    pub(super) directory: axum::body::Bytes,
    body_timeout: Duration,
    max_body_bytes: usize,
}

/// A request's sender, put into the request by the server.
#[derive(Clone)]
pub(super) struct Caller(pub(super) VerifiedPeer);

/// Tells that a connection is in use although no request runs on it: a body is still on its way.
#[derive(Clone)]
pub(super) struct Busy(pub(super) Arc<dyn Fn() -> Box<dyn Send> + Send + Sync>);

/// A whole body, and its share of the peer's budget for as long as it lives.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

impl App {
    pub(super) fn new(
        settings: &Settings,
        public_host: String,
        directory: Vec<u8>,
        inbound: Arc<dyn ProviderInbound>,
        assets: Option<Arc<Assets>>,
    ) -> Self {
        let limits: &Limits = &settings.limits;
        let max_body_bytes = limits.max_body_bytes_per_peer.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        let budget = || Budget {
            connections: Arc::new(Semaphore::new(limits.max_connections_per_peer.min(Semaphore::MAX_PERMITS))),
            requests: Arc::new(Semaphore::new(limits.max_requests_per_peer.min(Semaphore::MAX_PERMITS))),
            downloads: Arc::new(Semaphore::new(settings.assets.max_downloads_per_peer.min(Semaphore::MAX_PERMITS))),
            body_bytes: Arc::new(Semaphore::new(max_body_bytes)),
        };
        Self {
            own_domain: settings.own_domain.clone(),
            public_host,
            asset_host: settings.asset_domain().clone(),
            assets,
            inbound,
            budgets: settings.peers.keys().map(|peer| (peer.clone(), budget())).collect(),
            directory: directory.into(),
            body_timeout: limits.body_timeout,
            max_body_bytes,
        }
    }

    /// Takes in a body of at most `limit` bytes. Type, encoding and declared length are judged before a byte is read,
    /// the rest while it comes; a peer whose bodies fill its budget waits for its own earlier ones.
    pub(super) async fn body(
        &self,
        caller: &Caller,
        request: Request<Body>,
        limit: usize,
    ) -> Result<Received, Refusal> {
        let (parts, mut body) = request.into_parts();
        check_kind(&parts.headers)?;
        let declared = declared_length(&parts.headers)?;
        if declared.is_some_and(|length| length > limit) {
            return Err(Refusal::TooLarge(limit));
        }
        let expected = declared.unwrap_or(limit);
        let share = u32::try_from(expected.min(self.max_body_bytes)).unwrap_or(u32::MAX);
        let budget = self.budgets.get(caller.0.domain()).ok_or(Refusal::FromMismatch)?;
        let take = async {
            let share = Arc::clone(&budget.body_bytes)
                .acquire_many_owned(share)
                .await
                .map_err(|_| Refusal::Problem(Problem::Unavailable(1)))?;
            let mut bytes = Vec::with_capacity(expected.min(FIRST_RESERVE));
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Err(Refusal::BrokenBody) };
                let Some(data) = frame.data_ref() else { continue };
                if bytes.len() + data.len() > limit {
                    return Err(Refusal::TooLarge(limit));
                }
                bytes.extend_from_slice(data);
            }
            Ok(Received { bytes, _share: share })
        };
        timeout(self.body_timeout, take).await.unwrap_or(Err(Refusal::SlowBody))
    }
}

fn check_kind(headers: &HeaderMap) -> Result<(), Refusal> {
    let identity = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(identity) {
        return Err(Refusal::BodyType("a content encoding"));
    }
    for value in headers.get_all(CONTENT_TYPE) {
        let text = value.as_bytes();
        let essence = text.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
        if essence.starts_with(b"text/") || essence == b"application/json" || essence.ends_with(b"+json") {
            return Err(Refusal::BodyType("text or JSON"));
        }
    }
    Ok(())
}

fn declared_length(headers: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let digits = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    // More digits than a usize holds is a large body, not a malformed one.
    digits.map(|text| Some(text.parse().unwrap_or(usize::MAX))).ok_or(Refusal::BrokenBody)
}

/// 200 with the encoded answer.
pub(super) fn answer(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, MIMI_PROTOCOL)], body).into_response()
}

/// 201 without a body: taken, durable.
pub(super) fn taken() -> Response {
    StatusCode::CREATED.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: http::HeaderName, value: &'static str) -> bool {
        check_kind(&HeaderMap::from_iter([(name, HeaderValue::from_static(value))])).is_ok()
    }

    #[test]
    fn compressed_text_and_json_bodies_are_refused() {
        for encoding in ["gzip", "br", "identity, gzip", "deflate", "x"] {
            assert!(!kind(CONTENT_ENCODING, encoding), "{encoding}");
        }
        assert!(kind(CONTENT_ENCODING, "identity"));
        for text in [
            "text/plain",
            "Text/HTML; charset=utf-8",
            "application/json",
            "application/JSON ;x=1",
            "application/problem+json",
        ] {
            assert!(!kind(CONTENT_TYPE, text), "{text}");
        }
        for binary in ["application/mimi-protocol", "application/octet-stream", "message/mls"] {
            assert!(kind(CONTENT_TYPE, binary), "{binary}");
        }
    }

    #[test]
    fn a_declared_length_is_digits() {
        let of = |value: &'static str| {
            declared_length(&HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static(value))]))
        };
        assert_eq!(of("12"), Ok(Some(12)));
        assert_eq!(of("99999999999999999999999999"), Ok(Some(usize::MAX)));
        assert_eq!(of("-1"), Err(Refusal::BrokenBody));
        assert_eq!(of("+1"), Err(Refusal::BrokenBody));
    }
}
