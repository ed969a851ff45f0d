//! Matrix's encrypted attachments: `EncryptedFile` as JSON, and AES-256-CTR over a stream (Client-Server API 1.17, "Sending
//! encrypted attachments").

use std::fmt;

use aes::{
    Aes256,
    cipher::{KeyIvInit, StreamCipher},
};
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};
use ctr::Ctr64BE;
use ruma::OwnedMxcUri;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::MediaError;

/// Reads base64 with padding or without: clients differ.
const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// Why an `EncryptedFile` cannot be used. Permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// A field is missing or is not what Matrix says.
    #[error("the field {0} is not what Matrix says")]
    Field(&'static str),
    /// Another version than `v2`: it counts in another way.
    #[error("another version than v2")]
    Version,
    /// Another algorithm than `A256CTR`.
    #[error("another algorithm than A256CTR")]
    Algorithm,
}

/// A key of AES-256-CTR and the block to count from. Seals one file only.
#[derive(Clone, PartialEq, Eq)]
pub struct FileKey {
    key: Zeroizing<[u8; 32]>,
    iv: [u8; 16],
}

impl FileKey {
    /// From random bytes: the upper half of the first block is random, the counter begins at 0 and cannot come round.
    #[must_use]
    pub fn from_random(key: [u8; 32], nonce: [u8; 8]) -> Self {
        let iv = u128::from(u64::from_be_bytes(nonce)) << 64;
        Self { key: Zeroizing::new(key), iv: iv.to_be_bytes() }
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FileKey")
    }
}

/// An encrypted attachment: where it is, how it opens, and how it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedFile {
    /// Where the ciphertext is.
    pub url: OwnedMxcUri,
    /// What opens it.
    pub key: FileKey,
    /// SHA-256 of the ciphertext.
    pub sha256: [u8; 32],
}

impl EncryptedFile {
    /// Reads the field `file` or `thumbnail_file` of an event. Without a hash it is refused: AES-CTR alone hides no change.
    pub fn parse(file: &Value) -> Result<Self, FileFault> {
        let text = |map: &Map<String, Value>, field| map.get(field).and_then(Value::as_str).map(str::to_owned);
        let file = file.as_object().ok_or(FileFault::Field("file"))?;
        if text(file, "v").as_deref() != Some("v2") {
            return Err(FileFault::Version);
        }
        let url = OwnedMxcUri::from(text(file, "url").ok_or(FileFault::Field("url"))?);
        url.validate().map_err(|_| FileFault::Field("url"))?;
        let jwk = file.get("key").and_then(Value::as_object).ok_or(FileFault::Field("key"))?;
        if text(jwk, "kty").as_deref() != Some("oct") || text(jwk, "alg").as_deref() != Some("A256CTR") {
            return Err(FileFault::Algorithm);
        }
        let key = Zeroizing::new(text(jwk, "k").ok_or(FileFault::Field("k"))?);
        let hash = file.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
        Ok(Self {
            url,
            key: FileKey {
                key: decode(&URL_SAFE, &key).map(Zeroizing::new).ok_or(FileFault::Field("k"))?,
                iv: text(file, "iv").and_then(|iv| decode(&STANDARD, &iv)).ok_or(FileFault::Field("iv"))?,
            },
            sha256: hash.and_then(|hash| decode(&STANDARD, hash)).ok_or(FileFault::Field("hashes"))?,
        })
    }

    /// As it stands in an event.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "v": "v2",
            "url": self.url.as_str(),
            "key": {
                "kty": "oct",
                "alg": "A256CTR",
                "ext": true,
                "key_ops": ["encrypt", "decrypt"],
                "k": URL_SAFE.encode(self.key.key.as_slice()),
            },
            "iv": STANDARD_NO_PAD.encode(self.key.iv),
            "hashes": { "sha256": STANDARD_NO_PAD.encode(self.sha256) },
        })
    }
}

/// Exactly `N` bytes.
fn decode<const N: usize>(engine: &GeneralPurpose, text: &str) -> Option<[u8; N]> {
    // Four characters are three bytes: nothing long is decoded.
    if text.len() > N.div_ceil(3) * 4 {
        return None;
    }
    Zeroizing::new(engine.decode(text).ok()?).as_slice().try_into().ok()
}

/// AES-256-CTR over a stream; both ways are the same. The counter is the lower half of the block, as matrix-js-sdk has it for
/// `v2`.
pub struct CtrStream(Ctr64BE<Aes256>);

impl CtrStream {
    /// At the beginning of the file.
    #[must_use]
    pub fn new(key: &FileKey) -> Self {
        Self(Ctr64BE::new(&(*key.key).into(), &key.iv.into()))
    }

    /// Encrypts or decrypts the next bytes.
    pub fn apply(&mut self, text: &mut [u8]) -> Result<(), MediaError> {
        self.0.try_apply_keystream(text).map_err(|_| MediaError::TooLong)
    }
}

impl fmt::Debug for CtrStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CtrStream")
    }
}
