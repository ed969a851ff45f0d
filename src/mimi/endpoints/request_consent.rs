//! `POST /v1/requestConsent/{targetDomain}` (draft-ietf-mimi-protocol-06 section 5.7): a peer's user asks for, or no
//! longer asks for, the consent of one of our users.
//!
//! 201 whether or not the user exists. 403 unless the requester is the peer's user and the target ours; 404 for
//! another provider's domain; 400 for an entry that is a grant or revocation.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{consent_entry, must_be_ours, must_be_peer};
use crate::{
    engine::ports::Problem,
    mimi::{
        app::{App, Caller, taken},
        refusal::Refusal,
    },
    wire::ConsentAction,
};

/// Largest body, in bytes. Three URIs, and room for extensions.
const MAX_BODY: usize = 256 << 10;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let (entry, received) = consent_entry(&app, &caller, request, "requestConsent", MAX_BODY).await?;
    match entry.action {
        ConsentAction::Request | ConsentAction::Cancel => {}
        ConsentAction::Grant { .. } | ConsentAction::Revoke => {
            return Err(Problem::Malformed("a grant or revocation is for updateConsent".into()).into());
        }
    }
    must_be_peer(&caller.0, &entry.requester.provider(), "requesterUri")?;
    must_be_ours(&app, &entry.target.provider(), "targetUri")?;
    app.inbound.request_consent(caller.0, received.bytes).await?;
    Ok(taken())
}
