//! Third-party look-up for the protocol `mimi`: a MIMI user by its URI (field `uri`) gives the ghost (or the
//! Matrix user, for a URI of our own), and a ghost gives its MIMI user. By handle (field `handle`, `NAME@PROVIDER`) that
//! provider is asked who it is.
//! Rooms are joined by command, not looked up: location look-ups find nothing.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use ruma::OwnedUserId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Shared, refusal::Refusal};
use crate::{
    ident::{GhostOf, UserUri},
    matrix::registration::PROTOCOL,
};

/// The fields by which a user is looked up.
#[derive(Deserialize)]
pub(super) struct ByField {
    uri: Option<UserUri>,
    handle: Option<String>,
}

/// The parameter of the reverse look-up.
#[derive(Deserialize)]
pub(super) struct ById {
    userid: OwnedUserId,
}

/// `GET thirdparty/protocol/{protocol}`.
pub(super) async fn protocol(Path(protocol): Path<String>) -> Result<Json<Value>, Refusal> {
    known(&protocol)?;
    Ok(Json(json!({
        "user_fields": ["handle", "uri"],
        "location_fields": [],
        "icon": "",
        "field_types": {
            "handle": {"regexp": "[^@]+@[a-z0-9.-]+", "placeholder": "alice@example.com"},
            "uri": {"regexp": "mimi://[a-z0-9.-]+/u/[^/?#]+", "placeholder": "mimi://example.com/u/alice"},
        },
        "instances": [{"network_id": PROTOCOL, "desc": "MIMI (More Instant Messaging Interoperability)", "fields": {}}],
    })))
}

/// `GET thirdparty/user/{protocol}?uri=` or `?handle=`.
pub(super) async fn user(
    State(shared): State<Arc<Shared>>,
    Path(protocol): Path<String>,
    query: Result<Query<ByField>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    known(&protocol)?;
    let Ok(Query(ByField { uri, handle })) = query else { return Err(Refusal::not_found()) };
    let map = shared.names.map();
    let Some(uri) = uri else {
        let handle = handle.ok_or_else(Refusal::not_found)?;
        let found = shared.inbound.find_by_handle(&handle).await?;
        let entries: Vec<Value> = found.iter().filter_map(|uri| Some(entry(&map.ghost(uri).ok()?, uri))).collect();
        return if entries.is_empty() { Err(Refusal::not_found()) } else { Ok(Json(json!(entries))) };
    };
    let user = map.matrix_user(&uri).or_else(|| map.ghost(&uri).ok()).ok_or_else(Refusal::not_found)?;
    Ok(Json(json!([entry(&user, &uri)])))
}

/// `GET thirdparty/user?userid=`.
pub(super) async fn user_by_id(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ById>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Ok(Query(ById { userid })) = query else { return Err(Refusal::not_found()) };
    let Some(GhostOf::User(uri)) = shared.names.map().ghost_of(&userid) else { return Err(Refusal::not_found()) };
    Ok(Json(json!([entry(&userid, &uri)])))
}

/// `GET thirdparty/location/{protocol}`.
pub(super) async fn location(Path(protocol): Path<String>) -> Result<Json<Value>, Refusal> {
    known(&protocol)?;
    Ok(Json(json!([])))
}

/// `GET thirdparty/location?alias=`.
pub(super) async fn location_by_alias() -> Json<Value> {
    Json(json!([]))
}

fn known(protocol: &str) -> Result<(), Refusal> {
    if protocol == PROTOCOL { Ok(()) } else { Err(Refusal::not_found()) }
}

fn entry(ghost: &ruma::UserId, uri: &UserUri) -> Value {
    json!({"userid": ghost, "protocol": PROTOCOL, "fields": {"uri": uri.as_str()}})
}
