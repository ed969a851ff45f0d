//! Message ids (draft-ietf-mimi-content-08 section 3.3).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ident::{RoomUri, UserUri};

/// The id of a message: the hash algorithm's number (0x01, SHA-256), then 31 bytes of the hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub [u8; 32]);

impl MessageId {
    /// Whether it says that it is a SHA-256 hash; no other algorithm is known.
    #[must_use]
    pub fn is_sha256(&self) -> bool {
        let [algorithm, ..] = self.0;
        algorithm == SHA_256
    }
}

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

/// The number of SHA-256 in IANA's registry of named information hash algorithms.
const SHA_256: u8 = 0x01;

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
    finish(hash, content, salt)
}

/// The id that draft-ietf-mimi-content-07 gave a message: without the lengths. Peers of that age refer to messages by it; it
/// is an alias to look one up by, and never anything else.
#[must_use]
pub fn message_id_v07(sender: &UserUri, room: &RoomUri, content: &[u8], salt: &[u8; 16]) -> MessageId {
    let mut hash = Sha256::new();
    hash.update(sender.as_str().as_bytes());
    hash.update(room.as_str().as_bytes());
    finish(hash, content, salt)
}

/// The salt of an encoded message: the first thing in it (section 4.1).
#[must_use]
pub fn salt_of(content: &[u8]) -> Option<[u8; 16]> {
    // An array of seven, 16 bytes.
    content.strip_prefix(&[0x87, 0x50])?.first_chunk().copied()
}

fn finish(mut hash: Sha256, content: &[u8], salt: &[u8; 16]) -> MessageId {
    hash.update(content);
    hash.update(salt);
    let digest = hash.finalize();
    let mut id = [SHA_256; 32];
    for (to, from) in id.iter_mut().skip(1).zip(digest) {
        *to = from;
    }
    MessageId(id)
}
