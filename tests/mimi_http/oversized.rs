//! Bodies that are too large get an answer that clients can read, over HTTP/1.1 and HTTP/2.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use http::Version;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    bodies::{room, segment},
    harness::{Gateway, PATIENCE, world},
};

/// Zeros, with or without a length that is known beforehand.
struct Zeros {
    left: usize,
    announced: bool,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.left.min(64 * 1024);
        self.left -= size;
        Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from(vec![0; size])))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact(self.left as u64) } else { SizeHint::default() }
    }
}

fn path() -> String {
    format!("/v1/submitMessage/{}", segment(room("a").as_str()))
}

#[tokio::test]
async fn s5_an_oversized_body_gets_413_announced_or_not_over_both_versions() {
    let gateway = Gateway::a().await;
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for announced in [true, false] {
            // Just over the limit, and far more than anybody reads on.
            for left in [(1 << 20) + 1, 40 << 20] {
                let http = gateway.http(&world().cert_b, version);
                let request = http.post(format!("https://a.example{}", path())).header("from", "mimi@b.example");
                let sent = request.body(reqwest::Body::wrap(Zeros { left, announced })).send().await;
                let what = format!("{version:?}, announced: {announced}, {left} bytes");
                let answer = sent.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                assert_eq!((answer.status().as_u16(), answer.version()), (413, version), "{what}");
                assert_eq!(answer.headers()["content-type"], "application/problem+json", "{what}");
                let problem: serde_json::Value = answer.json().await.unwrap();
                assert_eq!(problem["detail"], "larger than 1048576 bytes", "{what}");
            }
        }
    }
    assert_eq!(gateway.engine.count(), 0);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field, literally.
fn field(name: &str, value: &str) -> Vec<u8> {
    let (short, value_length) = (u8::try_from(name.len()).unwrap(), u8::try_from(value.len()).unwrap());
    assert!(short < 127 && value_length < 127);
    [&[0, short], name.as_bytes(), &[value_length], value.as_bytes()].concat()
}

/// Some clients forget an answer when a reset follows at once: none may come while they may still be sending.
#[tokio::test]
async fn s5_the_answer_to_an_oversized_body_over_http_2_is_not_followed_by_a_reset() {
    let gateway = Gateway::a().await;
    let mut stream = gateway.connect(Some(&world().cert_b), b"h2").await.unwrap();
    let fields = [
        field(":method", "POST"),
        field(":scheme", "https"),
        field(":authority", "a.example"),
        field(":path", &path()),
        field("from", "mimi@b.example"),
        field("content-length", "1100000"),
    ];
    let begun = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &fields.concat()),
        frame(DATA, 0, 1, &[0; 10_000]),
    ];
    stream.write_all(&begun.concat()).await.unwrap();
    let mut seen = Vec::new();
    let reading = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).await.unwrap();
            let (kind, flags) = (head[3], head[4]);
            match kind {
                DATA if flags & END_STREAM != 0 => {
                    assert!(String::from_utf8_lossy(&payload).contains("larger than 1048576 bytes"));
                    // The answer is complete. This client has not looked yet, and goes on; what was to come, has come
                    // before the answer to its ping.
                    let more = [frame(DATA, 0, 1, &[0; 10_000]), frame(PING, 0, 0, &[7; 8])];
                    stream.write_all(&more.concat()).await.unwrap();
                }
                PING if flags & ACK != 0 => return,
                _ => {}
            }
            seen.push(kind);
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    assert!(seen.contains(&HEADERS) && seen.contains(&DATA) && !seen.contains(&RST_STREAM), "{seen:?}");
}
