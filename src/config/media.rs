//! `[media]`: files between Matrix and MIMI.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::ConfigError;

/// Files on their way between Matrix and MIMI.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaConfig {
    /// Whether files are carried at all.
    pub carry: bool,
    /// Largest file, in bytes; without it only the homeserver's limit, `assets.max_asset_bytes` and `spool_bytes`
    /// count.
    pub max_file_bytes: Option<u64>,
    /// What files on their way to Matrix may take on disk together, in bytes.
    pub spool_bytes: u64,
    /// The directory in which they wait, encrypted; of this process alone. Without it `spool` in the store's directory.
    pub spool_path: Option<PathBuf>,
}

impl Default for MediaConfig {
    fn default() -> Self {
        Self { carry: true, max_file_bytes: None, spool_bytes: 4 << 30, spool_path: None }
    }
}

impl MediaConfig {
    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if self.max_file_bytes == Some(0) {
            faults.push(ConfigError::invalid(
                "media.max_file_bytes",
                "must not be 0; `media.carry = false` carries no files",
            ));
        }
        if self.spool_bytes == 0 {
            faults.push(ConfigError::invalid("media.spool_bytes", "must not be 0"));
        }
        if self.carry && self.max_file_bytes.is_some_and(|most| most > self.spool_bytes) {
            faults.push(ConfigError::invalid(
                "media.max_file_bytes",
                "must not be more than `media.spool_bytes`, or such files never cross: lower this one, or raise that one",
            ));
        }
    }
}
