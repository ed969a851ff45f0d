//! What people of a room call themselves. Ours tell it before they speak, others' is what their ghosts are called in this Matrix
//! room: names belong to a room, and cross to no other. The drafts have the disposition `profile` for it and no more
//! (draft-ietf-mimi-content-08 section 4.3); our reading is in `docs/conformance.md`.
//!
//! ```text
//!  member event --> engine: row --> the member speaks --> Step::introduce: a profile message, if others know another name
//!  profile message --> Step::on_profile --> the ghost's member event, if it changed; at most so often
//! ```
//!
//! Who says nothing costs nothing: no message is made, and nothing of them is stored here.

use std::collections::{BTreeMap, BTreeSet};

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

use super::{
    cow_map::CowMap,
    effect::{Actor, Effect, MatrixAction, Millis},
    group::GroupError,
    state::{Intent, Room},
    step::{Step, hash},
};
use crate::{
    content::MimiContent,
    ident::{Look, ProviderDomain, UserUri, address_name, called, plain_name},
    translate::profile::{self, Photo, Vcard},
};

/// A ghost gets another name at most so often, in milliseconds.
const PAUSE: Millis = 20_000;
/// Of a name that did not reach others: it differs from all hashes that are looked for, and from nothing having been said.
const NOTHING: [u8; 8] = [0; 8];
/// And so many ghosts of a room within as long.
const AT_ONCE: u32 = 20;
/// Names that are kept of a room.
const MOST: usize = 10_000;

/// What is known of the names in a room. Each person has a row, and what concerns all of them another one: a name that changes
/// costs as much in a room of thousands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faces {
    /// Users of ours who have a name and spoke.
    pub ours: CowMap<UserUri, Own>,
    /// Remote users who told theirs.
    pub theirs: CowMap<UserUri, Face>,
    /// What concerns all of them.
    pub sheet: Sheet,
}

/// What concerns all names of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// The providers that were told.
    told: BTreeSet<ProviderDomain>,
    /// So many got another name since then.
    changed: (u32, Millis),
    /// When to look at the names that wait; zero if none do.
    due: Millis,
}

/// A user of ours who has a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// As it stands in the Matrix room; `None`: that of the address.
    name: Option<String>,
    /// The hash of what others were told last.
    told: Option<[u8; 8]>,
}

/// A remote user who told a name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    /// What they call themselves, as it may be shown.
    name: String,
    /// What that looks like.
    look: Look,
    /// Their ghost's name has the address beside it.
    apart: bool,
    /// Since when their ghost is called like that.
    since: Millis,
    /// It is to be called so, and is not yet.
    late: bool,
}

impl Faces {
    /// The name of a user of ours in the Matrix room, who speaks.
    fn is_called(&mut self, user: &UserUri, name: Option<&str>) {
        let name = name.and_then(plain_name).filter(|name| *name != address_name(user));
        if self.ours.get(user).map_or(name.is_none(), |own| own.name == name) {
            return;
        }
        self.ours.make_mut().entry(user.clone()).or_default().name = name;
    }

    /// Providers that are in for the first time, or again, were told nothing.
    fn heard_by(&mut self, providers: &BTreeSet<ProviderDomain>) {
        if !providers.is_subset(&self.sheet.told) {
            for own in self.ours.make_mut().values_mut() {
                own.told = None;
            }
        }
        if self.sheet.told != *providers {
            self.sheet.told.clone_from(providers);
        }
    }

    /// Whoever comes in again is told again.
    pub(super) fn only_in(&mut self, providers: &BTreeSet<ProviderDomain>) {
        self.sheet.told.retain(|provider| providers.contains(provider));
    }

    /// One of ours who goes is told of anew if they come back.
    pub(super) fn forget(&mut self, user: &UserUri) {
        self.ours.remove(user);
    }

    /// What one of ours who spoke is called.
    pub(super) fn name_of(&self, user: &UserUri) -> Option<String> {
        self.ours.get(user).and_then(|own| own.name.clone())
    }

    fn theirs(&mut self) -> &mut BTreeMap<UserUri, Face> {
        self.theirs.make_mut()
    }
}

impl Room {
    /// The name of one of ours in the Matrix room, as far as it is known; of those who speak. `None`: they have none.
    pub fn is_named(&mut self, user: &UserUri, name: Option<&str>) {
        self.faces.is_called(user, name);
    }

