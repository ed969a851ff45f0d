//! Encryption at rest: values that hold keys are sealed with XChaCha20-Poly1305 under the operator's master key, with
//! the full store key as associated data, so that a sealed value read from another place does not open.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use secrecy::{ExposeSecret, SecretBox};
use zeroize::{Zeroize, Zeroizing};

/// Bytes in a master key.
pub const MASTER_KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const VERSION: u8 = 1;
/// A key file is a line of text; more than this is some other file.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// Why a master key could not be had, or a value not sealed or opened. None is retriable.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file could not be read or written.
    #[error("master key file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The environment variable is not set.
    #[error("the environment variable {0} with the master key is not set")]
    NotSet(String),
    /// The text is not a key.
    #[error("a master key is 32 bytes, written as 64 hexadecimal digits or as base64")]
    NotAKey,
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(String),
    /// The value was sealed under another master key or for another store key, or is damaged.
    #[error("a sealed value does not open")]
    DoesNotOpen,
}

/// The operator's 32-byte master key. Never printed; wiped when dropped.
pub struct MasterKey(SecretBox<[u8; MASTER_KEY_BYTES]>);

impl MasterKey {
    /// A key from its bytes.
    #[must_use]
    pub fn from_bytes(mut bytes: [u8; MASTER_KEY_BYTES]) -> Self {
        let key = Self(SecretBox::init_with_mut(|secret: &mut [u8; MASTER_KEY_BYTES]| *secret = bytes));
        bytes.zeroize();
        key
    }

    /// A fresh random key.
    pub fn generate() -> Result<Self, SealError> {
        let mut bytes = [0; MASTER_KEY_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| SealError::Random(error.to_string()))?;
        Ok(Self::from_bytes(bytes))
    }

    /// A key from text: 64 hexadecimal digits or base64 (either alphabet, padded or not); white space around is ignored.
    pub fn parse(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        let bytes = if text.len() == 2 * MASTER_KEY_BYTES {
            hex::decode(text).ok()
        } else {
            let bare = text.trim_end_matches('=');
            general_purpose::STANDARD_NO_PAD
                .decode(bare)
                .or_else(|_| general_purpose::URL_SAFE_NO_PAD.decode(bare))
                .ok()
        };
        let bytes = Zeroizing::new(bytes.ok_or(SealError::NotAKey)?);
        let bytes = <[u8; MASTER_KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| SealError::NotAKey)?;
        Ok(Self::from_bytes(bytes))
    }

    /// Reads the key file. Warns when others than its owner may read it.
    pub fn from_file(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::File { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        warn_if_readable_by_others(path, &file);
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text)
    }

    /// Reads the environment variable.
    pub fn from_env(variable: &str) -> Result<Self, SealError> {
        let text = std::env::var(variable).map_err(|_| SealError::NotSet(variable.to_owned()))?;
        Self::parse(&Zeroizing::new(text))
    }

    /// Makes a fresh key and writes it to a new file that only the owner may read. Never overwrites.
    pub fn create_file(path: &Path) -> Result<Self, SealError> {
        let failed = |source| SealError::File { path: path.to_owned(), source };
        let key = Self::generate()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed)?;
        let mut text = Zeroizing::new(hex::encode(key.0.expose_secret()));
        text.push('\n');
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Ok(key)
    }
}

/// Shows nothing of the key.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path, file: &fs::File) {
    use std::os::unix::fs::PermissionsExt;
    if file.metadata().is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "the master key file can be read by others: set its mode to 0600");
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_: &Path, _: &fs::File) {}

/// Seals and opens values under the master key.
pub struct Sealer(XChaCha20Poly1305);

impl Sealer {
    /// A sealer with this key.
    #[must_use]
    pub fn new(key: &MasterKey) -> Self {
        Self(XChaCha20Poly1305::new(key.0.expose_secret().into()))
    }

    /// Encrypts `plaintext` for the place `key`: version, nonce, ciphertext with tag.
    pub fn seal(&self, key: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| SealError::Random(error.to_string()))?;
        let payload = Payload { msg: plaintext, aad: key };
        let body = self.0.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| SealError::DoesNotOpen)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_BYTES + body.len());
        sealed.push(VERSION);
        sealed.extend(nonce);
        sealed.extend(body);
        Ok(sealed)
    }

    /// Decrypts what [`Sealer::seal`] made for the same `key`. The plaintext is wiped when dropped.
    pub fn open(&self, key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let Some((&VERSION, rest)) = sealed.split_first() else { return Err(SealError::DoesNotOpen) };
        let Some((nonce, body)) = rest.split_first_chunk::<NONCE_BYTES>() else { return Err(SealError::DoesNotOpen) };
        let payload = Payload { msg: body, aad: key };
        let plaintext = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| SealError::DoesNotOpen)?;
        Ok(Zeroizing::new(plaintext))
    }
}

/// Shows nothing of the key.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}
