//! A cleaned document: only elements, attributes and links that Matrix allows, nested as HTML parsers would nest them.

use std::borrow::Cow;

use super::{
    names::{Dropped, Name, Tag},
    token::{Attributes, Key, Reader, Token},
};
use crate::translate::{
    Loss,
    links::{EVERYBODY, Links, Target, find_everybody},
};

/// Deepest nesting (Client-Server API, `m.room.message` msgtypes). What is deeper loses its own markup.
pub(in crate::translate) const MAX_DEPTH: usize = 100;
/// Elements that a table needs around the text of a cell.
const TABLE_DEPTH: usize = 4;
/// Longest name of a language of code, in bytes.
const LANGUAGE_MAX: usize = 32;

/// Attributes of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::translate) enum Attrs<'a> {
    None,
    /// `a`: where it leads.
    Link(Cow<'a, str>),
    /// `a`: a person.
    Person(String),
    /// `a` that is no link here: its address is shown behind its text.
    Address(String),
    /// `ol`: its first number.
    Start(i32),
    /// `code`: its language.
    Language(Cow<'a, str>),
    /// `span`, `div`.
    Style(Box<Style<'a>>),
    /// `img`
    Picture(Box<Picture<'a>>),
}

/// A custom emoji whose picture was carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::translate) struct Picture<'a> {
    /// Where it is, for who reads the document.
    pub(in crate::translate) src: String,
    /// Its name.
    pub(in crate::translate) alt: Cow<'a, str>,
}

/// Matrix's own attributes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::translate) struct Style<'a> {
    /// The reason may be empty.
    pub(in crate::translate) spoiler: Option<Cow<'a, str>>,
    /// LaTeX.
    pub(in crate::translate) maths: Option<Cow<'a, str>>,
    /// `#rrggbb`
    pub(in crate::translate) color: Option<Cow<'a, str>>,
    /// `#rrggbb`
    pub(in crate::translate) background: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::translate) enum Data<'a> {
    Text(Cow<'a, str>),
    Element(Tag, Attrs<'a>),
}

#[derive(Debug, Clone)]
struct Node<'a> {
    data: Data<'a>,
    parent: u32,
    /// 0 is none: the document is nobody's child.
    first: u32,
    last: u32,
    next: u32,
    /// Something in it can be seen.
    visible: bool,
}

/// A cleaned document.
#[derive(Debug, Clone)]
pub(in crate::translate) struct Document<'a> {
    nodes: Vec<Node<'a>>,
    /// Whether text that lies about its link is told.
    pub(super) unmasks: bool,
}

/// A place in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::translate) struct Id(u32);

impl Id {
    /// The document itself, a `div`.
    pub(in crate::translate) const ROOT: Self = Self(0);
}

impl<'a> Document<'a> {
    /// Cleans HTML.
    pub(in crate::translate) fn read(html: &'a str, links: &mut Links<'_>) -> Self {
        let unmasks = links.unmasks();
        let mut builder = Builder::new(html.len(), links);
        let mut reader = Reader::new(html);
        while let Some(token) = reader.next() {
            builder.take(token, &mut reader.attributes);
        }
        Self { nodes: builder.nodes, unmasks }
    }

