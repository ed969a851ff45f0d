//! `GET /.well-known/mimi-protocol-directory` (draft-ietf-mimi-protocol-06 section 5.1): where our endpoints are.
//!
//! 200 with JSON, to be kept for an hour. Only authenticated peers get it. Endpoints that we do not serve are left out;
//! `draft` is a private member that says which draft the endpoints follow.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::mimi::app::App;

/// The document for a base URL without trailing slash.
pub(in crate::mimi) fn document(base: &str) -> Vec<u8> {
    let url = |tail: &str| format!("{base}/v1/{tail}");
    serde_json::json!({
        "keyMaterial": url("keyMaterial/{targetUser}"),
        "update": url("update/{roomId}"),
        "notify": url("notify/{roomId}"),
        "submitMessage": url("submitMessage/{roomId}"),
        "groupInfo": url("groupInfo/{roomId}"),
        "requestConsent": url("requestConsent/{targetDomain}"),
        "updateConsent": url("updateConsent/{requesterDomain}"),
        "draft": "06",
    })
    .to_string()
    .into_bytes()
}

pub(super) async fn get(State(app): State<Arc<App>>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
    ];
    (headers, app.directory.clone())
}
