//! Problem documents (RFC 9457): what a peer gets instead of a MIMI body. The MIMI drafts register no types; ours are
//! URNs of this gateway, and a peer needs to understand nothing but the HTTP status.

use serde::{Deserialize, Serialize};

/// Everything that can be wrong with a request before a MIMI response code applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemType {
    /// The body does not decode, or says things that cannot be. Sending it again does not help.
    Malformed,
    /// The `From` header is missing, double, or no `mimi@domain`.
    BadFrom,
    /// The peer is not known here, or speaks for a domain that is not its own.
    Forbidden,
    /// No such room, user or endpoint here.
    NotFound,
    /// The endpoint takes another method.
    MethodNotAllowed,
    /// The request took too long to arrive.
    RequestTimeout,
    /// The body is over the limit.
    TooLarge,
    /// The body is encoded, or of a type that is not MIMI's.
    UnsupportedMediaType,
    /// Over a quota: again after `Retry-After`.
    TooMany,
    /// Something is broken here; nothing was acknowledged.
    Internal,
    /// This gateway does not do that.
    NotImplemented,
    /// Not now: again after `Retry-After`. Nothing was stored.
    Unavailable,
    /// The server that was to be asked gave nothing of use.
    BadGateway,
    /// The server that was to be asked is too slow.
    GatewayTimeout,
    /// The key of an encapsulated request is not known, or does not open it (RFC 9458 section 7.3): get the keys again.
    ObliviousKey,
    /// An encapsulated request that came before.
    Replay,
}

impl ProblemType {
    /// Every type.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::BadFrom,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::TooMany,
        Self::Internal,
        Self::NotImplemented,
        Self::Unavailable,
        Self::BadGateway,
        Self::GatewayTimeout,
        Self::ObliviousKey,
        Self::Replay,
    ];

    /// The type's URI.
    #[must_use]
    pub fn uri(self) -> &'static str {
        match self {
            Self::Malformed => "urn:x-mimi-gateway:problem:malformed",
            Self::BadFrom => "urn:x-mimi-gateway:problem:bad-from",
            Self::Forbidden => "urn:x-mimi-gateway:problem:forbidden",
            Self::NotFound => "urn:x-mimi-gateway:problem:not-found",
            Self::MethodNotAllowed => "urn:x-mimi-gateway:problem:method-not-allowed",
            Self::RequestTimeout => "urn:x-mimi-gateway:problem:request-timeout",
            Self::TooLarge => "urn:x-mimi-gateway:problem:too-large",
            Self::UnsupportedMediaType => "urn:x-mimi-gateway:problem:unsupported-media-type",
            Self::TooMany => "urn:x-mimi-gateway:problem:too-many-requests",
            Self::Internal => "urn:x-mimi-gateway:problem:internal",
            Self::NotImplemented => "urn:x-mimi-gateway:problem:not-implemented",
            Self::Unavailable => "urn:x-mimi-gateway:problem:unavailable",
            Self::BadGateway => "urn:x-mimi-gateway:problem:bad-gateway",
            Self::GatewayTimeout => "urn:x-mimi-gateway:problem:gateway-timeout",
            Self::ObliviousKey => "https://iana.org/assignments/http-problem-types#ohttp-key",
            Self::Replay => "urn:x-mimi-gateway:problem:replay",
        }
    }

    /// A sentence for people, the same for every problem of the type.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request is malformed.",
            Self::BadFrom => "The From header must be exactly one mimi@domain.",
            Self::Forbidden => "This provider may not do that.",
            Self::NotFound => "There is nothing here by that name.",
            Self::MethodNotAllowed => "This endpoint takes another method.",
            Self::RequestTimeout => "The request took too long to arrive.",
            Self::TooLarge => "The body is too large.",
            Self::UnsupportedMediaType => "The body has a type or an encoding that is not accepted.",
            Self::TooMany => "Too many requests.",
            Self::Internal => "Something went wrong here.",
            Self::NotImplemented => "This gateway does not do that.",
            Self::Unavailable => "Not available at the moment.",
            Self::BadGateway => "The server behind gave nothing of use.",
            Self::GatewayTimeout => "The server behind is too slow.",
            Self::ObliviousKey => "The key is not known here.",
            Self::Replay => "This request was here before.",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::BadFrom | Self::ObliviousKey => 400,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Replay => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::NotImplemented => 501,
            Self::BadGateway => 502,
            Self::Unavailable => 503,
            Self::GatewayTimeout => 504,
        }
    }

    /// The document for one occurrence; `detail` must hold no secrets and nothing of a body.
    #[must_use]
    pub fn document(self, detail: Option<String>) -> ProblemDocument {
        ProblemDocument {
            problem_type: self.uri().to_owned(),
            title: self.title().to_owned(),
            status: self.status(),
            detail,
        }
    }
}

/// A problem document. When one is received, only its status and detail are of use, and the detail is untrusted text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// URI of the type.
    #[serde(rename = "type", default = "about_blank")]
    pub problem_type: String,
    /// The type in words.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    #[serde(default)]
    pub status: u16,
    /// This occurrence in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

impl ProblemDocument {
    /// Media type of a problem document.
    pub const MEDIA_TYPE: &'static str = "application/problem+json";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_uri_and_an_error_status() {
        let uris: std::collections::BTreeSet<_> = ProblemType::ALL.iter().map(|t| t.uri()).collect();
        assert_eq!(uris.len(), ProblemType::ALL.len());
        assert!(ProblemType::ALL.iter().all(|t| (400..600).contains(&t.status()) && !t.title().is_empty()));
    }

    #[test]
    fn a_document_is_written_as_rfc_9457_has_it() {
        let json = serde_json::to_string(&ProblemType::TooLarge.document(Some("16 MiB at most".into()))).unwrap();
        assert_eq!(
            json,
            r#"{"type":"urn:x-mimi-gateway:problem:too-large","title":"The body is too large.","status":413,"detail":"16 MiB at most"}"#
        );
        let other: ProblemDocument = serde_json::from_str(r#"{"status":503,"instance":"x"}"#).unwrap();
        assert_eq!((other.problem_type.as_str(), other.status, other.detail), ("about:blank", 503, None));
    }
}
