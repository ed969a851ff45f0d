//! External parts: content at a URL, how it is sealed, and how it is checked (draft-ietf-mimi-content-08 section 4.5).

use serde::{Deserialize, Serialize};

/// Content at a URL, usually encrypted (section 4.5).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExternalPart {
    /// IANA media type.
    pub content_type: String,
    /// Where it is.
    pub url: String,
    /// Seconds since the UNIX epoch after which it is gone; 0 for never.
    pub expires: u32,
    /// Bytes; 0 if not said.
    pub size: u64,
    /// IANA AEAD number; 0 for none.
    pub enc_alg: u16,
    /// AEAD key.
    #[serde(with = "super::json::hex_bytes")]
    pub key: Vec<u8>,
    /// AEAD nonce.
    #[serde(with = "super::json::hex_bytes")]
    pub nonce: Vec<u8>,
    /// AEAD additional data.
    #[serde(with = "super::json::hex_bytes")]
    pub aad: Vec<u8>,
    /// IANA named-information hash; 0 for none.
    pub hash_alg: u8,
    /// Hash of what the URL answers.
    #[serde(with = "super::json::hex_bytes")]
    pub content_hash: Vec<u8>,
    /// For humans; may be empty.
    pub description: String,
    /// Suggested file name; may be empty.
    pub filename: String,
}

/// An AEAD of IANA's registry, with what is needed to open what it sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aead {
    /// 1: every client has it (section 4.5).
    Aes128Gcm,
    /// 2
    Aes256Gcm,
    /// 8: AES-256-GCM with a tag of 12 bytes. Air writes this number and uses tags of 16 bytes.
    Aes256Gcm12,
    /// 29
    ChaCha20Poly1305,
}

impl Aead {
    /// The AEAD of this number.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Aes128Gcm,
            2 => Self::Aes256Gcm,
            8 => Self::Aes256Gcm12,
            29 => Self::ChaCha20Poly1305,
            _ => return None,
        })
    }

    /// Its number.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Aes128Gcm => 1,
            Self::Aes256Gcm => 2,
            Self::Aes256Gcm12 => 8,
            Self::ChaCha20Poly1305 => 29,
        }
    }

    /// Bytes of a key.
    #[must_use]
    pub fn key_len(self) -> usize {
        if self == Self::Aes128Gcm { 16 } else { 32 }
    }

    /// Bytes of a nonce.
    #[must_use]
    pub fn nonce_len(self) -> usize {
        12
    }
}

/// A hash algorithm of IANA's registry of named information.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HashAlgorithm {
    /// 1
    Sha256,
    /// 7
    Sha384,
    /// 8
    Sha512,
}

impl HashAlgorithm {
    /// The algorithm of this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Sha256,
            7 => Self::Sha384,
            8 => Self::Sha512,
            _ => return None,
        })
    }

    /// Bytes of a hash.
    #[must_use]
    pub fn hash_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Why what an external part points to cannot be fetched, checked or opened. Permanent. The message itself is read all the
/// same: its other parts may be well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExternalFault {
    /// `encAlg` has a number that is not known.
    #[error("encAlg: {0} is not known")]
    Encryption(u16),
    /// `hashAlg` has a number that is not known.
    #[error("hashAlg: {0} is not known")]
    Hash(u8),
    /// This field does not have the length that the algorithm asks for (none, where there is no algorithm).
    #[error("{0}: not as long as its algorithm asks for")]
    Length(&'static str),
    /// It is sealed, and has no hash to tell whether it is what was sent.
    #[error("contentHash: missing")]
    NoHash,
    /// The URL is neither http nor https.
    #[error("url: neither http nor https")]
    Url,
    /// It is not there any more.
    #[error("expires: it is not there any more")]
    Expired,
}

