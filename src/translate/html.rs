//! HTML of messages: cleaned to what Matrix allows (specification, `m.room.message` msgtypes), and written as GFM-MIMI
//! (draft-ietf-mimi-content-08 section 6.1.1) or as plain text.
//!
//! Everything is cleaned by ammonia first. What it writes is well-formed, so that the small tokenizer here reads a
//! regular language: balanced tags, double-quoted attributes, five entities.

use std::collections::{BTreeMap, HashMap, HashSet};

use ammonia::Builder;

use super::Loss;

/// Elements and frames deeper than this are written without their markup: nested quotes would grow quadratically.
const MAX_DEPTH: usize = 16;

const TAGS: &[&str] = &[
    "del",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "p",
    "a",
    "ul",
    "ol",
    "sup",
    "sub",
    "li",
    "b",
    "i",
    "u",
    "strong",
    "em",
    "s",
    "code",
    "hr",
    "br",
    "div",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "caption",
    "pre",
    "span",
    "details",
    "summary",
    "img",
];

/// Most elements that may be open at once, counted as upper bound. HTML parsers look through the open ones for each tag.
const MAX_OPEN: usize = 256;

/// Whether more than [`MAX_OPEN`] elements may be open at some point, whatever order they are closed in.
fn too_deep(html: &str) -> bool {
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = 0_usize;
    for tag in html.split('<').skip(1) {
        let (closing, rest) = tag.strip_prefix('/').map_or((false, tag), |rest| (true, rest));
        let name: String =
            rest.chars().take_while(char::is_ascii_alphanumeric).take(16).collect::<String>().to_ascii_lowercase();
        if name.is_empty() || matches!(name.as_str(), "br" | "hr" | "img" | "wbr" | "input" | "col") {
            continue;
        }
        let count = open.entry(name).or_default();
        if !closing {
            *count += 1;
            total += 1;
        } else if *count > 0 {
            *count -= 1;
            total -= 1;
        }
        if total > MAX_OPEN {
            return true;
        }
    }
    false
}

/// The text of HTML that is not worth parsing, as HTML.
fn without_tags(html: &str) -> String {
    let mut out = String::new();
    for (number, piece) in html.split('<').enumerate() {
        let text = if number == 0 { piece } else { piece.split_once('>').map_or("", |(_, text)| text) };
        out.push_str(&escape(&unescape(text)));
    }
    out
}

/// Cleans HTML to the tags and attributes that Matrix allows. Of images only their texts are kept (see [`tokens`]).
///
/// HTML that nests absurdly is answered as its text alone.
pub(super) fn sanitize(html: &str) -> String {
    if too_deep(html) {
        return without_tags(html);
    }
    let attributes: HashMap<&str, HashSet<&str>> = HashMap::from([
        ("a", HashSet::from(["href"])),
        ("ol", HashSet::from(["start"])),
        ("span", HashSet::from(["data-mx-spoiler", "data-mx-color", "data-mx-bg-color"])),
        ("img", HashSet::from(["alt", "title"])),
    ]);
    Builder::empty()
        .tags(TAGS.iter().copied().collect())
        .clean_content_tags(HashSet::from(["mx-reply", "script", "style", "title", "head", "template", "noscript"]))
        .generic_attributes(HashSet::new())
        .tag_attributes(attributes)
        .add_allowed_classes("code", LANGUAGES)
        .url_schemes(HashSet::from(["http", "https", "mailto", "ftp", "magnet"]))
        .url_relative(ammonia::UrlRelative::Deny)
        .link_rel(None)
        .clean(html)
        .to_string()
}

/// Languages of code blocks that are kept. ammonia compares whole class names.
const LANGUAGES: &[&str] = &[
    "language-bash",
    "language-c",
    "language-cpp",
    "language-css",
    "language-diff",
    "language-go",
    "language-html",
    "language-java",
    "language-javascript",
    "language-json",
    "language-kotlin",
    "language-markdown",
    "language-python",
    "language-ruby",
    "language-rust",
    "language-sh",
    "language-sql",
    "language-swift",
    "language-toml",
    "language-typescript",
    "language-xml",
    "language-yaml",
];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token<'a> {
    Open(&'a str, Vec<(&'a str, String)>),
    Close(&'a str),
    Text(String),
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    text.replace("&nbsp;", "\u{a0}")
        .replace("&quot;", "\"")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

/// Escapes text for HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Splits what [`sanitize`] wrote.
fn tokens(clean: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = clean;
    while let Some((text, tag)) = rest.split_once('<') {
        if !text.is_empty() {
            tokens.push(Token::Text(unescape(text)));
        }
        let mut quoted = false;
        let end = tag.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let Some((inside, after)) = end.and_then(|end| tag.split_at_checked(end)) else {
            rest = "";
            break;
        };
        rest = after.strip_prefix('>').unwrap_or(after);
        if let Some(name) = inside.strip_prefix('/') {
            tokens.push(Token::Close(name));
            continue;
        }
        let (name, mut fields) = inside.split_once(' ').unwrap_or((inside, ""));
        let mut attributes = Vec::new();
        while let Some((key, value)) = fields.split_once("=\"") {
            let (value, next) = value.split_once('"').unwrap_or((value, ""));
            attributes.push((key.trim(), unescape(value)));
            fields = next;
        }
        tokens.push(Token::Open(name, attributes));
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(unescape(rest)));
    }
    tokens
}

