//! Asking a gateway that runs, over its control socket.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

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
    /// It does not do what was asked, and says what to do. Permanent.
    #[error("{0}")]
    Declined(String),
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
        let page: Listing<T> = one(data, request(Method::GET, &target, Bytes::new())?).await?;
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

/// Has the gateway on this data directory do something, such as `/mirror`; what it answers, as rows.
pub async fn tell<T: DeserializeOwned>(data: &Path, what: &str, asked: &impl Serialize) -> Result<Vec<T>, AskError> {
    let body = serde_json::to_vec(asked).map_err(|error| AskError::NoAnswer(error.to_string()))?;
    let page: Listing<T> = one(data, request(Method::POST, what, body.into())?).await?;
    Ok(page.items)
}

fn request(method: Method, target: &str, body: Bytes) -> Result<hyper::Request<Full<Bytes>>, AskError> {
    let request = hyper::Request::builder()
        .method(method)
        .uri(target)
        .header(hyper::header::HOST, "control")
        .header(hyper::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body));
    request.map_err(|error| AskError::NoAnswer(error.to_string()))
}

/// One answer.
async fn one<T: DeserializeOwned>(data: &Path, request: hyper::Request<Full<Bytes>>) -> Result<Listing<T>, AskError> {
    let (status, body) = tokio::time::timeout(ANSWER, exchange(data, request))
        .await
        .unwrap_or_else(|_| Err(AskError::NoAnswer(format!("nothing within {} s", ANSWER.as_secs()))))?;
    let told: Version = serde_json::from_slice(&body).map_err(|_| AskError::OtherVersion)?;
    if told.version != VERSION || status == StatusCode::NOT_FOUND {
        return Err(AskError::OtherVersion);
    }
    if status != StatusCode::OK {
        let why = told.error.unwrap_or_else(|| status.to_string());
        return Err(if status == StatusCode::CONFLICT { AskError::Declined(why) } else { AskError::Refused(why) });
    }
    serde_json::from_slice(&body).map_err(|_| AskError::OtherVersion)
}

async fn exchange(data: &Path, request: hyper::Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), AskError> {
    let stream = socket::connect(data).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => AskError::NotAllowed(error),
        _ => AskError::NotThere(error),
    })?;
    let failed = |error: &dyn std::fmt::Display| AskError::NoAnswer(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
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
