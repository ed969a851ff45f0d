//! `POST /v1/groupInfo/{roomId}` (draft-ietf-mimi-protocol-06 section 5.6): what an external joiner needs of a room that we host.
//!
//! 200 with a `GroupInfoResponse`; 403 if the requesting credential names another provider's user; 404 if the room's
//! provider is not us.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{decode, must_be_hub, must_name, room};
use crate::{
    mimi::{
        app::{App, Caller, answer},
        refusal::Refusal,
    },
    wire::GroupInfoRequest,
};

/// Largest body, in bytes. A signed request; most of it is the credential.
const MAX_BODY: usize = 512 << 10;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let room = room(request.uri().path(), "groupInfo")?;
    must_be_hub(&app, &room.hub())?;
    let received = app.body(&caller, request, MAX_BODY).await?;
    let wanted = decode::<GroupInfoRequest>(&received.bytes)?;
    must_name(caller.0.domain(), &wanted.tbs().requesting_credential, "requestingCredential")?;
    Ok(answer(app.inbound.group_info(caller.0, room, received.bytes).await?))
}
