//! Message ids (draft-ietf-mimi-content-08 section 3.3).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ident::{RoomUri, UserUri};

/// The id of a message: the hash algorithm's number (0x01, SHA-256), then 31 bytes of the hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub [u8; 32]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Derives a message's id from its octets as sent or received (never from a re-encoding), its salt, and the URIs of sender
/// and room.
#[must_use]
pub fn message_id(sender: &UserUri, room: &RoomUri, content: &[u8], salt: &[u8; 16]) -> MessageId {
    let mut hash = Sha256::new();
    for uri in [sender.as_str(), room.as_str()] {
        // A MIMI URI is at most 2,048 bytes long (MimiUri::MAX_LEN), so the length always fits.
        hash.update(u16::try_from(uri.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(uri.as_bytes());
    }
    hash.update(content);
    hash.update(salt);
    let digest = hash.finalize();
    let mut id = [0x01; 32];
    for (to, from) in id.iter_mut().skip(1).zip(digest) {
        *to = from;
    }
    MessageId(id)
}
