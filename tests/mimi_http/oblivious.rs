//! The Oblivious HTTP gateway, and attack S18. In each case nothing is asked of an asset server.

use std::io::Cursor;

use bhttp::{Message, Mode};
use ohttp::{ClientRequest, ClientResponse};

use crate::{
    asset_world::{Provider, Scripted, answer, ciphertext, hub_of, settings_of_b, user},
    harness::world,
};

const GATEWAY: &str = "/v1/ohttpGateway";

async fn keys(a: &Provider) -> Vec<u8> {
    let response = a.gateway.get("c.example", "/v1/ohttpKeys").await;
    assert_eq!(response.headers()["content-type"], "application/ohttp-keys");
    response.bytes().await.unwrap().to_vec()
}

fn seal(keys: &[u8], url: &str) -> (Vec<u8>, ClientResponse) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let part = |text: &str| text.as_bytes().to_vec();
    let message = Message::request(b"GET".to_vec(), part(scheme), part(authority), part(&format!("/{path}")));
    let mut bytes = Vec::new();
    message.write_bhttp(Mode::KnownLength, &mut bytes).unwrap();
    ClientRequest::from_encoded_config_list(keys).unwrap().encapsulate(&bytes).unwrap()
}

async fn post(a: &Provider, path: &str, kind: &str, body: Vec<u8>) -> reqwest::Response {
    let http = a.gateway.http(&world().cert_c, http::Version::HTTP_2).post(format!("https://a.example{path}"));
    http.header("from", "mimi@c.example").header("content-type", kind).body(body).send().await.unwrap()
}

/// Asks for a URL: the status and the content of the encapsulated answer.
async fn ask(a: &Provider, url: &str) -> (u16, Vec<u8>) {
    let (sealed, opener) = seal(&keys(a).await, url);
    let response = post(a, GATEWAY, "message/ohttp-req", sealed).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "message/ohttp-res");
    let answer = opener.decapsulate(&response.bytes().await.unwrap()).unwrap();
    let message = Message::read_bhttp(&mut Cursor::new(answer)).unwrap();
    (message.control().status().unwrap().code(), message.content().to_vec())
}

#[tokio::test]
async fn a_sealed_request_brings_a_sealed_asset() {
    let b = Provider::start(&settings_of_b()).await;
    let a = Provider::start(&hub_of(b.gateway.addr)).await;
    let bytes = ciphertext(200_000);
    let at = b.assets.put(&user("b.example/u/bob"), &bytes, u64::MAX).await.unwrap();
    assert_eq!(ask(&a, &at).await, (200, bytes));
    // RFC 9540's place serves both, and the directory names ours.
    let known = a.gateway.get("c.example", "/.well-known/ohttp-gateway").await.bytes().await.unwrap();
    let (sealed, _) = seal(&known, &at);
    assert_eq!(post(&a, "/.well-known/ohttp-gateway", "message/ohttp-req", sealed).await.status(), 200);
    let directory = a.gateway.get("c.example", "/.well-known/mimi-protocol-directory").await.text().await.unwrap();
    for entry in [
        r#""ohttpGateway":"https://a.example/v1/ohttpGateway""#,
        r#""ohttpKeys":"https://a.example/v1/ohttpKeys""#,
        r#""proxyDownload":"https://a.example/v1/proxyDownload/{downloadUrl}""#,
    ] {
        assert!(directory.contains(entry), "{directory}");
    }
}

#[tokio::test]
async fn s18_a_request_that_cannot_be_opened_or_came_before_is_refused() {
    let b = Scripted::answering(answer("200 OK", "", b"sealed")).await;
    let a = Provider::start(&hub_of(b.addr)).await;
    let keys = keys(&a).await;
    let (good, _) = seal(&keys, "https://b.example/1");
    let mut other_key = good.clone();
    other_key[0] ^= 1;
    let mut broken = good.clone();
    *broken.last_mut().unwrap() ^= 1;
    let other_gateway = seal(&self::keys(&Provider::start(&hub_of(b.addr)).await).await, "https://b.example/1").0;
    for (what, body) in [
        ("key id", other_key),
        ("ciphertext", broken),
        ("gateway", other_gateway),
        ("cut", good[..20].to_vec()),
        ("empty", vec![]),
    ] {
        let response = post(&a, GATEWAY, "message/ohttp-req", body).await;
        assert_eq!(response.status(), 400, "{what}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#ohttp-key", "{what}");
    }
    assert_eq!(post(&a, GATEWAY, "message/ohttp-req", vec![0; 20_000]).await.status(), 413);
    for kind in ["application/octet-stream", "message/ohttp-res", "text/plain"] {
        assert_eq!(post(&a, GATEWAY, kind, good.clone()).await.status(), 415, "{kind}");
    }
    assert_eq!(b.count(), 0);
    assert_eq!(post(&a, GATEWAY, "message/ohttp-req", good.clone()).await.status(), 200);
    assert_eq!(b.count(), 1);
    for path in [GATEWAY, "/.well-known/ohttp-gateway"] {
        assert_eq!(post(&a, path, "message/ohttp-req", good.clone()).await.status(), 409, "{path}");
    }
    assert_eq!(b.count(), 1);
}

#[tokio::test]
async fn s18_a_target_off_the_list_is_not_asked() {
    let b = Scripted::answering(answer("200 OK", "", b"sealed")).await;
    let a = Provider::start(&hub_of(b.addr)).await;
    for (target, status) in [
        ("https://evil.example/1", 403),
        ("https://localhost/1", 403),
        ("https://127.0.0.1/1", 400),
        ("https://[::1]/1", 400),
        ("https://169.254.169.254/latest", 400),
        ("http://b.example/1", 400),
        ("https://b.example:8443/1", 400),
        ("https://user@b.example/1", 400),
        ("https://a.example/v1/ohttpKeys", 404),
    ] {
        assert_eq!(ask(&a, target).await, (status, vec![]), "{target}");
    }
    assert_eq!(b.count(), 0);
}

#[tokio::test]
async fn s18_an_asset_that_is_too_large_for_memory_is_refused_inside() {
    let b = Scripted::answering(answer("200 OK", "", &[0; 2000])).await;
    let mut settings = hub_of(b.addr);
    settings.assets.max_oblivious_bytes = 1000;
    let a = Provider::start(&settings).await;
    assert_eq!(ask(&a, "https://b.example/1").await, (502, vec![]));
}
