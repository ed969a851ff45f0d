//! Targets in request paths: `{roomId}`, `{targetUser}`, `{domain}` (draft-ietf-mimi-protocol-06 sections 3 and 5).
//!
//! We send the whole URI as one percent-encoded segment. The draft's figures also show `/update/a.example/r/clubhouse`,
//! sometimes without `/r/`: a remainder of several segments without scheme is understood too. A path is decoded exactly
//! once, here, so hand in the raw path as it came over the wire, not what a router decoded.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

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
