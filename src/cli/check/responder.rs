//! Answers the homeserver's ping while the gateway itself is not running.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::post,
};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::config::Secret;

/// Listens until dropped.
pub(super) struct Responder(JoinHandle<()>);

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Responder {
    /// Starts listening. Fails with `AddrInUse` when something, probably the gateway, listens there already.
    pub(super) async fn start(listen: SocketAddr, hs_token: Secret) -> std::io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/_matrix/app/v1/ping", post(move |headers: HeaderMap| async move { answer(&headers, &hs_token) }))
            // Everything else, transactions above all, has to come again when the gateway runs.
            .fallback(|| async {
                (
                    StatusCode::SERVICE_UNAVAILABLE,
                    Json(json!({"errcode": "M_UNKNOWN", "error": "only a check is running"})),
                )
            });
        let task = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::warn!(error = %e, "the check's own listener stopped");
            }
        });
        Ok((Self(task), address))
    }
}

fn answer(headers: &HeaderMap, hs_token: &Secret) -> (StatusCode, Json<Value>) {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if shown.is_some_and(|token| token.ct_eq(hs_token.expose().as_bytes()).into()) {
        (StatusCode::OK, Json(json!({})))
    } else {
        (StatusCode::FORBIDDEN, Json(json!({"errcode": "M_FORBIDDEN", "error": "wrong token"})))
    }
}
