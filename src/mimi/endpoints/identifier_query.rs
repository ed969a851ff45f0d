//! `POST /v1/identifierQuery/{domain}` (draft-ietf-mimi-protocol-06 section 5.8): a peer's user looks for one of ours.
//!
//! 200 with an `IdentifierResponse`, whose code says how it went; 400 for a query without elements; 404 for another
//! provider's domain; 429 for too many of them.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{decode, must_name_us};
use crate::{
    mimi::{
        app::{App, Caller, answer},
        refusal::Refusal,
    },
    wire::IdentifierRequest,
};

/// Largest body, in bytes. Sixteen elements, and room for extensions.
const MAX_BODY: usize = 128 << 10;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    must_name_us(&app, request.uri().path(), "identifierQuery")?;
    let received = app.body(&caller, request, MAX_BODY).await?;
    decode::<IdentifierRequest>(&received.bytes)?;
    Ok(answer(app.inbound.identifier_query(caller.0, received.bytes).await?))
}
