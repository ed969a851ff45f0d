//! MIMI content as a Matrix `m.room.message` (draft-ietf-mimi-content-08 section 4; Client-Server API, `m.room.message`).

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value, json};

use super::{
    CONTENT_KEY, Form, Loss, MAX_EVENT_CONTENT, MSGTYPE_EXTENSION, MatrixMessage, Refers, ToMatrix, address, charset,
    display, essence, events,
    html::{self, Document},
    language,
    links::Links,
    markdown::{self, Style},
    previews::{self, Previews},
    profile, tidy,
};
use crate::content::{
    Body, Disposition, Expiration, ExtensionKey, ExternalPart, MimiContent, NestedPart, PartSemantics,
};

/// Translates a message; always gives an event. What cannot be shown becomes a note in brackets that says what it was.
/// The event mentions whom the shown text links to, if they take part in the room; a name alone rings nobody's bell.
#[must_use]
pub fn to_matrix(message: &MimiContent, ctx: &ToMatrix<'_>) -> MatrixMessage {
    with_pictures(message, ctx, BTreeMap::new())
}

/// The same with pictures of its text that were carried: what the text calls them, and where they are.
pub(super) fn with_pictures(
    message: &MimiContent,
    ctx: &ToMatrix<'_>,
    pictures: BTreeMap<String, String>,
) -> MatrixMessage {
    let mut links = Links::to_matrix(ctx.mentions).said_in(ctx.room, ctx.sender).with_pictures(pictures);
    let mut losses = Vec::new();
    // A point in time is kept to; what runs from reading ends for all readers here together.
    if matches!(message.expires, Some(Expiration::AfterReading(_))) {
        losses.push(Loss::Expiration);
    }
    let mut refers = Refers {
        reply: message.in_reply_to,
        replaces: message.replaces,
        topic: message.topic_id.clone(),
        form: Form::of(message),
    };
    if let Some(other) = events::to_matrix(message, ctx, &mut losses, &mut refers.form) {
        return MatrixMessage { refers, ..other };
    }
    let rewritten = events::readable(message);
    let (body, previews) = match previews::split(rewritten.as_ref().unwrap_or(&message.body)) {
        Some((body, previews)) => (Cow::Owned(body), previews),
        None => (Cow::Borrowed(rewritten.as_ref().unwrap_or(&message.body)), Previews::default()),
    };
    let mut shown = match (&message.body.body, message.replaces) {
        (Body::Null, Some(_)) => Shown::note("deleted or took back an earlier message"),
        (Body::Null, None) => Shown::note("empty message"),
        _ => show(&body, &mut links, &mut losses),
    };
    losses.append(&mut links.losses);
    if shown.plain.trim().is_empty() {
        shown = Shown::note("empty message");
    }
    let marked = message.extensions.get(&ExtensionKey::text(MSGTYPE_EXTENSION)).and_then(|value| value.as_text());
    let msgtype = match marked {
        _ if shown.note => "m.notice",
        Some("m.emote") => {
            shown.strip_prefix("/me ");
            "m.emote"
        }
        Some("m.notice") => "m.notice",
        Some(own) if ctx.from_gateway && events::is_own_msgtype(own) => own,
        _ => "m.text",
    };
    if let Some(subject) = message.subject() {
        shown.prepend(&printable(subject));
    }
    // An edit has its text twice.
    let most = if message.replaces.is_some() { MAX_EVENT_CONTENT / 2 } else { MAX_EVENT_CONTENT };
    let mut content = bounded(msgtype, &shown, &mentions(&links), ctx, most, &mut losses);
    previews.put(&mut content, most, &mut losses);
    events::put_fields(&mut content, &body, ctx, most, &mut losses);
    events::mark(&mut content, message);
    if let Some(content) = content.as_object_mut() {
        language::mark(content, &shown.language);
    }
    if matches!(refers.form, Form::Reaction(_)) {
        losses.retain(|loss| *loss != Loss::Reaction);
    }
    MatrixMessage { event_type: "m.room.message".to_owned(), content, refers, losses: tidy(losses) }
}

// -------------------------------------------------------------------------------------------------------- content

/// Whom the message mentions.
fn mentions(links: &Links<'_>) -> Value {
    let mut mentions = Map::new();
    if !links.matrix.is_empty() {
        mentions.insert("user_ids".to_owned(), json!(links.matrix));
    }
    if links.rang {
        mentions.insert("room".to_owned(), json!(true));
    }
    Value::Object(mentions)
}

