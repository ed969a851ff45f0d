//! What a message costs a hub with 1, 10 and 100 peers, and whether a dead peer costs the others anything.
//!
//! `cargo bench --bench fanout`. The hub is a whole engine with real MLS on a SQLite file and the real client over mutual TLS;
//! each peer is a stand-in of its own on the loopback that decodes what it gets and answers 201. Timed is a burst of messages
//! from the first Matrix event until every peer that lives has the last; stand-ins and hub share the machine's cores, so the
//! figures hold for both together. Goals: the cost grows no faster than the peers, and with a dead one the others wait no
//! longer.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/engine/files.rs"]
mod files;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/engine/homeserver.rs"]
mod homeserver;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/mimi_http/pki.rs"]
mod pki;
#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/engine/silo.rs"]
mod silo;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use mimi_gateway::{
    engine::{
        Engine, EngineSettings, GatewayNames,
        ports::{ProviderInbound as _, VerifiedPeer},
    },
    ident::{IdentityMap, ProviderDomain, RoomUri, UserUri},
    mimi::{AssetSettings, Limits, MimiPeers, PeerSettings, PemSource, Settings},
    mls::make_key_package,
    store::{EngineChoice, MasterKey, OpenOptions, open},
    wire::{ConsentAction, ConsentEntry, FanoutContent, FanoutMessage, RawKeyPackage, Wire as _},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use homeserver::{FakeHomeserver, Slot, no_faults};
use pki::{Ca, Cert};
use silo::{quick_settings, until, until_true};

const MESSAGES: usize = 200;
const ROUNDS: usize = 9;

/// What a peer is like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Alive,
    /// Until it is to die it lives; then its port is closed.
    Refuses,
    /// The same; then it takes connections and never says anything.
    Silent,
}

/// A peer of the hub, as far as the hub can see it.
struct StandIn {
    domain: ProviderDomain,
    kind: Kind,
    address: String,
    got: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

fn directory(domain: &str) -> String {
    let url = |path: &str, variable: &str| format!("https://{domain}/{path}/{{{variable}}}");
    serde_json::json!({
        "keyMaterial": url("keys", "targetUser"),
        "update": url("update", "roomId"),
        "notify": url("notify", "roomId"),
        "submitMessage": url("submit", "roomId"),
        "groupInfo": url("info", "roomId"),
        "requestConsent": url("ask", "targetDomain"),
        "updateConsent": url("answer", "requesterDomain"),
    })
    .to_string()
}

async fn answer(
    request: Request<Incoming>,
    domain: String,
    got: Arc<AtomicUsize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::from(directory(&domain))));
    }
    let is_notify = request.uri().path().starts_with("/notify/");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if is_notify {
        let messages = FanoutMessage::decode_all(&body).unwrap();
        let said = messages.iter().filter(|message| matches!(message.content, FanoutContent::Application { .. }));
        got.fetch_add(said.count(), Ordering::SeqCst);
    }
    Ok(Response::builder().status(StatusCode::CREATED).body(Full::default()).unwrap())
}

