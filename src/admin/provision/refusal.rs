//! Answers that are no success: an object with a code for programs, and words for people that say what to do.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{engine::OrderError, room};

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    #[serde(skip)]
    status: StatusCode,
    /// A code for programs: Matrix' where it has one.
    errcode: &'static str,
    /// For people.
    error: String,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Refusal {
    fn new(status: StatusCode, errcode: &'static str, error: impl Into<String>) -> Self {
        Self { status, errcode, error: error.into(), retry_after_ms: None }
    }

    fn after(self, seconds: u32) -> Self {
        Self { retry_after_ms: (seconds > 0).then_some(u64::from(seconds) * 1000), ..self }
    }

    pub(super) fn no_secret() -> Self {
        let text = "Send the header “Authorization: Bearer SECRET”, with provisioning.shared_secret of the settings.";
        Self::new(StatusCode::UNAUTHORIZED, "M_MISSING_TOKEN", text)
    }
    pub(super) fn wrong_secret() -> Self {
        let text = "That is not provisioning.shared_secret of the settings.";
        Self::new(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN", text)
    }
    pub(super) fn no_user() -> Self {
        let text = "Say for whom: ?user_id=@name:server, a Matrix user of this gateway's homeserver.";
        Self::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", text)
    }
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", text)
    }
    pub(super) fn not_json(error: &serde_json::Error) -> Self {
        let code = if error.is_data() { "M_BAD_JSON" } else { "M_NOT_JSON" };
        Self::new(StatusCode::BAD_REQUEST, code, format!("The body is not what it should be: {error}."))
    }
    pub(super) fn not_found(text: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", text)
    }
    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", text)
    }
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", "The body is too large.")
    }
    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", "The body did not come in time.")
    }
    pub(super) fn too_many(seconds: u32) -> Self {
        let text = "Too many requests for this user; provisioning.max_requests_per_user_per_minute is reached.";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", text).after(seconds)
    }
    pub(super) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "MIMI_UNAVAILABLE", "Too many requests at one time.").after(1)
    }
    pub(super) fn other_request() -> Self {
        let text = "This Idempotency-Key was used for another request; each order needs a key of its own.";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "MIMI_KEY_REUSED", text)
    }
    pub(super) fn under_way() -> Self {
        let text = "This is being worked on. Ask again with the same Idempotency-Key to hear what came of it.";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "MIMI_UNDER_WAY", text).after(1)
    }
    pub(super) fn unrecognized() -> Self {
        let text = "There is no such thing here; /_mimi/provision/v1/openapi.json says what there is.";
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", text)
    }
    pub(super) fn wrong_method() -> Self {
        let text = "Not by this method; /_mimi/provision/v1/openapi.json says by which.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", text)
    }
}

impl From<room::Refusal> for Refusal {
    fn from(room::Refusal { cause, text }: room::Refusal) -> Self {
        use room::Cause;
        match cause {
            Cause::NotPermitted => Self::forbidden(text),
            Cause::TooMany(seconds) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", text).after(seconds)
            }
            Cause::NotFound => Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", text),
            Cause::Conflict => Self::new(StatusCode::CONFLICT, "MIMI_CONFLICT", text),
            Cause::Invalid => Self::invalid(text),
            Cause::Unreachable => Self::new(StatusCode::BAD_GATEWAY, "MIMI_UNREACHABLE", text),
        }
    }
}

impl From<OrderError> for Refusal {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Refused(refusal) => refusal.into(),
            OrderError::NotNow(text) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "MIMI_UNAVAILABLE", text).after(5),
            OrderError::Failed(text) => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", text),
        }
    }
}

impl From<crate::store::StoreError> for Refusal {
    fn from(error: crate::store::StoreError) -> Self {
        OrderError::from(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let after = self.retry_after_ms.map(|ms| HeaderValue::from(ms.div_ceil(1000)));
        let mut response = (self.status, Json(self)).into_response();
        if let Some(after) = after {
            response.headers_mut().insert(RETRY_AFTER, after);
        }
        response
    }
}
