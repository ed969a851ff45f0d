//! The endpoints of draft-ietf-mimi-protocol-06 section 5, one file each.
//!
//! Each judges path, body kind and size, decodes the body once, checks what the peer may claim in it, and calls the
//! engine with the received bytes. A refusal is a problem document, and nothing was stored for it.

mod asset;
pub(super) mod directory;
mod group_info;
mod identifier_query;
mod key_material;
mod notify;
mod oblivious;
mod proxy_download;
mod report_abuse;
mod request_consent;
mod submit_message;
mod update;
mod update_consent;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    HeaderName, HeaderValue, Request,
    header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use tokio::time::Instant;

use super::{
    app::{App, Busy, Caller, Received},
    assets::{Assets, Source},
    refusal::Refusal,
};
use crate::{
    engine::ports::{Problem, VerifiedPeer},
    ident::{MimiUri, ProviderDomain, RoomUri},
    wire::{self, ConsentEntry, Credential, DecodeError, Wire},
};

/// Seconds after which a peer that gets too many assets at a time may come again.
const RETRY_DOWNLOAD: u32 = 2;
/// What is said of an asset: that nobody here knows what is in it.
const ASSET_HEADERS: [(HeaderName, HeaderValue); 2] = [
    (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

/// All routes.
pub(super) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/.well-known/mimi-protocol-directory", get(directory::get))
        .route("/v1/keyMaterial/{*target}", post(key_material::post))
        .route("/v1/update/{*room}", post(update::post))
        .route("/v1/notify/{*room}", post(notify::post))
        .route("/v1/submitMessage/{*room}", post(submit_message::post))
        .route("/v1/groupInfo/{*room}", post(group_info::post))
        .route("/v1/reportAbuse/{*room}", post(report_abuse::post))
        .route("/v1/proxyDownload/{*url}", get(proxy_download::get))
        .route("/v1/ohttpKeys", get(oblivious::keys))
        .route("/v1/ohttpGateway", post(oblivious::post))
        .route("/.well-known/ohttp-gateway", get(oblivious::keys).post(oblivious::post))
        .route("/assets/{name}", get(asset::get))
        .route("/v1/identifierQuery/{*domain}", post(identifier_query::post))
        .route("/v1/requestConsent/{*target}", post(request_consent::post))
        .route("/v1/updateConsent/{*requester}", post(update_consent::post))
        .fallback(async || Refusal::UnknownPath)
        .method_not_allowed_fallback(async || Refusal::WrongMethod)
        .with_state(app)
}

/// The endpoint's name for logs; never a peer's own text.
pub(super) fn label(path: &str) -> &'static str {
    const NAMES: [&str; 12] = [
        "keyMaterial",
        "update",
        "notify",
        "submitMessage",
        "groupInfo",
        "reportAbuse",
        "requestConsent",
        "updateConsent",
        "proxyDownload",
        "ohttpGateway",
        "ohttpKeys",
        "identifierQuery",
    ];
    let name = path.strip_prefix("/v1/").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    NAMES.into_iter().find(|known| *known == name).unwrap_or(match path {
        "/.well-known/mimi-protocol-directory" => "directory",
        "/.well-known/ohttp-gateway" => "ohttpGateway",
        path if path.starts_with("/assets/") => "assets",
        _ => "unknown",
    })
}

/// Decodes a whole body.
fn decode<T: Wire>(bytes: &[u8]) -> Result<T, Refusal> {
    T::decode(bytes).map_err(malformed)
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn malformed(error: DecodeError) -> Refusal {
    Problem::Malformed(error.to_string()).into()
}

/// What follows `/v1/<endpoint>/` in a path, still encoded: it is decoded once, in `wire::path`.
fn variable<'a>(path: &'a str, endpoint: &str) -> Result<&'a str, Refusal> {
    path.strip_prefix("/v1/")
        .and_then(|rest| rest.strip_prefix(endpoint))
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or(Refusal::UnknownPath)
}

/// The room in the path of `endpoint`.
fn room(path: &str, endpoint: &str) -> Result<RoomUri, Refusal> {
    wire::path::room(variable(path, endpoint)?).map_err(|_| Refusal::BadPath("not a room URI"))
}

/// Refuses with 403 unless `claimed` is the peer itself (ATTACKS P4).
fn must_be_peer(peer: &VerifiedPeer, claimed: &ProviderDomain, what: &str) -> Result<(), Refusal> {
    if claimed == peer.domain() {
        return Ok(());
    }
    Err(Problem::Forbidden(format!("{what} belongs to {claimed}, not to the peer")).into())
}

/// Refuses with 403 if a credential names a user or client of another provider than `owner`. A basic credential's
/// identity is a MIMI URI; what other credentials say is the engine's to judge.
fn must_name(owner: &ProviderDomain, credential: &Credential, what: &str) -> Result<(), Refusal> {
    match credential {
        Credential::Basic { identity } => {
            let uri = MimiUri::from_bytes(identity).map_err(|error| Problem::Malformed(format!("{what}: {error}")))?;
            if uri.provider() == *owner {
                return Ok(());
            }
            Err(Problem::Forbidden(format!("{what} names somebody of {}, not of {owner}", uri.provider())).into())
        }
        Credential::X509 { .. } => Ok(()),
    }
}

/// 404 unless `room` is hosted here.
fn must_be_hub(app: &App, hub: &ProviderDomain) -> Result<(), Refusal> {
    if *hub == app.own_domain { Ok(()) } else { Err(Problem::NotFound.into()) }
}

/// Refuses with 403 unless `claimed` is our own domain.
fn must_be_ours(app: &App, claimed: &ProviderDomain, what: &str) -> Result<(), Refusal> {
    if *claimed == app.own_domain {
        return Ok(());
    }
    Err(Problem::Forbidden(format!("{what} belongs to {claimed}, not to this provider")).into())
}

/// Our assets; 404 where there are none.
fn assets(app: &App) -> Result<&Arc<Assets>, Refusal> {
    app.assets.as_ref().ok_or(Refusal::UnknownPath)
}

/// An asset on its way to a peer, which may have so many under way at a time.
fn streamed(
    app: &App,
    caller: &Caller,
    busy: Option<&Busy>,
    source: Source,
    time: Duration,
) -> Result<Response, Refusal> {
    let downloads = app.budgets.get(caller.0.domain()).map(|budget| Arc::clone(&budget.downloads));
    let turn = downloads.and_then(|downloads| downloads.try_acquire_owned().ok());
    let turn = turn.ok_or(Problem::TooMany(RETRY_DOWNLOAD))?;
    let hold = (turn, busy.map(|busy| (busy.0)()));
    let body = Body::new(source.body(Instant::now() + time, hold));
    Ok((ASSET_HEADERS, body).into_response())
}

/// 404 unless the domain in the path of `endpoint` is ours.
fn must_name_us(app: &App, path: &str, endpoint: &str) -> Result<(), Refusal> {
    let domain = wire::path::domain(variable(path, endpoint)?);
    let domain = domain.map_err(|_| Refusal::BadPath("not a provider domain"))?;
    if domain == app.own_domain { Ok(()) } else { Err(Problem::NotFound.into()) }
}

/// The consent entry of a request whose path names our domain.
async fn consent_entry(
    app: &App,
    caller: &Caller,
    request: Request<Body>,
    endpoint: &str,
    max_body: usize,
) -> Result<(ConsentEntry, Received), Refusal> {
    must_name_us(app, request.uri().path(), endpoint)?;
    let received = app.body(caller, request, max_body).await?;
    let entry = decode::<ConsentEntry>(&received.bytes)?;
    Ok((entry, received))
}
