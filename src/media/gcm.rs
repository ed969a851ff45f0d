//! AES-GCM over a stream (NIST SP 800-38D, with one nonce of 96 bits and a tag of 128 bits at the end; RFC 5116 sections 5.1 and
//! 5.2): what the one-shot forms do, a chunk at a time, from the same primitives.

use std::fmt;

use aes::{
    Aes128, Aes256, Block,
    cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use ctr::Ctr32BE;
use ghash::{
    GHash,
    universal_hash::{UniversalHash, consts::U16},
};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::{MediaError, Unverified};

/// Bytes of a tag.
pub const TAG_LEN: usize = 16;
/// Bytes of the short tag of AEAD 8 (RFC 5282 section 10.2).
const SHORT_TAG_LEN: usize = 12;
/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// The most bytes that are sealed under one key and nonce (SP 800-38D section 5.2.1.1): then the counter has come round.
pub const MAX_TEXT: u64 = (1 << 36) - 32;

const BLOCK: usize = 16;

enum Counter {
    Aes128(Ctr32BE<Aes128>),
    Aes256(Ctr32BE<Aes256>),
}

impl Counter {
    fn apply(&mut self, text: &mut [u8]) -> Result<(), MediaError> {
        let done = match self {
            Self::Aes128(stream) => stream.try_apply_keystream(text),
            Self::Aes256(stream) => stream.try_apply_keystream(text),
        };
        done.map_err(|_| MediaError::TooLong)
    }
}

/// A universal hash over bytes that do not come in whole blocks.
pub(super) struct Authenticator<H = GHash> {
    hash: H,
    partial: [u8; BLOCK],
    filled: usize,
}

impl<H: UniversalHash<BlockSize = U16>> Authenticator<H> {
    pub(super) fn new(hash: H) -> Self {
        Self { hash, partial: [0; BLOCK], filled: 0 }
    }

    pub(super) fn absorb(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        if self.filled > 0 {
            let (head, tail) = rest.split_at(rest.len().min(BLOCK - self.filled));
            for (to, from) in self.partial.iter_mut().skip(self.filled).zip(head) {
                *to = *from;
            }
            self.filled += head.len();
            if self.filled < BLOCK {
                return;
            }
            self.pad();
            rest = tail;
        }
        let (whole, tail) = rest.split_at(rest.len() - rest.len() % BLOCK);
        self.hash.update_padded(whole);
        for (to, from) in self.partial.iter_mut().zip(tail) {
            *to = *from;
        }
        self.filled = tail.len();
    }

    /// Takes in what waits for its block to be full, with zeros behind it.
    pub(super) fn pad(&mut self) {
        if let Some(waiting) = self.partial.get(..self.filled) {
            self.hash.update_padded(waiting);
        }
        self.filled = 0;
    }
}

impl<H: UniversalHash<BlockSize = U16>> Authenticator<H> {
    pub(super) fn finish(self) -> [u8; TAG_LEN] {
        self.hash.finalize().into()
    }
}

/// The last bytes that came of a sealed stream: they may be its tag.
pub(super) struct Tail(Vec<u8>);

impl Tail {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(2 * TAG_LEN))
    }

    /// Takes the next bytes and adds those to `out` that cannot be the tag any more; where they begin there.
    pub(super) fn pass(&mut self, input: &[u8], out: &mut Unverified) -> usize {
        // Of what is held, what cannot be the tag any more; then of the input, all but its last 16 bytes.
        let from_held = (self.0.len() + input.len()).saturating_sub(TAG_LEN).min(self.0.len());
        let from_input = input.len().saturating_sub(TAG_LEN);
        let start = out.len();
        let (now, later) = input.split_at(from_input);
        out.push(self.0.get(..from_held).unwrap_or_default());
        out.push(now);
        self.0.drain(..from_held);
        self.0.extend_from_slice(later);
        start
    }

    /// Whether it is this tag.
    pub(super) fn check(&self, tag: &[u8]) -> Result<(), MediaError> {
        if bool::from(tag.ct_eq(&self.0)) { Ok(()) } else { Err(MediaError::Tag) }
    }
}

/// Both directions: the counter, the authenticator, and how much there was.
struct Gcm {
    counter: Counter,
    authenticator: Authenticator,
    mask: [u8; BLOCK],
    aad_len: u64,
    text_len: u64,
}

impl Gcm {
    fn new(key: &[u8], nonce: [u8; NONCE_LEN], aad: &[u8]) -> Result<Self, MediaError> {
        let wrong = || MediaError::Key(key.len());
        let mut first = [0; BLOCK];
        for (to, from) in first.iter_mut().zip(nonce.iter().chain(&[0, 0, 0, 1])) {
            *to = *from;
        }
        let mut hash_key = Block::default();
        let counter = if key.len() == 16 {
            Aes128::new_from_slice(key).map_err(|_| wrong())?.encrypt_block(&mut hash_key);
            Counter::Aes128(Ctr32BE::new_from_slices(key, &first).map_err(|_| wrong())?)
        } else {
            Aes256::new_from_slice(key).map_err(|_| wrong())?.encrypt_block(&mut hash_key);
            Counter::Aes256(Ctr32BE::new_from_slices(key, &first).map_err(|_| wrong())?)
        };
        let authenticator = Authenticator::new(GHash::new(&hash_key));
        hash_key.as_mut_slice().zeroize();
        let mut gcm = Self { counter, authenticator, mask: [0; BLOCK], aad_len: aad.len() as u64, text_len: 0 };
        // The first block of the key stream covers the tag.
        gcm.counter.apply(&mut gcm.mask)?;
        gcm.authenticator.absorb(aad);
        gcm.authenticator.pad();
        Ok(gcm)
    }