    pub(in crate::translate) fn data(&self, id: Id) -> &Data<'a> {
        const NONE: &Data<'static> = &Data::Text(Cow::Borrowed(""));
        self.nodes.get(id.0 as usize).map_or(NONE, |node| &node.data)
    }

    pub(in crate::translate) fn tag(&self, id: Id) -> Option<Tag> {
        match self.data(id) {
            Data::Element(tag, _) => Some(*tag),
            Data::Text(_) => None,
        }
    }

    /// Whether something in it can be seen.
    pub(in crate::translate) fn is_visible(&self, id: Id) -> bool {
        self.nodes.get(id.0 as usize).is_some_and(|node| node.visible)
    }

    /// All text in it; ends of lines are line feeds.
    pub(in crate::translate) fn text(&self, id: Id) -> Cow<'_, str> {
        let mut only = self.children(id);
        if let (Some(child), None) = (only.next(), only.next())
            && let Data::Text(text) = self.data(child)
        {
            return Cow::Borrowed(text);
        }
        let mut out = String::new();
        self.collect(id, &mut out);
        Cow::Owned(out)
    }

    fn collect(&self, id: Id, out: &mut String) {
        for child in self.children(id) {
            match self.data(child) {
                Data::Text(text) => out.push_str(text),
                Data::Element(Tag::Br, _) => out.push('\n'),
                Data::Element(Tag::Img, Attrs::Picture(picture)) => out.push_str(&picture.alt),
                Data::Element(..) => self.collect(child, out),
            }
        }
    }

    pub(in crate::translate) fn next(&self, id: Id) -> Option<Id> {
        self.nodes.get(id.0 as usize).map(|node| node.next).filter(|next| *next != 0).map(Id)
    }

    pub(in crate::translate) fn children(&self, id: Id) -> impl Iterator<Item = Id> {
        let first = self.nodes.get(id.0 as usize).map(|node| node.first).filter(|first| *first != 0).map(Id);
        std::iter::successors(first, |id| self.next(*id))
    }
}

struct Builder<'a, 'l, 'm> {
    nodes: Vec<Node<'a>>,
    /// Open elements, the document first.
    open: Vec<(u32, Tag)>,
    /// Tags that are too deep and still open.
    too_deep: usize,
    /// Within an element that vanishes: which, and how many of them.
    dropped: Option<(Dropped, usize)>,
    links: &'l mut Links<'m>,
}

impl<'a, 'l, 'm> Builder<'a, 'l, 'm> {
    fn new(len: usize, links: &'l mut Links<'m>) -> Self {
        let mut nodes = Vec::with_capacity((len / 16).max(4));
        let data = Data::Element(Tag::Div, Attrs::None);
        nodes.push(Node { data, parent: 0, first: 0, last: 0, next: 0, visible: true });
        let open = Vec::with_capacity(16);
        Self { nodes, open, too_deep: 0, dropped: None, links }
    }

    fn take(&mut self, token: Token<'a>, attributes: &mut Attributes<'a>) {
        if let Some((which, count)) = &mut self.dropped {
            match token {
                Token::Open(Name::Dropped(name)) if name == *which => *count += 1,
                Token::Close(Name::Dropped(name)) if name == *which => *count -= 1,
                _ => {}
            }
            if *count == 0 {
                self.dropped = None;
            }
            return;
        }
        match token {
            Token::Text(text) => self.text(text),
            Token::Open(Name::Known(tag)) => self.open(tag, attributes),
            Token::Open(Name::Font) => {
                for (key, _) in attributes.iter_mut() {
                    if *key == Key::OldColor {
                        *key = Key::Color;
                    }
                }
                self.open(Tag::Span, attributes);
            }
            Token::Open(Name::Image) => self.image(attributes),
            Token::Open(Name::Input) => {
                if value(attributes, Key::Type).is_some_and(|kind| kind.eq_ignore_ascii_case("checkbox")) {
                    let checked = value(attributes, Key::Checked).is_some();
                    self.text(Cow::Borrowed(if checked { "[x] " } else { "[ ] " }));
                }
            }
            Token::Open(Name::Dropped(which @ (Dropped::Reply | Dropped::Template | Dropped::Noscript))) => {
                self.dropped = Some((which, 1));
            }
            Token::Close(Name::Known(tag)) => self.close(tag),
            Token::Close(Name::Font) => self.close(Tag::Span),
            Token::Open(Name::Dropped(_) | Name::Literal(_) | Name::Unknown) | Token::Close(_) => {}
        }
    }

    /// Whether the innermost open element has nothing in it so far.
    fn is_empty(&self) -> bool {
        let id = self.open.last().map_or(0, |(id, _)| *id);
        self.nodes.get(id as usize).is_none_or(|node| node.first == 0)
    }

    fn current(&self) -> Tag {
        self.open.last().map_or(Tag::Div, |(_, tag)| *tag)
    }

