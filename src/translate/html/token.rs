//! HTML of strangers as tags and text: a reader that takes anything, in one pass, and gives only what is of use.
//!
//! It reads as the HTML Living Standard does (section 13.2.5), but for the two escaped states of scripts, whose content
//! vanishes anyway. Nothing depends on that for safety: whatever it takes for text is escaped again when it is written.

use std::borrow::Cow;

use super::{
    entity::decode,
    names::{Dropped, Name, name},
};

/// Attributes longer than this are ignored, in bytes as written.
const ATTRIBUTE_MAX: usize = 8 * 1024;

/// An attribute that is of use for some element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Alt,
    BackgroundColor,
    Checked,
    Class,
    Color,
    Emoticon,
    Href,
    Maths,
    OldColor,
    Spoiler,
    Src,
    Start,
    Title,
    Type,
}

/// The attributes of a tag, each once.
pub(super) type Attributes<'a> = Vec<(Key, Cow<'a, str>)>;

/// What the reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Text(Cow<'a, str>),
    /// An opening tag; its attributes are in the reader.
    Open(Name),
    Close(Name),
}

/// Reads HTML from left to right.
pub(super) struct Reader<'a> {
    rest: &'a str,
    /// Text up to the closing tag of this name is not markup.
    raw: Option<(&'static str, bool)>,
    /// Attributes of the tag that was read last.
    pub(super) attributes: Attributes<'a>,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')
}

/// Bytes before the first that is one of these; all, if there is none.
fn until(text: &str, stop: impl Fn(u8) -> bool) -> usize {
    text.bytes().position(stop).unwrap_or(text.len())
}

