//! How messages refer to earlier ones: replies, threads, edits, reactions, deletions (Client-Server API 1.17, "Forming
//! relationships between events"; draft-ietf-mimi-content-08, `replaces`, `inReplyTo` and `topicId`).
//!
//! ```text
//!  m.in_reply_to        <-> inReplyTo
//!  m.replace            <-> replaces: the id of the first version, by its sender alone
//!  m.annotation         <-> inReplyTo, disposition reaction, the key as text
//!  m.thread             <-> topicId: that of the thread's first message, else its id
//!  others, of custom events <-> inReplyTo, and their kind in the private part
//!  m.room.redaction     <-> replaces, an empty body; of a reaction also inReplyTo
//! ```
//!
//! Matrix names events and MIMI names messages. From Matrix the caller looks up the events that [`named`] gives. From MIMI the
//! event may not be there yet when the message is translated: the message keeps what it refers to ([`Refers`]), and
//! [`relate`] puts events in when it is shown.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ruma::{EventId, OwnedEventId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Kind, Loss, NotCarried, RoomEvent, ToMimi, Translated};
use crate::{
    content::{Body, CborValue, Disposition, ExtensionKey, MessageId, MimiContent, NestedPart, TEXT_PLAIN},
    ident::UserUri,
};

/// The MIMI extension with the reason of a deletion.
pub(super) const REASON_EXTENSION: &str = "im.matrix.reason";
/// Longest key of a reaction, in bytes. Clients use emoji and shortcodes.
const MAX_KEY: usize = 256;
/// Longest name of a custom emoji that somebody reacts with, in characters: its key is within [`MAX_KEY`].
const MAX_SHORTCODE: usize = 60;
/// Longest reason of a deletion, in characters.
const MAX_REASON: usize = 500;
/// Longest kind of a relation, in bytes.
const MAX_REL_TYPE: usize = 255;
const REFERENCE: &str = "m.reference";
/// Kinds of relations that MIMI has a word for, by the names that clients use.
const MAPPED: [&str; 4] = ["m.replace", "m.thread", "io.element.thread", "m.in_reply_to"];
/// What stands above an answer to a message that is not there.
pub(super) const NOT_HERE: &str = "[in reply to a message that is not here]";

/// A message of the room, as far as later ones refer to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its id.
    pub id: MessageId,
    /// The id by which later messages name it: of an edit, that of the first version.
    pub first: MessageId,
    /// Who said it.
    pub sender: UserUri,
    /// What it answers or reacts to.
    pub reply: Option<MessageId>,
    /// Whether it is a reaction.
    pub reaction: bool,
    /// Its topic; empty for none.
    pub topic: Vec<u8>,
    /// What its event is, if that is no text or file.
    pub kind: Option<Kind>,
}

impl Earlier {
    /// What later messages need of this one.
    #[must_use]
    pub fn of(message: &MimiContent, id: MessageId, sender: &UserUri) -> Self {
        Self {
            id,
            first: message.replaces.unwrap_or(id),
            sender: sender.clone(),
            reply: message.in_reply_to,
            reaction: message.body.disposition == Disposition::Reaction,
            topic: message.topic_id.clone(),
            kind: None,
        }
    }

    /// A message of which nothing is known but its id.
    #[must_use]
    pub fn only(id: MessageId, sender: &UserUri) -> Self {
        let (sender, topic) = (sender.clone(), Vec::new());
        Self { id, first: id, sender, reply: None, reaction: false, topic, kind: None }
    }

    /// The same as it counts beside the message that it names as its first version. Of somebody else's message, or of none that
    /// is known, it is no version: what people then say of it, or delete, is this one and not the other.
    #[must_use]
    pub fn behind(self, first: Option<&Self>) -> Self {
        let own = first.is_some_and(|first| first.sender == self.sender);
        Self { first: if own { self.first } else { self.id }, ..self }
    }

    /// Whether a thread may begin at its event: at one that itself refers to another, as reactions, edits and votes do, none may.
    #[must_use]
    pub fn may_begin_thread(&self) -> bool {
        let votes = self.kind.as_ref().is_some_and(Kind::is_vote_or_end);
        !self.reaction && self.first == self.id && !votes
    }

    /// The same with what its event is.
    #[must_use]
    pub fn with_kind(self, kind: Option<Kind>) -> Self {
        Self { kind, ..self }
    }
}

