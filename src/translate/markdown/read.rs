//! GFM-MIMI as HTML that Matrix allows: it is written from the parser's events, element by element, and needs no cleaning.

use std::{fmt::Write as _, iter::Peekable, ops::Range};

use pulldown_cmark::{
    Alignment, CodeBlockKind, Event, HeadingLevel, LinkType, OffsetIter, Options, Parser, Tag, TagEnd,
};

use super::GUARD;
use crate::translate::{
    Loss,
    html::{MAX_DEPTH, escape_attribute, escape_into, is_language},
    links::{Links, Target, unmasked},
};

/// One level is kept for a spoiler, which is found when its end is read.
const DEPTH: usize = MAX_DEPTH - 1;

/// Writes GFM-MIMI as HTML. HTML in it is text, images are links or their texts.
pub(in crate::translate) fn to_html(markdown: &str, links: &mut Links<'_>) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_STRIKETHROUGH;
    let out = String::with_capacity(markdown.len() + markdown.len() / 2);
    let mut reader = Reader {
        source: markdown,
        at: 0,
        events: Parser::new_ext(markdown, options).into_offset_iter().peekable(),
        out,
        links,
        open: Vec::new(),
        depth: 0,
        task: None,
        at_mark: false,
        dollar: false,
        skip_dollar: false,
        spoiler: None,
        image: None,
        code: None,
        in_cell: false,
        in_link: 0,
    };
    while let Some((event, range)) = reader.events.next() {
        reader.event(event, &range);
    }
    let len = reader.out.trim_end().len();
    reader.out.truncate(len);
    reader.out
}

/// An element that is open.
struct Open {
    name: &'static str,
    written: bool,
    /// Of a link: where its text starts, and where it leads.
    link: Option<(usize, Target<'static>)>,
}

/// Two bars that may begin a spoiler.
struct Spoiler {
    /// Where they stand.
    at: usize,
    /// How many elements are open there.
    within: usize,
    /// Where the bar behind its reason stands.
    bar: Option<usize>,
}

struct Image {
    at: usize,
    target: Target<'static>,
    nested: usize,
}

/// A code block.
struct Code {
    at: usize,
    maths: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "what the text before was like")]
struct Reader<'s, 'l, 'm> {
    source: &'s str,
    /// The end of the event, in the source.
    at: usize,
    events: Peekable<OffsetIter<'s>>,
    out: String,
    links: &'l mut Links<'m>,
    open: Vec<Open>,
    /// Elements that are open and written.
    depth: usize,
    /// A check box to be written before the next text.
    task: Option<bool>,
    /// The event before was the beginning or end of a mark.
    at_mark: bool,
    /// The text so far ends with a dollar that is not escaped.
    dollar: bool,
    skip_dollar: bool,
    spoiler: Option<Spoiler>,
    image: Option<Image>,
    code: Option<Code>,
    in_cell: bool,
    /// Links within each other: only the outermost is one.
    in_link: usize,
}

fn is_mark(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Start(Tag::Emphasis | Tag::Strong | Tag::Strikethrough)
            | Event::End(TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough)
    )
}

fn heading(level: HeadingLevel) -> &'static str {
    match level {
        HeadingLevel::H1 => "h1",
        HeadingLevel::H2 => "h2",
        HeadingLevel::H3 => "h3",
        HeadingLevel::H4 => "h4",
        HeadingLevel::H5 => "h5",
        HeadingLevel::H6 => "h6",
    }
}

