//! The API's listener.

use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::admin::server::{Times, accept};

/// Serves the API until `stop` is cancelled; requests that are under way may end then.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let times = Times {
        connections: 128,
        head: Duration::from_secs(10),
        // Longer than a body and an answer may take.
        connection: Duration::from_secs(90),
        grace: Duration::from_secs(10),
    };
    accept("the provisioning API", listener, router, times, stop).await;
}
