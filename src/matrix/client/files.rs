//! The homeserver's files: authenticated downloads, and uploads, piece by piece (Client-Server API 1.17, "Content repository").

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ruma::{MxcUri, OwnedMxcUri};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{HomeserverClient, errors, http::Target};
use crate::{
    engine::ports::{Actor, CallError, Download, MatrixFiles, Pieces},
    spool::Spooled,
    store::BoxFuture,
};

/// How long a transfer may take at all.
const TRANSFER: Duration = Duration::from_hours(1);
/// How long nothing may come.
const STALL: Duration = Duration::from_mins(1);
/// Pieces of an upload that wait for a slow homeserver.
const WAITING: usize = 2;
/// Width and height of a picture's small form: one of the sizes that every homeserver keeps.
const SMALL: &str = "96";
/// Largest refusal that is read, in bytes.
const REFUSAL_MAX: usize = 64 * 1024;

#[derive(Deserialize)]
struct Uploaded {
    content_uri: OwnedMxcUri,
}

#[derive(Deserialize)]
struct MediaConfig {
    #[serde(rename = "m.upload.size")]
    upload_size: Option<u64>,
}

struct Coming {
    answer: reqwest::Response,
}

impl Pieces for Coming {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<u8>>, CallError>> {
        Box::pin(async move {
            match tokio::time::timeout(STALL, self.answer.chunk()).await {
                Ok(Ok(piece)) => Ok(piece.map(Vec::from)),
                Ok(Err(error)) => Err(errors::transport("download", error)),
                Err(_) => Err(errors::unreadable("download", "nothing came for a minute")),
            }
        })
    }
}

impl HomeserverClient {
    /// The file itself, or a small form of it.
    async fn download_file(&self, file: &MxcUri, small: bool) -> Result<Download, CallError> {
        const WHAT: &str = "download";
        let (server, id) = file.parts().map_err(|error| errors::unusable(WHAT, &error.to_string()))?;
        let mut target = Target::new(&self.base, "v1")
            .segment("media")
            .segment(if small { "thumbnail" } else { "download" })
            .segment(server.as_str())
            .segment(id)
            .query("user_id", self.names.bot().as_str());
        if small {
            for (key, value) in [("width", SMALL), ("height", SMALL), ("method", "crop"), ("animated", "false")] {
                target = target.query(key, value);
            }
        }
        let request = self.http.get(target.into_text()).timeout(TRANSFER);
        let sent = tokio::time::timeout(STALL, request.send()).await;
        let mut answer = match sent {
            Ok(answer) => answer.map_err(|error| errors::transport(WHAT, error))?,
            Err(_) => return Err(errors::unreadable(WHAT, "nothing came for a minute")),
        };
        let status = answer.status();
        if !status.is_success() {
            let mut body = Vec::new();
            while let Ok(Some(piece)) = answer.chunk().await {
                if body.len() + piece.len() > REFUSAL_MAX {
                    break;
                }
                body.extend_from_slice(&piece);
            }
            return Err(errors::status(WHAT, status, answer.headers(), &body));
        }
        Ok(Download { bytes: answer.content_length(), pieces: Box::new(Coming { answer }) })
    }

    async fn upload_file(
        &self,
        actor: &Actor,
        name: &str,
        media_type: &str,
        file: &Spooled,
    ) -> Result<OwnedMxcUri, CallError> {
        let user = self.ensure(actor).await?;
        let mut target = Target::media(&self.base).segment("upload").query("user_id", user.as_str());
        if !name.is_empty() {
            target = target.query("filename", name);
        }
        let request = self
            .http
            .post(target.into_text())
            .timeout(TRANSFER)
            .header(CONTENT_TYPE, media_type)
            .header(CONTENT_LENGTH, file.bytes())
            .body(reqwest::Body::wrap(Outgoing::of(file)));
        let answer = self.exchange("upload", request).await?;
        let uploaded: Uploaded = serde_json::from_slice(&answer.into_body())
            .map_err(|error| errors::unreadable("upload", &error.to_string()))?;
        Ok(uploaded.content_uri)
    }

    async fn read_largest_upload(&self) -> Result<Option<u64>, CallError> {
        let target = Target::new(&self.base, "v1").segment("media").segment("config");
        let target = target.query("user_id", self.names.bot().as_str());
        Ok(self.call::<MediaConfig>("media config", reqwest::Method::GET, target, None).await?.upload_size)
    }
}

impl MatrixFiles for HomeserverClient {
    fn download<'a>(&'a self, file: &'a MxcUri) -> BoxFuture<'a, Result<Download, CallError>> {
        Box::pin(self.download_file(file, false))
    }
    fn thumbnail<'a>(&'a self, file: &'a MxcUri) -> BoxFuture<'a, Result<Download, CallError>> {
        Box::pin(self.download_file(file, true))
    }
    fn upload<'a>(
        &'a self,
        actor: &'a Actor,
        name: &'a str,
        media_type: &'a str,
        file: &'a Spooled,
    ) -> BoxFuture<'a, Result<OwnedMxcUri, CallError>> {
        Box::pin(self.upload_file(actor, name, media_type, file))
    }
    fn largest_upload(&self) -> BoxFuture<'_, Result<Option<u64>, CallError>> {
        Box::pin(self.read_largest_upload())
    }
}

/// A spooled file as the body of an upload. It is read where one may block, a few pieces ahead.
struct Outgoing {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    left: u64,
}

impl Outgoing {
    fn of(file: &Spooled) -> Self {
        let (to, pieces) = mpsc::channel(WAITING);
        let (mut reader, left) = (file.reader(), file.bytes());
        tokio::task::spawn_blocking(move || {
            loop {
                let piece = match reader.next_chunk() {
                    Ok(None) => return,
                    Ok(Some(piece)) => Ok(piece),
                    Err(error) => Err(io::Error::other(error)),
                };
                let broken = piece.is_err();
                // Who does not read on has given it up.
                if to.blocking_send(piece).is_err() || broken {
                    return;
                }
            }
        });
        Self { pieces, left }
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(cx).map(|piece| {
            piece.map(|piece| {
                piece.map(|piece| {
                    self.left = self.left.saturating_sub(piece.len() as u64);
                    Frame::data(piece.into())
                })
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
