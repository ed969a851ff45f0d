//! Pictures, videos, sounds, files, stickers and galleries: what events say of them (Client-Server API 1.17, `m.room.message` and
//! `m.sticker`; MSC4274 galleries, MSC3245 voice messages, MSC2448 blurhashes, MSC2545 custom emoji) and external parts
//! (draft-ietf-mimi-content-08 section 4.5, draft-mahy-mimi-av-metadata-01).
//!
//! ```text
//!  event   --from_event-->   Media<FileSource>   --the files go over--> Media<ExternalPart> --to_message--> MimiContent
//!  MimiContent --from_message--> Media<PartSource> --the files go over--> Media<FileSource> --to_events--> events
//! ```
//!
//! How the files themselves go over is the engine's business, with the pipes of `crate::media`: here are only words.

mod caption;
mod cover;
mod cross;
mod emoticon;
mod event;
mod message;
mod read;

#[cfg(test)]
mod tests;

use ruma::OwnedMxcUri;

use super::Loss;
use crate::{
    content::{AvType, ExternalPart, NestedPart},
    media::{EncryptedFile, FromMatrix},
};

pub use cross::{
    Foreseen, Missing, Moved, accepted, bytes, files_to_matrix, files_to_mimi, foresee, named, on_their_way, with_files,
};
pub use emoticon::{MAX_EMOTICON, picture_type};
pub use event::{from_event, is_media, to_events};
pub use message::to_message;
pub use read::from_message;
pub(crate) use read::is_file;

/// The MIMI extension with what Matrix says of files and MIMI has no field for.
pub const MEDIA_EXTENSION: &str = "im.matrix.media";
/// The most files of one message.
pub const MAX_FILES: usize = 50;
/// The longest file name, in bytes.
const MAX_NAME: usize = 255;
/// The longest blurhash, in bytes: 9 × 9 components.
const MAX_BLURHASH: usize = 166;
/// The most points of a waveform; each is at most 1,024.
const MAX_WAVEFORM: usize = 256;
/// What is said of a file of which nothing is known.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Where a file is in Matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// In the clear.
    Plain(OwnedMxcUri),
    /// Encrypted.
    Encrypted(Box<EncryptedFile>),
}

impl FileSource {
    /// What a pipe has to know of it.
    #[must_use]
    pub fn for_pipe(&self) -> FromMatrix<'_> {
        match self {
            Self::Plain(_) => FromMatrix::Plain,
            Self::Encrypted(file) => FromMatrix::Encrypted(file),
        }
    }

    /// Where its bytes are.
    #[must_use]
    pub fn url(&self) -> &OwnedMxcUri {
        match self {
            Self::Plain(url) => url,
            Self::Encrypted(file) => &file.url,
        }
    }
}

/// Where a file of a MIMI message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartSource {
    /// At a URL.
    External(Box<ExternalPart>),
    /// In the message: these are its bytes.
    Here(Vec<u8>),
}

impl PartSource {
    /// What to call it where its name says too little.
    #[must_use]
    pub fn place(&self) -> &str {
        match self {
            Self::External(external) => &external.url,
            Self::Here(_) => "a part of a message",
        }
    }
}

/// As what a file is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaKind {
    /// `m.image`
    Image,
    /// `m.video`
    Video,
    /// `m.audio`
    Audio,
    /// `m.file`: to be downloaded, whatever it is.
    File,
    /// `m.sticker`
    Sticker,
    /// A picture within a text.
    Emoticon,
}

impl MediaKind {
    fn from_msgtype(msgtype: &str) -> Option<Self> {
        Some(match msgtype {
            "m.image" => Self::Image,
            "m.video" => Self::Video,
            "m.audio" => Self::Audio,
            "m.file" => Self::File,
            _ => return None,
        })
    }

    /// The message's type, or the event's.
    #[must_use]
    pub fn msgtype(self) -> &'static str {
        match self {
            Self::Image | Self::Emoticon => "m.image",
            Self::Video => "m.video",
            Self::Audio => "m.audio",
            Self::File => "m.file",
            Self::Sticker => "m.sticker",
        }
    }

    fn av_type(self) -> Option<AvType> {
        match self {
            Self::Image | Self::Sticker | Self::Emoticon => Some(AvType::Image),
            Self::Video => Some(AvType::Video),
            Self::Audio => Some(AvType::Audio),
            Self::File => None,
        }
    }
}