    /// A remote user's provider called it so when it was looked for: that counts until it tells its name itself.
    pub fn has_found(&mut self, user: &UserUri, name: &str) {
        if let Some(name) = plain_name(name).filter(|name| *name != address_name(user)) {
            let look = Look::of(&name);
            self.faces.theirs().entry(user.clone()).or_insert(Face { name, look, ..Face::default() });
        }
    }
}

impl Step<'_> {
    /// Before one of ours speaks: others hear what they are called, if they do not know it. `said`: the encoded message.
    pub(super) fn introduce(&mut self, user: &UserUri, said: &[u8]) -> Result<(), GroupError> {
        if !self.names.telling().profiles || !self.room.faces.ours.contains_key(user) {
            return Ok(());
        }
        let peers = self.peers();
        self.room.faces.heard_by(&peers);
        let Some(own) = self.room.faces.ours.get(user) else { return Ok(()) };
        if peers.is_empty() {
            return Ok(());
        }
        let card = match (&own.name, own.told) {
            (None, None) => {
                self.room.faces.forget(user);
                return Ok(());
            }
            (None, Some(_)) => Vcard { name: Some(address_name(user)), picture: Photo::Unsaid },
            (name, _) => Vcard { name: name.clone(), picture: Photo::Unsaid },
        };
        let digest: [u8; 8] = hash(card.write().as_bytes()).first_chunk().copied().unwrap_or_default();
        if own.told == Some(digest) {
            return Ok(());
        }
        // As secret as the message's own salt, which is in it.
        let salt = hash(&[b"profile".as_slice(), said].concat()).first_chunk().copied().unwrap_or_default();
        let content = profile::write(&card, salt, user, &self.room.uri, self.now).encode();
        let content = content.map_err(|error| GroupError::Refused(error.to_string()))?;
        let sealed = self.group.seal(user, &content, Self::tag_of(&content))?;
        if self.is_hub() {
            self.hub_accept_own_message(user, &sealed);
        } else {
            self.submit(user, &sealed, Intent::Report { user: user.clone(), content });
        }
        if let Some(own) = self.room.faces.ours.make_mut().get_mut(user) {
            own.told = Some(digest);
        }
        Ok(())
    }

    /// What others should have been told did not reach them. If it was a name, they hear it before its owner speaks again.
    pub(super) fn not_told(&mut self, user: &UserUri, content: &[u8]) {
        let is_name = MimiContent::decode(content).is_ok_and(|message| profile::is_profile(&message));
        if is_name
            && self.room.faces.ours.contains_key(user)
            && let Some(own) = self.room.faces.ours.make_mut().get_mut(user)
        {
            own.told = Some(NOTHING);
        }
        if is_name {
            self.room.portraits.not_told(user);
        }
    }

    /// Somebody says what they are called.
    pub(super) fn on_profile(&mut self, sender: &UserUri, message: &MimiContent) {
        if self.is_ours(sender) {
            return;
        }
        let card = match profile::read(message) {
            Some(Ok(card)) => card,
            Some(Err(error)) => return self.note_face(sender, &error.to_string()),
            None => return self.note_face(sender, "it has no vCard"),
        };
        self.on_picture_told(sender, card.picture);
        let Some(name) = card.name.as_deref().and_then(plain_name) else {
            return self.note_face(sender, "there is no name in it that can be seen");
        };
        let face = self.room.faces.theirs.get(sender);
        if face.map_or_else(|| address_name(sender) == name, |face| face.name == name) {
            return;
        }
        if face.is_none() && self.room.faces.theirs.len() >= MOST {
            let ghosts = &self.room.ghosts;
            self.room.faces.theirs.make_mut().retain(|user, _| ghosts.contains(user));
            if self.room.faces.theirs.len() >= MOST {
                return self.note_face(sender, "too many have told theirs");
            }
        }
        let face = self.room.faces.theirs().entry(sender.clone()).or_default();
        let look = Look::of(&name);
        (face.name, face.look, face.late) = (name, look, true);
        let Some(room) = self.room.matrix.clone() else { return };
        // Others get it when they come in.
        if self.room.ghosts.contains(sender) {
            self.show_face(&room, sender);
            self.tell_apart(&room, sender);
        }
    }

    /// Somebody has a name, or comes in with one: who is called so already gets the address beside it, and keeps that.
    fn tell_apart(&mut self, room: &OwnedRoomId, user: &UserUri) {
        let (faces, provider) = (&self.room.faces.theirs, user.provider());
        let looks = [faces.get(user).map(|face| face.look), Some(Look::of(&address_name(user)))];
        let alike = |face: &Face| looks.iter().flatten().any(|look| look.is_like(&face.look));
        let others: Vec<UserUri> = faces
            .iter()
            .filter(|(other, face)| !face.apart && !face.late && alike(face) && *other != user)
            .filter(|(other, _)| other.provider() == provider && self.room.ghosts.contains(*other))
            .map(|(other, _)| other.clone())
            .collect();
        for other in others {
            if let Some(face) = self.room.faces.theirs().get_mut(&other) {
                face.late = true;
            }
            self.show_face(room, &other);
        }
    }

    fn note_face(&mut self, sender: &UserUri, why: &str) {
        self.out.push(Effect::Note(format!("a profile of {sender} is not shown: {why}")));
    }

    /// Names the ghost now, or later if it was named lately, or many were.
    fn show_face(&mut self, room: &OwnedRoomId, user: &UserUri) {
        let Some(face) = self.room.faces.theirs.get(user) else { return };
        let free = if face.since == 0 { 0 } else { face.since + PAUSE };
        let (count, since) = self.room.faces.sheet.changed;
        let fresh = self.now >= since.saturating_add(PAUSE);
        let full = !fresh && count >= AT_ONCE;
        let free = if full { free.max(since.saturating_add(PAUSE)) } else { free };
        if self.now < free {
            if self.room.faces.sheet.due == 0 || free < self.room.faces.sheet.due {
                self.room.faces.sheet.due = free;
                self.out.push(Effect::Wake(free));
            }
            return;
        }
        self.room.faces.sheet.changed = if fresh { (1, self.now) } else { (count + 1, since) };
        let now = self.now;
        if let Some(face) = self.name_ghost(room, user) {
            face.since = now;
        }
    }

    /// The names that waited for their turn.
    pub(super) fn show_late_faces(&mut self) {
        let due = self.room.faces.sheet.due;
        if due == 0 || self.now < due {
            return;
        }
        self.room.faces.sheet.due = 0;
        let Some(room) = self.room.matrix.clone() else { return };
        let late: Vec<UserUri> = self
            .room
            .faces
            .theirs
            .iter()
            .filter(|(user, face)| face.late && self.room.ghosts.contains(*user))
            .map(|(user, _)| user.clone())
            .collect();
        for user in late {
            self.show_face(&room, &user);
        }
    }

    /// Time passed, perhaps without this room: what waits is looked at when it is due.
    pub(super) fn wake_for_faces(&mut self) {
        if self.room.faces.sheet.due > self.now {
            self.out.push(Effect::Wake(self.room.faces.sheet.due));
        }
    }

    /// A ghost comes in: with its name, if it has one here.
    pub(super) fn let_ghost_in(&mut self, room: &OwnedRoomId, user: &UserUri) {
        let actor = Actor::Ghost(user.clone());
        self.out.push(Effect::Matrix(MatrixAction::Join { room: room.clone(), actor }));
        self.name_ghost(room, user);
        self.tell_apart(room, user);
        self.room.ghosts.insert(user.clone());
        self.room.contested.agrees(user);
        self.bring_picture(room, user);
    }

    /// The ghost is called what its user says.
    fn name_ghost(&mut self, room: &OwnedRoomId, user: &UserUri) -> Option<&mut Face> {
        let Face { name, look, .. } = self.room.faces.theirs.get(user)?.clone();
        let apart = self.is_taken(&look, user);
        let (room, actor, name) = (room.clone(), Actor::Ghost(user.clone()), called(&name, user, apart));
        self.out.push(Effect::Matrix(MatrixAction::Name { room, actor, name }));
        let face = self.room.faces.theirs().get_mut(user)?;
        (face.late, face.apart) = (false, apart);
        Some(face)
    }

    /// Whether somebody else of the same provider is called like that here, or is by their address, or so that people would take
    /// the one for the other.
    fn is_taken(&self, look: &Look, user: &UserUri) -> bool {
        let provider = user.provider();
        let Some(state) = self.state() else { return false };
        let mut others = state.participants.iter().map(|(other, _)| other);
        others.any(|other| {
            let told = || self.room.faces.theirs.get(other).is_some_and(|face| look.is_like(&face.look));
            let is_other = *other != *user && other.provider() == provider;
            is_other && (told() || look.is_like(&Look::of(&address_name(other))))
        })
    }
}
