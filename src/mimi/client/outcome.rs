//! What became of a call: HTTP outcomes to [`CallError`] (mimi-readings T10, T11).
//!
//! | Outcome | Again? |
//! |---|---|
//! | not connected, TLS refused | yes |
//! | 408, 425, 429, 5xx | yes, not before `Retry-After` |
//! | time-out or reset after connecting, answer cut off | uncertain: the same bytes only |
//! | other 4xx, a redirect, an answer over its limit | no |

use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
use rustls::AlertDescription;

use crate::engine::ports::{CallError, Retry};

/// Longest wait that a peer's `Retry-After` is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// Longest detail of a problem document that goes into an error, in characters.
const MAX_DETAIL: usize = 200;

pub(in crate::mimi) fn error(what: String, retry: Retry) -> CallError {
    CallError { what, retry, status: None, errcode: None }
}

/// A call without a usable answer.
pub(in crate::mimi) fn from_transport(failed: &reqwest::Error) -> CallError {
    let mut what = String::new();
    let mut source: Option<&dyn std::error::Error> = failed.source();
    let mut alert = None;
    while let Some(cause) = source {
        if !what.is_empty() {
            what.push_str(": ");
        }
        what.push_str(&cause.to_string());
        alert = alert.or_else(|| alert_of(cause));
        source = cause.source();
    }
    if failed.is_timeout() {
        what = format!("timed out ({what})");
    }
    let retry = if failed.is_builder() {
        Retry::Permanent
    } else if failed.is_connect() || alert.is_some_and(is_handshake_refusal) {
        Retry::Retriable(None)
    } else {
        Retry::Uncertain
    };
    error(what, retry)
}

/// With TLS 1.3 a server judges our certificate after our side of the handshake is done: its refusal then arrives
/// while we wait for the answer. No handler ran.
fn is_handshake_refusal(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::CertificateRequired
            | AlertDescription::HandshakeFailure
    )
}

fn alert_of(cause: &(dyn std::error::Error + 'static)) -> Option<AlertDescription> {
    let tls = match cause.downcast_ref::<rustls::Error>() {
        Some(tls) => tls,
        // An io::Error wraps it and does not name it as its source.
        None => cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>()?,
    };
    match tls {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// An answer that is no success. `problem` is the beginning of its body if it is a problem document.
pub(in crate::mimi) fn from_status(
    status: StatusCode,
    headers: &HeaderMap,
    problem: &[u8],
    now: SystemTime,
) -> CallError {
    let retriable = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS);
    let retry = if retriable { Retry::Retriable(retry_after(headers, now)) } else { Retry::Permanent };
    let what = match detail(problem) {
        Some(detail) => format!("answered {}: {detail}", status.as_u16()),
        None => format!("answered {}", status.as_u16()),
    };
    CallError { what, retry, status: Some(status.as_u16()), errcode: None }
}

/// What a problem document says, cut and without anything that could forge a log line.
fn detail(problem: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(problem).ok()?;
    let text = document.get("detail").or_else(|| document.get("title"))?.as_str()?;
    Some(text.chars().map(|c| if c.is_ascii_graphic() { c } else { ' ' }).take(MAX_DETAIL).collect())
}

/// `Retry-After` in either form.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(status: u16, retry_after: Option<&'static str>) -> Retry {
        let headers = retry_after.map(|text| (RETRY_AFTER, HeaderValue::from_static(text)));
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:00 GMT").unwrap();
        from_status(StatusCode::from_u16(status).unwrap(), &HeaderMap::from_iter(headers), b"", now).retry
    }

    #[test]
    fn which_answers_may_be_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(of(status, None), Retry::Retriable(None), "{status}");
        }
        for status in [301, 302, 307, 400, 401, 403, 404, 405, 413, 415, 421] {
            assert_eq!(of(status, Some("1")), Retry::Permanent, "{status}");
        }
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        assert_eq!(of(503, Some("7")), Retry::Retriable(Some(Duration::from_secs(7))));
        assert_eq!(of(429, Some("Sun, 06 Nov 1994 08:49:37 GMT")), Retry::Retriable(Some(Duration::from_secs(37))));
        assert_eq!(of(429, Some("Sun, 06 Nov 1994 08:00:00 GMT")), Retry::Retriable(Some(Duration::ZERO)));
        assert_eq!(of(503, Some("99999999999")), Retry::Retriable(Some(MAX_RETRY_AFTER)));
        assert_eq!(of(503, Some("soon")), Retry::Retriable(None));
    }

    #[test]
    fn the_detail_is_cut_and_cannot_forge_a_log_line() {
        let problem = format!(r#"{{"detail":"a\n\u001b[31m{}"}}"#, "x".repeat(1000));
        let error = from_status(StatusCode::BAD_REQUEST, &HeaderMap::new(), problem.as_bytes(), SystemTime::UNIX_EPOCH);
        assert!(error.what.starts_with("answered 400: a  [31mxxx"), "{}", error.what);
        assert!(error.what.len() < 230);
    }
}
