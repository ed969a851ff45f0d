//! The elements that Matrix allows (Client-Server API, `m.room.message` msgtypes), and which others are of use.

/// An element of a cleaned document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::translate) enum Tag {
    A,
    B,
    Blockquote,
    Br,
    Caption,
    Code,
    Del,
    Details,
    Div,
    Em,
    /// `h1` to `h6`.
    Heading(u8),
    Hr,
    I,
    /// Only of pictures that were carried.
    Img,
    Li,
    Ol,
    P,
    Pre,
    S,
    Span,
    Strong,
    Sub,
    Summary,
    Sup,
    Table,
    Tbody,
    Td,
    Th,
    Thead,
    Tr,
    U,
    Ul,
}

impl Tag {
    pub(in crate::translate) fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Blockquote => "blockquote",
            Self::Br => "br",
            Self::Caption => "caption",
            Self::Code => "code",
            Self::Del => "del",
            Self::Details => "details",
            Self::Div => "div",
            Self::Em => "em",
            Self::Heading(1) => "h1",
            Self::Heading(2) => "h2",
            Self::Heading(3) => "h3",
            Self::Heading(4) => "h4",
            Self::Heading(5) => "h5",
            Self::Heading(_) => "h6",
            Self::Hr => "hr",
            Self::I => "i",
            Self::Img => "img",
            Self::Li => "li",
            Self::Ol => "ol",
            Self::P => "p",
            Self::Pre => "pre",
            Self::S => "s",
            Self::Span => "span",
            Self::Strong => "strong",
            Self::Sub => "sub",
            Self::Summary => "summary",
            Self::Sup => "sup",
            Self::Table => "table",
            Self::Tbody => "tbody",
            Self::Td => "td",
            Self::Th => "th",
            Self::Thead => "thead",
            Self::Tr => "tr",
            Self::U => "u",
            Self::Ul => "ul",
        }
    }

    /// Begins a block: a paragraph cannot hold it.
    pub(in crate::translate) fn is_block(self) -> bool {
        matches!(
            self,
            Self::Blockquote
                | Self::Details
                | Self::Div
                | Self::Heading(_)
                | Self::Hr
                | Self::Li
                | Self::Ol
                | Self::P
                | Self::Pre
                | Self::Summary
                | Self::Table
                | Self::Ul
        )
    }

    /// Elements of a table around its cells.
    pub(super) fn is_frame(self) -> bool {
        matches!(self, Self::Table | Self::Thead | Self::Tbody | Self::Tr)
    }

    /// Elements that closing tags do not reach out of.
    pub(super) fn is_cell(self) -> bool {
        matches!(self, Self::Td | Self::Th | Self::Caption)
    }
}

/// What a tag of strangers is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    /// Allowed, or written as one that is.
    Known(Tag),
    /// The old way to colour text: a `span` here.
    Font,
    /// Only its text is of use.
    Image,
    /// A check box becomes text.
    Input,
    /// Vanishes with all that is in it.
    Dropped(Dropped),
    /// Holds text without tags: kept.
    Literal(&'static str),
    /// Any other: its content is kept.
    Unknown,
}

/// Elements that vanish with their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// Holds text up to the closing tag of this name, whatever it looks like.
    Raw(&'static str),
    /// Holds elements: the quotation that old clients put before replies.
    Reply,
    Template,
    Noscript,
}

/// Reads a tag's name, in any case.
pub(super) fn name(raw: &str) -> Name {
    let mut lower = [0_u8; 10];
    let Some(lower) = lower.get_mut(..raw.len()) else { return Name::Unknown };
    for (small, byte) in lower.iter_mut().zip(raw.bytes()) {
        *small = byte.to_ascii_lowercase();
    }
    Name::Known(match &*lower {
        b"a" => Tag::A,
        b"b" => Tag::B,
        b"blockquote" => Tag::Blockquote,
        b"br" => Tag::Br,
        b"caption" => Tag::Caption,
        b"code" | b"tt" | b"kbd" | b"samp" => Tag::Code,
        b"del" | b"strike" => Tag::Del,
        b"details" => Tag::Details,
        b"div" => Tag::Div,
        b"em" => Tag::Em,
        b"h1" => Tag::Heading(1),
        b"h2" => Tag::Heading(2),
        b"h3" => Tag::Heading(3),
        b"h4" => Tag::Heading(4),
        b"h5" => Tag::Heading(5),
        b"h6" => Tag::Heading(6),
        b"hr" => Tag::Hr,
        b"i" => Tag::I,
        b"li" => Tag::Li,
        b"ol" => Tag::Ol,
        b"p" => Tag::P,
        b"pre" => Tag::Pre,
        b"s" => Tag::S,
        b"span" => Tag::Span,
        b"strong" => Tag::Strong,
        b"sub" => Tag::Sub,
        b"summary" => Tag::Summary,
        b"sup" => Tag::Sup,
        b"table" => Tag::Table,
        b"tbody" | b"tfoot" => Tag::Tbody,
        b"td" => Tag::Td,
        b"th" => Tag::Th,
        b"thead" => Tag::Thead,
        b"tr" => Tag::Tr,
        b"u" => Tag::U,
        b"ul" => Tag::Ul,
        b"font" => return Name::Font,
        b"img" => return Name::Image,
        b"input" => return Name::Input,
        b"mx-reply" => return Name::Dropped(Dropped::Reply),
        b"template" => return Name::Dropped(Dropped::Template),
        b"noscript" => return Name::Dropped(Dropped::Noscript),
        b"script" => return Name::Dropped(Dropped::Raw("script")),
        b"style" => return Name::Dropped(Dropped::Raw("style")),
        b"title" => return Name::Dropped(Dropped::Raw("title")),
        b"iframe" => return Name::Dropped(Dropped::Raw("iframe")),
        b"noembed" => return Name::Dropped(Dropped::Raw("noembed")),
        b"noframes" => return Name::Dropped(Dropped::Raw("noframes")),
        b"textarea" => return Name::Literal("textarea"),
        b"xmp" => return Name::Literal("xmp"),
        _ => return Name::Unknown,
    })
}
