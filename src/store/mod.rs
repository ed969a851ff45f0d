//! The `Store` trait (ordered keys, prefix scans, atomic durable batches), its engines, and the typed tables on it.
//!
//! ```text
//!  Table, Queue, Lease --Batch--> Store::commit --> queue --> one writer thread --> engine: one sync for the group
//!        (typed)       --key----> Store::get, scan --> reader threads ----------> engine: durable state only
//! ```
//!
//! A batch is applied wholly or not at all, and is on disk when its commit returns. Batches that wait while a sync runs
//! share the next one. Keys that start with a zero byte are the store's own and show in no scan.

mod batch;
mod committer;
mod engine;
mod error;
mod key;
mod lease;
mod look;
mod memory;
mod meta;
mod open;
mod queue;
mod record;
mod seal;
mod sled_engine;
mod sqlite;
mod stats;
mod tables;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, pin::Pin};

pub use batch::{Batch, Condition, MAX_BATCH_BYTES, MAX_KEY_BYTES, MAX_VALUE_BYTES, Write};
pub use error::{ErrorKind, StoreError};
pub use key::{Key, KeyCodec, KeyError, KeyReader};
pub use lease::{Lease, LeaseTable};
pub use look::{Look, look};
pub use memory::MemoryDisk;
pub use meta::{OpenReport, SCHEMA_VERSION};
pub use open::{EngineChoice, OpenOptions, Opened, exists, open, open_memory};
pub use queue::{Queue, QueuePage};
pub use seal::{MASTER_KEY_BYTES, MasterKey, SealError, Sealer};
pub use stats::{StoreStats, TransactionStats};
pub use tables::{Database, Table, TablePage};

/// A boxed future that may move between threads: what the object-safe traits of this crate return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A page of a scan ends early once it holds this many bytes; [`Page::more`] tells.
pub const MAX_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Which rows a scan returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanRange {
    /// What the keys start with. Empty: all.
    pub prefix: Vec<u8>,
    /// Only keys after this one (the last key of the page before).
    pub after: Option<Vec<u8>>,
    /// Most rows to return.
    pub limit: usize,
}

impl ScanRange {
    /// The first `limit` rows with this prefix.
    #[must_use]
    pub fn new(prefix: impl Into<Vec<u8>>, limit: usize) -> Self {
        Self { prefix: prefix.into(), after: None, limit }
    }

    /// The same, but after this key.
    #[must_use]
    pub fn after(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.after = Some(key.into());
        self
    }
}

/// A stored row.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// The value is not shown.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({}, {} bytes)", self.key.escape_ascii(), self.value.len())
    }
}

/// One page of a scan, from one committed state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows, by key.
    pub entries: Vec<Entry>,
    /// Keys of rows whose value fails its checksum: for quarantine; the scan goes on behind them.
    pub damaged: Vec<Vec<u8>>,
    /// Whether more rows follow this page.
    pub more: bool,
}

impl Page {
    /// The page's last key, to continue after.
    #[must_use]
    pub fn last_key(&self) -> Option<&[u8]> {
        let entry = self.entries.last().map(|entry| entry.key.as_slice());
        entry.max(self.damaged.last().map(Vec::as_slice))
    }
}

/// What a successful commit tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The generation of this open, see [`OpenReport::generation`].
    pub generation: u64,
}

/// An ordered key-value store with atomic, durable, conditional batches. Object safe; every engine passes the same
/// conformance suite.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The value under `key`. Sees every batch whose commit has returned, and none that is not durable.
    ///
    /// Fails with [`StoreError::Corrupt`] if this value is damaged; other keys stay readable.
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Vec<u8>>, StoreError>>;

    /// The rows of a range, by key, from one committed state. A page may end before the limit, see [`Page::more`].
    fn scan(&self, range: ScanRange) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// Applies a batch: all of it and durable when this returns `Ok`, nothing of it on an error, except that
    /// [`ErrorKind::Uncertain`] leaves it open. Batches are applied in the order of the calls (not of the polls); a
    /// failing condition fails only its own batch. Dropping the future does not take the batch back: its outcome is then
    /// uncertain.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>>;

    /// Finishes what was handed in, marks the stop as clean and closes the files. Later calls get
    /// [`StoreError::Closed`]; the data directory is free for others once the store is dropped.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Ends, with the reason, once the store takes no commits any more because the outcome of one is not known (an I/O
    /// error): only a new process helps then. Never ends as long as all goes well.
    fn failed(&self) -> BoxFuture<'static, String>;

    /// What was done so far, by transaction name.
    fn stats(&self) -> StoreStats;
}
