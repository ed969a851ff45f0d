//! MIMI content (draft-ietf-mimi-content-08): the message container, its deterministic CBOR, message ids, and what other
//! drafts add: extensions, and message status reports (draft-mahy-mimi-message-status-01).
//!
//! ```text
//!  received bytes --decode (bounds before memory)--> MimiContent, or the field and byte at fault     message_id(received bytes)
//!  MimiContent --encode (keys sorted, shortest forms)--> bytes to send                               message_id(sent bytes)
//! ```
//!
//! A message id is always taken over the octets that were sent or received, never over a re-encoding.

mod cbor;
mod codec;
mod derived;
mod extensions;
mod external;
mod fault;
mod id;
mod json;
mod parts;
mod plausible;
mod status;
mod types;
mod value;

#[cfg(test)]
mod tests;

pub use cbor::CborError;
pub use codec::{MAX_BODY_PARTS, MAX_CONTENT_LEN, MAX_PART_DEPTH, MAX_RECEIVED_LEN, MAX_TOPIC_LEN, is_deterministic};
pub use derived::{DerivedValues, Timestamp};
pub use extensions::{
    AvMetadata, AvType, ExtensionKey, ExternalMessageId, IdScope, LastSeen, MAX_LAST_SEEN, MAX_SUBJECT_LEN,
    SenderTimestamp,
};
pub use external::{Aead, ExternalFault, ExternalPart, HashAlgorithm};
pub use fault::{ContentError, ContentFault};
pub use id::{MessageId, message_id, message_id_v07, salt_of};
pub use parts::{Walk, content_id, content_id_index};
pub use plausible::Implausible;
pub use status::{MessageStatus, MessageStatusReport, Payload, PerMessageStatus};
pub use types::{Body, Disposition, Expiration, MimiContent, NestedPart, PartSemantics};
pub use value::CborValue;

/// The media type of an encoded [`MimiContent`].
pub const MEDIA_TYPE: &str = "application/mimi-content";
/// The media type of an encoded [`MessageStatusReport`].
pub const STATUS_MEDIA_TYPE: &str = "application/mimi-message-status";
/// Plain text, section 6.1 of the draft.
pub const TEXT_PLAIN: &str = "text/plain;charset=utf-8";
/// The Markdown that every MIMI client understands (GFM-MIMI, section 6.1.1).
pub const TEXT_MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";
/// HTML, as in the draft's examples.
pub const TEXT_HTML: &str = "text/html;charset=utf-8";
