//! `POST /v1/reportAbuse/{roomId}` (draft-ietf-mimi-protocol-06 section 5.9): a peer's user reports messages of a room that we
//! host.
//!
//! 201 once it is durable; 403 if it names a reporting user of another provider; 404 if the room is not hosted here; 429 for
//! too many of them.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{decode, must_be_hub, must_be_peer, room};
use crate::{
    mimi::{
        app::{App, Caller, taken},
        refusal::Refusal,
    },
    wire::AbuseReport,
};

/// Largest body, in bytes: a handful of messages.
const MAX_BODY: usize = 1 << 20;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let room = room(request.uri().path(), "reportAbuse")?;
    must_be_hub(&app, &room.hub())?;
    let received = app.body(&caller, request, MAX_BODY).await?;
    let report = decode::<AbuseReport>(&received.bytes)?;
    if let Some(user) = &report.reporting_user {
        must_be_peer(&caller.0, &user.provider(), "reportingUser")?;
    }
    app.inbound.report_abuse(caller.0, room, received.bytes).await?;
    Ok(taken())
}
