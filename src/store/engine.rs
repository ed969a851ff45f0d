//! What an embedded engine is to the committer: one writer that applies groups of batches with one sync, and readers.

use std::ops::Bound;

use super::{Page, ScanRange, batch::Batch, error::StoreError};

/// Why a group was not applied.
#[derive(Debug)]
pub(super) enum ApplyError {
    /// Nothing of the group is stored, and the writer goes on.
    RolledBack(StoreError),
    /// The group may be stored or not: the writer must not be used any more.
    Uncertain(StoreError),
}

/// The only writer of a store.
pub(super) trait Writer: Send + 'static {
    /// Applies the batches in order, each with its own conditions, and makes them durable with one sync. The inner
    /// results say which batches were refused by a condition.
    fn apply(&mut self, group: &[Batch]) -> Result<Vec<Result<(), StoreError>>, ApplyError>;

    /// Called once a group's callers have their answers: the place for short upkeep. The default does nothing.
    fn after_group(&mut self) {}

    /// Makes the files tidy for the next open. Everything applied is durable already.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// A reader that sees only what is durable.
pub(super) trait Reader: Send + 'static {
    /// The value under `key`.
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// One page of a scan, from one committed state.
    fn scan(&mut self, range: &ScanRange) -> Result<Page, StoreError>;
}

/// A writer and its readers.
pub(super) struct Parts {
    pub(super) writer: Box<dyn Writer>,
    pub(super) readers: Vec<Box<dyn Reader>>,
    /// One more, for single values, if it never waits for the writer: such a read takes some microseconds, less than waking a
    /// thread for it.
    pub(super) quick: Option<Box<dyn Reader>>,
}

/// Collects a page from rows in key order: bounds it, and sets rows aside that fail their checksum.
pub(super) struct PageBuilder {
    page: Page,
    limit: usize,
    bytes: usize,
}

impl PageBuilder {
    pub(super) fn new(limit: usize) -> Self {
        Self { page: Page::default(), limit, bytes: 0 }
    }

    /// Adds a row. `false`: the page is full, the row was not taken.
    pub(super) fn add(&mut self, key: &[u8], record: &[u8]) -> bool {
        if self.page.entries.len() + self.page.damaged.len() >= self.limit || self.bytes >= super::MAX_PAGE_BYTES {
            self.page.more = true;
            return false;
        }
        self.bytes += key.len() + record.len();
        match super::record::unframe(key, record) {
            Ok(value) => self.page.entries.push(super::Entry { key: key.to_vec(), value: value.to_vec() }),
            Err(_) => self.page.damaged.push(key.to_vec()),
        }
        true
    }

    pub(super) fn finish(self) -> Page {
        self.page
    }
}

/// The keys of a scan: from the first bound to the second. The store's own rows are left out.
pub(super) fn bounds(range: &ScanRange) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let first = if range.prefix.is_empty() { vec![1] } else { range.prefix.clone() };
    let end = successor(&range.prefix).map_or(Bound::Unbounded, Bound::Excluded);
    match &range.after {
        Some(after) if *after >= first => (Bound::Excluded(after.clone()), end),
        _ => (Bound::Included(first), end),
    }
}

/// Whether the bounds leave no room for a key. (A map's `range` panics on some such bounds.)
pub(super) fn is_void(bounds: &(Bound<Vec<u8>>, Bound<Vec<u8>>)) -> bool {
    match bounds {
        (Bound::Included(first) | Bound::Excluded(first), Bound::Excluded(end)) => first >= end,
        _ => false,
    }
}

/// The first byte string after all that start with `prefix`.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}
