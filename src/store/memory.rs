//! The engine in memory: for tests and the simulation. No threads and no files; the rows live in a [`MemoryDisk`], which
//! outlives the store as a disk outlives the process.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{
    BoxFuture, Committed, Page, ScanRange, Store,
    batch::{self, Batch, Write},
    engine::{self, ApplyError, PageBuilder, Reader, Writer},
    error::StoreError,
    key::Key,
    meta, record,
    stats::{Meter, StoreStats},
};

/// Whether a batch can be stored.
type Judge = Box<dyn FnMut(&Batch) -> Result<(), StoreError> + Send>;

#[derive(Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    judge: Option<Judge>,
    in_use: bool,
    refusal: Option<StoreError>,
    /// Batches that are still taken before `refusal` holds.
    before_refusal: u64,
    reads: u64,
    writes: u64,
}

/// What a memory store writes to. Clones share their content, so a store opened later on a clone finds it again.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Content>>);

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on commits fail with this error and change nothing; `None` ends it. For tests of what callers do then.
    pub fn refuse_commits(&self, error: Option<StoreError>) {
        self.refuse_commits_after(0, error);
    }

    /// The same after this many more batches: a crash between any two of them.
    pub fn refuse_commits_after(&self, batches: u64, error: Option<StoreError>) {
        let mut content = self.content();
        content.refusal = error;
        content.before_refusal = batches;
    }

    /// From now on each batch is stored only if this finds nothing against it. For tests of what can never be stored.
    pub fn judge(&self, judge: impl FnMut(&Batch) -> Result<(), StoreError> + Send + 'static) {
        self.content().judge = Some(Box::new(judge));
    }

    /// Damages all rows of a table or queue; returns how many there are.
    #[must_use]
    pub fn damage(&self, table: &str) -> usize {
        let prefix = Vec::from(Key::new(table));
        let mut content = self.content();
        let rows = content.rows.iter_mut().filter(|(key, _)| key.starts_with(&prefix));
        rows.map(|(_, value)| value.iter_mut().for_each(|byte| *byte ^= 0x55)).count()
    }

    /// Whether commits are refused now.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let content = self.content();
        content.refusal.is_some() && content.before_refusal == 0
    }

    /// How many reads and batches there were so far. For tests of what an observer could tell apart.
    #[must_use]
    pub fn operations(&self) -> (u64, u64) {
        let content = self.content();
        (content.reads, content.writes)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the disk for one store.
    pub(super) fn take(&self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.content().in_use, true) {
            return Err(StoreError::Locked("(memory)".into()));
        }
        Ok(())
    }

    pub(super) fn give_back(&self) {
        self.content().in_use = false;
    }
}

/// Shows no values.
impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryDisk({} rows)", self.content().rows.len())
    }
}

impl Writer for MemoryDisk {
    fn apply(&mut self, group: &[Batch]) -> Result<Vec<Result<(), StoreError>>, ApplyError> {
        let mut disk = self.content();
        if let Some(refusal) = disk.refusal.clone() {
            let wanted = u64::try_from(group.len()).unwrap_or(u64::MAX);
            let Some(left) = disk.before_refusal.checked_sub(wanted) else {
                disk.before_refusal = 0;
                return Err(ApplyError::RolledBack(refusal));
            };
            disk.before_refusal = left;
        }
        disk.writes += u64::try_from(group.len()).unwrap_or(u64::MAX);
        let mut judge = disk.judge.take();
        let mut apply = |batch: &Batch| {
            if let Some(judge) = &mut judge {
                judge(batch)?;
            }
            for (index, condition) in batch.conditions().iter().enumerate() {
                let key = condition.key();
                let stored = disk.rows.get(key).map(|stored| record::unframe(key, stored)).transpose()?;
                if !condition.holds(stored) {
                    return Err(batch.refused(index, condition));
                }
            }
            for write in batch.writes() {
                match write {
                    Write::Put { key, value } => disk.rows.insert(key.clone(), record::frame(key, value)),
                    Write::Delete { key } => disk.rows.remove(key),
                };
            }
            Ok(())
        };
        let applied = group.iter().map(&mut apply).collect();
        disk.judge = judge;
        Ok(applied)
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Reader for MemoryDisk {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut disk = self.content();
        disk.reads += 1;
        disk.rows.get(key).map(|stored| Ok(record::unframe(key, stored)?.to_vec())).transpose()
    }

    fn scan(&mut self, range: &ScanRange) -> Result<Page, StoreError> {
        self.content().reads += 1;
        let bounds = engine::bounds(range);
        let mut page = PageBuilder::new(range.limit);
        if engine::is_void(&bounds) {
            return Ok(page.finish());
        }
        for (key, stored) in self.content().rows.range(bounds) {
            if !page.add(key, stored) {
                break;
            }
        }
        Ok(page.finish())
    }
}

/// The store on a [`MemoryDisk`]. Every call is done when it returns its future.
#[derive(Debug)]
pub(super) struct MemoryStore {
    disk: MemoryDisk,
    generation: u64,
    closed: AtomicBool,
    meter: Meter,
}

impl MemoryStore {
    pub(super) fn new(disk: MemoryDisk, generation: u64) -> Self {
        Self { disk, generation, closed: AtomicBool::new(false), meter: Meter::default() }
    }

    /// The disk, as long as the store is open.
    fn open_disk(&self) -> Result<MemoryDisk, StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed("it was closed before".into()));
        }
        Ok(self.disk.clone())
    }

    fn commit_now(&self, batch: Batch) -> Result<Committed, StoreError> {
        batch.check_bounds()?;
        let since = Instant::now();
        let (name, bytes) = (batch.name(), batch.bytes());
        let result = match self.open_disk()?.apply(&[batch]) {
            Ok(results) => results.into_iter().collect(),
            Err(ApplyError::RolledBack(error) | ApplyError::Uncertain(error)) => Err(error),
        };
        self.meter.group(1);
        self.meter.batch(name, bytes, result.as_ref().copied(), since.elapsed());
        result.map(|()| Committed { generation: self.generation })
    }
}

impl Store for MemoryStore {
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>> {
        let found = batch::check_key(key).and_then(|()| self.open_disk()?.get(key));
        Box::pin(std::future::ready(found))
    }

    fn scan(&self, range: ScanRange) -> BoxFuture<'_, Result<Page, StoreError>> {
        let allowed = if range.prefix.is_empty() { Ok(()) } else { batch::check_key(&range.prefix) };
        let page = allowed.and_then(|()| self.open_disk()?.scan(&range));
        Box::pin(std::future::ready(page))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let result = self.commit_now(batch);
        Box::pin(std::future::ready(result))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let result = self.open_disk().and_then(|mut disk| meta::stop(&mut disk));
        self.closed.store(true, Ordering::Release);
        Box::pin(std::future::ready(result))
    }

    fn failed(&self) -> BoxFuture<'static, String> {
        Box::pin(std::future::pending())
    }

    fn stats(&self) -> StoreStats {
        self.meter.stats()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.disk.give_back();
    }
}
