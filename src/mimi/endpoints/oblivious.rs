//! The Oblivious HTTP gateway (draft-ietf-mimi-protocol-06 section 5.10.3, RFC 9458): `POST /v1/ohttpGateway`, its keys at
//! `GET /v1/ohttpKeys`, and both at `/.well-known/ohttp-gateway` (RFC 9540).
//!
//! The peer is the relay. 200 with an encapsulated answer, in which stands what became of the request for the asset: the statuses of
//! proxyDownload. 400 for a key that we do not have, 409 for a request that came before, 413 and 415, 503 for too many at a time.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, Request,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use super::assets;
use crate::mimi::{
    app::{App, Caller},
    assets::{OHTTP_KEYS, OHTTP_REQUEST, OHTTP_RESPONSE},
    refusal::Refusal,
};

/// Largest body, in bytes: the URL of one asset.
const MAX_BODY: usize = 16 << 10;

pub(super) async fn keys(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let keys = assets(&app)?.oblivious_configurations()?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(OHTTP_KEYS)),
        // A key is taken for an hour after it was the newest.
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
    ];
    Ok((headers, keys).into_response())
}

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let assets = assets(&app)?;
    assets.admit(caller.0.domain())?;
    if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes() != OHTTP_REQUEST.as_bytes()) {
        return Err(Refusal::BodyType("not message/ohttp-req"));
    }
    let received = app.body(&caller, request, MAX_BODY).await?;
    let answer = assets.oblivious(&received.bytes).await?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(OHTTP_RESPONSE)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, answer).into_response())
}
