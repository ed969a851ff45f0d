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

pub(super) use names::Tag;
pub(super) use tree::{Attrs, Data, Document, Id, MAX_DEPTH, is_language};
pub(super) use write::{escape, escape_attribute, escape_into};
