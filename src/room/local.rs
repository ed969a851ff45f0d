//! Events of the Matrix room, and what its people say there.

use super::{
    effect::Effect,
    input::Files,
    live::Turn,
    people::People,
    settings::Setting,
    state::{Intent, Phase},
    step::Step,
    telling::{Fate, Why},
    upgrade::TOMBSTONE,
};
use crate::{
    content::MessageId,
    ident::UserUri,
    policy::Capability,
    translate::{self, CONTENT_KEY, Earlier, Kind, NotCarried, Past as _, RoomEvent, Translated},
};
use ruma::OwnedEventId;

impl Step<'_> {
    /// An event of the Matrix room.
    pub(super) fn on_event(&mut self, event: &RoomEvent, salt: [u8; 16], past: &Vec<(OwnedEventId, Earlier)>) {
        if event.event_type == "m.room.member" {
            return self.on_member(event, salt);
        }
        if self.names.is_bridged(&event.sender) {
            return;
        }
        if event.content.get(CONTENT_KEY).is_some() {
            return self.forwarded(event);
        }
        if let Some(key) = &event.state_key {
            let is_live = translate::is_live_info(&event.event_type) && key.starts_with(event.sender.as_str());
            if is_live || translate::is_conference(&event.event_type, &event.content) {
                return self.say(event, salt, past, None);
            }
            if key.is_empty() && event.event_type == TOMBSTONE {
                return self.on_tombstone(event);
            }
            if let Some(setting) = Setting::of(&event.event_type).filter(|_| key.is_empty()) {
                if setting == Setting::Joins && !super::open::is_public(&event.content) {
                    self.is_not_public();
                }
                self.on_setting(setting);
            } else if key.is_empty() {
                self.on_lasting(event);
            }
            return;
        }
        if event.event_type == "m.room.message"
            && let Some(command) = super::command::in_room(super::command::spoken(&event.content))
        {
            return self.on_command(event, &command, salt);
        }
        self.say(event, salt, past, None);
    }

    /// `files`: what became of those that the event has.
    pub(super) fn say(
        &mut self,
        event: &RoomEvent,
        salt: [u8; 16],
        past: &Vec<(OwnedEventId, Earlier)>,
        files: Option<Files>,
    ) {
        let Some(user) = self.names.uri(&event.sender) else { return };
        if self.room.direct && (self.room.unbridging || self.room.phase == Phase::Left) {
            return self.undelivered(event);
        }
        if self.room.unbridging {
            let words = "The room is being disconnected from MIMI.".to_owned();
            return self.tell_status(&event.event_id, &Fate::Failed(Why::NotConnected, words));
        }
        match &self.room.phase {
            Phase::Active | Phase::Invited | Phase::Joining => {}
            Phase::Left => {
                let text = format!("{} of {user} is not carried: the room is not connected any more", event.event_id);
                return self.out.push(Effect::Note(text));
            }
            Phase::Broken(why) => {
                let why = why.clone();
                // People were told when it broke.
                let words = format!("The room is not connected to MIMI: {why}.");
                self.tell_status(&event.event_id, &Fate::Failed(Why::NotConnected, words));
                return self.report(format!("{} is not carried, the room is broken: {why}", event.event_id));
            }
        }
        // Of a deletion that was itself taken back the target stays known, and gone.
        if event.redacted && event.redacts.is_none() {
            return self.was_redacted(event);
        }
        if event.event_type == "m.room.encrypted" {
            self.report(format!("{} is encrypted and cannot be carried", event.event_id));
            let words = format!(
                "A message of {} was not sent to the MIMI users: it is encrypted, and the gateway cannot read encrypted Matrix \
                 rooms yet.",
                event.sender
            );
            return self.tell_failure(&event.event_id, Why::Encrypted, &words);
        }
        match self.live_turn(event, &user, past) {
            Ok(Turn::Quiet) => return,
            Ok(Turn::Other) => {}
            Ok(Turn::Say(words)) => return self.say_live(event, &user, salt, words),
            Err(reason) => return self.unsaid(event, &user, &reason),
        }
        if translate::is_call(&event.event_type) && self.recent.is_told_call(&user, event.origin_server_ts) {
            return;
        }
        let (mut target, mut again) = (None, None);
        let deletes = self.state().is_some_and(|state| state.can(&user, Capability::DeleteOtherMessage));
        if let Some(redacted) = event.redacts.as_ref().filter(|_| event.event_type == "m.room.redaction") {
            let known = past.of(redacted);
            let live = self.live_taken_back(redacted, known.as_ref(), &user, deletes);
            (target, again) = (live.target.or(known), live.again);
        }
        let mentions = &People { names: self.names, state: self.state(), room: &*self.room };
        let sent_ts = event.origin_server_ts;
        let link = self.room_link();
        let room_link = link.as_deref();
        let context =
            translate::ToMimi { sender: &user, room: &self.room.uri, salt, sent_ts, past, mentions, room_link };
        let translated = if event.event_type == "m.room.redaction" {
            let Some(target) = target else {
                return self.unsaid(event, &user, &NotCarried::NoTarget);
            };
            if target.sender != user && !deletes {
                let words = format!(
                    "{} removed a message of {} here. Others in the MIMI room keep it: deleting what others said is not \
                     allowed to them there.",
                    event.sender,
                    self.names.display(&target.sender)
                );
                return self.tell_failure(&event.event_id, Why::NotAllowed, &words);
            }
            let reason = event.content.get("reason").and_then(serde_json::Value::as_str);
            translate::deletion(&target, reason, &context)
        } else if let Some(files) = files {
            match translate::media::files_to_mimi(&event.event_type, &event.content, files, &context) {
                Ok((translated, missing)) => {
                    self.tell_missing(event, &missing);
                    let Some(translated) = translated else { return self.tell_nothing_sent(event, &missing) };
                    Ok(translated)
                }
                Err(reason) => Err(reason),
            }
        } else {
            translate::to_mimi(&event.event_type, &event.content, &context)
        };
        let translated = match translated {
            Ok(translated) => translated,
            Err(reason) => return self.unsaid(event, &user, &reason),
        };
        self.put_into_words(event, &user, translated, std::slice::from_ref(&event.event_id));
        if let Some(owner) = again
            && let Some(word) = self.live_again(&owner, &event.event_id)
        {
            self.say_live(event, &owner, super::live::further_salt(salt, 1), vec![word]);
        }
    }

    /// Where people of other providers find the Matrix room by a Matrix account of theirs, if they may know. A portal is open to
    /// nobody outside.
    fn room_link(&self) -> Option<String> {
        let room = self.room.matrix.as_ref().filter(|_| self.is_hub() && self.names.telling().call_links)?;
        Some(room.matrix_to_uri_via([self.names.bot().server_name().to_owned()]).to_string())
    }

    /// What an event became is to be said. `events`: those that stand for it.
    pub(super) fn put_into_words(
        &mut self,
        event: &RoomEvent,
        user: &UserUri,
        mut translated: Translated,
        events: &[OwnedEventId],
    ) -> Option<MessageId> {
        let own = translated.content.expires;
        self.heed_policy(user, &mut translated);
        match self.with_sight(user, &event.event_id, &mut translated.content) {
            Ok((content, id)) => {
                let kind = Kind::of(&event.event_type, &event.content);
                self.tell_losses(user, translated.losses);
                let (message_id, earlier) = (id.0, Earlier::of(&translated.content, id, user).with_kind(kind));
                for event in events {
                    self.out.push(Effect::Noted { event: event.clone(), message_id, earlier: earlier.clone() });
                }
                // What stays in a Matrix room of our own without a time of its own is for that and its homeserver to say.
                // State is what the room is, and nothing that was said.
                let goes = (own.is_some() || !self.is_hub()) && !event.is_state();
                if let Some(expires) = translated.content.expires.filter(|_| goes) {
                    let (sender, actor) = (user.clone(), self.room.speaker.clone());
                    self.out.push(Effect::Expires { message_id, sender, expires, actor });
                }
                let (user, event) = (user.clone(), event.event_id.clone());
                self.room.queue.push_back(Intent::Say { user, event, content, message_id });
                Some(id)
            }
            Err(error) => {
                self.unsaid(event, user, &error.into());
                None
            }
        }
    }

    /// Files of a message that others will not get: its sender is told.
    fn tell_missing(&mut self, event: &RoomEvent, missing: &[translate::media::Missing]) {
        for translate::media::Missing { file, why, .. } in missing {
            self.report(format!("a file of {} does not cross: {why}", event.event_id));
            self.notice(&format!("A file of {} was not sent to the MIMI users, {file}: {why}.", event.sender));
        }
    }

    /// All that a message has are such files: that is what became of the message.
    fn tell_nothing_sent(&mut self, event: &RoomEvent, missing: &[translate::media::Missing]) {
        let said = missing.iter().map(|missing| format!("{}: {}", missing.file, missing.why));
        let words = format!("Nothing of it was sent to the MIMI users. {}.", said.collect::<Vec<_>>().join("; "));
        self.tell_status(&event.event_id, &Fate::Failed(Why::Unusable, words));
    }
}
