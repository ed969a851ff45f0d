//! `[store]`: what is kept, and where.

use std::path::PathBuf;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{error::ConfigError, secret::Secret};

/// The embedded database engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreEngine {
    /// SQLite, write-ahead log, synchronous=FULL: loses nothing that it acknowledged.
    #[default]
    Sqlite,
    /// sled 0.34: can lose acknowledged writes in a power cut.
    Sled,
}

impl StoreEngine {
    /// All engines, the default first.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Sled];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
        }
    }
}

/// What is kept, and where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// The engine. A store made by one is not read by the other.
    pub engine: StoreEngine,
    /// Directory that holds the store; made if absent.
    pub path: PathBuf,
    /// 64 hexadecimal digits: encrypts the keys at rest.
    pub master_key: Option<Secret>,
    /// A file that holds `master_key`.
    pub master_key_file: Option<PathBuf>,
    /// Days of running for which is kept what recognises repeats.
    pub keep_days: u32,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            engine: StoreEngine::default(),
            path: PathBuf::from("data"),
            master_key: None,
            master_key_file: None,
            keep_days: 90,
        }
    }
}

const HOW: &str = "make a key with `openssl rand -hex 32 > master.key && chmod 600 master.key`, keep a copy apart from the \
                   store's backups, and name it here";

impl StoreConfig {
    /// The key that encrypts keys at rest.
    pub fn master_key(&self) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
        let text = self.master_key.as_ref().ok_or_else(|| ConfigError::missing("store.master_key_file", HOW))?;
        let mut key = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.expose(), key.as_mut_slice())
            .map_err(|_| ConfigError::invalid("store.master_key", format!("is not 64 hexadecimal digits; {HOW}")))?;
        if key.iter().all(|byte| *byte == 0) {
            return Err(ConfigError::invalid("store.master_key", format!("is all zeros; {HOW}")));
        }
        Ok(key)
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        faults.extend(self.master_key().err());
        if !(30..=36_500).contains(&self.keep_days) {
            faults.push(ConfigError::invalid(
                "store.keep_days",
                "must be from 30 to 36500: homeservers and peers may repeat what they sent for weeks",
            ));
        }
    }
}
