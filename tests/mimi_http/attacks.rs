//! TLS, From, framing, size, slowness: S1, S2, S4 to S7. In each case nothing reaches the engine.

use std::time::Duration;

use http::Version;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    bodies::{notify, room, segment},
    harness::{Gateway, PATIENCE, peer, settings, settings_of_a, world},
    pki::{Cert, Leaf, self_signed},
};

fn request(headers: &str, body: &[u8]) -> Vec<u8> {
    let path = format!("/v1/notify/{}", segment(room("b").as_str()));
    let mut bytes =
        format!("POST {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{headers}\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn good_request() -> Vec<u8> {
    let body = notify();
    request(&format!("From: mimi@b.example\r\nContent-Length: {}\r\n", body.len()), &body)
}

fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no status line: {answer:?}"))
}

#[tokio::test]
async fn the_peers_own_certificate_is_let_in() {
    let gateway = Gateway::a().await;
    let world = world();
    assert_eq!(status(&gateway.raw(Some(&world.cert_b), &good_request()).await.unwrap()), 201);
    let two_names = world.ca_b.issue(&Leaf { sans: &["x.example", "b.example"], ..Leaf::default() });
    assert_eq!(status(&gateway.raw(Some(&two_names), &good_request()).await.unwrap()), 201);
    assert_eq!(gateway.engine.count(), 2);
}

