//! What senders are told of what became of their messages: `com.beeper.message_send_status` for clients that know it, and the
//! notices for people. A status never says more than is known: that a hub accepted a message is no word about who has it.

use std::time::Duration;

use ruma::{EventId, OwnedUserId};
use serde::Deserialize;
use serde_json::json;

use super::{
    effect::{Effect, MatrixAction, Millis},
    reading::Reports,
    sight::EventIds,
    state::Intent,
    step::{Step, hash},
};
use crate::{
    content::MimiContent,
    ident::UserUri,
    translate::{CONTENT_KEY, Loss, NotCarried, RoomEvent},
};

/// The event by which clients of bridged rooms hear of a message's fate.
pub const STATUS_EVENT: &str = "com.beeper.message_send_status";

/// So many of a room's senders are told at once that their messages wait: a room whose host is away for a day gets no thousand
/// events about it.
const MAX_SLOW: usize = 50;
/// Messages that are looked through for those that wait for long.
const MAX_LOOKED_AT: usize = 1000;

/// Which statuses are sent. Each is an event in the room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SendStatus {
    /// None.
    Off,
    /// What failed, what waits for long, and that it was accepted then.
    #[default]
    Failures,
    /// Also what was accepted at once, and who has it, as far as they say so: an event or more for each message.
    All,
}

/// What the settings say about what people are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telling {
    /// Statuses of messages.
    pub send_status: SendStatus,
    /// Whether a sender hears, once for each kind, what of a message others do not get.
    pub losses: bool,
    /// Whether others hear what our users have read.
    pub read_receipts: Reports,
    /// Whether others hear that the homeserver took their messages for our users.
    pub delivery_reports: Reports,
    /// Whether others hear what our users are called in the room.
    pub profiles: bool,
    /// Whom the ids of Matrix events are told to.
    pub event_ids: EventIds,
    /// Whether others hear where the Matrix room of a call is, if it is hosted here.
    pub call_links: bool,
    /// How long a message waits before that is told.
    pub slow: Duration,
    /// So long what somebody reads is gathered before it is told.
    pub gather_reads: Duration,
    /// So long what refers to a message that is not there waits for it. Zero: not at all.
    pub late_targets: Duration,
    /// So long an answer waits for the message that it answers, if that is not there. Zero: not at all.
    pub late_answers: Duration,
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            send_status: SendStatus::default(),
            losses: true,
            read_receipts: Reports::default(),
            delivery_reports: Reports::default(),
            profiles: true,
            call_links: true,
            event_ids: EventIds::default(),
            slow: Duration::from_secs(10),
            gather_reads: Duration::from_secs(2),
            late_targets: Duration::from_mins(1),
            late_answers: Duration::from_secs(5),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It waits, for this.
    Waits(String),
    /// The hub accepted it.
    Accepted,
    /// The hub accepted it, and these Matrix users (ghosts) have it, as they say.
    Reached(Vec<OwnedUserId>),
    /// The hub accepted it, and somebody could not read it, as they say: in words, and whether anybody else has it.
    Unreadable(String, bool),
    /// It is not sent: why, and in words.
    Failed(Why, String),
}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// MIMI has no form for it.
    Unsupported,
    /// It is encrypted.
    Encrypted,
    /// It cannot be read, or is too long.
    Unusable,
    /// The sender may not do that.
    NotAllowed,
    /// The room is not connected to MIMI now.
    NotConnected,
    /// The other side did not take it.
    Refused,
}

impl Why {
    /// The reason as clients know it, and whether the same message may be taken later.
    fn code(self) -> (&'static str, bool) {
        match self {
            Self::Unsupported => ("com.beeper.unsupported_event", false),
            Self::Encrypted => ("com.beeper.undecryptable_event", false),
            Self::Unusable => ("m.event_not_handled", false),
            Self::NotAllowed => ("m.no_permission", false),
            Self::NotConnected => ("m.bridge_unavailable", true),
            Self::Refused => ("m.foreign_network_error", false),
        }
    }
}

impl From<&NotCarried> for Why {
    fn from(reason: &NotCarried) -> Self {
        match reason {
            NotCarried::EventType(_) | NotCarried::MsgType(_) => Self::Unsupported,
            _ => Self::Unusable,
        }
    }
}

