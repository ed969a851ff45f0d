//! `GET /.well-known/mimi-protocol-directory` (draft-ietf-mimi-protocol-06 section 5.1): where our endpoints are.
//!
//! 200 with JSON, to be kept for an hour. Only authenticated peers get it. Endpoints that we do not serve are left out.

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};

use crate::{
    mimi::{app::App, settings::SetupError},
    wire::{Directory, directory::DirectoryEntry},
};

/// The document for a base URL without trailing slash.
pub(in crate::mimi) fn document(base: &str, assets: bool) -> Result<Vec<u8>, SetupError> {
    const SERVED: [DirectoryEntry; 9] = [
        DirectoryEntry::KeyMaterial,
        DirectoryEntry::Update,
        DirectoryEntry::Notify,
        DirectoryEntry::SubmitMessage,
        DirectoryEntry::GroupInfo,
        DirectoryEntry::RequestConsent,
        DirectoryEntry::UpdateConsent,
        DirectoryEntry::ReportAbuse,
        DirectoryEntry::IdentifierQuery,
    ];
    const WITH_ASSETS: [DirectoryEntry; 3] =
        [DirectoryEntry::ProxyDownload, DirectoryEntry::OhttpGateway, DirectoryEntry::OhttpKeys];
    let served = [&SERVED[..], if assets { &WITH_ASSETS[..] } else { &[] }].concat();
    Directory::own(&format!("{base}/v1"), &served)
        .map(|directory| directory.to_json().into_bytes())
        .map_err(|error| SetupError::PublicUrl(error.to_string()))
}

pub(super) async fn get(State(app): State<Arc<App>>) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
    ];
    (headers, app.directory.clone())
}
