//! The engine on sled 0.34: embedded, chosen by a setting. Its flush does not sync, so a power cut can lose batches that
//! were acknowledged, or the whole store: see [`WARNING`].

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::{Duration, Instant},
};

use super::{
    Page, ScanRange,
    batch::{Batch, Write},
    engine::{self, ApplyError, PageBuilder, Parts, Reader, Writer},
    error::StoreError,
    record,
};

/// The database's directory in the data directory.
pub(super) const DIR: &str = "store.sled";
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
const READERS: usize = 2;
/// How long a former handle may take to let go of the database's file.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// Said at start when this engine is chosen.
pub(super) const WARNING: &str = "store engine sled 0.34: after a power cut or a crash of the machine it can lose \
    batches that were acknowledged, or refuse to open (its flush does not sync: 38 of 40 simulated power cuts went \
    wrong, sqlite lost nothing), and it takes 7 to 14 times the disk space of the live data. After every unclean stop \
    all encryption state counts as old: rooms send nothing before a fresh epoch. The engine `sqlite` has none of this.";

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            // Unsupported: its settings file does not read. A bug: a state that it holds impossible.
            sled::Error::Corruption { .. } | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_) => {
                Self::Corrupt(error.to_string())
            }
            sled::Error::Io(_) | sled::Error::CollectionNotFound(_) => Self::Io(error.to_string()),
        }
    }
}

/// Opens or makes the database in `dir`. May panic on damaged files: the caller catches it.
pub(super) fn open(dir: &Path) -> Result<Parts, StoreError> {
    let config = sled::Config::new().path(dir.join(DIR)).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let db = Arc::new(RwLock::new(open_when_free(&config)?));
    let readers = (0..READERS).map(|_| Box::new(SledReader(Arc::clone(&db))) as _).collect();
    // A reader waits while a group is flushed.
    Ok(Parts { writer: Box::new(SledWriter(db)), readers, quick: None })
}

/// Opens the database once its former handle is gone. sled's own threads hold its file and that file's lock for a moment
/// after the last handle was dropped, and a killed process's until the system has let go of it. Another owner is ruled out:
/// the data directory's own lock is held.
fn open_when_free(config: &sled::Config) -> Result<sled::Db, StoreError> {
    let since = Instant::now();
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) && since.elapsed() < LOCK_PATIENCE => {
                thread::sleep(LOCK_PAUSE);
            }
            opened => return Ok(opened?),
        }
    }
}

/// sled says so in words alone: the error's kind is `Other`.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

/// The lock is held for writing until a group is flushed: readers see only flushed state, and a whole page of it.
struct SledWriter(Arc<RwLock<sled::Db>>);

/// What the batches of a group would change, judged one after the other.
struct Overlay<'a> {
    db: &'a sled::Db,
    changes: BTreeMap<&'a [u8], Option<&'a [u8]>>,
}

impl<'a> Overlay<'a> {
    fn judge(&mut self, batch: &'a Batch) -> Result<Result<(), StoreError>, StoreError> {
        for (index, condition) in batch.conditions().iter().enumerate() {
            let key = condition.key();
            let holds = match self.changes.get(key) {
                Some(changed) => condition.holds(*changed),
                None => match self.db.get(key)? {
                    Some(stored) => condition.holds(Some(record::unframe(key, &stored)?)),
                    None => condition.holds(None),
                },
            };
            if !holds {
                return Ok(Err(batch.refused(index, condition)));
            }
        }
        for write in batch.writes() {
            match write {
                Write::Put { key, value } => self.changes.insert(key, Some(value)),
                Write::Delete { key } => self.changes.insert(key, None),
            };
        }
        Ok(Ok(()))
    }
}

impl Writer for SledWriter {
    fn apply(&mut self, group: &[Batch]) -> Result<Vec<Result<(), StoreError>>, ApplyError> {
        let db = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut overlay = Overlay { db: &db, changes: BTreeMap::new() };
        let results = group.iter().map(|batch| overlay.judge(batch)).collect::<Result<Vec<_>, _>>();
        let results = results.map_err(ApplyError::RolledBack)?;
        let mut joint = sled::Batch::default();
        for (key, value) in overlay.changes {
            match value {
                Some(value) => joint.insert(key, record::frame(key, value)),
                None => joint.remove(key),
            }
        }
        let uncertain = |error: sled::Error| ApplyError::Uncertain(StoreError::Io(error.to_string()));
        db.apply_batch(joint).map_err(uncertain)?;
        db.flush().map_err(uncertain)?;
        Ok(results)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).flush()?;
        Ok(())
    }
}

struct SledReader(Arc<RwLock<sled::Db>>);

impl Reader for SledReader {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let db = self.0.read().unwrap_or_else(PoisonError::into_inner);
        db.get(key)?.map(|stored| Ok(record::unframe(key, &stored)?.to_vec())).transpose()
    }

    fn scan(&mut self, range: &ScanRange) -> Result<Page, StoreError> {
        let bounds = engine::bounds(range);
        let mut page = PageBuilder::new(range.limit);
        if engine::is_void(&bounds) {
            return Ok(page.finish());
        }
        let db = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for row in db.range(bounds) {
            let (key, stored) = row?;
            if !page.add(&key, &stored) {
                break;
            }
        }
        Ok(page.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handle that lives on for a moment (sled's threads, a dying process) delays opening, and does not fail it.
    #[test]
    fn opening_waits_for_the_former_handle() {
        let dir = tempfile::tempdir().unwrap();
        let config = sled::Config::new().path(dir.path().join(DIR));
        let former = config.open().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let other = dir.path().to_owned();
        let opener = thread::spawn(move || {
            tell.send(()).unwrap();
            open(&other).map(drop)
        });
        told.recv().unwrap();
        assert!(
            sled::Config::new()
                .path(dir.path().join(DIR))
                .open()
                .is_err_and(|error| matches!(error, sled::Error::Io(error) if is_locked(&error)))
        );
        drop(former);
        opener.join().unwrap().unwrap();
    }
}
