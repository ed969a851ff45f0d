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
    core::lock,
    ports::{Millis, Problem},
    tables::{CONSENT, Consent},
};
use crate::{
    ident::ProviderDomain,
    store::{Database, StoreError},
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
