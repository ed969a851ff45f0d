//! A room's MLS rows: loaded, and put into the batch of a step.
//!
//! Besides the group's present state there can be the one before the room was joined again, with which late messages are
//! read; its rows stand under a number of their own.

use super::{actor::Actor, core::Engine, group::RoomGroup, tables::MLS};
use crate::{
    mls::{MlsError, RowChanges, Rows},
    store::{Batch, Database, StoreError},
};

/// In the number of a group, under which its rows are stored: they are those of the state before the room was joined again.
const OLD: u64 = 1 << 32;

/// Loads a room's group from its rows.
pub(super) async fn load_group(db: &Database, uri: &str, group: u32) -> Result<RoomGroup, StoreError> {
    let corrupt = |error| StoreError::Corrupt(format!("the MLS state of {uri}: {error}"));
    let mut rows = [Rows::new(), Rows::new()];
    for (place, number) in rows.iter_mut().zip([u64::from(group), u64::from(group) | OLD]) {
        let found = MLS.scan_all(db, &(uri.to_owned(), number)).await?;
        place.extend(found.into_iter().map(|((_, _, key), value)| (key, value)));
    }
    let [rows, old] = rows;
    let mut loaded = RoomGroup::load(rows).map_err(corrupt)?;
    loaded.old = RoomGroup::load(old).map_err(corrupt)?.member;
    Ok(loaded)
}

fn unstorable(error: &MlsError) -> StoreError {
    StoreError::Invalid(format!("the MLS state: {error}"))
}

impl Actor {
    /// Puts what changed of the group into the step's batch.
    pub(super) async fn put_group(&mut self, batch: &mut Batch) -> Result<(), StoreError> {
        let db = &self.engine.0.db;
        let number = u64::from(self.room.as_ref().map_or(0, |room| room.group));
        if std::mem::take(&mut self.group.replaced) {
            // Rows of an earlier membership would be taken for this one's at the next start.
            for (key, _) in MLS.scan_all(db, &self.uri).await? {
                MLS.delete(batch, &key);
            }
            if let Some(old) = &mut self.group.old {
                drop(old.take_changes().map_err(|error| unstorable(&error))?);
                for (key, value) in old.all_rows().map_err(|error| unstorable(&error))? {
                    MLS.put(db, batch, &(self.uri.clone(), number | OLD, key), &value)?;
                }
            }
        } else if self.group.old_is_over() {
            self.group.old = None;
            for (key, _) in MLS.scan_all(db, &(self.uri.clone(), number | OLD)).await? {
                MLS.delete(batch, &key);
            }
        }
        if let Some(old) = &mut self.group.old {
            let changes = old.take_changes().map_err(|error| unstorable(&error))?;
            self.engine.store_rows(&self.uri, number | OLD, changes, batch)?;
        }
        let changes = self.group.take_changes().map_err(|error| unstorable(&error))?;
        self.engine.store_rows(&self.uri, number, changes, batch)
    }
}

impl Engine {
    fn store_rows(&self, uri: &str, number: u64, changes: RowChanges, batch: &mut Batch) -> Result<(), StoreError> {
        for (key, value) in changes.put {
            MLS.put(&self.0.db, batch, &(uri.to_owned(), number, key), &value)?;
        }
        for key in changes.delete {
            MLS.delete(batch, &(uri.to_owned(), number, key));
        }
        Ok(())
    }
}
