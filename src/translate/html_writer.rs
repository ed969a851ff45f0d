//! Cleaned HTML written as GFM-MIMI (draft-ietf-mimi-content-08 section 6.1.1), or as text for reading.

use super::{
    Loss,
    html::{Token, attribute, image_text, tokens},
};

/// Elements and frames deeper than this are written without their markup: nested quotes would grow quadratically.
const MAX_DEPTH: usize = 16;

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
