//! What every request passes: the secret, for whom it is, how many there were, its body, and whether it came before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, header::AUTHORIZATION, header::CONTENT_TYPE},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use ruma::{OwnedUserId, UserId};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Refusal, Shared};
use crate::engine::{Asker, Ordered};

/// Requests at one time.
pub(super) const AT_ONCE: usize = 32;
/// Bytes of a body.
const BODY_BYTES: usize = 64 * 1024;
/// How long a body may take to come.
const BODY: Duration = Duration::from_secs(10);
/// How long an answer may take. What was begun goes on.
const ANSWER: Duration = Duration::from_mins(1);
/// Bytes of an answer that is kept.
const ANSWER_BYTES: usize = 1024 * 1024;
/// The longest key.
const KEY: usize = 255;
/// Users who are counted at one time, before those of minutes that are over are forgotten.
const MANY: usize = 1000;
/// Between two lines of the log about wrong secrets.
const QUIET: Duration = Duration::from_mins(1);
/// The header by which a request that comes again is known.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// What says that an answer is one from before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The path, behind the prefix, that needs nothing.
pub(super) const DOCUMENT: &str = "/openapi.json";

/// For each user: when their minute began, and their requests since.
pub(super) type Counted = BTreeMap<OwnedUserId, (Instant, u32)>;

/// The secret, kept as its hash: comparing hashes takes the same time for secrets of any length.
pub(super) struct Secret([u8; 32]);

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl Secret {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self(hash(secret.expose_secret().as_bytes()))
    }

    /// There is one header with it, and no other.
    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else { return Err(Refusal::no_secret()) };
        let bearer = value.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        let Some((_, shown)) = bearer else { return Err(Refusal::no_secret()) };
        let same = hash(shown.trim_ascii()).ct_eq(&self.0);
        if bool::from(same) { Ok(()) } else { Err(Refusal::wrong_secret()) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For whom it is: one `user_id` of the query, a Matrix user that is no ghost and not the bot.
fn user(shared: &Shared, query: Option<&str>) -> Result<OwnedUserId, Refusal> {
    let mut named =
        url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(name, _)| name == "user_id");
    let (Some((_, id)), None) = (named.next(), named.next()) else { return Err(Refusal::no_user()) };
    let user = UserId::parse(id.as_ref()).map_err(|_| Refusal::no_user())?;
    if shared.engine.is_person(&user) {
        Ok(user)
    } else {
        Err(Refusal::forbidden("That is an id of the gateway's own: nobody acts for it."))
    }
}

fn count(shared: &Shared, user: &OwnedUserId) -> Result<(), Refusal> {
    let minute = Duration::from_mins(1);
    let mut counted = lock(&shared.counted);
    if counted.len() >= MANY {
        counted.retain(|_, (since, _)| since.elapsed() < minute);
    }
    let (since, many) = counted.entry(user.clone()).or_insert((Instant::now(), 0));
    if since.elapsed() >= minute {
        (*since, *many) = (Instant::now(), 0);
    }
    if *many >= shared.requests_per_minute {
        let left = minute.saturating_sub(since.elapsed()).as_secs();
        return Err(Refusal::too_many(u32::try_from(left).unwrap_or(60) + 1));
    }
    *many += 1;
    Ok(())
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| !text.is_empty() && text.len() <= KEY);
    match text {
        Some(text) => Ok(Some(text.to_owned())),
        None => Err(Refusal::invalid(format!("Idempotency-Key is text of 1 to {KEY} letters, such as a UUID."))),
    }
}

/// Lets a request through to its route.
pub(super) async fn pass(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let document =
        request.uri().path().strip_suffix(DOCUMENT).is_some_and(|rest| rest.is_empty() || rest == super::PREFIX);
    if document {
        return next.run(request).await;
    }
    passed(shared, request, next).await.unwrap_or_else(Refusal::into_response)
}

