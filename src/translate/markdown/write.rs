//! A cleaned document as GFM-MIMI, or as text for reading: its blocks.

use super::{
    Style,
    inline::{Inline, Marks, Place},
};
use crate::translate::{
    Loss,
    html::{Attrs, Data, Document, Id, Tag},
};

/// Quotes and lists within each other; deeper ones lose their markup. Each adds to the beginning of every line.
const MAX_NESTING: usize = 20;
/// What would be longer than this is not written, in bytes: no message may be so long.
const MAX_LEN: usize = 256 * 1024;
/// The largest number that an item of a list can have.
const MAX_NUMBER: u32 = 999_999_999;

/// Writes a document. `None` if it would be too long.
pub(in crate::translate) fn from_document(
    document: &Document<'_>,
    style: Style,
    capacity: usize,
    losses: &mut Vec<Loss>,
) -> Option<String> {
    let mut writer = Writer {
        document,
        style,
        losses,
        out: String::with_capacity(capacity + capacity / 8),
        prefix: String::new(),
        inline: Inline::default(),
        gap: Gap::None,
        tight: false,
        flat: false,
        cell: false,
        task: false,
        in_list: false,
        nesting: 0,
        list_before: None,
    };
    writer.children(Id::ROOT, Marks::default());
    writer.paragraph();
    (writer.out.len() <= MAX_LEN).then_some(writer.out)
}

/// What comes before the next block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// It continues the line.
    None,
    Line,
    Blank,
}

#[expect(clippy::struct_excessive_bools, reason = "where the next block is written")]
struct Writer<'w> {
    document: &'w Document<'w>,
    style: Style,
    losses: &'w mut Vec<Loss>,
    out: String,
    /// What each line begins with.
    prefix: String,
    inline: Inline,
    gap: Gap,
    /// Blocks follow each other without blank lines.
    tight: bool,
    /// Blocks are joined on one line: headings and cells.
    flat: bool,
    cell: bool,
    /// The next paragraph is the first of an item.
    task: bool,
    in_list: bool,
    nesting: usize,
    /// The block just before is a list: whether it has numbers, and its mark.
    list_before: Option<(bool, char)>,
}

