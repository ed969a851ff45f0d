//! Taking Matrix events in: durable before the homeserver hears "200", each event once, and looking for those that the
//! homeserver lost on the way (DESIGN 1, 3 and 8).

use ruma::{OwnedRoomId, RoomAliasId, UserId};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    aside,
    core::{Engine, lock},
    offer::{Arrival, Arrivals},
    ports::{Actor, CallError, InboundError, MatrixInbound, Transaction},
    tables::{EVENTS, InboxItem, LOBBY, WATERMARKS},
};
use crate::{
    ident::UserUri,
    policy::lasting,
    room::{Names, Setting},
    store::{Batch, BoxFuture, StoreError},
    translate::{RoomEvent, is_live_info, is_widget},
};

/// Events that one comparison reads at most before it gives up the search for the last known one.
const MAX_COMPARED: usize = 20_000;
/// Events a page of the timeline.
const PAGE: u32 = 100;

/// An event that comes so much later than it was sent, in milliseconds, comes from a homeserver that catches up.
const LATE: u64 = 5_000;

/// So many transactions in quick succession make a burst: more than one act of one person leads to.
const BURST: u32 = 8;
/// So many make a flood: more is gathered then.
const FLOOD: u32 = 32;

/// How long a transaction waits for a comparison.
const LOOK_BEHIND: std::time::Duration = std::time::Duration::from_secs(10);

