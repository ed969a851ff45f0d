//! Looking at a data directory without opening it: what the next start would find. Nothing is written into a store, no mark is
//! set, no generation counted, and nothing is made.

use std::{
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use super::{
    committer::panic_text,
    engine::Reader,
    error::StoreError,
    meta,
    open::{self, EngineChoice, OpenOptions},
    seal::Sealer,
    sled_engine, sqlite,
};

/// A file that is made and removed to see whether a directory can be written to.
const PROBE: &str = ".mimi-gateway-check";
/// A sled store changes when it is opened, so a copy is; up to this many bytes.
const COPIED_BYTES: u64 = 64 * 1024 * 1024;

/// What the next start would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// No store yet: the first start makes it, and may.
    New,
    /// Another process has it, such as a gateway that runs: it is not looked into.
    InUse,
    /// It opens with this master key.
    Ready {
        /// The last user of the directory did not close it (crash, SIGKILL, power cut).
        unclean_stop: bool,
    },
    /// Of this engine, and too large to be looked into without opening it.
    TooLarge,
}

/// Says what `open` would find, without changing anything. Fails as `open` would. While it looks, no other process can open the
/// store: that takes as long as checking it at a start does.
pub fn look(options: &OpenOptions) -> Result<Look, StoreError> {
    if options.engine == EngineChoice::Memory {
        return Ok(Look::New);
    }
    let dir = &options.path;
    let marked = open::check_engine(dir, options.engine)?;
    let files = dir.join(match options.engine {
        EngineChoice::Sled => sled_engine::DIR,
        EngineChoice::Sqlite | EngineChoice::Memory => sqlite::FILE,
    });
    let Lock::Mine(_held) = lock(dir)? else { return Ok(Look::InUse) };
    may_write(dir)?;
    if !files.exists() {
        return if marked {
            Err(StoreError::Corrupt(format!("{} is missing", files.display())))
        } else {
            Ok(Look::New)
        };
    }
    let looked = catch_unwind(AssertUnwindSafe(|| match options.engine {
        EngineChoice::Sled => look_at_copy(&files, options, marked),
        EngineChoice::Sqlite | EngineChoice::Memory => {
            fs::OpenOptions::new().write(true).open(&files).map_err(|error| open::io_error(&files, &error))?;
            match sqlite::open_to_look(&files, options.verify)? {
                Some(mut reader) => judge(&mut reader, options, marked),
                None if marked => Err(StoreError::Corrupt(format!("{} is empty", files.display()))),
                None => Ok(Look::New),
            }
        }
    }));
    looked.unwrap_or_else(|panic| {
        let text = panic_text(panic.as_ref());
        Err(StoreError::Corrupt(format!("{} does not open {}: {text}", options.engine, dir.display())))
    })
}

fn judge(reader: &mut dyn Reader, options: &OpenOptions, marked: bool) -> Result<Look, StoreError> {
    let unclean_stop = meta::look(reader, &Sealer::new(&options.master_key), marked)?;
    Ok(unclean_stop.map_or(Look::New, |unclean_stop| Look::Ready { unclean_stop }))
}

enum Lock {
    /// Held as long as the file is open. There may be no file for it yet.
    Mine(Option<fs::File>),
    /// Another process has it.
    Others,
}

