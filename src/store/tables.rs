//! Typed tables: a key type and a postcard value under a table name, sealed at rest where they hold keys.

use std::{
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::{
    Committed, Entry, ScanRange, Store,
    batch::{Batch, Condition},
    error::StoreError,
    key::{Key, KeyCodec, KeyReader},
    seal::Sealer,
};

/// Numbers per generation: see [`Database::next_number`].
const NUMBER_BITS: u32 = 40;

/// An open store with what typed tables need: the sealer, and the source of queue numbers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    store: Arc<dyn Store>,
    sealer: Arc<Sealer>,
    numbers: Arc<AtomicU64>,
    generation: u64,
}

impl Database {
    pub(super) fn new(store: Arc<dyn Store>, sealer: Sealer, generation: u64) -> Self {
        let numbers = Arc::new(AtomicU64::new(generation << NUMBER_BITS));
        Self { store, sealer: Arc::new(sealer), numbers, generation }
    }

    /// The untyped store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Encryption at rest, for values that no [`Table`] holds. The associated data is the full store key.
    #[must_use]
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// The generation of this open.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// [`Store::commit`].
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        self.store.commit(batch).await
    }

    /// Whether a number was given out before this open.
    #[must_use]
    pub fn is_older(&self, number: u64) -> bool {
        number >> NUMBER_BITS < self.generation
    }

    /// A number larger than every one given out before, in this process or earlier ones on the same data directory.
    /// The generation is the upper part, so nothing is read or stored for it.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// How values of one table or queue are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Sealed,
}

impl Form {
    pub(super) fn encode<V: Serialize>(self, database: &Database, key: &Key, value: &V) -> Result<Vec<u8>, StoreError> {
        let plain = postcard::to_stdvec(value)
            .map_err(|error| StoreError::Invalid(format!("a value for {key:?} does not encode: {error}")))?;
        match self {
            Self::Plain => Ok(plain),
            Self::Sealed => {
                let plain = Zeroizing::new(plain);
                let sealed = database.sealer.seal(key.as_bytes(), &plain);
                sealed.map_err(|error| StoreError::Invalid(format!("sealing a value: {error}")))
            }
        }
    }

    pub(super) fn decode<V: DeserializeOwned>(
        self,
        database: &Database,
        key: &[u8],
        stored: &[u8],
    ) -> Result<V, StoreError> {
        let damaged = |what: &dyn fmt::Display| StoreError::Corrupt(format!("{}: {what}", key.escape_ascii()));
        let opened = match self {
            Self::Plain => None,
            Self::Sealed => Some(database.sealer.open(key, stored).map_err(|error| damaged(&error))?),
        };
        let plain = opened.as_ref().map_or(stored, |plain| plain.as_slice());
        match postcard::take_from_bytes(plain) {
            Ok((value, [])) => Ok(value),
            Ok(_) => Err(damaged(&"bytes after the value")),
            Err(error) => Err(damaged(&error)),
        }
    }
}

/// A table: its name, the type of its keys, the type of its values. A constant of the program.
pub struct Table<K, V> {
    name: &'static str,
    form: Form,
    types: PhantomData<fn(K) -> V>,
}

/// Rows of a typed scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePage<K, V> {
    /// The rows, by key.
    pub rows: Vec<(K, V)>,
    /// Keys of rows that do not read back (checksum, seal or type): for quarantine.
    pub damaged: Vec<Vec<u8>>,
    /// Continue after this store key; `None` at the end.
    pub next: Option<Vec<u8>>,
}

