//! What the gateway says to people: as notices, and so that nobody takes its words for somebody else's.
//!
//! Where the bot is in the room it speaks. The Matrix room in which a user of ours began a direct chat has no third member:
//! there the other's ghost lends its voice, and each line says at its beginning that it is the gateway's.

use ruma::EventId;
use serde_json::json;

use super::{
    effect::{Actor, Effect, MatrixAction},
    step::{Step, hash},
    telling::{Fate, Why},
};
use crate::translate::{CONTENT_KEY, RoomEvent};

/// What waits for the ghost that speaks for the gateway; more is not said.
const MAX_TO_SAY: usize = 10;

/// How people are told that the gateway reads along.
pub(super) const READS_ALONG: &str =
    "Encryption towards MIMI ends at this gateway: its operator could read what is said here.";

/// A number of things, in words.
#[must_use]
pub fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// The answer to what is written where nobody hears it any more.
const UNDELIVERED: &str = "This was not delivered: this chat is over. Invite the other one again to begin a new one.";

/// The content of the answer to a message that was written in a direct chat that is over.
#[must_use]
pub fn undelivered(to: &EventId) -> String {
    json!({
        "msgtype": "m.notice",
        "body": UNDELIVERED,
        "m.relates_to": { "m.in_reply_to": { "event_id": to } },
        CONTENT_KEY: {},
    })
    .to_string()
}

/// The transaction id of that answer: there is one for each message.
#[must_use]
pub fn undelivered_txn(to: &EventId) -> String {
    let digest = hash(to.as_bytes());
    format!("u{}", hex::encode(digest.get(..16).unwrap_or(&digest)))
}

/// Whether somebody who writes this waits for it to be read: an answer is due if it is not. Programs' notices are not
/// answered, so that two programs do not talk for ever.
#[must_use]
pub fn wants_answer(event: &RoomEvent) -> bool {
    let msgtype = event.content.get("msgtype").and_then(serde_json::Value::as_str);
    event.state_key.is_none()
        && msgtype != Some("m.notice")
        && matches!(event.event_type.as_str(), "m.room.message" | "m.room.encrypted" | "m.sticker")
}

impl Step<'_> {
    /// Shows a line of the gateway's own in the Matrix room.
    pub(crate) fn notice(&mut self, text: &str) {
        if self.room.matrix.is_some() && !self.can_speak() {
            if self.room.to_say.len() < MAX_TO_SAY {
                self.room.to_say.push(text.to_owned());
            }
            return;
        }
        self.notice_of(&self.room.speaker.clone(), text);
    }

    /// The same, by somebody else.
    pub(super) fn notice_of(&mut self, speaker: &Actor, text: &str) {
        let Some(room) = self.room.matrix.clone() else { return };
        // The same may have to be said twice in one moment: of two lines under one id the homeserver takes one.
        self.room.lines += 1;
        let digest = hash(format!("{}\n{}\n{text}\n{}", self.room.uri, self.now, self.room.lines).as_bytes());
        let body = match speaker {
            Actor::Bot => text.to_owned(),
            Actor::Ghost(user) => format!("[MIMI gateway, not {}] {text}", self.names.display(user)),
        };
        let content = json!({ "msgtype": "m.notice", "body": body, CONTENT_KEY: {} }).to_string();
        self.out.push(Effect::Matrix(MatrixAction::Send {
            room,
            actor: speaker.clone(),
            event_type: "m.room.message".to_owned(),
            content,
            ts: None,
            txn_id: format!("n{}", hex::encode(digest.get(..16).unwrap_or(&digest))),
        }));
    }

    /// Whether who speaks for the gateway is in the Matrix room.
    pub(super) fn can_speak(&self) -> bool {
        match &self.room.speaker {
            Actor::Bot => true,
            Actor::Ghost(user) => self.room.ghosts.contains(user),
        }
    }

    /// The ghost that speaks for the gateway came: it says what waited for it.
    pub(super) fn say_what_waited(&mut self) {
        for text in std::mem::take(&mut self.room.to_say) {
            self.notice(&text);
        }
    }

    /// First words in a portal, once somebody of ours is there to read them.
    pub(super) fn greet_portal(&mut self) {
        if self.is_hub() || self.room.matrix.is_none() || std::mem::replace(&mut self.room.greeted, true) {
            return;
        }
        let what = if self.room.direct {
            "This chat goes over MIMI".to_owned()
        } else {
            format!("This is a MIMI room, hosted by {}", self.room.uri.hub())
        };
        self.notice(&format!("{what}. {READS_ALONG} “!mimi help” says what I can do."));
    }

    /// Answers a message that nobody will read.
    pub(super) fn undelivered(&mut self, event: &RoomEvent) {
        let text = format!("{} of {} is not carried: the chat is over", event.event_id, event.sender);
        self.out.push(Effect::Note(text));
        self.tell_status(&event.event_id, &Fate::Failed(Why::NotConnected, UNDELIVERED.to_owned()));
        if !wants_answer(event) || !self.can_speak() {
            return;
        }
        self.out.push(Effect::Matrix(MatrixAction::Send {
            room: event.room_id.clone(),
            actor: self.room.speaker.clone(),
            event_type: "m.room.message".to_owned(),
            content: undelivered(&event.event_id),
            ts: None,
            txn_id: undelivered_txn(&event.event_id),
        }));
    }
}