/// The messages that events of the room stand for.
pub trait Past {
    /// The message of this event; `None` if it has none.
    fn of(&self, event: &EventId) -> Option<Earlier>;
}

/// Nothing was said before.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPast;

impl Past for NoPast {
    fn of(&self, _event: &EventId) -> Option<Earlier> {
        None
    }
}

impl Past for Vec<(OwnedEventId, Earlier)> {
    fn of(&self, event: &EventId) -> Option<Earlier> {
        self.iter().find(|(known, _)| known == event).map(|(_, earlier)| earlier.clone())
    }
}

// ---------------------------------------------------------------------------------------------------- from Matrix

/// The events that an event refers to.
#[must_use]
pub fn named(event: &RoomEvent) -> Vec<OwnedEventId> {
    let relation = event.content.get("m.relates_to");
    let id = |value: Option<&Value>| value?.as_str().and_then(|id| OwnedEventId::try_from(id).ok());
    let direct = id(relation.and_then(|relation| relation.get("event_id")));
    let answered = id(relation.and_then(|relation| relation.get("m.in_reply_to")?.get("event_id")));
    direct.into_iter().chain(answered).chain(event.redacts.clone()).collect()
}

/// What a message has beside its body.
#[derive(Debug, Default)]
pub(super) struct Relations {
    reply: Option<MessageId>,
    replaces: Option<MessageId>,
    topic: Vec<u8>,
    /// Whose message it answers.
    pub(super) answered: Option<UserUri>,
    /// The event is an answer, so that its text may begin with a quotation.
    pub(super) is_reply: bool,
    /// The event is an edit: its new content counts.
    pub(super) is_edit: bool,
}

impl Relations {
    /// Reads the relations of an event's content.
    pub(super) fn read(
        event_type: &str,
        outer: &Map<String, Value>,
        ctx: &ToMimi<'_>,
        losses: &mut Vec<Loss>,
    ) -> Result<Self, NotCarried> {
        let Some(relation) = outer.get("m.relates_to").and_then(Value::as_object) else { return Ok(Self::default()) };
        let mut found = Self::default();
        let rel_type = relation.get("rel_type").and_then(Value::as_str);
        let falling_back = relation.get("is_falling_back").and_then(Value::as_bool).unwrap_or(false);
        if let Some(answered) = relation.get("m.in_reply_to")
            && !falling_back
        {
            found.is_reply = true;
            match past(answered, ctx) {
                Some(answered) => (found.reply, found.answered) = (Some(answered.first), Some(answered.sender)),
                None => losses.push(Loss::Reply),
            }
        }
        let related = target(outer, ctx);
        match (rel_type, related) {
            (Some("m.thread"), Some(root)) => found.topic = topic_of(root),
            (Some("m.thread"), None) => losses.push(Loss::Thread),
            (Some("m.replace"), first) => {
                found.is_edit = true;
                // Matrix clients show nobody's edits but the sender's own.
                match first.filter(|first| first.sender == *ctx.sender) {
                    Some(first) if !is_version(event_type, first.kind.as_ref()) => return Err(NotCarried::OtherType),
                    Some(first) => {
                        (found.replaces, found.reply, found.topic) = (Some(first.first), first.reply, first.topic);
                    }
                    None => losses.push(Loss::Edit),
                }
            }
            (Some(rel_type), Some(target)) if rel_type == REFERENCE || Related::of(event_type, outer).is_some() => {
                // A message refers to one other: that it answers another one, too, is lost.
                losses.extend(found.reply.is_some().then_some(Loss::Reply));
                (found.reply, found.answered) = (Some(target.first), None);
                losses.extend((!is_kept_whole(event_type, relation)).then_some(Loss::Reference));
            }
            (Some(_), _) => losses.push(Loss::Reference),
            (None, _) => {}
        }
        Ok(found)
    }

    /// It answers an event that is no message of the MIMI room.
    pub(super) fn answers_nothing(&self) -> bool {
        self.is_reply && self.reply.is_none()
    }

    /// Puts them into the message.
    pub(super) fn put(self, message: &mut MimiContent) {
        message.in_reply_to = self.reply;
        message.replaces = self.replaces;
        message.topic_id = self.topic;
    }
}

/// What an event of a custom type is to the one that it refers to, if that is no answer, thread or edit. Which one that is, the
/// message says (`inReplyTo`): no event id is among this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Related {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    rel_type: String,
}

