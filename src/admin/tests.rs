//! The control socket between two ends in this process.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use axum::{Json, Router, extract::Query, routing::get};
use tokio_util::sync::CancellationToken;

use super::*;

/// Serves these routes in a directory until the token is cancelled.
fn serving(data: &Path, router: Router) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let stop = CancellationToken::new();
    let socket = ControlSocket::bind(data).unwrap();
    (stop.clone(), tokio::spawn(serve(socket, router, stop)))
}

fn numbers() -> Router {
    let page = |Query(query): Query<std::collections::BTreeMap<String, String>>| async move {
        let first: u8 = query.get("after").map_or(0, |after| hex::decode(after).unwrap()[0]);
        let next = (first < 4).then_some(vec![first + 2]);
        Json(Listing::new(vec![first, first + 1], next))
    };
    Router::new().route("/numbers", get(page))
}

#[tokio::test]
async fn a_list_comes_whole_page_by_page() {
    let dir = tempfile::tempdir().unwrap();
    let (stop, task) = serving(dir.path(), numbers());
    assert_eq!(ask::<u8>(dir.path(), "/numbers").await.unwrap(), [0, 1, 2, 3, 4, 5]);
    stop.cancel();
    task.await.unwrap();
    assert!(!dir.path().join(FILE).exists());
    assert!(matches!(ask::<u8>(dir.path(), "/numbers").await, Err(AskError::NotThere(_))));
}

#[tokio::test]
async fn only_the_owner_may_connect_and_what_was_left_behind_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.path().join(FILE);
    let left_behind = std::os::unix::net::UnixListener::bind(&path).unwrap();
    drop(left_behind);
    fs::create_dir(dir.path().join("control.new")).unwrap();
    let socket = ControlSocket::bind(dir.path()).unwrap();
    let data = fs::symlink_metadata(&path).unwrap();
    assert!(data.file_type().is_socket());
    assert_eq!(data.permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    UnixStream::connect(&path).unwrap();
    drop(socket);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), "mine").unwrap();
    let error = ControlSocket::bind(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in the way"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), "mine");
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let data: PathBuf = dir.path().join("x".repeat(90)).join("y".repeat(90));
    fs::create_dir_all(&data).unwrap();
    let (stop, task) = serving(&data, numbers());
    assert_eq!(ask::<u8>(&data, "/numbers").await.unwrap().len(), 6);
    stop.cancel();
    task.await.unwrap();
    assert!(!data.join(FILE).exists());
}

#[tokio::test]
async fn another_version_and_a_refusal_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let router = Router::new()
        .route("/new", get(|| async { r#"{"version": 2, "rows": {}}"# }))
        .route("/round", get(|| async { r#"{"version": 1, "items": [1], "next": "00"}"# }))
        .route(
            "/broken",
            get(|| async { (axum::http::StatusCode::INTERNAL_SERVER_ERROR, r#"{"version": 1, "error": "no"}"#) }),
        );
    let (_stop, _task) = serving(dir.path(), router);
    let error = |list: &'static str| {
        let data = dir.path().to_owned();
        async move { ask::<u8>(&data, list).await.unwrap_err() }
    };
    assert!(matches!(error("/new").await, AskError::OtherVersion));
    assert!(matches!(error("/absent").await, AskError::OtherVersion));
    assert!(matches!(error("/round").await, AskError::NoAnswer(_)));
    assert_eq!(error("/broken").await.to_string(), "it answers: no");
}

/// Those who connect and say nothing keep nobody out for long: their head has a time.
#[tokio::test]
async fn silent_connections_are_closed() {
    let dir = tempfile::tempdir().unwrap();
    let (_stop, _task) = serving(dir.path(), numbers());
    let mut silent: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(dir.path().join(FILE)).unwrap()).collect();
    for stream in &mut silent {
        stream.write_all(b"GET /numbers HTTP/1.1\r\n").unwrap();
    }
    assert_eq!(ask::<u8>(dir.path(), "/numbers").await.unwrap().len(), 6);
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 200"));
    }
}