/// Why a comparison did not end.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompareError {
    /// Retriable as the call says.
    #[error(transparent)]
    Call(#[from] CallError),
    /// As the store says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// While the homeserver is not trusted to deliver everything: what it lost of this transaction's rooms is taken in
    /// first, so that each sender's messages keep their order. Synapse loses events when it, or we, come back: what is sent
    /// while it ends its recovery comes in no transaction.
    async fn look_behind(&self, txn: &Transaction) {
        #[derive(serde::Deserialize)]
        struct Where {
            room_id: OwnedRoomId,
            #[serde(default)]
            origin_server_ts: u64,
        }
        self.feel_pulse();
        if self.0.signs.restarted(txn) {
            self.suspect();
        }
        // A ghost's event has its sender's time, and says nothing.
        let foreign = txn.events.iter().filter(|raw| !self.0.names.is_echo(raw));
        let events: Vec<Where> = foreign.filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect();
        let now = super::core::now();
        if events.iter().any(|event| event.origin_server_ts.saturating_add(LATE) < now) {
            // It catches up: what is sent when it is done with that is what it loses.
            self.suspect();
        }
        if now >= self.0.suspect_until.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let rooms: std::collections::BTreeSet<OwnedRoomId> = events.into_iter().map(|event| event.room_id).collect();
        for room in rooms {
            let Some(uri) = self.linked(room.as_str()) else { continue };
            let Ok(Some(record)) = super::records::load(&self.0.db, &uri).await else { continue };
            let compared = tokio::time::timeout(LOOK_BEHIND, self.compare(&room, &record.speaker)).await;
            if !matches!(compared, Ok(Ok(_))) {
                tracing::info!(%room, "the timeline could not be compared before a transaction was taken in");
            }
        }
    }

    /// While events may be lost, timelines are compared, and what is in one may come before what was said elsewhere just before: a room
    /// that is asked something has heard of that first.
    pub(super) async fn look_first(&self, uri: &str) {
        if super::core::now() >= self.0.suspect_until.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let Ok(Some(record)) = super::records::load(&self.0.db, uri).await else { return };
        let Some(room) = record.matrix else { return };
        let compared = tokio::time::timeout(LOOK_BEHIND, self.compare(&room, &record.speaker)).await;
        if !matches!(compared, Ok(Ok(_))) {
            tracing::info!(%room, "the timeline could not be compared before another room was answered");
        }
    }

    /// In a burst, lets the homeserver gather the next events into one transaction: it sends one at a time and waits for the
    /// answer.
    async fn gather(&self, came: Instant) {
        let mut span = self.0.settings.gather;
        let (last, streak) = *lock(&self.0.answered);
        let quick = last.is_some_and(|last| came.saturating_duration_since(last) < span);
        let streak = if quick { streak.saturating_add(1) } else { 0 };
        if streak >= FLOOD {
            span *= 2;
        }
        if streak >= BURST {
            tokio::select! {
                () = self.0.stop.cancelled() => {}
                () = tokio::time::sleep_until(came + span) => {}
            }
        }
        *lock(&self.0.answered) = (Some(Instant::now()), streak);
    }

    /// Stores new events, in order; returns how many were new. Durable when it returns.
    pub(super) async fn take_in(&self, events: Vec<Box<RawValue>>) -> Result<usize, StoreError> {
        let engine = self.clone();
        self.unbroken(async move { engine.take_in_now(&events).await }).await
    }

    async fn take_in_now(&self, events: &[Box<RawValue>]) -> Result<usize, StoreError> {
        let inner = &self.0;
        let _one_at_a_time = inner.ingest.lock().await;
        let mut batch = Batch::new("events for the lobby");
        let mut lobby = Vec::new();
        let mut rooms: Vec<(String, Arrivals)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for raw in events {
            // Our own echoes, half of what comes, are not read further.
            if inner.names.is_echo(raw) {
                continue;
            }
            let event = match RoomEvent::parse(raw) {
                Ok(event) => event,
                Err(error) => {
                    let (event, room) = aside::named(raw);
                    let place = room.unwrap_or_else(|| aside::NO_ROOM.to_owned());
                    if let Some(event) = &event {
                        let key = (place.clone(), event.clone());
                        if !seen.insert(key.clone()) || EVENTS.get(&inner.db, &key).await?.is_some() {
                            continue;
                        }
                        EVENTS.put(&inner.db, &mut batch, &key, &inner.today.dated(None))?;
                    }
                    self.put_aside(&mut batch, &place, event, &format!("unreadable: {error}"), Some(raw.get()))?;
                    continue;
                }
            };
            // State that no room of ours acts on.
            let room = event.room_id.to_string();
            let is_setting =
                Setting::of(&event.event_type).is_some() || lasting(&event.event_type, &event.content).is_some();
            let setting = event.state_key.as_deref() == Some("") && is_setting;
            let said = is_live_info(&event.event_type) || is_widget(&event.event_type);
            let acts = event.event_type == "m.room.member"
                || (setting || said) && self.linked(&room).is_some()
                || self.ends_room(&event);
            if event.state_key.is_some() && !acts {
                continue;
            }
            let key = (room.clone(), event.event_id.to_string());
            if !seen.insert(key.clone()) || EVENTS.get(&inner.db, &key).await?.is_some() {
                continue;
            }
            let raw = raw.get().to_owned();
            match self.linked(&room) {
                // Behind what still waits in the lobby, so that the order is kept.
                Some(uri) if !self.in_lobby(&room) => {
                    let index = rooms.iter().position(|(known, _)| *known == uri).unwrap_or_else(|| {
                        rooms.push((uri, Arrivals { items: Vec::new(), writes: Batch::new("events for a room") }));
                        rooms.len() - 1
                    });
                    if let Some((_, arrivals)) = rooms.get_mut(index) {
                        EVENTS.put(&inner.db, &mut arrivals.writes, &key, &inner.today.dated(None))?;
                        arrivals.items.push(Arrival { item: InboxItem::Event(raw), event: Some(event) });
                    }
                }
                _ => {
                    EVENTS.put(&inner.db, &mut batch, &key, &inner.today.dated(None))?;
                    let number = LOBBY.append(&inner.db, &mut batch, &room, &raw)?;
                    lobby.push((room, number, raw));
                }
            }
        }
        let new = lobby.len() + rooms.iter().map(|(_, arrivals)| arrivals.items.len()).sum::<usize>();
        if !batch.is_empty() {
            inner.db.commit(batch).await?;
        }
        for (room, number, raw) in lobby {
            self.knock_at(&room);
            self.to_lobby(&room, number, raw);
        }
        // Rooms do not wait for each other.
        let mut deliveries = tokio::task::JoinSet::new();
        for (uri, arrivals) in rooms {
            let engine = self.clone();
            deliveries.spawn(async move { engine.deliver(&uri, arrivals).await });
        }
        for result in deliveries.join_all().await {
            result?;
        }
        Ok(new)
    }

    /// Compares a room's timeline with what came, takes in what did not, and says so. A homeserver that has just lost something,
    /// or is behind without having been away, may lose what comes next, too.
    pub(super) async fn reconcile(&self, room: &OwnedRoomId, reader: &Actor) -> Result<(), CompareError> {
        let missing = self.compare(room, reader).await?;
        if missing > 0 {
            self.suspect();
            tracing::warn!(%room, missing, "events that the homeserver did not deliver were found in the timeline");
        }
        Ok(())
    }

    /// Compares a room's timeline with what came, and takes in what did not: that many.
    async fn compare(&self, room: &OwnedRoomId, reader: &Actor) -> Result<usize, CompareError> {
        let db = &self.0.db;
        let name = room.to_string();
        let until = WATERMARKS.get(db, &name).await?;
        let mut newest = None;
        let mut pages: Vec<Vec<Box<RawValue>>> = Vec::new();
        let mut read = 0;
        let mut older: Option<String> = None;
        let mut found = false;
        'pages: loop {
            let page = self.0.homeserver.timeline(room, reader, older.as_deref(), PAGE).await?;
            let mut events = page.events;
            if newest.is_none() {
                newest = events.last().and_then(|raw| event_id(raw));
            }
            read += events.len();
            if let Some(until) = &until
                && let Some(place) = events.iter().position(|raw| event_id(raw).as_deref() == Some(until))
            {
                events.drain(..=place);
                pages.push(events);
                found = true;
                break 'pages;
            }
            pages.push(events);
            older = page.older;
            if older.is_none() || read >= MAX_COMPARED {
                break;
            }
        }
        let mut events: Vec<Box<RawValue>> = pages.into_iter().rev().flatten().collect();
        if !found {
            // Without the last known event, what is long done would be taken for new.
            let since = self.0.today.forgotten_before().max(self.counts_since(room));
            events.retain(|raw| sent(raw) >= since);
        }
        let missing = self.take_in(events).await?;
        if let Some(newest) = newest.filter(|newest| Some(newest) != until.as_ref()) {
            let mut batch = Batch::new("watermark");
            WATERMARKS.put(db, &mut batch, &name, &newest)?;
            db.commit(batch).await?;
        }
        Ok(missing)
    }
}

