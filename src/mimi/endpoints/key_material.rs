//! `POST /v1/keyMaterial/{targetUser}` (draft-ietf-mimi-protocol-06 section 5.2): KeyPackages of a user.
//!
//! ```text
//!  requester's provider --> the room's hub --(the same bytes)--> target's provider
//! ```
//! 200 with a `KeyMaterialResponse`. As the target's provider we are asked by the requester's provider or by the hub of
//! the room that the request names; as hub we pass on what the requester's own provider asks. Anybody else is 403.

use std::sync::Arc;

use axum::{Extension, body::Body, extract::State, response::Response};
use http::Request;

use super::{decode, must_be_peer, must_name, variable};
use crate::{
    engine::ports::{Problem, VerifiedPeer},
    ident::{ProviderDomain, RoomUri, UserUri},
    mimi::{
        app::{App, Caller, answer},
        refusal::Refusal,
    },
    wire::{KeyMaterialRequest, path},
};

/// Largest body, in bytes. A signed request; most of it is the credential.
const MAX_BODY: usize = 512 << 10;

pub(super) async fn post(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let target =
        path::user(variable(request.uri().path(), "keyMaterial")?).map_err(|_| Refusal::BadPath("not a user"))?;
    let received = app.body(&caller, request, MAX_BODY).await?;
    let wanted = decode::<KeyMaterialRequest>(&received.bytes)?;
    let wanted = wanted.tbs();
    if wanted.target_user != target {
        return Err(Problem::Malformed("targetUser is not the user in the path".into()).into());
    }
    may_ask(&app.own_domain, &caller.0, &target, &wanted.requesting_user, wanted.room.as_ref())?;
    must_name(&wanted.requesting_user.provider(), &wanted.requester_credential, "requesterCredential")?;
    Ok(answer(app.inbound.key_material(caller.0, target, received.bytes).await?))
}

fn may_ask(
    own: &ProviderDomain,
    peer: &VerifiedPeer,
    target: &UserUri,
    requester: &UserUri,
    room: Option<&RoomUri>,
) -> Result<(), Refusal> {
    let hub = room.map(RoomUri::hub);
    if target.provider() == *own {
        // Forwarded by the room's hub, unchanged: the requester is then any provider's but ours.
        if hub.as_ref() == Some(peer.domain()) && requester.provider() != *own {
            return Ok(());
        }
        return must_be_peer(peer, &requester.provider(), "requestingUser");
    }
    // Somebody else's user: only as the hub of the room, and never back to where it came from.
    if hub.as_ref() != Some(own) {
        return Err(Problem::NotFound.into());
    }
    must_be_peer(peer, &requester.provider(), "requestingUser")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(peer: &str, target: &str, requester: &str, room: Option<&str>) -> u16 {
        let user = |text: &str| UserUri::parse(&format!("mimi://{text}.example/u/x")).unwrap();
        let room = room.map(|hub| RoomUri::parse(&format!("mimi://{hub}.example/r/x")).unwrap());
        let domain = |text: &str| ProviderDomain::parse(&format!("{text}.example")).unwrap();
        let peer = VerifiedPeer::assert_verified(domain(peer));
        let result = may_ask(&domain("own"), &peer, &user(target), &user(requester), room.as_ref());
        result.map_or_else(|refusal| refusal.status().as_u16(), |()| 200)
    }

    #[test]
    fn a_peer_asks_for_its_own_users() {
        assert_eq!(may("b", "own", "b", None), 200);
        assert_eq!(may("b", "own", "b", Some("own")), 200);
        assert_eq!(may("b", "own", "b", Some("b")), 200);
        assert_eq!(may("b", "own", "c", None), 403);
        assert_eq!(may("b", "own", "c", Some("own")), 403);
        assert_eq!(may("b", "own", "c", Some("d")), 403);
    }

    #[test]
    fn a_hub_forwards_for_its_own_rooms() {
        assert_eq!(may("b", "own", "c", Some("b")), 200);
        assert_eq!(may("b", "own", "own", Some("b")), 403);
    }

    #[test]
    fn as_hub_we_are_asked_for_others_users_by_the_requesters_provider() {
        assert_eq!(may("b", "c", "b", Some("own")), 200);
        assert_eq!(may("b", "b", "b", Some("own")), 200);
        assert_eq!(may("b", "c", "d", Some("own")), 403);
        assert_eq!(may("b", "c", "b", Some("b")), 404);
        assert_eq!(may("b", "c", "b", None), 404);
    }
}
