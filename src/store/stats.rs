//! Statistics of the store: what each named transaction did, and how well syncs were shared.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::error::StoreError;

/// Counts of one transaction name since the open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransactionStats {
    /// Batches made durable.
    pub committed: u64,
    /// Batches refused by a condition.
    pub conflicts: u64,
    /// Batches that failed otherwise.
    pub failed: u64,
    /// Bytes of keys and values in committed batches.
    pub bytes: u64,
    /// Time from the call to its answer, summed over all batches.
    pub waited: Duration,
    /// The longest such time.
    pub longest: Duration,
}

/// Statistics since the open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// By transaction name.
    pub transactions: BTreeMap<&'static str, TransactionStats>,
    /// Groups of batches that shared one sync.
    pub groups: u64,
    /// The largest group.
    pub largest_group: usize,
}

/// Collects [`StoreStats`].
#[derive(Debug, Default)]
pub(super) struct Meter(Mutex<StoreStats>);

impl Meter {
    pub(super) fn group(&self, size: usize) {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stats.groups += 1;
        stats.largest_group = stats.largest_group.max(size);
    }

    pub(super) fn batch(&self, name: &'static str, bytes: usize, result: Result<(), &StoreError>, waited: Duration) {
        tracing::trace!(name, bytes, ok = result.is_ok(), micros = waited.as_micros(), "store commit");
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = stats.transactions.entry(name).or_default();
        match result {
            Ok(()) => {
                entry.committed += 1;
                entry.bytes += bytes as u64;
            }
            Err(error) if error.is_conflict() => entry.conflicts += 1,
            Err(_) => entry.failed += 1,
        }
        entry.waited += waited;
        entry.longest = entry.longest.max(waited);
    }

    pub(super) fn stats(&self) -> StoreStats {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
