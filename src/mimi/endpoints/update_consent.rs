//! `POST /v1/updateConsent/{requesterDomain}` (draft-ietf-mimi-protocol-06 section 5.7): a peer's user consents, or no
//! longer consents, to one of our users.
//!
//! Answers 201; 403 unless the target is the peer's user and the requester ours: a peer that could grant for somebody else's
//! users would open them to anybody (ATTACKS S3a). 404 for another provider's domain; 400 for an entry that asks.

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

/// Largest body, in bytes. KeyPackages of all clients of a user.
const MAX_BODY: usize = 4 << 20;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let (entry, received) = consent_entry(&app, &caller, request, "updateConsent", MAX_BODY).await?;
    match entry.action {
        ConsentAction::Grant { .. } | ConsentAction::Revoke => {}
        ConsentAction::Request | ConsentAction::Cancel => {
            return Err(Problem::Malformed("a request or its cancellation is for requestConsent".into()).into());
        }
    }
    must_be_peer(&caller.0, &entry.target.provider(), "targetUri")?;
    must_be_ours(&app, &entry.requester.provider(), "requesterUri")?;
    app.inbound.update_consent(caller.0, received.bytes).await?;
    Ok(taken())
}
