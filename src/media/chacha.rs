//! ChaCha20-Poly1305 over a stream (RFC 8439 section 2.8), to open what other providers sealed with it.

use std::fmt;

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher, StreamCipherSeek},
};
use poly1305::{Poly1305, universal_hash::KeyInit};
use zeroize::Zeroize;

use super::{
    MediaError, Unverified,
    gcm::{Authenticator, NONCE_LEN, Tail},
};

/// Bytes of a block of the key stream.
const BLOCK: u64 = 64;

/// Opens a stream: its last 16 bytes are the tag.
pub(super) struct ChaChaOpener {
    stream: ChaCha20,
    authenticator: Authenticator<Poly1305>,
    tail: Tail,
    aad_len: u64,
    text_len: u64,
}

impl ChaChaOpener {
    /// `key` has 32 bytes.
    pub(super) fn new(key: &[u8], nonce: [u8; NONCE_LEN], aad: &[u8]) -> Result<Self, MediaError> {
        let mut stream = ChaCha20::new_from_slices(key, &nonce).map_err(|_| MediaError::Key(key.len()))?;
        // The first block of the key stream is the key of the authenticator, and what is left of it.
        let mut once = poly1305::Key::default();
        stream.try_apply_keystream(&mut once).map_err(|_| MediaError::TooLong)?;
        let mut authenticator = Authenticator::new(Poly1305::new(&once));
        once.as_mut_slice().zeroize();
        stream.try_seek(BLOCK).map_err(|_| MediaError::TooLong)?;
        authenticator.absorb(aad);
        authenticator.pad();
        Ok(Self { stream, authenticator, tail: Tail::new(), aad_len: aad.len() as u64, text_len: 0 })
    }

    /// Takes the next bytes and adds those to `out` that cannot be the tag, opened: worth nothing before the end says so.
    pub(super) fn open(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError> {
        let start = self.tail.pass(input, out);
        let text = out.since(start);
        self.text_len += text.len() as u64;
        self.authenticator.absorb(text);
        self.stream.try_apply_keystream(text).map_err(|_| MediaError::TooLong)
    }

    /// Whether all of it was sealed under this key and nonce, with this additional data.
    pub(super) fn finish(mut self) -> Result<(), MediaError> {
        self.authenticator.pad();
        self.authenticator.absorb(&self.aad_len.to_le_bytes());
        self.authenticator.absorb(&self.text_len.to_le_bytes());
        self.tail.check(&self.authenticator.finish())
    }
}

impl fmt::Debug for ChaChaOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChaChaOpener({} bytes)", self.text_len)
    }
}
