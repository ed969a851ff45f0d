//! What could not be worked on or delivered, for the operator: nothing is dropped silently (DESIGN 10).

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    core::{Engine, now},
    ports::Millis,
    tables::QUARANTINE,
    trim::Dated,
};
use crate::store::{Batch, Database, StoreError};

/// Characters of a reason that are kept.
const WHY: usize = 1_000;
/// Characters of an unreadable event that are kept.
const CONTENT: usize = 65_536;

/// The place of events that came in a transaction, or were found in a timeline, and name no room.
pub(super) const NO_ROOM: &str = "(no room)";

/// Something that was set aside, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Aside {
    pub(crate) when: Millis,
    pub(crate) event: Option<String>,
    pub(crate) why: String,
    /// What it was, if it is text.
    pub(crate) content: Option<String>,
}

/// Something that was set aside, as an operator sees it. What people wrote is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The room's URI, or the Matrix room, or a lane of the outbox.
    pub place: String,
    /// When.
    pub when: Millis,
    /// The Matrix event, where it was one and its id can be read.
    pub event: Option<String>,
    /// Why.
    pub why: String,
}

/// An event's id and room, as far as they can be read.
pub(super) fn named(raw: &RawValue) -> (Option<String>, Option<String>) {
    let value: serde_json::Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let text = |field: &str| value.get(field).and_then(serde_json::Value::as_str).map(|text| short(text, 255));
    (text("event_id"), text("room_id"))
}

fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl Engine {
    /// Adds to the batch: this is set aside. Says so in the log and counts it.
    pub(super) fn put_aside(
        &self,
        batch: &mut Batch,
        place: &str,
        event: Option<String>,
        why: &str,
        content: Option<&str>,
    ) -> Result<(), StoreError> {
        let total = self.0.quarantined.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::error!(place, event, why, total, "set aside; `mimi-gateway quarantine` lists it");
        let content = content.map(|content| short(content, CONTENT));
        let row = self.0.today.dated(Aside { when: now(), event, why: short(why, WHY), content });
        QUARANTINE.put(&self.0.db, batch, &(place.to_owned(), self.0.db.next_number()), &row)
    }

    /// Up to `limit` things that were set aside, behind this place in the store, and the place to go on at.
    pub async fn set_aside_after(
        db: &Database,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<SetAside>, Option<Vec<u8>>), StoreError> {
        let page = QUARANTINE.scan(db, &(), after, limit).await?;
        let rows = page.rows.into_iter().map(|((place, _), Dated { value: row, .. })| SetAside {
            place,
            when: row.when,
            event: row.event,
            why: row.why,
        });
        Ok((rows.collect(), page.next))
    }
}
