//! How many invitations a peer may have here at one time that were not accepted: each is a Matrix room, rows, and a task.
//!
//! An invitation has its place from the moment it is taken in until it is accepted, or for a week. Being declined, ignored or
//! taken back, a block, and that there is no such user make no difference: by its places a peer could count who declined
//! otherwise. Places are stored, so a restart tells nothing either.

use std::{collections::BTreeMap, sync::Mutex};

use super::{
    actor::{Actor, After},
    core::{Engine, lock, now},
    ports::{Actor as MatrixActor, Millis, Problem},
    presence::To,
    tables::{BLOCKED, CONSENT, Consent, KEY_PACKAGES, PLACES},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    room::{About, Input, Names as _, Phase, Room},
    store::{Batch, Database, StoreError},
};

/// Target, requester, room; an empty room stands for every room.
pub(super) type Invitation = (String, String, String);

/// How long an invitation that is not accepted keeps its place, in milliseconds.
const LASTS: Millis = 7 * 24 * 60 * 60 * 1000;
/// Whom to tell to come again: not before this many seconds.
const COME_AGAIN: u32 = 300;

/// The places of all peers.
pub(super) struct Asking {
    limit: usize,
    peers: Mutex<BTreeMap<ProviderDomain, BTreeMap<Invitation, Millis>>>,
}

fn is_over(since: Millis, now: Millis) -> bool {
    since.saturating_add(LASTS) <= now
}

impl Asking {
    /// What the store has.
    pub(super) async fn load(db: &Database, limit: usize) -> Result<Self, StoreError> {
        let asking = Self { limit, peers: Mutex::default() };
        for (invitation, (peer, since)) in PLACES.scan_all(db, &()).await? {
            lock(&asking.peers).entry(peer).or_default().insert(invitation, since);
        }
        Ok(asking)
    }

    /// Gives an invitation its place. `false`: it has it already. An error: the peer has too many.
    pub(super) fn take(&self, peer: &ProviderDomain, invitation: &Invitation, now: Millis) -> Result<bool, Problem> {
        let mut peers = lock(&self.peers);
        let places = peers.entry(peer.clone()).or_default();
        if places.contains_key(invitation) {
            return Ok(false);
        }
        if places.len() >= self.limit {
            places.retain(|_, since| !is_over(*since, now));
        }
        if places.len() >= self.limit {
            return Err(Problem::TooMany(COME_AGAIN));
        }
        places.insert(invitation.clone(), now);
        Ok(true)
    }

    /// The invitation was accepted, or never stored.
    pub(super) fn end(&self, invitation: &Invitation) {
        for places in lock(&self.peers).values_mut() {
            places.remove(invitation);
        }
    }
}

impl Engine {
    /// Forgets places that are over.
    pub(super) async fn forget_places(&self) -> Result<(), StoreError> {
        let mut batch = Batch::new("places that are over");
        for (invitation, (_, since)) in PLACES.scan_all(&self.0.db, &()).await? {
            if is_over(since, now()) {
                PLACES.delete(&mut batch, &invitation);
            }
        }
        if batch.is_empty() { Ok(()) } else { self.0.db.commit(batch).await.map(drop) }
    }
}

impl Actor {
    /// Whether there is no room, or one that nobody of ours is in or asked into.
    pub(super) fn is_idle(&self) -> bool {
        self.room.as_ref().is_none_or(|room| {
            let open = !room.asked.is_empty() || !room.present.is_empty() || !room.queue.is_empty();
            !open && self.group.member.is_none() && matches!(room.phase, Phase::Invited | Phase::Left)
        })
    }

