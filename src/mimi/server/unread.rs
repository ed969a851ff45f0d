//! A request's body that is not cut off in the middle when its request is refused.
//!
//! HTTP/2 lets a server answer early and then reset the stream without an error (RFC 9113 section 8.1), and that is what
//! dropping a body does. Some clients, curl among them, then forget the answer that they have: they see a broken stream
//! instead of a status. So what is still on its way is read and thrown away for a moment, until the client stops by itself.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

/// How long is read on after an answer.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read on, in bytes.
const LINGER_BYTES: usize = 16 << 20;

/// The body of a request over HTTP/2. Dropped before its end, it is read on for a moment.
pub(super) struct Unread(Option<Incoming>);

impl Unread {
    pub(super) fn new(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for Unread {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // At most as many as the connection may have streams; each ends with the connection.
            runtime.spawn(async move {
                let _in_time = tokio::time::timeout(LINGER, throw_away(body)).await;
            });
        }
    }
}

async fn throw_away(mut body: Incoming) {
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > LINGER_BYTES {
            return;
        }
    }
}
