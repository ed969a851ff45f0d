//! Why a request gets no MIMI answer, as HTTP: status, problem document (RFC 9457) and `Retry-After`.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use super::assets::FetchError;
use crate::{
    engine::ports::Problem,
    wire::{ProblemDocument, ProblemType},
};

/// Media type of a problem document.
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static(ProblemDocument::MEDIA_TYPE);
/// Seconds after which a request that got no answer in time may come again.
const RETRY_SLOW: u32 = 5;

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
    /// 404: `Host` names another provider.
    #[error("Host is not a name of this provider")]
    WrongHost,
    /// 503: no answer in time; the same bytes may be sent again.
    #[error("no answer in time")]
    TooSlow,
    /// 403, 404, 502, 503 or 504: the asset cannot be had.
    #[error("asset: {0}")]
    Asset(#[from] FetchError),
    /// 400: an encapsulated request under another key.
    #[error("Oblivious HTTP: no such key, or it does not open the request")]
    ObliviousKey,
    /// 409: an encapsulated request that came before.
    #[error("Oblivious HTTP: this request came before")]
    Replay,
    /// What the engine or an endpoint's own checks say.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl Refusal {
    fn kind(&self) -> ProblemType {
        match self {
            Self::BadFrom(_) => ProblemType::BadFrom,
            Self::FromMismatch | Self::Problem(Problem::Forbidden(_)) => ProblemType::Forbidden,
            Self::BadPath(_) | Self::BrokenBody | Self::Problem(Problem::Malformed(_)) => ProblemType::Malformed,
            Self::UnknownPath | Self::WrongHost | Self::Problem(Problem::NotFound) => ProblemType::NotFound,
            Self::WrongMethod => ProblemType::MethodNotAllowed,
            Self::SlowBody => ProblemType::RequestTimeout,
            Self::TooLarge(_) => ProblemType::TooLarge,
            Self::BodyType(_) => ProblemType::UnsupportedMediaType,
            Self::TooSlow | Self::Problem(Problem::Unavailable(_)) => ProblemType::Unavailable,
            Self::Problem(Problem::TooMany(_)) => ProblemType::TooMany,
            Self::Asset(error) => match error {
                FetchError::NotFound => ProblemType::NotFound,
                FetchError::Refused(_) => ProblemType::Forbidden,
                FetchError::TooLarge(_) | FetchError::Bad(_) => ProblemType::BadGateway,
                FetchError::Slow => ProblemType::GatewayTimeout,
                FetchError::Busy | FetchError::Disk(_) => ProblemType::Unavailable,
            },
            Self::ObliviousKey => ProblemType::ObliviousKey,
            Self::Replay => ProblemType::Replay,
        }
    }

    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::TooSlow | Self::Asset(FetchError::Busy | FetchError::Disk(_) | FetchError::Slow) => Some(RETRY_SLOW),
            Self::Problem(Problem::TooMany(seconds) | Problem::Unavailable(seconds)) => Some(*seconds),
            Self::Problem(Problem::Malformed(_) | Problem::Forbidden(_) | Problem::NotFound)
            | Self::BadFrom(_)
            | Self::FromMismatch
            | Self::BadPath(_)
            | Self::UnknownPath
            | Self::WrongMethod
            | Self::SlowBody
            | Self::TooLarge(_)
            | Self::BodyType(_)
            | Self::BrokenBody
            | Self::WrongHost
            | Self::Asset(
                FetchError::NotFound | FetchError::Refused(_) | FetchError::TooLarge(_) | FetchError::Bad(_),
            )
            | Self::ObliviousKey
            | Self::Replay => None,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The refusal itself rides along as an extension, so that the server writes one log line for it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let document = self.kind().document(Some(self.to_string()));
        // A document of plain strings always serialises.
        let mut response = Response::new(Body::from(serde_json::to_vec(&document).unwrap_or_default()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = self.retry_after() {
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
        assert_eq!(document["type"], ProblemType::TooMany.uri());
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
            (Refusal::WrongHost, 404),
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
