//! What fills the variable of a URL template: reading it from a request's path, and writing it into a URL.
//!
//! We send the whole URI as one percent-encoded segment (`mimi%3A%2F%2Fa.example%2Fr%2Fclubhouse`). Received paths
//! are decoded exactly once; the draft's flow examples without scheme (`a.example/r/clubhouse`), or without the kind
//! segment, are understood too.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::refusal::Refusal;
use crate::{
    engine::ports::PathTarget,
    ident::{MimiUri, ProviderDomain, RoomUri, UserUri},
};

/// Everything but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest encoded variable that is looked at, in bytes: each byte of the longest URI encoded.
const MAX_ENCODED: usize = MimiUri::MAX_LEN * 3;

/// What follows `/v1/<endpoint>/` in a path, decoded once.
fn variable<'a>(path: &'a str, endpoint: &str) -> Result<Cow<'a, str>, Refusal> {
    let encoded = path
        .strip_prefix("/v1/")
        .and_then(|rest| rest.strip_prefix(endpoint))
        .and_then(|rest| rest.strip_prefix('/'))
        .ok_or(Refusal::UnknownPath)?;
    if encoded.len() > MAX_ENCODED {
        return Err(Refusal::BadPath("too long"));
    }
    let mut rest = encoded.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        let digits = rest.get(at + 1..at + 3).filter(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        if digits.is_none() {
            return Err(Refusal::BadPath("broken percent-encoding"));
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    percent_decode_str(encoded).decode_utf8().map_err(|_| Refusal::BadPath("not UTF-8"))
}

/// The URI as received, or completed by the scheme and, where it is missing, the kind segment.
fn completed<'a>(text: Cow<'a, str>, kind: &str) -> Cow<'a, str> {
    if text.starts_with("mimi:") {
        return text;
    }
    match text.split_once('/') {
        Some((authority, tail)) if !tail.contains('/') => Cow::Owned(format!("mimi://{authority}/{kind}/{tail}")),
        _ => Cow::Owned(format!("mimi://{text}")),
    }
}

/// The room in the path of `endpoint`.
pub(super) fn room(path: &str, endpoint: &str) -> Result<RoomUri, Refusal> {
    RoomUri::parse(&completed(variable(path, endpoint)?, "r")).map_err(|_| Refusal::BadPath("not a room URI"))
}

/// The user in the path of `endpoint`.
pub(super) fn user(path: &str, endpoint: &str) -> Result<UserUri, Refusal> {
    UserUri::parse(&completed(variable(path, endpoint)?, "u")).map_err(|_| Refusal::BadPath("not a user URI"))
}

/// The domain in the path of `endpoint`. A user URI (the older template variables) stands for its provider.
pub(super) fn domain(path: &str, endpoint: &str) -> Result<ProviderDomain, Refusal> {
    let text = variable(path, endpoint)?;
    ProviderDomain::parse(&text)
        .or_else(|_| MimiUri::parse(&text).map(|uri| uri.provider()))
        .map_err(|_| Refusal::BadPath("not a provider domain"))
}

/// The variable for a URL, percent-encoded as one segment.
pub(super) fn encoded(target: &PathTarget) -> String {
    let text = match target {
        PathTarget::Uri(uri) => uri.as_str(),
        PathTarget::Domain(domain) => domain.as_str(),
    };
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room_in(tail: &str) -> Option<String> {
        room(&format!("/v1/update/{tail}"), "update").ok().map(|room| room.as_str().to_owned())
    }

    #[test]
    fn a_room_in_each_accepted_form() {
        for form in [
            "mimi%3A%2F%2Fa.example%2Fr%2Fclubhouse",
            "mimi%3a%2f%2fa.example%2fr%2fclubhouse",
            "mimi://a.example/r/clubhouse",
            "a.example/r/clubhouse",
            "a.example/clubhouse",
        ] {
            assert_eq!(room_in(form).as_deref(), Some("mimi://a.example/r/clubhouse"), "{form}");
        }
    }

    #[test]
    fn decoded_once_and_never_twice() {
        let uri = MimiUri::parse("mimi://a.example/r/x%2Fy%253A").unwrap();
        let sent = encoded(&PathTarget::Uri(uri.clone()));
        assert_eq!(sent, "mimi%3A%2F%2Fa.example%2Fr%2Fx%252Fy%25253A");
        assert_eq!(room_in(&sent).as_deref(), Some(uri.as_str()));
    }

    #[test]
    fn what_is_no_room_is_refused() {
        for bad in [
            "",
            "mimi%3A%2F%2Fa.example%2Fu%2Falice",
            "mimi%3A%2F%2FA.example%2Fr%2Fx",
            "mimi%3A%2F%2Fa.example%2Fr%2Fx%00",
            "mimi%3A%2F%2Fa.example%2Fr%2F%FF",
            "mimi%3A%2F%2Fa.example%2Fr%2Fx%2",
            "mimi%3A%2F%2Fa.example%2Fr%2Fx%zz",
            "mimi%253A%252F%252Fa.example%252Fr%252Fx",
            "https%3A%2F%2Fa.example%2Fr%2Fx",
        ] {
            assert_eq!(room_in(bad), None, "{bad}");
        }
        assert_eq!(room_in(&"a".repeat(MAX_ENCODED + 1)), None);
    }

    #[test]
    fn a_domain_or_the_older_user_variable() {
        let of = |tail: &str| domain(&format!("/v1/requestConsent/{tail}"), "requestConsent").ok();
        let b = ProviderDomain::parse("b.example").ok();
        assert_eq!(of("b.example"), b);
        assert_eq!(of("mimi%3A%2F%2Fb.example%2Fu%2Fbob"), b);
        assert_eq!(of("B.example"), None);
        assert_eq!(of(""), None);
    }
}
