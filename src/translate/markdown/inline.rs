//! The text of a paragraph: pieces of text with the marks that each has, written so that every mark is read again.

use super::{GUARD, Style, marks::Writer};
use crate::translate::html::{Document, Id};

/// The marks of a piece of text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) strong: bool,
    pub(super) em: bool,
    pub(super) del: bool,
    pub(super) link: Option<Id>,
    pub(super) spoiler: Option<Id>,
}

impl Marks {
    fn both(self, other: Self) -> Self {
        Self {
            strong: self.strong && other.strong,
            em: self.em && other.em,
            del: self.del && other.del,
            link: self.link.filter(|link| other.link == Some(*link)),
            spoiler: self.spoiler.filter(|spoiler| other.spoiler == Some(*spoiler)),
        }
    }

    pub(super) fn has(self, mark: Mark) -> bool {
        match mark {
            Mark::Spoiler(id) => self.spoiler == Some(id),
            Mark::Link(id) => self.link == Some(id),
            Mark::Strong => self.strong,
            Mark::Em => self.em,
            Mark::Del => self.del,
        }
    }

    /// All of them, those first that should be around the others.
    pub(super) fn list(self) -> impl Iterator<Item = Mark> {
        [
            self.spoiler.map(Mark::Spoiler),
            self.link.map(Mark::Link),
            self.em.then_some(Mark::Em),
            self.strong.then_some(Mark::Strong),
            self.del.then_some(Mark::Del),
        ]
        .into_iter()
        .flatten()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Spoiler(Id),
    Link(Id),
    Em,
    Strong,
    Del,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    Text(usize, usize),
    Code(usize, usize),
    /// LaTeX.
    Maths(usize, usize),
    Space,
    Break,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) marks: Marks,
    pub(super) piece: Piece,
}

/// What stands beside a mark, as Markdown's rules see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// White space, or the end of the line.
    Nothing,
    Punctuation,
    Word,
    /// A symbol or unusual blank, which not all readers see alike.
    Other,
}

pub(super) fn class(c: char) -> Beside {
    match c {
        GUARD => Beside::Word,
        ' ' | '\n' => Beside::Nothing,
        c if c.is_alphanumeric() => Beside::Word,
        c if c.is_ascii_punctuation() => Beside::Punctuation,
        _ => Beside::Other,
    }
}

/// Where a paragraph is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'p> {
    pub(super) style: Style,
    /// What continued lines begin with.
    pub(super) prefix: &'p str,
    /// All on one line.
    pub(super) flat: bool,
    /// In a cell of a table.
    pub(super) cell: bool,
    /// The first in an item of a list, where a check box may be.
    pub(super) task: bool,
}

/// The pieces of a paragraph.
#[derive(Debug, Default)]
pub(super) struct Inline {
    text: String,
    pub(super) runs: Vec<Run>,
    visible: bool,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

impl Inline {
    pub(super) fn is_visible(&self) -> bool {
        self.visible
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.runs.clear();
        self.visible = false;
    }

    /// Adds text; white space is one blank, whatever and how much it is.
    pub(super) fn text(&mut self, text: &str, marks: Marks) {
        let inner = text.trim_matches(is_blank);
        if text.starts_with(is_blank) {
            self.space();
        }
        if inner.is_empty() {
            return;
        }
        self.visible |= inner.chars().any(|c| !c.is_whitespace());
        let start = self.text.len();
        let mut last = b'a';
        let simple = inner.bytes().all(|byte| {
            let fine = byte != b' ' && !is_blank(byte.into()) || byte == b' ' && last != b' ';
            last = byte;
            fine
        });
        if simple {
            self.text.push_str(inner);
        } else {
            for (number, word) in inner.split(is_blank).filter(|word| !word.is_empty()).enumerate() {
                if number > 0 {
                    self.text.push(' ');
                }
                self.text.push_str(word);
            }
        }
        let end = self.text.len();
        match self.runs.last_mut() {
            Some(Run { marks: before, piece: Piece::Text(_, until) }) if *before == marks && *until == start => {
                *until = end;
            }
            _ => self.runs.push(Run { marks, piece: Piece::Text(start, end) }),
        }
        if text.ends_with(is_blank) {
            self.space();
        }
    }

