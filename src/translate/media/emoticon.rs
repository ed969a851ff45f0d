//! Custom emoji: pictures within the HTML of a text (Client-Server API 1.17, `m.room.message` msgtypes, `data-mx-emoticon`;
//! MSC2545), and the same as inline parts that the HTML refers to (draft-ietf-mimi-content-08 section 4.1, `cid:`).
//!
//! ```text
//!  <img data-mx-emoticon src="mxc://…">  <-->  chooseOne [ singleUnit [ HTML with cid:3@local.invalid, picture … ], Markdown, text ]
//! ```
//!
//! Others who do not show such pictures have their names. A picture that cannot be had in a moment is not waited for: the text has
//! its name, too.

use std::collections::BTreeMap;

use ruma::OwnedMxcUri;
use serde_json::{Map, Value};

use super::{
    super::{
        CONTENT_KEY, MatrixMessage, NotCarried, ToMatrix, ToMimi, Translated, charset, essence, html, to_matrix,
        to_mimi::{self, cid},
    },
    FileSource, Media, MediaFile, MediaInfo, MediaKind, Moved, PartSource, clean_name,
};
use crate::content::{Body, Disposition, ExternalPart, MimiContent, NestedPart, PartSemantics};

/// The most different pictures of one text; further ones are their names.
const MAX_EMOTICONS: usize = 20;
/// The largest picture, in bytes.
pub const MAX_EMOTICON: u64 = 1 << 20;
/// The kinds of pictures that clients show, and what their files begin with.
const PICTURES: [(&str, &[u8]); 4] = [
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/gif", b"GIF8"),
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/webp", b"RIFF"),
];

/// What kind of picture begins like that: Matrix does not say.
#[must_use]
pub fn picture_type(begins: &[u8]) -> Option<&'static str> {
    PICTURES.iter().find(|(_, start)| begins.starts_with(start)).map(|(media_type, _)| *media_type)
}

fn is_picture(media_type: &str) -> bool {
    PICTURES.iter().any(|(known, _)| *known == media_type)
}

/// The pictures of a text message; `None` if it is something else, or has none.
pub(super) fn from_event(event_type: &str, content: &Map<String, Value>) -> Option<Vec<MediaFile<FileSource>>> {
    let text = |key: &str| content.get(key).and_then(Value::as_str);
    let html = text("formatted_body").filter(|html| html.contains("data-mx-emoticon"))?;
    let is_text = event_type == "m.room.message" && matches!(text("msgtype"), Some("m.text" | "m.notice" | "m.emote"));
    if !is_text || text("format") != Some("org.matrix.custom.html") || content.contains_key(CONTENT_KEY) {
        return None;
    }
    let files: Vec<_> = html::emoticons(html)
        .into_iter()
        .filter_map(|(src, name)| {
            let url = OwnedMxcUri::from(src);
            url.is_valid().then(|| file(FileSource::Plain(url), &name, MediaInfo::unknown()))
        })
        .take(MAX_EMOTICONS)
        .collect();
    (!files.is_empty()).then_some(files)
}

fn file<S>(source: S, name: &str, info: MediaInfo) -> MediaFile<S> {
    MediaFile {
        kind: MediaKind::Emoticon,
        source,
        filename: clean_name(name),
        description: String::new(),
        info,
        thumbnail: None,
        voice: None,
        cover: None,
    }
}

/// The message of a text with pictures, of which some were carried.
pub(super) fn to_message(
    event_type: &str,
    content: &Value,
    emoticons: &[MediaFile<FileSource>],
    files: Vec<Moved<ExternalPart>>,
    ctx: &ToMimi<'_>,
) -> Result<Translated, NotCarried> {
    let carried = emoticons.iter().zip(files).filter_map(|(file, moved)| {
        let external = ExternalPart { filename: file.filename.clone(), ..moved.ok()? };
        Some((file.source.url().to_string(), external))
    });
    to_mimi::with_pictures(event_type, content, ctx, &carried.collect::<Vec<_>>())
}