impl<'s> Reader<'s, '_, '_> {
    fn event(&mut self, event: Event<'s>, range: &Range<usize>) {
        self.at = range.end;
        let at_mark = std::mem::replace(&mut self.at_mark, is_mark(&event));
        if self.image.is_some() {
            return self.in_image(&event);
        }
        let dollar = std::mem::take(&mut self.dollar);
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) => self.text(&text, range, at_mark),
            Event::Code(text) => self.inline_code(&text, dollar),
            Event::Html(text) => {
                if !self.out.ends_with("<p>") {
                    self.out.push_str("<br>");
                }
                escape_into(text.trim_end_matches(['\n', '\r']), &mut self.out);
            }
            Event::InlineHtml(text) => {
                self.put_task();
                escape_into(&text, &mut self.out);
            }
            Event::SoftBreak => self.out.push('\n'),
            Event::HardBreak => self.out.push_str("<br>"),
            Event::Rule => self.out.push_str("<hr>\n"),
            Event::TaskListMarker(done) => self.task = Some(done),
            Event::FootnoteReference(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                escape_into(&text, &mut self.out);
            }
        }
    }

    fn put_task(&mut self) {
        if let Some(done) = self.task.take() {
            self.out.push_str(if done { "[x] " } else { "[ ] " });
        }
    }

    // --------------------------------------------------------------------------------------------------- elements

    fn push(&mut self, name: &'static str, attribute: Option<(&str, &str)>) {
        let parent = self.open.last().is_none_or(|open| open.written);
        let room = match name {
            "table" => self.depth + 3 < DEPTH,
            "thead" | "tbody" | "tr" | "td" | "th" => parent,
            _ => self.depth < DEPTH,
        };
        if room {
            self.depth += 1;
            self.out.push('<');
            self.out.push_str(name);
            if let Some((key, value)) = attribute {
                let _ = write!(self.out, " {key}=\"");
                escape_attribute(value, &mut self.out);
                self.out.push('"');
            }
            self.out.push('>');
        }
        self.open.push(Open { name, written: room, link: None });
    }

    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop()?;
        if open.written {
            self.depth -= 1;
            self.out.push_str("</");
            self.out.push_str(open.name);
            self.out.push('>');
        }
        if self.spoiler.as_ref().is_some_and(|spoiler| spoiler.within > self.open.len()) {
            self.spoiler = None;
        }
        Some(open)
    }

    fn block(&mut self, name: &'static str, attribute: Option<(&str, &str)>) {
        if !self.out.is_empty() && !self.out.ends_with(['\n', '>']) {
            self.out.push('\n');
        }
        self.spoiler = None;
        self.push(name, attribute);
    }

    fn start(&mut self, tag: Tag<'s>) {
        match tag {
            Tag::Paragraph => {
                self.block("p", None);
                self.put_task();
            }
            Tag::Heading { level, .. } => self.block(heading(level), None),
            Tag::BlockQuote(_) => {
                self.block("blockquote", None);
                self.out.push('\n');
            }
            Tag::CodeBlock(kind) => self.code_block(&kind),
            Tag::HtmlBlock => self.block("p", None),
            Tag::List(start) => {
                match start {
                    None => self.block("ul", None),
                    Some(1) => self.block("ol", None),
                    Some(start) => self.block("ol", Some(("start", &start.to_string()))),
                }
                self.out.push('\n');
            }
            Tag::Item => self.block("li", None),
            Tag::Table(alignments) => {
                if alignments.iter().any(|alignment| *alignment != Alignment::None) {
                    self.links.losses.push(Loss::Layout);
                }
                self.block("table", None);
            }
            Tag::TableHead => {
                self.push("thead", None);
                self.push("tr", None);
            }
            Tag::TableRow => {
                if self.open.last().is_some_and(|open| open.name == "table") {
                    self.push("tbody", None);
                }
                self.push("tr", None);
            }
            Tag::TableCell => {
                let head = self.open.iter().rev().nth(1).is_some_and(|open| open.name == "thead");
                self.spoiler = None;
                self.in_cell = true;
                self.push(if head { "th" } else { "td" }, None);
            }
            Tag::Emphasis => self.mark("em"),
            Tag::Strong => self.mark("strong"),
            Tag::Strikethrough => self.mark("del"),
            Tag::Link { link_type, dest_url, title, .. } => {
                self.put_task();
                if !title.is_empty() {
                    self.links.losses.push(Loss::Layout);
                }
                self.link(link_type, &dest_url);
            }
            Tag::Image { dest_url, .. } => {
                self.put_task();
                let target = if self.links.picture(&dest_url).is_some() {
                    // It is shown beside the text.
                    Target::Nothing
                } else {
                    self.links.losses.push(Loss::InlineImage);
                    match self.links.judge(&dest_url.into_string().into()) {
                        Target::Link(href) if self.in_link == 0 && self.depth < DEPTH => {
                            Target::Link(href.into_owned().into())
                        }
                        _ => Target::Nothing,
                    }
                };
                self.image = Some(Image { at: self.out.len(), target, nested: 0 });
            }
            _ => self.open.push(Open { name: "", written: false, link: None }),
        }
    }

    fn mark(&mut self, name: &'static str) {
        self.put_task();
        self.push(name, None);
    }

    fn link(&mut self, kind: LinkType, destination: &str) {
        self.in_link += 1;
        if self.in_link > 1 {
            return self.open.push(Open { name: "a", written: false, link: None });
        }
        let href = if kind == LinkType::Email { format!("mailto:{destination}") } else { destination.to_owned() };
        let target = match self.links.judge(&href.into()) {
            Target::Link(href) => Target::Link(href.into_owned().into()),
            Target::Person(href) => Target::Person(href),
            Target::Shown(href) => Target::Shown(href),
            Target::Nothing => Target::Nothing,
        };
        match &target {
            Target::Link(href) => self.push("a", Some(("href", href))),
            Target::Person(href) => self.push("a", Some(("href", href))),
            Target::Shown(_) | Target::Nothing => self.open.push(Open { name: "a", written: false, link: None }),
        }
        let at = self.out.len();
        if let Some(open) = self.open.last_mut() {
            open.link = Some((at, target));
        }
    }

    fn end(&mut self, tag: TagEnd) {
        if tag == TagEnd::CodeBlock {
            return self.end_code_block();
        }
        let text = self.out.len();
        if matches!(tag, TagEnd::Item | TagEnd::TableCell | TagEnd::Heading(_) | TagEnd::Paragraph) {
            self.put_task();
            self.spoiler = None;
        }
        if tag == TagEnd::Table && self.open.last().is_some_and(|open| open.name == "tbody") {
            self.pop();
        }
        let Some(open) = self.pop() else { return };
        match tag {
            TagEnd::TableHead => {
                self.pop();
            }
            TagEnd::TableCell => self.in_cell = false,
            TagEnd::Link => {
                self.in_link = self.in_link.saturating_sub(1);
                self.end_link(open, text);
            }
            TagEnd::Paragraph
            | TagEnd::Heading(_)
            | TagEnd::BlockQuote(_)
            | TagEnd::HtmlBlock
            | TagEnd::List(_)
            | TagEnd::Item
            | TagEnd::Table => self.out.push('\n'),
            _ => {}
        }
    }

    fn end_link(&mut self, open: Open, end: usize) {
        let Some((start, target)) = open.link else { return };
        let text = self.out.get(start..end).unwrap_or_default();
        let behind = match target {
            Target::Link(href) if open.written && self.links.unmasks() => unmasked(text, &href),
            Target::Shown(href) => {
                let mut shown = String::new();
                escape_into(&href, &mut shown);
                (!text.contains(&shown)).then(|| format!(" ({href})"))
            }
            _ => None,
        };
        self.tell(behind);
    }

    /// Writes what is to be told behind a link, unless it is said anyway.
    fn tell(&mut self, behind: Option<String>) {
        let Some(behind) = behind else { return };
        let next = self.source.get(self.at..).unwrap_or_default().trim_start_matches([' ', '\n', '\\']);
        let told = next.starts_with(behind.trim_start())
            || matches!(self.events.peek(), Some((Event::Text(next), _)) if next.starts_with(&behind));
        if !told {
            escape_into(&behind, &mut self.out);
        }
    }

    // ------------------------------------------------------------------------------------------------------- code

    fn code_block(&mut self, kind: &CodeBlockKind<'_>) {
        let info = match kind {
            CodeBlockKind::Fenced(info) => info.split([' ', ',', '\t']).next().unwrap_or_default(),
            CodeBlockKind::Indented => "",
        };
        let maths = info == "math";
        if maths {
            // Its attribute is the text, which is not known yet.
            self.block("div", None);
        }
        let at = self.out.len();
        self.block("pre", None);
        let class = format!("language-{info}");
        self.push("code", (!maths && is_language(info)).then_some(("class", &class)));
        self.code = Some(Code { at, maths });
    }

    fn end_code_block(&mut self) {
        let Some(code) = self.code.take() else { return };
        self.pop();
        self.pop();
        if code.maths {
            if self.open.last().is_some_and(|open| open.written)
                && let Some(head) = code.at.checked_sub(1)
                && let Some(block) = self.out.get(code.at..)
            {
                let tex = block.strip_prefix("<pre><code>").and_then(|block| block.strip_suffix("</code></pre>"));
                let attribute = format!(" data-mx-maths=\"{}\"", tex.unwrap_or_default().trim().replace('"', "&quot;"));
                self.out.insert_str(head, &attribute);
            }
            self.pop();
        }
        self.out.push('\n');
    }

    fn inline_code(&mut self, text: &str, dollar: bool) {
        self.put_task();
        let next = match self.events.peek() {
            Some((Event::Text(next), range)) if next.starts_with('$') => Some(range.clone()),
            _ => None,
        };
        let closes = next.is_some_and(|range| !self.is_escaped(&range));
        let maths = dollar && closes && !text.trim().is_empty() && self.out.ends_with('$') && self.depth + 1 < DEPTH;
        if maths {
            self.out.pop();
            self.skip_dollar = true;
            self.push("span", Some(("data-mx-maths", text.trim())));
        }
        self.push("code", None);
        escape_into(text, &mut self.out);
        self.pop();
        if maths {
            self.pop();
        }
    }

    // ------------------------------------------------------------------------------------------------------- text

    /// Whether the first character of this text was escaped.
    fn is_escaped(&self, range: &Range<usize>) -> bool {
        range.start.checked_sub(1).and_then(|before| self.source.as_bytes().get(before)) == Some(&b'\\')
            || self.source.as_bytes().get(range.start) == Some(&b'&')
    }

    fn text(&mut self, text: &str, range: &Range<usize>, at_mark: bool) {
        if self.code.is_some() {
            return escape_into(text, &mut self.out);
        }
        self.put_task();
        let escaped = self.is_escaped(range);
        let mut text = text;
        if at_mark {
            text = text.trim_start_matches(GUARD);
        }
        if std::mem::take(&mut self.skip_dollar) {
            text = text.strip_prefix('$').unwrap_or(text);
        }
        if self.events.peek().is_some_and(|(next, _)| is_mark(next)) {
            text = text.trim_end_matches(GUARD);
        }
        self.dollar = text.ends_with('$') && !(escaped && text == "$");
        if !text.contains('|') || self.in_cell {
            return escape_into(text, &mut self.out);
        }
        self.bars(text, escaped);
    }

    /// Text with bars that may be a spoiler's.
    fn bars(&mut self, text: &str, escaped: bool) {
        let mut rest = text;
        if let Some(after) = text.strip_prefix('|').filter(|_| escaped) {
            self.out.push('|');
            rest = after;
        }
        while let Some(at) = rest.find('|') {
            let (before, bars) = rest.split_at(at);
            escape_into(before, &mut self.out);
            let count = bars.bytes().take_while(|byte| *byte == b'|').count();
            let (bars, after) = bars.split_at(count);
            rest = after;
            match count {
                2 => {
                    if self.close_spoiler(after) {
                        rest = after.trim_start_matches(GUARD);
                    } else {
                        rest = self.open_spoiler(after);
                    }
                }
                1 => {
                    let within = self.open.len();
                    if let Some(spoiler) = &mut self.spoiler
                        && spoiler.within == within
                        && spoiler.bar.is_none()
                        && self
                            .out
                            .get(spoiler.at + 2..)
                            .is_some_and(|reason| !reason.is_empty() && !reason.contains('<'))
                    {
                        spoiler.bar = Some(self.out.len());
                        rest = after.trim_start_matches(GUARD);
                    }
                    self.out.push('|');
                }
                _ => self.out.push_str(bars),
            }
        }
        escape_into(rest, &mut self.out);
    }

    /// Writes two bars, which may begin a spoiler; answers what is left of the text.
    fn open_spoiler<'t>(&mut self, after: &'t str) -> &'t str {
        let next = match after.chars().next() {
            Some(next) => !next.is_whitespace(),
            None => matches!(
                self.events.peek(),
                Some((Event::Start(_) | Event::Code(_) | Event::Text(_) | Event::InlineHtml(_), _))
            ),
        };
        let behind_word = self.out.chars().next_back().is_some_and(char::is_alphanumeric);
        let begins = next && !behind_word && self.spoiler.is_none();
        while begins && self.out.ends_with(GUARD) {
            self.out.pop();
        }
        let at = self.out.len();
        self.out.push_str("||");
        if begins {
            self.spoiler = Some(Spoiler { at, within: self.open.len(), bar: None });
            return after.trim_start_matches(GUARD);
        }
        after
    }

    /// Whether the two bars here end a spoiler, which is written then.
    fn close_spoiler(&mut self, after: &str) -> bool {
        let Some(spoiler) = &self.spoiler else { return false };
        let start = spoiler.bar.map_or(spoiler.at + 2, |bar| bar + 1);
        let content = self.out.get(start..).unwrap_or_default();
        let ends = spoiler.within == self.open.len()
            && !content.is_empty()
            && !content.ends_with(char::is_whitespace)
            && !after.starts_with(char::is_alphanumeric);
        if !ends {
            return false;
        }
        let content = content.trim_end_matches(GUARD).to_owned();
        let reason = spoiler.bar.and_then(|bar| self.out.get(spoiler.at + 2..bar)).unwrap_or_default();
        let reason: Vec<&str> = reason.split_ascii_whitespace().collect();
        let reason = reason.join(" ").replace('"', "&quot;");
        let at = spoiler.at;
        self.out.truncate(at);
        let _ = write!(self.out, "<span data-mx-spoiler=\"{reason}\">{content}</span>");
        self.spoiler = None;
        true
    }

    // ------------------------------------------------------------------------------------------------------ images

    /// Within the text of an image only text is of use.
    fn in_image(&mut self, event: &Event<'_>) {
        match event {
            Event::Start(_) => {
                if let Some(image) = &mut self.image {
                    image.nested += 1;
                }
            }
            Event::End(_) => match &mut self.image {
                Some(image) if image.nested > 0 => image.nested -= 1,
                _ => self.end_image(),
            },
            Event::Text(text) | Event::Code(text) | Event::Html(text) | Event::InlineHtml(text) => {
                escape_into(text, &mut self.out);
            }
            Event::SoftBreak | Event::HardBreak => self.out.push(' '),
            _ => {}
        }
    }

    fn end_image(&mut self) {
        let Some(image) = self.image.take() else { return };
        if self.out.get(image.at..).is_none_or(|text| text.trim().is_empty()) {
            self.out.push_str("image");
        }
        if let Target::Link(href) = image.target {
            let mut tag = String::from("<a href=\"");
            escape_attribute(&href, &mut tag);
            tag.push_str("\">");
            let behind = self.out.get(image.at..).and_then(|text| unmasked(text, &href));
            self.out.insert_str(image.at, &tag);
            self.out.push_str("</a>");
            self.tell(behind);
        }
    }
}
