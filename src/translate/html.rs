//! HTML of messages, cleaned to what Matrix allows (Client-Server API, `m.room.message` msgtypes).
//!
//! Everything is cleaned by ammonia first. What it writes is well-formed, so that the small tokenizer here reads a
//! regular language: balanced tags, double-quoted attributes, five entities.

use std::collections::{BTreeMap, HashMap, HashSet};

use ammonia::Builder;

use super::Loss;

const TAGS: &[&str] = &[
    "del",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "p",
    "a",
    "ul",
    "ol",
    "sup",
    "sub",
    "li",
    "b",
    "i",
    "u",
    "strong",
    "em",
    "s",
    "code",
    "hr",
    "br",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "caption",
    "pre",
    "span",
    "details",
    "summary",
    "img",
];

/// Most elements that may be open at once, counted as upper bound. HTML parsers look through the open ones for each tag.
const MAX_OPEN: usize = 256;

/// Whether more than [`MAX_OPEN`] elements may be open at some point, whatever order they are closed in.
fn too_deep(html: &str) -> bool {
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = 0_usize;
    for tag in html.split('<').skip(1) {
        let (closing, rest) = tag.strip_prefix('/').map_or((false, tag), |rest| (true, rest));
        let name: String =
            rest.chars().take_while(char::is_ascii_alphanumeric).take(16).collect::<String>().to_ascii_lowercase();
        if name.is_empty() || matches!(name.as_str(), "br" | "hr" | "img" | "wbr" | "input" | "col") {
            continue;
        }
        let count = open.entry(name).or_default();
        if !closing {
            *count += 1;
            total += 1;
        } else if *count > 0 {
            *count -= 1;
            total -= 1;
        }
        if total > MAX_OPEN {
            return true;
        }
    }
    false
}

/// The text of HTML that is not worth parsing, as HTML.
fn without_tags(html: &str) -> String {
    let mut out = String::new();
    for (number, piece) in html.split('<').enumerate() {
        let text = if number == 0 { piece } else { piece.split_once('>').map_or("", |(_, text)| text) };
        out.push_str(&escape(&unescape(text)));
    }
    out
}

/// Cleans HTML to the tags and attributes that Matrix allows. Of images only their texts are kept (see [`tokens`]).
///
/// HTML that nests absurdly is answered as its text alone.
pub(super) fn sanitize(html: &str) -> String {
    if too_deep(html) {
        return without_tags(html);
    }
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("a", HashSet::from(["href"])),
        ("ol", HashSet::from(["start"])),
        ("span", HashSet::from(["data-mx-spoiler", "data-mx-color", "data-mx-bg-color"])),
        ("img", HashSet::from(["alt", "title"])),
    ]);
    Builder::empty()
        .tags(TAGS.iter().copied().collect())
        .clean_content_tags(HashSet::from(["mx-reply", "script", "style", "title", "head", "template", "noscript"]))
        .generic_attributes(HashSet::new())
        .tag_attributes(attributes)
        .add_allowed_classes("code", LANGUAGES)
        .url_schemes(HashSet::from(["http", "https", "mailto", "ftp", "magnet"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(None)
        .clean(html)
        .to_string()
}

/// Languages of code blocks that are kept. ammonia compares whole class names.
const LANGUAGES: &[&str] = &[
    "language-bash",
    "language-c",
    "language-cpp",
    "language-css",
    "language-diff",
    "language-go",
    "language-html",
    "language-java",
    "language-javascript",
    "language-json",
    "language-kotlin",
    "language-markdown",
    "language-python",
    "language-ruby",
    "language-rust",
    "language-sh",
    "language-sql",
    "language-swift",
    "language-toml",
    "language-typescript",
    "language-xml",
    "language-yaml",
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Open(&'a str, Vec<(&'a str, String)>),
    Close(&'a str),
    Text(String),
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&nbsp;", "\u{a0}")
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// Escapes text for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Splits what [`sanitize`] wrote.
pub(super) fn tokens(clean: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = clean;
    while let Some((text, tag)) = rest.split_once('<') {
        if !text.is_empty() {
            tokens.push(Token::Text(unescape(text)));
        }
        let mut quoted = false;
        let end = tag.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let Some((inside, after)) = end.and_then(|end| tag.split_at_checked(end)) else {
            rest = "";
            break;
        };
        rest = after.strip_prefix('>').unwrap_or(after);
        if let Some(name) = inside.strip_prefix('/') {
            tokens.push(Token::Close(name));
            continue;
        }
        let (name, mut fields) = inside.split_once(' ').unwrap_or((inside, ""));
        let mut attributes = Vec::new();
        while let Some((key, value)) = fields.split_once("=\"") {
            let (value, next) = value.split_once('"').unwrap_or((value, ""));
            attributes.push((key.trim(), unescape(value)));
            fields = next;
        }
        tokens.push(Token::Open(name, attributes));
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(unescape(rest)));
    }
    tokens
}

pub(super) fn attribute<'t>(attributes: &'t [(&str, String)], name: &str) -> Option<&'t str> {
    attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

pub(super) fn image_text<'t>(attributes: &'t [(&str, String)]) -> &'t str {
    attribute(attributes, "alt").or(attribute(attributes, "title")).unwrap_or("image")
}

/// Cleans HTML and puts the texts of images in their places.
pub(super) fn clean_without_images(html: &str, losses: &mut Vec<Loss>) -> String {
    let clean = sanitize(html);
    let mut out = String::with_capacity(clean.len());
    let mut rest = clean.as_str();
    while let Some((before, image)) = rest.split_once("<img") {
        out.push_str(before);
        losses.push(Loss::InlineImage);
        let mut quoted = false;
        let end = image.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let (tag, after) = image.split_at_checked(end.map_or(image.len(), |end| end + 1)).unwrap_or((image, ""));
        let tag = format!("<img{tag}");
        if let Some(Token::Open(_, attributes)) = tokens(&tag).first() {
            out.push_str(&escape(image_text(attributes)));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
