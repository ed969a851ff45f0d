//! A cleaned document as HTML, in the very spelling of HTML's own serialisation.

use super::{Attrs, Data, Document, Id, Tag};
use crate::translate::links;

/// How high a custom emoji is, in pixels, as the specification has it.
const EMOTICON_HEIGHT: &str = "32";

/// Escapes text as HTML's serialisation does. NUL and carriage returns, which no parser gives back, are replaced.
pub(in crate::translate) fn escape_into(text: &str, out: &mut String) {
    escaped(text, false, out);
}

/// Escapes the value of an attribute.
pub(in crate::translate) fn escape_attribute(text: &str, out: &mut String) {
    escaped(text, true, out);
}

fn escaped(text: &str, quotes: bool, out: &mut String) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let (entity, len) = match byte {
            b'&' => ("&amp;", 1),
            b'<' => ("&lt;", 1),
            b'>' => ("&gt;", 1),
            b'"' if quotes => ("&quot;", 1),
            0 => ("\u{fffd}", 1),
            b'\r' if text.as_bytes().get(at + 1) == Some(&b'\n') => ("", 1),
            b'\r' => ("\n", 1),
            0xc2 if text.as_bytes().get(at + 1) == Some(&0xa0) => ("&nbsp;", 2),
            _ => continue,
        };
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push_str(entity);
        from = at + len;
    }
    out.push_str(text.get(from..).unwrap_or_default());
}

/// Text as HTML.
pub(in crate::translate) fn escape(text: &str) -> String {
    let mut out = String::new();
    escape_into(text, &mut out);
    out
}

/// Text with its ends of lines as HTML.
pub(in crate::translate) fn from_text(text: &str) -> String {
    escape(text).replace('\n', "<br>")
}

impl Document<'_> {
    /// The document as HTML, which may be shown.
    pub(in crate::translate) fn to_html(&self, capacity: usize) -> String {
        let mut out = String::with_capacity(capacity + capacity / 8);
        for child in self.children(Id::ROOT) {
            self.write(child, &mut out);
        }
        out
    }

    fn write(&self, id: Id, out: &mut String) {
        let (tag, attrs) = match self.data(id) {
            Data::Text(text) => return escape_into(text, out),
            Data::Element(tag, attrs) => (*tag, attrs),
        };
        // What is no link is still an element: the tree has to stay what it is.
        let name = if matches!(attrs, Attrs::Address(_)) { "span" } else { tag.name() };
        out.push('<');
        out.push_str(name);
        attributes(attrs, out);
        out.push('>');
        if matches!(tag, Tag::Br | Tag::Hr | Tag::Img) {
            return;
        }
        let start = out.len();
        for child in self.children(id) {
            self.write(child, out);
        }
        let text = out.get(start..).unwrap_or_default();
        let behind = match attrs {
            Attrs::Address(href) => {
                let mut shown = String::with_capacity(href.len());
                escape_into(href, &mut shown);
                (!text.contains(shown.as_str())).then(|| format!(" ({href})"))
            }
            Attrs::Link(href) if self.unmasks => links::unmasked(text, href).filter(|host| !self.says_next(id, host)),
            _ => None,
        };
        out.push_str("</");
        out.push_str(name);
        out.push('>');
        if let Some(host) = behind {
            escape_into(&host, out);
        }
    }

    /// Whether the text behind this element begins like that, blanks and ends of lines aside.
    fn says_next(&self, id: Id, text: &str) -> bool {
        // A few: looking further and further would take long.
        let behind = std::iter::successors(self.next(id), |id| self.next(*id)).take(4);
        let mut shown = behind.filter_map(|id| match self.data(id) {
            Data::Text(next) => Some(next.trim_start()).filter(|next| !next.is_empty()),
            Data::Element(Tag::Br, _) => None,
            Data::Element(..) => Some(""),
        });
        shown.next().is_some_and(|next| next.starts_with(text.trim_start()))
    }
}

fn attributes(attrs: &Attrs<'_>, out: &mut String) {
    let mut attribute = |name: &str, value: &str| {
        out.push(' ');
        out.push_str(name);
        out.push_str("=\"");
        escape_attribute(value, out);
        out.push('"');
    };
    match attrs {
        Attrs::None | Attrs::Address(_) => {}
        Attrs::Link(href) => attribute("href", href),
        Attrs::Person(href) => attribute("href", href),
        Attrs::Start(start) => attribute("start", &start.to_string()),
        Attrs::Language(language) => attribute("class", &format!("language-{language}")),
        Attrs::Picture(picture) => {
            attribute("data-mx-emoticon", "");
            attribute("src", &picture.src);
            attribute("alt", &picture.alt);
            attribute("title", &picture.alt);
            attribute("height", EMOTICON_HEIGHT);
        }
        Attrs::Style(style) => {
            let all = [
                ("data-mx-spoiler", &style.spoiler),
                ("data-mx-maths", &style.maths),
                ("data-mx-color", &style.color),
                ("data-mx-bg-color", &style.background),
            ];
            for (name, value) in all {
                if let Some(value) = value {
                    attribute(name, value);
                }
            }
        }
    }
}
