//! Assets at a start, and those whose time is over.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;

use super::RuntimeError;
use crate::{
    assets::AssetStore,
    config::Config,
    engine::ports::Millis,
    mimi::{Assets, MimiPeers},
    store::Database,
};

/// How often assets are looked through for those whose time is over.
const SWEEP: Duration = Duration::from_mins(10);

/// Opens our users' assets, and what brings others'.
pub(super) async fn open(
    config: &Config,
    database: &Database,
    peers: Arc<MimiPeers>,
) -> Result<Arc<Assets>, RuntimeError> {
    let settings = config.to_mimi_settings()?;
    let dir = &config.store.path;
    let quotas = settings.assets.quotas();
    let (store, swept) = AssetStore::open(database.clone(), settings.own_domain.clone(), dir, quotas, now()).await?;
    let (expired, lost, orphans) = (swept.expired, swept.lost, swept.orphans);
    tracing::info!(bytes = store.bytes(), expired, lost, orphans, "the assets are open");
    Ok(Arc::new(Assets::open(&settings, peers, store, dir)?))
}

/// Removes assets whose time is over, now and then.
pub(super) async fn sweep(assets: Arc<Assets>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        match assets.store().sweep(now()).await {
            Ok(swept) => tracing::debug!(expired = swept.expired, "swept the assets"),
            Err(error) => tracing::warn!(%error, "the assets cannot be swept"),
        }
    }
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
