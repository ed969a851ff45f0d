//! `GET users/{userId}` and `GET rooms/{alias}`: the homeserver asks for something in our namespace. Its event stream
//! waits for the answer.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use ruma::{OwnedRoomAliasId, OwnedUserId};
use serde_json::Value;

use super::{Shared, refusal::Refusal};

/// 200 once the ghost exists, else 404.
pub(super) async fn user(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<OwnedUserId>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let Ok(Path(user)) = path else { return Err(Refusal::not_found()) };
    if user.server_name() != shared.names.server() {
        return Err(Refusal::not_found());
    }
    found(shared.inbound.query_user(&user).await?)
}

/// 200 once the room behind the alias exists, else 404.
pub(super) async fn alias(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<OwnedRoomAliasId>, PathRejection>,
) -> Result<Json<Value>, Refusal> {
    let Ok(Path(alias)) = path else { return Err(Refusal::not_found()) };
    if alias.server_name() != shared.names.server() {
        return Err(Refusal::not_found());
    }
    found(shared.inbound.query_alias(&alias).await?)
}

fn found(exists: bool) -> Result<Json<Value>, Refusal> {
    if exists { Ok(Json(serde_json::json!({}))) } else { Err(Refusal::not_found()) }
}