    fn text(&mut self, mut text: Cow<'a, str>) {
        // Parsers pass over a line feed at the beginning of a `pre`.
        if self.current() == Tag::Pre && self.is_empty() {
            let kept = text.trim_start_matches('\n');
            if kept.len() < text.len() {
                text = Cow::Owned(kept.to_owned());
            }
        }
        if text.is_empty() {
            return;
        }
        let visible = !text.trim().is_empty();
        if self.current().is_frame() {
            if text.bytes().all(|byte| byte.is_ascii_whitespace()) {
                return;
            }
            self.cell(Tag::Td);
        }
        if self.links.everybody().is_some() {
            return self.ring(text);
        }
        self.append(Data::Text(text), visible);
    }

    /// A text in which everybody may be mentioned.
    fn ring(&mut self, text: Cow<'a, str>) {
        let literal = self.open.iter().any(|(_, tag)| matches!(tag, Tag::A | Tag::Code | Tag::Pre));
        let mut rest = text;
        while let Some(room) = self.links.everybody()
            && let Some(at) = find_everybody(&rest).filter(|_| !literal && self.open.len() < MAX_DEPTH)
        {
            let (before, behind) = split(&rest, at);
            let (name, behind) = split(&behind, EVERYBODY.len());
            if !before.is_empty() {
                let visible = !before.trim().is_empty();
                self.append(Data::Text(before), visible);
            }
            self.push(Tag::A, Attrs::Person(room.as_str().to_owned()));
            self.append(Data::Text(name), true);
            self.open.pop();
            self.links.rang = true;
            rest = behind;
        }
        if !rest.is_empty() {
            let visible = !rest.trim().is_empty();
            self.append(Data::Text(rest), visible);
        }
    }

    /// Adds a child to the innermost open element.
    fn append(&mut self, data: Data<'a>, visible: bool) -> u32 {
        // One byte of HTML makes five nodes at most.
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let parent = self.open.last().map_or(0, |(id, _)| *id);
        self.nodes.push(Node { data, parent, first: 0, last: 0, next: 0, visible });
        let before = self.nodes.get_mut(parent as usize).map(|node| {
            if node.first == 0 {
                node.first = id;
            }
            std::mem::replace(&mut node.last, id)
        });
        if let Some(before) = before.filter(|before| *before != 0)
            && let Some(node) = self.nodes.get_mut(before as usize)
        {
            node.next = id;
        }
        let mut shown = visible.then_some(parent);
        while let Some(node) = shown.and_then(|id| self.nodes.get_mut(id as usize)).filter(|node| !node.visible) {
            node.visible = true;
            shown = Some(node.parent);
        }
        id
    }

    fn push(&mut self, tag: Tag, attrs: Attrs<'a>) {
        let maths =
            matches!(&attrs, Attrs::Style(style) if style.maths.as_ref().is_some_and(|tex| !tex.trim().is_empty()));
        let id = self.append(Data::Element(tag, attrs), maths);
        self.open.push((id, tag));
    }

    /// Closes the innermost open element that fits, and those within it; looks no further than `stop`.
    fn close_to(&mut self, fits: impl Fn(Tag) -> bool, stop: impl Fn(Tag) -> bool) -> bool {
        let found = self.open.iter().rposition(|(_, tag)| fits(*tag) || stop(*tag));
        match found.and_then(|at| Some((at, self.open.get(at)?.1))) {
            Some((at, tag)) if fits(tag) => {
                self.open.truncate(at);
                true
            }
            _ => false,
        }
    }

    fn close(&mut self, tag: Tag) {
        if self.too_deep > 0 && !matches!(tag, Tag::Br | Tag::Hr) {
            self.too_deep -= 1;
            return;
        }
        match tag {
            Tag::Br => self.open(tag, &mut Vec::new()),
            Tag::Table => {
                self.close_to(|tag| tag == Tag::Table, |_| false);
            }
            Tag::Heading(_) => {
                self.close_to(|tag| matches!(tag, Tag::Heading(_)), |tag| tag.is_cell() || tag.is_frame());
            }
            Tag::Td | Tag::Th | Tag::Caption | Tag::Tr | Tag::Thead | Tag::Tbody => {
                self.close_to(|open| open == tag, |tag| tag == Tag::Table);
            }
            _ => {
                self.close_to(|open| open == tag, |tag| tag.is_cell() || tag.is_frame());
            }
        }
    }

