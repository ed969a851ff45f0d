//! What our users are called in a room, as the homeserver tells: a row for each who has a name there, looked at when they speak.
//! So a room of many costs as much as those who speak in it.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};
use serde_json::Value;

use super::{actor::Actor, core::Engine, mail::NewRoom, records, tables::MEMBER_NAMES};
use crate::{
    room::{Names as _, Phase},
    store::{Batch, StoreError},
    translate::RoomEvent,
};

/// Longer names are cut: nobody shows so much of one.
const MAX_CHARS: usize = 256;
/// So many speakers of a room are known without looking.
const KNOWN: usize = 1024;

/// Names of speakers, as far as they were looked at, and what this step's batch changes.
pub(super) type Known = BTreeMap<OwnedUserId, Option<String>>;

/// The name in a member event's content.
pub(super) fn name_in(content: &Value) -> Option<String> {
    let name = content.get("displayname").and_then(Value::as_str)?;
    Some(name.chars().take(MAX_CHARS).collect()).filter(|name: &String| !name.trim().is_empty())
}

impl Actor {
    /// Notes the name of one of ours who comes, or changes it.
    pub(super) fn note_member(&mut self, event: &RoomEvent, batch: &mut Batch) -> Result<(), StoreError> {
        let names = &self.engine.0.names;
        if event.event_type != "m.room.member" || self.room.is_none() || !names.telling().profiles {
            return Ok(());
        }
        let Some(member) = event.state_key.as_deref().and_then(|key| UserId::parse(key).ok()) else { return Ok(()) };
        if names.uri(&member).is_none() {
            return Ok(());
        }
        let joined = event.content.get("membership").and_then(Value::as_str) == Some("join");
        let name = name_in(&event.content).filter(|_| joined);
        self.put_name(member, name, batch)
    }

    fn put_name(&mut self, member: OwnedUserId, name: Option<String>, batch: &mut Batch) -> Result<(), StoreError> {
        let key = (self.uri.clone(), member.to_string());
        match &name {
            // What most homeservers set by themselves says nothing.
            Some(name) if name != member.localpart() => MEMBER_NAMES.put(&self.engine.0.db, batch, &key, name)?,
            _ => MEMBER_NAMES.delete(batch, &key),
        }
        self.known_names.insert(member, name);
        Ok(())
    }

    /// The names of those who are in a room that begins.
    pub(super) fn note_members(&mut self, new: &NewRoom, batch: &mut Batch) -> Result<(), StoreError> {
        if !self.engine.0.names.telling().profiles {
            return Ok(());
        }
        for (member, name) in &new.names {
            if name != member.localpart() {
                let key = (self.uri.clone(), member.to_string());
                MEMBER_NAMES.put(&self.engine.0.db, batch, &key, name)?;
            }
        }
        self.known_names.clear();
        // Of this batch and not stored yet; a room of many is looked up.
        if new.names.len() <= KNOWN {
            self.known_names.extend(new.names.iter().map(|(member, name)| (member.clone(), Some(name.clone()))));
        }
        Ok(())
    }

    /// One of ours speaks: the room knows what they are called.
    pub(super) async fn name_speaker(&mut self, event: &RoomEvent) -> Result<(), StoreError> {
        let names = &self.engine.0.names;
        if event.state_key.is_some() || !names.telling().profiles || !self.is_carried(event) {
            return Ok(());
        }
        let Some(user) = names.uri(&event.sender) else { return Ok(()) };
        if !self.known_names.contains_key(&event.sender) {
            let key = (self.uri.clone(), event.sender.to_string());
            let name = MEMBER_NAMES.get(&self.engine.0.db, &key).await?;
            self.known_names.insert(event.sender.clone(), name);
        }
        let name = self.known_names.get(&event.sender).cloned().flatten();
        if let Some(room) = &mut self.room {
            room.is_named(&user, name.as_deref());
        }
        Ok(())
    }

    /// After a batch: what is stored can be looked up.
    pub(super) fn forget_names(&mut self) {
        if self.known_names.len() > KNOWN {
            self.known_names.clear();
        }
    }
}

impl Engine {
    /// What a user is called who begins a room, of which the gateway sees no more yet than the invitation: as in every new room.
    pub(super) async fn own_name(&self, user: &UserId) -> Vec<(OwnedUserId, String)> {
        if !self.0.names.telling().profiles {
            return Vec::new();
        }
        let profile = self.0.homeserver.profile(user).await.ok().flatten();
        profile.and_then(|profile| profile.displayname).map(|name| (user.to_owned(), name)).into_iter().collect()
    }

    /// Names in rooms that are over are of no use.
    pub(super) async fn trim_names(&self) -> Result<u64, StoreError> {
        let db = &self.0.db;
        let mut gone = Batch::new("names in rooms that are over");
        let mut count = 0;
        let mut last: Option<(String, bool)> = None;
        for ((room, member), _) in MEMBER_NAMES.scan_all(db, &()).await? {
            if last.as_ref().is_none_or(|(known, _)| *known != room) {
                let record = records::load(db, &room).await?;
                last = Some((room.clone(), record.is_some_and(|record| record.phase != Phase::Left)));
            }
            if last.as_ref().is_some_and(|(_, lives)| !lives) {
                MEMBER_NAMES.delete(&mut gone, &(room, member));
                count += 1;
            }
        }
        if count > 0 {
            db.commit(gone).await?;
        }
        Ok(count)
    }
}
