//! The default engine: one SQLite table in WAL mode with `synchronous=FULL`. One connection writes, others read and wait
//! for nobody; a further one copies the write-ahead log back in the background while commits go on.

use std::{
    fs,
    io::Read as _,
    ops::Bound,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig, params};

use super::{
    Page, ScanRange,
    batch::{Batch, Write},
    engine::{self, ApplyError, PageBuilder, Parts, Reader, Writer},
    error::StoreError,
    record,
};

/// The database file in the data directory.
pub(super) const FILE: &str = "store.sqlite";
/// Pages in the write-ahead log at which it is copied back: large enough to be rare, small enough for a fast open.
const CHECKPOINT_PAGES: u64 = 4_000;
/// After a checkpoint that a reader held up: try again when this much more was written.
const CHECKPOINT_RETRY_PAGES: u64 = 1_000;
/// What a page in the log has before it.
const FRAME_HEADER_BYTES: u64 = 24;
const PAGE_BYTES: u64 = 4096;
const READERS: usize = 2;
/// Other programs (a shell, a backup) may hold the database this long before a commit is refused.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Databases up to this size are checked wholly at every open, larger ones on demand.
const ALWAYS_CHECKED_BYTES: u64 = 16 * 1024 * 1024;

const GET: &str = "SELECT v FROM kv WHERE k = ?1";
const PUT: &str = "INSERT INTO kv (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const DELETE: &str = "DELETE FROM kv WHERE k = ?1";

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy(error.to_string()),
            Some(ErrorCode::DiskFull) => Self::Busy(format!("no space left on the disk: {error}")),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(ErrorCode::TooBig) => Self::Invalid(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Opens or makes the database in `dir`. `verify` checks all of it, whatever its size.
pub(super) fn open(dir: &Path, verify: bool) -> Result<Parts, StoreError> {
    let path = dir.join(FILE);
    let writer = Connection::open(&path)?;
    writer.busy_timeout(BUSY_TIMEOUT)?;
    let mode: String = writer.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Io(format!("SQLite does not take WAL mode here, but {mode}")));
    }
    // Not WITHOUT ROWID: a large value would spill over pages of its own, and new rows would lie all over the file; so they
    // lie side by side, and only the index is written in many places.
    writer.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -8192; \
         PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; \
         CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY NOT NULL, v BLOB NOT NULL) STRICT;",
    )?;
    check(&writer, &path, verify)?;
    let log = path.with_extension("sqlite-wal");
    if let Err(error) = make_room_in_log(&log) {
        tracing::warn!(log = %log.display(), %error, "no room is made in the store's log ahead of time; commits take a little longer");
    }
    let readers = (0..READERS).map(|_| Ok(Box::new(SqliteReader::open(&path)?) as _));
    let readers = readers.collect::<Result<Vec<Box<dyn Reader>>, StoreError>>()?;
    let checkpointer = Checkpointer::start(&path)?;
    let quick = Box::new(SqliteReader::open(&path)?);
    let writer = Box::new(SqliteWriter { connection: writer, checkpointer, wal_pages: 0 });
    Ok(Parts { writer, readers, quick: Some(quick) })
}

/// Opens the database at `path` for reading alone, so that its files stay as they are (after an unclean stop SQLite makes its
/// index of the log anew). `None`: there is nothing in it. Call it only while the directory's lock is held.
pub(super) fn open_to_look(path: &Path, verify: bool) -> Result<Option<impl Reader + use<>>, StoreError> {
    let logged = fs::metadata(path.with_extension("sqlite-wal")).map_or(0, |meta| meta.len());
    let connection = if logged == 0 {
        // Nobody writes, and there is nothing but this file: SQLite need not make the files by which users agree.
        let name = percent_encoding::percent_encode(path.as_os_str().as_bytes(), percent_encoding::NON_ALPHANUMERIC);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)?
    } else {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection
    };
    connection.execute_batch("PRAGMA cache_size = -2048; PRAGMA cell_size_check = ON;")?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'kv'", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(None);
    }
    check(&connection, path, verify)?;
    Ok(Some(SqliteReader(connection)))
}

