//! The pipes: a file of Matrix becomes an asset of MIMI in one pass, and the way back.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    MediaError, Pipe, TAG_LEN, Unverified,
    chacha::ChaChaOpener,
    file::{CtrStream, EncryptedFile, FileKey},
    gcm::{GcmOpener, GcmSealer, NONCE_LEN},
    hash::Hasher,
};
use crate::content::{Aead, ExternalPart, HashAlgorithm};

/// What is worked on at once: all passes over it find it in the processor's first cache.
const PIECE: usize = 8 * 1024;

/// A key of AES-128-GCM and its nonce. Seals one file only: random, never given twice.
#[derive(Clone, PartialEq, Eq)]
pub struct SealKey {
    key: Zeroizing<[u8; 16]>,
    nonce: [u8; NONCE_LEN],
}

impl SealKey {
    /// From random bytes.
    #[must_use]
    pub fn from_random(key: [u8; 16], nonce: [u8; NONCE_LEN]) -> Self {
        Self { key: Zeroizing::new(key), nonce }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey")
    }
}

/// What a file from Matrix comes as.
#[derive(Debug, Clone, Copy)]
pub enum FromMatrix<'a> {
    /// Plaintext, from a room without encryption: nothing says what it should be.
    Plain,
    /// Ciphertext.
    Encrypted(&'a EncryptedFile),
}

/// From Matrix to MIMI.
#[derive(Debug)]
pub struct ToMimi {
    source: Option<(CtrStream, Hasher, [u8; 32])>,
    key: SealKey,
    sealer: GcmSealer,
    result: Hasher,
    bytes: u64,
}

impl ToMimi {
    /// A pipe for one file.
    pub fn new(source: FromMatrix<'_>, key: SealKey) -> Result<Self, MediaError> {
        let source = match source {
            FromMatrix::Plain => None,
            FromMatrix::Encrypted(file) => {
                Some((CtrStream::new(&file.key), Hasher::new(HashAlgorithm::Sha256), file.sha256))
            }
        };
        let sealer = GcmSealer::new(key.key.as_slice(), key.nonce, &[])?;
        Ok(Self { source, key, sealer, result: Hasher::new(HashAlgorithm::Sha256), bytes: 0 })
    }
}

impl Pipe for ToMimi {
    type Done = Sealed;

    fn feed(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError> {
        for piece in input.chunks(PIECE) {
            let text = out.push(piece);
            if let Some((stream, hash, _)) = &mut self.source {
                hash.update(piece);
                stream.apply(text)?;
            }
            self.sealer.seal(text)?;
            self.result.update(text);
        }
        self.bytes += input.len() as u64;
        Ok(())
    }

    fn finish(mut self, out: &mut Unverified) -> Result<Sealed, MediaError> {
        if let Some((_, hash, expected)) = self.source {
            hash.verify(&expected)?;
        }
        let tag = self.sealer.finish();
        out.push(&tag);
        self.result.update(&tag);
        Ok(Sealed { key: self.key, content_hash: self.result.finish(), bytes: self.bytes })
    }
}

/// A file that was sealed for MIMI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    key: SealKey,
    content_hash: Vec<u8>,
    bytes: u64,
}

impl Sealed {
    /// Bytes of the plaintext.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the asset: ciphertext and tag.
    #[must_use]
    pub fn asset_bytes(&self) -> u64 {
        self.bytes + TAG_LEN as u64
    }

    /// Writes into a part how the asset opens, what its hash is, and how long its content is.
    pub fn describe(&self, part: &mut ExternalPart) {
        part.size = self.bytes;
        part.enc_alg = Aead::Aes128Gcm.code();
        part.key = self.key.key.to_vec();
        part.nonce = self.key.nonce.to_vec();
        part.aad = Vec::new();
        part.hash_alg = 1;
        part.content_hash.clone_from(&self.content_hash);
    }
}

/// From MIMI to Matrix.
#[derive(Debug)]
pub struct ToMatrix {
    hash: Option<(Hasher, Vec<u8>)>,
    opener: Option<Opener>,
    target: Option<(FileKey, CtrStream, Hasher)>,
    bytes: u64,
}

