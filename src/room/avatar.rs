//! The picture of a room: `m.room.avatar` with a file of the homeserver, `room_avatar` with the URL of an asset
//! (draft-ietf-mimi-protocol-06 section 7.6). What stands where is decided as for names ([`super::settings`]).
//!
//! ```text
//!  m.room.avatar of a user --> Effect::Publish: the file becomes an asset --> Input::Published --> Intent::Describe
//!  commit of anybody       --> Effect::Wear: the asset becomes a file, and the room's picture
//!  neither there nor wanted any more --> Effect::Unpublish: the asset is deleted
//! ```

use ruma::{OwnedUserId, RoomId};
use serde_json::Value;

use super::{
    effect::{Effect, StateNow},
    settings::Setting,
    state::{Intent, Phase, Room},
    step::Step,
};

impl Step<'_> {
    /// Another picture stands in the Matrix room.
    pub(super) fn on_picture(&mut self, now: &StateNow) {
        // Before we are in, nobody has a say in it.
        if self.room.phase != Phase::Active || self.is_our_own(&now.sender) {
            return;
        }
        let (event, sender) = (now.event.to_string(), now.sender.clone());
        let url = now.content.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
        let owner = self.names.uri(&sender);
        match owner.filter(|_| !url.is_empty()) {
            // What nobody will be shown is not published. Where something waits, roles may be about to change.
            Some(owner) if self.room.queue.is_empty() && self.who_describes(&owner, Setting::Avatar).is_none() => {
                self.room.settings.entry(Setting::Avatar).or_default().text = url;
                let why = "their role in the MIMI room does not allow that";
                if let Some(told) = self.undo(Setting::Avatar, sender.as_str(), why) {
                    self.notice(&told);
                }
            }
            Some(owner) => self.out.push(Effect::Publish { event, sender, owner, url }),
            None => self.on_place(&event, &sender, Ok(url)),
        }
    }

    /// What became of the picture of that event. An empty place: it was let go, as another one stands there.
    pub(super) fn on_published(&mut self, event: &str, sender: &OwnedUserId, url: Result<String, String>) {
        if url.as_ref().is_ok_and(String::is_empty) {
            return;
        }
        let shown = self.room.settings.entry(Setting::Avatar).or_default();
        shown.published.extend(url.as_ref().ok().filter(|url| !shown.published.contains(url)).cloned());
        self.on_place(event, sender, url);
    }

    /// Assets that were made for a picture which is none any more, or never became one, are deleted.
    pub(super) fn drop_pictures(&mut self) {
        let Some(mimi) = self.described(Setting::Avatar).filter(|_| self.room.phase == Phase::Active) else { return };
        let wanted: Vec<&String> = self
            .room
            .queue
            .iter()
            .filter_map(|intent| match intent {
                Intent::Describe { setting: Setting::Avatar, text, .. } => Some(text),
                _ => None,
            })
            .collect();
        let Some(shown) = self.room.settings.get_mut(&Setting::Avatar) else { return };
        let is_used = |url: &String| *url == mimi || *url == shown.text || wanted.contains(&url);
        let (used, gone) = std::mem::take(&mut shown.published).into_iter().partition(is_used);
        shown.published = used;
        self.out.extend(Vec::<String>::into_iter(gone).map(Effect::Unpublish));
    }

    /// Where the picture of that event is for others, or why it is nowhere.
    fn on_place(&mut self, event: &str, sender: &OwnedUserId, url: Result<String, String>) {
        let shown = self.room.settings.entry(Setting::Avatar).or_default();
        // Another one stands there since.
        if shown.event != event || self.room.phase != Phase::Active {
            return;
        }
        let url = match url {
            Ok(url) => url,
            Err(why) => {
                let text = format!("The picture of this room is not shown to the MIMI users: {why}.");
                self.report(text.clone());
                return self.notice(&text);
            }
        };
        shown.text.clone_from(&url);
        if self.described(Setting::Avatar).is_none_or(|mimi| mimi == url) {
            return;
        }
        match self.names.uri(sender) {
            Some(by) => self.want_described(Intent::Describe { by, setting: Setting::Avatar, text: url }),
            None => {
                if let Some(told) = self.undo(Setting::Avatar, sender.as_str(), "it is no user of this server's") {
                    self.notice(&told);
                }
            }
        }
    }
}

impl Room {
    /// Whether the picture of this event is still the one of the Matrix room, and others are to have it.
    #[must_use]
    pub fn publishes(&self, event: &str) -> bool {
        self.phase == Phase::Active && self.settings.get(&Setting::Avatar).is_some_and(|shown| shown.event == event)
    }

    /// Whether this asset is still to be the picture of this Matrix room.
    #[must_use]
    pub fn wears(&self, matrix: &RoomId, url: &str) -> bool {
        self.phase == Phase::Active
            && self.matrix.as_deref() == Some(matrix)
            && self.settings.get(&Setting::Avatar).is_some_and(|shown| shown.text == url)
    }
}
