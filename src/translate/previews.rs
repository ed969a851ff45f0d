//! Previews of links that a sender's client made (MSC4095, as `com.beeper.linkpreviews`), and parts of disposition `preview`
//! (draft-ietf-mimi-content-08 section 3.3). Nothing is ever fetched for one: what crosses is what the sender says.
//!
//! ```text
//!  [{matched_url, og:title, og:description}]  <-->  processAll [text, preview "**[title](<url>)**  description" ...]
//! ```

use serde_json::{Map, Value, json};

use super::{
    Loss,
    events::{escaped, line},
};
use crate::content::{Body, Disposition, NestedPart, PartSemantics, TEXT_MARKDOWN};

const KEYS: [&str; 2] = ["com.beeper.linkpreviews", "m.url_previews"];
/// Under which clients find previews.
pub(super) const KEY: &str = KEYS[0];
/// Most of one message.
const MAX_PREVIEWS: usize = 5;
/// Longest URL, in bytes.
const MAX_URL: usize = 1024;
/// Longest title, in characters.
const MAX_TITLE: usize = 200;
/// Longest description, in characters.
const MAX_TEXT: usize = 600;
/// The longest text, in bytes, that previews go with.
const MAX_BESIDE: usize = 32 * 1024;

/// What is said of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Preview {
    url: String,
    title: String,
    text: String,
}

/// An address that can stand in Markdown as it is.
fn is_url(url: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"<>\\\"`".contains(&byte);
    ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme))
        && url.len() <= MAX_URL
        && url.bytes().all(plain)
}

// ------------------------------------------------------------------------------------------------------------ to MIMI

/// Whether a message has previews.
pub(super) fn has_some(message: &Map<String, Value>) -> bool {
    KEYS.iter().any(|key| message.get(*key).and_then(Value::as_array).is_some_and(|given| !given.is_empty()))
}

/// Puts the previews of a message beside its text.
pub(super) fn beside(body: NestedPart, message: &Map<String, Value>, losses: &mut Vec<Loss>) -> NestedPart {
    let given = KEYS.iter().find_map(|key| message.get(*key)?.as_array()).map_or(&[][..], Vec::as_slice);
    let length: usize =
        body.walk().map(|part| if let Body::Single { content, .. } = &part.body { content.len() } else { 0 }).sum();
    let has_pictures = body.walk().any(|part| matches!(part.body, Body::External(_)));
    if given.len() > MAX_PREVIEWS || !given.is_empty() && (length > MAX_BESIDE || has_pictures) {
        losses.push(Loss::Preview);
    }
    if given.is_empty() || length > MAX_BESIDE || has_pictures {
        return body;
    }
    let mut parts = vec![body];
    for given in given.iter().take(MAX_PREVIEWS) {
        let text = |keys: &[&str]| keys.iter().find_map(|key| given.get(*key)?.as_str()).unwrap_or_default();
        let url = text(&["matched_url", "matrix:matched_url", "og:url"]);
        let pictures = ["og:image", "beeper:image:encryption", "matrix:image:encryption"];
        if !is_url(url) || pictures.iter().any(|key| given.get(*key).is_some_and(|value| !value.is_null())) {
            losses.push(Loss::Preview);
        }
        let preview = Preview {
            url: url.to_owned(),
            title: line(text(&["og:title"]), MAX_TITLE),
            text: line(text(&["og:description"]), MAX_TEXT),
        };
        if is_url(url) && !(preview.title.is_empty() && preview.text.is_empty()) {
            let part = NestedPart::text(TEXT_MARKDOWN, &preview.to_markdown());
            parts.push(NestedPart { disposition: Disposition::Preview, ..part });
        }
    }
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts })
        }
    }
}

/// A body without previews of links, and whether it had any. Small pictures of files are none.
#[must_use]
pub fn without_previews(body: NestedPart) -> (NestedPart, bool) {
    let is_preview = |part: &NestedPart| {
        part.disposition == Disposition::Preview && !part.walk().any(|part| matches!(part.body, Body::External(_)))
    };
    let NestedPart { body: Body::Multi { semantics: PartSemantics::ProcessAll, mut parts }, disposition, language } =
        body
    else {
        return (body, false);
    };
    let had = parts.len();
    // Something is said in any case.
    if !parts.iter().all(is_preview) {
        parts.retain(|part| !is_preview(part));
    }
    let has_some = parts.len() < had;
    match parts.pop() {
        Some(only) if has_some && parts.is_empty() => (only, true),
        last => {
            parts.extend(last);
            let body = Body::Multi { semantics: PartSemantics::ProcessAll, parts };
            (NestedPart { disposition, language, body }, has_some)
        }
    }
}

impl Preview {
    fn to_markdown(&self) -> String {
        let title = if self.title.is_empty() { &self.url } else { &self.title };
        let text = if self.text.is_empty() { String::new() } else { format!("\n\n{}", escaped(&self.text)) };
        format!("**[{}](<{}>)**{text}", escaped(title), self.url)
    }

