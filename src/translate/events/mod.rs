//! Events beside text messages and media: locations, polls, calls, messages in extensible form, and events that only some
//! Matrix clients know.
//!
//! ```text
//!  m.message, m.notice ... (MSC1767)  --rewritten as m.room.message--> text
//!  other types of Matrix' own         --> the text that they have for who does not know them
//!  m.location                         --> chooseOne [Markdown link, text], marked; back if marked, or a part at a geo: address
//!  calls, conferences                 --> chooseOne [session at an address, text]
//!  live locations                     --> one text, edited
//!  polls, custom events               --> chooseOne [private part, text]; back only from peers that are gateways
//!  fields of apps in a text           --> one more alternative of it, a private part; back in the same way
//!  self_destruct_after, timers        <-> expires
//! ```
//!
//! All are pure functions; what does not cross is told as [`Loss`].

mod extensible;
mod live;
mod own;
mod place;
mod poll;
mod private;
mod session;
mod timer;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    CONTENT_KEY, Form, Loss, MAX_EVENT_CONTENT, MatrixMessage, Nobody, NotCarried, Refers, ToMatrix, ToMimi,
    Translated,
    html::Document,
    links::Links,
    markdown::{self, Style},
    relation::Relations,
    tidy,
    to_mimi::rings_others,
};
use crate::content::{MimiContent, NestedPart, TEXT_PLAIN};

pub(super) use live::readable;
pub use live::{Live, is_live_info, is_live_place};
pub(super) use own::{has_fields, is_own_msgtype, other_kind, put_fields, with_fields};
pub(super) use place::escaped;
pub use poll::Kind;
pub(super) use poll::belongs;
pub use private::PRIVATE_EVENT;
pub use session::{is_call, is_conference, is_widget};
pub(super) use timer::expires;

/// Translates an event if it is no text message: `None` for what is one, and for what nothing here knows.
pub(super) fn to_mimi(event_type: &str, content: &Value, ctx: &ToMimi<'_>) -> Option<Result<Translated, NotCarried>> {
    let outer = content.as_object()?;
    let is_session = session::is_call(event_type) || session::is_conference(event_type, content);
    let known = event_type == "m.room.message" || is_session || private::may_cross(event_type);
    if outer.contains_key(CONTENT_KEY) && (known || extensible::msgtype(event_type).is_some()) {
        return Some(Err(NotCarried::Mirror));
    }
    if let Some(message) = extensible::as_room_message(event_type, outer) {
        return Some(super::to_mimi("m.room.message", &Value::Object(message), ctx));
    }
    if event_type == "m.room.message" {
        let new = outer.get("m.new_content").and_then(Value::as_object).filter(|_| is_edit(outer));
        let message = new.unwrap_or(outer);
        let is_place = message.get("msgtype").and_then(Value::as_str) == Some(place::MSGTYPE);
        return is_place.then(|| place::to_mimi(outer, message, ctx));
    }
    if is_live_info(event_type) || is_live_place(event_type) {
        return Some(live::to_mimi(event_type, outer, ctx));
    }
    if session::is_call(event_type) {
        return Some(session::call_to_mimi(outer, ctx));
    }
    if is_session {
        return Some(session::conference_to_mimi(outer, ctx));
    }
    if private::may_cross(event_type) {
        return Some(private::to_mimi(event_type, outer, ctx));
    }
    let text = extensible::other(event_type, outer)?;
    Some(text_alone(event_type, &text, outer, ctx))
}

/// Of an event of Matrix' own that MIMI has no form for the text that it has for who does not know it, either.
fn text_alone(
    event_type: &str,
    text: &str,
    outer: &Map<String, Value>,
    ctx: &ToMimi<'_>,
) -> Result<Translated, NotCarried> {
    if outer.contains_key(CONTENT_KEY) {
        return Err(NotCarried::Mirror);
    }
    let mut losses = vec![Loss::Event(event_type.to_owned())];
    let message = message("m.room.message", NestedPart::text(TEXT_PLAIN, text), outer, ctx, &mut losses)?;
    translated(message, losses)
}

