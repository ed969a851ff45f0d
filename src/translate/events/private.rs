//! Events that MIMI has no form for (polls, and types that only some Matrix clients know): a private media type beside a text,
//! for the gateways among the receivers.
//!
//! Whoever can write such a part could make another homeserver show events of any type. So one is believed only if its sender's
//! provider is a gateway by our settings, its type is one that has no translation of its own, and its text is the one that the
//! event gives. HTML in polls is cleaned; what an event of a custom type holds is for its clients alone, and stays as it came.
//! Sender, time, mentions and what it refers to are never taken from it: of a relation it says the kind alone.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    super::relation::{self, Related},
    super::{CONTENT_KEY, Form, Loss, MatrixMessage, NotCarried, ToMatrix, ToMimi, Translated, essence, tidy},
    extensible, own,
    poll::{self, Kind, Poll, poll},
};
use crate::content::{Body, MimiContent, NestedPart, PartSemantics, TEXT_PLAIN};

/// The private media type: `{"content": {…}, "type": "…"}` as JSON.
pub const PRIVATE_EVENT: &str = "application/vnd.mimi-gateway.matrix-event+json";
/// Longest private part, in bytes.
const MAX_PART: usize = 32 * 1024;
/// Longest text beside one, in characters.
const MAX_TEXT: usize = 4000;
/// The greatest number in an event of a room version since 6, and less its sign the smallest (Matrix, appendix "Canonical JSON").
const MAX_NUMBER: i64 = (1 << 53) - 1;
/// How deep a field of an event may be nested: parsers give up at 128, and an event is within other JSON.
const MAX_DEPTH: usize = 64;
/// Longest type, in bytes, as Matrix has it.
const MAX_TYPE: usize = 255;

/// Types that begin like this have a translation of their own, or a meaning to servers and clients that no other provider may
/// touch.
const OWN: [&str; 14] = [
    "com.beeper.message_send_status",
    "m.",
    "io.element.call.",
    "org.matrix.call.",
    "org.matrix.msc1767.",
    "org.matrix.msc3401.",
    "org.matrix.msc3489.",
    "org.matrix.msc3672.",
    "org.matrix.msc4075.",
    "org.matrix.msc4143.",
    "org.matrix.msc4310.",
    "im.mimi-gateway.",
    "im.vector.modular.widgets",
    "org.matrix.room.",
];

/// Whether events of this type cross in a private part.
pub(super) fn may_cross(event_type: &str) -> bool {
    let plain = event_type.bytes().all(|byte| byte.is_ascii_graphic());
    let known = poll(event_type).is_some() || !OWN.iter().any(|own| event_type.starts_with(own));
    known && plain && (1..=MAX_TYPE).contains(&event_type.len())
}

/// Keys that say who sent an event, to whom it refers, whom it mentions, and whose mirror it is.
fn is_ours_to_say(key: &str) -> bool {
    matches!(
        key,
        "m.relates_to" | "m.new_content" | "m.mentions" | "m.per_message_profile" | "com.beeper.per_message_profile"
    ) || key.starts_with("im.mimi-gateway.")
        || key == CONTENT_KEY
        || matches!(key, "org.matrix.self_destruct_after" | "com.beeper.disappearing_timer")
}

/// Whether rooms of all versions take such a content: since version 6 numbers are integers, and not too large. Nor is it nested so
/// deeply that a parser somewhere gives up.
pub(super) fn fits_all_rooms(content: &Map<String, Value>) -> bool {
    fn fits(value: &Value, depth: usize) -> bool {
        match value {
            Value::Number(number) => number.as_i64().is_some_and(|number| (-MAX_NUMBER..=MAX_NUMBER).contains(&number)),
            Value::Array(list) => depth > 0 && list.iter().all(|value| fits(value, depth - 1)),
            Value::Object(object) => depth > 0 && object.values().all(|value| fits(value, depth - 1)),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }
    content.values().all(|value| fits(value, MAX_DEPTH))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    content: Map<String, Value>,
    /// What it is to the message that it refers to (`inReplyTo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    relation: Option<Related>,
    #[serde(rename = "type")]
    event_type: String,
}

impl Part {
    /// `None` if it is too long, or homeservers would refuse it.
    fn sealed(&self) -> Option<NestedPart> {
        let json = serde_json::to_vec(self).ok()?;
        let whole = json.len() <= MAX_PART && fits_all_rooms(&self.content);
        whole.then(|| NestedPart::render(Body::Single { content_type: PRIVATE_EVENT.to_owned(), content: json }))
    }

    fn read(json: &[u8]) -> Option<Self> {
        if json.len() <= MAX_PART { serde_json::from_slice(json).ok() } else { None }
    }
}

/// A private part with something of an event of this type; `None` if it is too long, or homeservers would refuse it.
pub(super) fn part(event_type: &str, content: Map<String, Value>) -> Option<NestedPart> {
    Part { content, relation: None, event_type: event_type.to_owned() }.sealed()
}

/// The type and content in the private part of a body that has one among its alternatives, whoever sent it.
pub(super) fn read(body: &NestedPart) -> Option<(String, Map<String, Value>)> {
    Part::read(json(body)?).map(|part| (part.event_type, part.content))
}

fn json(body: &NestedPart) -> Option<&[u8]> {
    let Body::Multi { semantics: PartSemantics::ChooseOne, parts } = &body.body else { return None };
    parts.iter().find_map(|part| match &part.body {
        Body::Single { content_type, content } if content_type == PRIVATE_EVENT => Some(content.as_slice()),
        _ => None,
    })
}

pub(super) fn to_mimi(
    event_type: &str,
    outer: &Map<String, Value>,
    ctx: &ToMimi<'_>,
) -> Result<Translated, NotCarried> {
    let new = outer.get("m.new_content").and_then(Value::as_object).filter(|_| super::is_edit(outer));
    let mut content = new.unwrap_or(outer).clone();
    // Of a poll that says nothing there is nothing to show. Events of custom types may be without content: their type says it.
    if content.is_empty() && poll(event_type).is_some() {
        return Err(NotCarried::Empty);
    }
    let mut losses = Vec::new();
    losses.extend(super::brings_profile(&content).then_some(Loss::Profile));
    content.retain(|key, _| !is_ours_to_say(key));
    let target = relation::target(outer, ctx);
    // What others do not have is nothing that it could refer to there.
    let relation = Related::of(event_type, outer).filter(|_| target.is_some());
    let voted_on = target.and_then(|target| target.kind).filter(|_| poll(event_type) == Some(Poll::Response));
    let text = NestedPart::text(TEXT_PLAIN, &fallback(event_type, &content, voted_on.as_ref()));
    // A vote is not edited but cast anew.
    let is_private = new.is_none() || !is_vote_or_end(event_type);
    let part = Part { content, relation, event_type: event_type.to_owned() };
    let body = if let Some(private) = part.sealed().filter(|_| is_private) {
        // Others see the text.
        losses.push(Loss::Private(event_type.to_owned()));
        NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts: vec![private, text] })
    } else {
        losses.push(Loss::Unsupported(event_type.to_owned()));
        text
    };
    super::translated(super::message(event_type, body, outer, ctx, &mut losses)?, losses)
}

