//! What is done later: messages are removed when their time has come, and what refers to a message that is not there waits for
//! it for a while. Both are rows with the time in front; one task looks at the first ones ([`super::clock`]), and the room's
//! actor does it, in a step of its own.

use std::collections::BTreeSet;

use ruma::{OwnedEventId, OwnedRoomId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    actor::{Actor, After},
    core::{Engine, lock, now},
    mail::Mail,
    ports::{Actor as MatrixActor, MatrixAction, Millis},
    tables::{AWAITED, EARLY, EXPIRING, Early, LATE, MORE, OUTBOX, OVERDUE, OutRow, SHOWN, TOLD, UNREAD},
};
use crate::{
    content::{Expiration, MessageId},
    ident::UserUri,
    store::{Batch, Database, StoreError},
};

/// Of the most that may wait for being read, this part is looked at together: one in so many.
const UNREAD_SHARE: usize = 10;
/// The kind under which it is noted that people know what stays.
const STAYS: &str = "disappearing messages";

/// A message that is to be removed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Removal {
    /// The Matrix room.
    matrix: OwnedRoomId,
    /// Who removes it.
    actor: MatrixActor,
    /// What becomes of its files.
    files: FilesGo,
}

/// When the files of a message go whose time has come, if it is one of our users'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FilesGo {
    /// With the message: its time is the same for all.
    Now,
    /// Some time after it: others read it later than who is here, and fetch its files then.
    Later,
    /// They are what is left of it.
    Alone,
}

/// A message whose time begins when it was read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Unread {
    /// How long it stays then, in seconds.
    seconds: u32,
    /// Who said it.
    sender: UserUri,
    /// Who removes it.
    actor: MatrixActor,
    /// Who of ours has read it.
    readers: BTreeSet<UserUri>,
}

impl Unread {
    /// All have read it: the row that removes it when its time is over.
    pub(super) fn begin(
        &self,
        db: &Database,
        matrix: OwnedRoomId,
        (room, id): &(String, [u8; 32]),
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let at = now() + u64::from(self.seconds) * 1000;
        let removal = Removal { matrix, actor: self.actor.clone(), files: FilesGo::Later };
        EXPIRING.put(db, batch, &(at, room.clone(), *id), &removal)
    }
}

/// What has become due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A message goes.
    Removal,
    /// A message waited for another for long enough.
    Showing,
}

impl Engine {
    /// A message refers to one that is not there: it waits for that, beginning with this call.
    pub(super) async fn put_off(&self, room: &str, lane: &str, number: u64, early: &Early) -> Result<(), StoreError> {
        let Early { showing, target, .. } = early;
        let (db, target) = (&self.0.db, *target);
        let at = self.waits_until(room, showing, target);
        let mut batch = Batch::new("a message that waits for another");
        OUTBOX.remove(&mut batch, &lane.to_owned(), number);
        EARLY.put(db, &mut batch, &(at, room.to_owned(), showing.message_id), early)?;
        AWAITED.put(db, &mut batch, &(room.to_owned(), target, showing.message_id), &at)?;
        lock(&self.0.awaited).insert((room.to_owned(), target));
        // Before it can go on.
        self.waits(room, showing, target, at);
        db.commit(batch).await?;
        self.0.due.notify_one();
        if self.event_of(room, MessageId(target)).await?.is_some() {
            // It came meanwhile.
            self.mail(room, Mail::Arrived { target });
        }
        Ok(())
    }

    /// A message has its event: what waits for it goes on.
    pub(super) fn arrived(&self, room: &str, target: [u8; 32]) {
        let overdue = lock(&self.0.overdue).contains(room);
        if overdue || lock(&self.0.awaited).contains(&(room.to_owned(), target)) {
            self.mail(room, Mail::Arrived { target });
        }
    }

