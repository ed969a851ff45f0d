//! Which direct chat two people have already: there is one for each set of participants (draft-ietf-mimi-room-policy-03
//! section 5). Whoever begins a second one is led to the first; one that is over begins anew as the same MIMI room, if it is
//! hosted here.

use std::collections::BTreeSet;

use ruma::OwnedRoomId;

use super::{core::Engine, records};
use crate::{
    ident::UserUri,
    room::{Names as _, Phase, Room},
    store::StoreError,
};

/// Rooms that are read at once.
const PAGE: usize = 100;

/// A direct chat of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chat {
    /// Ours is in it; the other one is, or was asked.
    Open(OwnedRoomId),
    /// The other one has asked ours, who has not answered.
    Asked(OwnedRoomId),
    /// It is over, and hosted here: its URI.
    Over(String),
}

impl Chat {
    /// What whoever begins another one is told; nothing if they may.
    pub(super) fn instead(&self) -> Option<String> {
        match self {
            Self::Open(room) => Some(format!("You have a chat with me already: https://matrix.to/#/{room}")),
            Self::Asked(room) => Some(format!(
                "I have asked you into a chat already: accept that invitation, https://matrix.to/#/{room}"
            )),
            Self::Over(_) => None,
        }
    }
}

fn chat(room: Room, user: &UserUri, remote: &UserUri, hosted: bool) -> Option<Chat> {
    if !room.direct || room.unbridging {
        return None;
    }
    match room.phase {
        Phase::Active if room.present.contains(user) => {
            let with = room.asking.contains_key(remote) || room.ghosts.contains(remote);
            room.matrix.filter(|_| with).map(Chat::Open)
        }
        Phase::Invited if room.asked.get(user) == Some(remote) => room.matrix.map(Chat::Asked),
        Phase::Left if hosted && room.two == BTreeSet::from([user.clone(), remote.clone()]) => {
            Some(Chat::Over(room.uri.to_string()))
        }
        _ => None,
    }
}

impl Engine {
    /// The direct chat of a user of ours and a remote one: the one that lives, if there is one.
    pub(super) async fn chat_of(&self, user: &UserUri, remote: &UserUri) -> Result<Option<Chat>, StoreError> {
        let (mut after, mut best) = (None, None);
        loop {
            let page = records::page(&self.0.db, after, PAGE).await?;
            for (_, room) in page.rooms {
                let hosted = room.uri.hub() == *self.0.names.domain();
                match chat(room, user, remote, hosted) {
                    Some(open @ Chat::Open(_)) => return Ok(Some(open)),
                    Some(asked @ Chat::Asked(_)) => best = Some(asked),
                    over @ Some(Chat::Over(_)) if best.is_none() => best = over,
                    _ => {}
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(best);
            }
        }
    }
}
