//! What people have read: receipts of our users on their way to MIMI (Client-Server API 1.17, "Receipts"), and reports of remote
//! users on their way to the ghosts' receipts and to the senders' clients.
//!
//! The homeserver tells a receipt once, and nobody waits for it: what is lost with a crash comes with the next one, since a
//! report names all that was read since the last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    actor::{Actor, After},
    caught::caught,
    core::{Engine, lock, random},
    ingest::event_id,
    mail::Mail,
    ports::{Actor as MatrixActor, CallError, MatrixAction, MatrixDone, Millis},
    relations::lookup_failed,
    tables::{DELIVERED, LOG, OutRow, READ, SHOWN, UNREADABLE, Unreadable},
};
use crate::{
    content::{MessageId, MessageStatus, MessageStatusReport},
    ident::UserUri,
    room::{Fate, Input, Names as _, SendStatus},
    store::{Batch, StoreError},
};

/// Largest ephemeral event that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// So many messages a report names at most: the newest.
const MAX_NAMED: usize = 100;
/// So many lines of the log are looked through for them; further back only the newest message is named.
const MAX_LOOKED_AT: usize = 2000;
/// So many messages of a report of somebody else's are looked at, the last ones.
const MAX_HEARD: usize = 500;
/// So many events are looked through for the message before one that is none.
const MAX_BEFORE: u32 = 100;
/// Of so many messages within an hour it is told that somebody could not read them, or can by now: each is an event in the room.
pub(super) const MAX_UNREADABLE: u32 = 20;
/// So many users are named as those who have a message, or who could not read it.
const MAX_USERS: usize = 50;

/// Receipts as the homeserver tells them: by event, kind and user.
#[derive(Deserialize)]
struct Receipts {
    #[serde(rename = "type")]
    kind: String,
    room_id: OwnedRoomId,
    content: BTreeMap<OwnedEventId, BTreeMap<String, BTreeMap<OwnedUserId, Receipt>>>,
}

#[derive(Deserialize)]
struct Receipt {
    thread_id: Option<String>,
}

/// What somebody has read and others do not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    /// The newest event.
    pub(super) event: OwnedEventId,
    /// Only this one: what is before it in the room is in other threads.
    pub(super) alone: bool,
}

/// What was read lately, by room, user and thread (none: the room itself): a receipt in a thread says nothing of the rest.
pub(super) type Reads = BTreeMap<(String, UserUri, Option<String>), Read>;

/// Who has read up to an event that is no message, while the message before it is looked for.
pub(super) type Unplaced = BTreeMap<(OwnedRoomId, OwnedEventId), BTreeSet<UserUri>>;

impl Engine {
    /// Takes receipts in. They are told a little later, with those that come until then.
    pub(super) fn take_receipts(&self, ephemeral: &[Box<RawValue>]) {
        let inner = &self.0;
        let mut found = Reads::new();
        for raw in ephemeral.iter().filter(|raw| raw.get().len() <= MAX_BYTES && raw.get().contains("m.receipt")) {
            let Ok(receipts) = serde_json::from_str::<Receipts>(raw.get()) else { continue };
            let Some(uri) = inner.linked(&receipts) else { continue };
            for (event, mut kinds) in receipts.content {
                // Private receipts are nobody else's business.
                for (user, Receipt { thread_id }) in kinds.remove("m.read").unwrap_or_default() {
                    let Some(user) = inner.names.uri(&user) else { continue };
                    let thread = thread_id.filter(|thread| thread != "main");
                    let alone = thread.is_some();
                    found.insert((uri.clone(), user, thread), Read { event: event.clone(), alone });
                }
            }
        }
        if found.is_empty() {
            return;
        }
        let mut reads = lock(&inner.reads);
        let begins = reads.is_empty();
        reads.extend(found);
        drop(reads);
        if begins {
            let engine = self.clone();
            inner.tasks.spawn(async move {
                tokio::select! {
                    () = engine.0.stop.cancelled() => return,
                    () = tokio::time::sleep(engine.0.names.telling.gather_reads) => {}
                }
                for ((uri, user, _), read) in std::mem::take(&mut *lock(&engine.0.reads)) {
                    engine.mail(&uri, Mail::Read { user, read });
                }
            });
        }
    }

