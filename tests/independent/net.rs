//! The peer's HTTP over mutual TLS: hyper and rustls, nothing of ours.

use std::{net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::Cert;

/// What came.
pub(crate) struct Post {
    /// The path, percent-decoded.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
    /// Where the answer goes, if it is more than 201. Without one it is 404.
    pub(crate) answer: oneshot::Sender<Vec<u8>>,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(ca: &str) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

fn identity(cert: &Cert) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(cert.chain.as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(cert.key.as_bytes()).unwrap())
}

/// The directory, with paths of the peer's own.
const DIRECTORY: &str = r#"{
    "keyMaterial": "https://c.example/who/{targetUser}/keys",
    "update": "https://c.example/rooms/{roomId}?what=update",
    "notify": "https://c.example/rooms/{roomId}/news",
    "submitMessage": "https://c.example/rooms/{roomId}/say",
    "groupInfo": "https://c.example/rooms/{roomId}/info",
    "requestConsent": "https://c.example/ask/{targetDomain}",
    "updateConsent": "https://c.example/answer/{requesterDomain}"
}"#;

async fn answer(request: Request<Incoming>, posts: mpsc::UnboundedSender<Post>) -> Response<Full<Bytes>> {
    if request.method() == Method::GET && request.uri().path() == "/.well-known/mimi-protocol-directory" {
        return Response::new(Full::from(DIRECTORY));
    }
    let path = percent_encoding::percent_decode_str(request.uri().path()).decode_utf8().unwrap().into_owned();
    assert_eq!(request.headers()["from"], "mimi@a.example");
    let body = request.into_body().collect().await.unwrap().to_bytes().to_vec();
    let taken = path.ends_with("/news") || path.starts_with("/ask/") || path.starts_with("/answer/");
    let (answer, answered) = oneshot::channel();
    let _ = posts.send(Post { path, body, answer });
    if taken {
        return Response::builder().status(StatusCode::CREATED).body(Full::default()).unwrap();
    }
    match answered.await {
        Ok(answer) => Response::new(Full::from(answer)),
        Err(_) => Response::builder().status(StatusCode::NOT_FOUND).body(Full::default()).unwrap(),
    }
}

/// Serves the peer; what is posted comes out of the channel.
pub(crate) fn serve(listener: TcpListener, cert: &Cert, clients: &str) -> mpsc::UnboundedReceiver<Post> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(clients), provider()).build().unwrap();
    let (chain, key) = identity(cert);
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, sender) = (acceptor.clone(), sender.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request| {
                    let sender = sender.clone();
                    async move { Ok::<_, std::convert::Infallible>(answer(request, sender).await) }
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    receiver
}

/// Calls a.example as c.example.
pub(crate) struct Caller {
    config: Arc<ClientConfig>,
    address: SocketAddr,
}

impl Caller {
    pub(crate) fn new(cert: &Cert, servers: &str, address: SocketAddr) -> Self {
        let (chain, key) = identity(cert);
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots(servers)).with_client_auth_cert(chain, key).unwrap();
        Self { config: Arc::new(config), address }
    }

    /// One request on a connection of its own: status and body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "a.example")
            .header("from", "mimi@c.example")
            .header("content-type", "application/octet-stream")
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }
}
