//! How many unanswered invitations a peer may have here at one time: each is a Matrix room, rows, and a task.
//!
//! An invitation has its place from the moment it is taken in until it is answered, refused or forgotten. One that the peer
//! takes back keeps its place for a day, since asking and taking back in turns costs us as much as asking. What is open
//! stands in the store (`CONSENT`, and `INBOX` before its room came to it), so a restart changes no more than that.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Mutex,
};

use super::{
    actor::{Actor, After},
    core::{Engine, lock},
    ports::{Actor as MatrixActor, Millis, Problem},
    presence::To,
    tables::{CONSENT, Consent},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    room::{About, Input, Names as _, Phase, Room},
    store::{Batch, Database, StoreError},
};

/// Target, requester, room.
pub(super) type Invitation = (String, String, String);

/// How long an invitation that was taken back keeps its place, in milliseconds.
const COOLING: Millis = 24 * 60 * 60 * 1000;
/// Whom to tell to come again: not before this many seconds.
const COME_AGAIN: u32 = 300;
/// Rows of the store that are read at once.
const PAGE: usize = 1000;

#[derive(Default)]
struct Places {
    open: BTreeSet<Invitation>,
    /// When invitations were taken back, oldest first.
    cooling: VecDeque<Millis>,
}

/// The places of all peers.
pub(super) struct Asking {
    limit: usize,
    peers: Mutex<BTreeMap<ProviderDomain, Places>>,
}

/// How an invitation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Answered, refused, or nobody's any more.
    Here,
    /// Whoever asked took it back.
    TakenBack,
}

impl Asking {
    /// What the store has as open.
    pub(super) async fn load(db: &Database, limit: usize) -> Result<Self, StoreError> {
        let asking = Self { limit, peers: Mutex::default() };
        let mut after = None;
        loop {
            let page = CONSENT.scan(db, &(), after, PAGE).await?;
            for (invitation, consent) in page.rows {
                if let Consent::Pending(peer) = consent {
                    asking.restore(&peer, invitation);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(asking);
            }
        }
    }

    /// One that is stored has its place, limit or not.
    pub(super) fn restore(&self, peer: &ProviderDomain, invitation: Invitation) {
        lock(&self.peers).entry(peer.clone()).or_default().open.insert(invitation);
    }

    /// Gives an invitation its place. `false`: it has it already. An error: the peer has too many.
    pub(super) fn take(&self, peer: &ProviderDomain, invitation: &Invitation, now: Millis) -> Result<bool, Problem> {
        let mut peers = lock(&self.peers);
        let places = peers.entry(peer.clone()).or_default();
        if places.open.contains(invitation) {
            return Ok(false);
        }
        while places.cooling.front().is_some_and(|since| since.saturating_add(COOLING) <= now) {
            places.cooling.pop_front();
        }
        if places.open.len() + places.cooling.len() >= self.limit {
            return Err(Problem::TooMany(COME_AGAIN));
        }
        Ok(places.open.insert(invitation.clone()))
    }

    /// The invitation ended, if it was one.
    pub(super) fn end(&self, invitation: &Invitation, how: Ended, now: Millis) {
        for places in lock(&self.peers).values_mut() {
            if places.open.remove(invitation) && how == Ended::TakenBack {
                places.cooling.push_back(now);
            }
        }
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
        let Some(id) = self.engine.0.names.matrix_id(target) else { return Ok(false) };
        if !user_exists(&self.engine, &id).await? {
            tracing::info!(room = %self.uri, %target, "somebody asks for a user that is not here; nobody is told");
            return Ok(false);
        }
        if self.room.is_none() {
            let Ok(uri) = RoomUri::parse(&self.uri) else { return Ok(false) };
            if uri.hub() == *self.engine.0.names.domain() {
                tracing::info!(room = %self.uri, %requester, "somebody asks into a room of ours that is not there; nobody is told");
                return Ok(false);
            }
            self.room = Some(Room::new(uri, Phase::Invited, MatrixActor::Bot));
        }
        let about = About::read(about);
        let input = Input::Asked { requester: requester.clone(), target: target.clone(), about };
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
    fn each_peer_has_so_many_and_answers_make_room() {
        let (asking, b, c) = (of(2), peer("b.example"), peer("c.example"));
        assert_eq!(asking.take(&b, &invitation(1), 0), Ok(true));
        assert_eq!(asking.take(&b, &invitation(2), 0), Ok(true));
        assert_eq!(asking.take(&b, &invitation(3), 0), Err(Problem::TooMany(COME_AGAIN)));
        // The same one again is the same one.
        assert_eq!(asking.take(&b, &invitation(2), 0), Ok(false));
        assert_eq!(asking.take(&c, &invitation(3), 0), Ok(true));
        asking.end(&invitation(1), Ended::Here, 0);
        assert_eq!(asking.take(&b, &invitation(3), 0), Ok(true));
    }

    #[test]
    fn taking_back_makes_room_the_day_after() {
        let (asking, b) = (of(1), peer("b.example"));
        asking.take(&b, &invitation(1), 5).unwrap();
        asking.end(&invitation(1), Ended::TakenBack, 10);
        asking.end(&invitation(1), Ended::TakenBack, 11);
        assert!(asking.take(&b, &invitation(2), 10 + COOLING - 1).is_err());
        assert_eq!(asking.take(&b, &invitation(2), 10 + COOLING), Ok(true));
    }
}
