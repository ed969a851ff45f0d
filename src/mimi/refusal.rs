//! Why a request gets no MIMI answer, as HTTP: status, problem document (RFC 9457) and `Retry-After`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use crate::engine::ports::Problem;

/// Media type of a problem document.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
/// What the type URI of every problem begins with.
const TYPE_PREFIX: &str = "urn:mimi-gateway:problem:";

/// A refused request. Each variant says what the peer sees; the reason is also the operator's log line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// 400: no `From` header, several, or not `mimi@domain`.
    #[error("From: {0}")]
    BadFrom(&'static str),
    /// 403: `From` names a domain that the certificate does not prove.
    #[error("From does not agree with the certificate")]
    FromMismatch,
    /// 400: the variable of the path is not what the endpoint takes.
    #[error("path: {0}")]
    BadPath(&'static str),
    /// 404: no such endpoint.
    #[error("no such endpoint")]
    UnknownPath,
    /// 405: an endpoint, but not with this method.
    #[error("method not allowed here")]
    WrongMethod,
    /// 408: the body did not come in time.
    #[error("the body did not come in time")]
    SlowBody,
    /// 413: the body is larger than the endpoint takes.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// 415: a compressed, text or JSON body.
    #[error("unsupported body: {0}")]
    BodyType(&'static str),
    /// 400: the body broke off or its framing is wrong.
    #[error("the body broke off")]
    BrokenBody,
    /// 421: `Host` names another provider.
    #[error("Host is not a name of this provider")]
    WrongHost,
    /// 503: no answer in time; the same bytes may be sent again.
    #[error("no answer in time")]
    TooSlow,
    /// What the engine or an endpoint's own checks say.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// A refusal's HTTP side.
struct Shape {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    retry_after: Option<u32>,
}

impl Refusal {
    fn shape(&self) -> Shape {
        let shape = |status, kind, title| Shape { status, kind, title, retry_after: None };
        match self {
            Self::BadFrom(_) => shape(StatusCode::BAD_REQUEST, "from", "The From header is missing or malformed"),
            Self::FromMismatch => {
                shape(StatusCode::FORBIDDEN, "from-mismatch", "The From header does not agree with the certificate")
            }
            Self::BadPath(_) => shape(StatusCode::BAD_REQUEST, "path", "The path is malformed"),
            Self::UnknownPath => shape(StatusCode::NOT_FOUND, "no-endpoint", "No such endpoint"),
            Self::WrongMethod => shape(StatusCode::METHOD_NOT_ALLOWED, "method", "Method not allowed"),
            Self::SlowBody => shape(StatusCode::REQUEST_TIMEOUT, "slow-body", "The body came too slowly"),
            Self::TooLarge(_) => shape(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::BodyType(_) => {
                shape(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body-type", "This kind of body is not taken")
            }
            Self::BrokenBody => shape(StatusCode::BAD_REQUEST, "broken-body", "The body is incomplete"),
            Self::WrongHost => shape(StatusCode::MISDIRECTED_REQUEST, "host", "The Host is another provider"),
            Self::TooSlow => Shape {
                retry_after: Some(5),
                ..shape(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable")
            },
            Self::Problem(Problem::Malformed(_)) => {
                shape(StatusCode::BAD_REQUEST, "malformed", "The body is malformed")
            }
            Self::Problem(Problem::Forbidden(_)) => shape(StatusCode::FORBIDDEN, "forbidden", "Forbidden"),
            Self::Problem(Problem::NotFound) => shape(StatusCode::NOT_FOUND, "not-found", "Not found"),
            Self::Problem(Problem::TooMany(seconds)) => Shape {
                retry_after: Some(*seconds),
                ..shape(StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many requests")
            },
            Self::Problem(Problem::Unavailable(seconds)) => Shape {
                retry_after: Some(*seconds),
                ..shape(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Temporarily unavailable")
            },
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.shape().status
    }
}

/// The refusal itself rides along as an extension, so that the server writes one log line for it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let shape = self.shape();
        let document = serde_json::json!({
            "type": format!("{TYPE_PREFIX}{}", shape.kind),
            "title": shape.title,
            "status": shape.status.as_u16(),
            "detail": self.to_string(),
        });
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = shape.status;
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = shape.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_a_problem_document() {
        let response = Refusal::from(Problem::TooMany(7)).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(document["type"], "urn:mimi-gateway:problem:too-many");
        assert_eq!(document["status"], 429);
        assert_eq!(document["detail"], "too many requests");
    }

    #[test]
    fn only_temporary_refusals_say_when_to_come_again() {
        for (refusal, status) in [
            (Refusal::BadFrom("missing"), 400),
            (Refusal::FromMismatch, 403),
            (Refusal::TooLarge(1), 413),
            (Refusal::BodyType("json"), 415),
            (Refusal::WrongHost, 421),
            (Problem::NotFound.into(), 404),
            (Problem::Forbidden(String::new()).into(), 403),
        ] {
            let response = refusal.into_response();
            assert_eq!(response.status(), status);
            assert!(!response.headers().contains_key("retry-after"));
        }
        assert_eq!(Refusal::TooSlow.into_response().headers()["retry-after"], "5");
    }
}