async fn passed(shared: Arc<Shared>, request: Request, next: Next) -> Result<Response, Refusal> {
    if let Err(refusal) = shared.secret.check(request.headers()) {
        let mut warned = lock(&shared.warned);
        if warned.is_none_or(|at| at.elapsed() >= QUIET) {
            *warned = Some(Instant::now());
            tracing::warn!("a request to the provisioning API without the right secret is refused");
        }
        return Err(refusal);
    }
    let user = user(&shared, request.uri().query())?;
    count(&shared, &user)?;
    let place = Arc::clone(&shared.places).try_acquire_owned().map_err(|_| Refusal::busy())?;
    let key = key(request.headers())?.filter(|_| request.method() != Method::GET);
    let (mut parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(Refusal::too_large()),
        Err(_) => return Err(Refusal::too_slow()),
    };
    // The query names the user, who is part of the key.
    let digest = hash(&[parts.method.as_str().as_bytes(), b" ", parts.uri.path().as_bytes(), b"\n", &body].concat());
    let once = match key {
        Some(key) => Some(Once::begin(&shared, &user, key, digest).await?),
        None => None,
    };
    let once = match once {
        Some(Known::Answer(answer)) => return Ok(answer),
        Some(Known::New(once)) => Some(once),
        None => None,
    };
    let order = once.as_ref().map_or_else(|| uuid(&digest), |once| once.key.1.clone());
    parts.extensions.insert(Asker::by_api(user.clone(), format!("api {user} {order}")));
    // What was begun is done, even if whoever wants it goes away.
    let work = tokio::spawn(async move {
        let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
        let answer = match once {
            Some(once) => once.keep(digest, answer).await,
            None => answer,
        };
        drop(place);
        answer
    });
    match tokio::time::timeout(ANSWER, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(Refusal::under_way()),
    }
}

/// Something that is no other order's key.
fn uuid(digest: &[u8; 32]) -> String {
    let mut random = [0; 16];
    match getrandom::fill(&mut random) {
        Ok(()) => hex::encode(random),
        Err(_) => format!("{}{:?}", hex::encode(digest), Instant::now()),
    }
}

/// What is known of a request with a key.
enum Known {
    /// What was answered before.
    Answer(Response),
    /// Nothing.
    New(Once),
}

/// A request with a key, while it is worked on: nobody else works on it meanwhile.
struct Once {
    shared: Arc<Shared>,
    key: (String, String),
}

impl Once {
    async fn begin(shared: &Arc<Shared>, user: &UserId, key: String, digest: [u8; 32]) -> Result<Known, Refusal> {
        let key = (user.to_string(), key);
        if !lock(&shared.under_way).insert(key.clone()) {
            return Err(Refusal::under_way());
        }
        let once = Self { shared: Arc::clone(shared), key };
        match shared.engine.ordered_before(&once.key).await? {
            None => Ok(Known::New(once)),
            Some(before) if before.request != digest => Err(Refusal::other_request()),
            Some(Ordered { status, answer, .. }) => {
                let mut response = Response::new(Body::from(answer));
                *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or_default();
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                Ok(Known::Answer(response))
            }
        }
    }

    /// Keeps an answer that would be the same again.
    async fn keep(self, request: [u8; 32], answer: Response) -> Response {
        let status = answer.status();
        if status.is_server_error() || status == axum::http::StatusCode::TOO_MANY_REQUESTS {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let bytes: Bytes = to_bytes(body, ANSWER_BYTES).await.unwrap_or_default();
        let row = Ordered { request, status: status.as_u16(), answer: bytes.to_vec() };
        if let Err(error) = self.shared.engine.note_ordered(&self.key, row).await {
            tracing::warn!(%error, "the answer to an order is not kept; the same again would be a new one");
        }
        Response::from_parts(parts, Body::from(bytes))
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        lock(&self.shared.under_way).remove(&self.key);
    }
}