fn acceptor(cert: &Cert, clients: &str) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = CertificateDer::pem_slice_iter(cert.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(cert.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

impl StandIn {
    async fn start(number: usize, kind: Kind, ca: &Ca, clients: &str) -> Self {
        let domain = ProviderDomain::parse(&format!("p{number}.example")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = acceptor(&ca.provider(domain.as_str()), clients);
        let got = Arc::new(AtomicUsize::new(0));
        let (counter, name) = (Arc::clone(&got), domain.to_string());
        let server = tokio::spawn(async move {
            // They end with the listener.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let (acceptor, counter, name) = (acceptor.clone(), Arc::clone(&counter), name.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| answer(request, name.clone(), Arc::clone(&counter)));
                    let _ =
                        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { domain, kind, address, got, server }
    }

    async fn die(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
        if self.kind == Kind::Silent {
            let listener = TcpListener::bind(&self.address).await.unwrap();
            self.server = tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    held.push(stream);
                }
            });
        }
    }
}

struct Hub {
    homeserver: Arc<FakeHomeserver>,
    engine: Engine,
    room: ruma::OwnedRoomId,
    peers: Vec<StandIn>,
    said: usize,
    _dir: tempfile::TempDir,
}

/// A hub with a room in which one user of each peer is.
async fn hub(kinds: &[Kind]) -> Hub {
    let (ca_a, ca_p) = (Ca::new("CA of A"), Ca::new("CA of the peers"));
    let domain = ProviderDomain::parse("a.example").unwrap();
    let map = IdentityMap::new(domain.clone(), ruma::OwnedServerName::try_from("a.test").unwrap());
    let homeserver = FakeHomeserver::new(map.clone(), no_faults());
    homeserver.register("a1");
    let mut peers = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        peers.push(StandIn::start(number, *kind, &ca_p, &ca_a.pem).await);
    }
    let known = peers.iter().map(|peer| {
        let settings = PeerSettings {
            ca: PemSource::new(&*ca_p.pem),
            address: Some(peer.address.clone()),
            hosts: Vec::new(),
            asset_domains: None,
            asset_address: None,
            allowed: true,
            gateway: false,
        };
        (peer.domain.clone(), settings)
    });
    let cert = ca_a.provider("a.example");
    let settings = Settings {
        own_domain: domain,
        listen: "127.0.0.1:0".parse().unwrap(),
        public_url: None,
        certificate: PemSource::new(&*cert.chain),
        private_key: PemSource::new(&*cert.key),
        limits: Limits::default(),
        assets: AssetSettings::default(),
        peers: known.collect(),
    };
    let dir = tempfile::tempdir().unwrap();
    let opened = open(&OpenOptions::new(EngineChoice::Sqlite, dir.path(), MasterKey::from_bytes([7; 32]))).unwrap();
    let names = GatewayNames::new(map, homeserver.bot.clone(), 500);
    let client = Arc::new(MimiPeers::new(&settings).unwrap());
    let slot = Slot::default();
    homeserver.start(slot.clone());
    let settings = EngineSettings { retry: Duration::from_millis(500), ..quick_settings() };
    let port = Arc::clone(&homeserver);
    let engine = Engine::load(opened.database, port, client, names, settings).await.unwrap();
    engine.start().await.unwrap();
    *slot.lock().unwrap() = Some(engine.clone());

    let room = homeserver.create_room("a1", "Tea");
    homeserver.invite(&room, "a1", homeserver.bot.as_str(), false);
    let bot = homeserver.bot.to_string();
    until_true("the bot comes", || homeserver.member(&room, &bot).as_deref() == Some("join")).await;
    homeserver.say(&room, "a1", "!mimi bridge");
    let uri = until("it is mirrored", || {
        let notices = homeserver.notices(&room);
        let text = notices.iter().find_map(|text| text.strip_prefix("This room is mirrored as "))?.to_owned();
        Some(RoomUri::parse(text.split(". ").next()?).unwrap())
    })
    .await;
    let a1 = UserUri::parse("mimi://a.example/u/a1").unwrap();
    for peer in &peers {
        let user = UserUri::new(&peer.domain, "guest").unwrap();
        let before = homeserver.notices(&room).len();
        homeserver.say(&room, "a1", &format!("!mimi invite {user}"));
        until_true("the guest is asked", || homeserver.notices(&room).len() > before).await;
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let made = make_key_package(&user, now).unwrap();
        let grant = ConsentEntry {
            action: ConsentAction::Grant { key_packages: vec![RawKeyPackage::from_bytes(made.bytes).unwrap()] },
            requester: a1.clone(),
            target: user.clone(),
            room: Some(uri.clone()),
            extensions: mimi_gateway::wire::AppDataDictionary::default(),
        };
        engine.update_consent(VerifiedPeer::assert_verified(peer.domain.clone()), grant.encode()).await.unwrap();
        let ghost = homeserver.ghost(&user);
        until_true("the guest's ghost", || homeserver.member(&room, &ghost).as_deref() == Some("join")).await;
    }
    Hub { homeserver, engine, room, peers, said: 0, _dir: dir }
}

impl Hub {
    /// A burst of messages: until all that live have it.
    async fn burst(&mut self) -> Duration {
        let before: Vec<usize> = self.peers.iter().map(|peer| peer.got.load(Ordering::SeqCst)).collect();
        let start = Instant::now();
        for _ in 0..MESSAGES {
            self.said += 1;
            self.homeserver.say(&self.room, "a1", &format!("This is number {} of what is said here.", self.said));
        }
        let living = |peer: &StandIn| peer.kind == Kind::Alive;
        loop {
            let mut all = self.peers.iter().zip(&before).filter(|(peer, _)| living(peer));
            if all.all(|(peer, before)| peer.got.load(Ordering::SeqCst) >= before + MESSAGES) {
                return start.elapsed();
            }
            assert!(start.elapsed() < Duration::from_mins(2), "it does not arrive");
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    async fn median_burst(&mut self) -> Duration {
        let mut times = Vec::new();
        // The first opens connections.
        self.burst().await;
        for _ in 0..ROUNDS {
            times.push(self.burst().await);
        }
        median(times)
    }

    async fn stop(self) {
        self.engine.stop().await;
        for peer in self.peers {
            peer.server.abort();
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn per_message(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6 / f64::from(u32::try_from(MESSAGES).unwrap())
}

async fn run() {
    println!("bursts of {MESSAGES} messages, until every living peer has the last");
    let mut costs = Vec::new();
    for count in [1, 10, 100_u32] {
        let mut hub = hub(&vec![Kind::Alive; usize::try_from(count).unwrap()]).await;
        let cost = per_message(hub.median_burst().await);
        hub.stop().await;
        println!("{count:>4} peers: {cost:>7.0} µs a message, {:>6.0} µs a message and peer", cost / f64::from(count));
        costs.push(cost);
    }
    println!(
        "ratio: ten peers to one {:.1} (goal: at most 10), a hundred to ten {:.1} (goal: at most 10)",
        costs[1] / costs[0],
        costs[2] / costs[1]
    );
    for (kind, what) in [(Kind::Refuses, "refuses connections"), (Kind::Silent, "never answers")] {
        let mut kinds = vec![Kind::Alive; 9];
        let mut without = hub(&kinds).await;
        kinds.push(kind);
        let mut with = hub(&kinds).await;
        with.peers[9].die().await;
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            for (hub, times) in [(&mut without, &mut alone), (&mut with, &mut beside)] {
                let time = hub.burst().await;
                // The first opens connections.
                times.extend((round > 0).then_some(time));
            }
        }
        assert_eq!(with.peers[9].got.load(Ordering::SeqCst), 0, "the dead one got nothing");
        without.stop().await;
        with.stop().await;
        let (alone, beside) = (median(alone), median(beside));
        println!(
            "nine peers beside one that {what}: {:.0} µs a message; nine alone {:.0}; ratio {:.2} (goal: 1)",
            per_message(beside),
            per_message(alone),
            beside.as_secs_f64() / alone.as_secs_f64()
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}
