//! What can go wrong in the store, and whether trying again helps.

use std::path::PathBuf;

use super::batch::Condition;

/// Whether a failed call may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Certainly not applied; the same call may succeed later.
    Retriable,
    /// Certainly not applied; the same call will fail again.
    Permanent,
    /// Applied or not: only a look at the store after the next open can tell.
    Uncertain,
}

/// Every failure of the store. [`StoreError::kind`] says what a caller may conclude.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A condition did not hold, so nothing of the batch was applied. Permanent for this batch: read again, decide again.
    #[error("transaction {batch}: condition {index} does not hold: {condition:?}")]
    ConditionFailed {
        /// The batch's name.
        batch: &'static str,
        /// The position of the condition in the order they were added.
        index: usize,
        /// The condition.
        condition: Box<Condition>,
    },
    /// Too much is waiting, another program holds the database, or the disk is full. Not applied. Retriable.
    #[error("the store is busy: {0}")]
    Busy(String),
    /// The files or a value are not what was once written. Permanent.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The data directory was written by a newer version of this program. Permanent.
    #[error(
        "the data directory has schema version {found}, this program knows {known} at most: run the newer program that \
         wrote it, or restore the backup made before the upgrade"
    )]
    TooNew {
        /// The version found.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
    /// The data directory was written by a version that was never released. Permanent.
    #[error(
        "the data directory has schema version {found}, from before the first release; this program reads {known}: make a \
         new store in an empty directory"
    )]
    TooOld {
        /// The version found.
        found: u32,
        /// The one that this program reads.
        known: u32,
    },
    /// Another process has the data directory open. Permanent until it stops.
    #[error("the data directory {} is in use by another process, such as a gateway that runs: stop it first, or choose another directory", .0.display())]
    Locked(PathBuf),
    /// The data directory holds the files of another engine. Permanent.
    #[error(
        "the data directory holds a {found} store, the settings choose {chosen}: change the setting or the directory"
    )]
    OtherEngine {
        /// The engine whose files are there.
        found: &'static str,
        /// The engine asked for.
        chosen: &'static str,
    },
    /// The master key is not the one that this store was made with. Permanent.
    #[error("the master key is not the one that this data directory was made with: give the original key")]
    WrongMasterKey,
    /// A key, value or batch breaks a bound, or does not encode. Not applied. Permanent.
    #[error("refused by the store: {0}")]
    Invalid(String),
    /// Reading failed, or a sync did: for a commit the outcome is uncertain. The store takes no commit after this;
    /// open it again.
    #[error("the store could not read or write its files: {0}")]
    Io(String),
    /// The store was closed, or stopped after an earlier [`StoreError::Io`]. Not applied. Permanent until reopened.
    #[error("the store is closed: {0}")]
    Closed(String),
}

impl StoreError {
    /// What the caller of a failed commit may conclude.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy(_) => ErrorKind::Retriable,
            Self::Io(_) => ErrorKind::Uncertain,
            Self::ConditionFailed { .. }
            | Self::Corrupt(_)
            | Self::TooNew { .. }
            | Self::TooOld { .. }
            | Self::Locked(_)
            | Self::OtherEngine { .. }
            | Self::WrongMasterKey
            | Self::Invalid(_)
            | Self::Closed(_) => ErrorKind::Permanent,
        }
    }

    /// Whether the batch was refused because a condition did not hold.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::ConditionFailed { .. })
    }
}
