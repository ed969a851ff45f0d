//! A Matrix `m.room.message` as MIMI content (Client-Server API, `m.room.message`; draft-ietf-mimi-content-08).

use std::borrow::Cow;

use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};

use super::{
    CONTENT_KEY, Loss, MSGTYPE_EXTENSION, NotCarried, ToMimi, Translated, events,
    html::{self, Document},
    language,
    links::{Links, find_everybody},
    markdown::{self, Style},
    media, previews,
    relation::{self, NOT_HERE, Relations},
    tidy,
};
use crate::{
    content::{
        Body, CborValue, Disposition, ExtensionKey, ExternalPart, MimiContent, NestedPart, PartSemantics, TEXT_HTML,
        TEXT_MARKDOWN, TEXT_PLAIN,
    },
    ident::UserUri,
};

/// The longest sum of a message's alternatives, in bytes; some are left out before the message is too long.
pub(super) const MAX_ALTERNATIVES: usize = 60 * 1024;

/// Translates an event. What it refers to and is no message of the room is listed as a loss; so are custom kinds of messages.
pub fn to_mimi(event_type: &str, content: &Value, ctx: &ToMimi<'_>) -> Result<Translated, NotCarried> {
    with_pictures(event_type, content, ctx, &[])
}

/// The same with pictures of its text that were carried: where they were, and the parts that they are in.
pub(super) fn with_pictures(
    event_type: &str,
    content: &Value,
    ctx: &ToMimi<'_>,
    pictures: &[(String, ExternalPart)],
) -> Result<Translated, NotCarried> {
    if let Some(other) = events::to_mimi(event_type, content, ctx) {
        return other;
    }
    if event_type == "m.reaction" {
        return relation::reaction(content.as_object().ok_or(NotCarried::Malformed("content"))?, ctx);
    }
    if event_type != "m.room.message" {
        if media::is_media(event_type, content) {
            media::from_event(event_type, content, ctx)?;
        }
        return Err(NotCarried::EventType(event_type.to_owned()));
    }
    let outer = content.as_object().ok_or(NotCarried::Malformed("content"))?;
    if outer.contains_key(CONTENT_KEY) {
        return Err(NotCarried::Mirror);
    }
    let mut losses = Vec::new();
    let relations = Relations::read(event_type, outer, ctx, &mut losses)?;
    let message = new_content(outer, &relations);
    let msgtype = match message.get("msgtype").or(outer.get("msgtype")) {
        None => return Err(NotCarried::Empty),
        Some(value) => value.as_str().ok_or(NotCarried::Malformed("msgtype"))?,
    };
    match msgtype {
        "m.text" | "m.notice" | "m.emote" => {}
        own if own.starts_with("m.") => {
            // Its files would have crossed another way: why they cannot be read says more than that this is no text.
            if let Some(counts) = media::with_files(event_type, content) {
                media::from_event(event_type, counts, ctx)?;
            }
            return Err(NotCarried::MsgType(own.to_owned()));
        }
        // Clients show a message of an unknown kind by its body.
        other => losses.push(events::other_kind(other)),
    }
    let body = match message.get("body") {
        None => return Err(NotCarried::Empty),
        Some(value) => value.as_str().ok_or(NotCarried::Malformed("body"))?,
    };
    losses.extend(events::brings_profile(message).then_some(Loss::Profile));
    let formatted = (message.get("format").and_then(Value::as_str) == Some("org.matrix.custom.html"))
        .then(|| message.get("formatted_body").and_then(Value::as_str))
        .flatten();
    let (quoted, plain) = if relations.is_reply { split_reply_fallback(body) } else { ("", body) };
    // Of what others do not have, the sender's own quotation is all that they read.
    let quoted = if relations.answers_nothing() { quoted } else { "" };
    let plain = if quoted.is_empty() { plain } else { body };
    // Without one they read at least that it is an answer.
    let unquoted = relations.answers_nothing() && quoted.is_empty() && msgtype != "m.emote" && !plain.trim().is_empty();
    let (quoted, plain) = if unquoted {
        (NOT_HERE, Cow::Owned(format!("> {NOT_HERE}\n\n{plain}")))
    } else {
        (quoted, Cow::Borrowed(plain))
    };
    let plain = plain.as_ref();
    let emote = if msgtype == "m.emote" {
        losses.push(Loss::Emote);
        "/me "
    } else {
        ""
    };
    // Who may not call everybody's attention rings nobody here, too.
    let rings = rings_all(message, plain) && ctx.mentions.may_ring_all(ctx.sender);
    let addresses = pictures.iter().zip(FIRST_PICTURE..).map(|((src, _), part)| (src.clone(), cid(part))).collect();
    let mut links = Links::to_mimi(ctx.mentions).ringing(ctx.room, rings).with_pictures(addresses);
    let formatted = match formatted {
        None if rings => Some(Cow::Owned(html::from_text(plain))),
        Some(given) if !quoted.is_empty() => Some(Cow::Owned(format!("{}{given}", quotation(quoted)))),
        given => given.map(Cow::Borrowed),
    };
    let (html, markdown) = match &formatted {
        None => (String::new(), String::new()),
        Some(formatted) => {
            let document = Document::read(formatted, &mut links);
            let html = document.to_html(formatted.len());
            let markdown = markdown::from_document(&document, Style::Markdown, formatted.len(), &mut losses);
            (html, markdown.unwrap_or_default())
        }
    };
    losses.append(&mut links.losses);
    if plain.trim().is_empty() && markdown.trim().is_empty() {
        return Err(NotCarried::Empty);
    }
    let mut body = alternatives(emote, plain, &markdown, &html, pictures, &mut losses);
    // Links are in the formatted alternatives alone.
    let is_formatted = !losses.contains(&Loss::Formatting);
    let crossed =
        links.crossed.as_slice().get(..if is_formatted { links.crossed.len() } else { 0 }).unwrap_or_default();
    let others = mentions_others(message.get("m.mentions"), crossed, relations.answered.as_ref(), ctx);
    if others || rings && !(links.rang && is_formatted) {
        losses.push(Loss::Mention);
    }
    language::put(&mut body, message, &mut losses);
    let body = previews::beside(body, message, &mut losses);
    let body = events::with_fields(body, message, &mut losses);
    let mut content = MimiContent::new(ctx.salt, ctx.sender, ctx.room, body);
    content.set_sender_timestamp(ctx.sent_ts);
    content.expires = events::expires(outer, ctx.sent_ts, &mut losses);
    relations.put(&mut content);
    if matches!(msgtype, "m.notice" | "m.emote") || events::is_own_msgtype(msgtype) {
        content.extensions.insert(ExtensionKey::text(MSGTYPE_EXTENSION), CborValue::Text(msgtype.to_owned()));
    }
    content.encode()?;
    Ok(Translated { content, losses: tidy(losses) })
}

