//! The parts of a MIMI content message (draft-ietf-mimi-content-08 section 4).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    extensions::ExtensionKey,
    external::ExternalPart,
    fault::ContentError,
    id::{MessageId, message_id},
    value::CborValue,
};
use crate::ident::{RoomUri, UserUri};

/// One message: text, an edit, a reaction, an attachment ... (section 4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MimiContent {
    /// Random, drawn once and stored: the message id depends on it.
    #[serde(with = "super::json::salt")]
    pub salt: [u8; 16],
    /// The message that this one edits or deletes.
    #[serde(with = "super::json::reference")]
    pub replaces: Option<MessageId>,
    /// Groups messages; empty for none. At most [`MAX_TOPIC_LEN`](super::MAX_TOPIC_LEN) bytes.
    #[serde(with = "super::json::text_or_hex")]
    pub topic_id: Vec<u8>,
    /// When receivers shall delete it.
    pub expires: Option<Expiration>,
    /// The message that this one answers or reacts to.
    #[serde(with = "super::json::reference")]
    pub in_reply_to: Option<MessageId>,
    /// Extension fields; no value is looked at except those that have a method.
    #[serde(with = "super::json::extensions")]
    pub extensions: BTreeMap<ExtensionKey, CborValue>,
    /// What is shown.
    pub body: NestedPart,
}

/// When a message shall be deleted (section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Expiration {
    /// Seconds after the receiver read it.
    AfterReading(u32),
    /// Seconds since the UNIX epoch.
    At(u32),
}

/// The intended use of a part (section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum Disposition {
    /// 0
    Unspecified,
    /// 1: shown according to local policy.
    Render,
    /// 2: a reaction to the message answered.
    Reaction,
    /// 3: about the sender.
    Profile,
    /// 4: shown in the chat.
    Inline,
    /// 5: an avatar.
    Icon,
    /// 6: to be downloaded.
    Attachment,
    /// 7: a call.
    Session,
    /// 8: a preview made by the sender.
    Preview,
    /// 9 to 255: to be treated as `Render`.
    Unknown(u8),
}

impl Expiration {
    /// When the message is to be deleted, milliseconds since the UNIX epoch, if it was read at `read` in the same measure.
    #[must_use]
    pub fn deadline(self, read: u64) -> u64 {
        match self {
            Self::At(time) => u64::from(time) * 1000,
            Self::AfterReading(seconds) => read.saturating_add(u64::from(seconds) * 1000),
        }
    }
}

impl Disposition {
    /// The registered number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::Render => 1,
            Self::Reaction => 2,
            Self::Profile => 3,
            Self::Inline => 4,
            Self::Icon => 5,
            Self::Attachment => 6,
            Self::Session => 7,
            Self::Preview => 8,
            Self::Unknown(code) => code,
        }
    }
}

impl From<Disposition> for u8 {
    fn from(disposition: Disposition) -> Self {
        disposition.code()
    }
}

impl From<u8> for Disposition {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Unspecified,
            1 => Self::Render,
            2 => Self::Reaction,
            3 => Self::Profile,
            4 => Self::Inline,
            5 => Self::Icon,
            6 => Self::Attachment,
            7 => Self::Session,
            8 => Self::Preview,
            other => Self::Unknown(other),
        }
    }
}

/// A body part with its purpose and language.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NestedPart {
    /// The intended use.
    pub disposition: Disposition,
    /// Comma-separated language tags, or empty.
    pub language: String,
    /// What it holds.
    pub body: Body,
}

impl NestedPart {
    /// A part to be shown, without language.
    #[must_use]
    pub fn render(body: Body) -> Self {
        Self { disposition: Disposition::Render, language: String::new(), body }
    }
    /// Inline text to be shown.
    #[must_use]
    pub fn text(content_type: &str, text: &str) -> Self {
        Self::render(Body::Single { content_type: content_type.to_owned(), content: text.as_bytes().to_vec() })
    }
}

/// What a part holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Body {
    /// Nothing: deletes what `replaces` names.
    Null,
    /// Content carried in the message.
    Single {
        /// IANA media type with parameters.
        #[serde(rename = "contentType")]
        content_type: String,
        /// The content.
        #[serde(with = "super::json::text_or_hex")]
        content: Vec<u8>,
    },
    /// Content at a URL.
    External(Box<ExternalPart>),
    /// Two or more parts.
    Multi {
        /// How they belong together.
        #[serde(rename = "partSemantics")]
        semantics: PartSemantics,
        /// The parts.
        parts: Vec<NestedPart>,
    },
}

/// How the parts of a multi-part belong together (section 4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PartSemantics {
    /// 0: the receiver picks exactly one.
    ChooseOne,
    /// 1: all or nothing.
    SingleUnit,
    /// 2: as many as the receiver can.
    ProcessAll,
}

impl MimiContent {
    /// A new message without relations, marked with sender and room (extensions 1 and 2).
    #[must_use]
    pub fn new(salt: [u8; 16], sender: &UserUri, room: &RoomUri, body: NestedPart) -> Self {
        let extensions = BTreeMap::from([
            (ExtensionKey::SENDER_URI, CborValue::Text(sender.as_str().to_owned())),
            (ExtensionKey::ROOM_URI, CborValue::Text(room.as_str().to_owned())),
        ]);
        Self { salt, replaces: None, topic_id: vec![], expires: None, in_reply_to: None, extensions, body }
    }

    /// The sender URI that the message carries, as received.
    #[must_use]
    pub fn sender_uri(&self) -> Option<&str> {
        self.extensions.get(&ExtensionKey::SENDER_URI)?.as_text()
    }

    /// The room URI that the message carries, as received.
    #[must_use]
    pub fn room_uri(&self) -> Option<&str> {
        self.extensions.get(&ExtensionKey::ROOM_URI)?.as_text()
    }

    /// Refuses a message that names another sender or room than the MLS credential and the room it came through.
    pub fn check_origin(&self, sender: &UserUri, room: &RoomUri) -> Result<(), ContentError> {
        let agrees = |key: &ExtensionKey, expected: &str| {
            self.extensions.get(key).is_none_or(|value| value.as_text() == Some(expected))
        };
        if !agrees(&ExtensionKey::SENDER_URI, sender.as_str()) {
            return Err(ContentError::Origin("sender"));
        }
        if !agrees(&ExtensionKey::ROOM_URI, room.as_str()) {
            return Err(ContentError::Origin("room"));
        }
        Ok(())
    }

    /// Encodes the message and derives its id from the bytes.
    pub fn encode_with_id(&self, sender: &UserUri, room: &RoomUri) -> Result<(Vec<u8>, MessageId), ContentError> {
        let bytes = self.encode()?;
        let id = message_id(sender, room, &bytes, &self.salt);
        Ok((bytes, id))
    }
}