fn attribute<'t>(attributes: &'t [(&str, String)], name: &str) -> Option<&'t str> {
    attributes.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str())
}

fn image_text<'t>(attributes: &'t [(&str, String)]) -> &'t str {
    attribute(attributes, "alt").or(attribute(attributes, "title")).unwrap_or("image")
}

/// Cleans HTML and puts the texts of images in their places.
pub(super) fn clean_without_images(html: &str, losses: &mut Vec<Loss>) -> String {
    let clean = sanitize(html);
    let mut out = String::with_capacity(clean.len());
    let mut rest = clean.as_str();
    while let Some((before, image)) = rest.split_once("<img") {
        out.push_str(before);
        losses.push(Loss::InlineImage);
        let mut quoted = false;
        let end = image.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let (tag, after) = image.split_at_checked(end.map_or(image.len(), |end| end + 1)).unwrap_or((image, ""));
        let tag = format!("<img{tag}");
        if let Some(Token::Open(_, attributes)) = tokens(&tag).first() {
            out.push_str(&escape(image_text(attributes)));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Markup of GFM-MIMI, with everything escaped that would be markup.
    Markdown,
    /// The same marks for lists, quotes and code, nothing escaped, for reading.
    Plain,
}

/// Writes cleaned HTML as GFM-MIMI.
pub(super) fn to_markdown(clean: &str, losses: &mut Vec<Loss>) -> String {
    Writer::new(Style::Markdown).write(clean, losses)
}

/// Writes cleaned HTML as text for reading.
pub(super) fn to_plain(clean: &str) -> String {
    Writer::new(Style::Plain).write(clean, &mut Vec::new())
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// `p`, `div`, ... and the document.
    Block,
    Heading(usize),
    Quote,
    Pre(String),
    List {
        next: Option<u32>,
    },
    Item,
    Table,
    Row,
    Cell,
    Mark(&'static str),
    Link(String),
    Code,
    /// An element without markup of its own: its content belongs to the frame around it.
    Plain,
}

#[derive(Debug)]
struct Frame {
    kind: Kind,
    blocks: Vec<String>,
    inline: String,
}

struct Writer {
    style: Style,
    frames: Vec<Frame>,
    /// One entry for each open element.
    open: Vec<bool>,
}

impl Writer {
    fn new(style: Style) -> Self {
        let document = Frame { kind: Kind::Block, blocks: vec![], inline: String::new() };
        Self { style, frames: vec![document], open: vec![] }
    }

    fn write(mut self, clean: &str, losses: &mut Vec<Loss>) -> String {
        for token in tokens(clean) {
            match token {
                Token::Text(text) => self.text(&text),
                Token::Open("br", _) => self.line_break(),
                Token::Open("hr", _) => {
                    self.flush();
                    self.push_block("---".to_owned());
                }
                Token::Open("img", attributes) => {
                    losses.push(Loss::InlineImage);
                    self.text(image_text(&attributes));
                }
                Token::Open(name, attributes) => self.open(name, &attributes, losses),
                Token::Close(_) => self.close(),
            }
        }
        while self.frames.len() > 1 {
            self.close_frame();
        }
        self.flush();
        self.frames.pop().map(|frame| frame.blocks.join("\n\n")).unwrap_or_default()
    }

    fn verbatim(&self) -> bool {
        self.frames.last().is_some_and(|frame| matches!(frame.kind, Kind::Pre(_) | Kind::Code))
    }

    fn open(&mut self, name: &str, attributes: &[(&str, String)], losses: &mut Vec<Loss>) {
        if self.verbatim() {
            let language = attribute(attributes, "class").and_then(|class| class.strip_prefix("language-"));
            if let (Some(Frame { kind: Kind::Pre(slot), .. }), Some(language)) = (self.frames.last_mut(), language) {
                language.clone_into(slot);
            }
            self.open.push(false);
            return;
        }
        let kind = match name {
            "p" | "div" | "details" | "summary" | "caption" => Kind::Block,
            "h1" => Kind::Heading(1),
            "h2" => Kind::Heading(2),
            "h3" => Kind::Heading(3),
            "h4" => Kind::Heading(4),
            "h5" => Kind::Heading(5),
            "h6" => Kind::Heading(6),
            "blockquote" => Kind::Quote,
            "pre" => Kind::Pre(String::new()),
            "ul" => Kind::List { next: None },
            "ol" => {
                let start = attribute(attributes, "start").and_then(|start| start.parse().ok());
                Kind::List { next: Some(start.filter(|n| *n < 1_000_000).unwrap_or(1)) }
            }
            "li" => Kind::Item,
            "table" => Kind::Table,
            "tr" => Kind::Row,
            "td" | "th" => Kind::Cell,
            "strong" | "b" => Kind::Mark("**"),
            "em" | "i" => Kind::Mark("_"),
            "del" | "s" => Kind::Mark("~~"),
            "code" => Kind::Code,
            "a" => match attribute(attributes, "href") {
                Some(href)
                    if href.starts_with("https://matrix.to/#/@") || href.starts_with("https://matrix.to/#/%40") =>
                {
                    losses.push(Loss::Mention);
                    Kind::Plain
                }
                Some(href) => Kind::Link(href.to_owned()),
                None => Kind::Plain,
            },
            "span" if attributes.iter().any(|(key, _)| *key == "data-mx-spoiler") => {
                losses.push(Loss::Spoiler);
                self.text("(spoiler) ");
                Kind::Plain
            }
            _ => Kind::Plain,
        };
        let framed = kind != Kind::Plain && self.frames.len() < MAX_DEPTH;
        self.open.push(framed);
        if framed {
            if !matches!(kind, Kind::Mark(_) | Kind::Link(_) | Kind::Code) {
                self.flush();
            }
            self.frames.push(Frame { kind, blocks: vec![], inline: String::new() });
        }
    }

    fn close(&mut self) {
        if self.open.pop() == Some(true) && self.frames.len() > 1 {
            self.close_frame();
        }
    }

    /// Ends the paragraph that is being written.
    fn flush(&mut self) {
        if let Some(frame) = self.frames.last_mut() {
            let text = std::mem::take(&mut frame.inline);
            let text = if matches!(frame.kind, Kind::Pre(_)) { text.as_str() } else { text.trim() };
            if !text.is_empty() {
                frame.blocks.push(text.to_owned());
            }
        }
    }

    fn push_block(&mut self, block: String) {
        if let (Some(frame), false) = (self.frames.last_mut(), block.is_empty()) {
            frame.blocks.push(block);
        }
    }

    fn close_frame(&mut self) {
        if self.frames.last().is_some_and(|frame| matches!(frame.kind, Kind::Mark(_) | Kind::Link(_) | Kind::Code)) {
            self.close_inline();
            return;
        }
        self.flush();
        let Some(frame) = self.frames.pop() else { return };
        let markdown = self.style == Style::Markdown;
        let block = match frame.kind {
            Kind::Heading(level) => {
                let text = frame.blocks.join(" ").replace('\n', " ");
                if text.is_empty() { text } else { format!("{} {text}", "#".repeat(level)) }
            }
            Kind::Quote => prefixed(&frame.blocks.join("\n\n"), "> ", "> "),
            Kind::Pre(language) => {
                let text = frame.blocks.concat();
                let fence = fence(&text, 3);
                format!("{fence}{language}\n{}\n{fence}", text.trim_matches('\n'))
            }
            Kind::Item => {
                let marker = match self.frames.last_mut().map(|frame| &mut frame.kind) {
                    Some(Kind::List { next: Some(number) }) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "- ".to_owned(),
                };
                // Nested lists stay tight; paragraphs are kept apart.
                let tight =
                    frame.blocks.iter().skip(1).all(|block| block.starts_with("- ") || block.starts_with("1. "));
                let text = frame.blocks.join(if tight { "\n" } else { "\n\n" });
                prefixed(&text, &marker, &" ".repeat(marker.len()))
            }
            Kind::List { .. } => frame.blocks.join("\n"),
            Kind::Table => table(&frame.blocks, markdown),
            Kind::Row if markdown => format!("| {} |", frame.blocks.join(" | ")),
            Kind::Row => frame.blocks.join(" | "),
            Kind::Cell => {
                let text = frame.blocks.join(" ").replace('\n', " ");
                if text.is_empty() { " ".to_owned() } else { text }
            }
            Kind::Block | Kind::Mark(_) | Kind::Link(_) | Kind::Code | Kind::Plain => frame.blocks.join("\n\n"),
        };
        self.push_block(block);
    }

    /// Ends an inline element: its text joins the paragraph around it.
    fn close_inline(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let mut text = frame.inline;
        if !frame.blocks.is_empty() {
            // Blocks within an inline element, as in <b><p>: the paragraphs are kept, on lines of their own.
            text = frame
                .blocks
                .into_iter()
                .chain((!text.trim().is_empty()).then_some(text))
                .collect::<Vec<_>>()
                .join("\n");
        }
        let inner = text.trim();
        let (lead, tail) = (text.starts_with(char::is_whitespace), text.ends_with(char::is_whitespace));
        let written = match frame.kind {
            _ if inner.is_empty() => String::new(),
            Kind::Mark(mark) => format!("{mark}{inner}{mark}"),
            Kind::Link(href)
                if self.style == Style::Plain && (href == inner || href.strip_suffix('/') == Some(inner)) =>
            {
                href
            }
            Kind::Link(href) if self.style == Style::Plain => format!("{inner} ({href})"),
            Kind::Link(href) => format!("[{}]({})", inner.replace('\n', " "), destination(&href)),
            Kind::Code => {
                let fence = fence(&text, 1);
                let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
                format!("{fence}{pad}{}{pad}{fence}", text.replace('\n', " "))
            }
            _ => inner.to_owned(),
        };
        let Some(parent) = self.frames.last_mut() else { return };
        let is_code = written.starts_with('`');
        if lead && !is_code {
            parent.inline.push(' ');
        }
        parent.inline.push_str(&written);
        if tail && !is_code {
            parent.inline.push(' ');
        }
    }

    fn line_break(&mut self) {
        let line = if self.verbatim() || self.style == Style::Plain { "\n" } else { "  \n" };
        if let Some(frame) = self.frames.last_mut() {
            frame.inline.push_str(line);
        }
    }

    fn text(&mut self, text: &str) {
        let verbatim = self.verbatim();
        let style = self.style;
        let Some(frame) = self.frames.last_mut() else { return };
        if matches!(frame.kind, Kind::List { .. } | Kind::Table | Kind::Row) && text.trim().is_empty() {
            return;
        }
        if verbatim {
            frame.inline.push_str(text);
            return;
        }
        let block = !matches!(frame.kind, Kind::Mark(_) | Kind::Link(_));
        let mut previous = ' ';
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let at_start = frame.inline.is_empty() || frame.inline.ends_with('\n');
            if character.is_ascii_whitespace() {
                let redundant = (block && at_start) || frame.inline.ends_with([' ', '\n']);
                if !redundant {
                    frame.inline.push(' ');
                }
                previous = ' ';
                continue;
            }
            if style == Style::Markdown {
                let next = characters.peek().copied().unwrap_or(' ');
                match character {
                    '<' => {
                        frame.inline.push_str("&lt;");
                        previous = character;
                        continue;
                    }
                    '&' => {
                        frame.inline.push_str("&amp;");
                        previous = character;
                        continue;
                    }
                    '\\' | '*' | '`' | '[' | ']' | '~' | '|' => frame.inline.push('\\'),
                    '_' if !(previous.is_alphanumeric() && next.is_alphanumeric()) => frame.inline.push('\\'),
                    '#' | '>' | '+' | '-' | '=' if block && at_start => frame.inline.push('\\'),
                    '.' | ')' if block && ends_with_line_number(&frame.inline) => frame.inline.push('\\'),
                    _ => {}
                }
            }
            frame.inline.push(character);
            previous = character;
        }
    }
}

/// Whether the last line is a number so far: a full stop after it would make a list.
fn ends_with_line_number(text: &str) -> bool {
    let before = text.trim_end_matches(|c: char| c.is_ascii_digit());
    before.len() < text.len() && (before.is_empty() || before.ends_with('\n'))
}

fn prefixed(text: &str, first: &str, others: &str) -> String {
    let mut out = String::new();
    for (number, line) in text.lines().enumerate() {
        let prefix = if number == 0 { first } else { others };
        if number > 0 {
            out.push('\n');
        }
        out.push_str(if line.is_empty() { prefix.trim_end() } else { prefix });
        out.push_str(line);
    }
    out
}

/// Backticks, more than any run of them in the text.
fn fence(text: &str, least: usize) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(if longest >= least { longest + 1 } else { least })
}

fn destination(href: &str) -> String {
    let mut out = String::with_capacity(href.len());
    for character in href.chars() {
        match character {
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '<' => out.push_str("%3C"),
            '>' => out.push_str("%3E"),
            '\\' => out.push_str("%5C"),
            c if c.is_whitespace() || c.is_control() => out.push_str("%20"),
            c => out.push(c),
        }
    }
    out
}

fn table(rows: &[String], markdown: bool) -> String {
    let mut lines = rows.to_vec();
    if let (true, Some(first)) = (markdown, rows.first()) {
        let columns = first.matches(" | ").count() + 1;
        lines.insert(1, format!("|{}", " --- |".repeat(columns)));
    }
    lines.join("\n")
}
