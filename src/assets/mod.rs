//! Assets of our own users (draft-ietf-mimi-protocol-06 section 5.10): opaque ciphertext under unguessable names.
//!
//! ```text
//!  upload --bytes--> <name>.part --fsync, rename--> <name> --batch--> row: it is there
//!         within the quotas                          delete, expiry: row away, then the file
//! ```
//!
//! A row without a file is an asset that was lost, a file without a row one that never was or is no more: opening the store
//! looks for both. What is in an asset is its owner's business: it comes encrypted and nobody here has the key.

mod files;
mod usage;

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

pub use files::AssetFile;
pub use usage::{Quota, Quotas};

use self::usage::Usage;
use crate::{
    ident::{ProviderDomain, UserUri},
    store::{Batch, Database, ErrorKind, Key, KeyCodec, KeyError, KeyReader, StoreError, Table},
};

/// Milliseconds since 1970.
type Millis = u64;

/// Bytes of a name: it cannot be guessed.
pub const NAME_BYTES: usize = 20;
/// Rows that are looked at at once.
const PAGE: usize = 512;
/// The folder below the store's directory.
const FOLDER: &str = "assets";

/// Assets by name. A name says nothing, so it may be a key without a room before it.
const ASSETS: Table<AssetName, Asset> = Table::new("asset");

/// Why an asset was not taken, or cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum AssetError {
    /// Larger than one asset may be, in bytes. Permanent.
    #[error("larger than {0} bytes")]
    TooLarge(u64),
    /// Over a quota; retriable once assets are gone.
    #[error("over the quota of {0}")]
    Quota(Quota),
    /// It would be gone before it is there. Permanent.
    #[error("it has expired already")]
    Expired,
    /// The file system. Retriable once there is space, or whatever it says.
    #[error("assets: {0}")]
    Io(#[from] io::Error),
    /// The store.
    #[error("assets: {0}")]
    Store(#[from] StoreError),
    /// No random bytes.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// The name of an asset: 160 random bits in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetName(String);

impl AssetName {
    /// From random bytes, drawn for this asset alone.
    #[must_use]
    pub fn from_random(bytes: [u8; NAME_BYTES]) -> Self {
        Self(hex::encode(bytes))
    }

    fn random() -> Result<Self, AssetError> {
        let mut bytes = [0; NAME_BYTES];
        getrandom::fill(&mut bytes).map_err(AssetError::Random)?;
        Ok(Self::from_random(bytes))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `None` for anything but a name in the one form that we write, so that a name is always a plain file name.
impl FromStr for AssetName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.len() == NAME_BYTES * 2 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits { Ok(Self(text.to_owned())) } else { Err(()) }
    }
}

impl KeyCodec for AssetName {
    fn write(&self, key: &mut Key) {
        key.push_bytes(self.0.as_bytes());
    }
    fn read(reader: &mut KeyReader<'_>) -> Result<Self, KeyError> {
        reader.text()?.parse().map_err(|()| reader.error())
    }
}

/// What is known of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Who put it here.
    pub owner: UserUri,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// When it was put here.
    pub made: Millis,
    /// From when on nobody gets it any more.
    pub expires: Millis,
}

/// What opening the store, or a sweep, removed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// Assets whose time was over.
    pub expired: usize,
    /// Rows whose file is missing or has another length.
    pub lost: usize,
    /// Files without a row.
    pub orphans: usize,
}

struct Shared {
    db: Database,
    dir: PathBuf,
    quotas: Quotas,
    usage: Mutex<Usage>,
}

/// The assets of this provider. Cheap to clone.
#[derive(Clone)]
pub struct AssetStore(Arc<Shared>);

impl fmt::Debug for AssetStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetStore({})", self.0.dir.display())
    }
}