    /// From such a text.
    fn read(markdown: &str) -> Option<Self> {
        let inner = markdown.trim().strip_prefix("**[").or_else(|| markdown.trim().strip_prefix('['))?;
        let (title, rest) = until(inner, ']')?;
        let (url, rest) = match rest.strip_prefix("(<") {
            Some(rest) => rest.split_once(">)")?,
            None => rest.strip_prefix('(')?.split_once(')')?,
        };
        let text = rest.strip_prefix("**").unwrap_or(rest).trim();
        if !is_url(url) || text.contains("](") {
            return None;
        }
        let title = if title == url { String::new() } else { title };
        Some(Self { url: url.to_owned(), title: whole(&title, MAX_TITLE)?, text: whole(&unescaped(text), MAX_TEXT)? })
    }
}

/// A text on one line; `None` if something of it would be lost.
fn whole(text: &str, most: usize) -> Option<String> {
    let line = line(text, most);
    let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect::<String>();
    (letters(&line) == letters(text)).then_some(line)
}

/// What stands before an end that is not escaped, without escapes, and what is behind it.
fn until(text: &str, end: char) -> Option<(String, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if !escaped && c == end {
            return Some((unescaped(text.get(..at)?), text.get(at + c.len_utf8()..)?));
        }
        escaped = !escaped && c == '\\';
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(next) if c == '\\' && next.is_ascii_punctuation() => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

// ---------------------------------------------------------------------------------------------------------- to Matrix

/// Previews of a message, as clients read them.
#[derive(Debug, Default)]
pub(super) struct Previews(Vec<Preview>);

/// Takes the previews out of a body: those that are one text and name a link of what is said, and of which nothing is lost. The
/// others are shown with the text. `None`: it has none.
pub(super) fn split(body: &NestedPart) -> Option<(NestedPart, Previews)> {
    let Body::Multi { semantics: PartSemantics::ProcessAll, parts } = &body.body else { return None };
    let said: String = parts.iter().filter(|part| part.disposition != Disposition::Preview).flat_map(texts).collect();
    let (mut rest, mut found) = (Vec::new(), Vec::new());
    for part in parts {
        let alone = part.disposition == Disposition::Preview && matches!(part.body, Body::Single { .. });
        let preview = alone.then(|| texts(part).next()).flatten();
        match preview.and_then(|text| Preview::read(&text)).filter(|preview| said.contains(&preview.url)) {
            Some(preview) if found.len() < MAX_PREVIEWS => found.push(preview),
            _ => rest.push(part.clone()),
        }
    }
    if found.is_empty() || rest.is_empty() {
        return None;
    }
    let only = if rest.len() == 1 { rest.pop() } else { None };
    let multi = || NestedPart {
        body: Body::Multi { semantics: PartSemantics::ProcessAll, parts: rest },
        ..NestedPart::render(Body::Null)
    };
    Some((only.unwrap_or_else(multi), Previews(found)))
}

/// The texts of a part.
fn texts(part: &NestedPart) -> impl Iterator<Item = String> + '_ {
    part.walk().filter_map(|part| match &part.body {
        Body::Single { content_type, content } if super::essence(content_type).starts_with("text/") => {
            std::str::from_utf8(content).ok().map(|text| format!("{text}\n"))
        }
        _ => None,
    })
}