#[tokio::test]
async fn a_wildcard_stands_for_one_label() {
    let world = world();
    let peers = vec![("b.hosting.example", peer(&world.ca_b)), ("x.b.hosting.example", peer(&world.ca_b))];
    let gateway = Gateway::start(&settings("a.example", &world.cert_a, peers)).await;
    let wildcard = world.ca_b.issue(&Leaf { sans: &["*.hosting.example"], ..Leaf::default() });
    let get = |from| {
        format!(
            "GET /.well-known/mimi-protocol-directory HTTP/1.1\r\nHost: a.example\r\nFrom: mimi@{from}\r\nConnection: close\r\n\r\n"
        )
    };
    let answer = gateway.raw(Some(&wildcard), get("b.hosting.example").as_bytes()).await.unwrap();
    assert_eq!(status(&answer), 200);
    assert!(answer.contains(r#""update":"https://a.example/v1/update/{roomId}""#), "{answer}");
    assert_eq!(status(&gateway.raw(Some(&wildcard), get("x.b.hosting.example").as_bytes()).await.unwrap()), 403);
}

#[tokio::test]
async fn s1_other_certificates_reach_no_handler() {
    let gateway = Gateway::a().await;
    let world = world();
    let b = || Leaf { sans: &["b.example"], ..Leaf::default() };
    let unknown_ca = crate::pki::Ca::new("CA of B");
    let bad: Vec<(&str, Option<Cert>)> = vec![
        ("no certificate", None),
        ("self-signed", Some(self_signed(&b()))),
        ("unknown CA of the same name", Some(unknown_ca.issue(&b()))),
        ("expired", Some(world.ca_b.issue(&Leaf { not_after: Some(2021), ..b() }))),
        ("not yet valid", Some(world.ca_b.issue(&Leaf { not_before: Some(2080), ..b() }))),
        ("wrong SAN", Some(world.ca_b.issue(&Leaf { sans: &["d.example"], ..Leaf::default() }))),
        ("subdomain", Some(world.ca_b.issue(&Leaf { sans: &["x.b.example"], ..Leaf::default() }))),
        ("wildcard below", Some(world.ca_b.issue(&Leaf { sans: &["*.b.example"], ..Leaf::default() }))),
        ("CN only", Some(world.ca_b.issue(&Leaf { common_name: Some("b.example"), ..Leaf::default() }))),
        ("URI SAN only", Some(world.ca_b.issue(&Leaf { uri: Some("mimi://b.example"), ..Leaf::default() }))),
        ("another peer's SAN by B's CA", Some(world.ca_b.provider("c.example"))),
        ("B's SAN by another peer's CA", Some(world.ca_c.provider("b.example"))),
        ("no client purpose", Some(world.ca_b.issue(&Leaf { server_only: true, ..b() }))),
    ];
    for (what, cert) in bad {
        let answer = gateway.raw(cert.as_ref(), &good_request()).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s1_a_peer_that_is_not_allowed_is_refused() {
    let world = world();
    let mut b = peer(&world.ca_b);
    b.allowed = false;
    let gateway =
        Gateway::start(&settings("a.example", &world.cert_a, vec![("b.example", b), ("c.example", peer(&world.ca_c))]))
            .await;
    assert!(gateway.raw(Some(&world.cert_b), &good_request()).await.is_err());
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s2_from_must_be_one_address_that_the_certificate_proves() {
    let gateway = Gateway::a().await;
    let body = notify();
    for (from, expected) in [
        ("", 400),
        ("From: mimi@b.example\r\nFrom: mimi@b.example\r\n", 400),
        ("From: mimi@b.example\r\nFrom: mimi@c.example\r\n", 400),
        ("From: B <mimi@b.example>\r\n", 400),
        ("From: <mimi@b.example>\r\n", 400),
        ("From: mimi@b.example, mimi@c.example\r\n", 400),
        ("From: admin@b.example\r\n", 400),
        ("From: MIMI@b.example\r\n", 400),
        ("From: mimi@b.example.\r\n", 400),
        ("From: mimi@B.example\r\n", 400),
        ("From: mimi@\u{432}.example\r\n", 400),
        ("From: mimi@c.example\r\n", 403),
        ("From: mimi@a.example\r\n", 403),
        ("From: mimi@xn--b-0ga.example\r\n", 403),
    ] {
        let bytes = request(&format!("{from}Content-Length: {}\r\n", body.len()), &body);
        let answer = gateway.raw(Some(&world().cert_b), &bytes).await.unwrap();
        assert_eq!(status(&answer), expected, "{from:?}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s2_a_certificate_of_two_peers_speaks_as_from_says() {
    let world = world();
    let shared = crate::pki::Ca::new("hosting");
    let peers = vec![("b.example", peer(&shared)), ("c.example", peer(&shared))];
    let gateway = Gateway::start(&settings("a.example", &world.cert_a, peers)).await;
    let both = shared.issue(&Leaf { sans: &["b.example", "c.example"], ..Leaf::default() });
    let body = notify();
    let as_c = request(&format!("From: mimi@c.example\r\nContent-Length: {}\r\n", body.len()), &body);
    // C is not the hub of B's room.
    assert_eq!(status(&gateway.raw(Some(&both), &as_c).await.unwrap()), 403);
    assert_eq!(status(&gateway.raw(Some(&both), &good_request()).await.unwrap()), 201);
    assert_eq!(gateway.engine.calls.lock().unwrap()[0].peer, "b.example");
}

fn impatient() -> mimi_gateway::mimi::Settings {
    let mut settings = settings_of_a();
    settings.limits.handshake_timeout = Duration::from_millis(200);
    settings.limits.header_timeout = Duration::from_millis(200);
    settings.limits.body_timeout = Duration::from_millis(200);
    settings.limits.idle_timeout = Duration::from_millis(200);
    settings
}

/// Reads to the end, which must come soon.
async fn closed_soon(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let begun = Instant::now();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes");
    assert!(begun.elapsed() < Duration::from_secs(5));
    answer
}

#[tokio::test]
async fn s4_a_silent_tcp_connection_is_closed() {
    let gateway = Gateway::start(&impatient()).await;
    let mut tcp = TcpStream::connect(gateway.addr).await.unwrap();
    closed_soon(&mut tcp).await;
}

#[tokio::test]
async fn s4_slow_headers_end_the_connection_on_either_version() {
    let gateway = Gateway::start(&impatient()).await;
    let mut http1 = gateway.connect(Some(&world().cert_b), b"http/1.1").await.unwrap();
    http1.write_all(b"POST /v1/notify/x HTTP/1.1\r\nHost: a.example\r\nX-").await.unwrap();
    closed_soon(&mut http1).await;
    // No preface at all, a preface without requests, and an unfinished header block.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let unfinished = [&preface[..], b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    for bytes in [Vec::new(), preface, unfinished] {
        let mut http2 = gateway.connect(Some(&world().cert_b), b"h2").await.unwrap();
        http2.write_all(&bytes).await.unwrap();
        http2.flush().await.unwrap();
        closed_soon(&mut http2).await;
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s4_a_slow_body_gets_408() {
    let gateway = Gateway::start(&impatient()).await;
    let bytes = request("From: mimi@b.example\r\nContent-Length: 100\r\n", b"only this");
    assert_eq!(status(&gateway.raw(Some(&world().cert_b), &bytes).await.unwrap()), 408);
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s4_idle_connections_do_not_keep_a_peer_out() {
    let mut settings = settings_of_a();
    settings.limits.max_handshakes = 8;
    let gateway = Gateway::start(&settings).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(gateway.addr).await.unwrap());
    }
    assert_eq!(status(&gateway.raw(Some(&world().cert_b), &good_request()).await.unwrap()), 201);
    // The first ones were pushed out by the later ones.
    closed_soon(&mut idle[0]).await;
}

#[tokio::test]
async fn s4_one_peers_connections_do_not_keep_another_out() {
    let mut settings = settings_of_a();
    settings.limits.max_connections_per_peer = 2;
    let gateway = Gateway::start(&settings).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = gateway.connect(Some(&world().cert_b), b"http/1.1").await.unwrap();
        // Answered once, then kept alive: the connection certainly has its place.
        stream.write_all(b"GET /x HTTP/1.1\r\nHost: a.example\r\nFrom: mimi@b.example\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 404");
        held.push(stream);
    }
    let refused = gateway.raw(Some(&world().cert_b), &good_request()).await;
    assert!(refused.as_ref().map_or(true, String::is_empty), "{refused:?}");
    assert_eq!(gateway.engine.count(), 0);
    assert_eq!(gateway.post("c.example", "/x", Vec::new()).await.status(), 404);
}

#[tokio::test]
async fn s5_a_declared_size_over_the_limit_is_refused_before_the_body_comes() {
    let gateway = Gateway::a().await;
    for length in ["16777217", "99999999999"] {
        let bytes = request(&format!("From: mimi@b.example\r\nContent-Length: {length}\r\n"), b"");
        let answer = gateway.raw(Some(&world().cert_b), &bytes).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 "), "{length}: {answer}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s5_endless_chunks_are_cut_off_at_the_limit() {
    let gateway = Gateway::a().await;
    let path = format!("/v1/submitMessage/{}", segment(room("a").as_str()));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nFrom: mimi@b.example\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let stream = gateway.connect(Some(&world().cert_b), b"http/1.1").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    write.write_all(head.as_bytes()).await.unwrap();
    let sending = async {
        let chunk = [b"10000\r\n".as_slice(), &vec![0; 0x1_0000], b"\r\n"].concat();
        let mut sent = 0;
        while sent < 1 << 30 && write.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    };
    let reading = async {
        let mut answer = [0; 12];
        read.read_exact(&mut answer).await.unwrap();
        answer
    };
    let (sent, answer) = timeout(PATIENCE, async { tokio::join!(sending, reading) }).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(sent < 64 << 20, "the connection was cut after {sent} bytes");
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s5_a_body_shorter_than_declared_reaches_nobody() {
    let gateway = Gateway::a().await;
    let body = notify();
    let bytes = request(&format!("From: mimi@b.example\r\nContent-Length: {}\r\n", body.len() + 1), &body);
    let mut stream = gateway.connect(Some(&world().cert_b), b"http/1.1").await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    closed_soon(&mut stream).await;
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s6_rapid_resets_end_the_connection() {
    let gateway = Gateway::a().await;
    let stream = gateway.connect(Some(&world().cert_b), b"h2").await.unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream_id in (1..20_001_u32).step_by(2) {
        // HEADERS (:method POST, :scheme https, :path /) with END_HEADERS, then RST_STREAM.
        bytes.extend_from_slice(b"\0\0\x03\x01\x04");
        bytes.extend_from_slice(&stream_id.to_be_bytes());
        bytes.extend_from_slice(b"\x83\x87\x84");
        bytes.extend_from_slice(b"\0\0\x04\x03\0");
        bytes.extend_from_slice(&stream_id.to_be_bytes());
        bytes.extend_from_slice(&8_u32.to_be_bytes());
    }
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        let _ = write.write_all(&bytes).await;
    };
    let (answer, ()) = tokio::join!(closed_soon(&mut read), writing);
    assert_eq!(goaway(&answer), Some(11), "ENHANCE_YOUR_CALM");
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn s6_a_continuation_flood_ends_the_connection() {
    let gateway = Gateway::a().await;
    let stream = gateway.connect(Some(&world().cert_b), b"h2").await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        let _ =
            write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x83").await;
        // A never-indexed header with a kilobyte of value, over and over, never ending the block.
        let block = [b"\x10\x01x\x7f\x81\x07".as_slice(), &[b'a'; 1024]].concat();
        let mut frame = u32::try_from(block.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(b"\x09\0\0\0\0\x01");
        frame.extend_from_slice(&block);
        let mut sent = 0;
        while sent < 256 << 20 && write.write_all(&frame).await.is_ok() {
            sent += frame.len();
        }
        sent
    };
    let (_, sent) = tokio::join!(closed_soon(&mut read), writing);
    assert!(sent < 64 << 20, "the connection was cut after {sent} bytes");
}

#[tokio::test]
async fn s7_compressed_text_and_json_bodies_get_415() {
    let gateway = Gateway::a().await;
    let body = notify();
    for header in
        ["Content-Encoding: gzip", "Content-Encoding: br", "Content-Type: application/json", "Content-Type: text/plain"]
    {
        let bytes = request(&format!("From: mimi@b.example\r\n{header}\r\nContent-Length: {}\r\n", body.len()), &body);
        assert_eq!(status(&gateway.raw(Some(&world().cert_b), &bytes).await.unwrap()), 415, "{header}");
    }
    assert_eq!(gateway.engine.count(), 0);
}

#[tokio::test]
async fn unknown_paths_wrong_methods_and_other_hosts() {
    let gateway = Gateway::a().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let http = gateway.http(&world().cert_b, version);
        let send = |request: reqwest::RequestBuilder| request.header("from", "mimi@b.example").send();
        let of = |path: &str| format!("https://a.example{path}");
        for path in ["/", "/v1/", "/v1/notify", "/v1/nothing/x", "/v2/notify/x", "/.well-known/other"] {
            let answer = send(http.post(of(path))).await.unwrap();
            assert_eq!((answer.status().as_u16(), answer.version()), (404, version), "{path}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
        assert_eq!(send(http.get(of("/v1/notify/x"))).await.unwrap().status(), 405);
        assert_eq!(send(http.put(of("/v1/update/x"))).await.unwrap().status(), 405);
        assert_eq!(send(http.post(of("/.well-known/mimi-protocol-directory"))).await.unwrap().status(), 405);
    }
    let elsewhere = b"GET /.well-known/mimi-protocol-directory HTTP/1.1\r\nHost: d.example\r\nFrom: mimi@b.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&gateway.raw(Some(&world().cert_b), elsewhere).await.unwrap()), 404);
}

/// The error code of the first GOAWAY frame in what an HTTP/2 server sent.
fn goaway(mut frames: &[u8]) -> Option<u32> {
    while let [l2, l1, l0, kind, _flags, _, _, _, _, rest @ ..] = frames {
        let length = u32::from_be_bytes([0, *l2, *l1, *l0]) as usize;
        let payload = rest.get(..length)?;
        if *kind == 7 {
            return Some(u32::from_be_bytes(payload.get(4..8)?.try_into().unwrap()));
        }
        frames = &rest[length..];
    }
    None
}