    pub(super) fn code(&mut self, text: &str, marks: Marks) {
        if text.is_empty() {
            return;
        }
        self.visible |= !text.trim().is_empty();
        let start = self.text.len();
        self.text.push_str(text);
        let end = self.text.len();
        match self.runs.last_mut() {
            Some(Run { marks: before, piece: Piece::Code(_, until) }) if *before == marks && *until == start => {
                *until = end;
            }
            _ => self.runs.push(Run { marks, piece: Piece::Code(start, end) }),
        }
    }

    pub(super) fn maths(&mut self, tex: &str, marks: Marks) {
        if tex.trim().is_empty() {
            return;
        }
        self.visible = true;
        let start = self.text.len();
        self.text.push_str(tex.trim());
        self.runs.push(Run { marks, piece: Piece::Maths(start, self.text.len()) });
    }

    pub(super) fn space(&mut self) {
        if !matches!(self.runs.last(), None | Some(Run { piece: Piece::Space | Piece::Break, .. })) {
            self.runs.push(Run { marks: Marks::default(), piece: Piece::Space });
        }
    }

    pub(super) fn line_break(&mut self) {
        if matches!(self.runs.last(), Some(Run { piece: Piece::Space, .. })) {
            self.runs.pop();
        }
        if !self.runs.is_empty() {
            self.runs.push(Run { marks: Marks::default(), piece: Piece::Break });
        }
    }

    /// Writes what was collected; what is at the ends of a mark and no text is put outside.
    pub(super) fn write(&mut self, document: &Document<'_>, place: Place<'_>, out: &mut String) {
        while matches!(self.runs.last(), Some(Run { piece: Piece::Space | Piece::Break, .. })) {
            self.runs.pop();
        }
        self.spread();
        Writer::new(self, document, place, out).write();
    }

    /// Blanks have the marks that both their neighbours have.
    fn spread(&mut self) {
        let is_gap = |run: &Run| matches!(run.piece, Piece::Space | Piece::Break);
        let mut next = Marks::default();
        for run in self.runs.iter_mut().rev() {
            if is_gap(run) {
                run.marks = next;
            } else {
                next = run.marks;
            }
        }
        let mut before = Marks::default();
        for run in &mut self.runs {
            if is_gap(run) {
                run.marks = run.marks.both(before);
            } else {
                before = run.marks;
            }
        }
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn run(&self, at: usize) -> Option<&Run> {
        self.runs.get(at)
    }

    /// The first run from `at` on that is no blank.
    pub(super) fn after_gaps(&self, at: usize) -> usize {
        let rest = self.runs.get(at..).unwrap_or_default();
        let gaps = rest.iter().take_while(|run| matches!(run.piece, Piece::Space | Piece::Break)).count();
        at + gaps
    }

    /// The first run from `at` on that does not have the mark.
    pub(super) fn end(&self, at: usize, mark: Mark) -> usize {
        let rest = self.runs.get(at..).unwrap_or_default();
        rest.iter().position(|run| !run.marks.has(mark)).map_or(self.runs.len(), |len| at + len)
    }

    /// What a run looks like from the side.
    pub(super) fn beside(&self, at: usize, from_left: bool) -> Beside {
        match self.run(at).map(|run| run.piece) {
            None | Some(Piece::Space | Piece::Break) => Beside::Nothing,
            Some(Piece::Code(..) | Piece::Maths(..)) => Beside::Punctuation,
            Some(Piece::Text(start, end)) => {
                let text = self.slice(start, end);
                let c = if from_left { text.chars().next() } else { text.chars().next_back() };
                c.map_or(Beside::Nothing, class)
            }
        }
    }
}
