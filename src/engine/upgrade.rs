//! Room upgrades, the engine's part (`room::upgrade`): the speaker goes into the successor and reads what it says of itself;
//! what comes from there meanwhile waits in the lobby, and what the old room does not take any more is shown in the new one.
//! Anybody can name any room as a successor: one that is something else to the gateway is neither entered nor left.
//!
//! Nothing of this is stored but what `Room` knows: with its first tick after a start a room that moves looks again.

use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::Value;

use super::{
    actor::{Actor as RoomActor, After},
    core::{Engine, lock},
    lobby::LobbyError,
    mail::Mail,
    ports::{Actor, CallError, MatrixAction, Millis, Retry, StateNow},
    tables::{ENDED, LINKS, MANAGEMENT, OutRow},
};
use crate::{
    room::{Effect, Move, NewHome, TOMBSTONE},
    store::{Batch, StoreError},
    translate::RoomEvent,
};

/// How often a message that the old room refuses is tried again before the gateway has heard of the upgrade.
const UNHEARD: u32 = 20;

impl RoomActor {
    /// Which Matrix room is the room's, or shall be.
    pub(super) fn home(&self, effect: Effect, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        match effect {
            Effect::LookForHome { to, reader } => after.home = Some((to, reader)),
            Effect::Move(change) => {
                if let Move::Moved(_, to, _) = &change {
                    self.takes_place(to, batch)?;
                }
                after.moves.push(change);
            }
            Effect::Link(room) => {
                let room = room.to_string();
                LINKS.put(&self.engine.0.db, batch, &room, &self.uri)?;
                after.links.push((room, true));
            }
            Effect::Unlink(room) => {
                let room = room.to_string();
                LINKS.delete(batch, &room);
                after.links.push((room, false));
            }
            _ => {}
        }
        Ok(())
    }

    /// The room goes on in this Matrix room: not if that has become another one's since it was looked at.
    fn takes_place(&self, to: &OwnedRoomId, batch: &mut Batch) -> Result<(), StoreError> {
        let other = self.engine.linked(to.as_str()).filter(|other| *other != self.uri);
        if let Some(other) = other {
            // Another look finds the same, and tells people.
            self.engine.mail(&self.uri, Mail::LookForHome);
            return Err(StoreError::Invalid(format!("{to} belongs to {other} already")));
        }
        // Perhaps it does, and that is being stored.
        batch.require(LINKS.absent(&to.to_string()));
        Ok(())
    }
}

impl Engine {
    pub(super) fn note_move(&self, uri: &str, change: &Move) {
        lock(&self.0.moves).note(uri, change);
    }

    /// The MIMI room whose successor this Matrix room may be.
    pub(super) fn awaits(&self, matrix: &str) -> Option<String> {
        lock(&self.0.moves).awaited_by(matrix)
    }

    /// Something happened in a Matrix room that a room of ours waits for: perhaps it can be entered now.
    pub(super) fn knock_at(&self, matrix: &str) {
        if let Some(uri) = self.awaits(matrix) {
            self.mail(&uri, Mail::LookForHome);
        }
    }

    /// Goes into the successor of a room and reads what it says of itself; the room hears it.
    pub(super) fn look_for_home(&self, uri: &str, to: OwnedRoomId, reader: Actor) {
        let (engine, uri) = (self.clone(), uri.to_owned());
        self.0.tasks.spawn(async move {
            let mut wait = engine.0.settings.retry;
            loop {
                let found = tokio::select! {
                    () = engine.0.stop.cancelled() => return,
                    found = engine.new_home(&uri, &to, &reader) => found,
                };
                let found = match found {
                    Ok(home) => Ok(home),
                    Err(LobbyError::Call(error)) if error.retry == Retry::Permanent => Err(error.to_string()),
                    Err(error) => {
                        tracing::debug!(room = %uri, %error, "the successor of a Matrix room cannot be read yet");
                        tokio::select! {
                            () = engine.0.stop.cancelled() => return,
                            () = tokio::time::sleep(wait) => {}
                        }
                        wait = (wait * 2).min(engine.0.settings.retry * 50);
                        continue;
                    }
                };
                return engine.mail(&uri, Mail::NewHome { to, found: Box::new(found) });
            }
        });
    }

    /// Why this Matrix room cannot take the place of a MIMI room's, whatever it says of itself. For people.
    async fn is_in_use(&self, uri: &str, to: &OwnedRoomId) -> Result<Option<String>, StoreError> {
        if self.linked(to.as_str()).is_some_and(|other| other != uri) {
            return Ok(Some("that room is mirrored already".to_owned()));
        }
        // Nobody waits for it where a late look comes, whose answer nobody hears.
        let waits = self.awaits(to.as_str()).is_some_and(|other| other == uri);
        if !waits || self.0.mirroring.holds(to.as_str()) {
            return Ok(Some("that room is just becoming another MIMI room".to_owned()));
        }
        let (db, name) = (&self.0.db, to.to_string());
        let own = self.0.settings.admin_room.as_ref() == Some(to)
            || MANAGEMENT.get(db, &name).await?.is_some()
            || ENDED.get(db, &name).await?.is_some();
        Ok(own.then(|| "that room serves another purpose".to_owned()))
    }

