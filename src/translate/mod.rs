//! Matrix event to MIMI content and back, as pure functions.
//!
//! ```text
//!  m.room.message --to_mimi--> MimiContent + losses, or why it is not carried
//!  MimiContent --to_matrix--> m.room.message + losses; what cannot be shown becomes a readable note
//! ```
//!
//! Nothing is lost silently: both directions answer a list of what did not cross.

mod address;
mod charset;
mod display;
pub mod event;
mod events;
mod features;
mod html;
mod language;
mod links;
mod markdown;
pub mod media;
mod previews;
pub mod profile;
mod relation;
mod to_matrix;
mod to_mimi;

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::{
    content::{ContentError, MessageId, MimiContent},
    ident::{RoomUri, UserUri},
};

pub use event::{BadEvent, RoomEvent};
pub use events::{Kind, Live, PRIVATE_EVENT, is_call, is_conference, is_live_info, is_live_place, is_widget};
pub use features::{FEATURES, Feature, Level, feature, room_features, table};
pub use links::{Mentions, Nobody};
pub use previews::without_previews;
pub use relation::{Act, Earlier, Form, Found, NoPast, Past, Refers, Resolved, deletion, named, relate};
pub use to_matrix::to_matrix;
pub use to_mimi::to_mimi;

/// The key in an event's content that says which MIMI message it mirrors. Events that carry it are never mirrored again.
pub const CONTENT_KEY: &str = "im.mimi-gateway.message";
/// The MIMI extension that carries a Matrix `msgtype` other than `m.text`.
pub const MSGTYPE_EXTENSION: &str = "im.matrix.msgtype";
/// The longest event content that is made, in bytes of JSON: the homeserver's limit is 65,536 for the whole event.
pub const MAX_EVENT_CONTENT: usize = 56 * 1024;
/// The greatest number that an event may have: homeservers refuse it otherwise (Matrix, appendix "Canonical JSON").
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What a Matrix event becomes a MIMI message with.
#[derive(Clone, Copy)]
pub struct ToMimi<'a> {
    /// The sender's MIMI URI.
    pub sender: &'a UserUri,
    /// The room's MIMI URI.
    pub room: &'a RoomUri,
    /// Drawn once for this event and stored.
    pub salt: [u8; 16],
    /// `origin_server_ts`, milliseconds since the UNIX epoch.
    pub sent_ts: u64,
    /// The messages of the events that this one refers to ([`named`]).
    pub past: &'a dyn Past,
    /// Who the people are that the message links to.
    pub mentions: &'a dyn Mentions,
    /// Where the Matrix room is found, for those to whom that may be told: an address of the web.
    pub room_link: Option<&'a str>,
}

/// What a MIMI message becomes a Matrix event with.
#[derive(Clone, Copy)]
pub struct ToMatrix<'a> {
    /// The message's id.
    pub message_id: MessageId,
    /// The verified sender.
    pub sender: &'a UserUri,
    /// The room.
    pub room: &'a RoomUri,
    /// Whether the sender's provider is a gateway to Matrix by our settings: its private parts are believed.
    pub from_gateway: bool,
    /// Who the people are that the message links to.
    pub mentions: &'a dyn Mentions,
}

/// A translated Matrix event.
#[derive(Debug, Clone, PartialEq)]
pub struct Translated {
    /// The message, within the size that [`MimiContent::encode`] accepts.
    pub content: MimiContent,
    /// What did not cross, sorted, each once.
    pub losses: Vec<Loss>,
}

/// A translated MIMI message.
#[derive(Debug, Clone, PartialEq)]
pub struct MatrixMessage {
    /// `m.room.message`, or the type of an event that a gateway sent in a private part.
    pub event_type: String,
    /// The event's content as one that stands for itself, at most [`MAX_EVENT_CONTENT`] bytes as JSON.
    pub content: serde_json::Value,
    /// What it refers to: [`relate`] makes of it what is sent.
    pub refers: Refers,
    /// What did not cross, sorted, each once.
    pub losses: Vec<Loss>,
}

impl MatrixMessage {
    /// What it is for those that refer to it, if that is no text or file.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match &self.refers.form {
            Form::Version(own_type, own) | Form::Reference(own_type, own) => {
                Kind::of(own_type, &serde_json::from_str(own).unwrap_or_default())
            }
            _ => Kind::of(&self.event_type, &self.content),
        }
    }
}

