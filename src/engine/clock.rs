//! What is due is handed to its room, in time and in turn: the first rows of a table with the time in front. However many are
//! due in one room, those of others are seen: of each room few are on the way at a time, and each look goes on behind the one
//! before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    core::{Engine, lock, now},
    later::Due,
    mail::Mail,
    ports::Millis,
    tables::{EARLY, EXPIRING},
};
use crate::store::{StoreError, Table};

/// Rows that are read together, and so often in one look.
const PAGE: usize = 256;
const PAGES: usize = 16;
/// The longest pause between two looks.
const LONGEST: Duration = Duration::from_hours(1);
/// Between two looks while something is due, in milliseconds.
const SOON: Millis = 1000;
/// So much of one room is on its way there at a time.
const OF_EACH: usize = 512;

/// What is on its way to its room.
#[derive(Debug, Default)]
pub(super) struct Dues(BTreeMap<String, BTreeSet<(Millis, [u8; 32], Due)>>);

impl Dues {
    /// Whether it is to be handed on now.
    fn go(&mut self, room: &str, at: Millis, id: [u8; 32], due: Due) -> bool {
        let own = self.0.entry(room.to_owned()).or_default();
        own.len() < OF_EACH && own.insert((at, id, due))
    }

    /// It is there. Whether more of its room may wait to be handed on.
    pub(super) fn came(&mut self, room: &str, at: Millis, id: [u8; 32], due: Due) -> bool {
        let Some(own) = self.0.get_mut(room) else { return false };
        let was_full = own.len() >= OF_EACH;
        own.remove(&(at, id, due));
        if own.is_empty() {
            self.0.remove(room);
        }
        was_full
    }
}

/// Where the next look begins, in each table; `None`: at the first row.
#[derive(Debug, Default)]
struct Behind {
    removals: Option<Vec<u8>>,
    showings: Option<Vec<u8>>,
}

impl Engine {
    /// Hands on what is due, until the engine stops.
    pub(super) async fn keep_time(self) {
        let mut behind = Behind::default();
        loop {
            let pause = match self.look_what_is_due(&mut behind).await {
                Ok(next) => Duration::from_millis(next.saturating_sub(now())).min(LONGEST),
                Err(error) => {
                    tracing::warn!(%error, "what is due is not looked at now");
                    self.0.settings.retry * 10
                }
            };
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = self.0.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// When to look again.
    async fn look_what_is_due(&self, behind: &mut Behind) -> Result<Millis, StoreError> {
        let now = now();
        let removals = self.look_at_rows(&EXPIRING, Due::Removal, &mut behind.removals, now).await?;
        let showings = self.look_at_rows(&EARLY, Due::Showing, &mut behind.showings, now).await?;
        Ok(removals.min(showings))
    }

    async fn look_at_rows<V: Serialize + DeserializeOwned>(
        &self,
        table: &Table<(Millis, String, [u8; 32]), V>,
        due: Due,
        behind: &mut Option<Vec<u8>>,
        now: Millis,
    ) -> Result<Millis, StoreError> {
        let mut next = Millis::MAX;
        for _ in 0..PAGES {
            let page = table.scan(&self.0.db, &(), behind.clone(), PAGE).await?;
            let last = page.next.clone();
            for ((at, room, id), _) in self.readable(table, page).await? {
                if at > now {
                    *behind = None;
                    return Ok(next.min(at));
                }
                next = now.saturating_add(SOON);
                if lock(&self.0.dues).go(&room, at, id, due) {
                    self.mail(&room, Mail::Due { at, id, due });
                }
            }
            *behind = last;
            if behind.is_none() {
                return Ok(next);
            }
        }
        // The rest at the next look.
        Ok(now.saturating_add(SOON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_room_few_are_on_the_way_and_each_once() {
        let mut dues = Dues::default();
        let id = |n: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_be_bytes());
            id
        };
        let handed = (0..5000).filter(|n| dues.go("many", 1, id(*n), Due::Removal)).count();
        assert_eq!(handed, OF_EACH);
        assert!(dues.go("other", 1, id(0), Due::Removal), "others are not held up");
        assert!(!dues.go("other", 1, id(0), Due::Removal), "it is on the way");
        assert!(dues.go("other", 1, id(0), Due::Showing));
        assert!(dues.came("many", 1, id(0), Due::Removal), "there may be more");
        assert!(!dues.came("many", 1, id(1), Due::Removal));
        assert!(dues.go("many", 1, id(4000), Due::Removal));
        assert!(!dues.came("other", 1, id(0), Due::Removal));
        assert!(!dues.came("nobody", 1, id(0), Due::Removal));
    }
}
