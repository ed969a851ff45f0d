//! Messages in the form of extensible events (MSC1767), and the texts that events of other kinds have in that form.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::translate::{
    Nobody,
    html::Document,
    links::Links,
    markdown::{self, Style},
};

/// The `msgtype` of the message that an event of this type is.
pub(super) fn msgtype(event_type: &str) -> Option<&'static str> {
    Some(match event_type {
        "m.message" | "org.matrix.msc1767.message" => "m.text",
        "m.emote" | "org.matrix.msc1767.emote" => "m.emote",
        "m.notice" | "org.matrix.msc1767.notice" => "m.notice",
        _ => return None,
    })
}

/// The same event as an `m.room.message` that says it in the older form; `None` if it is no message, or has that form already.
pub(super) fn as_room_message(event_type: &str, outer: &Map<String, Value>) -> Option<Map<String, Value>> {
    let msgtype = match (event_type, msgtype(event_type)) {
        ("m.room.message", _) if !outer.contains_key("body") => match outer.get("msgtype").and_then(Value::as_str) {
            None => "m.text",
            Some(text @ ("m.text" | "m.notice" | "m.emote")) => text,
            Some(_) => return None,
        },
        (_, Some(msgtype)) => msgtype,
        _ => return None,
    };
    let (plain, html) = texts(outer)?;
    let mut message = outer.clone();
    message.insert("msgtype".to_owned(), msgtype.into());
    message.insert("body".to_owned(), readable(plain, html)?.into());
    if let Some(html) = html {
        message.insert("format".to_owned(), "org.matrix.custom.html".into());
        message.insert("formatted_body".to_owned(), html.into());
    }
    // The new content of an edit has the same form.
    if let Some(new) = outer.get("m.new_content").and_then(Value::as_object)
        && let Some(new) = as_room_message(event_type, new)
    {
        message.insert("m.new_content".to_owned(), Value::Object(new));
    }
    Some(message)
}

/// The plain text and the HTML of an event, of the forms that MSC1767 has had.
fn texts(content: &Map<String, Value>) -> Option<(Option<&str>, Option<&str>)> {
    let list = ["m.text", "org.matrix.msc1767.text", "m.message", "org.matrix.msc1767.message"]
        .iter()
        .find_map(|key| content.get(*key)?.as_array());
    if let Some(list) = list {
        let body = |wanted: &str| {
            let fits = |entry: &&Value| {
                entry.get("mimetype").and_then(Value::as_str).unwrap_or("text/plain").eq_ignore_ascii_case(wanted)
            };
            list.iter().find(fits)?.get("body")?.as_str()
        };
        let (plain, html) = (body("text/plain"), body("text/html"));
        return Some((plain, html));
    }
    let short = |key: &str| content.get(key).and_then(Value::as_str);
    let (plain, html) = (short("m.text"), short("m.html").or(short("org.matrix.msc1767.html")));
    let plain = plain.or(short("org.matrix.msc1767.text"));
    plain.or(html).is_some().then_some((plain, html))
}

/// The plain text; of what has HTML alone what there is to read in it.
fn readable<'a>(plain: Option<&'a str>, html: Option<&str>) -> Option<Cow<'a, str>> {
    if plain.is_some() {
        return plain.map(Cow::Borrowed);
    }
    let document = Document::read(html?, &mut Links::to_matrix(&Nobody));
    markdown::from_document(&document, Style::Plain, html?.len(), &mut Vec::new()).map(Cow::Owned)
}

/// What an event of one of Matrix' own types says to who does not know that type, if it is for people at all.
pub(super) fn other<'a>(event_type: &str, content: &'a Map<String, Value>) -> Option<Cow<'a, str>> {
    let for_people = event_type
        .strip_prefix("m.")
        .is_some_and(|kind| !["room.", "call.", "rtc.", "key.", "reaction"].iter().any(|own| kind.starts_with(own)))
        || event_type.starts_with("org.matrix.msc1767.");
    let (plain, html) = texts(content).filter(|_| for_people)?;
    readable(plain, html).filter(|text| !text.trim().is_empty())
}

/// What an event of any kind says to who does not know its kind.
pub(super) fn text(content: &Map<String, Value>) -> Option<Cow<'_, str>> {
    let text = texts(content).and_then(|(plain, html)| readable(plain, html));
    let text = text.or_else(|| content.get("body")?.as_str().map(Cow::Borrowed))?;
    (!text.trim().is_empty()).then_some(text)
}
