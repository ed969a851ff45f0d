//! What an unsuccessful answer means for the caller: again later, or never.
//!
//! Every call of this client may be repeated (transaction ids, idempotent states), so an unknown outcome is retriable.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderMap};
use serde::Deserialize;

use crate::engine::ports::{CallError, Retry};

/// Longest wait that the homeserver may ask for.
const WAIT_MAX: Duration = Duration::from_mins(10);
/// Wait when the homeserver does not know us: someone has to repair its configuration first.
const WAIT_MISCONFIGURED: Duration = Duration::from_secs(30);
/// Longest piece of foreign text taken into an error, in characters.
const WORDS_MAX: usize = 200;

#[derive(Deserialize, Default)]
struct MatrixError {
    errcode: Option<String>,
    error: Option<String>,
    retry_after_ms: Option<u64>,
}

/// The request did not get a whole answer.
pub(super) fn transport(what: &str, error: reqwest::Error) -> CallError {
    let retry = if error.is_builder() { Retry::Permanent } else { Retry::Retriable(None) };
    let error = error.without_url();
    let mut words = format!("{what}: the homeserver gave no answer: {error}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    CallError { what: words, retry, status: None, errcode: None }
}

/// A successful status with a body that is not the expected one: a proxy answered, or the answer was cut.
pub(super) fn unreadable(what: &str, why: &str) -> CallError {
    CallError {
        what: format!("{what}: the homeserver's answer cannot be read: {why}"),
        retry: Retry::Retriable(None),
        status: None,
        errcode: None,
    }
}

/// We were given something that cannot be sent.
pub(super) fn unusable(what: &str, why: &str) -> CallError {
    CallError { what: format!("{what}: {why}"), retry: Retry::Permanent, status: None, errcode: None }
}

/// Any status but 2xx.
pub(super) fn status(what: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> CallError {
    let said: MatrixError = serde_json::from_slice(body).unwrap_or_default();
    let wait = said
        .retry_after_ms
        .map(Duration::from_millis)
        .or_else(|| Some(Duration::from_secs(headers.get("retry-after")?.to_str().ok()?.trim().parse().ok()?)))
        .map(|wait| wait.min(WAIT_MAX));
    let retry = match (status.as_u16(), said.errcode.as_deref()) {
        (429 | 408 | 425 | 500.., _) | (_, Some("M_LIMIT_EXCEEDED")) => Retry::Retriable(wait),
        // The homeserver has not loaded the registration, or another one: nothing may be lost until that is repaired.
        // Without a Matrix error something in front of the homeserver answered.
        (_, Some("M_UNKNOWN_TOKEN" | "M_MISSING_TOKEN")) | (300..=399 | 401 | 403 | 404 | 405 | 407 | 421, None) => {
            Retry::Retriable(Some(WAIT_MISCONFIGURED))
        }
        _ => Retry::Permanent,
    };
    let words: String = said.error.unwrap_or_default().chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
    let errcode: Option<String> =
        said.errcode.map(|code| code.chars().filter(char::is_ascii_graphic).take(WORDS_MAX).collect());
    CallError {
        what: format!(
            "{what}: the homeserver answered {}{}{}{words}",
            status.as_u16(),
            errcode.as_deref().map(|code| format!(" {code}")).unwrap_or_default(),
            if words.is_empty() { "" } else { ": " },
        ),
        retry,
        status: Some(status.as_u16()),
        errcode,
    }
}

/// Whether the error is this Matrix error.
pub(super) fn is(error: &CallError, errcode: &str) -> bool {
    error.errcode.as_deref() == Some(errcode)
}

/// Whether a profile request says that there is no such user. Synapse 1.163 answers `M_UNKNOWN` with 404.
pub(super) fn is_no_profile(error: &CallError) -> bool {
    error.status == Some(404) && (is(error, "M_NOT_FOUND") || is(error, "M_UNKNOWN"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(code: u16, body: &str) -> CallError {
        status("send", StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn rate_limits_say_how_long_to_wait() {
        let error = judge(429, r#"{"errcode":"M_LIMIT_EXCEEDED","error":"slow","retry_after_ms":2500}"#);
        assert_eq!(error.retry, Retry::Retriable(Some(Duration::from_millis(2500))));
        let headers = HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, "7".parse().unwrap())]);
        let error = status("send", StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert_eq!(error.retry, Retry::Retriable(Some(Duration::from_secs(7))));
        let error = judge(429, r#"{"errcode":"M_LIMIT_EXCEEDED","retry_after_ms":99999999999}"#);
        assert_eq!(error.retry, Retry::Retriable(Some(WAIT_MAX)));
    }

    #[test]
    fn a_broken_server_is_asked_again_and_a_refusal_is_final() {
        assert_eq!(judge(502, "<html>").retry, Retry::Retriable(None));
        let error = judge(403, r#"{"errcode":"M_FORBIDDEN","error":"no power"}"#);
        assert_eq!(
            (error.retry, error.status, error.errcode.as_deref()),
            (Retry::Permanent, Some(403), Some("M_FORBIDDEN"))
        );
        assert!(error.what.contains("no power"));
        assert_eq!(judge(413, r#"{"errcode":"M_TOO_LARGE"}"#).retry, Retry::Permanent);
        assert_eq!(judge(413, "<html>").retry, Retry::Permanent);
    }

    #[test]
    fn a_misconfiguration_loses_nothing() {
        for (code, body) in [(401, r#"{"errcode":"M_UNKNOWN_TOKEN"}"#), (404, "<html>nginx</html>"), (301, "")] {
            assert!(matches!(judge(code, body).retry, Retry::Retriable(Some(_))), "{code}");
        }
    }
}
