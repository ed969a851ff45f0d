//! Pictures of people: what ours have in the Matrix room goes to the others in a profile message (`super::faces`), what others tell
//! is what their ghosts have in this Matrix room alone.
//!
//! ```text
//!  one of ours speaks --> Effect::Fetch: a small form of their picture --> Input::Fetched --> a profile message in its turn
//!  profile message    --> Effect::Portray: it becomes a file of the homeserver --> Input::Portrayed --> the ghost's member event
//! ```
//!
//! Nobody waits for a picture: what is said goes before it.

use std::collections::BTreeSet;

use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

use super::{
    cow_map::CowMap,
    effect::{Actor, Effect, MatrixAction, Millis},
    state::{Intent, Room},
    step::{Step, hash},
};
use crate::{
    ident::{ProviderDomain, UserUri, address_name},
    translate::profile::{self, Photo, Picture, Vcard},
};

/// A ghost gets another picture at most so often, in milliseconds.
const PAUSE: Millis = 60_000;
/// What could not be read is asked for once more after so long, when its owner speaks.
const AGAIN: Millis = 600_000;
/// So many pictures wait for their turn; further ones are not shown.
const MOST_LATE: usize = 8;
/// Remote users of a room whose pictures are shown.
const MOST: usize = 1000;

/// What is known of the pictures of people in a room. Each person has a row, and what concerns all of them another one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Portraits {
    /// Users of ours who spoke, and have a picture or had one.
    pub ours: CowMap<UserUri, Sitter>,
    /// Remote users who told theirs.
    pub theirs: CowMap<UserUri, Portrait>,
    /// What concerns all of them.
    pub sheet: PortraitSheet,
}

/// What concerns all pictures of people in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortraitSheet {
    /// The providers that were told.
    told: BTreeSet<ProviderDomain>,
    /// When to look at those that wait; zero if none do.
    due: Millis,
}

/// One of ours. The places are those of the homeserver, `mxc://…`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sitter {
    /// Where their picture is; `None`: they have none.
    place: Option<String>,
    /// The one that was asked for last.
    fetched: Option<String>,
    /// Somebody was told of one.
    told: bool,
    /// It could not be read: not before then once more.
    again: Millis,
}

/// A remote user's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Portrait {
    /// Which one it is to be; `None`: none.
    wanted: Option<[u8; 8]>,
    /// Where it is at the homeserver, once it is there.
    place: Option<String>,
    /// Since when.
    since: Millis,
    /// It came too soon after another one.
    late: Option<Vec<u8>>,
}

fn digest_of(picture: &Picture) -> [u8; 8] {
    hash(&picture.bytes).first_chunk().copied().unwrap_or_default()
}

