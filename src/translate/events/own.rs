//! What clients add to messages on their own: kinds of messages, and fields that no specification has.

use serde_json::{Map, Value, json};

use super::{
    super::{ToMatrix, media, to_mimi::MAX_ALTERNATIVES},
    Loss, poll,
    private::{self, PRIVATE_EVENT},
};
use crate::content::{Body, NestedPart, PartSemantics};

/// The type in a private part that stands beside the text of a message.
pub(super) const MESSAGE: &str = "m.room.message";

/// What a file's key, hash and sizes take, in bytes.
const MAX_DETAILS: usize = 256;

/// Fields that Matrix has, or had, in messages of whatever kind. Where they mean something they are read.
const FIELDS: [&str; 15] = [
    "admin_contact",
    "body",
    "cute_type",
    "external_url",
    "file",
    "filename",
    "format",
    "formatted_body",
    "geo_uri",
    "info",
    "itemtype",
    "itemtypes",
    "lang",
    "msgtype",
    "url",
];

/// Names of those whose fields are hints of clients to clients, or what Matrix will have: they say nothing that people would miss.
const HINTS: [&str; 16] = [
    "m.",
    "org.matrix.",
    "im.mimi-gateway.",
    "cc.etke.",
    "com.beeper.",
    "de.sorunome.",
    "fi.mau.",
    "im.fluffychat.",
    "im.nheko.",
    "im.vector.",
    "in.cinny.",
    "io.element.",
    "net.maunium.",
    "page.codeberg.everypizza.",
    "uk.half-shot.",
    "xyz.maubot.",
];

/// Whether a message says something under names of its own.
pub(in crate::translate) fn has_fields(message: &Map<String, Value>) -> bool {
    message.keys().any(|key| is_own_field(key))
}

/// Whether a field has a name that means nothing in Matrix. Proposals to Matrix have names with their number.
fn is_own_field(key: &str) -> bool {
    !(FIELDS.contains(&key) || HINTS.iter().any(|hint| key.starts_with(hint)) || key.contains(".msc"))
}

/// Puts what a message says under names of its own beside its text, as one more alternative, for the gateways among the
/// receivers: behind all that everybody reads it has what room is left.
pub(in crate::translate) fn with_fields(
    mut body: NestedPart,
    message: &Map<String, Value>,
    losses: &mut Vec<Loss>,
) -> NestedPart {
    if !has_fields(message) {
        return body;
    }
    let fields = message.iter().filter(|(key, _)| is_own_field(key)).map(|(key, value)| (key.clone(), value.clone()));
    let room = MAX_ALTERNATIVES.saturating_sub(body.walk().map(size).sum());
    match private::part(MESSAGE, fields.collect()).filter(|part| size(part) <= room) {
        Some(part) => {
            losses.push(Loss::Added);
            add(&mut body, part);
        }
        None => losses.push(Loss::Fields),
    }
    body
}

/// About how long a part is, without those in it, in bytes.
fn size(part: &NestedPart) -> usize {
    match &part.body {
        Body::Single { content, .. } => content.len(),
        Body::External(file) => {
            let texts = [&file.content_type, &file.url, &file.description, &file.filename];
            texts.iter().map(|text| text.len()).sum::<usize>() + MAX_DETAILS
        }
        Body::Null | Body::Multi { .. } => 0,
    }
}

fn add(body: &mut NestedPart, part: NestedPart) {
    match &mut body.body {
        Body::Multi { semantics: PartSemantics::ChooseOne, parts } => {
            // A text refers to its pictures by their number: they stay where they are.
            let behind = parts.first().is_some_and(|part| matches!(part.body, Body::Multi { .. }));
            parts.insert(usize::from(behind), part);
        }
        // Previews stand behind the text.
        Body::Multi { semantics: PartSemantics::ProcessAll, parts } if !parts.is_empty() => {
            if let Some(text) = parts.first_mut() {
                add(text, part);
            }
        }
        _ => {
            let text = std::mem::replace(body, NestedPart::render(Body::Null));
            *body = NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts: vec![part, text] });
        }
    }
}

/// Puts what a gateway's message has beside its text into the event that shows it, within `most` bytes of JSON. The text, and
/// all that has a name in Matrix, is what everybody has.
pub(in crate::translate) fn put_fields(
    content: &mut Value,
    body: &NestedPart,
    ctx: &ToMatrix<'_>,
    most: usize,
    losses: &mut Vec<Loss>,
) {
    let text = match &body.body {
        Body::Multi { semantics: PartSemantics::ProcessAll, parts } => parts.first().unwrap_or(body),
        _ => body,
    };
    let part = if ctx.from_gateway { private::read(text) } else { None };
    let Some((_, mut fields)) = part.filter(|(event_type, _)| event_type == MESSAGE) else { return };
    let given = fields.len();
    fields.retain(|key, _| is_own_field(key));
    if fields.len() < given {
        losses.push(Loss::Unsupported(PRIVATE_EVENT.to_owned()));
    }
    let length = content.to_string().len() + Value::from(fields.clone()).to_string().len();
    match content.as_object_mut() {
        Some(content) if length <= most && private::fits_all_rooms(&fields) => content.extend(fields),
        _ => losses.push(Loss::Fields),
    }
}

/// Whether this is a kind of messages that Matrix does not have: clients that do not know it show the body. The kind crosses
/// beside the text.
pub(in crate::translate) fn is_own_msgtype(msgtype: &str) -> bool {
    let is_media = media::is_media("m.room.message", &json!({ "msgtype": msgtype }));
    private::may_cross(msgtype) && poll::poll(msgtype).is_none() && !is_media
}

/// What others do not get of a message of a kind that Matrix does not have.
pub(in crate::translate) fn other_kind(msgtype: &str) -> Loss {
    let kind = msgtype.to_owned();
    if is_own_msgtype(msgtype) { Loss::Private(kind) } else { Loss::Unsupported(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_of_clients_are_nothing_that_people_miss() {
        let has = |key: &str| has_fields(json!({"msgtype": "m.text", "body": "x", key: 1}).as_object().unwrap());
        for hint in [
            "format",
            "m.mentions",
            "m.new",
            "org.matrix.msc1767.text",
            "com.beeper.linkpreviews",
            "io.element.x",
            "fi.mau.telegram.source",
            "xyz.amorgan.msc9999.hint",
        ] {
            assert!(!has(hint), "{hint}");
        }
        for own in ["org.example.data", "data", "org.matrixes.x", "im.vectors"] {
            assert!(has(own), "{own}");
        }
    }

    #[test]
    fn kinds_of_messages_are_bounded_names_that_matrix_does_not_have() {
        assert!(is_own_msgtype("nic.custom.confetti") && is_own_msgtype("io.element.effects.snow"));
        let long = "x".repeat(256);
        for bad in [
            "",
            "m.text",
            "m.poll.start",
            "org.matrix.msc3381.poll.start",
            "dm.filament.gallery",
            "a b",
            "a\nb",
            "ä",
            &long,
        ] {
            assert!(!is_own_msgtype(bad), "{bad}");
        }
    }
}
