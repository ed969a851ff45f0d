//! The provisioning API: what people say to the bot, for programs that act for them. Whoever has the shared secret acts for every
//! user, but no user gets more by it than by saying the same to the bot: both go through [`Engine::order`].
//!
//! ```text
//!  POST /_mimi/provision/v1/rooms?user_id=@alice:matrix.example   Authorization: Bearer SECRET   Idempotency-Key: ...
//!    -> secret (constant time) -> user -> rate -> body -> known key? the stored answer : Engine::order -> answer, stored
//! ```
//!
//! `openapi.json` describes it, and is served; tests hold the routes and the answers against it.

mod answers;
mod gate;
mod refusal;
mod routes;
mod serve;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Instant,
};

use axum::{Router, middleware};
use secrecy::SecretString;
use tokio::sync::Semaphore;

pub use serve::serve;

use self::{gate::Secret, refusal::Refusal};
use crate::engine::Engine;

/// The document that describes the API.
pub const OPENAPI: &str = include_str!("openapi.json");
/// What all paths begin with.
pub const PREFIX: &str = "/_mimi/provision/v1";

/// How the API is set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What programs show.
    pub secret: SecretString,
    /// Requests for one user within a minute.
    pub requests_per_minute: u32,
}

/// What all handlers see.
struct Shared {
    engine: Engine,
    secret: Secret,
    requests_per_minute: u32,
    /// Requests of users within the present minute.
    counted: Mutex<gate::Counted>,
    /// Orders that are being worked on, by user and key.
    under_way: Mutex<BTreeSet<(String, String)>>,
    /// Requests at one time.
    places: Arc<Semaphore>,
    /// When a wrong secret was last noted in the log.
    warned: Mutex<Option<Instant>>,
}

/// Method and path, below [`PREFIX`], of everything that is served.
#[must_use]
pub fn paths() -> Vec<(&'static str, &'static str)> {
    routes::all().into_iter().map(|(method, path, _)| (method, path)).collect()
}

/// The API of this engine.
pub fn router(engine: Engine, settings: &Settings) -> Router {
    let shared = Arc::new(Shared {
        engine,
        secret: Secret::new(&settings.secret),
        requests_per_minute: settings.requests_per_minute,
        counted: Mutex::default(),
        under_way: Mutex::default(),
        places: Arc::new(Semaphore::new(gate::AT_ONCE)),
        warned: Mutex::default(),
    });
    let mut api = Router::new();
    for (_, path, route) in routes::all() {
        api = api.route(path, route);
    }
    let api = api.route_layer(middleware::from_fn_with_state(Arc::clone(&shared), gate::pass));
    Router::new()
        .nest(PREFIX, api)
        .fallback(async || Refusal::unrecognized())
        .method_not_allowed_fallback(async || Refusal::wrong_method())
        .with_state(shared)
}
