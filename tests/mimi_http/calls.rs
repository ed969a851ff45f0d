//! Our client against our server, and against servers that misbehave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mimi_gateway::{
    engine::ports::{CallError, Endpoint, PathTarget, Peers, Problem, Retry},
    mimi::{MimiPeers, PemSource, Settings},
    wire::ConsentAction,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    bodies::{consent, notify, query, room, submit},
    harness::{ANSWER, Gateway, PATIENCE, domain, peer, settings, settings_of_a, world},
    pki::Cert,
};

/// b.example's client settings, with a.example at `addr`.
fn settings_of_b(addr: SocketAddr) -> Settings {
    let world = world();
    let mut a = peer(&world.ca_a);
    a.address = Some(addr.to_string());
    settings("b.example", &world.cert_b, vec![("a.example", a)])
}

async fn submit_to(client: &MimiPeers) -> Result<Vec<u8>, CallError> {
    let target = PathTarget::Uri(room("a").as_uri().clone());
    client.call(&domain("a.example"), Endpoint::SubmitMessage, &target, &submit("bob@b")).await
}

#[tokio::test]
async fn a_call_comes_back_with_the_answer() {
    let gateway = Gateway::a().await;
    let client = MimiPeers::new(&settings_of_b(gateway.addr)).unwrap();
    assert!(client.knows(&domain("a.example")));
    assert!(!client.knows(&domain("c.example")));
    assert_eq!(submit_to(&client).await.unwrap(), ANSWER);
    let consent = consent(ConsentAction::Request, "bob@b", "alice@a");
    let target = PathTarget::Domain(domain("a.example"));
    assert_eq!(client.call(&domain("a.example"), Endpoint::RequestConsent, &target, &consent).await.unwrap(), b"");
    let target = PathTarget::Uri(room("b").as_uri().clone());
    assert_eq!(client.call(&domain("a.example"), Endpoint::Notify, &target, &notify()).await.unwrap(), b"");
    let target = PathTarget::Domain(domain("a.example"));
    assert_eq!(client.call(&domain("a.example"), Endpoint::IdentifierQuery, &target, &query()).await.unwrap(), ANSWER);
    let calls = gateway.engine.calls.lock().unwrap();
    assert_eq!(
        calls.iter().map(|call| call.endpoint).collect::<Vec<_>>(),
        ["submitMessage", "requestConsent", "notify", "identifierQuery"]
    );
    assert!(calls.iter().all(|call| call.peer == "b.example"));
}

#[tokio::test]
async fn a_probe_says_whether_a_peer_can_be_called_and_calls_nothing() {
    let world = world();
    let gateway = Gateway::a().await;
    let a = domain("a.example");
    MimiPeers::new(&settings_of_b(gateway.addr)).unwrap().probe(&a).await.unwrap();
    assert_eq!(gateway.engine.count(), 0);
    // Nobody there; not our peer; a directory that does not offer what we call.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    MimiPeers::new(&settings_of_b(free)).unwrap().probe(&a).await.unwrap_err();
    MimiPeers::new(&settings_of_b(gateway.addr)).unwrap().probe(&domain("c.example")).await.unwrap_err();
    let empty = answer("200 OK", "Content-Type: application/json\r\n", b"{}");
    let bare = Script::start(&world.ca_a.provider("a.example"), vec![empty]).await;
    let error = MimiPeers::new(&settings_of_b(bare)).unwrap().probe(&a).await.unwrap_err();
    assert!(error.what.contains("keyMaterial"), "{error}");
}

#[tokio::test]
async fn refusals_say_whether_to_try_again() {
    let gateway = Gateway::a().await;
    let client = MimiPeers::new(&settings_of_b(gateway.addr)).unwrap();
    for (problem, status, retry) in [
        (Problem::TooMany(9), 429, Retry::Retriable(Some(Duration::from_secs(9)))),
        (Problem::Unavailable(3), 503, Retry::Retriable(Some(Duration::from_secs(3)))),
        (Problem::NotFound, 404, Retry::Permanent),
        (Problem::Forbidden("no".into()), 403, Retry::Permanent),
    ] {
        *gateway.engine.refuse.lock().unwrap() = Some(problem);
        let error = submit_to(&client).await.unwrap_err();
        assert_eq!((error.status, error.retry), (Some(status), retry), "{error}");
    }
    let error =
        client.call(&domain("d.example"), Endpoint::Notify, &PathTarget::Domain(domain("d.example")), b"").await;
    assert_eq!(error.unwrap_err().retry, Retry::Permanent);
}