impl ExternalPart {
    /// How it is sealed (`None`: it is not), if all fields agree with each other.
    pub fn sealing(&self) -> Result<Option<Aead>, ExternalFault> {
        let lengths = |key, nonce| {
            if self.key.len() != key {
                Err(ExternalFault::Length("key"))
            } else if self.nonce.len() != nonce {
                Err(ExternalFault::Length("nonce"))
            } else {
                Ok(())
            }
        };
        if self.enc_alg == 0 {
            lengths(0, 0)?;
            return if self.aad.is_empty() { Ok(None) } else { Err(ExternalFault::Length("aad")) };
        }
        let aead = Aead::from_code(self.enc_alg).ok_or(ExternalFault::Encryption(self.enc_alg))?;
        lengths(aead.key_len(), aead.nonce_len())?;
        Ok(Some(aead))
    }

    /// How it is hashed (`None`: it is not), if both fields agree.
    pub fn hash(&self) -> Result<Option<HashAlgorithm>, ExternalFault> {
        let (algorithm, length) = match self.hash_alg {
            0 => (None, 0),
            code => {
                let algorithm = HashAlgorithm::from_code(code).ok_or(ExternalFault::Hash(code))?;
                (Some(algorithm), algorithm.hash_len())
            }
        };
        if self.content_hash.len() == length { Ok(algorithm) } else { Err(ExternalFault::Length("contentHash")) }
    }

    /// Whether it is gone at `now`, milliseconds since the UNIX epoch.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires != 0 && u64::from(self.expires) * 1000 <= now
    }

    /// Whether it can be fetched, checked and opened at `now`, milliseconds since the UNIX epoch.
    pub fn check_fetchable(&self, now: u64) -> Result<(), ExternalFault> {
        let sealing = self.sealing()?;
        let hash = self.hash()?;
        if sealing.is_some() && hash.is_none() {
            return Err(ExternalFault::NoHash);
        }
        if self.is_expired(now) {
            return Err(ExternalFault::Expired);
        }
        let scheme = self.url.split(':').next().unwrap_or_default();
        let known = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
        if known { Ok(()) } else { Err(ExternalFault::Url) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed() -> ExternalPart {
        ExternalPart {
            url: "https://a.example/x".into(),
            enc_alg: 1,
            key: vec![1; 16],
            nonce: vec![2; 12],
            hash_alg: 1,
            content_hash: vec![3; 32],
            ..ExternalPart::default()
        }
    }

    #[test]
    fn what_does_not_fit_together_names_its_field() {
        let told = |change: fn(&mut ExternalPart)| {
            let mut part = sealed();
            change(&mut part);
            part.check_fetchable(1_000_000).map_err(|fault| fault.to_string().split(':').next().unwrap().to_owned())
        };
        assert_eq!(told(|_| {}), Ok(()));
        assert_eq!(sealed().sealing(), Ok(Some(Aead::Aes128Gcm)));
        for (field, change) in [
            ("encAlg", (|p| p.enc_alg = 3) as fn(&mut ExternalPart)),
            ("key", |p| p.enc_alg = 2),
            ("key", |p| p.enc_alg = 0),
            ("nonce", |p| p.nonce.push(0)),
            ("hashAlg", |p| p.hash_alg = 2),
            ("contentHash", |p| p.hash_alg = 7),
            ("contentHash", |p| p.hash_alg = 0),
            ("contentHash", |p| {
                p.hash_alg = 0;
                p.content_hash.clear();
            }),
            ("url", |p| p.url = "ftp://a.example/x".into()),
            ("expires", |p| p.expires = 1000),
        ] {
            assert_eq!(told(change), Err(field.to_owned()));
        }
        assert_eq!(told(|p| p.expires = 1001), Ok(()));
        let plain = ExternalPart { url: "HTTPS://a.example/x".into(), ..ExternalPart::default() };
        assert_eq!((plain.sealing(), plain.hash(), plain.check_fetchable(0)), (Ok(None), Ok(None), Ok(())));
        let told = ExternalPart { aad: vec![1], ..plain }.sealing();
        assert_eq!(told, Err(ExternalFault::Length("aad")));
    }

    #[test]
    fn algorithms_have_iana_s_numbers() {
        for code in 0..=60 {
            assert!(Aead::from_code(code).is_none_or(|aead| aead.code() == code));
        }
        assert_eq!(
            [1, 2, 8, 29].map(|code| Aead::from_code(code).map(Aead::key_len)),
            [Some(16), Some(32), Some(32), Some(32)]
        );
    }
}
