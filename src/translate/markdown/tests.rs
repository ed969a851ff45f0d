//! Markdown and HTML of messages, both ways.
//!
//! "The same meaning" is: the same [`Meaning`]. That is the tree of blocks that a reader sees, and in it every character
//! with its marks. It does not say how often and in which order the same mark was written, whether an item of a list has
//! `<p>` in it, nor how white space was written.

use proptest::prelude::*;

use super::*;
use crate::translate::{
    Loss, Nobody,
    html::{Attrs, Data, Document, Id, Tag, tests as html},
    links::Links,
};

fn to_markdown(html: &str) -> (String, Vec<Loss>) {
    let mut losses = Vec::new();
    let document = Document::read(html, &mut Links::to_mimi(&Nobody));
    (from_document(&document, Style::Markdown, html.len(), &mut losses).unwrap(), losses)
}

fn from_markdown(markdown: &str) -> String {
    let shown = to_html(markdown, &mut Links::to_matrix(&Nobody));
    assert_eq!(html::safe(&shown), shown, "clean as it is: {markdown}");
    shown
}

// --------------------------------------------------------------------------------------------------------- meaning

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Marks {
    strong: bool,
    em: bool,
    del: bool,
    code: bool,
    maths: bool,
    link: Option<String>,
    spoiler: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    Text(Vec<(char, Marks)>),
    Heading(u8, Vec<Meaning>),
    Quote(Vec<Meaning>),
    List(Option<i32>, Vec<Vec<Meaning>>),
    Code(String, String),
    Maths(String),
    Table(Vec<Vec<Vec<Meaning>>>),
    Rule,
}

fn meaning(html: &str) -> Vec<Meaning> {
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
            Meaning::Text(mut text) => {
                let blank = |c: &(char, Marks)| c.0 == ' ' || c.0 == '\n';
                while text.last().is_some_and(blank) {
                    text.pop();
                }
                if text.iter().any(|(c, _)| !c.is_whitespace()) {
                    out.push(Meaning::Text(text));
                }
            }
            other => out.push(other),
        }
    }
    out
}

fn blocks(document: &Document<'_>, id: Id, marks: &Marks, out: &mut Vec<Meaning>) {
    for child in document.children(id) {
        let mut marks = marks.clone();
        let (tag, attrs) = match document.data(child) {
            Data::Text(text) => {
                text.chars().for_each(|c| put(c, &marks, out));
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
                style.unwrap().maths.as_ref().unwrap().chars().for_each(|c| put(c, &marks, out));
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
                out.push(Meaning::Text(vec![]));
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
                out.push(Meaning::Text(vec![]));
                blocks(document, child, &marks, out);
                out.push(Meaning::Text(vec![]));
                continue;
            }
        };
        out.push(block);
    }
}

fn put(c: char, marks: &Marks, out: &mut Vec<Meaning>) {
    if !matches!(out.last(), Some(Meaning::Text(_))) {
        out.push(Meaning::Text(vec![]));
    }
    let Some(Meaning::Text(text)) = out.last_mut() else { unreachable!() };
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