/// The message that counts: an edit's new content, otherwise the event's content.
pub(super) fn new_content<'a>(outer: &'a Map<String, Value>, relations: &Relations) -> &'a Map<String, Value> {
    let new = outer.get("m.new_content").and_then(Value::as_object);
    new.filter(|_| relations.is_edit).unwrap_or(outer)
}

/// Whether everybody's attention is called.
fn rings_all(message: &Map<String, Value>, plain: &str) -> bool {
    match message.get("m.mentions") {
        Some(mentions) => mentions.get("room").and_then(Value::as_bool) == Some(true),
        // Clients before Matrix 1.7 say so by the text alone.
        None => find_everybody(plain).is_some(),
    }
}

/// Whether somebody is mentioned beside those whose links crossed, and whose message is answered: who sees an answer to what
/// they said is rung by that.
fn mentions_others(
    mentions: Option<&Value>,
    crossed: &[OwnedUserId],
    answered: Option<&UserUri>,
    ctx: &ToMimi<'_>,
) -> bool {
    let Some(users) = mentions.and_then(|mentions| mentions.get("user_ids")?.as_array()) else { return false };
    let told = |user: &Value| {
        let Some(user) = user.as_str() else { return false };
        let uri = || <&UserId>::try_from(user).ok().and_then(|user| ctx.mentions.uri(user));
        crossed.iter().any(|crossed| crossed == user)
            || answered.is_some_and(|answered| uri().as_ref() == Some(answered))
    };
    !users.iter().all(told)
}

