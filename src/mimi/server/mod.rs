//! The provider server: our own accept loop, mutual TLS, HTTP/2 and 1.1, limits, graceful shutdown.
//!
//! ```text
//!  TCP -> handshake slot -> TLS (a peer's certificate, or the end) -> the peer's connection budget -> HTTP
//!      -> From agrees with the certificate -> Host is ours -> the peer's request budget -> router -> endpoint
//! ```
//! `axum::serve` has no header time-out and no connection limit, which is why the loop is our own.

mod connection;
mod slots;
mod unread;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, response::IntoResponse};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use rustls::pki_types::UnixTime;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::{slots::HandshakeSlots, unread::Unread};
use super::{
    app::{App, Caller},
    assets::Assets,
    endpoints, from,
    refusal::Refusal,
    settings::{Limits, Settings, SetupError},
    tls::{self, Identity, PeerVerifier},
};
use crate::{
    engine::{
        Noise,
        ports::{Problem, ProviderInbound},
    },
    ident::ProviderDomain,
};

/// Largest header block of a request, in bytes.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Streams that a peer may have reset before we saw them (rapid reset); then the connection ends.
const MAX_PENDING_RESETS: usize = 20;
/// Seconds between keep-alive pings on HTTP/2.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Seconds for the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the loop waits when the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Window in which the log lines about refusals are counted.
const NOISE_WINDOW: Duration = Duration::from_mins(1);
/// Lines a window about connections from one address that were refused before anybody knew whose they are.
const CONNECTION_LINES: u32 = 20;
/// Lines a window about refused requests of one peer.
const REQUEST_LINES: u32 = 200;
/// Seconds after which a peer over its budget may come again.
const RETRY_SOON: u32 = 1;

/// Certificate, key and CAs are read, and the address is ours; nobody is accepted, and no engine is needed yet.
pub struct Listening {
    settings: Settings,
    listener: TcpListener,
    acceptor: TlsAcceptor,
    verifier: Arc<PeerVerifier>,
    public_host: String,
    /// Without and with assets.
    directories: (Vec<u8>, Vec<u8>),
}

/// The provider server, ready to run.
pub struct Server {
    listener: TcpListener,
    gate: Arc<Gate>,
}

/// What a connection passes before its first request.
struct Gate {
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    verifier: Arc<PeerVerifier>,
    slots: Arc<HandshakeSlots>,
    connections: Arc<Semaphore>,
    noise: Noise,
}

/// What every connection needs.
struct Shared {
    app: Arc<App>,
    router: axum::Router,
    limits: Limits,
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
    noise: Noise,
}

/// A peer's connection after its handshake.
struct Authenticated {
    stream: TlsStream<TcpStream>,
    peers: Vec<ProviderDomain>,
    http2: bool,
    /// The connection's place in the server's and in the peer's limit.
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Listening {
    /// Reads certificate, key and CAs and listens. Who connects from now on waits for [`Server::run`].
    pub async fn bind(settings: &Settings) -> Result<Self, SetupError> {
        let identity = Identity::load(settings)?;
        let (config, verifier) = tls::server_config(settings, &identity)?;
        let base = settings.base_url()?;
        let public_host = url::Url::parse(&base)
            .ok()
            .and_then(|url| url.host_str().map(str::to_owned))
            .ok_or_else(|| SetupError::PublicUrl(base.clone()))?;
        // Both are made, so that one that cannot be is told now.
        let directories = [false, true].map(|assets| endpoints::directory::document(&base, assets));
        let [without_assets, with_assets] = directories;
        let directories = (without_assets?, with_assets?);
        let addr = settings.listen;
        let listener = TcpListener::bind(addr).await.map_err(|source| SetupError::Listen { addr, source })?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { settings: settings.clone(), listener, acceptor, verifier, public_host, directories })
    }

    /// The server, with the engine behind it.
    #[must_use]
    pub fn serve(self, inbound: Arc<dyn ProviderInbound>) -> Server {
        self.serve_with_assets(inbound, None)
    }

