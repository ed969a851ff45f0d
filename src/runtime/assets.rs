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
    engine::{Files, ports::Millis},
    matrix::HomeserverClient,
    mimi::{Assets, MimiPeers},
    spool::{Spool, SpoolLimits},
    store::Database,
};

/// How long a sender's next messages wait behind a file.
const HOLD: Duration = Duration::from_mins(1);
/// How long a room waits for a file of others.
const WAIT: Duration = Duration::from_secs(10);
/// How long the files of a message stay that went some time after it was read.
const LINGER: Duration = Duration::from_hours(7 * 24);
/// Where files wait, in the store's directory.
const SPOOL: &str = "spool";
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

/// What the engine carries files with, unless it shall not.
pub(super) fn files(
    config: &Config,
    matrix: Arc<HomeserverClient>,
    assets: Arc<Assets>,
) -> Result<Option<Files>, RuntimeError> {
    if !config.media.carry {
        return Ok(None);
    }
    let max_bytes = config.media.max_file_bytes.unwrap_or(u64::MAX).min(config.assets.max_asset_bytes);
    let dir = config.media.spool_path.clone().unwrap_or_else(|| config.store.path.join(SPOOL));
    let limits = SpoolLimits { file: max_bytes, total: config.media.spool_bytes };
    let (spool, left) = Spool::open(&dir, limits)?;
    tracing::debug!(left, "the spool is open");
    Ok(Some(Files { matrix, assets, spool, max_bytes, hold: HOLD, wait: WAIT, linger: LINGER }))
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
