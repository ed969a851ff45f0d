//! What our users are called in a room, and look like, as the homeserver tells: a row for each who has a name or a picture there,
//! looked at when they speak.
//! So a room of many costs as much as those who speak in it.

use std::collections::BTreeMap;

use ruma::{OwnedUserId, UserId};
use serde_json::Value;

use super::{
    actor::Actor,
    core::Engine,
    mail::NewRoom,
    records,
    tables::{MEMBER_FACES, MemberFace},
};
use crate::{
    room::Names as _,
    store::{Batch, StoreError},
    translate::RoomEvent,
};

/// Longer names are cut: nobody shows so much of one.
const MAX_CHARS: usize = 256;
/// So many speakers of a room are known without looking.
const KNOWN: usize = 1024;

/// A place of a picture that is longer is none.
const MAX_PLACE: usize = 512;

/// Speakers, as far as they were looked at, and what this step's batch changes.
pub(super) type Known = BTreeMap<OwnedUserId, MemberFace>;

/// What a member event says of its member, or a profile.
fn face(member: &UserId, name: Option<&str>, picture: Option<&str>) -> MemberFace {
    let name = name.map(|name| name.chars().take(MAX_CHARS).collect::<String>());
    // What most homeservers set by themselves says nothing.
    let name = name.filter(|name| !name.trim().is_empty() && name != member.localpart());
    let picture = picture.filter(|place| place.starts_with("mxc://") && place.len() <= MAX_PLACE);
    MemberFace { name, picture: picture.map(str::to_owned) }
}

/// The same of a member event's content.
pub(super) fn face_in(member: &UserId, content: &Value) -> MemberFace {
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    face(member, text("displayname"), text("avatar_url"))
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
        let face = if joined { face_in(&member, &event.content) } else { MemberFace::default() };
        let key = (self.uri.clone(), member.to_string());
        if face == MemberFace::default() {
            MEMBER_FACES.delete(batch, &key);
        } else {
            MEMBER_FACES.put(&self.engine.0.db, batch, &key, &face)?;
        }
        self.known_faces.insert(member, face);
        Ok(())
    }

    /// Those who are in a room that begins.
    pub(super) fn note_members(&mut self, new: &NewRoom, batch: &mut Batch) -> Result<(), StoreError> {
        if !self.engine.0.names.telling().profiles {
            return Ok(());
        }
        for (member, face) in new.faces.iter().filter(|(_, face)| *face != MemberFace::default()) {
            MEMBER_FACES.put(&self.engine.0.db, batch, &(self.uri.clone(), member.to_string()), face)?;
        }
        self.known_faces.clear();
        // Of this batch and not stored yet; a room of many is looked up.
        if new.faces.len() <= KNOWN {
            self.known_faces.extend(new.faces.iter().cloned());
        }
        Ok(())
    }

    /// One of ours speaks: the room knows what they are called, and look like.
    pub(super) async fn name_speaker(&mut self, event: &RoomEvent) -> Result<(), StoreError> {
        let names = &self.engine.0.names;
        if event.state_key.is_some() || !names.telling().profiles || !self.is_carried(event) {
            return Ok(());
        }
        let Some(user) = names.uri(&event.sender) else { return Ok(()) };
        if !self.known_faces.contains_key(&event.sender) {
            let key = (self.uri.clone(), event.sender.to_string());
            let face = MEMBER_FACES.get(&self.engine.0.db, &key).await?.unwrap_or_default();
            self.known_faces.insert(event.sender.clone(), face);
        }
        if let (Some(room), Some(face)) = (&mut self.room, self.known_faces.get(&event.sender)) {
            room.is_named(&user, face.name.as_deref());
            room.looks(&user, face.picture.as_deref());
        }
        Ok(())
    }

    /// After a batch: what is stored can be looked up.
    pub(super) fn forget_names(&mut self) {
        if self.known_faces.len() > KNOWN {
            self.known_faces.clear();
        }
    }
}

impl Engine {
    /// A user who begins a room, of which the gateway sees no more yet than the invitation: as in every new room.
    pub(super) async fn own_face(&self, user: &UserId) -> Vec<(OwnedUserId, MemberFace)> {
        if !self.0.names.telling().profiles {
            return Vec::new();
        }
        let profile = self.0.homeserver.profile(user).await.ok().flatten();
        let face = profile.map(|profile| face(user, profile.displayname.as_deref(), profile.picture.as_deref()));
        face.map(|face| (user.to_owned(), face)).into_iter().collect()
    }

    /// Names in rooms that are over are of no use.
    pub(super) async fn trim_names(&self) -> Result<u64, StoreError> {
        let db = &self.0.db;
        let mut gone = Batch::new("names in rooms that are over");
        let mut count = 0;
        let mut last: Option<(String, bool)> = None;
        for ((room, member), _) in MEMBER_FACES.scan_all(db, &()).await? {
            if last.as_ref().is_none_or(|(known, _)| *known != room) {
                last = Some((room.clone(), records::lives(db, &room).await?));
            }
            if last.as_ref().is_some_and(|(_, lives)| !lives) {
                MEMBER_FACES.delete(&mut gone, &(room, member));
                count += 1;
            }
        }
        if count > 0 {
            db.commit(gone).await?;
        }
        Ok(count)
    }
}
