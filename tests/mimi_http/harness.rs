//! A real provider server with a fake engine behind it, and clients that may misbehave.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use mimi_gateway::{
    engine::ports::{Problem, ProviderInbound, VerifiedPeer},
    ident::{ProviderDomain, RoomUri, UserUri},
    mimi::{AssetSettings, Assets, Limits, Listening, PeerSettings, PemSource, Settings},
    store::BoxFuture,
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::pki::{Ca, Cert};

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn domain(text: &str) -> ProviderDomain {
    ProviderDomain::parse(text).unwrap()
}

/// The CAs and certificates of the tests: a.example is the server, b.example and c.example are its peers.
pub(crate) struct World {
    pub(crate) ca_a: Ca,
    pub(crate) ca_b: Ca,
    pub(crate) ca_c: Ca,
    pub(crate) cert_a: Cert,
    pub(crate) cert_b: Cert,
    pub(crate) cert_c: Cert,
}

pub(crate) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (ca_a, ca_b, ca_c) = (Ca::new("CA of A"), Ca::new("CA of B"), Ca::new("CA of C"));
        let (cert_a, cert_b, cert_c) =
            (ca_a.provider("a.example"), ca_b.provider("b.example"), ca_c.provider("c.example"));
        World { ca_a, ca_b, ca_c, cert_a, cert_b, cert_c }
    })
}

pub(crate) fn peer(ca: &Ca) -> PeerSettings {
    PeerSettings {
        ca: PemSource::new(&*ca.pem),
        address: None,
        hosts: Vec::new(),
        gateway: false,
        asset_domains: None,
        asset_address: None,
        allowed: true,
    }
}

/// Settings of a provider with these peers, on a free loopback port.
pub(crate) fn settings(own: &str, cert: &Cert, peers: Vec<(&str, PeerSettings)>) -> Settings {
    Settings {
        own_domain: domain(own),
        listen: "127.0.0.1:0".parse().unwrap(),
        public_url: None,
        certificate: PemSource::new(&*cert.chain),
        private_key: PemSource::new(&*cert.key),
        limits: Limits::default(),
        assets: AssetSettings::default(),
        peers: peers.into_iter().map(|(name, peer)| (domain(name), peer)).collect(),
    }
}

/// a.example with its peers b.example and c.example.
pub(crate) fn settings_of_a() -> Settings {
    let world = world();
    settings("a.example", &world.cert_a, vec![("b.example", peer(&world.ca_b)), ("c.example", peer(&world.ca_c))])
}

/// What reached the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) endpoint: &'static str,
    pub(crate) peer: String,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// Records calls and answers what it is told to; `answer` by default.
#[derive(Default)]
pub(crate) struct FakeEngine {
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) refuse: Mutex<Option<Problem>>,
    /// When set, calls wait until it is cancelled.
    pub(crate) hold: Mutex<Option<CancellationToken>>,
}

pub(crate) const ANSWER: &[u8] = b"answer";

