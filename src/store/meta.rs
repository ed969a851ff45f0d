//! The store's own rows: schema version, generation, unclean-stop mark, staleness and the master key's check value.

use super::{
    ScanRange,
    batch::Batch,
    engine::{ApplyError, Reader, Writer},
    error::StoreError,
    seal::{SealError, Sealer},
};

/// The newest schema version that this program reads, and the one that it writes.
pub const SCHEMA_VERSION: u32 = 12;
/// Queue numbers carry the generation in their upper bits: see [`super::Queue`].
pub(super) const MAX_GENERATION: u64 = (1 << 24) - 1;

const SCHEMA: &[u8] = b"\0schema";
const GENERATION: &[u8] = b"\0generation";
const OPEN: &[u8] = b"\0open";
const STALE_BEFORE: &[u8] = b"\0stale_before";
const SEAL_CHECK: &[u8] = b"\0seal_check";
const SEAL_PLAIN: &[u8] = b"mimi-gateway";

/// What opening found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenReport {
    /// Counts the opens of this data directory: larger at each one. Stored durably before the open returns.
    pub generation: u64,
    /// The last user of the directory did not close it (crash, SIGKILL, power cut).
    pub unclean_stop: bool,
    /// State that is unsafe to go back to (MLS, Olm) must count as old from this open on: the stop was unclean and the
    /// engine may have lost acknowledged batches, or the operator said that a backup was restored.
    pub stale_state: bool,
    /// The last generation whose open found `stale_state`; 0 if none did. State that was last made fresh in an earlier
    /// generation ([`super::Committed::generation`]) counts as old, also if the process stopped before it came to it.
    pub stale_before: u64,
}

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) sealer: &'a Sealer,
    pub(super) may_lose: bool,
    pub(super) restored: bool,
    /// The directory says that a store was made here before.
    pub(super) must_exist: bool,
}

/// Checks the store's own rows, and writes those of this open: one durable batch.
pub(super) fn start(
    writer: &mut dyn Writer,
    reader: &mut dyn Reader,
    start: &Start<'_>,
) -> Result<OpenReport, StoreError> {
    let mut batch = Batch::new("store_open");
    if let Some(version) = reader.get(SCHEMA)? {
        check_known(&version, reader, start.sealer)?;
    } else {
        let rows = reader.scan(&ScanRange::new([], 1))?;
        if start.must_exist || rows != super::Page::default() || reader.get(GENERATION)?.is_some() {
            return Err(missing(SCHEMA));
        }
        let check = start.sealer.seal(SEAL_CHECK, SEAL_PLAIN).map_err(|error| random(&error))?;
        batch.put(SCHEMA, SCHEMA_VERSION.to_be_bytes()).put(SEAL_CHECK, check);
    }
    let number = |reader: &mut dyn Reader, key: &[u8]| {
        let value = reader.get(key)?;
        value.map(|value| exact(key, &value).map(u64::from_be_bytes)).transpose()
    };
    let generation = number(reader, GENERATION)?.unwrap_or(0) + 1;
    if generation > MAX_GENERATION {
        return Err(StoreError::Corrupt(format!("generation {generation} is out of range")));
    }
    let unclean_stop = reader.get(OPEN)?.is_some();
    let stale_state = start.restored || (unclean_stop && start.may_lose);
    let stale_before = if stale_state { generation } else { number(reader, STALE_BEFORE)?.unwrap_or(0) };
    batch
        .put(GENERATION, generation.to_be_bytes())
        .put(OPEN, generation.to_be_bytes())
        .put(STALE_BEFORE, stale_before.to_be_bytes());
    apply(writer, batch)?;
    Ok(OpenReport { generation, unclean_stop, stale_state, stale_before })
}

/// What the next open would find, read only: whether the stop was unclean. `None`: a new store. Fails as [`start`] would.
pub(super) fn look(reader: &mut dyn Reader, sealer: &Sealer, must_exist: bool) -> Result<Option<bool>, StoreError> {
    let Some(version) = reader.get(SCHEMA)? else {
        let rows = reader.scan(&ScanRange::new([], 1))?;
        let empty = !must_exist && rows == super::Page::default() && reader.get(GENERATION)?.is_none();
        return if empty { Ok(None) } else { Err(missing(SCHEMA)) };
    };
    check_known(&version, reader, sealer)?;
    let generation = reader.get(GENERATION)?.ok_or_else(|| missing(GENERATION))?;
    exact::<8>(GENERATION, &generation)?;
    Ok(Some(reader.get(OPEN)?.is_some()))
}

/// Checks the version and the master key of a store that is not new.
fn check_known(version: &[u8], reader: &mut dyn Reader, sealer: &Sealer) -> Result<(), StoreError> {
    let found = u32::from_be_bytes(exact(SCHEMA, version)?);
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { found, known: SCHEMA_VERSION });
    }
    if found != SCHEMA_VERSION {
        return Err(StoreError::TooOld { found, known: SCHEMA_VERSION });
    }
    let check = reader.get(SEAL_CHECK)?.ok_or_else(|| missing(SEAL_CHECK))?;
    match sealer.open(SEAL_CHECK, &check) {
        Ok(plain) if plain.as_slice() == SEAL_PLAIN => Ok(()),
        _ => Err(StoreError::WrongMasterKey),
    }
}

/// Marks the stop as clean, durably.
pub(super) fn stop(writer: &mut dyn Writer) -> Result<(), StoreError> {
    let mut batch = Batch::new("store_close");
    batch.delete(OPEN);
    apply(writer, batch)
}

fn apply(writer: &mut dyn Writer, batch: Batch) -> Result<(), StoreError> {
    match writer.apply(&[batch]) {
        Ok(results) => results.into_iter().collect(),
        Err(ApplyError::RolledBack(error) | ApplyError::Uncertain(error)) => Err(error),
    }
}

fn exact<const N: usize>(key: &[u8], value: &[u8]) -> Result<[u8; N], StoreError> {
    value.try_into().map_err(|_| StoreError::Corrupt(format!("the row {} has a wrong length", key.escape_ascii())))
}

fn missing(key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!("the row {} is missing in a store that is not new", key.escape_ascii()))
}

fn random(error: &SealError) -> StoreError {
    StoreError::Io(error.to_string())
}