    /// Our user `target` is asked in. Whether it is open then what the user says.
    pub(super) async fn asked(
        &mut self,
        requester: &UserUri,
        target: &UserUri,
        about: &std::collections::BTreeMap<u16, Vec<u8>>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<bool, StoreError> {
        let db = &self.engine.0.db;
        let (of, by) = (target.to_string(), requester.to_string());
        let blocked = BLOCKED.get(db, &(of.clone(), by.clone())).await?.is_some();
        let standing = CONSENT.get(db, &(of, by, String::new())).await? == Some(Consent::Granted);
        let Some(id) = self.engine.0.names.matrix_id(target) else { return Ok(false) };
        if blocked {
            tracing::info!(room = %self.uri, %target, "somebody asks for a user who blocks them; nobody is told");
            return Ok(false);
        }
        if !self.engine.0.settings.rights.may_meet(&id, &requester.provider()) {
            tracing::info!(room = %self.uri, %target, "somebody asks for a user whom the settings keep from that provider; nobody is told");
            return Ok(false);
        }
        if !user_exists(&self.engine, &id).await? {
            tracing::info!(room = %self.uri, %target, "somebody asks for a user that is not here; nobody is told");
            return Ok(false);
        }
        if self.room.is_none() {
            let Ok(uri) = RoomUri::parse(&self.uri) else { return Ok(false) };
            if self.engine.no_more_rooms_of(&uri.hub(), &self.uri).is_some() {
                return Ok(false);
            }
            if uri.hub() == *self.engine.0.names.domain() {
                tracing::info!(room = %self.uri, %requester, "somebody asks into a room of ours that is not there; nobody is told");
                return Ok(false);
            }
            self.room = Some(Room::new(uri, Phase::Invited, MatrixActor::Bot));
            // In this order: a KeyPackage may be given out meanwhile.
            lock(&self.engine.0.unanswered).insert(self.uri.clone());
            if !KEY_PACKAGES.scan(db, &self.uri, None, 1).await?.rows.is_empty() {
                lock(&self.engine.0.unanswered).remove(&self.uri);
            }
        }
        let about = About::read(about);
        let input = Input::Asked { requester: requester.clone(), target: target.clone(), about, standing };
        self.run(input, batch, after).await?;
        Ok(self
            .room
            .as_ref()
            .is_some_and(|room| room.asked.get(target) == Some(requester) && !room.present.contains(target)))
    }

    pub(super) fn invitation(&self, target: &UserUri, requester: &UserUri) -> Invitation {
        (target.to_string(), requester.to_string(), self.uri.clone())
    }
}

/// Asks the homeserver, until it answers, whether the user exists. An error: the engine stops, and nothing is decided.
async fn user_exists(engine: &Engine, user: &ruma::UserId) -> Result<bool, StoreError> {
    loop {
        match engine.0.homeserver.user_exists(user).await {
            Ok(exists) => {
                engine.call_answered(To::Homeserver, "users");
                return Ok(exists);
            }
            Err(error) => {
                tracing::debug!(%user, %error, "the homeserver does not say whether a user exists");
                engine.call_failed(To::Homeserver, "users", &error).await;
            }
        }
        tokio::select! {
            () = engine.0.stop.cancelled() => return Err(StoreError::Closed("the engine stops".to_owned())),
            () = tokio::time::sleep(engine.0.settings.retry) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str) -> ProviderDomain {
        ProviderDomain::parse(name).unwrap()
    }

    fn invitation(number: u32) -> Invitation {
        ("target".into(), "requester".into(), number.to_string())
    }

    fn of(limit: usize) -> Asking {
        Asking { limit, peers: Mutex::default() }
    }

    #[test]
    fn each_peer_has_so_many_and_acceptance_makes_room() {
        let (asking, b, c) = (of(2), peer("b.example"), peer("c.example"));
        assert_eq!(asking.take(&b, &invitation(1), 0), Ok(true));
        assert_eq!(asking.take(&b, &invitation(2), 0), Ok(true));
        assert_eq!(asking.take(&b, &invitation(3), 0), Err(Problem::TooMany(COME_AGAIN)));
        // The same one again is the same one.
        assert_eq!(asking.take(&b, &invitation(2), 0), Ok(false));
        assert_eq!(asking.take(&c, &invitation(3), 0), Ok(true));
        asking.end(&invitation(1));
        assert_eq!(asking.take(&b, &invitation(3), 0), Ok(true));
    }

    #[test]
    fn so_does_time() {
        let (asking, b) = (of(1), peer("b.example"));
        asking.take(&b, &invitation(1), 5).unwrap();
        assert!(asking.take(&b, &invitation(2), 5 + LASTS - 1).is_err());
        assert_eq!(asking.take(&b, &invitation(2), 5 + LASTS), Ok(true));
    }
}
