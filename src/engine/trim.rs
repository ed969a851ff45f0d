//! Rows that only say "this was there before" go once nothing can come again that they would recognise.
//!
//! Time is counted in **days of running**: a day ends when 24 hours are over and the gateway runs. One that was away for a
//! year, or whose clock jumps, forgets nothing by that: whoever tries again, the homeserver with its last transaction or a peer
//! with its last request, finds what was there when we went. Each such row holds the day on which it was written, which
//! costs a byte or two and no write of its own; once a day all of them are looked through, page by page and with pauses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    core::{Engine, now},
    ports::Millis,
    tables::{
        ANSWERS, DAYS, DELIVERED, EVENTS, EXPIRING, LOG, MARKS, MORE, NOTIFIED, ORDERED, OVERDUE, OWN_FILES,
        QUARANTINE, SHOWN, TOPICS, UNREAD, UNREADABLE,
    },
};
use crate::store::{Batch, Database, KeyCodec, StoreError, Table};

/// Rows that are looked at, and at most deleted, at once.
const PAGE: usize = 256;
/// Between two pages: everybody else comes first.
const PAUSE: Duration = Duration::from_millis(50);
/// So many looks a day whether it is over.
const LOOKS: u32 = 24;

/// The mark with the last day on which all was looked through.
const TRIMMED: &str = "trimmed";

/// A value, and the day on which it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dated<V> {
    /// The day of running.
    pub(crate) day: u32,
    /// The value.
    pub(crate) value: V,
}

/// How long is kept what recognises repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Days of running.
    pub days: u32,
    /// How long a day is: 24 hours, except in tests.
    pub day: Duration,
}

impl Keep {
    /// What was written before that day goes.
    fn oldest(self, today: u32) -> u32 {
        today.saturating_sub(self.days)
    }
}

/// Which day it is.
pub(super) struct Today {
    day: AtomicU32,
    forgotten_before: AtomicU64,
}

impl Today {
    /// The last day that began.
    pub(super) async fn load(db: &Database, keep: Keep) -> Result<Self, StoreError> {
        let today = Self { day: AtomicU32::new(0), forgotten_before: AtomicU64::new(0) };
        today.set(&DAYS.scan_all(db, &()).await?, keep);
        Ok(today)
    }

    /// From all days that are known.
    fn set(&self, days: &[(u32, Millis)], keep: Keep) {
        let today = days.last().map_or(0, |(day, _)| *day);
        let oldest = keep.oldest(today);
        // The earliest, in case that the clock was set back.
        let kept_since = days.iter().filter(|(day, _)| *day >= oldest).map(|(_, since)| *since).min().unwrap_or(0);
        self.forgotten_before.store(if oldest == 0 { 0 } else { kept_since }, Ordering::Relaxed);
        self.day.store(today, Ordering::Relaxed);
    }

    fn number(&self) -> u32 {
        self.day.load(Ordering::Relaxed)
    }

    /// The value, as one of today.
    pub(super) fn dated<V>(&self, value: V) -> Dated<V> {
        Dated { day: self.number(), value }
    }

    /// Events that were sent before this may have come, and been forgotten since. Zero: none.
    pub(super) fn forgotten_before(&self) -> Millis {
        self.forgotten_before.load(Ordering::Relaxed)
    }
}

/// The day that begins now, if one does. `since`: when `today` began.
fn beginning(today: u32, since: Option<Millis>, now: Millis, length: Millis) -> Option<u32> {
    match since {
        Some(since) if now >= since.saturating_add(length) => Some(today.saturating_add(1)),
        // A clock that was set back begins the day anew, rather than making it as long as it went back.
        Some(since) if now < since => Some(today),
        Some(_) => None,
        None => Some(today),
    }
}