impl Writer<'_> {
    fn children(&mut self, id: Id, marks: Marks) {
        let document = self.document;
        for child in document.children(id) {
            self.node(child, marks);
        }
    }

    fn node(&mut self, id: Id, mut marks: Marks) {
        if self.out.len() > MAX_LEN {
            return;
        }
        let document = self.document;
        let (tag, attrs) = match document.data(id) {
            Data::Text(text) => return self.inline.text(text, marks),
            Data::Element(tag, attrs) => (*tag, attrs),
        };
        match tag {
            Tag::A => match attrs {
                Attrs::Address(href) => {
                    self.children(id, marks);
                    if !self.document.text(id).contains(href.as_str()) {
                        self.inline.text(&format!(" ({href})"), marks);
                    }
                    return;
                }
                _ => marks.link = Some(id),
            },
            Tag::B | Tag::Strong => marks.strong = true,
            Tag::Em | Tag::I => marks.em = true,
            Tag::Del | Tag::S => marks.del = true,
            Tag::U | Tag::Sup | Tag::Sub => self.lose(Loss::Style),
            Tag::Span => {
                if let Attrs::Style(style) = attrs {
                    if style.color.is_some() || style.background.is_some() {
                        self.lose(Loss::Style);
                    }
                    if style.spoiler.is_some() {
                        self.lose(Loss::Spoiler);
                        marks.spoiler = marks.spoiler.or(Some(id));
                    }
                    if let Some(tex) = &style.maths {
                        return self.inline.maths(tex, marks);
                    }
                }
            }
            Tag::Img => {
                if let Attrs::Picture(picture) = attrs {
                    self.inline.text(&picture.alt, marks);
                }
                return;
            }
            Tag::Code => {
                if document.children(id).any(|child| document.tag(child).is_some()) {
                    self.lose(Loss::Layout);
                }
                return self.inline.code(&document.text(id), marks);
            }
            Tag::Br => {
                if self.flat {
                    self.lose(Loss::Layout);
                }
                return self.inline.line_break();
            }
            _ => return self.block(id, tag, attrs, marks),
        }
        self.children(id, marks);
    }

    fn lose(&mut self, loss: Loss) {
        if !self.losses.contains(&loss) {
            self.losses.push(loss);
        }
    }

    fn block(&mut self, id: Id, tag: Tag, attrs: &Attrs<'_>, mut marks: Marks) {
        if !self.document.is_visible(id) {
            return self.paragraph();
        }
        if tag == Tag::Details {
            self.lose(Loss::Layout);
        }
        if tag == Tag::Summary {
            marks.strong = true;
        }
        let tex = match attrs {
            Attrs::Style(style) => style.maths.as_deref(),
            _ => None,
        };
        if self.flat {
            return self.joined(id, tag, tex, marks);
        }
        self.paragraph();
        match tag {
            Tag::Div if tex.is_some() => self.code_block("math", tex.unwrap_or_default()),
            Tag::Heading(level) => self.heading(id, level, marks),
            Tag::Pre => {
                let mut children = self.document.children(id);
                let language = children.find_map(|child| match self.document.data(child) {
                    Data::Element(Tag::Code, Attrs::Language(language)) => Some(language.to_string()),
                    _ => None,
                });
                let text = self.document.text(id);
                self.code_block(language.as_deref().unwrap_or_default(), &text);
            }
            Tag::Hr => {
                self.begin();
                self.out.push_str(if self.in_list { "___" } else { "---" });
                self.end();
            }
            Tag::Table => self.table(id, marks),
            Tag::Blockquote | Tag::Ul | Tag::Ol | Tag::Li if self.nesting >= MAX_NESTING => {
                self.lose(Loss::Layout);
                self.children(id, marks);
                self.paragraph();
            }
            Tag::Blockquote => self.quote(id, marks),
            Tag::Ul | Tag::Ol => self.list(id, tag, attrs, marks),
            Tag::Li => {
                self.begin();
                self.item(id, "- ", true, marks);
                self.end();
            }
            _ => {
                self.children(id, marks);
                self.paragraph();
            }
        }
    }

    /// A block on the line of others.
    fn joined(&mut self, id: Id, tag: Tag, tex: Option<&str>, marks: Marks) {
        if !matches!(tag, Tag::P | Tag::Div) {
            self.lose(Loss::Layout);
        }
        self.inline.space();
        match (tag, tex) {
            (Tag::Div, Some(tex)) => self.inline.maths(tex, marks),
            (Tag::Pre, _) => self.inline.code(self.document.text(id).trim(), marks),
            _ => self.children(id, marks),
        }
        self.inline.space();
    }

    // ------------------------------------------------------------------------------------------------------ lines

    fn line(&mut self) {
        self.out.push('\n');
        self.out.push_str(&self.prefix);
    }

    fn begin(&mut self) {
        self.list_before = None;
        if self.gap != Gap::None {
            if self.gap == Gap::Blank {
                self.out.push('\n');
                self.out.push_str(self.prefix.trim_end());
            }
            self.line();
        }
        self.gap = Gap::None;
        self.task = false;
    }

    fn end(&mut self) {
        self.gap = if self.tight { Gap::Line } else { Gap::Blank };
    }

    fn place(&self, task: bool) -> Place<'_> {
        Place { style: self.style, prefix: &self.prefix, flat: self.flat, cell: self.cell, task }
    }

    fn write_inline(&mut self, task: bool) {
        let mut inline = std::mem::take(&mut self.inline);
        let mut out = std::mem::take(&mut self.out);
        inline.write(self.document, self.place(task), &mut out);
        self.out = out;
        inline.clear();
        self.inline = inline;
    }

    /// Ends the paragraph that is being collected.
    fn paragraph(&mut self) {
        if self.flat {
            return;
        }
        if !self.inline.is_visible() {
            return self.inline.clear();
        }
        let task = self.task;
        self.begin();
        self.write_inline(task);
        self.end();
    }

    // ----------------------------------------------------------------------------------------------------- blocks

    fn heading(&mut self, id: Id, level: u8, marks: Marks) {
        self.flat = true;
        self.children(id, marks);
        self.begin();
        for _ in 0..level {
            self.out.push('#');
        }
        self.out.push(' ');
        self.write_inline(false);
        self.flat = false;
        // Behind a blank they would be the heading's end.
        let end = self.out.ends_with('#') && self.out.trim_end_matches('#').ends_with(' ');
        if self.style == Style::Markdown && end {
            self.out.insert(self.out.len() - 1, '\\');
        }
        self.end();
    }

    fn code_block(&mut self, language: &str, text: &str) {
        self.begin();
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.out.push_str(&fence);
        self.out.push_str(language);
        for line in text.trim_end_matches('\n').split('\n') {
            if self.out.len() > MAX_LEN {
                return;
            }
            if line.is_empty() {
                self.out.push('\n');
                self.out.push_str(self.prefix.trim_end());
            } else {
                self.line();
                self.out.push_str(line);
            }
        }
        self.line();
        self.out.push_str(&fence);
        self.end();
    }

    fn quote(&mut self, id: Id, marks: Marks) {
        self.begin();
        self.out.push_str("> ");
        self.within("> ", false, |writer| {
            writer.children(id, marks);
            writer.paragraph();
        });
        self.end();
    }

    /// Writes what is in a quote or item.
    fn within(&mut self, prefix: &str, tight: bool, write: impl FnOnce(&mut Self)) {
        let (len, before) = (self.prefix.len(), self.tight);
        self.prefix.push_str(prefix);
        self.tight = tight;
        self.nesting += 1;
        write(self);
        self.nesting -= 1;
        self.tight = before;
        self.prefix.truncate(len);
        self.list_before = None;
        self.task = false;
    }

    fn list(&mut self, id: Id, tag: Tag, attrs: &Attrs<'_>, marks: Marks) {
        let document = self.document;
        let ordered = tag == Tag::Ol;
        let mut number = match attrs {
            Attrs::Start(start) => u32::try_from(*start).unwrap_or_else(|_| {
                self.lose(Loss::Layout);
                1
            }),
            _ => 1,
        };
        // Two lists side by side would be one, if they had the same mark.
        let (one, other) = if ordered { ('.', ')') } else { ('-', '*') };
        let mark = if self.list_before == Some((ordered, one)) { other } else { one };
        let items = || {
            document.children(id).filter(|item| !matches!(document.data(*item), Data::Text(t) if t.trim().is_empty()))
        };
        let tight = items().all(|item| self.is_tight(item));
        for (index, item) in items().enumerate() {
            if index > 0 {
                self.gap = if tight { Gap::Line } else { Gap::Blank };
            }
            self.begin();
            let marker = if ordered { format!("{}{mark} ", number.min(MAX_NUMBER)) } else { format!("{mark} ") };
            number = number.saturating_add(1);
            self.item(item, &marker, tight, marks);
        }
        self.end();
        self.list_before = Some((ordered, mark));
    }

    fn item(&mut self, id: Id, marker: &str, tight: bool, marks: Marks) {
        self.out.push_str(marker);
        let in_list = std::mem::replace(&mut self.in_list, true);
        let start = self.out.len();
        self.within("            ".get(..marker.len()).unwrap_or("  "), tight, |writer| {
            writer.gap = Gap::None;
            writer.task = true;
            match writer.document.tag(id) {
                Some(Tag::Li) => writer.children(id, marks),
                _ => writer.node(id, marks),
            }
            writer.paragraph();
        });
        self.in_list = in_list;
        if self.out.len() == start {
            self.out.truncate(start - 1);
        }
    }

    /// Whether an item can be written without blank lines: text, then lists and code.
    fn is_tight(&self, item: Id) -> bool {
        let document = self.document;
        if document.tag(item) != Some(Tag::Li) {
            return false;
        }
        let (mut text, mut block, mut list) = (false, false, None);
        for child in document.children(item) {
            let tag = match document.data(child) {
                Data::Text(text) if text.trim().is_empty() => continue,
                Data::Text(_) => None,
                Data::Element(tag, _) => Some(*tag),
            };
            match tag {
                Some(tag @ (Tag::Ul | Tag::Ol)) => {
                    let first = document.children(child).find(|item| document.tag(*item).is_some());
                    let begins = first.is_some_and(|item| document.is_visible(item))
                        && matches!(document.data(child), Data::Element(_, Attrs::None));
                    if list == Some(tag) || (text && !begins) {
                        return false;
                    }
                    (block, list) = (true, Some(tag));
                }
                Some(Tag::Pre) => (block, list) = (true, None),
                Some(tag) if tag.is_block() => return false,
                _ if block || self.holds_block(child) => return false,
                _ => text = true,
            }
        }
        true
    }

    fn holds_block(&self, id: Id) -> bool {
        let document = self.document;
        document.children(id).any(|child| document.tag(child).is_some_and(Tag::is_block) || self.holds_block(child))
    }

    fn table(&mut self, id: Id, marks: Marks) {
        let document = self.document;
        let mut rows: Vec<(bool, Id)> = Vec::new();
        for child in document.children(id) {
            match document.tag(child) {
                Some(Tag::Caption) => {
                    self.lose(Loss::Layout);
                    self.children(child, marks);
                    self.paragraph();
                }
                Some(tag @ (Tag::Thead | Tag::Tbody)) => rows.extend(
                    document
                        .children(child)
                        .filter(|row| document.tag(*row) == Some(Tag::Tr))
                        .map(|row| (tag == Tag::Thead, row)),
                ),
                _ => {}
            }
        }
        let columns = rows.iter().map(|(_, row)| document.children(*row).count()).max().unwrap_or(0);
        if columns == 0 {
            return;
        }
        let Some((head, first)) = rows.first().copied() else { return };
        if !head && document.children(first).any(|cell| document.tag(cell) != Some(Tag::Th)) {
            // The first row of such tables is always a head.
            self.lose(Loss::Layout);
        }
        self.begin();
        self.flat = true;
        self.cell = true;
        let markdown = self.style == Style::Markdown;
        for (number, (_, row)) in rows.iter().enumerate() {
            if self.out.len() > MAX_LEN {
                break;
            }
            if number > 0 {
                self.line();
            }
            let mut cells = 0;
            for cell in document.children(*row) {
                self.out.push_str(match (markdown, cells) {
                    (true, 0) => "| ",
                    (false, 0) => "",
                    _ => " | ",
                });
                self.children(cell, marks);
                self.write_inline(false);
                cells += 1;
            }
            if markdown {
                if cells == 0 {
                    self.out.push('|');
                }
                self.out.push_str(" |");
                if number == 0 {
                    self.out.extend(std::iter::repeat_n("  |", columns - cells));
                    self.line();
                    self.out.push('|');
                    self.out.extend(std::iter::repeat_n(" --- |", columns));
                }
            }
        }
        self.flat = false;
        self.cell = false;
        self.end();
    }
}
