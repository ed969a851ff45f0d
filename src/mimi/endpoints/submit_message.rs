//! `POST /v1/submitMessage/{roomId}` (draft-ietf-mimi-protocol-06 section 5.4): an application message for a room that we host.
//!
//! 200 with a `SubmitMessageResponse`; 403 if `sendingUri` is not the peer's user; 404 if the room's provider is not us.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{decode, must_be_hub, must_be_peer, room};
use crate::{
    mimi::{
        app::{App, Caller, answer},
        refusal::Refusal,
    },
    wire::SubmitMessageRequest,
};

/// Largest body, in bytes. One message; ours are at most 64 KiB.
const MAX_BODY: usize = 1 << 20;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let room = room(request.uri().path(), "submitMessage")?;
    must_be_hub(&app, &room.hub())?;
    let received = app.body(&caller, request, MAX_BODY).await?;
    let message = decode::<SubmitMessageRequest>(&received.bytes)?;
    must_be_peer(&caller.0, &message.sending_user.provider(), "sendingUri")?;
    Ok(answer(app.inbound.submit_message(caller.0, room, received.bytes).await?))
}
