//! The control socket's server: few connections, one request each, everything within a time.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::JsonRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ControlSocket, JobRow, Listing, MirrorAsk, UndoAsk, VERSION};
use crate::{
    engine::{Engine, MirrorError, MirrorJob},
    store::StoreError,
};

/// Connections at one time; further ones wait.
const CONNECTIONS: usize = 4;
/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// How long a page may take to be made.
const PAGE: Duration = Duration::from_secs(20);
/// How long a connection may last in all.
const CONNECTION: Duration = Duration::from_secs(30);
/// Bytes of a request that are kept.
const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a request's body that are read: a list of rooms.
const BODY_BYTES: usize = 16 * 1024 * 1024;
/// How long requests that are under way may take at the end.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept (usually: no free file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
struct After {
    after: Option<String>,
}

#[derive(Serialize)]
struct Refusal {
    version: u32,
    error: String,
}

fn refusal(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Refusal { version: VERSION, error: error.into() })).into_response()
}

async fn page<T: Serialize>(making: impl Future<Output = Result<Listing<T>, StoreError>>) -> Response {
    match tokio::time::timeout(PAGE, making).await {
        Ok(Ok(listing)) => Json(listing).into_response(),
        Ok(Err(error)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        Err(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, "it took too long"),
    }
}

fn place(query: After) -> Result<Option<Vec<u8>>, hex::FromHexError> {
    query.after.map(hex::decode).transpose()
}

async fn rooms(State(engine): State<Engine>, Query(query): Query<After>) -> Response {
    let Ok(after) = place(query) else { return refusal(StatusCode::BAD_REQUEST, "no such place") };
    page(super::rooms(engine.database(), engine.names(), after)).await
}

async fn fingerprints(State(engine): State<Engine>, Query(query): Query<After>) -> Response {
    let Ok(after) = place(query) else { return refusal(StatusCode::BAD_REQUEST, "no such place") };
    Box::pin(page(super::fingerprints(engine.database(), after))).await
}

async fn quarantine(State(engine): State<Engine>, Query(query): Query<After>) -> Response {
    let Ok(after) = place(query) else { return refusal(StatusCode::BAD_REQUEST, "no such place") };
    page(super::set_aside(engine.database(), after)).await
}

async fn jobs(State(engine): State<Engine>) -> Response {
    page(super::mirror_jobs(&engine)).await
}

async fn job(State(engine): State<Engine>, Path(id): Path<u64>) -> Response {
    page(super::mirror_job(&engine, id)).await
}

async fn job_rooms(State(engine): State<Engine>, Path(id): Path<u64>, Query(query): Query<After>) -> Response {
    let Ok(after) = place(query) else { return refusal(StatusCode::BAD_REQUEST, "no such place") };
    page(super::mirror_rooms(&engine, id, after)).await
}

async fn job_done(asked: impl Future<Output = Result<MirrorJob, MirrorError>>) -> Response {
    match asked.await {
        Ok(job) => Json(Listing::new(vec![JobRow::from(job)], None)).into_response(),
        Err(MirrorError::Declined(why)) => refusal(StatusCode::CONFLICT, why),
        Err(error @ MirrorError::Store(_)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

async fn mirror(State(engine): State<Engine>, ask: Result<Json<MirrorAsk>, JsonRejection>) -> Response {
    match ask.ok().and_then(|Json(ask)| ask.into_request()) {
        Some(request) => job_done(engine.mirror(request)).await,
        None => refusal(StatusCode::BAD_REQUEST, "it is not said which rooms"),
    }
}

async fn stop_job(State(engine): State<Engine>, Path(id): Path<u64>) -> Response {
    job_done(engine.stop_mirroring(id)).await
}

async fn undo_job(
    State(engine): State<Engine>,
    Path(id): Path<u64>,
    ask: Result<Json<UndoAsk>, JsonRejection>,
) -> Response {
    match ask {
        Ok(Json(UndoAsk { used })) => job_done(engine.undo_mirroring(id, used)).await,
        Err(error) => refusal(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

/// What the control socket answers about this engine.
pub fn router(engine: Engine) -> Router {
    let nothing = || async { refusal(StatusCode::NOT_FOUND, "there is no such thing here") };
    Router::new()
        .route("/rooms", get(rooms))
        .route("/fingerprints", get(fingerprints))
        .route("/quarantine", get(quarantine))
        .route("/mirror", post(mirror))
        .route("/mirror/jobs", get(jobs))
        .route("/mirror/jobs/{id}", get(job))
        .route("/mirror/jobs/{id}/rooms", get(job_rooms))
        .route("/mirror/jobs/{id}/stop", post(stop_job))
        .route("/mirror/jobs/{id}/undo", post(undo_job))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .fallback(nothing)
        .with_state(engine)
}

/// Serves the socket until `stop` is cancelled; then it is gone.
pub async fn serve(socket: ControlSocket, router: Router, stop: CancellationToken) {
    // What is left at the end ends with the process; it only reads.
    let times = Times { connections: CONNECTIONS, head: HEAD, connection: CONNECTION, grace: GRACE };
    accept("the control socket", socket, router, times, stop).await;
}

/// What connections come through.
pub(super) trait Door: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next one.
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for ControlSocket {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Door for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// How many connections there may be, and how long each thing may take.
pub(super) struct Times {
    /// Connections at one time; further ones wait.
    pub(super) connections: usize,
    /// A request's head.
    pub(super) head: Duration,
    /// A connection in all.
    pub(super) connection: Duration,
    /// Requests that are under way, at the end.
    pub(super) grace: Duration,
}

/// Serves what comes through a door until `stop` is cancelled, one request a connection. `what`: for the log.
pub(super) async fn accept(what: &'static str, door: impl Door, router: Router, times: Times, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let places = Arc::new(Semaphore::new(times.connections));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        // Nobody closes the semaphore.
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = door.next() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to {what} was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(times.head)
            .max_buf_size(HEAD_BYTES)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let most = times.connection;
        tasks.spawn(async move {
            if !matches!(tokio::time::timeout(most, connection).await, Ok(Ok(()))) {
                tracing::debug!("a connection to {what} ended early");
            }
            drop(place);
        });
    }
    drop(door);
    tasks.close();
    let _ = tokio::time::timeout(times.grace, tasks.wait()).await;
}
