//! TLS syntax over the wire: S10. Bodies that are cut off, too long, or hold what no draft defines, at every endpoint.

use std::time::{Duration, Instant};

use http::Version;
use mimi_gateway::wire::ConsentAction;

use crate::{
    bodies::{consent, group_info, key_material, notify, query, report, room, segment, submit, update, user},
    harness::{Gateway, world},
};

/// Every endpoint with a good body, by B at A.
fn requests() -> Vec<(String, Vec<u8>)> {
    let to = |endpoint: &str, provider: &str| format!("/v1/{endpoint}/{}", segment(room(provider).as_str()));
    let keys = format!("/v1/keyMaterial/{}", segment(user("alice@a").as_str()));
    let grant = ConsentAction::Grant { key_packages: Vec::new() };
    vec![
        (keys.clone(), key_material("bob@b", "alice@a", None)),
        (keys, key_material("bob@b", "alice@a", Some(room("b")))),
        (to("update", "a"), update()),
        (to("notify", "b"), notify()),
        (to("submitMessage", "a"), submit("bob@b")),
        (to("groupInfo", "a"), group_info("bob@b")),
        ("/v1/requestConsent/a.example".to_owned(), consent(ConsentAction::Request, "bob@b", "alice@a")),
        ("/v1/updateConsent/a.example".to_owned(), consent(grant, "alice@a", "bob@b")),
        ("/v1/identifierQuery/a.example".to_owned(), query()),
        (to("reportAbuse", "a"), report(Some("bob@b"))),
    ]
}

struct Peer {
    gateway: Gateway,
    http: reqwest::Client,
}

impl Peer {
    async fn new() -> Self {
        let gateway = Gateway::a().await;
        let http = gateway.http(&world().cert_b, Version::HTTP_2);
        Self { gateway, http }
    }

    /// Posts over one connection.
    async fn post(&self, path: &str, body: Vec<u8>) -> u16 {
        let request = self.http.post(format!("https://a.example{path}")).header("from", "mimi@b.example").body(body);
        request.send().await.unwrap().status().as_u16()
    }
}

#[tokio::test]
async fn s10_bodies_that_are_cut_off_anywhere_or_have_more_are_refused() {
    let peer = Peer::new().await;
    for (path, body) in requests() {
        for end in 0..body.len() {
            assert_eq!(peer.post(&path, body[..end].to_vec()).await, 400, "{path}, {end} of {} bytes", body.len());
        }
        for more in [&[0][..], &[0xff], &[0; 64]] {
            assert_eq!(peer.post(&path, [&body[..], more].concat()).await, 400, "{path} with {} more", more.len());
        }
    }
    assert_eq!(peer.gateway.engine.count(), 0);
}

/// A gigabyte is declared wherever a vector may begin: refused at once, since nothing is allocated by what is declared.
#[tokio::test]
async fn s10_oversized_vectors_are_refused_at_once() {
    let peer = Peer::new().await;
    let begun = Instant::now();
    for (path, body) in requests() {
        for at in 0..body.len() {
            for claim in [&[0xbf, 0xff, 0xff, 0xff][..], &[0xff; 8]] {
                let claim = [&body[..at], claim, &body[at..]].concat();
                let status = peer.post(&path, claim).await;
                // Inside of bytes that nobody reads here it is as good as any other byte, as long as the length fits.
                assert!(matches!(status, 400 | 403), "{path}, at {at}: {status}");
            }
        }
    }
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    assert_eq!(peer.gateway.engine.count(), 0);
}

#[tokio::test]
async fn s10_values_that_no_draft_defines_are_refused() {
    let peer = Peer::new().await;
    for (path, body) in requests() {
        // What is not an octet of an enum: `update` and `notify` begin with a version and a time, a query with a length.
        let first = match path.split('/').nth(2).unwrap() {
            "notify" => {
                // Version and wire format of the message behind the timestamp, and its content type.
                let group = body.windows(5).position(|bytes| bytes == b"group").unwrap();
                vec![9, 11, group + 5 + 8]
            }
            "update" => vec![1, 3, 4 + 6 + 8],
            "identifierQuery" => vec![1],
            "reportAbuse" => vec![body.len() - 8],
            _ => vec![0],
        };
        for at in first {
            for value in [0x66, 0xfe] {
                let mut odd = body.clone();
                odd[at] = value;
                assert_eq!(peer.post(&path, odd).await, 400, "{path}: {value:#x} at {at}");
            }
        }
    }
    assert_eq!(peer.gateway.engine.count(), 0);
}

/// Whatever becomes of one byte, there is an answer, and never one that says that something went wrong here.
#[tokio::test]
async fn s10_no_byte_leads_to_an_error_of_the_server() {
    let peer = Peer::new().await;
    for (path, body) in requests() {
        for at in 0..body.len() {
            let mut changed = body.clone();
            changed[at] ^= 0x80;
            let status = peer.post(&path, changed).await;
            assert!(matches!(status, 200 | 201 | 400 | 403 | 404), "{path}, byte {at}: {status}");
        }
    }
    // Those that were right all the same.
    let taken = peer.gateway.engine.count();
    for (path, body) in requests() {
        assert!(matches!(peer.post(&path, body).await, 200 | 201), "{path}");
    }
    assert_eq!(peer.gateway.engine.count(), taken + requests().len());
}