/// Fills an empty log with zeros up to the length that it will have: a sync then writes pages over others, and need not also
/// write that the file grew (a third of the time and a fifth of the CPU of a small commit on ext4). To SQLite a log ends
/// where its frames do: what is behind them it takes for the rest of an earlier round.
fn make_room_in_log(log: &Path) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(log)?;
    if file.metadata()?.len() == 0 {
        let length = CHECKPOINT_PAGES * (PAGE_BYTES + FRAME_HEADER_BYTES);
        std::io::copy(&mut std::io::repeat(0).take(length), &mut file)?;
        file.sync_all()?;
    }
    Ok(())
}

fn check(connection: &Connection, path: &Path, verify: bool) -> Result<(), StoreError> {
    let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let shape = (number("PRAGMA page_count")?, number("PRAGMA page_size")?);
    let whole = u64::try_from(shape.0.saturating_mul(shape.1)).unwrap_or(u64::MAX);
    let (stored, logged) = (length(path), length(&path.with_extension("sqlite-wal")));
    if logged == 0 && stored < whole {
        return Err(StoreError::Corrupt(format!("{} is shorter than it was: {stored} bytes", path.display())));
    }
    if verify || stored.max(logged) <= ALWAYS_CHECKED_BYTES {
        let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Err(StoreError::Corrupt(format!("{}: {}", path.display(), found.replace('\n', " "))));
        }
    }
    Ok(())
}

struct SqliteWriter {
    connection: Connection,
    checkpointer: Checkpointer,
    /// Pages in the log since it last began anew, never counted too low.
    wal_pages: u64,
}

impl SqliteWriter {
    /// Judges and applies one batch inside the open transaction. Conditions come before writes, so a refused batch
    /// leaves no trace.
    fn apply_one(&self, batch: &Batch) -> Result<Result<(), StoreError>, StoreError> {
        for (index, condition) in batch.conditions().iter().enumerate() {
            let stored = get(&self.connection, condition.key())?;
            if !condition.holds(stored.as_deref()) {
                return Ok(Err(batch.refused(index, condition)));
            }
        }
        for write in batch.writes() {
            match write {
                Write::Put { key, value } => {
                    self.connection.prepare_cached(PUT)?.execute(params![key, record::frame(key, value)])?
                }
                Write::Delete { key } => self.connection.prepare_cached(DELETE)?.execute([key])?,
            };
        }
        Ok(Ok(()))
    }

    fn apply_all(&self, group: &[Batch]) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        group.iter().map(|batch| self.apply_one(batch)).collect()
    }

    /// Leaves no transaction open. An error here shows at the next `BEGIN`.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "rolling back a store transaction");
        }
    }
}

impl Writer for SqliteWriter {
    fn apply(&mut self, group: &[Batch]) -> Result<Vec<Result<(), StoreError>>, ApplyError> {
        let results = match self.apply_all(group) {
            Ok(results) => results,
            Err(error) => {
                self.roll_back();
                return Err(ApplyError::RolledBack(match error {
                    // Nothing was committed, so the outcome is certain.
                    StoreError::Io(text) => StoreError::Busy(text),
                    other => other,
                }));
            }
        };
        let committed = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = committed {
            self.roll_back();
            let error = StoreError::from(error);
            return Err(match error {
                StoreError::Busy(_) => ApplyError::RolledBack(error),
                other => ApplyError::Uncertain(StoreError::Io(other.to_string())),
            });
        }
        self.wal_pages += group.iter().map(pages_touched).sum::<u64>();
        Ok(results)
    }

