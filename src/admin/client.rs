//! Asking a gateway that runs, over its control socket.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Listing, VERSION, socket};

/// Bytes of one answer that are read.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// How long one page may take.
const ANSWER: Duration = Duration::from_secs(30);

/// Why a running gateway gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens: the gateway starts, stops, or is another command. Retriable.
    #[error("nobody answers at its control socket: {0}")]
    NotThere(io::Error),
    /// The socket is another user's. Permanent.
    #[error("its control socket is not open to this user (run the command as the gateway's user): {0}")]
    NotAllowed(io::Error),
    /// It did not answer, or not in time. Retriable.
    #[error("it did not answer: {0}")]
    NoAnswer(String),
    /// It answered that it cannot. Retriable.
    #[error("it answers: {0}")]
    Refused(String),
    /// It speaks otherwise. Permanent.
    #[error("it is of another version than this command: use the `mimi-gateway` that runs, or restart it")]
    OtherVersion,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
    #[serde(default)]
    error: Option<String>,
}

/// All rows of a list that the gateway on this data directory has, such as `/rooms`.
pub async fn ask<T: DeserializeOwned>(data: &Path, list: &str) -> Result<Vec<T>, AskError> {
    let (mut rows, mut after) = (Vec::new(), None::<String>);
    loop {
        let target = match &after {
            None => list.to_owned(),
            Some(after) if after.bytes().all(|byte| byte.is_ascii_hexdigit()) => format!("{list}?after={after}"),
            Some(_) => return Err(AskError::OtherVersion),
        };
        let (status, body) = tokio::time::timeout(ANSWER, get(data, &target))
            .await
            .unwrap_or_else(|_| Err(AskError::NoAnswer(format!("nothing within {} s", ANSWER.as_secs()))))?;
        let told: Version = serde_json::from_slice(&body).map_err(|_| AskError::OtherVersion)?;
        if told.version != VERSION || status == StatusCode::NOT_FOUND {
            return Err(AskError::OtherVersion);
        }
        if status != StatusCode::OK {
            return Err(AskError::Refused(told.error.unwrap_or_else(|| status.to_string())));
        }
        let page: Listing<T> = serde_json::from_slice(&body).map_err(|_| AskError::OtherVersion)?;
        rows.extend(page.items);
        if page.next.is_none() {
            return Ok(rows);
        }
        if page.next <= after {
            return Err(AskError::NoAnswer("its pages go round".to_owned()));
        }
        after = page.next;
    }
}

async fn get(data: &Path, target: &str) -> Result<(StatusCode, Bytes), AskError> {
    let stream = socket::connect(data).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(error),
        _ => AskError::NotThere(error),
    })?;
    let failed = |error: &dyn std::fmt::Display| AskError::NoAnswer(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
    let request = hyper::Request::get(target)
        .header(hyper::header::HOST, "control")
        .body(Empty::<Bytes>::new())
        .map_err(|error| failed(&error))?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.map_err(|error| failed(&error))?;
        Ok((status, body.to_bytes()))
    };
    let driving = async {
        // What goes wrong here, the request sees as well.
        let _ended = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = asking => answer,
        () = driving => Err(AskError::NoAnswer("the connection ended".to_owned())),
    }
}