    /// Counts bytes to come, if there may be so many.
    fn count(&mut self, more: usize) -> Result<(), MediaError> {
        let sum = self.text_len.saturating_add(more as u64);
        if sum > MAX_TEXT {
            return Err(MediaError::TooLong);
        }
        self.text_len = sum;
        Ok(())
    }

    fn seal(&mut self, text: &mut [u8]) -> Result<(), MediaError> {
        self.count(text.len())?;
        self.counter.apply(text)?;
        self.authenticator.absorb(text);
        Ok(())
    }

    fn open(&mut self, text: &mut [u8]) -> Result<(), MediaError> {
        self.count(text.len())?;
        self.authenticator.absorb(text);
        self.counter.apply(text)
    }

    fn tag(mut self) -> [u8; TAG_LEN] {
        self.authenticator.pad();
        let lengths = ((u128::from(self.aad_len) * 8) << 64) | (u128::from(self.text_len) * 8);
        self.authenticator.absorb(&lengths.to_be_bytes());
        let mut tag = self.authenticator.finish();
        for (byte, mask) in tag.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        tag
    }
}

/// Seals a stream with AES-GCM under one nonce.
pub struct GcmSealer(Gcm);

impl GcmSealer {
    /// `key` has 16 or 32 bytes. A key and nonce must never seal twice.
    pub fn new(key: &[u8], nonce: [u8; NONCE_LEN], aad: &[u8]) -> Result<Self, MediaError> {
        Gcm::new(key, nonce, aad).map(Self)
    }

    /// Makes the next bytes of plaintext ciphertext.
    pub fn seal(&mut self, text: &mut [u8]) -> Result<(), MediaError> {
        self.0.seal(text)
    }

    /// The tag, which goes behind the ciphertext.
    #[must_use]
    pub fn finish(self) -> [u8; TAG_LEN] {
        self.0.tag()
    }
}

/// Opens a stream that AES-GCM sealed: its last 16 bytes are the tag.
pub struct GcmOpener {
    gcm: Gcm,
    tail: Tail,
}

impl GcmOpener {
    /// `key` has 16 or 32 bytes.
    pub fn new(key: &[u8], nonce: [u8; NONCE_LEN], aad: &[u8]) -> Result<Self, MediaError> {
        Ok(Self { gcm: Gcm::new(key, nonce, aad)?, tail: Tail::new() })
    }

    /// Takes the next bytes and adds those to `out` that cannot be the tag, opened. They are worth nothing before
    /// [`GcmOpener::finish`] said so.
    pub fn open(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError> {
        let start = self.tail.pass(input, out);
        self.gcm.open(out.since(start))
    }

    /// Whether all of it was sealed under this key and nonce, with this additional data.
    pub fn finish(self) -> Result<(), MediaError> {
        self.tail.check(&self.gcm.tag())
    }

    /// The same where the tag is the first 12 bytes of the usual one: what is not of the tag is added to `out`. A stream of which
    /// `size` bytes (0: not said) came out already has the whole tag: Air writes such.
    pub(super) fn finish_short(mut self, size: u64, out: &mut Unverified) -> Result<(), MediaError> {
        if size > 0 && size == self.gcm.text_len {
            return self.finish();
        }
        let start = out.len();
        let rest = self.tail.0.len().saturating_sub(SHORT_TAG_LEN);
        out.push(self.tail.0.get(..rest).unwrap_or_default());
        self.tail.0.drain(..rest);
        self.gcm.open(out.since(start))?;
        let tag = self.gcm.tag();
        self.tail.check(tag.get(..SHORT_TAG_LEN).unwrap_or_default())
    }
}

impl fmt::Debug for GcmSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GcmSealer({} bytes)", self.0.text_len)
    }
}

impl fmt::Debug for GcmOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GcmOpener({} bytes)", self.gcm.text_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_never_comes_round() {
        let nearly = |left: u64| {
            let mut gcm = Gcm::new(&[1; 16], [2; NONCE_LEN], b"").unwrap();
            gcm.text_len = MAX_TEXT - left;
            gcm
        };
        assert_eq!(MAX_TEXT, 68_719_476_704);
        for left in [0_u64, 1, 16, 17] {
            let mut text = vec![9; usize::try_from(left).unwrap() + 1];
            assert_eq!(nearly(left).seal(&mut text), Err(MediaError::TooLong));
            assert_eq!(nearly(left).open(&mut text), Err(MediaError::TooLong));
            assert!(text.iter().all(|byte| *byte == 9), "nothing was done before the refusal");
            text.pop();
            assert_eq!(nearly(left).seal(&mut text), Ok(()));
        }
    }
}