    /// The same, with our assets, and others' for those who ask for them.
    #[must_use]
    pub fn serve_with_assets(self, inbound: Arc<dyn ProviderInbound>, assets: Option<Arc<Assets>>) -> Server {
        let Self { settings, listener, acceptor, verifier, public_host, directories } = self;
        let directory = if assets.is_some() { directories.1 } else { directories.0 };
        let app = Arc::new(App::new(&settings, public_host, directory, inbound, assets));
        let limits = settings.limits;
        let (http1, http2) = builders(&limits);
        let gate = Gate {
            acceptor,
            verifier,
            slots: Arc::new(HandshakeSlots::new(limits.max_handshakes)),
            connections: Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS))),
            noise: Noise::new(CONNECTION_LINES, NOISE_WINDOW),
            shared: Arc::new(Shared {
                router: endpoints::router(Arc::clone(&app)),
                app,
                limits,
                http1,
                http2,
                noise: Noise::new(REQUEST_LINES, NOISE_WINDOW),
            }),
        };
        Server { listener, gate: Arc::new(gate) }
    }
}

impl Server {
    /// [`Listening::bind`] and [`Listening::serve`] in one.
    pub async fn bind(settings: &Settings, inbound: Arc<dyn ProviderInbound>) -> Result<Self, SetupError> {
        Ok(Listening::bind(settings).await?.serve(inbound))
    }