/// A text, and the pictures in it with the numbers of their parts.
struct Unit<'a> {
    text: &'a NestedPart,
    pictures: Vec<(u16, &'a NestedPart)>,
}

/// The alternative of a body that is a text with custom emoji.
fn unit(body: &NestedPart) -> Option<Unit<'_>> {
    let mut index = 1;
    match &body.body {
        Body::Multi { semantics: PartSemantics::ChooseOne, parts } => parts.iter().find_map(|part| {
            let found = match &part.body {
                Body::Multi { semantics: PartSemantics::SingleUnit, parts } => read(parts, index + 1),
                _ => None,
            };
            index += part.walk().count();
            found
        }),
        Body::Multi { semantics: PartSemantics::SingleUnit, parts } => read(parts, index),
        _ => None,
    }
}

/// Parts of which the first has this number.
fn read(parts: &[NestedPart], first: usize) -> Option<Unit<'_>> {
    let (text, rest) = parts.split_first()?;
    let Body::Single { content_type, content } = &text.body else { return None };
    let html = charset::text(content_type, content).filter(|_| essence(content_type) == "text/html")?;
    if !(1..=MAX_EMOTICONS).contains(&rest.len()) || !html.contains("data-mx-emoticon") {
        return None;
    }
    let picture = |(offset, part): (usize, &'_ NestedPart)| {
        let media_type = match &part.body {
            Body::External(external) => &external.content_type,
            Body::Single { content_type, content } if !content.is_empty() => content_type,
            _ => return None,
        };
        let number = u16::try_from(first + 1 + offset).ok()?;
        (is_picture(&essence(media_type)) && html.contains(&cid(number))).then_some(number)
    };
    let numbers: Vec<u16> = rest.iter().enumerate().map(picture).collect::<Option<_>>()?;
    Some(Unit { text, pictures: numbers.into_iter().zip(rest).collect() })
}

/// The pictures of a message that is a text with custom emoji.
pub(super) fn from_message(message: &MimiContent) -> Option<Media<PartSource>> {
    if matches!(message.body.disposition, Disposition::Reaction | Disposition::Profile | Disposition::Icon) {
        return None;
    }
    let picture = |(_, part): (u16, &NestedPart)| match &part.body {
        Body::External(external) => {
            let size = (external.size > 0).then_some(external.size);
            let info = MediaInfo { size, ..MediaInfo::of_type(&external.content_type) };
            Some(file(PartSource::External(external.clone()), &external.filename, info))
        }
        Body::Single { content_type, content } => {
            let info = MediaInfo { size: u64::try_from(content.len()).ok(), ..MediaInfo::of_type(content_type) };
            Some(file(PartSource::Here(content.clone()), "", info))
        }
        _ => None,
    };
    let files = unit(&message.body)?.pictures.into_iter().filter_map(picture).collect();
    Some(Media { files, caption: None, rest: Vec::new(), losses: Vec::new() })
}

/// The event of a text with custom emoji; `None` if it is another message.
pub(super) fn to_event(
    message: &MimiContent,
    files: &[Moved<FileSource>],
    ctx: &ToMatrix<'_>,
) -> Option<MatrixMessage> {
    from_message(message)?;
    let Unit { text, pictures } = unit(&message.body)?;
    let there = pictures.iter().zip(files).filter_map(|((number, _), moved)| match moved {
        Ok(FileSource::Plain(url)) => Some((cid(*number), url.to_string())),
        _ => None,
    });
    let pictures: BTreeMap<String, String> = there.collect();
    let mut flat = message.clone();
    match &mut flat.body.body {
        Body::Multi { semantics: PartSemantics::ChooseOne, parts } => {
            let whole = parts.iter_mut().find(|part| {
                matches!(&part.body, Body::Multi { semantics: PartSemantics::SingleUnit, parts } if parts.first() == Some(text))
            });
            *whole? = text.clone();
        }
        _ => flat.body = text.clone(),
    }
    Some(to_matrix::with_pictures(&flat, ctx, pictures))
}
