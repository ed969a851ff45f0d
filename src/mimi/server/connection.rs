//! One authenticated connection, from its first request to its end.

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Authenticated, Shared};
use crate::mimi::app::Busy;

/// Requests of a connection, counted to see whether it is idle.
#[derive(Default)]
struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A running request, or a body on its way; counts its end however it ends.
struct Running(Arc<Activity>);

impl Activity {
    fn begin(self: &Arc<Self>) -> Running {
        self.begun.fetch_add(1, Relaxed);
        Running(Arc::clone(self))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

/// Serves the connection until it ends, idles too long, or `stop`.
pub(super) async fn serve(shared: &Arc<Shared>, authenticated: Authenticated, stop: CancellationToken) {
    let Authenticated { stream, peers, http2, _places } = authenticated;
    let peers = Arc::new(peers);
    let activity = Arc::new(Activity::default());
    let busy = Busy(Arc::new({
        let activity = Arc::clone(&activity);
        move || Box::new(activity.begin())
    }));
    let service = service_fn(|mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(busy.clone());
        let (shared, peers, activity) = (Arc::clone(shared), Arc::clone(&peers), Arc::clone(&activity));
        async move {
            let _running = activity.begin();
            Ok::<_, Infallible>(shared.answer(&peers, request).await)
        }
    });
    let builder = if http2 { &shared.http2 } else { &shared.http1 };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let limits = &shared.limits;

    // The first request must come soon; after that the connection may idle a while.
    let mut look = pin!(sleep_until(Instant::now() + limits.header_timeout));
    let mut seen = 0;
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(peer = ?peers.first(), %error, "connection ended with an error");
                }
                return;
            }
            () = stop.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
                look.as_mut().reset(Instant::now() + limits.shutdown_grace);
            }
            () = look.as_mut() => {
                let (begun, ended) = (activity.begun.load(Relaxed), activity.ended.load(Relaxed));
                let idle = begun == ended && begun == seen;
                if closing && begun == ended {
                    return;
                }
                if idle {
                    closing = true;
                    connection.as_mut().graceful_shutdown();
                    look.as_mut().reset(Instant::now() + limits.header_timeout);
                } else {
                    seen = begun;
                    look.as_mut().reset(Instant::now() + limits.idle_timeout);
                }
            }
        }
    }
}