impl Related {
    /// The relation of an event; `None` if it has none that crosses so.
    pub(super) fn of(event_type: &str, outer: &Map<String, Value>) -> Option<Self> {
        let relation = outer.get("m.relates_to")?;
        let text = |field: &str| relation.get(field).and_then(Value::as_str).map(str::to_owned);
        let related = Self { key: text("key"), rel_type: text("rel_type")? };
        // What votes are to their polls is known.
        let is_custom = Kind::of(event_type, &Value::Null).is_some_and(|kind| !kind.is_vote_or_end());
        (is_custom && related.is_valid()).then_some(related)
    }

    /// Whether it is a kind of relation that has no meaning of its own, and bounded.
    fn is_valid(&self) -> bool {
        let plain = self.rel_type.bytes().all(|byte| byte.is_ascii_graphic());
        let key = self.key.as_deref().is_none_or(|key| key.len() <= MAX_KEY && !key.chars().any(char::is_control));
        let bounded = (1..=MAX_REL_TYPE).contains(&self.rel_type.len());
        key && plain && bounded && !MAPPED.contains(&self.rel_type.as_str())
    }

    /// The form of an event with this relation, as somebody else says.
    pub(super) fn form(self) -> Option<Form> {
        self.is_valid().then_some(Form::Related(self.rel_type, self.key))
    }
}

/// Whether a relation comes back as it is: there is nothing in it that stays behind.
fn is_kept_whole(event_type: &str, relation: &Map<String, Value>) -> bool {
    let stays = |(key, value): (&String, &Value)| match key.as_str() {
        "rel_type" | "event_id" | "m.in_reply_to" | "is_falling_back" => true,
        "key" => value.is_string(),
        _ => false,
    };
    Kind::of(event_type, &Value::Null).is_some() && relation.iter().all(stays)
}

/// The message of the event that a relation is to.
pub(super) fn target(outer: &Map<String, Value>, ctx: &ToMimi<'_>) -> Option<Earlier> {
    past(outer.get("m.relates_to")?, ctx)
}

/// Whose message an event answers.
pub(super) fn answered(outer: &Map<String, Value>, ctx: &ToMimi<'_>) -> Option<UserUri> {
    let relation = outer.get("m.relates_to")?;
    let falling_back = relation.get("is_falling_back").and_then(Value::as_bool).unwrap_or(false);
    past(relation.get("m.in_reply_to")?, ctx).filter(|_| !falling_back).map(|answered| answered.sender)
}

/// Whether an event of this type can be a new version of one of that kind.
fn is_version(event_type: &str, first: Option<&Kind>) -> bool {
    Kind::of(event_type, &Value::Null).map(|kind| kind.event_type).as_ref() == first.map(|kind| &kind.event_type)
}

fn past(relation: &Value, ctx: &ToMimi<'_>) -> Option<Earlier> {
    let event = relation.get("event_id")?.as_str()?;
    ctx.past.of(&OwnedEventId::try_from(event).ok()?)
}

fn topic_of(root: Earlier) -> Vec<u8> {
    if root.topic.is_empty() { root.first.0.to_vec() } else { root.topic }
}

/// A reaction (`m.reaction`).
pub(super) fn reaction(outer: &Map<String, Value>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    let relation = outer.get("m.relates_to").ok_or(NotCarried::Empty)?;
    let key = relation.get("key").and_then(Value::as_str).ok_or(NotCarried::Malformed("key"))?;
    if key.trim().is_empty() {
        return Err(NotCarried::Empty);
    }
    if key.len() > MAX_KEY || relation.get("rel_type").and_then(Value::as_str) != Some("m.annotation") {
        return Err(NotCarried::Malformed("m.relates_to"));
    }
    let target = past(relation, ctx).ok_or(NotCarried::NoTarget)?;
    let (mut key, mut losses) = (Cow::Borrowed(key), Vec::new());
    if key.starts_with("mxc://") {
        key = Cow::Owned(shortcode(outer));
        losses.push(Loss::InlineImage);
    }
    let mut body = NestedPart::text(TEXT_PLAIN, &key);
    body.disposition = Disposition::Reaction;
    let mut content = MimiContent::new(ctx.salt, ctx.sender, ctx.room, body);
    content.set_sender_timestamp(ctx.sent_ts);
    (content.in_reply_to, content.topic_id) = (Some(target.first), target.topic);
    content.encode()?;
    Ok(Translated { content, losses })
}