    /// Makes a place for a cell, and opens it.
    fn cell(&mut self, tag: Tag) {
        let row = self.open.iter().rposition(|(_, tag)| matches!(tag, Tag::Tr | Tag::Table));
        match row.and_then(|at| Some((at, self.open.get(at)?.1))) {
            Some((at, Tag::Tr)) => self.open.truncate(at + 1),
            _ => self.row(),
        }
        self.push(tag, Attrs::None);
    }

    fn row(&mut self) {
        let body = self.open.iter().rposition(|(_, tag)| matches!(tag, Tag::Thead | Tag::Tbody | Tag::Table));
        match body.and_then(|at| Some((at, self.open.get(at)?.1))) {
            Some((at, Tag::Table)) => {
                self.open.truncate(at + 1);
                self.push(Tag::Tbody, Attrs::None);
            }
            Some((at, _)) => self.open.truncate(at + 1),
            None => {}
        }
        self.push(Tag::Tr, Attrs::None);
    }

    fn open(&mut self, tag: Tag, attributes: &mut Attributes<'a>) {
        if matches!(tag, Tag::Caption | Tag::Thead | Tag::Tbody | Tag::Tr | Tag::Td | Tag::Th) {
            let Some(table) = self.open.iter().rposition(|(_, tag)| *tag == Tag::Table) else { return };
            self.too_deep = 0;
            match tag {
                Tag::Td | Tag::Th => self.cell(tag),
                Tag::Tr => self.row(),
                _ => {
                    self.open.truncate(table + 1);
                    self.push(tag, Attrs::None);
                }
            }
            return;
        }
        if self.current().is_frame() {
            self.cell(Tag::Td);
        }
        if tag == Tag::Li {
            // An item ends the one before it, unless it is in a list within that.
            let special = |tag: Tag| (tag.is_block() && !matches!(tag, Tag::P | Tag::Div | Tag::Li)) || tag.is_cell();
            self.close_to(|tag| tag == Tag::Li, special);
        }
        if tag.is_block() {
            self.close_to(|tag| tag == Tag::P, |tag| tag.is_cell() || tag.is_frame());
        }
        match tag {
            Tag::Br | Tag::Hr => {
                self.append(Data::Element(tag, Attrs::None), tag == Tag::Hr);
                return;
            }
            Tag::Heading(_) if matches!(self.current(), Tag::Heading(_)) => {
                self.open.pop();
            }
            // Links are not nested: one ends the other, unless it holds more than text so far.
            Tag::A if self.open.iter().any(|(_, tag)| *tag == Tag::A) => {
                let block = |tag: Tag| tag.is_block() || tag.is_cell() || tag.is_frame();
                if !self.close_to(|tag| tag == Tag::A, block) {
                    return;
                }
            }
            _ => {}
        }
        let room = if tag == Tag::Table { MAX_DEPTH - TABLE_DEPTH } else { MAX_DEPTH };
        if self.open.len() >= room {
            self.too_deep += 1;
            return;
        }
        let Some(attrs) = self.attrs(tag, attributes) else { return };
        self.push(tag, attrs);
    }

