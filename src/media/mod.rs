//! Files beside messages, sealed anew in one pass: Matrix's encrypted attachments (Client-Server API 1.17, "Sending encrypted
//! attachments") and MIMI's external parts (draft-ietf-mimi-content-08 section 4.5).
//!
//! ```text
//!  from Matrix  --hash?--AES-CTR?--> plaintext --AES-GCM--hash-->  to MIMI      ToMimi
//!  from MIMI    --hash--AES-GCM?-->  plaintext --AES-CTR?--hash--> to Matrix    ToMatrix
//! ```
//!
//! All is synchronous and pure: keys, nonces and chunks come in, bytes go out, and memory does not grow with the file. What comes
//! out before a pipe has finished is [`Unverified`]: it goes into a spool that shows it to nobody.

mod chacha;
mod file;
mod gcm;
mod hash;
mod pipe;

#[cfg(test)]
mod tests;

use std::fmt;

use zeroize::Zeroize;

use crate::content::ExternalFault;

pub use file::{CtrStream, EncryptedFile, FileFault, FileKey};
pub use gcm::{GcmOpener, GcmSealer, MAX_TEXT, NONCE_LEN, TAG_LEN};
pub use hash::Hasher;
pub use pipe::{AsItIs, FromMatrix, Opened, SealKey, Sealed, ToMatrix, ToMimi};

/// Bytes that are best given to a pipe at once.
pub const CHUNK: usize = 64 * 1024;

/// Why a file cannot be sealed or opened. Permanent for what came: fetching it again helps only if it was changed on its way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Not what was sent: the hash in the message is another one.
    #[error("the file is not the one that was sent: its hash differs")]
    Hash,
    /// Not what was sealed under this key: the tag differs, or there is none.
    #[error("the file does not open with its key")]
    Tag,
    /// Longer than AES-GCM may seal under one nonce.
    #[error("longer than {MAX_TEXT} bytes")]
    TooLong,
    /// A key that is not as long as its algorithm asks for.
    #[error("a key of {0} bytes")]
    Key(usize),
    /// The message does not describe a file that can be fetched.
    #[error(transparent)]
    External(#[from] ExternalFault),
}

/// Bytes that came out of a pipe that has not finished: nobody may see them yet. Wiped when dropped.
#[derive(Default)]
pub struct Unverified(Vec<u8>);

impl Unverified {
    /// None yet, with room for a chunk, its tag, and what the chunk before left.
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::with_capacity(2 * CHUNK + TAG_LEN))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets them and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The bytes, for who keeps them from everybody until the pipe has finished.
    pub(crate) fn spool(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Adds bytes and gives them, to be worked on in place.
    fn push(&mut self, bytes: &[u8]) -> &mut [u8] {
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        self.0.get_mut(start..).unwrap_or_default()
    }

    /// The bytes from `start` on.
    fn since(&mut self, start: usize) -> &mut [u8] {
        self.0.get_mut(start..).unwrap_or_default()
    }
}

impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unverified({} bytes)", self.0.len())
    }
}

impl Drop for Unverified {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A file on its way through: bytes in, other bytes out, and a verdict at the end.
pub trait Pipe {
    /// What is known when all went well.
    type Done;

    /// Takes the next bytes of the file and adds what comes of them to `out`: as many, give or take a tag.
    fn feed(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError>;

    /// The file is complete: adds what is still to come and says whether all of it is what was sent. After an error everything
    /// that came out is worthless.
    fn finish(self, out: &mut Unverified) -> Result<Self::Done, MediaError>;
}
