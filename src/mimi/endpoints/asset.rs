//! `GET /assets/{name}`: an asset of ours (draft-ietf-mimi-protocol-06 section 5.10), for whoever knows its URL and is a peer.
//!
//! 200 with its bytes, which never change; 304 for one that has them; 404 if there is none, or no longer; 429 if the peer gets too
//! many at a time. Ranges are not looked at.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_LENGTH, ETAG, IF_NONE_MATCH},
};

use super::{ASSET_HEADERS, assets, streamed};
use crate::{
    assets::AssetName,
    mimi::{
        app::{App, Busy, Caller},
        assets::Source,
        refusal::Refusal,
    },
};

pub(super) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    busy: Option<Extension<Busy>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let assets = assets(&app)?;
    assets.admit(caller.0.domain())?;
    let name: AssetName =
        uri.path().strip_prefix("/assets/").and_then(|name| name.parse().ok()).ok_or(Refusal::UnknownPath)?;
    let file = assets.own(&name).await?;
    let tag = HeaderValue::try_from(format!("\"{}\"", name.as_str())).map_err(|_| Refusal::UnknownPath)?;
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|value| *value == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if method == Method::HEAD {
        (ASSET_HEADERS, [(CONTENT_LENGTH, HeaderValue::from(file.bytes()))]).into_response()
    } else {
        streamed(&app, &caller, busy.as_deref(), Source::from(&file), assets.transfer_timeout())?
    };
    response.headers_mut().insert(ETAG, tag);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400, immutable"));
    Ok(response)
}
