//! Writes the pieces of a paragraph with their marks, so that Markdown's rules let every mark begin and end.

use std::fmt::Write as _;

use super::{
    GUARD, Style,
    inline::{Beside, Inline, Mark, Marks, Piece, Place, Run, class},
};
use crate::translate::html::{Attrs, Data, Document, Id};

struct Open {
    mark: Mark,
    /// The first run without it.
    end: usize,
    delimiter: &'static str,
}

pub(super) struct Writer<'w> {
    inline: &'w Inline,
    document: &'w Document<'w>,
    place: Place<'w>,
    out: &'w mut String,
    stack: Vec<Open>,
}

impl<'w> Writer<'w> {
    pub(super) fn new(inline: &'w Inline, document: &'w Document<'w>, place: Place<'w>, out: &'w mut String) -> Self {
        Self { inline, document, place, out, stack: Vec::new() }
    }

    pub(super) fn write(&mut self) {
        let mut line_start = true;
        let mut after_gap = false;
        for (at, run) in self.inline.runs.iter().enumerate() {
            let gap = matches!(run.piece, Piece::Space | Piece::Break);
            let begin = if gap && !after_gap { self.inline.after_gaps(at) } else { at };
            self.close_for(at, begin, run.marks);
            after_gap = gap;
            if !gap {
                self.open_for(at, run.marks);
            }
            let opened = !self.stack.is_empty();
            match run.piece {
                Piece::Text(start, end) => {
                    let mut text = self.inline.slice(start, end);
                    if at == 0 && self.place.task && !opened {
                        text = self.task(text);
                    }
                    // Behind a mark nothing is at the start of a line, even if the mark is.
                    let line_start = line_start && !self.out.ends_with(['*', '_', '[', '|', '~', GUARD, ']']);
                    if self.place.style == Style::Plain {
                        self.out.push_str(text);
                    } else {
                        self.escape(text, line_start);
                    }
                }
                Piece::Code(start, end) => {
                    let behind_maths =
                        at > 0 && matches!(self.inline.run(at - 1), Some(Run { piece: Piece::Maths(..), .. }));
                    self.code(start, end, behind_maths);
                }
                Piece::Maths(start, end) => {
                    self.out.push('$');
                    self.span(start, end);
                    self.out.push('$');
                }
                Piece::Space => self.out.push(' '),
                Piece::Break => self.line_break(at),
            }
            line_start = run.piece == Piece::Break && !self.place.flat;
        }
        let end = self.inline.runs.len();
        self.close_for(end, end, Marks::default());
    }

