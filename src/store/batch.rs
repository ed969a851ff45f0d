//! Batches: named sets of writes with conditions, applied together or not at all.

use std::fmt;

use super::error::StoreError;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 16 * 1024;
/// Longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of keys and values in one batch.
pub const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

/// So many of the last writes are looked through for one of the same key.
const LOOK_BACK: usize = 32;

/// What must be true of the stored state for a batch to be applied. Judged against the state right before the batch,
/// with no other batch in between.
#[derive(Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing is stored under this key.
    Absent(Vec<u8>),
    /// Something is stored under this key.
    Present(Vec<u8>),
    /// Exactly this value is stored under this key. Of no use for sealed values, whose bytes differ at every seal.
    Equals(Vec<u8>, Vec<u8>),
    /// The lease under `key` carries this fencing number (its value's first eight bytes, big-endian).
    Fence {
        /// The lease's key.
        key: Vec<u8>,
        /// The number that the holder got with the lease.
        number: u64,
    },
}

impl Condition {
    /// The key whose value is judged.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Absent(key) | Self::Present(key) | Self::Equals(key, _) | Self::Fence { key, .. } => key,
        }
    }

    /// Whether the condition holds when `stored` is the key's value.
    #[must_use]
    pub fn holds(&self, stored: Option<&[u8]>) -> bool {
        match self {
            Self::Absent(_) => stored.is_none(),
            Self::Present(_) => stored.is_some(),
            Self::Equals(_, value) => stored == Some(value.as_slice()),
            Self::Fence { number, .. } => {
                stored.and_then(<[u8]>::first_chunk).is_some_and(|head| u64::from_be_bytes(*head) == *number)
            }
        }
    }
}

/// Names the kind and the key; a value is never shown.
impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key().escape_ascii();
        match self {
            Self::Absent(_) => write!(f, "Absent({key})"),
            Self::Present(_) => write!(f, "Present({key})"),
            Self::Equals(..) => write!(f, "Equals({key}, ..)"),
            Self::Fence { number, .. } => write!(f, "Fence({key}, {number})"),
        }
    }
}

/// One write of a batch.
#[derive(Clone, PartialEq, Eq)]
pub enum Write {
    /// Store the value under the key, in place of what was there.
    Put {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Remove the key. Removing what is absent does nothing.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

impl Write {
    /// The key written.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// Values are never shown.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "Put({}, {} bytes)", key.escape_ascii(), value.len()),
            Self::Delete { key } => write!(f, "Delete({})", key.escape_ascii()),
        }
    }
}

/// A named transaction: writes, in order, applied together if every condition holds.
#[derive(Debug, Clone)]
pub struct Batch {
    name: &'static str,
    conditions: Vec<Condition>,
    writes: Vec<Write>,
    bytes: usize,
}

impl Batch {
    /// An empty batch. The name shows in traces and statistics; it is a constant of the program, not data.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, conditions: Vec::new(), writes: Vec::new(), bytes: 0 }
    }

    /// The transaction's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Adds a condition.
    pub fn require(&mut self, condition: Condition) -> &mut Self {
        self.conditions.push(condition);
        self
    }

    /// Stores `value` under `key`. A later write to the same key in the same batch wins.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.push(Write::Put { key: key.into(), value: value.into() })
    }

    /// Removes `key`.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) -> &mut Self {
        self.push(Write::Delete { key: key.into() })
    }

    /// Takes over the conditions and writes of another batch, after the own ones.
    pub fn append(&mut self, other: Self) -> &mut Self {
        self.conditions.extend(other.conditions);
        self.bytes += other.bytes;
        self.writes.extend(other.writes);
        self
    }

    fn push(&mut self, write: Write) -> &mut Self {
        self.bytes += write.bytes();
        // A step writes some rows twice, shortly after each other: only what they hold in the end is work for the engine.
        match self.writes.iter_mut().rev().take(LOOK_BACK).find(|earlier| earlier.key() == write.key()) {
            Some(earlier) => {
                self.bytes -= earlier.bytes();
                *earlier = write;
            }
            None => self.writes.push(write),
        }
        self
    }

    /// The conditions, in the order added.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// The writes; where a key is written more than once, the last one counts.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of keys and values to write.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The error for the condition at `index`.
    pub(super) fn refused(&self, index: usize, condition: &Condition) -> StoreError {
        StoreError::ConditionFailed { batch: self.name, index, condition: Box::new(condition.clone()) }
    }

    /// Refuses what no engine takes: reserved, empty or too long keys, and too large values or batches.
    pub(super) fn check_bounds(&self) -> Result<(), StoreError> {
        let refuse = |what: String| Err(StoreError::Invalid(format!("transaction {}: {what}", self.name)));
        if self.bytes > MAX_BATCH_BYTES {
            return refuse(format!("{} bytes in one batch, {MAX_BATCH_BYTES} at most", self.bytes));
        }
        let keys = self.writes.iter().map(Write::key).chain(self.conditions.iter().map(Condition::key));
        for key in keys {
            check_key(key)?;
        }
        for write in &self.writes {
            if let Write::Put { value, .. } = write
                && value.len() > MAX_VALUE_BYTES
            {
                return refuse(format!("a value of {} bytes, {MAX_VALUE_BYTES} at most", value.len()));
            }
        }
        Ok(())
    }
}

/// Refuses the empty key, the store's own keys (they start with a zero byte) and too long ones.
pub(super) fn check_key(key: &[u8]) -> Result<(), StoreError> {
    match key.first() {
        None => Err(StoreError::Invalid("the empty key".into())),
        Some(0) => Err(StoreError::Invalid("keys that start with a zero byte are the store's own".into())),
        Some(_) if key.len() > MAX_KEY_BYTES => {
            Err(StoreError::Invalid(format!("a key of {} bytes, {MAX_KEY_BYTES} at most", key.len())))
        }
        Some(_) => Ok(()),
    }
}