impl Step<'_> {
    /// Tells a sender's client what became of a message, if the settings want that.
    pub(crate) fn tell_status(&mut self, event: &EventId, fate: &Fate) {
        // Whoever was told that it waits has to hear how that ended.
        let waited = !matches!(fate, Fate::Waits(_)) && self.room.slow.remove(event);
        let tells = match (self.names.telling().send_status, fate) {
            (SendStatus::Off, _) => false,
            (SendStatus::Failures, Fate::Accepted) => waited,
            // Who has it is told then if they could not read it before.
            (SendStatus::All | SendStatus::Failures, _) => true,
        };
        let Some(room) = self.room.matrix.clone().filter(|_| tells && self.can_speak()) else { return };
        let mut content = json!({
            "network": self.bridge_key(),
            "m.relates_to": { "rel_type": "m.reference", "event_id": event },
            CONTENT_KEY: {},
        });
        let more = match fate {
            Fate::Waits(words) => json!({ "status": "PENDING", "message": words }),
            Fate::Accepted => json!({ "status": "SUCCESS" }),
            Fate::Reached(users) => json!({ "status": "SUCCESS", "delivered_to_users": users }),
            Fate::Unreadable(words, true) => json!({ "status": "SUCCESS", "message": words }),
            Fate::Unreadable(words, false) => {
                json!({ "status": "FAIL_PERMANENT", "reason": Why::Refused.code().0, "message": words })
            }
            Fate::Failed(why, words) => {
                let (reason, again) = why.code();
                let status = if again { "FAIL_RETRIABLE" } else { "FAIL_PERMANENT" };
                json!({ "status": status, "reason": reason, "message": words })
            }
        };
        if let (Some(content), serde_json::Value::Object(more)) = (content.as_object_mut(), more) {
            content.extend(more);
        }
        let content = content.to_string();
        let digest = hash(content.as_bytes());
        self.out.push(Effect::Matrix(MatrixAction::Send {
            room,
            actor: self.room.speaker.clone(),
            event_type: STATUS_EVENT.to_owned(),
            content,
            ts: None,
            txn_id: format!("s{}", hex::encode(digest.get(..16).unwrap_or(&digest))),
        }));
    }

    /// Somebody could not read a message that the hub accepted. It failed where nobody else was to read it.
    pub(crate) fn tell_unreadable(&mut self, event: &EventId, by: &UserUri) {
        let words = format!("{} could not read this message.", self.names.display(by));
        // Who has a message is known only where that is asked for: another device of theirs may.
        let others = self.names.telling().send_status != SendStatus::All
            || self.state().is_none_or(|state| {
                let takes_part = |role| !state.is_banned_role(role);
                state.participants.iter().filter(|(_, role)| takes_part(*role)).count() > 2
            });
        self.tell_status(event, &Fate::Unreadable(words, others));
    }

    /// A message is not sent: its sender's client is told, and people by a notice.
    pub(super) fn tell_failure(&mut self, event: &EventId, why: Why, words: &str) {
        self.tell_status(event, &Fate::Failed(why, words.to_owned()));
        self.notice(words);
    }

    /// An event can never be worked on.
    pub(crate) fn tell_set_aside(&mut self, event: &RoomEvent) {
        let what = super::unsaid::what_it_is(&event.event_type);
        let words = format!(
            "{what} of {} was not sent to the MIMI users: the gateway cannot work on it. Its operator finds it among what was set \
             aside.",
            event.sender
        );
        self.tell_failure(&event.event_id, Why::Unusable, &words);
    }

    /// What others do not get of a message; gateways of our kind get more of it.
    pub(super) fn tell_losses(&mut self, user: &UserUri, mut losses: Vec<Loss>) {
        if !self.names.telling().losses {
            return;
        }
        let peers = self.peers();
        let strangers = peers.iter().any(|peer| !self.names.is_gateway(peer));
        losses.retain(|loss| loss.told().is_some() && (strangers || !loss.spares_gateways()));
        // Without anybody else in the room nobody misses anything but what goes here, too.
        if peers.is_empty() {
            losses.retain(|loss| *loss == Loss::Staying);
        }
        if !losses.is_empty() {
            self.out.push(Effect::Lost { user: user.clone(), losses });
        }
    }

    /// What of a remote user's message is not shown here.
    pub(super) fn tell_losses_here(&mut self, sender: &UserUri, mut losses: Vec<Loss>) {
        losses.retain(|loss| loss.told_to_readers().is_some());
        if self.names.telling().losses && !losses.is_empty() {
            self.out.push(Effect::Lost { user: sender.clone(), losses });
        }
    }

    /// Looks now and then for messages that wait for long.
    pub(super) fn look_for_slow(&mut self) {
        let telling = self.names.telling();
        if telling.send_status == SendStatus::Off || self.recent.looks_at > self.now {
            return;
        }
        let slow = u64::try_from(telling.slow.as_millis()).unwrap_or(Millis::MAX);
        let room = &*self.room;
        let waiting = room.submitted.iter().map(|sent| &sent.intent).chain(&room.again).chain(&room.queue);
        let waiting = waiting.filter_map(|intent| match intent {
            Intent::Say { event, content, .. } => Some((event.clone(), content)),
            _ => None,
        });
        let mut next = Millis::MAX;
        let mut due = Vec::new();
        for (event, content) in waiting.take(MAX_LOOKED_AT) {
            next = next.min(self.now.saturating_add(slow));
            if room.slow.contains(&event) {
                continue;
            }
            // Clocks that disagree do not make a message wait for ever.
            let sent = MimiContent::decode(content).ok().and_then(|content| content.sender_timestamp());
            let at = sent.map_or(0, |sent| sent.millis).min(self.now).saturating_add(slow);
            if at <= self.now {
                due.push(event);
            } else {
                next = next.min(at);
            }
        }
        for event in due {
            if self.room.slow.len() < MAX_SLOW {
                self.tell_status(&event, &Fate::Waits(self.what_it_waits_for()));
                self.room.slow.insert(event);
            }
        }
        if next == Millis::MAX {
            self.room.slow.clear();
            return;
        }
        self.recent.looks_at = next;
        self.out.push(Effect::Wake(next));
    }

    fn what_it_waits_for(&self) -> String {
        if let (true, Some(other)) = (self.room.direct, self.room.asking.keys().next()) {
            return format!("It waits for {} to accept the invitation.", self.names.display(other));
        }
        if self.is_hub() {
            return "It waits for its turn.".to_owned();
        }
        format!("It waits for {}, which hosts the room.", self.room.uri.hub())
    }
}