impl FakeEngine {
    fn call(
        &self,
        endpoint: &'static str,
        peer: &VerifiedPeer,
        target: &str,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        let call = Call { endpoint, peer: peer.domain().to_string(), target: target.to_owned(), body };
        self.calls.lock().unwrap().push(call);
        let hold = self.hold.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(hold) = hold {
                hold.cancelled().await;
            }
            match self.refuse.lock().unwrap().clone() {
                Some(problem) => Err(problem),
                None => Ok(ANSWER.to_vec()),
            }
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

impl ProviderInbound for FakeEngine {
    fn key_material(
        &self,
        peer: VerifiedPeer,
        target: UserUri,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        self.call("keyMaterial", &peer, target.as_str(), body)
    }
    fn update(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        self.call("update", &peer, room.as_str(), body)
    }
    fn notify(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        let call = self.call("notify", &peer, room.as_str(), body);
        Box::pin(async { call.await.map(drop) })
    }
    fn submit_message(
        &self,
        peer: VerifiedPeer,
        room: RoomUri,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        self.call("submitMessage", &peer, room.as_str(), body)
    }
    fn group_info(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        self.call("groupInfo", &peer, room.as_str(), body)
    }
    fn request_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        let call = self.call("requestConsent", &peer, "", body);
        Box::pin(async { call.await.map(drop) })
    }
    fn identifier_query(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Problem>> {
        self.call("identifierQuery", &peer, "", body)
    }
    fn report_abuse(&self, peer: VerifiedPeer, room: RoomUri, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        let call = self.call("reportAbuse", &peer, room.as_str(), body);
        Box::pin(async { call.await.map(drop) })
    }
    fn update_consent(&self, peer: VerifiedPeer, body: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        let call = self.call("updateConsent", &peer, "", body);
        Box::pin(async { call.await.map(drop) })
    }
}

/// A running server.
pub(crate) struct Gateway {
    pub(crate) addr: SocketAddr,
    pub(crate) engine: Arc<FakeEngine>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Gateway {
    pub(crate) async fn start(settings: &Settings) -> Self {
        Self::start_with(settings, None).await
    }

    pub(crate) async fn start_with(settings: &Settings, assets: Option<Arc<Assets>>) -> Self {
        let engine = Arc::new(FakeEngine::default());
        let inbound = Arc::clone(&engine) as Arc<dyn ProviderInbound>;
        let server = Listening::bind(settings).await.unwrap().serve_with_assets(inbound, assets);
        let addr = server.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Self { addr, engine, stop, task }
    }

    /// a.example with default limits.
    pub(crate) async fn a() -> Self {
        Self::start(&settings_of_a()).await
    }

    /// A TLS connection with this client certificate.
    pub(crate) async fn connect(&self, cert: Option<&Cert>, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = client_config(cert);
        config.alpn_protocols = vec![alpn.to_vec()];
        let tcp = TcpStream::connect(self.addr).await?;
        let name = ServerName::try_from("a.example").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }

    /// Writes `request` as it is on an HTTP/1.1 connection and reads until the server closes. `Err` is a connection
    /// that TLS refused.
    pub(crate) async fn raw(&self, cert: Option<&Cert>, request: &[u8]) -> std::io::Result<String> {
        let mut stream = self.connect(cert, b"http/1.1").await?;
        stream.write_all(request).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time");
        // A close without close_notify after an answer is no failure of the test.
        if answer.is_empty() { read.map(|_| String::new()) } else { Ok(String::from_utf8_lossy(&answer).into_owned()) }
    }

    /// A well-behaved HTTP client with b.example's (or another) certificate and `From`.
    pub(crate) fn http(&self, cert: &Cert, version: http::Version) -> reqwest::Client {
        let mut config = client_config(Some(cert));
        config.alpn_protocols =
            vec![if version == http::Version::HTTP_2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .resolve("a.example", self.addr)
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap()
    }

    /// Gets as a peer, with nothing done to the path.
    pub(crate) async fn get(&self, from: &str, path: &str) -> reqwest::Response {
        let cert = if from == "c.example" { &world().cert_c } else { &world().cert_b };
        let request = self.http(cert, http::Version::HTTP_2).get(format!("https://a.example{path}"));
        request.header("from", format!("mimi@{from}")).send().await.unwrap()
    }

    /// Posts as a peer over HTTP/2.
    pub(crate) async fn post(&self, from: &str, path: &str, body: Vec<u8>) -> reqwest::Response {
        let world = world();
        let cert = if from == "c.example" { &world.cert_c } else { &world.cert_b };
        self.http(cert, http::Version::HTTP_2)
            .post(format!("https://a.example{path}"))
            .header("from", format!("mimi@{from}"))
            .header("content-type", "application/mimi-protocol")
            .body(body)
            .send()
            .await
            .unwrap()
    }
}

fn client_config(cert: Option<&Cert>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(world().ca_a.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match cert {
        None => builder.with_no_client_auth(),
        Some(cert) => {
            let chain = CertificateDer::pem_slice_iter(cert.chain.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(cert.key.as_bytes()).unwrap()).unwrap()
        }
    }
}
