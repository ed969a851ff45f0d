//! What was fetched from others, kept on disk for a while: bounded, the longest unused goes first, and whoever asks for what is
//! being fetched already shares that fetch.
//!
//! Nothing of it outlives the process: the folder is emptied at start, and what is kept where is known in memory only.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    FetchError,
    source::{Progress, Sink, Source, State},
};
use crate::ident::ProviderDomain;

/// What an entry costs besides its bytes, so that many tiny ones are bounded, too.
const ENTRY_BYTES: u64 = 4096;
/// How long something is given on without asking again: its owner may have deleted it.
const MAX_AGE: Duration = Duration::from_hours(24);
/// The folder below the store's directory.
const FOLDER: &str = "asset-cache";

/// Whom something was asked of, and its URL. What a hub says an asset is counts for what is asked of that hub, and never for others.
pub(super) type CacheKey = (Option<ProviderDomain>, String);

struct Kept {
    path: PathBuf,
    bytes: u64,
    used: u64,
    since: Instant,
}

enum Slot {
    Coming(Source),
    Kept(Kept),
}

#[derive(Default)]
struct Slots {
    all: BTreeMap<CacheKey, Slot>,
    bytes: u64,
    /// Counts uses and files.
    count: u64,
}

/// The cache.
pub(super) struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    slots: Mutex<Slots>,
}

impl Cache {
    /// Opens it, empty, in the folder `asset-cache` of the store's directory. Blocks on the disk.
    pub(super) fn open(store_dir: &Path, max_bytes: u64) -> io::Result<Self> {
        let dir = store_dir.join(FOLDER);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&dir)?;
        Ok(Self { dir, max_bytes, slots: Mutex::default() })
    }

    /// What is kept under `key`, or comes; otherwise what `fetch` writes, by a task of its own that nobody's leaving ends.
    pub(super) async fn get<F>(
        self: &Arc<Self>,
        key: CacheKey,
        fetch: impl FnOnce(Arc<Sink>) -> F,
    ) -> Result<Source, FetchError>
    where
        F: Future<Output = Result<(), FetchError>> + Send + 'static,
    {
        let there = self.slots().find(&key);
        if let Some(source) = there {
            return Ok(source);
        }
        let disk = |error: io::Error| FetchError::Disk(error.to_string());
        let path = self.dir.join(self.slots().next().to_string());
        let file = tokio::task::spawn_blocking({
            let path = path.clone();
            move || create(&path)
        });
        let file = Arc::new(file.await.map_err(io::Error::other).map_err(disk)?.map_err(disk)?);
        let (progress, watched) = watch::channel(Progress { bytes: 0, total: None, state: State::Asked });
        let source = Source::new(Arc::clone(&file), watched);
        let sink = Arc::new(Sink { file, progress });
        let other = self.slots().find_or_insert(&key, &source);
        if let Some(other) = other {
            let _ = tokio::fs::remove_file(&path).await;
            return Ok(other);
        }
        let fetching = fetch(Arc::clone(&sink));
        let cache = Arc::clone(self);
        // Even if the fetch panics, nobody waits for it for ever.
        let mut slot = Coming { cache, key: Some(key), path, sink };
        tokio::spawn(async move {
            let outcome = fetching.await;
            slot.end(outcome);
        });
        Ok(source)
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Slots {
    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    fn find(&mut self, key: &CacheKey) -> Option<Source> {
        let used = self.next();
        match self.all.get_mut(key)? {
            Slot::Coming(source) => return Some(source.clone()),
            Slot::Kept(kept) if kept.since.elapsed() < MAX_AGE => {
                if let Ok(file) = File::open(&kept.path) {
                    kept.used = used;
                    return Some(Source::whole(Arc::new(file), kept.bytes));
                }
            }
            Slot::Kept(_) => {}
        }
        self.remove(key);
        None
    }

    /// What is there under `key`, or `None` after `source` was put there.
    fn find_or_insert(&mut self, key: &CacheKey, source: &Source) -> Option<Source> {
        let other = self.find(key);
        if other.is_none() {
            self.all.insert(key.clone(), Slot::Coming(source.clone()));
        }
        other
    }

    fn remove(&mut self, key: &CacheKey) {
        if let Some(Slot::Kept(kept)) = self.all.remove(key) {
            self.bytes = self.bytes.saturating_sub(kept.bytes + ENTRY_BYTES);
            // Whoever reads it reads on.
            let _ = fs::remove_file(kept.path);
        }
    }

    /// Keeps a file, and drops others until all is within the limit again; `false` if it does not fit at all.
    fn keep(&mut self, key: CacheKey, path: &Path, bytes: u64, max_bytes: u64) -> bool {
        if bytes + ENTRY_BYTES > max_bytes {
            return false;
        }
        while self.bytes + bytes + ENTRY_BYTES > max_bytes {
            let oldest = self.all.iter().filter_map(|(key, slot)| match slot {
                Slot::Kept(kept) => Some((kept.used, key)),
                Slot::Coming(_) => None,
            });
            let Some((_, oldest)) = oldest.min() else { break };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
        let used = self.next();
        self.bytes += bytes + ENTRY_BYTES;
        self.all.insert(key, Slot::Kept(Kept { path: path.to_owned(), bytes, used, since: Instant::now() }));
        true
    }
}

/// A fetch, until it ends in whatever way.
struct Coming {
    cache: Arc<Cache>,
    key: Option<CacheKey>,
    path: PathBuf,
    sink: Arc<Sink>,
}

impl Coming {
    fn end(&mut self, outcome: Result<(), FetchError>) {
        let Some(key) = self.key.take() else { return };
        let bytes = self.sink.bytes();
        let kept = {
            let mut slots = self.cache.slots();
            slots.all.remove(&key);
            outcome.is_ok() && slots.keep(key, &self.path, bytes, self.cache.max_bytes)
        };
        if !kept {
            let _ = fs::remove_file(&self.path);
        }
        self.sink.progress.send_modify(|progress| {
            progress.state = match outcome {
                Ok(()) => State::Whole,
                Err(error) => State::Failed(error),
            };
        });
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.end(Err(FetchError::Busy));
    }
}
