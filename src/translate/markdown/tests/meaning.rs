//! "The same meaning" is: the same [`Meaning`]. That is the tree of blocks that a reader sees, and in it every character
//! with its marks. It does not say how often and in which order the same mark was written, whether an item of a list has
//! `<p>` in it, how white space was written, nor where zero-width spaces are.

use super::GUARD;
use crate::translate::{
    Nobody,
    html::{Attrs, Data, Document, Id, Tag},
    links::Links,
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five marks, each there or not")]
pub(super) struct Marks {
    strong: bool,
    em: bool,
    del: bool,
    code: bool,
    maths: bool,
    link: Option<String>,
    spoiler: Option<String>,
}

/// Letters with their marks.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Letters(Vec<(char, Marks)>);

impl std::fmt::Debug for Letters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for run in self.0.chunk_by(|a, b| a.1 == b.1) {
            let text: String = run.iter().map(|(c, _)| *c).collect();
            let Marks { strong, em, del, code, maths, link, spoiler } = &run[0].1;
            let flags = [(*strong, "b"), (*em, "i"), (*del, "d"), (*code, "c"), (*maths, "m")];
            let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
            write!(f, "{{{flags} {} {} {text:?}}}", link.as_deref().unwrap_or("-"), spoiler.as_deref().unwrap_or("-"))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    Text(Letters),
    Heading(u8, Vec<Meaning>),
    Quote(Vec<Meaning>),
    List(Option<i32>, Vec<Vec<Meaning>>),
    Code(String, String),
    Maths(String),
    Table(Vec<Vec<Vec<Meaning>>>),
    Rule,
}

pub(super) fn meaning(html: &str) -> Vec<Meaning> {
    let document = Document::read(html, &mut Links::to_matrix(&Nobody));
    let mut all = Vec::new();
    blocks(&document, Id::ROOT, &Marks::default(), &mut all);
    tidy(all)
}

/// Without blanks at the ends of paragraphs, and without empty blocks.
fn tidy(all: Vec<Meaning>) -> Vec<Meaning> {
    let mut out: Vec<Meaning> = Vec::new();
    for block in all {
        match block {
            Meaning::Text(Letters(mut text)) => {
                let blank = |c: &(char, Marks)| c.0 == ' ' || c.0 == '\n';
                while text.last().is_some_and(blank) {
                    text.pop();
                }
                if text.iter().any(|(c, _)| !c.is_whitespace()) {
                    out.push(Meaning::Text(Letters(text)));
                }
            }
            other => out.push(other),
        }
    }
    out
}

#[expect(clippy::too_many_lines, reason = "one arm for each element")]
fn blocks(document: &Document<'_>, id: Id, marks: &Marks, out: &mut Vec<Meaning>) {
    for child in document.children(id) {
        let mut marks = marks.clone();
        let (tag, attrs) = match document.data(child) {
            Data::Text(text) => {
                text.chars().for_each(|c| put(if c.is_ascii_whitespace() { ' ' } else { c }, &marks, out));
                continue;
            }
            Data::Element(tag, attrs) => (*tag, attrs),
        };
        let style = if let Attrs::Style(style) = attrs { Some(&**style) } else { None };
        let inner = |marks: &Marks| {
            let mut inner = Vec::new();
            blocks(document, child, marks, &mut inner);
            tidy(inner)
        };
        let block = match tag {
            Tag::Br => {
                put('\n', &marks, out);
                continue;
            }
            Tag::Code => {
                marks.code = true;
                document.text(child).chars().for_each(|c| put(if c == '\n' { ' ' } else { c }, &marks, out));
                continue;
            }
            Tag::Span if style.is_some_and(|style| style.maths.is_some()) => {
                marks.maths = true;
                style.unwrap().maths.as_ref().unwrap().trim().chars().for_each(|c| put(c, &marks, out));
                continue;
            }
            Tag::A
            | Tag::B
            | Tag::Strong
            | Tag::Em
            | Tag::I
            | Tag::Del
            | Tag::S
            | Tag::Span
            | Tag::U
            | Tag::Sub
            | Tag::Sup => {
                match (tag, attrs) {
                    (Tag::A, Attrs::Link(href)) => marks.link = Some(href.to_string()),
                    (Tag::B | Tag::Strong, _) => marks.strong = true,
                    (Tag::Em | Tag::I, _) => marks.em = true,
                    (Tag::Del | Tag::S, _) => marks.del = true,
                    _ => {}
                }
                if let Some(reason) = style.and_then(|style| style.spoiler.as_ref()).filter(|_| marks.spoiler.is_none())
                {
                    marks.spoiler = Some(reason.to_string());
                }
                blocks(document, child, &marks, out);
                continue;
            }
            _ if !document.is_visible(child) => {
                out.push(Meaning::Text(Letters::default()));
                continue;
            }
            Tag::Heading(level) => Meaning::Heading(level, inner(&marks)),
            Tag::Blockquote => Meaning::Quote(inner(&marks)),
            Tag::Ul | Tag::Ol => {
                let items = document.children(child).filter(|item| document.tag(*item) == Some(Tag::Li));
                let items = items.map(|item| {
                    let mut inner = Vec::new();
                    blocks(document, item, &marks, &mut inner);
                    tidy(inner)
                });
                let start = if let Attrs::Start(start) = attrs { *start } else { 1 };
                Meaning::List((tag == Tag::Ol).then_some(start), items.collect())
            }
            Tag::Pre => {
                let code = document.children(child).find(|child| document.tag(*child) == Some(Tag::Code));
                let language = match code.map(|code| document.data(code)) {
                    Some(Data::Element(_, Attrs::Language(language))) => language.to_string(),
                    _ => String::new(),
                };
                Meaning::Code(language, document.text(child).trim_end_matches('\n').to_owned())
            }
            Tag::Div if style.is_some_and(|style| style.maths.is_some()) => {
                Meaning::Maths(style.unwrap().maths.as_ref().unwrap().trim().to_owned())
            }
            Tag::Table => {
                let bodies = document.children(child).filter(|part| document.tag(*part) != Some(Tag::Caption));
                let rows = bodies.flat_map(|body| document.children(body)).map(|row| {
                    let cells = document.children(row).map(|cell| {
                        let mut inner = Vec::new();
                        blocks(document, cell, &marks, &mut inner);
                        tidy(inner)
                    });
                    cells.collect()
                });
                Meaning::Table(rows.collect())
            }
            Tag::Hr => Meaning::Rule,
            _ => {
                out.push(Meaning::Text(Letters::default()));
                blocks(document, child, &marks, out);
                out.push(Meaning::Text(Letters::default()));
                continue;
            }
        };
        out.push(block);
    }
}

/// Fails where two meanings differ, and shows where.
pub(in crate::translate) fn assert_same(left: &str, right: &str, context: &str) {
    let (a, b) = (format!("{:?}", meaning(left)), format!("{:?}", meaning(right)));
    if a != b {
        let at = a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(0, |((at, _), _)| at);
        let from = a.floor_char_boundary(at.saturating_sub(150));
        let near = |text: &str| text[text.floor_char_boundary(from)..text.floor_char_boundary(at + 150)].to_owned();
        panic!("{context}\n----- left\n{}\n----- right\n{}", near(&a), near(&b));
    }
}

fn put(c: char, marks: &Marks, out: &mut Vec<Meaning>) {
    if c == GUARD {
        return;
    }
    if !matches!(out.last(), Some(Meaning::Text(_))) {
        out.push(Meaning::Text(Letters::default()));
    }
    let Some(Meaning::Text(Letters(text))) = out.last_mut() else { unreachable!() };
    let (c, marks) = match c {
        '\n' if !marks.code && !marks.maths => ('\n', Marks::default()),
        c if c.is_whitespace() && !marks.code && !marks.maths => {
            (if c == '\u{a0}' { c } else { ' ' }, Marks::default())
        }
        c => (c, marks.clone()),
    };
    let last = text.last().map(|(c, _)| *c);
    match (c, last) {
        _ if marks.code || marks.maths => text.push((c, marks)),
        (' ', None | Some(' ' | '\n')) | ('\n', None) => {}
        ('\n', Some(' ')) => *text.last_mut().unwrap() = ('\n', marks),
        _ => text.push((c, marks)),
    }
}
