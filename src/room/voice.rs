//! What somebody's role lets them say (draft-ietf-mimi-room-policy-03 section 8, message and asset capabilities).
//!
//! ```text
//!  reports of status, vCards             --> everybody: they are about people and messages, and nothing that is said
//!  reactions, taking back                --> their own capabilities alone, as the draft's listeners have them
//!  everything else                       --> canSendMessage, and what its fields ask besides
//! ```
//! A hub that reads a message refuses what the sender may not say; one without a leaf can only refuse who may say nothing at
//! all. As member we show nothing of it, and what our own users may not say does not leave.

use super::{
    group::{GroupError, Opened},
    pump::Turn,
    settings::Setting,
    state::Intent,
    step::Step,
};
use crate::{
    content::{Body, Disposition, MessageId, MessageStatusReport, MimiContent, NestedPart},
    ident::UserUri,
    policy::Capability::{
        self, DeleteOtherMessage, DeleteOtherReaction, DeleteOwnMessage, DeleteOwnReaction, EditOwnMessage,
        EditReaction, ReactToMessage, ReplyInTopic, ReplyToMessage, SendLinkPreview, SendMessage, StartTopic,
        UploadAttachment, UploadAudio, UploadImage, UploadVideo,
    },
    translate::{
        self, Form, PRIVATE_EVENT,
        media::{self, MediaKind},
        profile,
    },
};

/// Longest text of a reaction, in bytes. What is longer is a message, whatever it calls itself.
const LONGEST_REACTION: usize = 256;

/// Any of them lets something be said that a hub without a leaf cannot tell from other messages.
const SOME_VOICE: [Capability; 8] = [
    SendMessage,
    ReactToMessage,
    EditReaction,
    DeleteOwnReaction,
    DeleteOtherReaction,
    DeleteOwnMessage,
    DeleteOtherMessage,
    ReplyInTopic,
];

/// One of these capabilities is needed, and what for.
type Need = (&'static [Capability], &'static str);

/// Whether it is one short text.
fn is_short(part: &NestedPart) -> bool {
    matches!(&part.body, Body::Single { content, .. } if content.len() <= LONGEST_REACTION)
}

/// What a file in a message, or beside it, asks of its sender.
fn need_of_file(media_type: &str) -> Need {
    match media_type.split('/').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "image" => (&[UploadImage], "send pictures"),
        "audio" => (&[UploadAudio], "send sound"),
        "video" => (&[UploadVideo], "send videos"),
        _ => (&[UploadAttachment], "send files"),
    }
}

/// Whether something of this type may be a place to go to, and is nothing to look at.
fn is_address(media_type: &str) -> bool {
    let kind = media_type.split('/').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(kind.as_str(), "" | "text")
}

/// What the parts of a message ask besides its being said.
fn needs_of(part: &NestedPart, needs: &mut Vec<Need>) {
    match (&part.body, part.disposition) {
        // A small picture of a file beside it, or of what a link leads to.
        (Body::External(_), Disposition::Preview) => {
            needs.push((&[SendLinkPreview, UploadImage, UploadVideo, UploadAttachment], "send previews"));
        }
        (Body::Single { .. }, Disposition::Preview) => needs.push((&[SendLinkPreview], "send link previews")),
        (Body::Null, _) => {}
        // The draft has no words yet for who may call. What calls itself a call may have files beside, or be one.
        (Body::External(at), Disposition::Session) if is_address(&at.content_type) => {}
        (Body::Single { content_type, .. }, Disposition::Session) if is_address(content_type) => {}
        (Body::External(_), Disposition::Attachment) => needs.push((&[UploadAttachment], "send files")),
        (Body::External(file), _) => needs.push(need_of_file(&file.content_type)),
        // A file within the message is one like those elsewhere; a text is none.
        (Body::Single { .. }, _) if !media::is_file(part) => {}
        (Body::Single { .. }, Disposition::Attachment) => needs.push((&[UploadAttachment], "send files")),
        (Body::Single { content_type, .. }, _) => needs.push(need_of_file(content_type)),
        (Body::Multi { parts, .. }, _) => parts.iter().for_each(|part| needs_of(part, needs)),
    }
}

/// What a message asks of its sender.
fn needs(content: &MimiContent, may: &impl Fn(Capability) -> bool) -> Vec<Need> {
    let Some(body) = (content.body.body != Body::Null).then_some(&content.body) else {
        return vec![match (content.replaces, content.in_reply_to) {
            (None, _) => (&[SendMessage], "write"),
            // An answer that is taken back looks the same as a reaction.
            (Some(_), Some(_)) => {
                let any = &[DeleteOwnReaction, DeleteOwnMessage, DeleteOtherReaction, DeleteOtherMessage];
                (any, "take back what was said")
            }
            (Some(_), None) => (&[DeleteOwnMessage, DeleteOtherMessage], "delete messages"),
        }];
    };
    let reacts = content.in_reply_to.is_some() && content.body.disposition == Disposition::Reaction;
    if reacts && is_short(body) && content.subject().is_none() {
        return vec![match content.replaces {
            None => (&[ReactToMessage], "react to messages"),
            Some(_) => (&[EditReaction], "change reactions"),
        }];
    }
    let (answers, in_topic) = (content.in_reply_to.is_some(), !content.topic_id.is_empty());
    let mut needs: Vec<Need> = Vec::new();
    // The draft's attendees answer in topics, and say nothing else.
    if !(answers && in_topic && content.replaces.is_none() && may(ReplyInTopic)) {
        needs.push((&[SendMessage], "write"));
    }
    match (content.replaces, answers, in_topic) {
        (Some(_), ..) => needs.push((&[EditOwnMessage], "change what they said")),
        (None, true, true) => needs.push((&[ReplyInTopic], "answer in topics")),
        (None, true, false) => needs.push((&[ReplyToMessage], "answer messages")),
        (None, false, true) => needs.push((&[StartTopic, ReplyInTopic], "write in topics")),
        (None, false, false) => {}
    }
    needs_of(body, &mut needs);
    needs
}