/// Whether a message without a text calls the attention of anybody whom it does not answer.
pub(super) fn rings_others(mentions: Option<&Value>, answered: Option<&UserUri>, ctx: &ToMimi<'_>) -> bool {
    let room = mentions.and_then(|mentions| mentions.get("room")?.as_bool());
    room == Some(true) || mentions_others(mentions, &[], answered, ctx)
}

/// Older clients put the message answered before the text, as quoted lines and an empty line: these lines, and the text.
fn split_reply_fallback(body: &str) -> (&str, &str) {
    if !["> <@", "> * <@"].iter().any(|start| body.starts_with(start)) {
        return ("", body);
    }
    let mut rest = body;
    while rest.starts_with('>') {
        rest = rest.split_once('\n').map_or("", |(_, after)| after);
    }
    let quoted = body.get(..body.len() - rest.len()).unwrap_or_default();
    (quoted, rest.strip_prefix('\n').unwrap_or(rest))
}

/// Quoted lines as HTML. What the sender's HTML has of them (`mx-reply`) says more, and in other words than the plain text.
fn quotation(quoted: &str) -> String {
    let lines: Vec<&str> = quoted.lines().map(|line| line.trim_start_matches('>').trim_start()).collect();
    format!("<blockquote>{}</blockquote>", html::from_text(lines.join("\n").trim_end()))
}

/// The part that the first picture of a text is in: all alternatives are one, text and pictures the next, and the text the one
/// before it.
const FIRST_PICTURE: u16 = 3;
/// Room for what is said of a picture, in bytes.
const PICTURE: usize = 512;

/// How a text refers to another part of its message (section 4.1).
pub(super) fn cid(part: u16) -> String {
    format!("cid:{part}@local.invalid")
}

fn alternatives(
    emote: &str,
    plain: &str,
    markdown: &str,
    html: &str,
    pictures: &[(String, ExternalPart)],
    losses: &mut Vec<Loss>,
) -> NestedPart {
    let mut parts = Vec::new();
    let mut room = MAX_ALTERNATIVES.saturating_sub(plain.len());
    let whole = html.len() + PICTURE * pictures.len();
    let shows_pictures = !pictures.is_empty() && room > whole;
    if shows_pictures {
        room -= whole;
        let picture = |(_, external): &(String, ExternalPart)| NestedPart {
            disposition: Disposition::Inline,
            language: String::new(),
            body: Body::External(Box::new(external.clone())),
        };
        let text = NestedPart::text(TEXT_HTML, &format!("{emote}{html}"));
        let unit = std::iter::once(text).chain(pictures.iter().map(picture)).collect();
        parts.push(NestedPart::render(Body::Multi { semantics: PartSemantics::SingleUnit, parts: unit }));
    } else if !pictures.is_empty() {
        losses.push(Loss::InlineImage);
    }
    for (content_type, text) in [(TEXT_MARKDOWN, markdown), (TEXT_HTML, html)] {
        // With pictures, or without knowing where they are, the HTML is of no use by itself.
        if text.trim().is_empty() || (content_type == TEXT_HTML && !pictures.is_empty()) {
            continue;
        }
        if let Some(left) = room.checked_sub(text.len()) {
            room = left;
            parts.push(NestedPart::text(content_type, &format!("{emote}{text}")));
        }
    }
    // One of them says all that the other does, but for what Markdown has no form for, which is told.
    if parts.is_empty() && !(markdown.trim().is_empty() && html.trim().is_empty()) {
        losses.push(Loss::Formatting);
    }
    if !plain.trim().is_empty() || parts.len() <= usize::from(shows_pictures) {
        parts.push(NestedPart::text(TEXT_PLAIN, &format!("{emote}{plain}")));
    }
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            NestedPart::render(Body::Multi { semantics: PartSemantics::ChooseOne, parts })
        }
    }
}
