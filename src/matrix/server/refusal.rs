//! Answers that are no success, as Matrix error objects.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};

use crate::engine::ports::InboundError;

/// One Matrix error: status, `errcode` and words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    status: StatusCode,
    errcode: &'static str,
    error: &'static str,
}

impl Refusal {
    /// Status and words for the log; `None` for what is an ordinary answer (not found) or is logged where it happens (503).
    pub(super) fn log_line(self) -> Option<(u16, &'static str)> {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => None,
            StatusCode::NOT_FOUND if self == Self::not_found() => None,
            status => Some((status.as_u16(), self.error)),
        }
    }
    const fn new(status: StatusCode, errcode: &'static str, error: &'static str) -> Self {
        Self { status, errcode, error }
    }
    /// 401: no token at all.
    pub(super) const fn no_token() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "M_FORBIDDEN", "no hs_token given")
    }
    /// 403: a wrong token, or two that disagree.
    pub(super) const fn wrong_token() -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", "wrong hs_token")
    }
    /// 404: no such endpoint.
    pub(super) const fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "no such endpoint")
    }
    /// 405: the endpoint has no such method.
    pub(super) const fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "no such method at this endpoint")
    }
    /// 404: the thing asked for is not ours or does not exist.
    pub(super) const fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", "not found")
    }
    /// 400: not JSON.
    pub(super) const fn not_json() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", "the body is not JSON")
    }
    /// 400: JSON, but not a transaction.
    pub(super) const fn bad_json() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", "the body is no object with an array of events")
    }
    /// 400: a path segment that cannot be read.
    pub(super) const fn bad_param() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", "a parameter is not usable")
    }
    /// 413: larger than the body limit.
    pub(super) const fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", "the body is too large")
    }
    /// 408: the body did not come in time, or the connection broke.
    pub(super) const fn body_lost() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "the body did not arrive whole in time")
    }
    /// 429: too many look-ups.
    pub(super) const fn too_many() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", "too many look-ups, try again in a minute")
    }
    /// 503: not stored; the homeserver tries again.
    pub(super) const fn unavailable() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "not stored, try again")
    }
}

impl From<InboundError> for Refusal {
    fn from(error: InboundError) -> Self {
        match error {
            InboundError::NotStored(_) | InboundError::ShuttingDown => Self::unavailable(),
            InboundError::TooMany(_) => Self::too_many(),
        }
    }
}

/// The refusal itself rides along as an extension, so that the server writes one log line for it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({"errcode": self.errcode, "error": self.error}));
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