fn event_content(msgtype: &str, plain: &str, html: Option<&str>, mentioned: &Value, ctx: &ToMatrix<'_>) -> Value {
    let mut content = json!({
        "msgtype": msgtype,
        "body": plain,
        "m.mentions": mentioned,
        CONTENT_KEY: {
            "id": ctx.message_id.to_string(),
            "room": ctx.room.as_str(),
            "sender": ctx.sender.as_str(),
        },
    });
    if let (Some(html), Some(object)) = (html, content.as_object_mut()) {
        object.insert("format".to_owned(), "org.matrix.custom.html".into());
        object.insert("formatted_body".to_owned(), html.into());
    }
    content
}

/// The event's content within `most` bytes of JSON: without formatting, then cut, if it must be.
fn bounded(
    msgtype: &str,
    shown: &Shown,
    mentioned: &Value,
    ctx: &ToMatrix<'_>,
    most: usize,
    losses: &mut Vec<Loss>,
) -> Value {
    let plain = display::shown(&shown.plain);
    let html = shown.html.as_deref().map(display::shown);
    let fits = |content: &Value| content.to_string().len() <= most;
    let content = event_content(msgtype, &plain, html.as_deref(), mentioned, ctx);
    if fits(&content) {
        return content;
    }
    if html.is_some() {
        losses.push(Loss::Formatting);
        let content = event_content(msgtype, &plain, None, mentioned, ctx);
        if fits(&content) {
            return content;
        }
    }
    losses.push(Loss::Cut);
    // A character takes six bytes of JSON at most for each of its bytes; so halving ends soon.
    let mut keep = most.saturating_sub(4096);
    loop {
        let cut = plain.get(..plain.floor_char_boundary(keep)).unwrap_or_default();
        let content = event_content(
            msgtype,
            &format!("{cut}\n[the message was too long and was cut here]"),
            None,
            mentioned,
            ctx,
        );
        if fits(&content) || keep == 0 {
            return content;
        }
        keep /= 2;
    }
}

// ---------------------------------------------------------------------------------------------------------- parts

/// What a part looks like in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    plain: String,
    /// Clean.
    html: Option<String>,
    /// Only a note about something that cannot be shown.
    note: bool,
    /// Language tags, separated by commas.
    language: String,
}

impl Shown {
    fn text(plain: String, html: Option<String>) -> Self {
        Self { plain, html, note: false, language: String::new() }
    }

    fn note(what: &str) -> Self {
        Self { plain: format!("[{what}]"), html: None, note: true, language: String::new() }
    }

    /// Puts a line of its own above it, as a mail has its subject.
    fn prepend(&mut self, line: &str) {
        self.plain.insert_str(0, &format!("{line}\n\n"));
        self.html = self.html.take().map(|html| format!("<p><strong>{}</strong></p>\n{html}", html::escape(line)));
    }

    fn strip_prefix(&mut self, prefix: &str) {
        if let Some(rest) = self.plain.strip_prefix(prefix) {
            self.plain = rest.to_owned();
        }
        if let Some(html) = &mut self.html {
            for opening in ["", "<p>"] {
                if let Some(rest) = html.strip_prefix(opening).and_then(|html| html.strip_prefix(prefix)) {
                    *html = format!("{opening}{rest}");
                    break;
                }
            }
        }
    }
}

/// How well a part can be shown; 0 not at all.
fn rank(part: &NestedPart) -> u8 {
    match &part.body {
        Body::Null => 0,
        Body::Single { content_type, .. } if !charset::is_text(content_type) => 0,
        Body::Single { content_type, .. } => match essence(content_type).as_str() {
            "text/html" => 4,
            "text/markdown" => 3,
            "text/plain" => 2,
            _ => 0,
        },
        // Where one can go to is as much as a text, and more than one that says only that there is a call.
        Body::External(external) if address::of_session(part.disposition, external).is_some() => 4,
        Body::External(_) => 1,
        Body::Multi { semantics, parts } => {
            let ranks = parts.iter().filter(|part| part.body != Body::Null).map(rank);
            match semantics {
                PartSemantics::ChooseOne => ranks.max(),
                PartSemantics::SingleUnit => ranks.min(),
                // As many as can be shown: at least one, if any.
                PartSemantics::ProcessAll => ranks.max().map(|rank| rank.min(2)),
            }
            .unwrap_or(0)
        }
    }
}

