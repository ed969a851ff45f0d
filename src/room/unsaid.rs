//! What our users do here and others do not get: who is told of it, and what nobody needs to hear of.
//!
//! ```text
//!  a message, a vote, ...           --> its sender, as of any message that is not sent
//!  a reaction to what others lack   --> its sender's client each time, people once
//!  events of Matrix' own that MIMI has no form for, and messages of MIMI users forwarded as they are: the same
//!  deletions of what others never had, what was taken back before it was read, signals of calls --> the log
//! ```

use super::{
    effect::Effect,
    state::Phase,
    step::Step,
    telling::{Fate, Why},
};
use crate::{
    ident::UserUri,
    translate::{CONTENT_KEY, Loss, NotCarried, RoomEvent},
};

/// Events of these types are what clients say to each other: they mean nothing to people, and come in great numbers.
const SIGNALS: [&str; 12] = [
    "m.call.",
    "org.matrix.call.",
    "io.element.call.",
    "m.rtc.",
    "org.matrix.msc3401.",
    "org.matrix.msc4075.",
    "org.matrix.msc4143.",
    "org.matrix.msc4310.",
    "m.key.verification.",
    "m.room_key",
    "m.dummy",
    super::telling::STATUS_EVENT,
];

/// Whether an event of this type is a client's word to other clients.
pub(super) fn is_signal(event_type: &str) -> bool {
    SIGNALS.iter().any(|own| event_type.starts_with(own))
}

impl Step<'_> {
    /// An event of one of our users does not cross, and never will.
    pub(super) fn unsaid(&mut self, event: &RoomEvent, user: &UserUri, reason: &NotCarried) {
        let id = &event.event_id;
        let is_empty = event.content.as_object().is_some_and(serde_json::Map::is_empty);
        let is_reaction = event.event_type == "m.reaction";
        match reason {
            NotCarried::Mirror => self.detail(event, "it mirrors a MIMI message"),
            // There is nothing to take away from anybody.
            NotCarried::NoTarget if event.event_type == "m.room.redaction" => {
                self.detail(event, "others never had what it removes");
            }
            _ if is_empty => self.detail(event, "it says nothing"),
            NotCarried::EventType(kind) if is_signal(kind) => {
                self.detail(event, "it is for clients, and not for people");
            }
            NotCarried::NoTarget | NotCarried::EventType(_) => {
                let (what, loss) = if is_reaction {
                    ("A reaction", Loss::Reaction)
                } else {
                    ("Something", Loss::Event(event.event_type.clone()))
                };
                let words = format!("{what} of {} was not sent to the MIMI users: {reason}.", event.sender);
                self.out.push(Effect::Note(format!("{id} is not carried: {reason}")));
                self.tell_status(id, &Fate::Failed(Why::from(reason), words));
                self.tell_losses(user, vec![loss]);
            }
            _ => {
                self.report(format!("{id} is not carried: {reason}"));
                let what = what_it_is(&event.event_type);
                let words = format!("{what} of {} was not sent to the MIMI users: {reason}.", event.sender);
                self.tell_failure(id, Why::from(reason), &words);
            }
        }
    }

    /// Somebody sent on what mirrors a MIMI message. Such events never cross: two gateways would send each other the same for
    /// ever.
    pub(super) fn forwarded(&mut self, event: &RoomEvent) {
        let is_message = matches!(event.event_type.as_str(), "m.room.message" | "m.sticker");
        let is_notice = event.content.get("msgtype").and_then(serde_json::Value::as_str) == Some("m.notice");
        let names_one = event.content.get(CONTENT_KEY).is_some_and(|mark| mark.get("id").is_some());
        let carries = self.room.phase == Phase::Active && !self.room.unbridging;
        let Some(user) = self.names.uri(&event.sender).filter(|_| carries && is_message && names_one && !is_notice)
        else {
            return self.detail(event, "it is marked as a gateway's");
        };
        let words = format!(
            "A message of {} was not sent to the MIMI users: it is a forwarded message of theirs. Write or send it anew instead.",
            event.sender
        );
        self.out.push(Effect::Note(format!("{} is not carried: it mirrors a MIMI message", event.event_id)));
        self.tell_status(&event.event_id, &Fate::Failed(Why::Unsupported, words));
        self.tell_losses(&user, vec![Loss::Forwarded]);
    }

    /// Somebody removed it before it was read here: what is left says nothing.
    pub(super) fn was_redacted(&mut self, event: &RoomEvent) {
        self.detail(event, "it was taken back");
    }

    fn detail(&mut self, event: &RoomEvent, why: &str) {
        self.out.push(Effect::Detail(format!("{} ({}) is not carried: {why}", event.event_id, event.event_type)));
    }
}

/// What people call an event of this type.
pub(super) fn what_it_is(event_type: &str) -> &'static str {
    match event_type {
        "m.room.message" | "m.sticker" => "A message",
        "m.reaction" => "A reaction",
        "m.room.redaction" => "The deletion of a message",
        _ if event_type.contains("poll") => "A poll, or something about one,",
        _ if event_type.contains("beacon") => "A live location",
        _ => "Something",
    }
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals_are_what_clients_say_to_each_other() {
        for signal in [
            "m.call.candidates",
            "m.call.hangup",
            "m.call.reject",
            "org.matrix.call.sdp_stream_metadata_changed",
            "io.element.call.encryption_keys",
            "org.matrix.msc4310.rtc.decline",
            "m.key.verification.mac",
            "com.beeper.message_send_status",
        ] {
            assert!(is_signal(signal), "{signal}");
        }
        for said in ["m.room.message", "m.image", "m.calligraphy", "org.example.dice", "m.poll.start"] {
            assert!(!is_signal(said), "{said}");
        }
    }
}
