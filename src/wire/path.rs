//! Targets in request paths: `{roomId}`, `{targetUser}`, `{domain}`, `{downloadUrl}` (draft-ietf-mimi-protocol-06 sections 3 and 5).
//!
//! We send the whole URI as one percent-encoded segment. The draft's figures also show `/update/a.example/r/clubhouse`,
//! sometimes without `/r/`: a remainder of several segments without scheme is understood too. A path is decoded exactly
//! once, here, so hand in the raw path as it came over the wire, not what a router decoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::limits;
use crate::ident::{IdentError, MimiUri, ProviderDomain, RoomUri, UserUri};

/// What RFC 6570 leaves unencoded in simple expansion: RFC 3986's unreserved characters.
pub(super) const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Longest raw remainder that is looked at, in bytes: a longest URI with every byte encoded.
pub const MAX_RAW: usize = MimiUri::MAX_LEN * 3;

/// One path segment for a URI or domain: everything but unreserved characters encoded, hex in upper case.
#[must_use]
pub fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn decode_once(raw: &str) -> Result<String, IdentError> {
    if raw.len() > MAX_RAW {
        return Err(IdentError::TooLong);
    }
    percent_decode_str(raw)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| IdentError::Malformed("path is not UTF-8"))
}

fn uri(raw: &str, letter: &str) -> Result<MimiUri, IdentError> {
    let decoded = decode_once(raw)?;
    let text = if decoded.starts_with("mimi://") { decoded } else { format!("mimi://{decoded}") };
    let uri = MimiUri::parse(&text)?;
    match uri.path().strip_prefix('/') {
        // One segment can only be a name whose kind was left out; more would be another kind, like `/p/x`.
        Some(name) if !name.is_empty() && !name.contains('/') => {
            MimiUri::parse(&format!("mimi://{}/{letter}/{name}", uri.provider()))
        }
        _ => Ok(uri),
    }
}

/// The room of a raw path remainder (what follows `/update/`, `/notify/`, ...).
pub fn room(raw: &str) -> Result<RoomUri, IdentError> {
    uri(raw, "r")?.try_into()
}

/// The user of a raw path remainder (what follows `/keyMaterial/`).
pub fn user(raw: &str) -> Result<UserUri, IdentError> {
    uri(raw, "u")?.try_into()
}

/// The domain of a raw path remainder (what follows `/requestConsent/`, `/updateConsent/`). A peer that fills in a
/// user's URI instead, as the draft's directory example has it, names the domain by it.
pub fn domain(raw: &str) -> Result<ProviderDomain, IdentError> {
    let decoded = decode_once(raw)?;
    ProviderDomain::parse(&decoded).or_else(|_| uri(raw, "u").map(|uri| uri.provider()))
}

/// Why a URL is not one that anybody may ask the hub to fetch. Permanent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DownloadUrlError {
    /// Longer than [`limits::DOWNLOAD_URL`] bytes.
    #[error("the URL is longer than {} bytes", limits::DOWNLOAD_URL)]
    TooLong,
    /// Not a URL, or not in its normal form: what is checked here has to be what is fetched.
    #[error("not a URL in its normal form")]
    Malformed,
    /// Another scheme than https.
    #[error("not an https URL")]
    Scheme,
    /// A user, a password, a port or a fragment.
    #[error("the URL has a user, a port or a fragment")]
    Extra,
    /// An address instead of a name.
    #[error("the host is no DNS name")]
    Host,
}

/// The URL of an asset as proxyDownload takes it (section 5.10.2): https, a DNS name, the usual port. That the host is an
/// asset domain of a known peer, and what it resolves to, is for the hub to check.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DownloadUrl {
    text: String,
    host: ProviderDomain,
}

impl DownloadUrl {
    /// Checks a URL. It has to be in the normal form of the URL standard already, so that it means the same to everybody.
    pub fn parse(text: &str) -> Result<Self, DownloadUrlError> {
        if text.len() > limits::DOWNLOAD_URL {
            return Err(DownloadUrlError::TooLong);
        }
        let url = url::Url::parse(text).map_err(|_| DownloadUrlError::Malformed)?;
        if url.scheme() != "https" {
            return Err(DownloadUrlError::Scheme);
        }
        // `:443` is left out of the normal form, so it shows as another text below.
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() || url.fragment().is_some() {
            return Err(DownloadUrlError::Extra);
        }
        let Some(url::Host::Domain(host)) = url.host() else {
            return Err(DownloadUrlError::Host);
        };
        let host = ProviderDomain::parse(host).map_err(|_| DownloadUrlError::Host)?;
        if url.as_str() != text {
            return Err(DownloadUrlError::Malformed);
        }
        Ok(Self { text: text.to_owned(), host })
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &ProviderDomain {
        &self.host
    }
}

/// The asset of a raw path remainder (what follows `/proxyDownload/`): one segment, decoded once.
pub fn download(raw: &str) -> Result<DownloadUrl, DownloadUrlError> {
    if raw.len() > limits::DOWNLOAD_URL * 3 {
        return Err(DownloadUrlError::TooLong);
    }
    let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| DownloadUrlError::Malformed)?;
    DownloadUrl::parse(&decoded)
}