/// Translates a message that is no text; `None` for what is shown as text, in whatever form it has.
pub(super) fn to_matrix(
    message: &MimiContent,
    ctx: &ToMatrix<'_>,
    losses: &mut Vec<Loss>,
    form: &mut Form,
) -> Option<MatrixMessage> {
    if let Some(place) = place::to_matrix(message, ctx, losses) {
        return Some(place);
    }
    let event = private::to_matrix(message, ctx, losses, form);
    // It has no place for a subject: its text has.
    if message.subject().is_some() && (event.is_some() || matches!(form, Form::Version(..) | Form::Reference(..))) {
        losses.push(Loss::Unsupported(PRIVATE_EVENT.to_owned()));
        *form = Form::Message;
        return None;
    }
    event
}

/// The text of a message that says what a reaction is.
pub(super) fn reaction_text(message: &MimiContent) -> Option<Cow<'_, str>> {
    if let Some(text) = private::text_of(message, "text/plain") {
        return Some(Cow::Borrowed(text));
    }
    let mut links = Links::to_matrix(&Nobody);
    let html = match private::text_of(message, "text/markdown") {
        Some(text) => Cow::Owned(markdown::to_html(text, &mut links)),
        None => Cow::Borrowed(private::text_of(message, "text/html")?),
    };
    let document = Document::read(&html, &mut links);
    markdown::from_document(&document, Style::Plain, html.len(), &mut Vec::new()).map(Cow::Owned)
}

/// Marks the content of an event that mirrors a message: when it shall go.
pub(super) fn mark(content: &mut Value, message: &MimiContent) {
    if let (Some((key, value)), Some(object)) = (message.expires.map(timer::mark), content.as_object_mut()) {
        object.insert(key.to_owned(), value);
    }
}

/// Whether a message has a name or picture of its own (MSC4144).
pub(super) fn brings_profile(content: &Map<String, Value>) -> bool {
    ["m.per_message_profile", "com.beeper.per_message_profile"].iter().any(|key| content.contains_key(*key))
}

fn is_edit(outer: &Map<String, Value>) -> bool {
    relation(outer, "rel_type") == Some("m.replace")
}

/// A text field of the event's relation.
fn relation<'a>(outer: &'a Map<String, Value>, field: &str) -> Option<&'a str> {
    outer.get("m.relates_to")?.get(field)?.as_str()
}

/// A message with what every message of an event has.
fn message(
    event_type: &str,
    body: NestedPart,
    outer: &Map<String, Value>,
    ctx: &ToMimi<'_>,
    losses: &mut Vec<Loss>,
) -> Result<MimiContent, NotCarried> {
    let mut message = MimiContent::new(ctx.salt, ctx.sender, ctx.room, body);
    message.set_sender_timestamp(ctx.sent_ts);
    message.expires = expires(outer, ctx.sent_ts, losses);
    let relations = Relations::read(event_type, outer, ctx, losses)?;
    if rings_others(outer.get("m.mentions"), relations.answered.as_ref(), ctx) {
        losses.push(Loss::Mention);
    }
    relations.put(&mut message);
    Ok(message)
}

/// The translation, if it is within what can be sent.
fn translated(content: MimiContent, losses: Vec<Loss>) -> Result<Translated, NotCarried> {
    content.encode()?;
    Ok(Translated { content, losses: tidy(losses) })
}

/// An event that mirrors a message; `None` if it would be too long.
fn mirror(
    event_type: &str,
    mut content: Map<String, Value>,
    message: &MimiContent,
    ctx: &ToMatrix<'_>,
    losses: &[Loss],
) -> Option<MatrixMessage> {
    content.insert("m.mentions".to_owned(), json!({}));
    let origin = json!({ "id": ctx.message_id.to_string(), "room": ctx.room.as_str(), "sender": ctx.sender.as_str() });
    content.insert(CONTENT_KEY.to_owned(), origin);
    let mut content = Value::Object(content);
    mark(&mut content, message);
    (content.to_string().len() <= MAX_EVENT_CONTENT).then(|| MatrixMessage {
        event_type: event_type.to_owned(),
        content,
        refers: Refers::default(),
        losses: tidy(losses.to_vec()),
    })
}

/// Text of a sender on one line and of bounded length.
pub(super) fn line(text: &str, most: usize) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line.trim().to_owned()
}