#[tokio::test]
async fn nobody_there_is_retriable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = submit_to(&MimiPeers::new(&settings_of_b(free)).unwrap()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Retriable(None), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_know_us_is_retriable_and_named() {
    let world = world();
    let gateway = Gateway::start(&settings("a.example", &world.cert_a, vec![("c.example", peer(&world.ca_c))])).await;
    let error = submit_to(&MimiPeers::new(&settings_of_b(gateway.addr)).unwrap()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Retriable(None), "{error}");
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn another_servers_certificate_is_not_believed() {
    let world = world();
    for cert in [&world.cert_c, &world.ca_a.provider("d.example"), &world.ca_c.provider("a.example")] {
        let impostor = Script::start(cert, vec![]).await;
        let error = submit_to(&MimiPeers::new(&settings_of_b(impostor)).unwrap()).await.unwrap_err();
        assert_eq!(error.retry, Retry::Retriable(None), "{error}");
    }
}

/// A server that asks for no client certificate.
pub(crate) fn server_config(cert: &Cert) -> ServerConfig {
    let chain = vec![CertificateDer::from_pem_slice(cert.chain.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(cert.key.as_bytes()).unwrap();
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// A server that speaks HTTP/1.1 from a script: each request gets the next answer, `None` closes after reading it.
struct Script;

impl Script {
    async fn start(cert: &Cert, answers: Vec<Option<Vec<u8>>>) -> SocketAddr {
        let acceptor = TlsAcceptor::from(Arc::new(server_config(cert)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            while let Ok((tcp, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
                // One request a connection; its body is small enough to come with the header or right after it.
                let mut read = Vec::new();
                while !request_is_whole(&read) {
                    let mut more = [0; 4096];
                    match stream.read(&mut more).await {
                        Ok(len @ 1..) => read.extend_from_slice(&more[..len]),
                        _ => break,
                    }
                }
                if let Some(Some(answer)) = answers.next() {
                    let _ = stream.write_all(&answer).await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        addr
    }
}

fn request_is_whole(read: &[u8]) -> bool {
    let text = String::from_utf8_lossy(read).to_ascii_lowercase();
    let Some(head) = text.find("\r\n\r\n") else { return false };
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    read.len() >= head + 4 + length.map_or(0, |length| length.parse().unwrap())
}

#[expect(clippy::unnecessary_wraps, reason = "one step of a script, whose other kind is None")]
fn answer(status: &str, headers: &str, body: &[u8]) -> Option<Vec<u8>> {
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
    Some([head.as_bytes(), body].concat())
}

fn directory() -> Option<Vec<u8>> {
    answer("200 OK", "", br#"{"submitMessage":"https://a.example/v1/submitMessage/{roomId}"}"#)
}

async fn scripted(answers: Vec<Option<Vec<u8>>>) -> Result<Vec<u8>, CallError> {
    let addr = Script::start(&world().cert_a, answers).await;
    let mut settings = settings_of_b(addr);
    settings.limits.call_timeout = Duration::from_secs(2);
    timeout(PATIENCE, submit_to(&MimiPeers::new(&settings).unwrap())).await.unwrap()
}

#[tokio::test]
async fn a_server_that_closes_after_reading_leaves_it_uncertain() {
    assert_eq!(scripted(vec![directory(), None]).await.unwrap_err().retry, Retry::Uncertain);
    // Cut off in the middle of the answer.
    let cut = Some(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart".to_vec());
    assert_eq!(scripted(vec![directory(), cut]).await.unwrap_err().retry, Retry::Uncertain);
}

#[tokio::test]
async fn a_server_that_never_answers_leaves_it_uncertain() {
    let gateway = Gateway::a().await;
    let hold = CancellationToken::new();
    *gateway.engine.hold.lock().unwrap() = Some(hold.clone());
    let mut settings = settings_of_b(gateway.addr);
    settings.limits.call_timeout = Duration::from_secs(1);
    let error = submit_to(&MimiPeers::new(&settings).unwrap()).await.unwrap_err();
    assert_eq!(error.retry, Retry::Uncertain, "{error}");
    assert_eq!(gateway.engine.count(), 1);
    hold.cancel();
}

#[tokio::test]
async fn redirects_are_not_followed_and_large_answers_not_read() {
    let elsewhere = answer("307 Temporary Redirect", "Location: https://a.example/x\r\n", b"");
    let error = scripted(vec![directory(), elsewhere, answer("200 OK", "", ANSWER)]).await.unwrap_err();
    assert_eq!((error.status, error.retry), (Some(307), Retry::Permanent));
    let large = Some(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec());
    let error = scripted(vec![directory(), large]).await.unwrap_err();
    assert_eq!(error.retry, Retry::Permanent, "{error}");
    assert_eq!(scripted(vec![directory(), answer("202 Accepted", "", ANSWER)]).await.unwrap(), ANSWER);
}

#[tokio::test]
async fn s15_a_directory_that_leads_elsewhere_is_not_followed() {
    for template in [
        "https://evil.example/v1/{roomId}",
        "http://a.example/v1/{roomId}",
        "https://a.example@evil.example/{roomId}",
        "https://127.0.0.1/{roomId}",
    ] {
        let bad = answer("200 OK", "", format!(r#"{{"submitMessage":"{template}"}}"#).as_bytes());
        let error = scripted(vec![bad, answer("200 OK", "", ANSWER)]).await.unwrap_err();
        assert!(error.what.contains("directory"), "{error}");
        assert!(matches!(error.retry, Retry::Retriable(_)), "{error}");
    }
    for bad in [
        answer("200 OK", "", &vec![b' '; 100_000]),
        answer("200 OK", "", b"[]"),
        answer("302 Found", "Location: https://a.example/d\r\n", b""),
    ] {
        let error = scripted(vec![bad, directory(), answer("200 OK", "", ANSWER)]).await.unwrap_err();
        assert!(error.what.contains("directory"), "{error}");
    }
}

#[tokio::test]
async fn shutdown_lets_a_running_request_end() {
    let gateway = Gateway::a().await;
    let hold = CancellationToken::new();
    *gateway.engine.hold.lock().unwrap() = Some(hold.clone());
    let client = Arc::new(MimiPeers::new(&settings_of_b(gateway.addr)).unwrap());
    let calling = tokio::spawn({
        let client = Arc::clone(&client);
        async move { submit_to(&client).await }
    });
    timeout(PATIENCE, async {
        while gateway.engine.count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    gateway.stop.cancel();
    hold.cancel();
    assert_eq!(calling.await.unwrap().unwrap(), ANSWER);
    timeout(PATIENCE, gateway.task).await.unwrap().unwrap();
    let error = submit_to(&client).await.unwrap_err();
    assert_eq!(error.retry, Retry::Retriable(None), "{error}");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let mut settings = settings_of_a();
    settings.limits.shutdown_grace = Duration::from_millis(200);
    let gateway = Gateway::start(&settings).await;
    *gateway.engine.hold.lock().unwrap() = Some(CancellationToken::new());
    let client = MimiPeers::new(&settings_of_b(gateway.addr)).unwrap();
    let calling = tokio::spawn(async move { submit_to(&client).await });
    timeout(PATIENCE, async {
        while gateway.engine.count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    gateway.stop.cancel();
    timeout(PATIENCE, gateway.task).await.unwrap().unwrap();
    assert_eq!(calling.await.unwrap().unwrap_err().retry, Retry::Uncertain);
}

#[tokio::test]
async fn one_peers_requests_are_limited() {
    let mut settings = settings_of_a();
    settings.limits.max_requests_per_peer = 1;
    let gateway = Gateway::start(&settings).await;
    let hold = CancellationToken::new();
    *gateway.engine.hold.lock().unwrap() = Some(hold.clone());
    let client = Arc::new(MimiPeers::new(&settings_of_b(gateway.addr)).unwrap());
    let first = tokio::spawn({
        let client = Arc::clone(&client);
        async move { submit_to(&client).await }
    });
    timeout(PATIENCE, async {
        while gateway.engine.count() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let second = submit_to(&client).await.unwrap_err();
    assert_eq!((second.status, second.retry), (Some(429), Retry::Retriable(Some(Duration::from_secs(1)))));
    hold.cancel();
    assert_eq!(first.await.unwrap().unwrap(), ANSWER);
}

#[test]
fn setup_mistakes_are_told() {
    let world = world();
    let good = settings_of_a();
    assert!(good.validate().is_ok());
    assert_eq!(good.periods().unwrap()[0].until.timestamp(), 3_786_912_000);
    let told = |settings: &Settings| settings.validate().unwrap_err().to_string();
    assert!(told(&Settings { own_domain: domain("d.example"), ..good.clone() }).contains("subjectAltName"));
    assert!(told(&Settings { private_key: PemSource::new(&*world.cert_b.key), ..good.clone() }).contains("key"));
    let mut odd = good.clone();
    odd.peers.get_mut(&domain("b.example")).unwrap().ca = PemSource::new("/nonexistent/ca.pem");
    assert!(told(&odd).contains("/nonexistent/ca.pem"));
    let mut odd = good;
    odd.peers.get_mut(&domain("b.example")).unwrap().address = Some("localhost".into());
    assert!(told(&odd).contains("host:port"));
}