/// What a reaction with a picture for its key is called (MSC4027): clients write its name with colons, or without.
fn shortcode(outer: &Map<String, Value>) -> String {
    let said = ["shortcode", "com.beeper.reaction.shortcode"].iter().find_map(|key| outer.get(*key)?.as_str());
    let name = said.map(|said| super::events::line(said.trim().trim_matches(':'), MAX_SHORTCODE)).unwrap_or_default();
    if name.is_empty() { ":custom emoji:".to_owned() } else { format!(":{name}:") }
}

/// The deletion of a message (`m.room.redaction`).
pub fn deletion(target: &Earlier, reason: Option<&str>, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    let mut content = MimiContent::new(ctx.salt, ctx.sender, ctx.room, NestedPart::render(Body::Null));
    content.set_sender_timestamp(ctx.sent_ts);
    content.replaces = Some(target.first);
    content.in_reply_to = target.reply.filter(|_| target.reaction);
    content.topic_id.clone_from(&target.topic);
    if let Some(reason) = reason.filter(|reason| !reason.trim().is_empty()) {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        content.extensions.insert(ExtensionKey::text(REASON_EXTENSION), CborValue::Text(reason));
    }
    content.encode()?;
    Ok(Translated { content, losses: Vec::new() })
}

// ------------------------------------------------------------------------------------------------------ to Matrix

/// What a message refers to, and what it is if that is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refers {
    /// The message answered or reacted to.
    pub reply: Option<MessageId>,
    /// The message edited or deleted.
    pub replaces: Option<MessageId>,
    /// The topic; empty for none.
    pub topic: Vec<u8>,
    /// What it is.
    pub form: Form,
}

impl Refers {
    /// Whether it stands for itself.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.reply.is_none() && self.replaces.is_none() && self.topic.is_empty()
    }

    /// The message without which it makes no sense: the one edited, deleted, reacted to, or voted on. An answer stands for
    /// itself.
    #[must_use]
    pub fn target(&self) -> Option<MessageId> {
        match self.form {
            Form::Deletion(_) | Form::Message | Form::Version(..) => self.replaces,
            Form::Reaction(_) | Form::Reference(..) | Form::Related(..) => self.reply,
        }
    }

    /// The same, if it is not there.
    #[must_use]
    pub fn lacks(&self, resolved: &Resolved) -> Option<MessageId> {
        let found = match self.form {
            Form::Deletion(_) | Form::Message | Form::Version(..) => &resolved.replaced,
            Form::Reaction(_) | Form::Reference(..) | Form::Related(..) => &resolved.reply,
        };
        self.target().filter(|_| found.is_none())
    }

    /// What is left of what was found if a homeserver refuses the message for it. That a text answers an event is no relation
    /// that homeservers look at.
    #[must_use]
    pub fn without_relation(&self, resolved: Resolved) -> Resolved {
        let answers = matches!(self.form, Form::Message | Form::Version(..));
        let (reply, rings) = (resolved.reply.filter(|_| answers), resolved.rings);
        Resolved { reply, rings, ..Resolved::default() }
    }
}

/// What a message is to the one that it refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Form {
    /// A message, or a new version of one.
    #[default]
    Message,
    /// A reaction with this key.
    Reaction(String),
    /// Its deletion, and why.
    Deletion(Option<String>),
    /// Another type of event about it (a vote): type, and content as JSON text.
    Reference(String, String),
    /// A new version of another type of event (a poll): type, and content as JSON text.
    Version(String, String),
    /// An event of a custom type that has this relation to it: `rel_type`, and `key`.
    Related(String, Option<String>),
}

impl Form {
    /// The form of a message.
    pub(super) fn of(message: &MimiContent) -> Self {
        let reason = || message.extensions.get(&ExtensionKey::text(REASON_EXTENSION)).and_then(CborValue::as_text);
        match (&message.body.body, message.body.disposition) {
            (Body::Null, _) if message.replaces.is_some() => {
                Self::Deletion(reason().map(|reason| super::events::line(reason, MAX_REASON)))
            }
            (_, Disposition::Reaction) if message.in_reply_to.is_some() => {
                let text = super::events::reaction_text(message);
                let key = text.as_deref().map(str::trim).filter(|key| (1..=MAX_KEY).contains(&key.len()));
                key.map_or(Self::Message, |key| Self::Reaction(key.replace('\0', "\u{fffd}")))
            }
            _ => Self::Message,
        }
    }
}

