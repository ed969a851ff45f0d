//! Leases with fencing numbers: who may work on a room. The holder's batches carry [`Lease::condition`], so that one who
//! lost the lease without noticing changes nothing.

use std::{fmt, marker::PhantomData};

use super::{
    Database,
    batch::{Batch, Condition},
    error::StoreError,
    key::{Key, KeyCodec},
};

/// A held lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    key: Vec<u8>,
    fence: u64,
    owner: String,
    until: u64,
}

impl Lease {
    /// The condition for every batch of the holder: the fencing number is still this one.
    #[must_use]
    pub fn condition(&self) -> Condition {
        Condition::Fence { key: self.key.clone(), number: self.fence }
    }

    /// The fencing number: larger than that of every earlier holder.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// When it ends unless renewed, in milliseconds since the UNIX epoch.
    #[must_use]
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Fencing number and end, eight bytes each, big-endian, then the owner.
    fn encode(&self) -> Vec<u8> {
        let mut value = self.fence.to_be_bytes().to_vec();
        value.extend(self.until.to_be_bytes());
        value.extend(self.owner.as_bytes());
        value
    }

    fn decode(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::Corrupt(format!("{} is no lease", key.escape_ascii()));
        let (fence, rest) = value.split_first_chunk().ok_or_else(damaged)?;
        let (until, owner) = rest.split_first_chunk().ok_or_else(damaged)?;
        let owner = String::from_utf8(owner.to_vec()).map_err(|_| damaged())?;
        let (fence, until) = (u64::from_be_bytes(*fence), u64::from_be_bytes(*until));
        Ok(Self { key: key.to_vec(), fence, owner, until })
    }
}

/// A table of leases, one for each `K`. A constant of the program.
pub struct LeaseTable<K> {
    name: &'static str,
    types: PhantomData<fn(K)>,
}

impl<K: KeyCodec> LeaseTable<K> {
    /// A table of leases. No two tables or queues share a name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, types: PhantomData }
    }

    /// Takes the lease for `owner` (a name that no other process has, also not an earlier one) until `until`, if it is
    /// free, over at `now`, or already this owner's. `None`: another holds it, or was faster. Times are milliseconds
    /// since the UNIX epoch.
    pub async fn acquire(
        &self,
        database: &Database,
        key: &K,
        owner: &str,
        now: u64,
        until: u64,
    ) -> Result<Option<Lease>, StoreError> {
        let key = Vec::from(Key::new(self.name).with(key));
        let stored = database.store().get(&key).await?;
        let (condition, fence) = match stored {
            None => (Condition::Absent(key.clone()), 1),
            Some(value) => {
                let held = Lease::decode(&key, &value)?;
                if held.owner != owner && held.until > now {
                    return Ok(None);
                }
                (Condition::Equals(key.clone(), value), held.fence.saturating_add(1))
            }
        };
        let lease = Lease { key: key.clone(), fence, owner: owner.to_owned(), until };
        let mut batch = Batch::new("lease_acquire");
        batch.require(condition).put(key, lease.encode());
        match database.commit(batch).await {
            Ok(_) => Ok(Some(lease)),
            Err(error) if error.is_conflict() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves the end of a held lease. `false`: it is lost; stop working on what it stands for.
    pub async fn renew(&self, database: &Database, lease: &mut Lease, until: u64) -> Result<bool, StoreError> {
        let renewed = Lease { until, ..lease.clone() };
        let mut batch = Batch::new("lease_renew");
        batch.require(lease.condition()).put(lease.key.clone(), renewed.encode());
        match database.commit(batch).await {
            Ok(_) => {
                *lease = renewed;
                Ok(true)
            }
            Err(error) if error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives a lease back, so that the next one need not wait for its end. Already lost is fine. The fencing number
    /// stays in the store and goes on from there.
    pub async fn release(&self, database: &Database, mut lease: Lease) -> Result<(), StoreError> {
        self.renew(database, &mut lease, 0).await.map(|_| ())
    }
}

impl<K> fmt::Debug for LeaseTable<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeaseTable({})", self.name)
    }
}