    /// Shows what a remote user has read: the ghost's receipt at the newest of these messages.
    pub(super) async fn show_read(
        &self,
        room: &str,
        matrix: &RoomId,
        user: &UserUri,
        messages: &[[u8; 32]],
    ) -> Result<MatrixDone, CallError> {
        let mut newest: Option<(Millis, OwnedEventId)> = None;
        for id in messages {
            let Some(event) = self.event_of(room, MessageId(*id)).await.map_err(|error| lookup_failed(&error))? else {
                continue;
            };
            let shown = SHOWN.get(&self.0.db, &(room.to_owned(), *id)).await.map_err(|error| lookup_failed(&error))?;
            // One that is so new that it is not stored yet is the newest.
            let accepted = shown.and_then(|row| row.value.accepted).unwrap_or(Millis::MAX);
            if newest.as_ref().is_none_or(|(at, _)| *at <= accepted) {
                newest = Some((accepted, event));
            }
        }
        let Some((_, event)) = newest else { return Ok(MatrixDone::Done) };
        let actor = MatrixActor::Ghost(user.clone());
        self.0.homeserver.perform(&MatrixAction::Receipt { room: matrix.to_owned(), actor, event }).await
    }
}

impl super::core::Inner {
    fn linked(&self, receipts: &Receipts) -> Option<String> {
        let room = || lock(&self.links).get(receipts.room_id.as_str()).cloned();
        if receipts.kind == "m.receipt" { room() } else { None }
    }
}

impl Actor {
    /// One of our users has read up to an event: the messages of others that this covers are told.
    pub(super) async fn read(
        &mut self,
        user: &UserUri,
        read: &Read,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let Some(matrix) = self.room.as_ref().and_then(|room| room.matrix.clone()) else { return Ok(()) };
        let engine = self.engine.clone();
        let db = &engine.0.db;
        let Some(target) = engine.message_of(&matrix, &read.event).await? else {
            if !read.alone {
                self.place(&matrix, user, &read.event);
            }
            return Ok(());
        };
        let shown = SHOWN.get(db, &(self.uri.clone(), target.id.0)).await?;
        let Some(upto) = shown.and_then(|row| row.value.accepted) else { return Ok(()) };
        let alone = read.alone.then_some(target.id.0);
        self.begin_to_expire(user, upto, alone, batch, after).await?;
        let key = (self.uri.clone(), user.to_string());
        let last = READ.get(db, &key).await?;
        let mut messages = Vec::new();
        match last {
            _ if read.alone => messages.push(target.id),
            Some(last) if last >= upto => return Ok(()),
            Some(last) => messages = engine.log_between(&self.uri, last, upto).await?,
            None => messages.push(target.id),
        }
        if messages.is_empty() {
            messages.push(target.id);
        }
        let mut theirs = Vec::new();
        for id in messages {
            let Some(event) = engine.event_of(&self.uri, id).await? else { continue };
            let earlier = engine.message_of(&matrix, &event).await?;
            if earlier.is_some_and(|earlier| earlier.sender.provider() != *engine.0.names.domain()) {
                theirs.push(id);
            }
        }
        if !read.alone {
            READ.put(db, batch, &key, &upto)?;
        }
        let (user, salt) = (user.clone(), random()?);
        self.run(Input::Read { user, messages: theirs, salt }, batch, after).await.map(drop)
    }

