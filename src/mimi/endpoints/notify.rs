//! `POST /v1/notify/{roomId}` (draft-ietf-mimi-protocol-06 section 5.5): what a hub fans out to us.
//!
//! 201 once it is durable, for duplicates too; 403 if the peer is not the room's hub.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{malformed, must_be_peer, room};
use crate::{
    mimi::{
        app::{App, Caller, taken},
        refusal::Refusal,
    },
    wire::{FanoutMessage, limits},
};

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let room = room(request.uri().path(), "notify")?;
    must_be_peer(&caller.0, &room.hub(), "the room")?;
    let received = app.body(&caller, request, limits::BODY).await?;
    FanoutMessage::decode_all(&received.bytes).map_err(malformed)?;
    app.inbound.notify(caller.0, room, received.bytes).await?;
    Ok(taken())
}
