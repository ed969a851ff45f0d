//! `GET /v1/proxyDownload/{downloadUrl}` (draft-ietf-mimi-protocol-06 section 5.10.2): we fetch an asset for a peer.
//!
//! 200 with its bytes as they come; 400 for what is not the URL of an asset; 403 unless its host is an asset domain of ours or of a
//! known peer, with a public address; 404 if its server does not have it; 502 if that server does what it should not, 504 if it is
//! too slow; 429 and 503 for too many at a time. Nothing of the peer's request but the URL goes anywhere.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use http::Uri;

use super::{assets, streamed, variable};
use crate::{
    mimi::{
        app::{App, Busy, Caller},
        refusal::Refusal,
    },
    wire,
};

pub(super) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    busy: Option<Extension<Busy>>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let assets = assets(&app)?;
    assets.admit(caller.0.domain())?;
    // A query would be a part of the asset's URL that was not encoded.
    if uri.query().is_some() {
        return Err(Refusal::BadPath("a query"));
    }
    let url = wire::path::download(variable(uri.path(), "proxyDownload")?)
        .map_err(|_| Refusal::BadPath("not the URL of an asset"))?;
    let (source, _) = assets.direct(&url).await?;
    streamed(&app, &caller, busy.as_deref(), source, assets.transfer_timeout())
}