impl Portraits {
    /// Providers that are in for the first time, or again, were told nothing.
    fn heard_by(&mut self, providers: &BTreeSet<ProviderDomain>) {
        if !providers.is_subset(&self.sheet.told) {
            for sitter in self.ours.make_mut().values_mut() {
                sitter.fetched = None;
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

    /// What others should have been told did not reach them: they hear it when its owner speaks again.
    pub(super) fn not_told(&mut self, user: &UserUri) {
        if self.ours.contains_key(user) {
            let sitter = self.sitter(user);
            sitter.fetched = None;
            // That there is none any more.
            sitter.told |= sitter.place.is_none();
        }
    }

    fn sitter(&mut self, user: &UserUri) -> &mut Sitter {
        self.ours.make_mut().entry(user.clone()).or_default()
    }

    fn portrait(&mut self, user: &UserUri) -> &mut Portrait {
        self.theirs.make_mut().entry(user.clone()).or_default()
    }
}

impl Room {
    /// The picture that one of ours has in the Matrix room, `mxc://…`; of those who speak.
    pub fn looks(&mut self, user: &UserUri, place: Option<&str>) {
        if self.portraits.ours.get(user).map_or(place.is_some(), |sitter| sitter.place.as_deref() != place) {
            self.portraits.sitter(user).place = place.map(str::to_owned);
        }
    }
}

impl Sitter {
    /// Whether this is their picture by now.
    #[must_use]
    pub fn sits_at(&self, place: &str) -> bool {
        self.place.as_deref() == Some(place)
    }
}

impl Portrait {
    /// Whether it is still to be this one.
    #[must_use]
    pub fn wants(&self, picture: &Picture) -> bool {
        self.wanted == Some(digest_of(picture))
    }
}

impl Step<'_> {
    /// One of ours speaks: others get their picture, if it is another than they have.
    pub(super) fn sit_for(&mut self, user: &UserUri) {
        if !self.names.telling().profiles || !self.room.portraits.ours.contains_key(user) {
            return;
        }
        let peers = self.peers();
        if peers.is_empty() {
            return;
        }
        self.room.portraits.heard_by(&peers);
        let now = self.now;
        let Some(sitter) = self.room.portraits.ours.get(user) else { return };
        match sitter.place.clone() {
            Some(place) if sitter.fetched.as_ref() != Some(&place) && sitter.again <= now => {
                self.room.portraits.sitter(user).fetched = Some(place.clone());
                self.out.push(Effect::Fetch { user: user.clone(), place });
            }
            Some(_) => {}
            None if sitter.told => {
                // It is no secret that somebody took their picture back; the salt only has to be another one than before.
                let salt = hash([user.as_str().as_bytes(), &self.now.to_be_bytes()].concat().as_slice());
                self.tell_picture(user, Photo::Gone, salt.first_chunk().copied().unwrap_or_default());
                let sitter = self.room.portraits.sitter(user);
                (sitter.told, sitter.fetched) = (false, None);
            }
            None => self.room.portraits.forget(user),
        }
    }

    /// The picture of one of ours was read, or why not.
    pub(super) fn on_fetched(
        &mut self,
        user: &UserUri,
        place: &str,
        salt: [u8; 16],
        picture: Result<Option<Picture>, String>,
    ) {
        if self.room.portraits.ours.get(user).is_none_or(|sitter| !sitter.sits_at(place)) {
            return;
        }
        match picture {
            // It is asked for again when they speak.
            Ok(_) if !self.reports_at_once(user) => self.room.portraits.sitter(user).fetched = None,
            Ok(Some(picture)) => {
                self.tell_picture(user, Photo::Is(picture), salt);
                self.room.portraits.sitter(user).told = true;
            }
            // There is no small form of it: others keep none that is another.
            Ok(None) if self.room.portraits.ours.get(user).is_some_and(|sitter| sitter.told) => {
                self.tell_picture(user, Photo::Gone, salt);
                self.room.portraits.sitter(user).told = false;
            }
            Ok(None) => {}
            Err(why) => {
                let again = self.now.saturating_add(AGAIN);
                let sitter = self.room.portraits.sitter(user);
                (sitter.fetched, sitter.again) = (None, again);
                self.out.push(Effect::Note(format!("the picture of {user} is not shown to others: {why}")));
            }
        }
    }

    fn tell_picture(&mut self, user: &UserUri, picture: Photo, salt: [u8; 16]) {
        let name = self.room.faces.name_of(user).unwrap_or_else(|| address_name(user));
        let card = Vcard { name: Some(name), picture };
        match profile::write(&card, salt, user, &self.room.uri, self.now).encode() {
            Ok(content) => self.room.queue.push_back(Intent::Report { user: user.clone(), content }),
            Err(error) => self.out.push(Effect::Note(format!("the picture of {user} is not told: {error}"))),
        }
    }

    /// Somebody elsewhere says what they look like.
    pub(super) fn on_picture_told(&mut self, sender: &UserUri, told: Photo) {
        let known = self.room.portraits.theirs.get(sender);
        let picture = match told {
            Photo::Unsaid => return,
            Photo::Gone if known.is_none() => return,
            Photo::Gone => None,
            Photo::Is(picture) => Some(picture),
        };
        let wanted = picture.as_ref().map(digest_of);
        if known.is_some_and(|known| known.wanted == wanted) {
            return;
        }
        if known.is_none() && self.room.portraits.theirs.len() >= MOST {
            let ghosts = &self.room.ghosts;
            self.room.portraits.theirs.make_mut().retain(|user, _| ghosts.contains(user));
        }
        let full = self.room.portraits.theirs.len() >= MOST && !self.room.portraits.theirs.contains_key(sender);
        if full {
            return self.out.push(Effect::Note(format!("a picture of {sender} is not shown: too many have one")));
        }
        let now = self.now;
        let portrait = self.room.portraits.portrait(sender);
        if portrait.since == 0 || now >= portrait.since.saturating_add(PAUSE) {
            return self.portray(sender, picture);
        }
        let free = portrait.since.saturating_add(PAUSE);
        if !self.wait_with(sender, picture) {
            return;
        }
        if self.room.portraits.sheet.due == 0 || free < self.room.portraits.sheet.due {
            self.room.portraits.sheet.due = free;
            self.out.push(Effect::Wake(free));
        }
    }

    /// It is shown later, if not too many wait.
    fn wait_with(&mut self, user: &UserUri, picture: Option<Picture>) -> bool {
        let others =
            self.room.portraits.theirs.iter().filter(|(other, portrait)| *other != user && portrait.late.is_some());
        if others.count() >= MOST_LATE && picture.is_some() {
            self.out.push(Effect::Note(format!("a picture of {user} is not shown: too many wait")));
            return false;
        }
        let portrait = self.room.portraits.portrait(user);
        portrait.wanted = picture.as_ref().map(digest_of);
        if picture.is_none() {
            portrait.place = None;
        }
        portrait.late = picture.map(|picture| picture.bytes);
        true
    }

    /// The ghost gets this picture, or none.
    fn portray(&mut self, user: &UserUri, picture: Option<Picture>) {
        let Some(room) = self.room.matrix.clone().filter(|_| self.room.ghosts.contains(user)) else {
            // Nobody tells it again: it is shown once the ghost is there.
            self.wait_with(user, picture);
            return;
        };
        let now = self.now;
        let portrait = self.room.portraits.portrait(user);
        portrait.wanted = picture.as_ref().map(digest_of);
        (portrait.since, portrait.late) = (now, None);
        if let Some(picture) = picture {
            return self.out.push(Effect::Portray { user: user.clone(), picture });
        }
        self.room.portraits.theirs.remove(user);
        self.out.push(Effect::Matrix(picture_of(&room, user, None)));
    }

    /// Their picture is a file of the homeserver, or why not.
    pub(super) fn on_portrayed(&mut self, user: &UserUri, picture: &Picture, place: Result<String, String>) {
        if self.room.portraits.theirs.get(user).is_none_or(|portrait| !portrait.wants(picture)) {
            return;
        }
        match place {
            Ok(place) => {
                self.room.portraits.portrait(user).place = Some(place);
                // A ghost that is out gets it when it comes in.
                let room = self.room.matrix.clone().filter(|_| self.room.ghosts.contains(user));
                self.out.extend(room.and_then(|room| self.picture_in(&room, user)).map(Effect::Matrix));
            }
            Err(why) => {
                // Told once more it is tried once more.
                self.room.portraits.theirs.remove(user);
                self.out.push(Effect::Note(format!("the picture of {user} is not shown: {why}")));
            }
        }
    }

    /// What waits for somebody who takes part no more is let go.
    pub(super) fn drop_late_portraits(&mut self, remote: &BTreeSet<UserUri>) {
        let theirs = &self.room.portraits.theirs;
        if theirs.iter().any(|(user, portrait)| portrait.late.is_some() && !remote.contains(user)) {
            let keep = |user: &UserUri, portrait: &mut Portrait| portrait.late.is_none() || remote.contains(user);
            self.room.portraits.theirs.make_mut().retain(keep);
        }
    }

    /// Those whose turn has come.
    pub(super) fn show_late_portraits(&mut self) {
        let due = self.room.portraits.sheet.due;
        if due == 0 || self.now < due {
            return;
        }
        self.room.portraits.sheet.due = 0;
        let (now, ghosts) = (self.now, &self.room.ghosts);
        let late = self.room.portraits.theirs.iter().filter(|(user, _)| ghosts.contains(*user)).filter_map(
            |(user, portrait)| {
                let waits = portrait.late.is_some() || portrait.wanted.is_none();
                waits.then(|| (user.clone(), portrait.late.clone(), portrait.since.saturating_add(PAUSE)))
            },
        );
        let late: Vec<_> = late.collect();
        for (user, picture, free) in late {
            if now >= free {
                self.portray(&user, picture.and_then(Picture::new));
            } else if self.room.portraits.sheet.due == 0 || free < self.room.portraits.sheet.due {
                self.room.portraits.sheet.due = free;
            }
        }
        self.wake_for_portraits();
    }

    /// Time passed, perhaps without this room: what waits is looked at when it is due.
    pub(super) fn wake_for_portraits(&mut self) {
        if self.room.portraits.sheet.due > self.now {
            self.out.push(Effect::Wake(self.room.portraits.sheet.due));
        }
    }

    /// A ghost that comes in has its picture.
    pub(super) fn bring_picture(&mut self, room: &OwnedRoomId, user: &UserUri) {
        let Some(portrait) = self.room.portraits.theirs.get(user) else { return };
        if let Some(picture) = portrait.late.clone() {
            return self.portray(user, Picture::new(picture));
        }
        let action = self.picture_in(room, user);
        self.out.extend(action.map(Effect::Matrix));
    }

    fn picture_in(&self, room: &OwnedRoomId, user: &UserUri) -> Option<MatrixAction> {
        let place = self.room.portraits.theirs.get(user)?.place.clone()?;
        Some(picture_of(room, user, Some(place)))
    }
}

fn picture_of(room: &OwnedRoomId, user: &UserUri, place: Option<String>) -> MatrixAction {
    MatrixAction::Portray { room: room.clone(), actor: Actor::Ghost(user.clone()), place }
}