/// Whether there is something to tell of it, and of a unit of each part.
fn says_something(part: &NestedPart) -> bool {
    match &part.body {
        Body::Null => false,
        Body::Single { .. } | Body::External(_) => true,
        Body::Multi { semantics: PartSemantics::SingleUnit, parts } => {
            let mut parts = parts.iter().filter(|part| part.body != Body::Null).peekable();
            parts.peek().is_some() && parts.all(says_something)
        }
        Body::Multi { parts, .. } => parts.iter().any(says_something),
    }
}

/// What somebody is called, and what is left empty, is nothing that is said.
fn is_silent(part: &NestedPart) -> bool {
    match &part.body {
        Body::Null => true,
        Body::Single { content_type, .. } => {
            part.disposition == Disposition::Profile && profile::is_vcard(content_type)
        }
        Body::External(_) | Body::Multi { .. } => false,
    }
}

fn show(part: &NestedPart, links: &mut Links<'_>, losses: &mut Vec<Loss>) -> Shown {
    let mut shown = match &part.body {
        Body::Null => Shown::note("empty part"),
        Body::Single { content_type, content } => show_single(part.disposition, content_type, content, links, losses),
        Body::External(external) => show_external(part.disposition, external, losses),
        Body::Multi { semantics, parts } => match semantics {
            PartSemantics::ChooseOne => show_best(parts, links, losses),
            _ if parts.iter().any(is_silent) && !parts.iter().all(is_silent) => {
                let said: Vec<_> = parts.iter().filter(|part| !is_silent(part)).cloned().collect();
                return show(
                    &NestedPart { body: Body::Multi { semantics: *semantics, parts: said }, ..part.clone() },
                    links,
                    losses,
                );
            }
            PartSemantics::SingleUnit if parts.iter().any(|part| rank(part) == 0) => {
                let types: Vec<String> = parts.iter().map(describe).collect();
                losses.extend(types.iter().cloned().map(Loss::Unsupported));
                Shown::note(&format!("a message that this bridge cannot show: {}", types.join(", ")))
            }
            PartSemantics::SingleUnit | PartSemantics::ProcessAll => {
                join(&parts.iter().map(|part| show(part, links, losses)).collect::<Vec<_>>())
            }
        },
    };
    if shown.language.is_empty() && !shown.note {
        shown.language = language::of(part);
    }
    // Nested parts of a reaction are reactions too: they are told once, at the innermost.
    if part.disposition == Disposition::Reaction && !matches!(part.body, Body::Multi { .. }) && !shown.note {
        losses.push(Loss::Reaction);
        return Shown::note(&format!("reacted with {}", shown.plain.trim()));
    }
    shown
}

fn show_single(
    disposition: Disposition,
    content_type: &str,
    content: &[u8],
    links: &mut Links<'_>,
    losses: &mut Vec<Loss>,
) -> Shown {
    let text = charset::text(content_type, content);
    match (essence(content_type).as_str(), text.unwrap_or_default()) {
        _ if !charset::is_text(content_type) => not_shown(disposition, content_type, content, losses),
        ("text/plain", text) => Shown::text(text.into_owned(), None),
        ("text/markdown", text) => {
            let clean = unwrap_paragraph(&markdown::to_html(&text, links));
            // The Markdown itself reads well as plain text. Without any markup there is nothing to format.
            let html = (clean != html::escape(text.trim())).then_some(clean);
            Shown::text(text.trim().to_owned(), html)
        }
        (_, text) => {
            let document = Document::read(&text, links);
            let html = document.to_html(text.len()).trim().to_owned();
            let plain = markdown::from_document(&document, Style::Plain, text.len(), &mut Vec::new());
            Shown::text(plain.unwrap_or_default(), Some(html))
        }
    }
}

fn not_shown(disposition: Disposition, content_type: &str, content: &[u8], losses: &mut Vec<Loss>) -> Shown {
    losses.push(Loss::Unsupported(essence(content_type)));
    let what = match disposition {
        Disposition::Preview => "a preview",
        Disposition::Icon | Disposition::Profile => "a profile",
        _ => "content",
    };
    let bytes = content.len();
    Shown::note(&format!("{what} that this bridge cannot show: {}, {bytes} bytes", printable(content_type)))
}