impl ToMatrix {
    /// A pipe for the asset that this part tells of, if it is there and opens at `now` (milliseconds since the UNIX epoch). With a
    /// key its content comes out encrypted for a Matrix room, else as it is.
    pub fn new(part: &ExternalPart, now: u64, target: Option<FileKey>) -> Result<Self, MediaError> {
        part.check_fetchable(now)?;
        let nonce = || part.nonce.as_slice().try_into().map_err(|_| MediaError::Key(part.nonce.len()));
        let opener = match part.sealing()? {
            None => None,
            Some(Aead::Aes128Gcm | Aead::Aes256Gcm) => {
                Some(Opener::Gcm(GcmOpener::new(&part.key, nonce()?, &part.aad)?))
            }
            Some(Aead::Aes256Gcm12) => Some(Opener::Short(GcmOpener::new(&part.key, nonce()?, &part.aad)?, part.size)),
            Some(Aead::ChaCha20Poly1305) => {
                Some(Opener::ChaCha(Box::new(ChaChaOpener::new(&part.key, nonce()?, &part.aad)?)))
            }
        };
        let hash = part.hash()?.map(|algorithm| (Hasher::new(algorithm), part.content_hash.clone()));
        let target = target.map(|key| {
            let stream = CtrStream::new(&key);
            (key, stream, Hasher::new(HashAlgorithm::Sha256))
        });
        Ok(Self { hash, opener, target, bytes: 0 })
    }

    /// A pipe for what came within a message: whoever vouches for that vouches for it, too.
    #[must_use]
    pub fn in_message() -> Self {
        Self { hash: None, opener: None, target: None, bytes: 0 }
    }
}

/// Opens what one of the AEADs sealed.
#[derive(Debug)]
enum Opener {
    Gcm(GcmOpener),
    /// With a tag of 12 bytes; and how many bytes the message says there are.
    Short(GcmOpener, u64),
    ChaCha(Box<ChaChaOpener>),
}

impl Opener {
    fn open(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError> {
        match self {
            Self::Gcm(opener) | Self::Short(opener, _) => opener.open(input, out),
            Self::ChaCha(opener) => opener.open(input, out),
        }
    }

    fn finish(self, out: &mut Unverified) -> Result<(), MediaError> {
        match self {
            Self::Gcm(opener) => opener.finish(),
            Self::Short(opener, size) => opener.finish_short(size, out),
            Self::ChaCha(opener) => opener.finish(),
        }
    }
}

impl ToMatrix {
    /// Takes in what was opened just now.
    fn came_out(&mut self, text: &mut [u8]) -> Result<(), MediaError> {
        self.bytes += text.len() as u64;
        if let Some((_, stream, hash)) = &mut self.target {
            stream.apply(text)?;
            hash.update(text);
        }
        Ok(())
    }
}

impl Pipe for ToMatrix {
    type Done = Opened;

    fn feed(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError> {
        for piece in input.chunks(PIECE) {
            let start = out.len();
            if let Some((hash, _)) = &mut self.hash {
                hash.update(piece);
            }
            match &mut self.opener {
                Some(opener) => opener.open(piece, out)?,
                None => {
                    out.push(piece);
                }
            }
            self.came_out(out.since(start))?;
        }
        Ok(())
    }

    fn finish(mut self, out: &mut Unverified) -> Result<Opened, MediaError> {
        if let Some((hash, expected)) = self.hash.take() {
            hash.verify(&expected)?;
        }
        if let Some(opener) = self.opener.take() {
            let start = out.len();
            opener.finish(out)?;
            self.came_out(out.since(start))?;
        }
        let encrypted = match self.target {
            None => None,
            Some((key, _, hash)) => Some((key, hash.finish().as_slice().try_into().map_err(|_| MediaError::Hash)?)),
        };
        Ok(Opened { encrypted, bytes: self.bytes })
    }
}

/// A file of MIMI that is what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    encrypted: Option<(FileKey, [u8; 32])>,
    bytes: u64,
}

impl Opened {
    /// Bytes of the content, and of what came out.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What an event says of it once it is at `url`; `None` if it came out as it is.
    #[must_use]
    pub fn encrypted_file(self, url: ruma::OwnedMxcUri) -> Option<EncryptedFile> {
        self.encrypted.map(|(key, sha256)| EncryptedFile { url, key, sha256 })
    }
}

/// What came within a message, and is to be a file of the homeserver as it is.
#[derive(Debug, Clone, Copy)]
pub struct AsItIs;

impl Pipe for AsItIs {
    type Done = ();

    fn feed(&mut self, input: &[u8], out: &mut Unverified) -> Result<(), MediaError> {
        out.0.extend_from_slice(input);
        Ok(())
    }

    fn finish(self, _: &mut Unverified) -> Result<(), MediaError> {
        Ok(())
    }
}