fn lock(dir: &Path) -> Result<Lock, StoreError> {
    let failed = |error: &io::Error| open::io_error(dir, error);
    let file = match fs::OpenOptions::new().read(true).write(true).open(dir.join(open::LOCK_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Mine(None)),
        Err(error) => return Err(failed(&error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock::Mine(Some(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(Lock::Others),
        Err(fs::TryLockError::Error(error)) => Err(failed(&error)),
    }
}

/// Whether this user can make files in the directory; if it is missing, in the nearest one that is there.
fn may_write(dir: &Path) -> Result<(), StoreError> {
    let absolute = std::path::absolute(dir).map_err(|error| open::io_error(dir, &error))?;
    let there = absolute.ancestors().find(|place| place.exists()).unwrap_or(&absolute);
    let probe = there.join(PROBE);
    match fs::OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => fs::remove_file(&probe).map_err(|error| open::io_error(there, &error)),
        // Another check looks at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(open::io_error(there, &error)),
    }
}

/// sled writes as soon as it is opened: a copy is looked at.
fn look_at_copy(files: &Path, options: &OpenOptions, marked: bool) -> Result<Look, StoreError> {
    let failed = |error: io::Error| open::io_error(files, &error);
    let mut all = Vec::new();
    if list(files, Path::new(""), &mut all).map_err(failed)? > COPIED_BYTES {
        return Ok(Look::TooLarge);
    }
    let copy = Copy::new().map_err(failed)?;
    let target = copy.0.join(sled_engine::DIR);
    for (name, directory) in all {
        let (from, to) = (files.join(&name), target.join(&name));
        if directory { fs::create_dir_all(to) } else { fs::copy(from, to).map(drop) }.map_err(failed)?;
    }
    let mut parts = sled_engine::open(&copy.0)?;
    let reader = parts.readers.first_mut().ok_or_else(|| StoreError::Io("an engine without readers".into()))?;
    judge(reader.as_mut(), options, marked)
}

/// What is below a directory, directories before what they hold; answers the bytes.
fn list(root: &Path, below: &Path, all: &mut Vec<(PathBuf, bool)>) -> io::Result<u64> {
    let mut bytes = 0;
    all.push((below.to_owned(), true));
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            bytes += list(root, &name, all)?;
        } else {
            bytes += entry.metadata()?.len();
            all.push((name, false));
        }
    }
    Ok(bytes)
}

/// A directory that only this user can open, gone when it is dropped.
struct Copy(PathBuf);

impl Copy {
    fn new() -> io::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| io::Error::other(error.to_string()))?;
        let path = std::env::temp_dir().join(format!("mimi-gateway-check-{}", hex::encode(name)));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a copy of the store that was looked at stays; remove it");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Batch, MasterKey, Opened, open},
        *,
    };

    const ENGINES: [EngineChoice; 2] = [EngineChoice::Sqlite, EngineChoice::Sled];

    fn options(dir: &Path, engine: EngineChoice, key: u8) -> OpenOptions {
        OpenOptions::new(engine, dir.join("data"), MasterKey::from_bytes([key; 32]))
    }

    /// A store with a row in it.
    async fn made(options: &OpenOptions) -> Opened {
        let opened = open(options).unwrap();
        let mut batch = Batch::new("row");
        batch.put(b"k".as_slice(), vec![7; 5000]);
        opened.database.store().commit(batch).await.unwrap();
        opened
    }

    fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = Vec::new();
        list(dir, Path::new(""), &mut all).unwrap();
        // SQLite's index of its log: made anew from the log by whoever comes first.
        let kept = all.into_iter().filter(|(name, directory)| !directory && !name.ends_with("store.sqlite-shm"));
        kept.map(|(name, _)| (name.clone(), fs::read(dir.join(name)).unwrap())).collect()
    }

    #[tokio::test]
    async fn a_look_tells_what_the_next_start_finds_and_changes_nothing() {
        for engine in ENGINES {
            let dir = tempfile::tempdir().unwrap();
            let options = options(dir.path(), engine, 1);
            assert_eq!(look(&options).unwrap(), Look::New, "{engine}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{engine}: nothing is made");

            let opened = made(&options).await;
            assert_eq!(look(&options).unwrap(), Look::InUse, "{engine}");
            opened.database.store().close().await.unwrap();
            drop(opened);
            let before = files(dir.path());
            assert_eq!(look(&options).unwrap(), Look::Ready { unclean_stop: false }, "{engine}");
            assert_eq!(files(dir.path()), before, "{engine}");

            drop(made(&options).await);
            let before = files(dir.path());
            assert_eq!(look(&options).unwrap(), Look::Ready { unclean_stop: true }, "{engine}");
            assert_eq!(look(&options).unwrap(), Look::Ready { unclean_stop: true }, "{engine}");
            assert_eq!(files(dir.path()), before, "{engine}");
            let report = open(&options).unwrap().report;
            assert_eq!((report.generation, report.unclean_stop), (3, true), "{engine}");
        }
    }

    #[tokio::test]
    async fn a_look_fails_where_a_start_would() {
        for engine in ENGINES {
            let dir = tempfile::tempdir().unwrap();
            let right = options(dir.path(), engine, 1);
            made(&right).await.database.store().close().await.unwrap();
            assert_eq!(look(&options(dir.path(), engine, 2)), Err(StoreError::WrongMasterKey), "{engine}");
            let other = if engine == EngineChoice::Sled { EngineChoice::Sqlite } else { EngineChoice::Sled };
            let found = look(&options(dir.path(), other, 1));
            assert!(matches!(found, Err(StoreError::OtherEngine { .. })), "{engine}: {found:?}");
            let data = dir.path().join("data");
            let files = if engine == EngineChoice::Sled { "store.sled" } else { "store.sqlite" };
            fs::rename(data.join(files), data.join("away")).unwrap();
            let found = look(&right);
            assert!(
                matches!(&found, Err(StoreError::Corrupt(why)) if why.contains("is missing")),
                "{engine}: {found:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path(), EngineChoice::Sqlite, 1);
        made(&options).await.database.store().close().await.unwrap();
        let file = options.path.join(sqlite::FILE);
        let good = fs::read(&file).unwrap();
        for (what, bad) in [
            ("cut", good[..good.len() - 4096].to_vec()),
            ("empty", Vec::new()),
            ("text", b"what is this?\n".repeat(1000)),
            ("a page of zeros", [&good[..4096], &[0; 4096], &good[8192..]].concat()),
        ] {
            fs::write(&file, bad).unwrap();
            let found = look(&options);
            assert!(matches!(found, Err(StoreError::Corrupt(_))), "{what}: {found:?}");
        }
    }

    #[test]
    fn a_place_where_nothing_can_be_made_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for path in ["file", "file/data"] {
            let options = OpenOptions::new(EngineChoice::Sqlite, dir.path().join(path), MasterKey::from_bytes([1; 32]));
            let found = look(&options);
            assert!(matches!(found, Err(StoreError::Io(_))), "{path}: {found:?}");
        }
    }
}