fn show_external(disposition: Disposition, external: &ExternalPart, losses: &mut Vec<Loss>) -> Shown {
    // A call is where its address leads to. Nothing is fetched, nobody is called.
    if let Some(url) = address::of_session(disposition, external) {
        let said = printable(&external.description);
        return Shown::text(format!("{}\n{url}", if said.is_empty() { "A call" } else { &said }), None);
    }
    let media_type = essence(&external.content_type);
    losses.push(Loss::Unsupported(if media_type.is_empty() { "external".to_owned() } else { media_type }));
    let mut what = vec![if disposition == Disposition::Session { "a call" } else { "an attachment" }.to_owned()];
    what.extend(
        [&external.filename, &external.description].into_iter().filter(|text| !text.is_empty()).map(|t| printable(t)),
    );
    if !external.content_type.is_empty() {
        what.push(printable(&external.content_type));
    }
    if external.size > 0 {
        what.push(format!("{} bytes", external.size));
    }
    what.extend(address::public(external).map(str::to_owned));
    Shown::note(&format!("not carried by this bridge: {}", what.join(", ")))
}

/// Text of a sender within a note: on one line, and of bounded length.
fn printable(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() || display::turns(c) { ' ' } else { c }).take(300).collect();
    if text.chars().count() > 300 {
        line.push('…');
    }
    line
}

fn describe(part: &NestedPart) -> String {
    match &part.body {
        Body::Null => "nothing".to_owned(),
        Body::Single { content_type, .. } => printable(&essence(content_type)),
        Body::External(external) => printable(&essence(&external.content_type)),
        Body::Multi { parts, .. } => parts.first().map(describe).unwrap_or_default(),
    }
}

/// Picks the best of several alternatives, the sender's first among equals.
fn show_best(parts: &[NestedPart], links: &mut Links<'_>, losses: &mut Vec<Loss>) -> Shown {
    // Where nothing can be shown, what there is is told of, and not that one of them is empty.
    let worth = |(index, part): &(usize, &NestedPart)| (rank(part), says_something(part), std::cmp::Reverse(*index));
    let best = parts.iter().enumerate().max_by_key(worth);
    let Some((_, best)) = best else { return Shown::note("empty message") };
    let mut shown = show(best, links, losses);
    if language::has_others(&shown.language, parts.iter()) {
        losses.push(Loss::Languages);
    }
    if shown.note || shown.html.is_none() {
        return shown;
    }
    let plain = parts.iter().find_map(|part| match &part.body {
        Body::Single { content_type, content } if essence(content_type) == "text/plain" => {
            charset::text(content_type, content)
        }
        _ => None,
    });
    // Alternatives must say the same; a sender whose texts differ would show one thing to some and another to others.
    match plain {
        Some(plain) if words(&plain).eq(words(&shown.plain)) => {
            // Only a link to everybody made it HTML.
            shown.html.take_if(|html| links.rang && html == html::from_text(&plain).trim());
            shown.plain = plain.into_owned();
        }
        // Who types tags sends them as they are in the plain text.
        Some(plain) if words(&untagged(&plain)).eq(words(&shown.plain)) => {}
        Some(_) => losses.push(Loss::Alternatives),
        None => {}
    }
    shown
}

/// A text that is taken for HTML, without its tags.
fn untagged(text: &str) -> String {
    let document = Document::read(text, &mut Links::to_matrix(&super::Nobody));
    markdown::from_document(&document, Style::Plain, text.len(), &mut Vec::new()).unwrap_or_default()
}

/// The letters and digits of a text: what remains the same when markup is written another way.
fn words(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| c.is_alphanumeric())
}

fn join(all: &[Shown]) -> Shown {
    let note = all.iter().all(|shown| shown.note);
    let plain = all.iter().map(|shown| shown.plain.trim_end()).collect::<Vec<_>>().join("\n\n");
    let html = all.iter().any(|shown| shown.html.is_some()).then(|| {
        let part = |shown: &Shown| {
            let plain = || format!("<p>{}</p>", html::escape(shown.plain.trim_end()).replace('\n', "<br>"));
            shown.html.clone().unwrap_or_else(plain)
        };
        all.iter().map(part).collect::<Vec<_>>().join("\n")
    });
    let language = all.iter().map(|shown| shown.language.as_str()).find(|language| !language.is_empty());
    Shown { plain, html, note, language: language.unwrap_or_default().to_owned() }
}

/// One paragraph alone needs no tags.
fn unwrap_paragraph(html: &str) -> String {
    match html.strip_prefix("<p>").and_then(|rest| rest.strip_suffix("</p>")) {
        Some(inner) if !inner.contains("<p>") => inner.to_owned(),
        _ => html.to_owned(),
    }
}
