//! Durable queues: lanes (one a room, one a peer and room, ...) of entries in the order they were appended. Appending
//! needs no condition, so anyone may append while the lane's owner takes.

use std::{fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Database, ScanRange,
    batch::Batch,
    error::StoreError,
    key::{Key, KeyCodec, KeyReader},
    tables::{Form, read_key},
};

/// A family of lanes. A constant of the program; no two tables or queues share a name.
///
/// An entry's number is drawn when it is put into a batch ([`Database::next_number`]): larger than every number before,
/// also across restarts. Two batches in flight at once may be stored in the other order, so take from the front, and
/// keep no cursor: an entry that comes late with a smaller number would be passed over.
pub struct Queue<L, V> {
    name: &'static str,
    form: Form,
    types: PhantomData<fn(L) -> V>,
}

/// Entries of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePage<V> {
    /// The entries with their numbers, in order.
    pub entries: Vec<(u64, V)>,
    /// Numbers of entries that do not read back: to be set aside and removed.
    pub damaged: Vec<u64>,
    /// Whether more follow.
    pub more: bool,
}

impl<L: KeyCodec, V: Serialize + DeserializeOwned> Queue<L, V> {
    /// A queue with plain entries.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, form: Form::Plain, types: PhantomData }
    }

    /// A queue whose entries are encrypted at rest.
    #[must_use]
    pub const fn sealed(name: &'static str) -> Self {
        Self { name, form: Form::Sealed, types: PhantomData }
    }

    fn lane(&self, lane: &L) -> Key {
        Key::new(self.name).with(lane)
    }

    /// Adds to the batch: append `value` to the lane. Returns the entry's number.
    pub fn append(&self, database: &Database, batch: &mut Batch, lane: &L, value: &V) -> Result<u64, StoreError> {
        let number = database.next_number();
        let key = self.lane(lane).number(number);
        let value = self.form.encode(database, &key, value)?;
        batch.put(key, value);
        Ok(number)
    }

    /// The first `limit` entries of the lane, in order, with their numbers. Fewer come when they are large.
    ///
    /// A damaged entry fails the call with [`StoreError::Corrupt`] only if no readable entry comes before it: the order
    /// of a lane is kept. [`Queue::damaged`] then names it, [`Queue::remove`] takes it away.
    pub async fn peek(&self, database: &Database, lane: &L, limit: usize) -> Result<Vec<(u64, V)>, StoreError> {
        let prefix = self.lane(lane);
        let page = database.store().scan(ScanRange::new(prefix.as_bytes(), limit)).await?;
        let mut entries = Vec::with_capacity(page.entries.len());
        let first_damaged = page.damaged.first();
        for entry in page.entries {
            if first_damaged.is_some_and(|damaged| *damaged < entry.key) {
                break;
            }
            match self.entry(database, &prefix, &entry.key, &entry.value) {
                Ok(entry) => entries.push(entry),
                Err(error) if entries.is_empty() => return Err(error),
                Err(_) => return Ok(entries),
            }
        }
        match first_damaged {
            Some(key) if entries.is_empty() => {
                Err(StoreError::Corrupt(format!("the queue entry {} fails its checksum", key.escape_ascii())))
            }
            _ => Ok(entries),
        }
    }

    /// All entries of the lane, however long it is, and the numbers of those that do not read back: to be set aside and
    /// removed. For going on after a restart.
    pub async fn all(&self, database: &Database, lane: &L) -> Result<(Vec<(u64, V)>, Vec<u64>), StoreError> {
        let prefix = self.lane(lane);
        let (mut entries, mut damaged) = (Vec::new(), Vec::new());
        let mut range = ScanRange::new(prefix.as_bytes(), 1000);
        loop {
            let page = database.store().scan(range).await?;
            let last = page.last_key().map(<[u8]>::to_vec);
            damaged.extend(page.damaged.iter().filter_map(|key| number_behind(&prefix, key).ok()));
            for entry in page.entries {
                match self.entry(database, &prefix, &entry.key, &entry.value) {
                    Ok(entry) => entries.push(entry),
                    Err(_) => damaged.extend(number_behind(&prefix, &entry.key).ok()),
                }
            }
            match last.filter(|_| page.more) {
                Some(last) => range = ScanRange::new(prefix.as_bytes(), 1000).after(last),
                None => return Ok((entries, damaged)),
            }
        }
    }

    /// Up to `limit` entries behind this number, for whoever is the only one to append to the lane, and in order.
    pub async fn page(
        &self,
        database: &Database,
        lane: &L,
        after: u64,
        limit: usize,
    ) -> Result<QueuePage<V>, StoreError> {
        let prefix = self.lane(lane);
        let range = ScanRange::new(prefix.as_bytes(), limit).after(self.lane(lane).number(after));
        let page = database.store().scan(range).await?;
        let mut damaged: Vec<u64> = page.damaged.iter().filter_map(|key| number_behind(&prefix, key).ok()).collect();
        let mut entries = Vec::with_capacity(page.entries.len());
        for entry in page.entries {
            match self.entry(database, &prefix, &entry.key, &entry.value) {
                Ok(entry) => entries.push(entry),
                Err(_) => damaged.extend(number_behind(&prefix, &entry.key).ok()),
            }
        }
        Ok(QueuePage { entries, damaged, more: page.more })
    }

    /// The numbers of the lane's damaged entries among the first `limit`.
    pub async fn damaged(&self, database: &Database, lane: &L, limit: usize) -> Result<Vec<u64>, StoreError> {
        let prefix = self.lane(lane);
        let page = database.store().scan(ScanRange::new(prefix.as_bytes(), limit)).await?;
        let unreadable =
            page.entries.iter().filter(|entry| self.form.decode::<V>(database, &entry.key, &entry.value).is_err());
        let keys = unreadable.map(|entry| &entry.key).chain(&page.damaged);
        let mut numbers: Vec<u64> = keys.filter_map(|key| number_behind(&prefix, key).ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// How many entries the lane has, up to `limit`.
    pub async fn count(&self, database: &Database, lane: &L, limit: usize) -> Result<usize, StoreError> {
        let prefix = self.lane(lane);
        let (mut count, mut range) = (0, ScanRange::new(prefix.as_bytes(), limit.min(1000)));
        loop {
            let page = database.store().scan(range).await?;
            count += page.entries.len() + page.damaged.len();
            match page.last_key().filter(|_| page.more && count < limit) {
                Some(last) => range = ScanRange::new(prefix.as_bytes(), (limit - count).min(1000)).after(last),
                None => return Ok(count),
            }
        }
    }

    fn entry(&self, database: &Database, lane: &Key, key: &[u8], stored: &[u8]) -> Result<(u64, V), StoreError> {
        Ok((number_behind(lane, key)?, self.form.decode(database, key, stored)?))
    }

    /// Adds to the batch: take the entry with this number off the lane. Removing what is gone does nothing.
    pub fn remove(&self, batch: &mut Batch, lane: &L, number: u64) {
        batch.delete(self.lane(lane).number(number));
    }

    /// All lanes that have entries, in key order: what to go on with after a restart. One small read a lane.
    pub async fn lanes(&self, database: &Database) -> Result<Vec<L>, StoreError> {
        let prefix = Key::new(self.name);
        let mut lanes = Vec::new();
        let mut range = ScanRange::new(prefix.as_bytes(), 1);
        loop {
            let page = database.store().scan(range).await?;
            let Some(key) = page.last_key() else { return Ok(lanes) };
            let after = match read_key::<(L, u64)>(self.name, key) {
                Ok((lane, _)) => {
                    // Behind every number of this lane, before the next lane.
                    let mut end = Vec::from(self.lane(&lane));
                    end.push(u8::MAX);
                    lanes.push(lane);
                    end
                }
                Err(error) => {
                    tracing::error!(queue = self.name, %error, "a damaged queue key is left out");
                    key.to_vec()
                }
            };
            range = ScanRange::new(prefix.as_bytes(), 1).after(after);
        }
    }
}

/// The number of the entry under `key` in the lane.
fn number_behind(lane: &Key, key: &[u8]) -> Result<u64, StoreError> {
    let rest = key.strip_prefix(lane.as_bytes()).unwrap_or_default();
    let mut reader = KeyReader::new(rest);
    let number = reader.number().and_then(|number| reader.end().map(|()| number));
    number.map_err(|_| StoreError::Corrupt(format!("{} is no queue entry", key.escape_ascii())))
}

impl<L, V> fmt::Debug for Queue<L, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({}, {:?})", self.name, self.form)
    }
}
