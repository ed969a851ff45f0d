//! The appservice HTTP server: what the homeserver calls (Matrix application service API, `/_matrix/app/v1`).
//!
//! ```text
//!  connection -> header time-out -> token (constant time) -> body limit and time-out -> one flight per transaction
//!             -> MatrixInbound (durable) -> 200 {}
//! ```

mod auth;
mod listen;
mod queries;
mod refusal;
mod thirdparty;
mod transactions;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post, put},
};
use secrecy::SecretString;
use tokio::sync::Semaphore;

pub use listen::serve;

use self::{auth::HsToken, refusal::Refusal, transactions::Flights};
use super::Names;
use crate::engine::{Noise, ports::MatrixInbound};

/// Lines a minute about refused requests.
const REFUSAL_LINES: u32 = 60;
/// Bytes of a refused request's path that are logged.
const PATH_LOGGED: usize = 120;

/// Limits of the server.
#[derive(Debug, Clone)]
pub struct ServerLimits {
    /// Time for a request's headers, and for the next request on an idle connection. Longer than the two minutes for
    /// which Synapse keeps one: it does not repeat a PUT at once when we close the connection under it.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// Largest body, in bytes. A hundred events of 64 KiB do come.
    pub body_bytes: usize,
    /// Transactions that are read or worked on at once; further ones wait.
    pub transactions: usize,
    /// Open connections; further ones wait in the listener's queue.
    pub connections: usize,
    /// Time for open requests to end at shutdown.
    pub grace: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(150),
            body_timeout: Duration::from_mins(1),
            body_bytes: 32 * 1024 * 1024,
            transactions: 8,
            connections: 256,
            grace: Duration::from_secs(10),
        }
    }
}

/// What every handler sees.
struct Shared {
    inbound: Arc<dyn MatrixInbound>,
    names: Names,
    token: HsToken,
    limits: ServerLimits,
    flights: Arc<Flights>,
    bodies: Arc<Semaphore>,
    noise: Noise,
}

/// The appservice API. Every known route wants the `hs_token`; unknown ones answer `M_UNRECOGNIZED`.
pub fn router(inbound: Arc<dyn MatrixInbound>, names: Names, hs_token: &SecretString, limits: ServerLimits) -> Router {
    let shared = Arc::new(Shared {
        inbound,
        names,
        token: HsToken::new(hs_token),
        bodies: Arc::new(Semaphore::new(limits.transactions.max(1))),
        limits,
        noise: Noise::new(REFUSAL_LINES, Duration::from_mins(1)),
        flights: Arc::new(Flights::default()),
    });
    let spec = Router::new()
        .route("/transactions/{txn_id}", put(transactions::put_transaction))
        .route("/users/{user_id}", get(queries::user))
        .route("/rooms/{alias}", get(queries::alias))
        .route("/ping", post(ping))
        .route("/thirdparty/protocol/{protocol}", get(thirdparty::protocol))
        .route("/thirdparty/user/{protocol}", get(thirdparty::user))
        .route("/thirdparty/user", get(thirdparty::user_by_id))
        .route("/thirdparty/location/{protocol}", get(thirdparty::location))
        .route("/thirdparty/location", get(thirdparty::location_by_alias));
    // Homeservers older than the prefix still use these.
    let legacy = Router::new()
        .route("/transactions/{txn_id}", put(transactions::put_transaction))
        .route("/users/{user_id}", get(queries::user))
        .route("/rooms/{alias}", get(queries::alias));
    Router::new()
        .nest("/_matrix/app/v1", spec)
        .merge(legacy)
        .route_layer(middleware::from_fn_with_state(Arc::clone(&shared), auth::require_token))
        .fallback(async || Refusal::unrecognized())
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), log_refusal))
        .with_state(shared)
}

/// Refusals get their one log line here, whoever refused.
async fn log_refusal(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path: String = request.uri().path().chars().take(PATH_LOGGED).collect();
    let response = next.run(request).await;
    let refused = response.extensions().get::<Refusal>().and_then(|refusal| refusal.log_line());
    if let Some((status, reason)) = refused
        && let Some(line) = shared.noise.hear("", Instant::now())
    {
        let (left_out, rest_only_counted) = (line.left_out, line.last);
        tracing::warn!(%method, path, status, reason, left_out, rest_only_counted, "refused an appservice request");
    }
    response
}

/// `POST /_matrix/app/v1/ping`: the homeserver proves that it reaches us. The body is not needed.
async fn ping(_body: Body) -> Json<serde_json::Value> {
    Json(serde_json::json!({}))
}