impl<K: KeyCodec, V: Serialize + DeserializeOwned> Table<K, V> {
    /// A table with plain values. No two tables or queues share a name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, form: Form::Plain, types: PhantomData }
    }

    /// A table whose values are encrypted at rest.
    #[must_use]
    pub const fn sealed(name: &'static str) -> Self {
        Self { name, form: Form::Sealed, types: PhantomData }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The store key of a row.
    #[must_use]
    pub fn key(&self, key: &K) -> Key {
        Key::new(self.name).with(key)
    }

    /// The value under `key`.
    pub async fn get(&self, database: &Database, key: &K) -> Result<Option<V>, StoreError> {
        let key = self.key(key);
        let stored = database.store.get(key.as_bytes()).await?;
        stored.map(|stored| self.form.decode(database, key.as_bytes(), &stored)).transpose()
    }

    /// Up to `limit` rows whose key starts with the components of `prefix` (`&()` for all), after the store key `after`
    /// (the `next` of the page before).
    pub async fn scan<P: KeyCodec + Sync>(
        &self,
        database: &Database,
        prefix: &P,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<TablePage<K, V>, StoreError> {
        let prefix = Key::new(self.name).with(prefix);
        let page = database.store.scan(ScanRange { prefix: prefix.into(), after, limit }).await?;
        let next = if page.more { page.last_key().map(<[u8]>::to_vec) } else { None };
        let mut typed = TablePage { rows: Vec::with_capacity(page.entries.len()), damaged: page.damaged, next };
        for entry in page.entries {
            match self.row(database, &entry) {
                Ok(row) => typed.rows.push(row),
                Err(_) => typed.damaged.push(entry.key),
            }
        }
        Ok(typed)
    }

    /// All rows whose key starts with `prefix`. For tables whose size is bounded: it all goes into memory. Damaged rows
    /// are logged and left out.
    pub async fn scan_all<P: KeyCodec + Sync>(
        &self,
        database: &Database,
        prefix: &P,
    ) -> Result<Vec<(K, V)>, StoreError> {
        let mut rows = Vec::new();
        let mut after = None;
        loop {
            let page = self.scan(database, prefix, after, 1000).await?;
            for key in &page.damaged {
                tracing::error!(table = self.name, key = %key.escape_ascii(), "a damaged row is left out");
            }
            rows.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return Ok(rows);
            }
        }
    }

    fn row(&self, database: &Database, entry: &Entry) -> Result<(K, V), StoreError> {
        let key = read_key(self.name, &entry.key)?;
        Ok((key, self.form.decode(database, &entry.key, &entry.value)?))
    }

    /// Adds to the batch: store `value` under `key`.
    pub fn put(&self, database: &Database, batch: &mut Batch, key: &K, value: &V) -> Result<(), StoreError> {
        let key = self.key(key);
        let value = self.form.encode(database, &key, value)?;
        batch.put(key, value);
        Ok(())
    }

    /// Adds to the batch: remove `key`.
    pub fn delete(&self, batch: &mut Batch, key: &K) {
        batch.delete(self.key(key));
    }

    /// The condition that the row does not exist.
    #[must_use]
    pub fn absent(&self, key: &K) -> Condition {
        Condition::Absent(self.key(key).into())
    }

    /// The condition that the row exists.
    #[must_use]
    pub fn present(&self, key: &K) -> Condition {
        Condition::Present(self.key(key).into())
    }

    /// The condition that the row holds this value. Plain tables only: in a sealed one it is refused.
    pub fn equals(&self, database: &Database, key: &K, value: &V) -> Result<Condition, StoreError> {
        if self.form == Form::Sealed {
            return Err(StoreError::Invalid(format!("table {}: sealed values cannot be compared", self.name)));
        }
        let key = self.key(key);
        let value = self.form.encode(database, &key, value)?;
        Ok(Condition::Equals(key.into(), value))
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({}, {:?})", self.name, self.form)
    }
}

/// Reads the components behind a table's name.
pub(super) fn read_key<K: KeyCodec>(table: &str, key: &[u8]) -> Result<K, StoreError> {
    let mut reader = KeyReader::new(key);
    let read = || {
        if reader.text()? != table {
            return Err(reader.error());
        }
        let key = K::read(&mut reader)?;
        reader.end()?;
        Ok(key)
    };
    let mut read = read;
    read().map_err(|error: super::KeyError| StoreError::Corrupt(error.to_string()))
}
