//! HTML of messages: read from anybody, cleaned to what Matrix allows, and written again (Client-Server API 1.17,
//! `m.room.message` msgtypes).
//!
//! ```text
//!  HTML of strangers --token--> tags and text --tree--> Document --write--> HTML that is safe to show
//!                                                          |
//!                                                          +--markdown--> GFM-MIMI, or text for reading
//! ```
//!
//! Safety does not hang on how well the first step reads: a document holds only elements and attributes of our own lists,
//! and everything else is text, escaped when it is written. The tree is one that HTML parsers would build from what is
//! written, so that nobody reads it another way (mutation XSS). Everything is one pass, nothing nests deeper than
//! [`MAX_DEPTH`].

mod entity;
mod names;
#[cfg(test)]
pub(super) mod tests;
mod token;
mod tree;
mod write;

use names::Name;
pub(super) use names::Tag;
use token::{Key, Reader, Token};
pub(super) use tree::{Attrs, Data, Document, Id, MAX_DEPTH, is_language};
pub(super) use write::{escape, escape_attribute, escape_into, from_text};

/// The custom emoji in a text: where their pictures are, and their names.
pub(super) fn emoticons(html: &str) -> Vec<(String, String)> {
    let mut reader = Reader::new(html);
    let mut found: Vec<(String, String)> = Vec::new();
    while let Some(token) = reader.next() {
        let value =
            |key: Key| reader.attributes.iter().find(|(other, _)| *other == key).map(|(_, value)| value.to_string());
        if token == Token::Open(Name::Image)
            && value(Key::Emoticon).is_some()
            && let Some(src) = value(Key::Src)
            && found.iter().all(|(other, _)| *other != src)
        {
            found.push((src, value(Key::Alt).or_else(|| value(Key::Title)).unwrap_or_default()));
        }
    }
    found
}
