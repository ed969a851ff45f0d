//! Providers with assets, asset servers that do what they are told, and a DNS that says what it is told.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use mimi_gateway::{
    assets::AssetStore,
    mimi::{Assets, Lookup, MimiPeers, Settings, SystemLookup},
    store::{BoxFuture, MasterKey, MemoryDisk, open_memory},
    wire::path::{DownloadUrl, encode_segment},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    calls::server_config,
    harness::{Gateway, domain, peer, settings, settings_of_a, world},
};

/// A provider with assets: its server, and what its own users would use.
pub(crate) struct Provider {
    pub(crate) gateway: Gateway,
    pub(crate) assets: Arc<Assets>,
    pub(crate) peers: Arc<MimiPeers>,
    _dir: tempfile::TempDir,
}

async fn assets_of(settings: &Settings, lookup: Arc<dyn Lookup>) -> (Arc<Assets>, tempfile::TempDir) {
    let peers = Arc::new(MimiPeers::with_lookup(settings, &lookup).unwrap());
    assets_with(settings, peers).await
}

async fn assets_with(settings: &Settings, peers: Arc<MimiPeers>) -> (Arc<Assets>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let database = open_memory(&MemoryDisk::new(), &MasterKey::from_bytes([7; 32])).unwrap().database;
    let quotas = settings.assets.quotas();
    let (store, _) = AssetStore::open(database, settings.own_domain.clone(), dir.path(), quotas, now()).await.unwrap();
    (Arc::new(Assets::open(settings, peers, store, dir.path()).unwrap()), dir)
}

impl Provider {
    pub(crate) async fn start(settings: &Settings) -> Self {
        Self::start_with(settings, Arc::new(SystemLookup)).await
    }

    pub(crate) async fn start_with(settings: &Settings, lookup: Arc<dyn Lookup>) -> Self {
        let peers = Arc::new(MimiPeers::with_lookup(settings, &lookup).unwrap());
        let (assets, dir) = assets_with(settings, Arc::clone(&peers)).await;
        Self { gateway: Gateway::start_with(settings, Some(Arc::clone(&assets))).await, assets, peers, _dir: dir }
    }

    /// Asks for an asset by proxyDownload, as c.example.
    pub(crate) async fn proxy(&self, url: &str) -> reqwest::Response {
        self.gateway.get("c.example", &format!("/v1/proxyDownload/{}", encode_segment(url))).await
    }
}

pub(crate) fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

pub(crate) fn url(text: &str) -> DownloadUrl {
    DownloadUrl::parse(text).unwrap()
}

pub(crate) fn user(text: &str) -> mimi_gateway::ident::UserUri {
    mimi_gateway::ident::UserUri::parse(&format!("mimi://{text}")).unwrap()
}

pub(crate) const DAY: u64 = 24 * 60 * 60 * 1000;

/// Ciphertext of a few megabytes, as good as.
pub(crate) fn ciphertext(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

/// a.example, whose peer b.example is at this address.
pub(crate) fn hub_of(b: SocketAddr) -> Settings {
    let mut settings = settings_of_a();
    settings.peers.get_mut(&domain("b.example")).unwrap().address = Some(b.to_string());
    settings
}

/// b.example with its peers a.example and c.example.
pub(crate) fn settings_of_b() -> Settings {
    let world = world();
    settings("b.example", &world.cert_b, vec![("a.example", peer(&world.ca_a)), ("c.example", peer(&world.ca_c))])
}

/// c.example's side towards a.example as its hub. It does not know b.example.
pub(crate) async fn follower_c(hub: SocketAddr) -> (Arc<Assets>, tempfile::TempDir) {
    let mut a = peer(&world().ca_a);
    a.address = Some(hub.to_string());
    assets_of(&settings("c.example", &world().cert_c, vec![("a.example", a)]), Arc::new(SystemLookup)).await
}

/// What an asset server does with a connection.
type Script = Arc<dyn Fn(TlsStream<tokio::net::TcpStream>) -> BoxFuture<'static, ()> + Send + Sync>;

/// An asset server of b.example that does what a script says, and keeps the requests that it got.
pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    pub(crate) requests: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    pub(crate) async fn run(
        script: impl Fn(TlsStream<tokio::net::TcpStream>) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        let script: Script = Arc::new(script);
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&world().cert_b)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, heard, script) = (acceptor.clone(), Arc::clone(&heard), Arc::clone(&script));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                    let mut read = Vec::new();
                    while !read.ends_with(b"\r\n\r\n") {
                        let mut more = [0; 4096];
                        match stream.read(&mut more).await {
                            Ok(len @ 1..) => read.extend_from_slice(&more[..len]),
                            _ => return,
                        }
                    }
                    heard.lock().unwrap().push(String::from_utf8(read).unwrap());
                    script(stream).await;
                });
            }
        });
        Self { addr, requests }
    }

    /// Answers each request with these bytes, and closes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::run(move |mut stream| {
            let answer = answer.clone();
            Box::pin(async move {
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            })
        })
        .await
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Says what it is told, one answer a look-up, and counts.
pub(crate) struct FakeDns(Mutex<Vec<Vec<SocketAddr>>>, Mutex<Vec<String>>);

impl FakeDns {
    pub(crate) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().rev().map(parse).collect()), Mutex::default()))
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.1.lock().unwrap().clone()
    }
}

impl Lookup for FakeDns {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        self.1.lock().unwrap().push(host);
        let answer = self.0.lock().unwrap().pop();
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such name")) })
    }
}