/// Whether it is about people or messages, and nothing that is said.
fn says_nothing(content: &MimiContent) -> bool {
    matches!(MessageStatusReport::within(content), Some(Ok(_))) || profile::is_card_alone(content)
}

/// What of this message its sender may not do; `None` if they may say it.
fn forbidden(content: &MimiContent, may: impl Fn(Capability) -> bool) -> Option<&'static str> {
    if says_nothing(content) {
        return None;
    }
    let needs = needs(content, &may);
    needs.into_iter().find(|(any, _)| !any.iter().any(|capability| may(*capability))).map(|(_, what)| what)
}

impl Step<'_> {
    /// What of this message its sender's role does not let them do.
    pub(super) fn forbidden(&self, sender: &UserUri, content: &MimiContent) -> Option<&'static str> {
        let state = self.state()?;
        forbidden(content, |capability| state.can(sender, capability))
    }

    /// Whether a message is not shown here, since its sender may not say it.
    pub(super) fn keeps_quiet(&mut self, sender: &UserUri, content: &MimiContent) -> bool {
        // Who is out since may have said it before; the hub knows.
        let forbidden = self.forbidden(sender, content).filter(|_| self.is_participant(sender));
        if let Some(what) = forbidden {
            // A hub that reads would have refused it; one without a leaf could not know.
            self.report(format!("a message of {sender} is not shown: their role does not let them {what}"));
        }
        forbidden.is_some()
    }

    /// As hub, of a message that was opened: why its sender may not say it.
    pub(super) fn check_voice(&self, opened: &Opened, content: &MimiContent) -> Result<(), String> {
        if let Some(what) = self.forbidden(&opened.sender, content) {
            return Err(format!("their role does not let them {what}"));
        }
        match self.type_of_its_own(&opened.sender, content) {
            Some(kind) if !self.level_allows(&opened.sender, &kind) => {
                Err(format!("their level is too low for {kind}"))
            }
            _ => Ok(()),
        }
    }

    /// The type of event that a message becomes here, if roles have no capability for it.
    fn type_of_its_own(&self, sender: &UserUri, content: &MimiContent) -> Option<String> {
        if content.body.body == Body::Null {
            return content.replaces.map(|_| "m.room.redaction".to_owned());
        }
        let has = |what: &dyn Fn(&Body) -> bool| content.body.walk().any(|part| what(&part.body));
        if let Some(media) = media::from_message(content) {
            // Among several it is a picture like others.
            let sticker = matches!(media.files.as_slice(), [one] if one.kind == MediaKind::Sticker);
            return sticker.then(|| "m.sticker".to_owned());
        }
        if !has(&|body| matches!(body, Body::Single { content_type, .. } if content_type == PRIVATE_EVENT)) {
            return None;
        }
        let shown = translate::to_matrix(
            content,
            &translate::ToMatrix {
                message_id: MessageId([0; 32]),
                sender,
                room: &self.room.uri,
                mentions: &translate::Nobody,
                from_gateway: self.names.is_gateway(&sender.provider()),
            },
        );
        match shown.refers.form {
            Form::Reference(kind, _) | Form::Version(kind, _) => Some(kind),
            _ => Some(shown.event_type).filter(|kind| kind != "m.room.message"),
        }
    }

    /// Whether somebody's role lets them say anything at all.
    pub(super) fn has_voice(&self, user: &UserUri) -> bool {
        self.state().is_some_and(|state| SOME_VOICE.iter().any(|capability| state.can(user, *capability)))
    }

    /// Before one of ours says something: whether that waits, or is not said at all.
    pub(super) fn voice_first(&mut self, user: &UserUri, content: &[u8]) -> Result<Option<Turn>, GroupError> {
        // Who is not listed gets the role of their level.
        if self.state().is_none_or(|state| state.role_of(user).is_none()) {
            return Ok(None);
        }
        let Ok(content) = MimiContent::decode(content) else { return Ok(None) };
        if let Some(why) = self.against_policy(user, &content) {
            return Err(GroupError::Refused(why.to_owned()));
        }
        let Some(what) = self.forbidden(user, &content) else { return Ok(None) };
        // The homeserver let them write: their level may have changed, and their role not yet.
        if self.is_looked_at(Setting::Powers) {
            return Ok(Some(Turn::Wait));
        }
        let appoints = |intent: &Intent| matches!(intent, Intent::Appoint { .. });
        let place = self.room.queue.iter().position(appoints);
        if let Some(appoint) = place.and_then(|place| self.room.queue.remove(place)) {
            self.room.queue.push_front(appoint);
            return Ok(Some(Turn::Again));
        }
        Err(GroupError::Refused(format!("their role in the MIMI room does not let them {what}")))
    }
}

#[cfg(test)]
mod tests;
