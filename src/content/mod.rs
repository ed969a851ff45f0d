//! MIMI content (draft-ietf-mimi-content-08): the message container, its deterministic CBOR, and message ids.
//!
//! ```text
//!  received bytes --scan (bounds, no allocation)--> generic CBOR --> MimiContent     message_id(received bytes)
//!  MimiContent --> generic CBOR, keys sorted --> bytes to send                       message_id(sent bytes)
//! ```
//!
//! A message id is always taken over the octets that were sent or received, never over a re-encoding.

mod cbor;
mod codec;
mod id;
mod json;
mod locate;
mod types;

#[cfg(test)]
mod tests;

pub use cbor::CborError;
pub use ciborium::Value as CborValue;
pub use codec::{ContentError, MAX_BODY_PARTS, MAX_CONTENT_LEN, MAX_PART_DEPTH, MAX_TOPIC_LEN};
pub use id::{MessageId, message_id};
pub use locate::{ContentFault, fault};
pub use types::{
    Body, Disposition, Expiration, ExtensionKey, ExternalPart, MimiContent, NestedPart, PartSemantics, SenderTimestamp,
};

/// The media type of an encoded [`MimiContent`].
pub const MEDIA_TYPE: &str = "application/mimi-content";
/// Plain text, section 6.1 of the draft.
pub const TEXT_PLAIN: &str = "text/plain;charset=utf-8";
/// The Markdown that every MIMI client understands (GFM-MIMI, section 6.1.1).
pub const TEXT_MARKDOWN: &str = "text/markdown;variant=GFM-MIMI";
/// HTML, as in the draft's examples.
pub const TEXT_HTML: &str = "text/html;charset=utf-8";