fn after(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

impl<'a> Reader<'a> {
    pub(super) fn new(html: &'a str) -> Self {
        Self { rest: html, raw: None, attributes: Vec::new() }
    }

    /// The next tag or piece of text. Comments and the like are passed over.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            if let Some((name, keep)) = self.raw.take() {
                let text = self.raw_text(name);
                if keep && !text.is_empty() {
                    return Some(Token::Text(decode(text, false)));
                }
            }
            if self.rest.is_empty() {
                return None;
            }
            let text = self.text();
            if !text.is_empty() {
                return Some(Token::Text(decode(text, false)));
            }
            if let Some(token) = self.markup() {
                return Some(token);
            }
        }
    }

    /// Text up to something that is markup.
    fn text(&mut self) -> &'a str {
        let all = self.rest;
        let mut from = 0;
        while let Some(at) = after(all, from).find('<').map(|at| at + from) {
            if matches!(all.as_bytes().get(at + 1), Some(next) if next.is_ascii_alphabetic() || b"/!?".contains(next)) {
                let (text, rest) = all.split_at(at);
                self.rest = rest;
                return text;
            }
            from = at + 1;
        }
        self.rest = "";
        all
    }

    /// Text up to the closing tag of `name`, which stays to be read.
    fn raw_text(&mut self, name: &'static str) -> &'a str {
        let all = self.rest;
        let mut from = 0;
        while let Some(at) = after(all, from).find("</").map(|at| at + from) {
            let tag = after(all, at + 2);
            let named = tag.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
            if named && tag.as_bytes().get(name.len()).is_none_or(|next| is_space(*next) || b"/>".contains(next)) {
                let (text, rest) = all.split_at(at);
                self.rest = rest;
                return text;
            }
            from = at + 2;
        }
        self.rest = "";
        all
    }

    /// Reads what begins with `<`.
    fn markup(&mut self) -> Option<Token<'a>> {
        let inside = after(self.rest, 1);
        match inside.as_bytes() {
            [b'!', b'-', b'-', ..] => self.comment(after(inside, 3)),
            [b'/', next, ..] if next.is_ascii_alphabetic() => return self.tag(after(inside, 1)).map(Token::Close),
            [b'/'] => {
                self.rest = "";
                return Some(Token::Text(Cow::Borrowed("</")));
            }
            [b'/' | b'!' | b'?', ..] => self.rest = after(inside, until(inside, |byte| byte == b'>') + 1),
            _ => {
                let name = self.tag(inside)?;
                self.raw = match name {
                    Name::Dropped(Dropped::Raw(name)) => Some((name, false)),
                    Name::Literal(name) => Some((name, true)),
                    _ => None,
                };
                return Some(Token::Open(name));
            }
        }
        None
    }

    /// Passes over a comment, whose text this is.
    fn comment(&mut self, text: &'a str) {
        if let Some(rest) = text.strip_prefix('>').or(text.strip_prefix("->")) {
            self.rest = rest;
            return;
        }
        let mut from = 0;
        while let Some(at) = after(text, from).find("--").map(|at| at + from) {
            let end = after(text, at + 2);
            if let Some(rest) = end.strip_prefix('>').or(end.strip_prefix("!>")) {
                self.rest = rest;
                return;
            }
            from = at + 1;
        }
        self.rest = "";
    }

    /// Reads a tag from its name on. One that the end of the text cuts off is none.
    fn tag(&mut self, text: &'a str) -> Option<Name> {
        self.attributes.clear();
        let (raw, mut rest) = text.split_at(until(text, |byte| is_space(byte) || b"/>".contains(&byte)));
        loop {
            rest = after(rest, until(rest, |byte| !is_space(byte) && byte != b'/'));
            match rest.as_bytes().first() {
                None => {
                    self.rest = "";
                    return None;
                }
                Some(b'>') => {
                    self.rest = after(rest, 1);
                    return Some(name(raw));
                }
                Some(_) => rest = self.attribute(rest),
            }
        }
    }

    fn attribute(&mut self, text: &'a str) -> &'a str {
        // A `=` in the first place belongs to the name.
        let first = text.chars().next().map_or(0, char::len_utf8);
        let end = first + until(after(text, first), |byte| is_space(byte) || b"/>=".contains(&byte));
        let (name, rest) = text.split_at(end);
        let next = after(rest, until(rest, |byte| !is_space(byte)));
        let Some(value) = next.strip_prefix('=') else {
            self.keep(name, "");
            return rest;
        };
        let value = after(value, until(value, |byte| !is_space(byte)));
        let (value, rest) = match value.as_bytes().first() {
            Some(quote @ (b'"' | b'\'')) => {
                let inside = after(value, 1);
                let (value, rest) = inside.split_at(until(inside, |byte| byte == *quote));
                (value, after(rest, 1))
            }
            _ => value.split_at(until(value, |byte| is_space(byte) || byte == b'>')),
        };
        self.keep(name, value);
        rest
    }

    fn keep(&mut self, name: &str, value: &'a str) {
        let key = match name.len() {
            3 if name.eq_ignore_ascii_case("alt") => Key::Alt,
            3 if name.eq_ignore_ascii_case("src") => Key::Src,
            4 if name.eq_ignore_ascii_case("href") => Key::Href,
            4 if name.eq_ignore_ascii_case("type") => Key::Type,
            5 if name.eq_ignore_ascii_case("class") => Key::Class,
            5 if name.eq_ignore_ascii_case("color") => Key::OldColor,
            5 if name.eq_ignore_ascii_case("start") => Key::Start,
            5 if name.eq_ignore_ascii_case("title") => Key::Title,
            7 if name.eq_ignore_ascii_case("checked") => Key::Checked,
            13 if name.eq_ignore_ascii_case("data-mx-color") => Key::Color,
            13 if name.eq_ignore_ascii_case("data-mx-maths") => Key::Maths,
            15 if name.eq_ignore_ascii_case("data-mx-spoiler") => Key::Spoiler,
            16 if name.eq_ignore_ascii_case("data-mx-bg-color") => Key::BackgroundColor,
            16 if name.eq_ignore_ascii_case("data-mx-emoticon") => Key::Emoticon,
            _ => return,
        };
        if value.len() <= ATTRIBUTE_MAX && self.attributes.iter().all(|(other, _)| *other != key) {
            self.attributes.push((key, decode(value, true)));
        }
    }
}