    /// The address that it listens on (with the real port when 0 was asked for).
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`; then takes no more connections, lets running requests end for `shutdown_grace`, and
    /// returns.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let kill = CancellationToken::new();
        let Self { listener, gate } = self;
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, remote)) => {
                    let (gate, stop) = (Arc::clone(&gate), stop.clone());
                    tasks.spawn(kill.clone().run_until_cancelled_owned(async move {
                        gate.connection(tcp, remote, stop).await;
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // The listener goes first: whoever connects now is refused by the kernel and tries again elsewhere or later.
        drop(listener);
        tasks.close();
        if timeout(gate.shared.limits.shutdown_grace, tasks.wait()).await.is_err() {
            tracing::warn!("requests were still running at the end of the shutdown grace");
            kill.cancel();
            tasks.wait().await;
        }
    }
}

impl Gate {
    async fn connection(&self, tcp: TcpStream, remote: SocketAddr, stop: CancellationToken) {
        match self.handshake(tcp, &stop).await {
            Ok(authenticated) => connection::serve(&self.shared, authenticated, stop.clone()).await,
            Err(_) if stop.is_cancelled() => {}
            Err(reason) => {
                if let Some(line) = self.noise.hear(&remote.ip().to_string(), Instant::now()) {
                    let (left_out, rest_only_counted) = (line.left_out, line.last);
                    tracing::warn!(%remote, reason, left_out, rest_only_counted, "refused a connection");
                }
            }
        }
    }

    /// TLS, who it is, and a place within the limits.
    async fn handshake(&self, tcp: TcpStream, stop: &CancellationToken) -> Result<Authenticated, String> {
        // A peer that is gone shows at the next read; nothing to do about it here.
        let _ = tcp.set_nodelay(true);
        let (_slot, pushed_out) = self.slots.enter();
        let stream = tokio::select! {
            done = timeout(self.shared.limits.handshake_timeout, self.acceptor.accept(tcp)) => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(format!("TLS: {error}")),
                Err(_) => return Err("TLS handshake too slow".into()),
            },
            _ = pushed_out => return Err("too many handshakes at a time".into()),
            () = stop.cancelled() => return Err("shutting down".into()),
        };
        let (_, session) = stream.get_ref();
        let (leaf, intermediates) =
            session.peer_certificates().and_then(<[_]>::split_first).ok_or("no client certificate")?;
        let peers =
            self.verifier.peers_of(leaf, intermediates, UnixTime::now()).map_err(|error| format!("TLS: {error}"))?;
        let http2 = session.alpn_protocol() == Some(b"h2");
        let budget = peers.first().and_then(|peer| self.shared.app.budgets.get(peer)).ok_or("unknown peer")?;
        let place = Arc::clone(&self.connections).try_acquire_owned().map_err(|_| "too many connections".to_owned())?;
        let of_peer = Arc::clone(&budget.connections)
            .try_acquire_owned()
            .map_err(|_| format!("too many connections of {peers:?}"))?;
        Ok(Authenticated { stream, peers, http2, _places: (place, of_peer) })
    }
}

fn builders(limits: &Limits) -> (auto::Builder<TokioExecutor>, auto::Builder<TokioExecutor>) {
    let mut http1 = auto::Builder::new(TokioExecutor::new()).http1_only();
    http1
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEADER_BYTES.max(8192))
        .keep_alive(true);
    let mut http2 = auto::Builder::new(TokioExecutor::new()).http2_only();
    http2
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams_per_connection)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT);
    (http1, http2)
}

impl Shared {
    /// Answers one request; refusals get their one log line here.
    async fn answer(&self, proven: &[ProviderDomain], request: http::Request<Incoming>) -> http::Response<Body> {
        let http1 = request.version() < http::Version::HTTP_2;
        let endpoint = endpoints::label(request.uri().path());
        let request = request.map(|body| if http1 { Body::new(body) } else { Body::new(Unread::new(body)) });
        let mut response = match timeout(self.limits.request_timeout, self.checked(proven, request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(refusal)) => refusal.into_response(),
            Err(_) => Refusal::TooSlow.into_response(),
        };
        if let Some(refusal) = response.extensions().get::<Refusal>() {
            let peer = proven.first().map_or("", ProviderDomain::as_str);
            if let Some(line) = self.noise.hear(peer, Instant::now()) {
                let (status, left_out, rest_only_counted) = (refusal.status().as_u16(), line.left_out, line.last);
                tracing::warn!(peer, endpoint, status, reason = %refusal, left_out, rest_only_counted, "refused a request");
            }
            // The rest of an unread body is not worth reading; over HTTP/2 the stream alone ends.
            if http1 && matches!(refusal, Refusal::TooLarge(_) | Refusal::SlowBody | Refusal::BrokenBody) {
                response.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
            }
        }
        response
    }

    async fn checked(
        &self,
        proven: &[ProviderDomain],
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Refusal> {
        let peer = from::verified_peer(request.headers(), proven)?;
        self.check_host(&request)?;
        let budget = self.app.budgets.get(peer.domain()).ok_or(Refusal::FromMismatch)?;
        let _turn = budget.requests.try_acquire().map_err(|_| Problem::TooMany(RETRY_SOON))?;
        request.extensions_mut().insert(Caller(peer));
        match self.router.clone().oneshot(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    /// The target provider is the one in `Host` (its port does not count). IP literals name no provider and pass.
    fn check_host(&self, request: &http::Request<Body>) -> Result<(), Refusal> {
        let authority = if let Some(authority) = request.uri().authority() {
            authority.as_str()
        } else {
            let value = request.headers().get(http::header::HOST).ok_or(Refusal::WrongHost)?;
            value.to_str().map_err(|_| Refusal::WrongHost)?
        };
        if host_is_ours(authority, &[self.app.own_domain.as_str(), &self.app.public_host, self.app.asset_host.as_str()])
        {
            Ok(())
        } else {
            Err(Refusal::WrongHost)
        }
    }
}

/// Whether `Host` names this provider: one of its names, or an IPv4 address, whatever the port.
#[must_use]
pub fn host_is_ours(authority: &str, names: &[&str]) -> bool {
    if authority.starts_with('[') {
        return true;
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    names.iter().any(|name| name.eq_ignore_ascii_case(host)) || host.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_names_this_provider_whatever_the_port() {
        let ours = |authority| host_is_ours(authority, &["a.example", "mimi.a.example", "files.a.example"]);
        for good in
            ["a.example", "A.example:8449", "mimi.a.example:443", "files.a.example", "127.0.0.1:8449", "[::1]:8449"]
        {
            assert!(ours(good), "{good}");
        }
        for bad in ["b.example", "", "x.a.example", "a.example.", "a.example.evil:443"] {
            assert!(!ours(bad), "{bad}");
        }
    }
}
