//! What commands list: read from the store, or asked of the process that has it.

use std::time::{Duration, Instant};

use super::{Parts, RuntimeError, open_store, parts, tokio_runtime};
use crate::{
    admin::{self, AsideRow, AskError, FingerprintRow, Listing, RoomRow},
    config::Config,
    engine::GatewayNames,
    store::{self, BoxFuture, Database, StoreError},
};

/// How long a process that has the store and does not listen is waited for: it starts, stops, or is a short command.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes one page of a list.
type Pages<T> =
    for<'a> fn(&'a Database, &'a GatewayNames, Option<Vec<u8>>) -> BoxFuture<'a, Result<Listing<T>, StoreError>>;

/// The bridged rooms.
pub fn list_rooms(config: &Config) -> Result<Vec<RoomRow>, RuntimeError> {
    list(config, "/rooms", |db, names, after| Box::pin(admin::rooms(db, names, after)))
}

/// What must be the same at every provider of each room.
pub fn list_fingerprints(config: &Config) -> Result<Vec<FingerprintRow>, RuntimeError> {
    list(config, "/fingerprints", |db, _, after| Box::pin(admin::fingerprints(db, after)))
}

/// What was set aside, oldest first.
pub fn list_set_aside(config: &Config) -> Result<Vec<AsideRow>, RuntimeError> {
    let mut rows = list(config, "/quarantine", |db, _, after| Box::pin(admin::set_aside(db, after)))?;
    rows.sort_by_key(|row| row.when);
    Ok(rows)
}

fn list<T: serde::de::DeserializeOwned>(config: &Config, name: &str, pages: Pages<T>) -> Result<Vec<T>, RuntimeError> {
    let Parts { names, .. } = parts(config)?;
    let data = &config.store.path;
    // Only the gateway makes a store: as its user, and where it is wanted.
    if !store::exists(data) {
        return Ok(Vec::new());
    }
    let runtime = tokio_runtime()?;
    let since = Instant::now();
    loop {
        match open_store(config, false) {
            Ok(opened) => return runtime.block_on(read(&opened.database, &names, pages)),
            Err(RuntimeError::Store(StoreError::Locked(_))) => {}
            Err(error) => return Err(error),
        }
        match runtime.block_on(admin::ask(data, name)) {
            Ok(rows) => return Ok(rows),
            Err(AskError::NotThere(_)) if since.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(error) => return Err(RuntimeError::Asking { data: data.clone(), error }),
        }
    }
}

async fn read<T>(db: &Database, names: &GatewayNames, pages: Pages<T>) -> Result<Vec<T>, RuntimeError> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = pages(db, names, after).await?;
        after = page.place();
        rows.extend(page.items);
        if after.is_none() {
            db.store().close().await?;
            return Ok(rows);
        }
    }
}