/// An event of the room, and the message that it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The event.
    pub event: OwnedEventId,
    /// The message, if it is known who said it.
    pub earlier: Option<Earlier>,
}

/// What was found of what a message refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolved {
    /// The message answered or reacted to.
    pub reply: Option<Found>,
    /// The message edited or deleted.
    pub replaced: Option<Found>,
    /// The first event of the topic.
    pub root: Option<OwnedEventId>,
    /// One of our users whose message is answered.
    pub rings: Option<OwnedUserId>,
}

/// An event to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    /// Its type; a redaction names its event in `redacts`.
    pub event_type: String,
    /// Its content.
    pub content: Value,
    /// The room's keeper sends it, and not the ghost: the ghost has no power over others' messages.
    pub by_keeper: bool,
}

impl Act {
    fn send(event_type: &str, content: Value) -> Self {
        Self { event_type: event_type.to_owned(), content, by_keeper: false }
    }

    fn redact(event: &EventId, reason: Option<&str>, by_keeper: bool) -> Self {
        let mut content = json!({ "redacts": event });
        if let (Some(reason), Some(object)) = (reason, content.as_object_mut()) {
            object.insert("reason".to_owned(), reason.into());
        }
        Self { event_type: "m.room.redaction".to_owned(), content, by_keeper }
    }
}

/// What shows a message, in order; the last one stands for it. `content` is the message as one that stands for itself, and is
/// sent so (with a word about it) if what it refers to is not there or not its sender's to change. `moderates`: the sender
/// may delete what others said.
#[must_use]
pub fn relate(
    event_type: &str,
    content: Value,
    refers: &Refers,
    resolved: &Resolved,
    sender: &UserUri,
    moderates: bool,
) -> Vec<Act> {
    let own = |found: &&Found| found.earlier.as_ref().is_some_and(|earlier| earlier.sender == *sender);
    let replaced = resolved.replaced.as_ref();
    match &refers.form {
        Form::Deletion(reason) => match replaced {
            Some(found) if own(&found) => vec![Act::redact(&found.event, reason.as_deref(), false)],
            Some(found) if moderates => vec![Act::redact(&found.event, reason.as_deref(), true)],
            _ => vec![Act::send(event_type, content)],
        },
        Form::Reaction(key) => {
            let Some(target) = &resolved.reply else { return vec![Act::send(event_type, content)] };
            let before = replaced.filter(own).map(|found| Act::redact(&found.event, None, false));
            let relation = json!({ "rel_type": "m.annotation", "event_id": target.event, "key": key });
            let reaction = Act::send("m.reaction", marked(&content, relation));
            before.into_iter().chain([reaction]).collect()
        }
        Form::Reference(own_type, own_content) => {
            let Some(target) = &resolved.reply else { return vec![Act::send(event_type, content)] };
            let kind = target.earlier.as_ref().and_then(|earlier| earlier.kind.as_ref());
            let text = content.get("body").and_then(Value::as_str).unwrap_or_default();
            let parsed = serde_json::from_str::<Value>(own_content).ok();
            match parsed.filter(|own| super::events::belongs(own_type, own, kind, text)) {
                Some(mut own) => {
                    set(&mut own, json!({ "rel_type": "m.reference", "event_id": target.event }));
                    vec![Act::send(own_type, own)]
                }
                None => vec![Act::send(event_type, reply(content, refers, resolved))],
            }
        }
        Form::Related(rel_type, key) => {
            let mut content = content;
            // Of what is not there it says nothing: what such an event holds is for its clients alone.
            if let Some(target) = &resolved.reply {
                let mut relation = json!({ "rel_type": rel_type, "event_id": target.event });
                if let (Some(key), Some(object)) = (key, relation.as_object_mut()) {
                    object.insert("key".to_owned(), key.as_str().into());
                }
                set(&mut content, relation);
            }
            vec![Act::send(event_type, content)]
        }
        Form::Message | Form::Version(..) => {
            if let Some(found) = replaced.filter(own) {
                let kind = found.earlier.as_ref().and_then(|earlier| earlier.kind.as_ref());
                match (kind, &refers.form) {
                    (None, _) => return vec![Act::send(event_type, edit(content, &found.event, resolved))],
                    (Some(kind), Form::Version(own_type, own)) if kind.event_type == *own_type => {
                        if let Ok(own) = serde_json::from_str(own) {
                            return vec![Act::send(own_type, version(own, &content, &found.event))];
                        }
                    }
                    // A text is no new version of a poll: no client would show it.
                    _ => {}
                }
            }
            let content = if refers.replaces.is_some() { starred(content) } else { content };
            vec![Act::send(event_type, reply(content, refers, resolved))]
        }
    }
}

