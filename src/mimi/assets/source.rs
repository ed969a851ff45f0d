//! An asset that is there, or that comes: read by any number of readers while it is written.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::FetchError;
use crate::assets::AssetFile;

/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks that wait for a slow reader.
const WAITING: usize = 2;

/// How far an asset has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// Bytes in the file.
    pub(super) bytes: u64,
    /// Bytes that it will have, if that is known.
    pub(super) total: Option<u64>,
    pub(super) state: State,
}

#[derive(Debug, Clone)]
pub(super) enum State {
    /// Nothing is known of it yet.
    Asked,
    /// Its server gives it.
    Coming,
    /// All of it is there.
    Whole,
    /// It will not be there.
    Failed(FetchError),
}

/// Where an asset is written to while it comes.
pub(super) struct Sink {
    pub(super) file: Arc<File>,
    pub(super) progress: watch::Sender<Progress>,
}

impl Sink {
    /// Its server gives it, with this length if it says so.
    pub(super) fn begin(&self, total: Option<u64>) {
        self.progress.send_modify(|progress| {
            progress.total = total;
            progress.state = State::Coming;
        });
    }

    /// Bytes that are there.
    pub(super) fn bytes(&self) -> u64 {
        self.progress.borrow().bytes
    }

    /// Adds bytes.
    pub(super) async fn write(&self, chunk: Bytes) -> io::Result<()> {
        let (file, offset, more) = (Arc::clone(&self.file), self.bytes(), chunk.len() as u64);
        tokio::task::spawn_blocking(move || file.write_all_at(&chunk, offset)).await.map_err(io::Error::other)??;
        self.progress.send_modify(|progress| progress.bytes += more);
        Ok(())
    }
}

/// An asset to read.
#[derive(Debug, Clone)]
pub(in crate::mimi) struct Source {
    file: Arc<File>,
    progress: watch::Receiver<Progress>,
}

impl Source {
    pub(super) fn new(file: Arc<File>, progress: watch::Receiver<Progress>) -> Self {
        Self { file, progress }
    }

    /// An asset that is there.
    pub(super) fn whole(file: Arc<File>, bytes: u64) -> Self {
        Self::new(file, watch::channel(Progress { bytes, total: Some(bytes), state: State::Whole }).1)
    }

    /// Waits until its server gives it: its length, if that is known by then.
    pub(super) async fn begun(&mut self) -> Result<Option<u64>, FetchError> {
        let progress = self
            .progress
            .wait_for(|progress| !matches!(progress.state, State::Asked))
            .await
            .map_err(|_| FetchError::Busy)?;
        match &progress.state {
            State::Failed(error) => Err(error.clone()),
            State::Whole => Ok(Some(progress.bytes)),
            State::Asked | State::Coming => Ok(progress.total),
        }
    }

    /// Waits until all of it is there.
    pub(super) async fn finished(mut self) -> Result<AssetFile, FetchError> {
        let progress = self
            .progress
            .wait_for(|progress| matches!(progress.state, State::Whole | State::Failed(_)))
            .await
            .map_err(|_| FetchError::Busy)?;
        match &progress.state {
            State::Failed(error) => Err(error.clone()),
            _ => Ok(AssetFile::new(Arc::clone(&self.file), progress.bytes)),
        }
    }

    /// A body that gives the asset as it comes, until `deadline`; `hold` is dropped when all is handed over, or the reader is gone
    /// or too slow.
    pub(in crate::mimi) fn body(self, deadline: Instant, hold: impl Send + 'static) -> Body {
        let total = {
            let progress = self.progress.borrow();
            if matches!(progress.state, State::Whole) { Some(progress.bytes) } else { progress.total }
        };
        let (to, chunks) = mpsc::channel(WAITING);
        let whole = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&whole);
        tokio::spawn(async move {
            let _hold = hold;
            match timeout_at(deadline, self.pump(to)).await {
                Ok(Ok(())) => done.store(true, Ordering::Release),
                Ok(Err(error)) => tracing::debug!(%error, "an asset was not handed over wholly"),
                Err(_) => tracing::debug!("an asset was not handed over in time"),
            }
        });
        Body { chunks, whole, left: total }
    }

    async fn pump(mut self, to: mpsc::Sender<Bytes>) -> Result<(), FetchError> {
        let mut offset = 0;
        loop {
            let progress = self
                .progress
                .wait_for(|progress| progress.bytes > offset || !matches!(progress.state, State::Asked | State::Coming))
                .await
                .map_err(|_| FetchError::Busy)?
                .clone();
            if progress.bytes > offset {
                let there = AssetFile::new(Arc::clone(&self.file), progress.bytes);
                let chunk = there.read_at(offset, CHUNK).await.map_err(|error| FetchError::Disk(error.to_string()))?;
                offset += chunk.len() as u64;
                to.send(chunk.into()).await.map_err(|_| FetchError::Bad("the reader is gone".into()))?;
                continue;
            }
            return match progress.state {
                State::Failed(error) => Err(error),
                _ => Ok(()),
            };
        }
    }
}

/// An asset of ours.
impl From<&AssetFile> for Source {
    fn from(file: &AssetFile) -> Self {
        Self::whole(file.file(), file.bytes())
    }
}

/// A body from a channel. One that ends early is an error, so that nobody takes a part for the whole.
pub(in crate::mimi) struct Body {
    chunks: mpsc::Receiver<Bytes>,
    whole: Arc<AtomicBool>,
    /// Bytes that will still come, if that is known.
    left: Option<u64>,
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.chunks.poll_recv(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(chunk)) => {
                self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Poll::Ready(None) if self.whole.load(Ordering::Acquire) => Poll::Ready(None),
            Poll::Ready(None) => Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "broken off")))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