    /// Goes into a room to look at it. True: for nothing else.
    async fn enter(&self, room: &OwnedRoomId, actor: &Actor) -> Result<bool, CallError> {
        let homeserver = &self.0.homeserver;
        let me = homeserver.user_id(actor);
        let there = match homeserver.members(room, actor).await {
            Ok(members) => members.contains(&me),
            Err(error) if error.retry == Retry::Permanent => false,
            Err(error) => return Err(error),
        };
        if !there {
            // Before it is: another look may come in between.
            lock(&self.0.moves).enters(room, true);
        }
        let join = MatrixAction::Join { room: room.clone(), actor: actor.clone() };
        if let Err(error) = homeserver.perform(&join).await {
            if error.retry == Retry::Permanent {
                lock(&self.0.moves).enters(room, false);
            }
            return Err(error);
        }
        Ok(lock(&self.0.moves).has_entered(room))
    }

    async fn new_home(&self, uri: &str, room: &OwnedRoomId, reader: &Actor) -> Result<NewHome, LobbyError> {
        if let taken @ Some(_) = self.is_in_use(uri, room).await? {
            return Ok(NewHome { taken, ..NewHome::default() });
        }
        let entered = self.enter(room, reader).await?;
        let homeserver = &self.0.homeserver;
        let text = |state: Option<StateNow>, key: &str| {
            let found = state.and_then(|state| state.content.get(key).and_then(Value::as_str).map(str::to_owned));
            found.unwrap_or_default()
        };
        let read = |event_type: &'static str| homeserver.state(room, reader, event_type);
        // Only the bot sees who has joined; of a chat of two the room knows enough.
        let joined: Vec<OwnedUserId> = match reader {
            Actor::Bot => homeserver.joined_members(room).await?.into_iter().map(|member| member.user).collect(),
            Actor::Ghost(_) => Vec::new(),
        };
        let home = NewHome {
            taken: None,
            entered,
            create: read("m.room.create").await?,
            encrypted: read("m.room.encryption").await?.is_some(),
            name: text(read("m.room.name").await?, "name"),
            topic: text(read("m.room.topic").await?, "topic"),
            powers: read("m.room.power_levels").await?.map(|levels| levels.content),
            joined,
        };
        // It may have become something else meanwhile.
        Ok(NewHome { taken: self.is_in_use(uri, room).await?, ..home })
    }

    /// The row of a message that an old Matrix room refused, as it is to be sent now. `None`: it is refused for good.
    pub(super) async fn moved_row(&self, row: &OutRow, tries: &mut u32) -> Option<Result<OutRow, CallError>> {
        let showing = match row {
            OutRow::Show(showing) | OutRow::ShowNow(showing) => showing.as_ref(),
            OutRow::Parcel(parcel) => &parcel.showing,
            _ => return None,
        };
        let MatrixAction::Send { room: old, actor, .. } = &showing.action else { return None };
        let later = |what: &str| CallError {
            what: what.to_owned(),
            retry: Retry::Retriable(None),
            status: None,
            errcode: None,
        };
        let way = lock(&self.0.moves).from(old.as_str());
        let new = match way {
            Some(Some(new)) => new,
            Some(None) => return Some(Err(later("the Matrix room is being upgraded"))),
            None => {
                // Perhaps the upgrade has not come to us yet.
                *tries += 1;
                let ended = *tries <= UNHEARD && self.is_over(old, actor).await;
                return ended.then(|| Err(later("the Matrix room was upgraded")));
            }
        };
        let join = MatrixAction::Join { room: new.clone(), actor: actor.clone() };
        if let Err(error) = self.0.homeserver.perform(&join).await {
            return (error.retry != Retry::Permanent).then_some(Err(error));
        }
        let mut row = row.clone();
        let showing = match &mut row {
            OutRow::Show(showing) | OutRow::ShowNow(showing) => showing.as_mut(),
            OutRow::Parcel(parcel) => &mut parcel.showing,
            _ => return None,
        };
        if let MatrixAction::Send { room, .. } = &mut showing.action {
            *room = new;
        }
        Some(Ok(row))
    }

    async fn is_over(&self, room: &RoomId, reader: &Actor) -> bool {
        self.0.homeserver.state(room, reader, TOMBSTONE).await.is_ok_and(|state| state.is_some())
    }

    /// Since when a Matrix room counts that took another one's place.
    pub(super) fn counts_since(&self, matrix: &RoomId) -> Millis {
        lock(&self.0.moves).since(matrix.as_str())
    }

    /// Whether an event stands in another Matrix room than this one, which took that one's place.
    pub(super) fn is_before(&self, matrix: &RoomId) -> bool {
        lock(&self.0.moves).is_new(matrix.as_str())
    }

    /// Whether this event ends a Matrix room that is mirrored.
    pub(super) fn ends_room(&self, event: &RoomEvent) -> bool {
        event.event_type == TOMBSTONE
            && event.state_key.as_deref() == Some("")
            && self.linked(event.room_id.as_str()).is_some()
    }
}
