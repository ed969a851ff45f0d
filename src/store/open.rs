//! Opening a store: the data directory's lock, the choice of engine, and the checks before anything is served.

use std::{
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    Store,
    committer::{Committer, panic_text},
    engine::Parts,
    error::StoreError,
    memory::{MemoryDisk, MemoryStore},
    meta::{self, OpenReport, Start},
    seal::{MasterKey, Sealer},
    sled_engine, sqlite,
    tables::Database,
};

/// The storage engines to choose from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineChoice {
    /// SQLite in WAL mode, every commit synced: the default.
    #[default]
    Sqlite,
    /// sled 0.34: can lose acknowledged batches, see [`EngineChoice::warning`].
    Sled,
    /// Nothing is kept after the process ends: for tests.
    Memory,
}

impl EngineChoice {
    /// The name in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Sled => "sled",
            Self::Memory => "memory",
        }
    }

    /// Whether batches that were acknowledged can be missing after an unclean stop.
    #[must_use]
    pub fn may_lose_acknowledged(self) -> bool {
        match self {
            Self::Sqlite | Self::Memory => false,
            Self::Sled => true,
        }
    }

    /// What an operator who chose this engine should know, at every start.
    #[must_use]
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Sled => Some(sled_engine::WARNING),
            Self::Memory => Some("store engine memory: everything is gone when the process ends; for tests only."),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EngineChoice {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        let all = [Self::Sqlite, Self::Sled, Self::Memory];
        let known = all.into_iter().find(|engine| engine.as_str() == text);
        known.ok_or_else(|| StoreError::Invalid(format!("no store engine {text:?}: choose sqlite or sled")))
    }
}

/// How to open a store.
#[derive(Debug)]
pub struct OpenOptions {
    /// The engine.
    pub engine: EngineChoice,
    /// The data directory; made if it is missing. The memory engine does not look at it.
    pub path: PathBuf,
    /// The key for values that are encrypted at rest.
    pub master_key: MasterKey,
    /// The operator says that the directory was restored from a backup: state counts as old.
    pub restored: bool,
    /// Check the whole database (sqlite), however large. Small ones are always checked.
    pub verify: bool,
}

impl OpenOptions {
    /// The usual case.
    #[must_use]
    pub fn new(engine: EngineChoice, path: impl Into<PathBuf>, master_key: MasterKey) -> Self {
        Self { engine, path: path.into(), master_key, restored: false, verify: false }
    }
}

/// An open store.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The store with its sealer, for typed tables.
    pub database: Database,
    /// What opening found.
    pub report: OpenReport,
}

/// Holds the lock of an open data directory.
pub(super) const LOCK_FILE: &str = "lock";
/// Names the engine; written once the store exists, so that its absence later is noticed.
const ENGINE_FILE: &str = "engine";

/// Whether a store was made in this directory.
#[must_use]
pub fn exists(path: &Path) -> bool {
    path.join(ENGINE_FILE).exists()
}

/// Opens the store, and makes it if the directory is new. Blocks on the disk: call it before serving, or off the
/// reactor. On return the new generation and the unclean-stop mark are durable.
pub fn open(options: &OpenOptions) -> Result<Opened, StoreError> {
    if let Some(warning) = options.engine.warning() {
        tracing::warn!("{warning}");
    }
    if options.engine == EngineChoice::Memory {
        return open_memory(&MemoryDisk::new(), &options.master_key);
    }
    let dir = &options.path;
    let lock = lock_dir(dir)?;
    let exists = check_engine(dir, options.engine)?;
    let sealer = Sealer::new(&options.master_key);
    let start = Start {
        sealer: &sealer,
        may_lose: options.engine.may_lose_acknowledged(),
        restored: options.restored,
        must_exist: exists,
    };
    let begun = catch_unwind(AssertUnwindSafe(|| begin(options, &start)));
    let (parts, report) = begun.unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        Err(StoreError::Corrupt(format!("{} does not open {}: {text}", options.engine, dir.display())))
    })?;
    if !exists {
        write_engine_file(dir, options.engine).map_err(|error| io_error(dir, &error))?;
    }
    let store = Committer::start(options.engine.as_str(), report.generation, parts, lock)?;
    Ok(opened(Arc::new(store), sealer, report))
}

/// Opens a memory store on `disk`, as `open` would a directory: tests and the simulation reopen a disk after a "crash".
pub fn open_memory(disk: &MemoryDisk, master_key: &MasterKey) -> Result<Opened, StoreError> {
    disk.take()?;
    let sealer = Sealer::new(master_key);
    let start = Start { sealer: &sealer, may_lose: false, restored: false, must_exist: false };
    let report = meta::start(&mut disk.clone(), &mut disk.clone(), &start).inspect_err(|_| disk.give_back())?;
    let store = MemoryStore::new(disk.clone(), report.generation);
    Ok(opened(Arc::new(store), sealer, report))
}

fn opened(store: Arc<dyn Store>, sealer: Sealer, report: OpenReport) -> Opened {
    if report.unclean_stop {
        tracing::info!(
            generation = report.generation,
            stale = report.stale_state,
            "the store was not closed last time"
        );
    }
    Opened { database: Database::new(store, sealer, report.generation), report }
}

fn begin(options: &OpenOptions, start: &Start<'_>) -> Result<(Parts, OpenReport), StoreError> {
    let mut parts = match options.engine {
        EngineChoice::Sled => sled_engine::open(&options.path)?,
        EngineChoice::Sqlite | EngineChoice::Memory => sqlite::open(&options.path, options.verify)?,
    };
    let reader = parts.readers.first_mut().ok_or_else(|| StoreError::Io("an engine without readers".into()))?;
    let report = meta::start(parts.writer.as_mut(), reader.as_mut(), start)?;
    Ok((parts, report))
}

fn lock_dir(dir: &Path) -> Result<fs::File, StoreError> {
    let failed = |error: io::Error| io_error(dir, &error);
    if !dir.exists() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(dir).map_err(failed)?;
    }
    let path = dir.join(LOCK_FILE);
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::Locked(dir.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Whether a store exists in the directory. One of another engine is refused.
pub(super) fn check_engine(dir: &Path, chosen: EngineChoice) -> Result<bool, StoreError> {
    let text = match fs::read(dir.join(ENGINE_FILE)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(dir, &error)),
    };
    let Ok(found) = text.parse::<EngineChoice>() else {
        return Err(StoreError::Corrupt(format!("{} names no engine", dir.join(ENGINE_FILE).display())));
    };
    if found != chosen {
        return Err(StoreError::OtherEngine { found: found.as_str(), chosen: chosen.as_str() });
    }
    Ok(true)
}

fn write_engine_file(dir: &Path, engine: EngineChoice) -> io::Result<()> {
    let path = dir.join(ENGINE_FILE);
    let temporary = path.with_extension("new");
    fs::write(&temporary, format!("{engine}\n"))?;
    fs::File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, &path)?;
    fs::File::open(dir)?.sync_all()
}

pub(super) fn io_error(dir: &Path, error: &io::Error) -> StoreError {
    StoreError::Io(format!("{}: {error}", dir.display()))
}
