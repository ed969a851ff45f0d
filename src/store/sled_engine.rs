//! The engine on sled 0.34: embedded, chosen by a setting. Its flush does not sync, so a power cut can lose batches that
//! were acknowledged, or the whole store: see [`WARNING`].

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
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
    let db = Arc::new(RwLock::new(config.open()?));
    let readers = (0..READERS).map(|_| Box::new(SledReader(Arc::clone(&db))) as _).collect();
    Ok(Parts { writer: Box::new(SledWriter(db)), readers })
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
