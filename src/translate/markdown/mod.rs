//! GFM-MIMI (draft-ietf-mimi-content-08 section 6.1.1), both ways: GitHub Flavored Markdown with tables, task lists and
//! strikethrough, without automatic links, and with HTML as text.
//!
//! What Markdown has no form for, and how it travels:
//!
//! | HTML of Matrix | here | back |
//! |---|---|---|
//! | spoiler | `\|\|text\|\|`, `\|\|reason\|text\|\|`, as other bridges write it | a spoiler; not within tables |
//! | `data-mx-maths` | `` $`x^2`$ ``, or a code block in the language `math` | the same |
//! | underline, super- and subscript, colours | the text | the text |
//! | `details` | its summary in bold, then its content | that |
//! | blocks and ends of lines within headings and cells of tables | a blank | a blank |
//!
//! A zero-width space beside a mark keeps the mark one where Markdown's rules would not let it begin or end (bold
//! brackets within a word); it is taken away when it is read.

mod inline;
mod marks;
mod read;
#[cfg(test)]
pub(super) mod tests;
mod write;

pub(super) use read::to_html;
pub(super) use write::from_document;

/// Marks are kept apart from what would spoil them by this.
const GUARD: char = '\u{200b}';

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// GFM-MIMI, with everything escaped that would be markup.
    Markdown,
    /// The same marks, nothing escaped: for reading.
    Plain,
}
