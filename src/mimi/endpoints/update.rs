//! `POST /v1/update/{roomId}` (draft-ietf-mimi-protocol-06 section 5.3): commits and proposals for a room that we host.
//!
//! 200 with an `UpdateRoomResponse`; 404 if the room's provider is not us; 400, 413, 415 for bodies. Whose leaf signed
//! it is the engine's to check.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{decode, must_be_hub, room};
use crate::{
    mimi::{
        app::{App, Caller, answer},
        refusal::Refusal,
    },
    wire::{UpdateRequest, limits},
};

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let room = room(request.uri().path(), "update")?;
    must_be_hub(&app, &room.hub())?;
    let received = app.body(&caller, request, limits::BODY).await?;
    decode::<UpdateRequest>(&received.bytes)?;
    Ok(answer(app.inbound.update(caller.0, room, received.bytes).await?))
}