/// What the sender says of a file. Nothing of it is certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaInfo {
    /// IANA media type without parameters.
    pub media_type: String,
    /// Bytes.
    pub size: Option<u64>,
    /// Pixels.
    pub width: Option<u64>,
    /// Pixels.
    pub height: Option<u64>,
    /// Milliseconds.
    pub duration: Option<u64>,
    /// A blur to show until it is there.
    pub blurhash: Option<String>,
    /// Tags of the languages that it is in, separated by commas; may be empty.
    pub language: String,
}

impl MediaInfo {
    /// Nothing at all: not even a type.
    fn unknown() -> Self {
        Self { media_type: String::new(), ..Self::of_type(UNKNOWN_TYPE) }
    }

    /// Nothing but a type; what is none becomes `application/octet-stream`.
    fn of_type(media_type: &str) -> Self {
        Self {
            media_type: clean_type(media_type),
            size: None,
            width: None,
            height: None,
            duration: None,
            blurhash: None,
            language: String::new(),
        }
    }
}

/// One file of a message; `S` says where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile<S> {
    /// As what it is shown.
    pub kind: MediaKind,
    /// Where it is.
    pub source: S,
    /// Its name: no path, nothing that does not print. Empty if there is none.
    pub filename: String,
    /// What is said of this file alone; may be empty.
    pub description: String,
    /// What is said of it.
    pub info: MediaInfo,
    /// A small picture of it, made by the sender.
    pub thumbnail: Option<(S, MediaInfo)>,
    /// Of a recorded voice: how loud it is, evenly over its time, 0 to 1024. May be empty.
    pub voice: Option<Vec<u16>>,
    /// It is covered until somebody wants to see it, for this reason; empty if nobody says why.
    pub cover: Option<String>,
}

/// A message with files; `S` says where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media<S> {
    /// At least one.
    pub files: Vec<MediaFile<S>>,
    /// What is said with them: texts, each as one or as alternatives of one.
    pub caption: Option<NestedPart>,
    /// Parts that are no files and can only be told of.
    pub rest: Vec<NestedPart>,
    /// What did not cross so far.
    pub losses: Vec<Loss>,
}

impl<S> Media<S> {
    /// All that has to go over: each file, then its thumbnail.
    pub fn sources(&self) -> impl Iterator<Item = &S> {
        self.files
            .iter()
            .flat_map(|file| std::iter::once(&file.source).chain(file.thumbnail.as_ref().map(|(source, _)| source)))
    }

    /// The same with its files elsewhere, in the order of [`Media::sources`]; `None` if these are not as many. A thumbnail that did
    /// not make it is `None`, and left out.
    #[must_use]
    pub fn moved<T>(mut self, places: Vec<Option<T>>) -> Option<Media<T>> {
        let mut places = places.into_iter();
        let mut files = Vec::with_capacity(self.files.len());
        for file in std::mem::take(&mut self.files) {
            let MediaFile { kind, source: _, filename, description, info, thumbnail, voice, cover } = file;
            let source = places.next()??;
            let thumbnail = match thumbnail {
                None => None,
                Some((_, info)) => places.next()?.map(|place| (place, info)),
            };
            files.push(MediaFile { kind, source, filename, description, info, thumbnail, voice, cover });
        }
        let Self { files: _, caption, rest, losses } = self;
        places.next().is_none().then_some(Media { files, caption, rest, losses })
    }
}

/// A file's name without a path before it, on one line, and of bounded length.
fn clean_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    // What reverses the direction of writing hides what a file is.
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut name: String = name.chars().filter(|c| !hidden(*c)).collect();
    name.truncate(name.floor_char_boundary(MAX_NAME));
    if name.trim_matches('.').trim().is_empty() { String::new() } else { name.trim().to_owned() }
}

/// A media type without parameters, in lower case.
fn clean_type(media_type: &str) -> String {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let token = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b);
        (1..=127).contains(&part.len()) && part.bytes().all(plain)
    };
    let two = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    if two { essence } else { UNKNOWN_TYPE.to_owned() }
}

/// A blurhash in its alphabet.
fn clean_blurhash(hash: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"#$%*+,-.:;=?@[]^_{|}~".contains(&b);
    ((6..=MAX_BLURHASH).contains(&hash.len()) && hash.bytes().all(plain)).then(|| hash.to_owned())
}