    /// Clients report the last event that they show: that may be a notice of ours, or somebody who came. The message before it
    /// is looked for in the timeline, once for all who have read up to there.
    fn place(&self, matrix: &OwnedRoomId, user: &UserUri, event: &OwnedEventId) {
        let Some(reader) = self.room.as_ref().map(|room| room.speaker.clone()) else { return };
        let key = (matrix.clone(), event.clone());
        let mut unplaced = lock(&self.engine.0.unplaced);
        let is_looked_for = unplaced.contains_key(&key);
        unplaced.entry(key.clone()).or_default().insert(user.clone());
        drop(unplaced);
        if is_looked_for {
            return;
        }
        let (engine, uri) = (self.engine.clone(), self.uri.clone());
        self.engine.0.tasks.spawn(async move {
            let found = tokio::select! {
                () = engine.0.stop.cancelled() => return,
                found = caught(engine.message_before(&key.0, &reader, &key.1)) => found,
            };
            // Whatever came of it: the next receipt looks anew.
            let users = lock(&engine.0.unplaced).remove(&key).unwrap_or_default();
            let Ok(found) = found else {
                return tracing::error!(room = %uri, event = %key.1, "looking for what was read panicked");
            };
            match found {
                Ok(Some(event)) => {
                    for user in users {
                        let read = Read { event: event.clone(), alone: false };
                        engine.mail(&uri, Mail::Read { user, read });
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(room = %uri, event = %key.1, %error, "what was read is not known"),
            }
        });
    }

    /// What a remote user says of messages.
    pub(super) async fn reported(
        &mut self,
        by: UserUri,
        report: MessageStatusReport,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let Some(matrix) = self.room.as_ref().and_then(|room| room.matrix.clone()) else { return Ok(()) };
        let mut entries = report.0;
        entries.drain(..entries.len().saturating_sub(MAX_HEARD));
        if self.engine.0.names.telling.send_status != SendStatus::Off {
            for entry in &entries {
                match entry.status {
                    MessageStatus::Delivered | MessageStatus::Read => {
                        self.has_it(&by, entry.message_id, &matrix, batch, after).await?;
                    }
                    MessageStatus::Error => {
                        self.cannot_read_it(&by, entry.message_id, &matrix, batch, after).await?;
                    }
                    // That it is gone there, or out of sight, is no failure.
                    _ => {}
                }
            }
        }
        let read = entries.into_iter().filter(|entry| entry.status == MessageStatus::Read);
        let messages: Vec<[u8; 32]> = read.map(|entry| entry.message_id.0).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let row = OutRow::Seen { room: matrix, user: by, messages };
        self.send(format!("m:{}", self.uri), row, batch, after)
    }

    /// The event of a message, if it is one of our users'.
    async fn own_event(&mut self, id: MessageId, matrix: &RoomId) -> Result<Option<OwnedEventId>, StoreError> {
        let engine = self.engine.clone();
        let Some(event) = engine.event_of(&self.uri, id).await? else { return Ok(None) };
        let earlier = engine.message_of(matrix, &event).await?;
        let is_ours = earlier.is_some_and(|earlier| earlier.sender.provider() == *engine.0.names.domain());
        Ok(is_ours.then_some(event))
    }

    /// Who could not read a message, as this step knows it.
    async fn unreadable_for(&mut self, id: MessageId) -> Result<Unreadable, StoreError> {
        if let Some(users) = self.unreadable.get(&id.0) {
            return Ok(users.clone());
        }
        let row = UNREADABLE.get(&self.engine.0.db, &(self.uri.clone(), id.0)).await?;
        Ok(row.map(|row| row.value).unwrap_or_default())
    }

    /// Who has a message, as this step knows it.
    async fn delivered_to(&mut self, id: MessageId) -> Result<Vec<UserUri>, StoreError> {
        if let Some(users) = self.delivered.get(&id.0) {
            return Ok(users.clone());
        }
        let row = DELIVERED.get(&self.engine.0.db, &(self.uri.clone(), id.0)).await?;
        Ok(row.map(|row| row.value).unwrap_or_default())
    }

    fn note_unreadable(&mut self, id: MessageId, users: Unreadable, batch: &mut Batch) -> Result<(), StoreError> {
        let (db, today) = (&self.engine.0.db, &self.engine.0.today);
        UNREADABLE.put(db, batch, &(self.uri.clone(), id.0), &today.dated(users.clone()))?;
        self.unreadable.insert(id.0, users);
        Ok(())
    }

    /// A remote user could not read a message of one of ours: the sender's client is told, once for each of them.
    async fn cannot_read_it(
        &mut self,
        by: &UserUri,
        id: MessageId,
        matrix: &RoomId,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let Some(event) = self.own_event(id, matrix).await? else { return Ok(()) };
        let mut users = self.unreadable_for(id).await?;
        if users.len() >= MAX_USERS || users.iter().any(|(user, _)| user == by) {
            return Ok(());
        }
        // What one of their devices has, they have. What is not told is told with a later report.
        let has_it = self.delivered_to(id).await?.contains(by);
        if has_it || self.told_unreadable.take(&(by.clone(), false), super::core::now()).is_err() {
            return Ok(());
        }
        users.push((by.clone(), false));
        self.note_unreadable(id, users, batch)?;
        self.say(|step| step.tell_unreadable(&event, by), batch, after)
    }

    /// A remote user has a message of one of ours: the sender's client is told, once for each of them, if it wants to know, or
    /// was told that they could not read it.
    async fn has_it(
        &mut self,
        by: &UserUri,
        id: MessageId,
        matrix: &RoomId,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let db = &engine.0.db;
        let mut unreadable = self.unreadable_for(id).await?;
        let mut corrects = false;
        for (_, has_it) in unreadable.iter_mut().filter(|(user, has_it)| user == by && !has_it) {
            (corrects, *has_it) = (true, true);
        }
        if !corrects && engine.0.names.telling.send_status != SendStatus::All {
            return Ok(());
        }
        let Some(event) = self.own_event(id, matrix).await? else { return Ok(()) };
        if corrects && self.told_unreadable.take(&(by.clone(), true), super::core::now()).is_err() {
            return Ok(());
        }
        if corrects {
            self.note_unreadable(id, unreadable, batch)?;
        }
        let key = (self.uri.clone(), id.0);
        let mut users = self.delivered_to(id).await?;
        let is_new = users.len() < MAX_USERS && !users.contains(by);
        if is_new {
            users.push(by.clone());
        }
        if is_new || corrects {
            let ghosts = users.iter().filter_map(|user| engine.0.names.matrix_id(user)).collect();
            DELIVERED.put(db, batch, &key, &engine.0.today.dated(users.clone()))?;
            self.say(|step| step.tell_status(&event, &Fate::Reached(ghosts)), batch, after)?;
        }
        self.delivered.insert(id.0, users);
        Ok(())
    }
}

impl Engine {
    /// The newest message before an event, among the newest of the room.
    async fn message_before(
        &self,
        matrix: &RoomId,
        reader: &MatrixActor,
        event: &OwnedEventId,
    ) -> Result<Option<OwnedEventId>, CallError> {
        let page = self.0.homeserver.timeline(matrix, reader, None, MAX_BEFORE).await?;
        let ids: Vec<String> = page.events.iter().filter_map(|raw| event_id(raw)).collect();
        let upto = ids.iter().position(|id| id == event.as_str());
        for id in upto.and_then(|upto| ids.get(..upto)).unwrap_or_default().iter().rev() {
            let Ok(id) = OwnedEventId::try_from(id.as_str()) else { continue };
            if self.message_of(matrix, &id).await.map_err(|error| lookup_failed(&error))?.is_some() {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// The newest messages that the hub accepted after `last`, up to `upto`.
    async fn log_between(&self, room: &str, last: Millis, upto: Millis) -> Result<Vec<MessageId>, StoreError> {
        let mut newest = VecDeque::new();
        let mut after = Some(LOG.key(&(room.to_owned(), last, [u8::MAX; 32])).as_bytes().to_vec());
        let mut looked_at = 0;
        loop {
            let page = LOG.scan(&self.0.db, &room.to_owned(), after, 200).await?;
            for ((_, accepted, id), _) in page.rows {
                looked_at += 1;
                if accepted > upto {
                    return Ok(newest.into());
                }
                newest.push_back(MessageId(id));
                if newest.len() > MAX_NAMED {
                    newest.pop_front();
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(newest.into());
            }
            if looked_at >= MAX_LOOKED_AT {
                return Ok(Vec::new());
            }
        }
    }
}