    /// What is waited for since before the start.
    pub(super) async fn load_awaited(&self) -> Result<(), StoreError> {
        let rows = AWAITED.scan_all(&self.0.db, &()).await?;
        lock(&self.0.awaited).extend(rows.into_iter().map(|((room, target, _), _)| (room, target)));
        let mut after = None;
        loop {
            let page = EARLY.scan(&self.0.db, &(), after, 1000).await?;
            after = page.next.clone();
            for ((at, room, _), early) in self.readable(&EARLY, page).await? {
                self.waits(&room, &early.showing, early.target, at);
            }
            if after.is_none() {
                break;
            }
        }
        loop {
            let page = OVERDUE.scan(&self.0.db, &(), after, 1000).await?;
            lock(&self.0.overdue).extend(page.rows.into_iter().map(|((room, _), _)| room));
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

impl Actor {
    /// Notes when a message goes.
    pub(super) fn expires(
        &mut self,
        id: [u8; 32],
        sender: UserUri,
        expires: Expiration,
        actor: MatrixActor,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let Some((matrix, alone)) = self.room.as_ref().and_then(|room| {
            let alone = room.present.iter().all(|user| *user == sender);
            Some((room.matrix.clone()?, alone))
        }) else {
            return Ok(());
        };
        let db = &self.engine.0.db;
        let (at, files) = match expires {
            Expiration::At(seconds) => (u64::from(seconds) * 1000, FilesGo::Now),
            // Nobody else here is going to read it.
            Expiration::AfterReading(seconds) if alone => (now() + u64::from(seconds) * 1000, FilesGo::Later),
            Expiration::AfterReading(seconds) => {
                let unread = Unread { seconds, sender, actor, readers: BTreeSet::new() };
                after.unread += 1;
                return UNREAD.put(db, batch, &(self.uri.clone(), id), &self.engine.0.today.dated(unread));
            }
        };
        after.due = true;
        EXPIRING.put(db, batch, &(at, self.uri.clone(), id), &Removal { matrix, actor, files })
    }

    /// One of our users has read what the hub accepted up to then, or this message alone: the time of those that all of ours
    /// have read begins.
    pub(super) async fn begin_to_expire(
        &mut self,
        user: &UserUri,
        upto: Millis,
        alone: Option<[u8; 32]>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let db = &engine.0.db;
        for (key, mut row) in UNREAD.scan_all(db, &self.uri).await? {
            let accepted = SHOWN.get(db, &key).await?.and_then(|row| row.value.accepted);
            let covered = alone.map_or(accepted.is_some_and(|at| at <= upto), |id| id == key.1);
            if !covered {
                continue;
            }
            let is_new = row.value.readers.insert(user.clone());
            if !self.begin_if_read(&key, &row.value, batch, after)? && is_new {
                UNREAD.put(db, batch, &key, &row)?;
            }
        }
        Ok(())
    }

    /// Somebody is gone: all who are left may have read what that one had not. Or very many wait for being read: for the oldest
    /// of them nobody is waited for any more.
    pub(super) async fn look_at_readers(&mut self, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let (db, most) = (&engine.0.db, engine.0.settings.most_unread);
        let mut left = Vec::new();
        for (key, row) in UNREAD.scan_all(db, &self.uri).await? {
            if !self.begin_if_read(&key, &row.value, batch, after)? {
                left.push((key, row.value));
            }
        }
        let matrix = self.room.as_ref().and_then(|room| room.matrix.clone());
        let Some(matrix) = matrix.filter(|_| left.len() > most) else { return Ok(()) };
        // Some more than are too many, so that this is seldom.
        let begun = left.len() - most + most / UNREAD_SHARE;
        let mut by_age = Vec::with_capacity(left.len());
        for (key, unread) in left {
            // One that is so new that it is not stored yet is the newest.
            let accepted = SHOWN.get(db, &key).await?.and_then(|row| row.value.accepted).unwrap_or(Millis::MAX);
            by_age.push((accepted, key, unread));
        }
        by_age.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        for (_, key, unread) in by_age.into_iter().take(begun) {
            UNREAD.delete(batch, &key);
            unread.begin(db, matrix.clone(), &key, batch)?;
            after.due = true;
        }
        tracing::info!(
            room = self.uri,
            begun,
            most,
            "so many messages wait for being read that the oldest wait no more"
        );
        Ok(())
    }

    /// Looks at those that wait for being read each time that many more do.
    pub(super) fn more_unread(&mut self, more: usize) -> bool {
        let most = self.engine.0.settings.most_unread;
        self.unread += more;
        let looks = more > 0 && self.unread > (most / UNREAD_SHARE).max(1);
        if looks {
            self.unread = 0;
        }
        looks
    }

    /// Begins a message's time if all of ours who are here have read it. Whether it does.
    fn begin_if_read(
        &self,
        key: &(String, [u8; 32]),
        unread: &Unread,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<bool, StoreError> {
        let Some(room) = &self.room else { return Ok(false) };
        let all = room.present.iter().all(|user| *user == unread.sender || unread.readers.contains(user));
        let Some(matrix) = room.matrix.clone().filter(|_| all) else { return Ok(false) };
        UNREAD.delete(batch, key);
        after.due = true;
        unread.begin(&self.engine.0.db, matrix, key, batch)?;
        Ok(true)
    }

    /// Does what is due.
    pub(super) async fn due(
        &mut self,
        at: Millis,
        id: [u8; 32],
        due: Due,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let db = &engine.0.db;
        let key = (at, self.uri.clone(), id);
        let lane = format!("m:{}", self.uri);
        // There may be more than were handed on.
        after.due |= lock(&engine.0.dues).came(&self.uri, at, id, due);
        match due {
            Due::Removal => {
                let Some(removal) = EXPIRING.get(db, &key).await? else { return Ok(()) };
                EXPIRING.delete(batch, &key);
                self.files_expire(id, &removal, batch, after).await?;
                if removal.files == FilesGo::Alone {
                    return Ok(());
                }
                // What is still to come of it does not come.
                LATE.delete(batch, &(self.uri.clone(), id));
                // Before the look, so that a message that is shown meanwhile is heard of.
                let is_new = lock(&engine.0.overdue).insert(self.uri.clone());
                if let Some(event) = engine.event_of(&self.uri, MessageId(id)).await? {
                    let Removal { matrix: room, actor, .. } = removal;
                    let more = MORE.get(db, &(self.uri.clone(), id)).await?.map(|row| row.value).unwrap_or_default();
                    let more = more.into_iter().filter_map(|event| OwnedEventId::try_from(event).ok());
                    for event in std::iter::once(event).chain(more) {
                        let (room, actor) = (room.clone(), actor.clone());
                        let row = OutRow::Expire { room, actor, event, message_id: id };
                        // A lane of their own: many of them do not hold up what people say.
                        self.send(format!("x:{}", self.uri), row, batch, after)?;
                    }
                    if is_new {
                        lock(&engine.0.overdue).remove(&self.uri);
                    }
                    return Ok(());
                }
                // It goes as soon as it is shown.
                OVERDUE.put(db, batch, &(self.uri.clone(), id), &engine.0.today.dated(removal))
            }
            Due::Showing => {
                let Some(early) = EARLY.get(db, &key).await? else { return Ok(()) };
                EARLY.delete(batch, &key);
                // Within this step it may have gone on already.
                if after.released.contains(&id) || after.put_off.contains_key(&id) {
                    return Ok(());
                }
                let target = early.target;
                // What it stands behind goes on before it, however late that is.
                if let Some(again) = engine.still_behind(&self.uri, &early.showing, target).await? {
                    EARLY.put(db, batch, &(again, self.uri.clone(), id), &early)?;
                    AWAITED.put(db, batch, &(self.uri.clone(), target, id), &again)?;
                    engine.waits(&self.uri, &early.showing, target, again);
                    after.put_off.insert(id, again);
                    after.due = true;
                    return Ok(());
                }
                AWAITED.delete(batch, &(self.uri.clone(), target, id));
                let others = AWAITED.scan_all(db, &(self.uri.clone(), target)).await?;
                if others.iter().all(|((_, _, other), _)| *other == id) {
                    lock(&engine.0.awaited).remove(&(self.uri.clone(), target));
                }
                engine.came_not(&self.uri, &early.showing, target);
                engine.goes_on(&self.uri, &early.showing);
                after.released.insert(id);
                self.send(lane, early.now(), batch, after)
            }
        }
    }

    /// The time of a message has come: its files are not kept for others any more, or for some time only.
    async fn files_expire(
        &mut self,
        id: [u8; 32],
        removal: &Removal,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        if removal.files != FilesGo::Later {
            return self.files_gone(id, batch, after).await;
        }
        let Some(linger) = self.files_linger(id).await? else { return Ok(()) };
        let key = (now().saturating_add(linger), self.uri.clone(), id);
        after.due = true;
        EXPIRING.put(&self.engine.0.db, batch, &key, &Removal { files: FilesGo::Alone, ..removal.clone() })
    }

    /// What is due can never be done: it does not come again.
    pub(super) async fn forget_due(
        &mut self,
        at: Millis,
        id: [u8; 32],
        due: Due,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let key = (at, self.uri.clone(), id);
        lock(&self.engine.0.dues).came(&self.uri, at, id, due);
        match due {
            Due::Removal => EXPIRING.delete(batch, &key),
            Due::Showing => {
                let early = EARLY.get(&self.engine.0.db, &key).await?;
                EARLY.delete(batch, &key);
                if let Some(Early { showing, target, .. }) = early {
                    AWAITED.delete(batch, &(self.uri.clone(), target, id));
                    self.engine.passed(&self.uri, &showing);
                }
            }
        }
        Ok(())
    }

    /// A message came for which others wait.
    pub(super) async fn arrived(
        &mut self,
        target: [u8; 32],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let db = &engine.0.db;
        let late = (self.uri.clone(), target);
        if let Some(removal) = OVERDUE.get(db, &late).await? {
            OVERDUE.delete(batch, &late);
            EXPIRING.put(db, batch, &(now(), self.uri.clone(), target), &removal.value)?;
            after.due = true;
        }
        let mut waited = Vec::new();
        for (key, at) in AWAITED.scan_all(db, &(self.uri.clone(), target)).await? {
            AWAITED.delete(batch, &key);
            let late = (at, self.uri.clone(), key.2);
            if let Some(early) = EARLY.get(db, &late).await? {
                EARLY.delete(batch, &late);
                if let Some(again) = after.put_off.remove(&key.2) {
                    EARLY.delete(batch, &(again, self.uri.clone(), key.2));
                }
                if after.released.insert(key.2) {
                    waited.push(early);
                }
            }
        }
        lock(&engine.0.awaited).remove(&(self.uri.clone(), target));
        waited.sort_by_key(|early| early.showing.accepted);
        for early in waited {
            engine.goes_on(&self.uri, &early.showing);
            self.send(format!("m:{}", self.uri), early.now(), batch, after)?;
        }
        Ok(())
    }

    /// The homeserver does not let a message be removed: people are told once that such messages stay.
    pub(super) async fn not_removed(
        &mut self,
        why: &str,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let db = self.engine.0.db.clone();
        let key = (self.uri.clone(), String::new(), STAYS.to_owned());
        tracing::info!(room = %self.uri, why, "a message that shall disappear stays");
        if TOLD.get(&db, &key).await?.is_some() {
            return Ok(());
        }
        TOLD.put(&db, batch, &key, &())?;
        let text =
            "Messages that shall disappear stay in this room: I lack the power to remove what others wrote here.";
        self.say(|step| step.notice(text), batch, after)
    }
}

/// The redaction of a message whose time has come; made again it is the same.
pub(super) fn removal(room: &OwnedRoomId, actor: &MatrixActor, event: &OwnedEventId, id: &[u8; 32]) -> MatrixAction {
    let digest = Sha256::digest(format!("{room}\n{}\n{event}\nexpired", hex::encode(id)).as_bytes());
    MatrixAction::Send {
        room: room.clone(),
        actor: actor.clone(),
        event_type: "m.room.redaction".to_owned(),
        content: json!({ "redacts": event, "reason": "its time has come" }).to_string(),
        ts: None,
        txn_id: format!("x{}", hex::encode(digest.get(..16).unwrap_or(&digest))),
    }
}