/// The plain text of a message.
pub(super) fn plain_text(message: &MimiContent) -> Option<&str> {
    text_of(message, "text/plain")
}

/// The text of a message that is one text of this type, or has one among alternatives. Whatever else its type says, and in
/// whatever letters, it is UTF-8 (draft-ietf-mimi-content-08 section 4.1), or no text.
pub(super) fn text_of<'a>(message: &'a MimiContent, wanted: &str) -> Option<&'a str> {
    let of = |part: &'a NestedPart| match &part.body {
        Body::Single { content_type, content } if essence(content_type) == wanted => std::str::from_utf8(content).ok(),
        _ => None,
    };
    match &message.body.body {
        Body::Multi { semantics: PartSemantics::ChooseOne, parts } => parts.iter().find_map(of),
        _ => of(&message.body),
    }
}

/// The event in a private part. What refers to another event, or is a new version of one, is shown as its text, and as itself
/// once that event is found: then the form says what it is.
pub(super) fn to_matrix(
    message: &MimiContent,
    ctx: &ToMatrix<'_>,
    losses: &mut Vec<Loss>,
    form: &mut Form,
) -> Option<MatrixMessage> {
    let part = Part::read(json(&message.body)?);
    // It stands beside a message, and is no event of its own.
    if part.as_ref().is_some_and(|part| part.event_type == own::MESSAGE) {
        return None;
    }
    let unsupported = || Loss::Unsupported(PRIVATE_EVENT.to_owned());
    let part = part.filter(|part| ctx.from_gateway && may_cross(&part.event_type));
    let Some(Part { mut content, relation, event_type }) = part else {
        losses.push(unsupported());
        return None;
    };
    content.retain(|key, _| !is_ours_to_say(key));
    // What a vote says is seen when the poll is found.
    let is_vote = poll(&event_type) == Some(Poll::Response);
    if !is_vote && plain_text(message) != Some(fallback(&event_type, &content, None).as_str()) {
        losses.push(Loss::Alternatives);
        return None;
    }
    // Homeservers refuse the event, and what it says with it.
    if !fits_all_rooms(&content) {
        losses.push(Loss::Unsupported(event_type));
        return None;
    }
    if poll(&event_type).is_some() {
        poll::clean(&mut content, ctx.mentions);
    }
    let shown = super::mirror(&event_type, content, message, ctx, losses)?;
    if is_vote_or_end(&event_type) {
        if message.replaces.is_some() {
            losses.push(unsupported());
        } else if message.in_reply_to.is_some() {
            *form = Form::Reference(event_type, shown.content.to_string());
        } else {
            losses.push(Loss::Reference);
        }
        return None;
    }
    if message.replaces.is_some() {
        *form = Form::Version(event_type, shown.content.to_string());
        return None;
    }
    match relation.map(|relation| relation.form().filter(|_| message.in_reply_to.is_some())) {
        None => {}
        Some(Some(related)) => *form = related,
        Some(None) => {
            return Some(MatrixMessage { losses: tidy([shown.losses, vec![Loss::Reference]].concat()), ..shown });
        }
    }
    Some(shown)
}

fn is_vote_or_end(event_type: &str) -> bool {
    matches!(poll(event_type), Some(Poll::Response | Poll::End))
}

/// What people see who cannot see the event. The same event always gives the same text: receivers compare.
fn fallback(event_type: &str, content: &Map<String, Value>, voted_on: Option<&Kind>) -> String {
    let said = || extensible::text(content).map(|text| bounded(&text));
    match poll(event_type) {
        Some(Poll::Start) => poll::question(event_type, content).or_else(said).unwrap_or_else(|| "[a poll]".to_owned()),
        Some(Poll::Response) => poll::vote(content, voted_on),
        Some(Poll::End) => said().unwrap_or_else(|| "[ended a poll]".to_owned()),
        None => said().unwrap_or_else(|| format!("[something that only Matrix clients show: {event_type}]")),
    }
}

/// At most so many characters, without those that no text has.
fn bounded(text: &str) -> String {
    let clean = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { ' ' } else { c };
    text.chars().map(clean).take(MAX_TEXT).collect()
}