fn set(content: &mut Value, relation: Value) {
    if let Some(object) = content.as_object_mut() {
        object.insert("m.relates_to".to_owned(), relation);
    }
}

/// The marks of a mirrored message, and a relation.
fn marked(content: &Value, relation: Value) -> Value {
    let mut out = Map::new();
    if let Some(origin) = content.get(super::CONTENT_KEY) {
        out.insert(super::CONTENT_KEY.to_owned(), origin.clone());
    }
    out.insert("m.relates_to".to_owned(), relation);
    Value::Object(out)
}

fn edit(content: Value, first: &EventId, resolved: &Resolved) -> Value {
    let mut new = content.clone();
    // The whole of whom the message mentions, and an answer mentions whom it answers.
    if let (Some(user), Some(_)) = (&resolved.rings, &resolved.reply) {
        ring(&mut new, user);
    }
    if let Some(object) = new.as_object_mut() {
        object.remove(super::CONTENT_KEY);
    }
    let mut out = starred(content);
    if let Some(object) = out.as_object_mut() {
        // Whom an edit mentions anew is not known; who was mentioned before need not hear it twice.
        object.insert("m.mentions".to_owned(), json!({}));
        object.insert("m.new_content".to_owned(), new);
    }
    set(&mut out, json!({ "rel_type": "m.replace", "event_id": first }));
    out
}

/// A new version of an event that is no message. Who does not know its type does not see it, nor an edit of it: there is no text
/// for others.
fn version(own: Map<String, Value>, text: &Value, first: &EventId) -> Value {
    let (mut marks, new): (Map<_, _>, Map<_, _>) =
        own.into_iter().partition(|(key, _)| matches!(key.as_str(), super::CONTENT_KEY | "m.mentions"));
    // The text's says when it was accepted, too.
    if let Some(origin) = text.get(super::CONTENT_KEY) {
        marks.insert(super::CONTENT_KEY.to_owned(), origin.clone());
    }
    marks.insert("m.new_content".to_owned(), Value::Object(new));
    let mut out = Value::Object(marks);
    set(&mut out, json!({ "rel_type": "m.replace", "event_id": first }));
    out
}

/// As clients write an edit for those who do not understand it.
fn starred(content: Value) -> Value {
    prefixed(content, "* ", "* ")
}

fn prefixed(mut content: Value, plain: &str, html: &str) -> Value {
    for (field, prefix) in [("body", plain), ("formatted_body", html)] {
        if let Some(Value::String(text)) = content.get_mut(field) {
            text.insert_str(0, prefix);
        }
    }
    content
}

/// Mentions somebody beside those whom the text links to.
fn ring(content: &mut Value, user: &UserId) {
    let Some(mentions) = content.get_mut("m.mentions").and_then(Value::as_object_mut) else { return };
    let users = mentions.entry("user_ids").or_insert_with(|| json!([]));
    if let Some(users) = users.as_array_mut().filter(|users| !users.iter().any(|known| known == user.as_str())) {
        users.push(user.as_str().into());
    }
}

fn reply(content: Value, refers: &Refers, resolved: &Resolved) -> Value {
    let answered = resolved.reply.as_ref().map(|found| &found.event);
    let mut content = content;
    if refers.reply.is_some() && answered.is_none() {
        content = prefixed(content, &format!("> {NOT_HERE}\n\n"), &format!("<blockquote>{NOT_HERE}</blockquote>"));
    }
    if let (Some(user), Some(_)) = (&resolved.rings, answered) {
        ring(&mut content, user);
    }
    let relation = match (&resolved.root, answered) {
        (Some(root), Some(answered)) => {
            json!({ "rel_type": "m.thread", "event_id": root, "m.in_reply_to": { "event_id": answered } })
        }
        // For clients that know no threads.
        (Some(root), None) => json!({
            "rel_type": "m.thread", "event_id": root, "is_falling_back": true, "m.in_reply_to": { "event_id": root },
        }),
        (None, Some(answered)) => json!({ "m.in_reply_to": { "event_id": answered } }),
        (None, None) => return content,
    };
    set(&mut content, relation);
    content
}