impl AssetStore {
    /// Opens the assets in the folder `assets` of the store's directory, made if absent. Removes what a crash left behind and
    /// what has expired.
    pub async fn open(
        db: Database,
        own: ProviderDomain,
        store_dir: &Path,
        quotas: Quotas,
        now: Millis,
    ) -> Result<(Self, Swept), AssetError> {
        let dir = store_dir.join(FOLDER);
        files::make_dir(&dir).await?;
        let shared = Shared { db, dir, quotas, usage: Mutex::new(Usage::new(own)) };
        let store = Self(Arc::new(shared));
        let mut swept = store.sweep(now).await?;
        let mut named = files::list(&store.0.dir).await?;
        let mut after = None;
        loop {
            let page = ASSETS.scan(&store.0.db, &(), after, PAGE).await?;
            let mut lost = Batch::new("assets: lost files");
            for key in page.damaged {
                tracing::error!(key = %key.escape_ascii(), "the row of an asset does not read; its file goes");
                lost.delete(key);
            }
            for (name, asset) in page.rows {
                if named.remove(name.as_str()) == Some(asset.bytes) {
                    store.usage().add(&asset.owner, asset.bytes);
                    continue;
                }
                tracing::error!(owner = %asset.owner, bytes = asset.bytes, "the file of an asset is missing or damaged");
                ASSETS.delete(&mut lost, &name);
                named.insert(name.0, 0);
                swept.lost += 1;
            }
            if !lost.is_empty() {
                store.0.db.commit(lost).await?;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        for name in named.keys() {
            files::remove(&store.0.dir.join(name)).await?;
            swept.orphans += 1;
        }
        Ok((store, swept))
    }

    /// Begins an asset that will be there until `expires`, at most as long as the settings allow.
    pub async fn begin(&self, owner: UserUri, expires: Millis, now: Millis) -> Result<Upload, AssetError> {
        self.begin_as(AssetName::random()?, owner, expires, now).await
    }

    /// Begins an asset under a name that was drawn before. One that is there already goes: a crash came between it and whoever
    /// wanted it, so that nobody knows of it.
    pub async fn begin_as(
        &self,
        name: AssetName,
        owner: UserUri,
        expires: Millis,
        now: Millis,
    ) -> Result<Upload, AssetError> {
        let expires = expires.min(now.saturating_add(self.0.quotas.keep));
        if expires <= now {
            return Err(AssetError::Expired);
        }
        self.delete(&name).await?;
        let part = files::part(&self.0.dir, name.as_str());
        let file = files::create(&part).await?;
        let asset = Asset { owner, bytes: 0, made: now, expires };
        Ok(Upload { store: self.clone(), part, file, name, asset, kept: false })
    }

    /// Stores a whole asset; see [`AssetStore::begin`]. On return it is durable.
    pub async fn put(
        &self,
        owner: UserUri,
        bytes: &[u8],
        expires: Millis,
        now: Millis,
    ) -> Result<AssetName, AssetError> {
        let mut upload = self.begin(owner, expires, now).await?;
        upload.write(bytes).await?;
        upload.finish().await
    }

    /// The asset of this name, unless it has expired.
    pub async fn get(&self, name: &AssetName, now: Millis) -> Result<Option<AssetFile>, AssetError> {
        let Some(asset) = ASSETS.get(&self.0.db, name).await? else { return Ok(None) };
        if asset.expires <= now {
            return Ok(None);
        }
        match files::open(&self.0.dir.join(name.as_str())).await {
            Ok(file) => Ok(Some(AssetFile::new(Arc::new(file), asset.bytes))),
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What is known of an asset, expired or not.
    pub async fn about(&self, name: &AssetName) -> Result<Option<Asset>, AssetError> {
        Ok(ASSETS.get(&self.0.db, name).await?)
    }

    /// Removes an asset; whether there was one.
    pub async fn delete(&self, name: &AssetName) -> Result<bool, AssetError> {
        let Some(asset) = ASSETS.get(&self.0.db, name).await? else { return Ok(false) };
        let mut batch = Batch::new("assets: delete");
        batch.require(ASSETS.present(name));
        ASSETS.delete(&mut batch, name);
        match self.0.db.commit(batch).await {
            Ok(_) => {}
            // Somebody else was faster.
            Err(StoreError::ConditionFailed { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.usage().remove(&asset.owner, asset.bytes);
        files::remove(&self.0.dir.join(name.as_str())).await?;
        Ok(true)
    }

    /// Removes what has expired.
    pub async fn sweep(&self, now: Millis) -> Result<Swept, AssetError> {
        let mut swept = Swept::default();
        let mut after = None;
        loop {
            let page = ASSETS.scan(&self.0.db, &(), after, PAGE).await?;
            for (name, _) in page.rows.iter().filter(|(_, asset)| asset.expires <= now) {
                swept.expired += usize::from(self.delete(name).await?);
            }
            after = page.next;
            if after.is_none() {
                return Ok(swept);
            }
        }
    }

    /// Bytes that are stored, and being stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.usage().total()
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.0.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An asset on its way in. Dropped before [`Upload::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Upload {
    store: AssetStore,
    part: PathBuf,
    file: tokio::fs::File,
    name: AssetName,
    asset: Asset,
    /// Whether it is an asset now: then neither its file nor its share of the quotas goes with this value.
    kept: bool,
}

impl Upload {
    /// Adds bytes, if the quotas have room for them.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), AssetError> {
        let more = bytes.len() as u64;
        let limit = self.store.0.quotas.asset;
        if self.asset.bytes.saturating_add(more) > limit {
            return Err(AssetError::TooLarge(limit));
        }
        self.store.usage().reserve(&self.asset.owner, more, &self.store.0.quotas).map_err(AssetError::Quota)?;
        self.asset.bytes += more;
        Ok(self.file.write_all(bytes).await?)
    }

    /// From when on nobody gets it any more.
    #[must_use]
    pub fn expires(&self) -> Millis {
        self.asset.expires
    }

    /// Makes it an asset. On return it is durable.
    pub async fn finish(mut self) -> Result<AssetName, AssetError> {
        let shared = Arc::clone(&self.store.0);
        let path = shared.dir.join(self.name.as_str());
        self.file.flush().await?;
        self.file.sync_all().await?;
        files::rename(&self.part, &path, &shared.dir).await?;
        // From here on it is an orphan until the row is there; the next start would clean it up.
        self.part = path;
        let mut batch = Batch::new("assets: put");
        ASSETS.put(&shared.db, &mut batch, &self.name, &self.asset)?;
        // Whoever stops waiting for the commit does not know its outcome: then the file stays.
        self.kept = true;
        if let Err(error) = shared.db.commit(batch).await {
            self.kept = error.kind() == ErrorKind::Uncertain;
            return Err(error.into());
        }
        Ok(self.name.clone())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.store.usage().remove(&self.asset.owner, self.asset.bytes);
        // An orphan that cannot be removed now is removed by the next start.
        let _ = std::fs::remove_file(&self.part);
    }
}
