//! What the room's policy says of the messages of our users (draft-ietf-mimi-room-policy-03): previews of links (component 0x002b,
//! section 6.3), and when messages go (0x0030, section 6.8).
//!
//! It binds clients, and a hub judges nothing by it: what others say is shown as it comes.

use super::{state::Phase, step::Step, words::counted};
use crate::{
    content::{Body, Expiration, MimiContent},
    ident::UserUri,
    policy::{Capability, LinkPreviewPolicy, MessageExpiration, Optionality, RoomState, component, lasting},
    translate::{Loss, RoomEvent, Translated, without_previews},
};

/// Seconds of a year: receivers do not believe that a message stays longer before it goes.
const YEAR: u32 = 365 * 24 * 60 * 60;

/// Whether somebody's messages may come with previews of links.
fn may_preview(state: &RoomState, user: &UserUri) -> bool {
    // Who is not listed gets a role first.
    if state.role_of(user).is_some() && !state.can(user, Capability::SendLinkPreview) {
        return false;
    }
    state.other.get(&component::LINK_PREVIEW_POLICY).is_none_or(|bytes| {
        // What cannot be read may forbid it.
        LinkPreviewPolicy::decode(bytes).is_ok_and(|policy| policy.send_link_previews != Optionality::Forbidden)
    })
}

/// When a message goes where that is the policy. What cannot be read changes nothing.
fn expiring(state: &RoomState, content: &MimiContent) -> Option<Expiration> {
    let policy = state.other.get(&component::MESSAGE_EXPIRATION_POLICY);
    let Some(policy) = policy.and_then(|bytes| MessageExpiration::decode(bytes).ok()) else { return content.expires };
    // What takes something away is no message that stays.
    if content.body.body == Body::Null {
        return content.expires;
    }
    let sent = content.sender_timestamp().map_or(0, |at| at.millis.div_ceil(1000));
    let sent = u32::try_from(sent).unwrap_or(u32::MAX);
    let wanted = content.expires.map(|expires| match expires {
        Expiration::At(time) => time.saturating_sub(sent),
        Expiration::AfterReading(seconds) => seconds,
    });
    let seconds = policy.bounded(wanted)?.min(YEAR);
    Some(match content.expires {
        Some(Expiration::AfterReading(_)) => Expiration::AfterReading(seconds),
        Some(Expiration::At(_)) | None => Expiration::At(sent.saturating_add(seconds)),
    })
}

impl Step<'_> {
    /// Makes what an event became such a message as the room wants.
    pub(super) fn heed_policy(&self, user: &UserUri, translated: &mut Translated) {
        let Some(state) = self.state() else { return };
        let Translated { content, losses } = translated;
        if !may_preview(&state, user) {
            let (body, had_some) = without_previews(content.body.clone());
            if had_some {
                content.body = body;
                losses.push(Loss::Preview);
            }
        }
        let expires = expiring(&state, content);
        if expires != content.expires {
            content.expires = expires;
            losses.push(if expires.is_some() { Loss::Staying } else { Loss::Expiration });
        }
    }

    /// Why the room does not want a message that was made before its policy was known.
    pub(super) fn against_policy(&self, user: &UserUri, content: &MimiContent) -> Option<&'static str> {
        let state = self.state()?;
        if !may_preview(&state, user) && without_previews(content.body.clone()).1 {
            return Some("the room has no link previews");
        }
        (expiring(&state, content) != content.expires)
            .then_some("the room wants messages to disappear after another time")
    }

    /// Somebody changed what the Matrix room says of its messages: the MIMI room keeps what it had, and people hear of that.
    pub(super) fn on_lasting(&mut self, event: &RoomEvent) {
        let Some((id, bytes)) = lasting(&event.event_type, &event.content) else { return };
        let changes =
            self.is_hub() && self.room.phase == Phase::Active && !self.room.unbridging && !self.room.keeps_roles;
        let Some(state) = self.state().filter(|_| changes && !self.room.direct) else { return };
        if state.other.get(&id) == bytes.as_ref() {
            return;
        }
        let what = match id {
            component::MESSAGE_EXPIRATION_POLICY => "how long messages stay",
            _ => "who may read what was said before they came",
        };
        self.notice(&format!(
            "MIMI users do not hear that {} changed {what} (m.{}): a MIMI room keeps what was so when it was mirrored.",
            event.sender,
            event.event_type.trim_start_matches("m.")
        ));
    }

    /// What people should know of when messages go, where they have to.
    pub(super) fn says_expiring(&self) -> String {
        let state = self.state();
        let policy = state.as_ref().and_then(|state| state.other.get(&component::MESSAGE_EXPIRATION_POLICY));
        match policy.and_then(|bytes| MessageExpiration::decode(bytes).ok()?.bounded(None)) {
            Some(seconds) => format!(
                " For MIMI users messages disappear {} after they were said, as this room wants (m.room.retention).",
                match (seconds / 86_400, seconds / 3600) {
                    (0, 0) => counted(seconds.into(), "second", "seconds"),
                    (0, hours) => counted(hours.into(), "hour", "hours"),
                    (days, _) => counted(days.into(), "day", "days"),
                }
            ),
            None => String::new(),
        }
    }
}