/// Something of a message that did not cross.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// The reference to the message answered.
    Reply,
    /// That it replaces an earlier message: it appears as a new one.
    Edit,
    /// The deletion of an earlier message: told, not done.
    Deletion,
    /// The reaction: told as a note.
    Reaction,
    /// The thread or topic.
    Thread,
    /// A mention: its text is kept.
    Mention,
    /// `m.emote`: other clients see `/me`.
    Emote,
    /// That a text is a spoiler: it is marked with a word.
    Spoiler,
    /// When it shall be deleted.
    Expiration,
    /// How long it stays: the room's policy has another time.
    Staying,
    /// A picture within a text: its alternative text is kept.
    InlineImage,
    /// Which event it refers to (a vote without its poll).
    Reference,
    /// A call: it is told, and cannot be joined from outside.
    Call,
    /// Details of a place: whose it is, when they were there.
    Details,
    /// An event of this type is one for Matrix clients behind other gateways; everybody else has its text.
    Private(String),
    /// A link that may not be followed, or is none for the other side: its text is kept.
    Link,
    /// Underlining, super- and subscript, colours: Markdown has no form for them.
    Style,
    /// An arrangement that the other side has no form for: folding, ends of lines in tables and headings, aligned cells.
    Layout,
    /// Content of this media type: a note names it.
    Unsupported(String),
    /// The formatted alternatives: the whole was too long.
    Formatting,
    /// The end of the text: the whole was too long.
    Cut,
    /// That it is a recorded voice: it appears as a sound.
    Voice,
    /// That it is a sticker: it appears as a picture.
    Sticker,
    /// That files belong together: they appear one by one.
    Together,
    /// A small picture of a file.
    Thumbnail,
    /// The steps of a live location between those that are told.
    Live,
    /// The pictures of link previews, or previews that name no link.
    Preview,
    /// That a file is covered: it is an attachment whose description says so.
    Cover,
    /// What is said of a file beyond its name, type, size and length.
    FileDetails,
    /// The name and picture that a message brings along: it is shown under its sender's.
    Profile,
    /// An event of Matrix' own of this type, for which MIMI has no form.
    Event(String),
    /// A message of a MIMI user, sent on as it is.
    Forwarded,
    /// What it says in other languages than the one shown.
    Languages,
    /// The sender's plain text says something else than its formatted text; the plain text was made from the latter.
    Alternatives,
    /// What a client adds to a message under names of its own.
    Fields,
    /// The same, where clients behind other gateways get it.
    Added,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply => f.write_str("which message it answers"),
            Self::Edit => f.write_str("that it replaces an earlier message"),
            Self::Deletion => f.write_str("the deletion of an earlier message"),
            Self::Reaction => f.write_str("the reaction (sent as text)"),
            Self::Thread => f.write_str("the thread"),
            Self::Mention => f.write_str("the mention (its text is kept)"),
            Self::Emote => f.write_str("that it is an emote (sent as /me)"),
            Self::Spoiler => f.write_str("the spoiler's cover"),
            Self::Expiration => f.write_str("when it expires"),
            Self::Staying => f.write_str("how long it stays (the room's policy says that)"),
            Self::InlineImage => f.write_str("an inline image (its description is kept)"),
            Self::Reference => f.write_str("what it refers to"),
            Self::Call => f.write_str("the call itself (told as text)"),
            Self::Details => f.write_str("some details (the text is kept)"),
            Self::Private(event_type) => write!(f, "all but the text of {event_type}, for who is not behind a gateway"),
            Self::Link => f.write_str("a link (its text is kept)"),
            Self::Style => f.write_str("underlining, raised or lowered text, or colours"),
            Self::Layout => f.write_str("some of the layout"),
            Self::Unsupported(media_type) => write!(f, "content of type {media_type}"),
            Self::Formatting => f.write_str("the formatting (too long)"),
            Self::Cut => f.write_str("the end of the text (too long)"),
            Self::Voice => f.write_str("that it is a voice message (sent as a sound)"),
            Self::Sticker => f.write_str("that it is a sticker (sent as a picture)"),
            Self::Together => f.write_str("that the files belong together"),
            Self::Thumbnail => f.write_str("a preview of a file"),
            Self::Live => f.write_str("some steps of a live location"),
            Self::Preview => f.write_str("a picture of a link preview, or a preview"),
            Self::Cover => f.write_str("that a file is covered (its description says so)"),
            Self::FileDetails => f.write_str("some details of a file"),
            Self::Profile => f.write_str("the name that the message brings along"),
            Self::Event(event_type) => write!(f, "events of type {event_type}"),
            Self::Forwarded => f.write_str("a forwarded message of a MIMI user"),
            Self::Languages => f.write_str("what it says in other languages"),
            Self::Added => {
                f.write_str("what an app adds to a message under names of its own, for who is not behind a gateway")
            }
            Self::Fields => f.write_str("what an app adds to a message under names of its own"),
            Self::Alternatives => f.write_str("a plain text that differed from the formatted one"),
        }
    }
}

/// Why an event is not carried at all. Permanent; the sender is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCarried {
    /// This kind of event has no MIMI form yet.
    #[error("events of type {0} are not carried to MIMI")]
    EventType(String),
    /// This kind of message has no MIMI form yet.
    #[error("messages of type {0} are not carried to MIMI")]
    MsgType(String),
    /// It mirrors a MIMI message itself. Nobody is told.
    #[error("the event is itself the mirror of a MIMI message")]
    Mirror,
    /// Redacted, or without text.
    #[error("the message has no text")]
    Empty,
    /// It is about an event that has no MIMI message.
    #[error("what it refers to is no message of the MIMI room")]
    NoTarget,
    /// A new version of a message of another type, which no client shows.
    #[error("a new version of a message has to be of the same type as the message")]
    OtherType,
    /// A field has another type than Matrix says.
    #[error("the field {0} is not what Matrix says")]
    Malformed(&'static str),
    /// Too long even as plain text.
    #[error("the message cannot be written as MIMI content: {0}")]
    Content(#[from] ContentError),
}

/// The essence of a media type: `text/plain;charset=utf-8` is `text/plain`.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Losses in order, each once.
fn tidy(mut losses: Vec<Loss>) -> Vec<Loss> {
    losses.sort();
    losses.dedup();
    losses
}
