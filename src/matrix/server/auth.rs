//! The homeserver's token: `Authorization: Bearer`, or the older `?access_token=`, compared in constant time.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Shared, refusal::Refusal};

/// The expected token, kept as its hash: comparing hashes takes the same time for tokens of any length.
pub(super) struct HsToken([u8; 32]);

impl HsToken {
    pub(super) fn new(token: &SecretString) -> Self {
        Self(hash(token.expose_secret().as_bytes()))
    }

    /// Every token that the request carries must be the right one, and there must be one.
    fn check(&self, headers: &HeaderMap, query: Option<&str>) -> Result<(), Refusal> {
        let mut seen = false;
        let mut good = Choice::from(1);
        let mut judge = |token: &[u8]| {
            seen = true;
            good &= hash(token).ct_eq(&self.0);
        };
        for value in headers.get_all(AUTHORIZATION) {
            if let Some(token) = bearer(value.as_bytes()) {
                judge(token);
            }
        }
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if name == "access_token" {
                judge(value.as_bytes());
            }
        }
        match (seen, bool::from(good)) {
            (false, _) => Err(Refusal::no_token()),
            (true, false) => Err(Refusal::wrong_token()),
            (true, true) => Ok(()),
        }
    }
}

fn hash(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The token of a `Bearer` header; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Refuses before the body is read.
pub(super) async fn require_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    match shared.token.check(request.headers(), request.uri().query()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}