    /// Writes the check box that an item begins with; answers the rest.
    fn task<'t>(&mut self, text: &'t str) -> &'t str {
        let boxed = ["[ ]", "[x]", "[X]"].into_iter().find(|boxed| text.starts_with(boxed));
        let Some((boxed, rest)) = boxed.and_then(|boxed| Some((boxed, text.get(boxed.len()..)?))) else { return text };
        let followed = rest.starts_with(' ')
            || (rest.is_empty() && matches!(self.inline.run(1), Some(Run { piece: Piece::Space, .. })));
        if !followed {
            return text;
        }
        self.out.push_str(boxed);
        if rest.starts_with(' ') {
            self.out.push(' ');
        }
        rest.strip_prefix(' ').unwrap_or(rest)
    }

    fn line_break(&mut self, at: usize) {
        let is_break =
            |at: Option<usize>| matches!(at.and_then(|at| self.inline.run(at)), Some(Run { piece: Piece::Break, .. }));
        if self.place.flat {
            if !self.out.ends_with(' ') {
                self.out.push(' ');
            }
            return;
        }
        let several = is_break(at.checked_sub(1)) || is_break(Some(at + 1));
        self.out.push_str(match self.place.style {
            Style::Plain => "\n",
            Style::Markdown if several => "\\\n",
            Style::Markdown => "  \n",
        });
        self.out.push_str(self.place.prefix);
    }

    // ------------------------------------------------------------------------------------------------------ marks

    /// Closes the marks that `marks` has not, and those within them; and what would end within a link or spoiler that
    /// begins at the run `begin`: it begins within that again. At a blank that is done before it: no mark ends behind one.
    fn close_for(&mut self, at: usize, begin: usize, marks: Marks) {
        let ended = self.stack.iter().position(|open| !marks.has(open.mark));
        let next = self.inline.run(begin).map_or(Marks::default(), |run| run.marks);
        let new = next.list().filter(|mark| self.stack.iter().all(|open| open.mark != *mark));
        let outer = new.filter(|mark| matches!(mark, Mark::Link(_) | Mark::Spoiler(_)));
        let cut = outer
            .map(|mark| self.inline.end(begin, mark))
            .max()
            .and_then(|end| self.stack.iter().position(|open| open.end < end));
        if let Some(keep) = ended.into_iter().chain(cut).min() {
            self.close_down_to(keep, at, marks);
        }
    }

    fn close_down_to(&mut self, keep: usize, at: usize, marks: Marks) {
        while self.stack.len() > keep {
            let Some(open) = self.stack.pop() else { return };
            let next = self.behind(&open, keep, at, marks);
            self.close(&open, next);
        }
    }

    /// What comes behind the end of a mark: the end of the one around it, the beginning of another, or the next run.
    fn behind(&self, open: &Open, keep: usize, at: usize, marks: Marks) -> Beside {
        let emphasis = |mark: Mark| matches!(mark, Mark::Strong | Mark::Em | Mark::Del);
        let new = |mark: &Mark| self.stack.iter().take(keep).all(|open| open.mark != *mark);
        let last = self.inline.beside(at, true);
        // Nothing begins at a blank.
        let opens = last != Beside::Nothing && marks.list().any(|mark| new(&mark));
        let stars = marks.list().any(|mark| new(&mark) && matches!(mark, Mark::Strong | Mark::Em));
        let mut next = last;
        let mut outer: Option<&Open> = None;
        for inner in self.stack.iter().skip(keep).chain([open]) {
            let star = inner.delimiter.starts_with('*');
            next = match outer {
                // A guard may come between the two.
                Some(outer) if emphasis(outer.mark) => {
                    let firm = matches!(next, Beside::Nothing | Beside::Punctuation);
                    if !firm || star && outer.delimiter.starts_with('*') { Beside::Other } else { Beside::Punctuation }
                }
                None if !opens => last,
                None if star && stars => Beside::Other,
                Some(_) | None => Beside::Punctuation,
            };
            outer = Some(inner);
        }
        next
    }

    fn opens(&self, marks: Marks) -> bool {
        marks.list().any(|mark| self.stack.iter().all(|open| open.mark != mark))
    }

    fn open_for(&mut self, at: usize, marks: Marks) {
        if !self.opens(marks) {
            return;
        }
        let mut new: Vec<(usize, Mark)> = marks
            .list()
            .filter(|mark| self.stack.iter().all(|open| open.mark != *mark))
            .map(|mark| (self.inline.end(at, mark), mark))
            .collect();
        // A stable order: the longest first.
        new.sort_by_key(|(end, _)| std::cmp::Reverse(*end));
        let count = new.len();
        for (number, (end, mark)) in new.into_iter().enumerate() {
            let next = if number + 1 < count { Beside::Punctuation } else { self.inline.beside(at, true) };
            self.open(mark, end, next);
        }
    }

    fn before(&self) -> Beside {
        self.out.chars().next_back().map_or(Beside::Nothing, class)
    }

    fn guard(&mut self) {
        if self.place.style == Style::Markdown && !self.out.ends_with(GUARD) {
            self.out.push(GUARD);
        }
    }

    fn open(&mut self, mark: Mark, end: usize, next: Beside) {
        let before = self.before();
        let firm = matches!(before, Beside::Nothing | Beside::Punctuation);
        let delimiter = match mark {
            Mark::Strong => "**",
            Mark::Del => "~~",
            Mark::Em => {
                if (firm && self.is_alone(end)) || self.place.style == Style::Plain {
                    "_"
                } else {
                    "*"
                }
            }
            Mark::Spoiler(_) => "||",
            Mark::Link(_) => "",
        };
        match mark {
            Mark::Link(id) => {
                if self.place.style == Style::Markdown && self.link(id).is_some() {
                    if self.out.ends_with('!') {
                        self.out.insert(self.out.len() - 1, '\\');
                    }
                    self.out.push('[');
                }
            }
            Mark::Spoiler(id) => {
                if matches!(before, Beside::Word | Beside::Other) || self.out.ends_with('|') {
                    self.guard();
                }
                self.pipes();
                self.reason(id);
                if next == Beside::Other {
                    self.guard();
                }
            }
            Mark::Strong | Mark::Em | Mark::Del => {
                let mut firm = firm;
                if delimiter.starts_with('*') && self.out.ends_with('*') {
                    self.guard();
                    firm = false;
                }
                self.out.push_str(delimiter);
                let fine = next == Beside::Word || (next == Beside::Punctuation && firm);
                if !fine {
                    self.guard();
                }
            }
        }
        self.stack.push(Open { mark, end, delimiter });
    }

    /// Whether emphasis up to this run can be written with underscores, which end only before blanks and punctuation:
    /// nothing else cuts it off, and no guard may follow.
    fn is_alone(&self, end: usize) -> bool {
        let marks = |at: usize| self.inline.run(at).map_or(Marks::default(), |run| run.marks);
        let begins = marks(end).list().any(|mark| !marks(end - 1).has(mark));
        match self.inline.beside(end, true) {
            Beside::Nothing => self.stack.iter().all(|open| open.end >= end),
            Beside::Punctuation => !begins && self.stack.iter().all(|open| open.end > end),
            Beside::Word | Beside::Other => false,
        }
    }

    fn close(&mut self, open: &Open, next: Beside) {
        match open.mark {
            Mark::Link(id) => self.close_link(id),
            Mark::Spoiler(_) => {
                if self.before() == Beside::Other || self.out.ends_with('|') && !self.out.ends_with("\\|") {
                    self.guard();
                }
                self.pipes();
                if matches!(next, Beside::Word | Beside::Other) {
                    self.guard();
                }
            }
            Mark::Strong | Mark::Em | Mark::Del => {
                let before = self.before();
                let clash = open.delimiter.starts_with('*') && self.out.ends_with('*');
                let firm = matches!(next, Beside::Nothing | Beside::Punctuation);
                if clash || (before == Beside::Punctuation && !firm) || before == Beside::Other {
                    self.guard();
                }
                self.out.push_str(open.delimiter);
            }
        }
    }

    fn pipes(&mut self) {
        self.out.push_str(if self.place.cell && self.place.style == Style::Markdown { "\\|\\|" } else { "||" });
    }

    fn reason(&mut self, id: Id) {
        let Data::Element(_, Attrs::Style(style)) = self.document.data(id) else { return };
        let Some(reason) = style.spoiler.as_deref().filter(|reason| !reason.trim_ascii().is_empty()) else { return };
        let words: Vec<&str> = reason.split_ascii_whitespace().collect();
        let reason = words.join(" ");
        if self.place.style == Style::Plain {
            self.out.push_str(&reason);
        } else {
            self.escape(&reason, false);
        }
        self.out.push_str(if self.place.cell && self.place.style == Style::Markdown { "\\|" } else { "|" });
    }

    /// Where a link leads; `None` if the text is enough for reading.
    fn link(&self, id: Id) -> Option<&str> {
        match self.document.data(id) {
            Data::Element(_, Attrs::Link(href)) => Some(href),
            Data::Element(_, Attrs::Person(href)) if self.place.style == Style::Markdown => Some(href),
            _ => None,
        }
    }

    fn close_link(&mut self, id: Id) {
        let Some(href) = self.link(id).map(str::to_owned) else { return };
        if self.place.style == Style::Plain {
            let shown = href.trim_end_matches('/');
            let told = shown.strip_prefix("mailto:").unwrap_or(shown);
            if !self.out.trim_end_matches('/').ends_with(told) {
                let _ = write!(self.out, " ({href})");
            }
            return;
        }
        self.out.push_str("](");
        self.destination(&href);
        self.out.push(')');
    }

    fn destination(&mut self, href: &str) {
        let mut depth = 0_i32;
        let balanced = href.bytes().all(|byte| {
            depth += match byte {
                b'(' => 1,
                b')' => -1,
                _ => 0,
            };
            (0..=8).contains(&depth)
        }) && depth == 0;
        let angled = !balanced || href.contains([' ', '<', '>']);
        if angled {
            self.out.push('<');
        }
        for (at, c) in href.char_indices() {
            match c {
                '<' | '>' | '\\' => {
                    self.out.push('\\');
                    self.out.push(c);
                }
                '|' if self.place.cell => self.out.push_str("\\|"),
                '&' if is_reference(href.get(at..).unwrap_or_default()) => self.out.push_str("&amp;"),
                c => self.out.push(c),
            }
        }
        if angled {
            self.out.push('>');
        }
    }

    // ------------------------------------------------------------------------------------------------- text and code

    fn code(&mut self, start: usize, end: usize, behind_maths: bool) {
        // A dollar before code would make it mathematics.
        if self.place.style == Style::Markdown && self.out.ends_with('$') && !behind_maths {
            self.out.insert(self.out.len() - 1, '\\');
        }
        self.span(start, end);
    }

    fn span(&mut self, start: usize, end: usize) {
        let text = self.inline.slice(start, end);
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = match self.place.style {
            // The shortest run of backticks that the text has not would do; one more than its longest is simple.
            Style::Markdown => longest + 1,
            Style::Plain => 1,
        };
        let ends = |c: char| text.starts_with(c) || text.ends_with(c);
        let blank = |c: char| c == ' ' || c == '\n';
        let both = text.starts_with(blank) && text.ends_with(blank) && !text.chars().all(blank);
        let pad = self.place.style == Style::Markdown && (ends('`') || both);
        self.out.extend(std::iter::repeat_n('`', fence));
        if pad {
            self.out.push(' ');
        }
        for c in text.chars() {
            match c {
                '\n' => self.out.push(' '),
                '|' if self.place.cell && self.place.style == Style::Markdown => self.out.push_str("\\|"),
                c => self.out.push(c),
            }
        }
        if pad {
            self.out.push(' ');
        }
        self.out.extend(std::iter::repeat_n('`', fence));
    }

    fn escape(&mut self, text: &str, line_start: bool) {
        let bytes = text.as_bytes();
        let mut from = 0;
        let number = if line_start { list_number(text) } else { None };
        for (at, byte) in bytes.iter().enumerate() {
            let next = bytes.get(at + 1).copied();
            let first = at == 0 && line_start;
            let entity = match byte {
                b'\\' | b'*' | b'`' | b'[' | b']' | b'~' | b'|' => "\\",
                b'_' => {
                    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                    let before = match text.get(..at).and_then(|before| before.chars().next_back()) {
                        Some(c) => Some(c),
                        None => self.out.chars().next_back(),
                    };
                    if word(before) && word(text.get(at + 1..).and_then(|rest| rest.chars().next())) {
                        continue;
                    }
                    "\\"
                }
                b'<' if next.is_none_or(|next| next.is_ascii_alphabetic() || b"/!?".contains(&next)) => "&lt;",
                b'&' if is_reference(text.get(at..).unwrap_or_default()) => "&amp;",
                b'#' | b'>' | b'=' if first => "\\",
                b'+' | b'-' if first && next.is_none_or(|next| !next.is_ascii_alphanumeric()) => "\\",
                b':' if first && next == Some(b'-') => "\\",
                b'.' | b')' if number == Some(at) => "\\",
                _ => continue,
            };
            self.out.push_str(text.get(from..at).unwrap_or_default());
            self.out.push_str(entity);
            from = if entity == "\\" { at } else { at + 1 };
        }
        self.out.push_str(text.get(from..).unwrap_or_default());
    }
}

/// Where the full stop or bracket is that would make a list of a line.
fn list_number(text: &str) -> Option<usize> {
    let digits = text.bytes().take(10).take_while(u8::is_ascii_digit).count();
    let mark = matches!(text.as_bytes().get(digits), Some(b'.' | b')'));
    let ends = text.as_bytes().get(digits + 1).is_none_or(|next| *next == b' ');
    ((1..=9).contains(&digits) && mark && ends).then_some(digits)
}

/// Whether a text that begins with `&` begins with a character reference.
fn is_reference(text: &str) -> bool {
    let name = text.bytes().skip(1).take(34);
    let name: usize = name.take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'#').count();
    name > 0 && text.as_bytes().get(name + 1) == Some(&b';')
}