    fn after_group(&mut self) {
        if self.checkpointer.take_finished() {
            // The background pass has copied nearly all; with nobody writing now, this one gets the rest, and the next
            // commit begins the log anew.
            self.wal_pages = match checkpoint(&self.connection, "PASSIVE") {
                Ok((logged, copied)) if copied >= logged => 0,
                _ => CHECKPOINT_PAGES - CHECKPOINT_RETRY_PAGES,
            };
        }
        if self.wal_pages >= CHECKPOINT_PAGES && !self.checkpointer.is_busy() {
            match checkpoint(&self.connection, "NOOP") {
                Ok((logged, _)) if logged < CHECKPOINT_PAGES => self.wal_pages = logged,
                _ => self.checkpointer.begin(),
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { connection, checkpointer, .. } = *self;
        drop(checkpointer);
        if let Err(error) = checkpoint(&connection, "TRUNCATE") {
            tracing::info!(%error, "the write-ahead log stays for the next open");
        }
        connection.close().map_err(|(_, error)| error.into())
    }
}

/// An upper estimate of the pages that a batch puts into the log.
fn pages_touched(batch: &Batch) -> u64 {
    let pages = |write: &Write| match write {
        Write::Put { value, .. } => 2 + value.len() as u64 / PAGE_BYTES,
        Write::Delete { .. } => 1,
    };
    1 + batch.writes().iter().map(pages).sum::<u64>()
}

/// Runs a checkpoint of this mode: pages in the log, and how many of them are copied back.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(u64, u64)> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
        let (logged, copied): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok((u64::try_from(logged).unwrap_or(0), u64::try_from(copied).unwrap_or(0)))
    })
}

/// The thread that copies the log back while the writer goes on.
struct Checkpointer {
    begin: Option<Sender<()>>,
    busy: Arc<AtomicBool>,
    begun: bool,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -256;")?;
        let (begin, orders) = mpsc::channel::<()>();
        let busy = Arc::new(AtomicBool::new(false));
        let working = Arc::clone(&busy);
        let body = move || {
            while orders.recv().is_ok() {
                // The second pass takes what was committed during the first, so that little is left for the writer.
                for _ in 0..2 {
                    if let Err(error) = checkpoint(&connection, "PASSIVE") {
                        tracing::warn!(%error, "copying back the write-ahead log");
                    }
                }
                working.store(false, Ordering::Release);
            }
        };
        let thread = std::thread::Builder::new().name("store-checkpoint".into()).spawn(body);
        let thread = thread.map_err(|error| StoreError::Io(format!("no thread for the store: {error}")))?;
        Ok(Self { begin: Some(begin), busy, begun: false, thread: Some(thread) })
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    fn begin(&mut self) {
        self.busy.store(true, Ordering::Release);
        self.begun = self.begin.as_ref().is_some_and(|begin| begin.send(()).is_ok());
    }

    /// Whether a begun pass has ended since the last call.
    fn take_finished(&mut self) -> bool {
        let finished = self.begun && !self.is_busy();
        self.begun &= !finished;
        finished
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            // A panic there concerns no commit.
            let _ended = thread.join();
        }
    }
}

struct SqliteReader(Connection);

impl SqliteReader {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch("PRAGMA cache_size = -2048; PRAGMA cell_size_check = ON;")?;
        Ok(Self(connection))
    }
}

impl Reader for SqliteReader {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        get(&self.0, key)
    }

    fn scan(&mut self, range: &ScanRange) -> Result<Page, StoreError> {
        let (first, end) = engine::bounds(range);
        let (first, compare) = match first {
            Bound::Excluded(key) => (key, ">"),
            Bound::Included(key) => (key, ">="),
            Bound::Unbounded => (Vec::new(), ">="),
        };
        let mut page = PageBuilder::new(range.limit);
        let mut statement;
        let mut rows = if let Bound::Excluded(end) = end {
            let sql = format!("SELECT k, v FROM kv WHERE k {compare} ?1 AND k < ?2 ORDER BY k");
            statement = self.0.prepare_cached(&sql)?;
            statement.query(params![first, end])?
        } else {
            let sql = format!("SELECT k, v FROM kv WHERE k {compare} ?1 ORDER BY k");
            statement = self.0.prepare_cached(&sql)?;
            statement.query(params![first])?
        };
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob()?;
            let value = row.get_ref(1)?.as_blob()?;
            if !page.add(key, value) {
                break;
            }
        }
        Ok(page.finish())
    }
}

impl From<rusqlite::types::FromSqlError> for StoreError {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

fn get(connection: &Connection, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut statement = connection.prepare_cached(GET)?;
    let found = statement.query_row([key], |row| {
        Ok(row
            .get_ref(0)?
            .as_blob()
            .map_err(StoreError::from)
            .and_then(|stored| Ok(record::unframe(key, stored)?.to_vec())))
    });
    found.optional()?.transpose()
}
