//! Which direct chat two people have already: there is one for each set of participants (draft-ietf-mimi-room-policy-03
//! section 5). Whoever begins a second one is led to the first; one that is over begins anew as the same MIMI room, if it is
//! hosted here.

use std::collections::BTreeSet;

use ruma::{OwnedRoomId, UserId};
use tokio::sync::oneshot;

use super::{core::Engine, mail::Mail, records, rights::Rights};
use crate::{
    ident::UserUri,
    room::{Names as _, Phase, Refusal, Room, command::Command},
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
    /// Ours is in it, alone: the other one said no, or is not asked any more. Hosted here: its URI.
    Deserted(String),
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
            Self::Deserted(_) | Self::Over(_) => None,
        }
    }
}

/// An invitation that is counted before the room of a chat is made. It counts no more if there is no such room in the end.
pub(super) struct Invitation<'a> {
    rights: &'a Rights,
    user: &'a UserId,
    made: bool,
}

impl Invitation<'_> {
    /// The other one is asked.
    pub(super) fn keep(mut self) {
        self.made = true;
    }
}

impl Drop for Invitation<'_> {
    fn drop(&mut self) {
        if !self.made {
            self.rights.give_invitation_back(self.user);
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
            let two = hosted && room.two == BTreeSet::from([user.clone(), remote.clone()]);
            match room.matrix {
                Some(matrix) if with => Some(Chat::Open(matrix)),
                Some(_) if two => Some(Chat::Deserted(room.uri.to_string())),
                _ => None,
            }
        }
        Phase::Invited if room.asked.get(user) == Some(remote) => room.matrix.map(Chat::Asked),
        Phase::Left if hosted && room.two == BTreeSet::from([user.clone(), remote.clone()]) => {
            Some(Chat::Over(room.uri.to_string()))
        }
        _ => None,
    }
}

/// So many deserted chats of the same two are ended before a new one begins.
const MAX_DESERTED: usize = 10;

impl Engine {
    /// Counts the invitation with which this user begins a chat.
    pub(super) fn count_invitation<'a>(&'a self, user: &'a UserId) -> Result<Invitation<'a>, Refusal> {
        let rights = &self.0.settings.rights;
        rights.take_invitation(user).map_err(|seconds| {
            tracing::info!(%user, "somebody has begun as many chats as the settings let one user begin within an hour");
            Refusal::too_many_invitations(seconds)
        })?;
        Ok(Invitation { rights, user, made: false })
    }

    /// A chat in which nobody is but this user ends, so that it can begin anew, as the same MIMI room, where they want it now.
    pub(super) async fn end_deserted(&self, by: &UserId, user: &UserUri, remote: &UserUri) -> Result<(), StoreError> {
        // There is one, but where something else of the same two did not end.
        for _ in 0..MAX_DESERTED {
            let Some(Chat::Deserted(uri)) = self.chat_of(user, remote).await? else { return Ok(()) };
            let (reply, answer) = oneshot::channel();
            self.mail(&uri, Mail::Order { by: by.to_owned(), admin: false, command: Command::Unbridge, reply });
            let ended = answer.await.map_err(|_| StoreError::Closed("the room's task ended".to_owned()))?;
            if let Err(Refusal { text, .. }) = ended {
                tracing::info!(room = uri, why = text, "a chat in which one is alone does not end");
                return Ok(());
            }
        }
        Ok(())
    }

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
                    Some(deserted @ Chat::Deserted(_)) if !matches!(best, Some(Chat::Asked(_))) => {
                        best = Some(deserted);
                    }
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
