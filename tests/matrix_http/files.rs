//! The homeserver client's files.

use mimi_gateway::{
    content::ExternalPart,
    engine::ports::{MatrixFiles as _, Retry},
    media::ToMatrix,
    spool::{Spool, SpoolLimits, Spooled},
};
use ruma::{MxcUri, mxc_uri};
use serde_json::json;

use super::{
    client::{BOB, BOT, bob},
    fake_homeserver::Fake,
};

const DOWNLOAD: &str = "GET  _matrix client v1 media download a.example f1";
const UPLOAD: &str = "POST  _matrix media v3 upload";

fn file() -> &'static MxcUri {
    mxc_uri!("mxc://a.example/f1")
}

fn spooled(bytes: &[u8], dir: &std::path::Path) -> Spooled {
    let (spool, _) = Spool::open(dir, SpoolLimits { file: 1 << 20, total: 1 << 20 }).unwrap();
    let part = ExternalPart { url: "https://b.example/1".into(), ..ExternalPart::default() };
    let mut filling = spool.begin(ToMatrix::new(&part, 0, None).unwrap()).unwrap();
    filling.write(bytes).unwrap();
    filling.finish().unwrap().0
}

#[tokio::test]
async fn a_file_is_downloaded_as_the_bot() {
    let (fake, text) = (Fake::start().await, "x".repeat(200_000));
    fake.once(DOWNLOAD, 200, json!(text));
    let mut coming = fake.client().download(file()).await.unwrap();
    assert_eq!(coming.bytes, Some(200_002));
    let mut bytes = Vec::new();
    while let Some(piece) = coming.pieces.next().await.unwrap() {
        bytes.extend(piece);
    }
    assert_eq!(bytes, json!(text).to_string().as_bytes());
    let asked = fake.asked().remove(0);
    assert_eq!((asked.user(), asked.auth.as_deref()), (BOT, Some("Bearer as-token")));
}

#[tokio::test]
async fn what_is_lost_is_lost_and_what_is_not_there_yet_is_asked_for_again() {
    let (fake, nothing) = (Fake::start().await, |code: &str| json!({"errcode": code, "error": "no"}));
    let client = fake.client();
    for (status, body, retry) in [
        (404, nothing("M_NOT_FOUND"), Retry::Permanent),
        (403, nothing("M_FORBIDDEN"), Retry::Permanent),
        (504, nothing("M_NOT_YET_UPLOADED"), Retry::Retriable(None)),
        (502, json!("a proxy"), Retry::Retriable(None)),
    ] {
        fake.once(DOWNLOAD, status, body);
        let Err(error) = client.download(file()).await else { panic!("{status} is no file") };
        assert_eq!((error.status, error.retry), (Some(status), retry));
    }
    let Err(error) = client.download(<&MxcUri>::from("mxc://a.example/../x")).await else {
        panic!("no name of a file")
    };
    assert_eq!(error.retry, Retry::Permanent);
}

#[tokio::test]
async fn the_ghost_uploads_what_its_user_sent() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let client = fake.client();
    let text = "y".repeat(300_000);
    let file = spooled(text.as_bytes(), dir.path());
    fake.once(UPLOAD, 200, json!({"content_uri": "mxc://a.example/new"}));
    let at = client.upload(&bob(), "Grüße & more.png", "image/png", &file).await.unwrap();
    assert_eq!(at, "mxc://a.example/new");
    let asked = fake.asked().pop().unwrap();
    assert_eq!((asked.user(), asked.query["filename"].as_str()), (BOB, "Grüße & more.png"));
    assert_eq!(asked.raw_body, text);
    // The same again, after a refusal.
    fake.once(UPLOAD, 413, json!({"errcode": "M_TOO_LARGE", "error": "too large"}));
    assert_eq!(client.upload(&bob(), "", "image/png", &file).await.unwrap_err().retry, Retry::Permanent);
    fake.once(UPLOAD, 200, json!({"content_uri": "mxc://a.example/again"}));
    assert_eq!(client.upload(&bob(), "", "image/png", &file).await.unwrap(), "mxc://a.example/again");
    assert!(!fake.asked().pop().unwrap().query.contains_key("filename"));
}

#[tokio::test]
async fn the_homeserver_says_how_large_a_file_may_be() {
    let fake = Fake::start().await;
    for (answer, limit) in [(json!({"m.upload.size": 1000}), Some(1000)), (json!({}), None)] {
        fake.once("GET  _matrix client v1 media config", 200, answer);
        assert_eq!(fake.client().largest_upload().await.unwrap(), limit);
    }
}