impl Previews {
    /// Puts them into an event that stays within `most` bytes of JSON.
    pub(super) fn put(self, content: &mut Value, most: usize, losses: &mut Vec<Loss>) {
        if self.0.is_empty() {
            return;
        }
        let shown = |preview: &Preview| {
            let mut map = Map::new();
            let fields = [
                ("matched_url", &preview.url),
                ("og:url", &preview.url),
                ("og:title", &preview.title),
                ("og:description", &preview.text),
            ];
            map.extend(
                fields
                    .iter()
                    .filter(|(_, text)| !text.is_empty())
                    .map(|(key, text)| ((*key).to_owned(), json!(super::display::shown(text.as_str())))),
            );
            Value::Object(map)
        };
        let previews = Value::Array(self.0.iter().map(shown).collect());
        if content.to_string().len() + previews.to_string().len() + 64 > most {
            losses.push(Loss::Preview);
        } else if let Some(object) = content.as_object_mut() {
            object.insert(KEYS[0].to_owned(), previews);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{MatrixMessage, NoPast, Nobody, ToMatrix, ToMimi, Translated, to_matrix, to_mimi},
        *,
    };
    use crate::{
        content::{MessageId, MimiContent, TEXT_PLAIN},
        ident::{RoomUri, UserUri},
    };

    fn sent(content: &Value) -> Translated {
        let sender = &UserUri::parse("mimi://a.example/u/alice").unwrap();
        let room = &RoomUri::parse("mimi://a.example/r/club").unwrap();
        let ctx = ToMimi { sender, room, salt: [1; 16], sent_ts: 1, past: &NoPast, mentions: &Nobody, room_link: None };
        to_mimi("m.room.message", content, &ctx).unwrap()
    }

    fn shown(message: &MimiContent) -> MatrixMessage {
        let sender = &UserUri::parse("mimi://a.example/u/alice").unwrap();
        let room = &RoomUri::parse("mimi://a.example/r/club").unwrap();
        let message_id = MessageId([2; 32]);
        to_matrix(message, &ToMatrix { message_id, sender, room, from_gateway: false, mentions: &Nobody })
    }

    fn preview(url: &str) -> Value {
        json!({ "matched_url": url, "og:url": url, "og:title": "A *page*", "og:description": "What it says" })
    }

    #[test]
    fn previews_cross_beside_their_text() {
        let (one, two) = ("https://a.example/1", "https://b.example/2?x=1&y=2");
        let text = json!({
            "msgtype": "m.text", "body": format!("see {one} and {two}"), "m.mentions": {},
            "com.beeper.linkpreviews": [preview(one), preview(two)],
        });
        let translated = sent(&text);
        assert_eq!(translated.losses, []);
        let parts: Vec<_> = translated.content.body.walk().map(|part| part.disposition).collect();
        assert_eq!(parts[2..], [Disposition::Preview; 2]);
        let mut back = shown(&translated.content);
        assert_eq!(back.losses, []);
        back.content.as_object_mut().unwrap().remove(super::super::CONTENT_KEY);
        assert_eq!(back.content, text);
        // A client that wants none says so by an empty list: the text is one part, as ever.
        let none = json!({ "msgtype": "m.text", "body": "see", "com.beeper.linkpreviews": [] });
        assert_eq!(sent(&none).content.body, NestedPart::text(TEXT_PLAIN, "see"));
        // Of what does not cross the sender hears.
        for (key, value) in [("og:image", json!("mxc://a.example/x")), ("matched_url", json!("javascript:x"))] {
            let mut lossy = text.clone();
            lossy["com.beeper.linkpreviews"][0][key] = value;
            assert_eq!(sent(&lossy).losses, [Loss::Preview]);
        }
        let many = json!({ "msgtype": "m.text", "body": one, "m.url_previews": vec![preview(one); 6] });
        assert_eq!(sent(&many).losses, [Loss::Preview]);
    }

    #[test]
    fn a_preview_of_what_the_text_does_not_name_is_shown_as_text() {
        let mut message = sent(&json!({ "msgtype": "m.text", "body": "see" })).content;
        let part =
            |text: &str| NestedPart { disposition: Disposition::Preview, ..NestedPart::text(TEXT_MARKDOWN, text) };
        let parts = vec![message.body.clone(), part("[Bank](https://evil.example/)"), part("no link")];
        message.body = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts });
        let content = shown(&message).content;
        assert_eq!(content.get("com.beeper.linkpreviews"), None);
        let body = content["body"].as_str().unwrap();
        assert!(body.contains("evil.example") && body.contains("no link"), "{body}");
    }

    #[test]
    fn of_a_preview_no_text_is_lost() {
        let url = "https://a.example/1";
        let preview = |body: Body| NestedPart { disposition: Disposition::Preview, ..NestedPart::render(body) };
        let text = |text: &str| NestedPart::text(TEXT_MARKDOWN, text);
        let multi = |semantics, parts| preview(Body::Multi { semantics, parts });
        let link = format!("**[A page](<{url}>)**");
        let long = format!("{link}\n\n{} and its end", "word ".repeat(200));
        for part in [
            multi(PartSemantics::ProcessAll, vec![text(&link), text("and its end")]),
            multi(PartSemantics::ChooseOne, vec![text(&format!("{link} and its end")), text(&link)]),
            preview(text(&long).body),
            preview(text(&format!("**[{} and its end](<{url}>)**", "title ".repeat(50))).body),
        ] {
            let mut message = sent(&json!({ "msgtype": "m.text", "body": format!("see {url}") })).content;
            let parts = vec![message.body.clone(), part];
            message.body = NestedPart::render(Body::Multi { semantics: PartSemantics::ProcessAll, parts });
            let content = shown(&message).content;
            assert_eq!(content.get("com.beeper.linkpreviews"), None);
            let body = content["body"].as_str().unwrap();
            assert!(body.starts_with("see ") && body.contains("and its end"), "{body}");
        }
    }

    #[test]
    fn a_preview_reads_back_as_it_was_written() {
        for (title, text) in [("One", "A *page* [x](y)\\"), ("", "text"), ("**[]()**", ""), ("ü] \\[", "<b>&amp;</b>")]
        {
            let preview =
                Preview { url: "https://a.example/1?a=(b)&c=[d]".into(), title: title.into(), text: text.into() };
            assert_eq!(Preview::read(&preview.to_markdown()), Some(preview));
        }
        let other = "[A page](https://a.example/) and what it says";
        let read = Preview::read(other).unwrap();
        assert_eq!((read.url.as_str(), read.text.as_str()), ("https://a.example/", "and what it says"));
        for none in ["", "text", "[x]", "[x](javascript:alert(1))", "[x](https://a.example/<b>)", "**[x](<https://a>"] {
            assert_eq!(Preview::read(none), None, "{none}");
        }
    }
}