    /// The attributes that are allowed; `None` for a link without any use.
    fn attrs(&mut self, tag: Tag, attributes: &mut Attributes<'a>) -> Option<Attrs<'a>> {
        Some(match tag {
            Tag::A => match self.links.judge(value(attributes, Key::Href)?) {
                Target::Link(href) => Attrs::Link(href),
                Target::Person(href) => Attrs::Person(href),
                Target::Shown(href) => Attrs::Address(href),
                Target::Nothing => return None,
            },
            Tag::Ol => match value(attributes, Key::Start).and_then(|start| start.trim().parse().ok()) {
                None | Some(1) => Attrs::None,
                Some(start) => Attrs::Start(start),
            },
            Tag::Code => language(attributes).map_or(Attrs::None, Attrs::Language),
            Tag::Span | Tag::Div => {
                let mut style = Style::default();
                for (key, value) in attributes.drain(..) {
                    match key {
                        Key::Spoiler if tag == Tag::Span => style.spoiler = Some(value),
                        Key::Maths => style.maths = Some(value),
                        Key::Color if tag == Tag::Span && is_color(&value) => style.color = Some(value),
                        Key::BackgroundColor if tag == Tag::Span && is_color(&value) => style.background = Some(value),
                        _ => {}
                    }
                }
                if style == Style::default() { Attrs::None } else { Attrs::Style(Box::new(style)) }
            }
            _ => Attrs::None,
        })
    }

    /// Pictures are never fetched: a link to one on the web, otherwise its text. Custom emoji that were carried are shown.
    fn image(&mut self, attributes: &Attributes<'a>) {
        let named = value(attributes, Key::Src).and_then(|src| self.links.picture(src));
        let is_beside = named.as_ref().is_some_and(String::is_empty);
        let carried = named.filter(|_| !is_beside && value(attributes, Key::Emoticon).is_some());
        if carried.is_none() && !is_beside {
            self.links.losses.push(Loss::InlineImage);
        }
        let text = [Key::Alt, Key::Title].into_iter().filter_map(|key| value(attributes, key));
        let text = text.filter(|text| !text.trim().is_empty()).map(Cow::clone).next();
        let text = text.unwrap_or(Cow::Borrowed("image"));
        if let Some(src) = carried {
            if self.current().is_frame() {
                self.cell(Tag::Td);
            }
            self.append(Data::Element(Tag::Img, Attrs::Picture(Box::new(Picture { src, alt: text }))), true);
            return;
        }
        let remote = value(attributes, Key::Src).filter(|src| {
            let web = |scheme: &str| src.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
            web("https://") || web("http://")
        });
        let nested = self.open.iter().any(|(_, tag)| *tag == Tag::A) || self.open.len() + TABLE_DEPTH >= MAX_DEPTH;
        match remote.filter(|_| !nested) {
            Some(src) => {
                let mut link: Attributes<'a> = vec![(Key::Href, src.clone())];
                let depth = self.too_deep;
                self.open(Tag::A, &mut link);
                self.text(text);
                if self.too_deep == depth && self.current() == Tag::A {
                    self.open.pop();
                }
            }
            None => self.text(text),
        }
    }
}

fn split<'a>(text: &Cow<'a, str>, at: usize) -> (Cow<'a, str>, Cow<'a, str>) {
    match text {
        Cow::Borrowed(text) => {
            let (before, behind) = text.split_at_checked(at).unwrap_or((text, ""));
            (Cow::Borrowed(before), Cow::Borrowed(behind))
        }
        Cow::Owned(text) => {
            let (before, behind) = text.split_at_checked(at).unwrap_or((text, ""));
            (Cow::Owned(before.to_owned()), Cow::Owned(behind.to_owned()))
        }
    }
}

fn value<'v, 'a>(attributes: &'v Attributes<'a>, key: Key) -> Option<&'v Cow<'a, str>> {
    attributes.iter().find(|(other, _)| *other == key).map(|(_, value)| value)
}

fn is_color(value: &str) -> bool {
    value.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether this can be the name of a language of code.
pub(in crate::translate) fn is_language(name: &str) -> bool {
    (1..=LANGUAGE_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.#_".contains(&byte))
}

fn language<'a>(attributes: &Attributes<'a>) -> Option<Cow<'a, str>> {
    fn of(class: &str) -> Option<&str> {
        let mut names = class.split_ascii_whitespace().filter_map(|class| class.strip_prefix("language-"));
        names.find(|name| is_language(name))
    }
    match value(attributes, Key::Class)? {
        Cow::Borrowed(class) => of(class).map(Cow::Borrowed),
        Cow::Owned(class) => of(class).map(|name| Cow::Owned(name.to_owned())),
    }
}