impl Engine {
    /// Begins each new day, and looks through everything then, until the engine stops.
    pub(super) async fn keep_trimmed(self) {
        let look = (self.0.settings.keep.day / LOOKS).max(Duration::from_millis(1));
        loop {
            if let Err(error) = self.trim().await {
                tracing::warn!(%error, "old rows are not looked through to the end; that is tried again");
            }
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(look) => {}
            }
        }
    }

    async fn trim(&self) -> Result<(), StoreError> {
        let db = &self.0.db;
        self.begin_day().await?;
        let today = self.0.today.number();
        let oldest = self.0.settings.keep.oldest(today);
        let done = MARKS.get(db, &TRIMMED.to_owned()).await?;
        if oldest == 0 || done.is_some_and(|done| done >= u64::from(today)) {
            return Ok(());
        }
        let mut gone = self.sweep(&EVENTS, oldest).await?;
        gone += self.sweep(&ANSWERS, oldest).await?;
        gone += self.sweep(&NOTIFIED, oldest).await?;
        let (begun, mut kept) = self.begin_unread(oldest).await?;
        gone += begun;
        kept.extend(self.expiring().await?);
        gone += self.sweep_but(&SHOWN, oldest, &kept).await?;
        gone += self.sweep(&LOG, oldest).await?;
        gone += self.sweep(&TOPICS, oldest).await?;
        gone += self.sweep(&DELIVERED, oldest).await?;
        gone += self.sweep(&UNREADABLE, oldest).await?;
        gone += self.sweep(&QUARANTINE, oldest).await?;
        gone += self.sweep_but(&MORE, oldest, &kept).await?;
        gone += self.sweep(&OVERDUE, oldest).await?;
        // They go with their messages, however late those do.
        gone += self.sweep_but(&OWN_FILES, oldest, &kept).await?;
        gone += self.sweep(&ORDERED, oldest).await?;
        gone += self.trim_names().await?;
        if self.0.stop.is_cancelled() {
            return Ok(());
        }
        let mut batch = Batch::new("trimmed");
        MARKS.put(db, &mut batch, &TRIMMED.to_owned(), &u64::from(today))?;
        db.commit(batch).await?;
        tracing::info!(rows = gone, "rows that nothing can ask for any more were removed");
        Ok(())
    }

    /// Begins a new day if the last one is over.
    async fn begin_day(&self) -> Result<(), StoreError> {
        let (db, now, keep, today) = (&self.0.db, now(), self.0.settings.keep, self.0.today.number());
        let length = u64::try_from(keep.day.as_millis()).unwrap_or(u64::MAX);
        let mut days: BTreeMap<u32, Millis> = DAYS.scan_all(db, &()).await?.into_iter().collect();
        let Some(next) = beginning(today, days.get(&today).copied(), now, length) else { return Ok(()) };
        let mut batch = Batch::new("a day begins");
        days.insert(next, now);
        DAYS.put(db, &mut batch, &next, &now)?;
        let kept = days.split_off(&keep.oldest(next));
        for day in days.into_keys() {
            DAYS.delete(&mut batch, &day);
        }
        db.commit(batch).await?;
        self.0.today.set(&kept.into_iter().collect::<Vec<_>>(), keep);
        Ok(())
    }

    /// Messages that are still to be removed: it has to be known which events show them, however long that takes.
    async fn expiring(&self) -> Result<BTreeSet<(String, [u8; 32])>, StoreError> {
        let (mut kept, mut after) = (BTreeSet::new(), None);
        loop {
            let page = EXPIRING.scan(&self.0.db, &(), after, PAGE).await?;
            kept.extend(page.rows.into_iter().map(|((_, room, id), _)| (room, id)));
            after = page.next;
            if after.is_none() {
                return Ok(kept);
            }
        }
    }

    /// A message that somebody has not read for so long is waited for no more: its time begins. How many, and those that are
    /// still waited for.
    async fn begin_unread(&self, oldest: u32) -> Result<(u64, BTreeSet<(String, [u8; 32])>), StoreError> {
        let db = &self.0.db;
        let (mut begun, mut kept, mut after) = (0, BTreeSet::new(), None);
        loop {
            let page = UNREAD.scan(db, &(), after, PAGE).await?;
            let mut batch = Batch::new("nobody is waited for any more");
            for (key, row) in page.rows {
                if row.day >= oldest {
                    kept.insert(key);
                    continue;
                }
                UNREAD.delete(&mut batch, &key);
                begun += 1;
                if let Some(matrix) = super::records::load(db, &key.0).await?.and_then(|room| room.matrix) {
                    row.value.begin(db, matrix, &key, &mut batch)?;
                }
            }
            if !batch.is_empty() {
                db.commit(batch).await?;
                self.0.due.notify_one();
            }
            after = page.next;
            if after.is_none() {
                return Ok((begun, kept));
            }
        }
    }

    /// Removes what was written before that day; returns how much that was. Ends early when the engine stops.
    async fn sweep<K, V>(&self, table: &Table<K, Dated<V>>, oldest: u32) -> Result<u64, StoreError>
    where
        K: KeyCodec + Ord,
        V: Serialize + DeserializeOwned,
    {
        self.sweep_but(table, oldest, &BTreeSet::new()).await
    }

    /// The same, without these rows.
    async fn sweep_but<K, V>(
        &self,
        table: &Table<K, Dated<V>>,
        oldest: u32,
        kept: &BTreeSet<K>,
    ) -> Result<u64, StoreError>
    where
        K: KeyCodec + Ord,
        V: Serialize + DeserializeOwned,
    {
        let db = &self.0.db;
        let (mut after, mut gone) = (None, 0);
        loop {
            let page = table.scan(db, &(), after, PAGE).await?;
            let mut batch = Batch::new("trim");
            for (key, _) in page.rows.iter().filter(|(key, row)| row.day < oldest && !kept.contains(key)) {
                table.delete(&mut batch, key);
                gone += 1;
            }
            if !batch.is_empty() {
                db.commit(batch).await?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(gone);
            }
            tokio::select! {
                () = self.0.stop.cancelled() => return Ok(gone),
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_days_of_running() {
        let day = 24 * 3600 * 1000;
        assert_eq!(beginning(0, None, 5, day), Some(0));
        assert_eq!(beginning(0, Some(5), 5 + day - 1, day), None);
        assert_eq!(beginning(0, Some(5), 5 + day, day), Some(1));
        // Away for a year, or a clock that jumps: one day.
        assert_eq!(beginning(7, Some(5), 5 + 365 * day, day), Some(8));
        assert_eq!(beginning(7, Some(5 + 365 * day), 6, day), Some(7));
    }

    #[test]
    fn nothing_is_forgotten_before_the_days_to_keep_are_over() {
        let (today, keep) = (Today { day: 0.into(), forgotten_before: 0.into() }, Keep { days: 2, day: Duration::MAX });
        today.set(&[(0, 100), (1, 200), (2, 300)], keep);
        assert_eq!((today.number(), today.forgotten_before()), (2, 0));
        today.set(&[(1, 200), (2, 300), (3, 400)], keep);
        assert_eq!((today.number(), today.forgotten_before()), (3, 200));
        // The clock was a year ahead for a day.
        today.set(&[(1, 90_000), (2, 300), (3, 400)], keep);
        assert_eq!(today.forgotten_before(), 300);
    }
}