/// An event's id, without reading the rest.
pub(super) fn event_id(raw: &RawValue) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Id {
        event_id: String,
    }
    serde_json::from_str::<Id>(raw.get()).ok().map(|id| id.event_id)
}

/// When an event was sent, as its homeserver says.
fn sent(raw: &RawValue) -> u64 {
    #[derive(serde::Deserialize)]
    struct When {
        origin_server_ts: u64,
    }
    serde_json::from_str::<When>(raw.get()).map_or(0, |when| when.origin_server_ts)
}

impl MatrixInbound for Engine {
    fn transaction(&self, txn: Transaction) -> BoxFuture<'_, Result<(), InboundError>> {
        Box::pin(async move {
            if self.0.stop.is_cancelled() {
                return Err(InboundError::ShuttingDown);
            }
            let came = Instant::now();
            self.look_behind(&txn).await;
            self.take_in(txn.events).await.map_err(|error| InboundError::NotStored(error.to_string()))?;
            self.take_receipts(&txn.ephemeral);
            self.gather(came).await;
            Ok(())
        })
    }

    fn query_user<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<bool, InboundError>> {
        Box::pin(async move {
            let Some(uri) = self.0.names.ghost_uri(user) else { return Ok(self.0.names.is_bot(user)) };
            if !self.0.peers.knows(&uri.provider()) {
                return Ok(false);
            }
            let made = self.0.homeserver.ensure_ghost(&uri).await;
            made.map(|_| true).map_err(|error| InboundError::NotStored(error.to_string()))
        })
    }

    fn find_by_handle<'a>(&'a self, handle: &'a str) -> BoxFuture<'a, Result<Vec<UserUri>, InboundError>> {
        Box::pin(self.look_up(handle))
    }

    fn query_alias<'a>(&'a self, _alias: &'a RoomAliasId) -> BoxFuture<'a, Result<bool, InboundError>> {
        // Portals are made when somebody is asked in, not when somebody tries an alias.
        Box::pin(async move { Ok(false) })
    }
}
