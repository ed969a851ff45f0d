//! What our users had seen of a room when they spoke: `lastSeen` and `externalMessageId` of draft-mimi-content-more-extensions-00
//! (sections 4 and 6).
//!
//! ```text
//!  a message comes     --> waits until its event is in the Matrix room
//!  its event is there  --> a head, in the place of those that it names itself
//!  one of ours speaks  --> names the heads, and is the only head then
//! ```
//!
//! A head is a message that nobody who was seen since had seen: one as a rule, several when people spoke at the same time.
//! What a message names is fixed with its bytes, in the batch that makes it: it is the same however often it is sent.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::step::Step;
use crate::{
    content::{ContentError, ExtensionKey, ExternalMessageId, IdScope, LastSeen, MessageId, MimiContent},
    ident::UserUri,
};

/// So many are named at most; the oldest are left out.
const MAX_HEADS: usize = 16;
/// So many wait for their events at most; the oldest are named by nobody then.
const MAX_COMING: usize = 32;

/// Whom the ids of Matrix events are told to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventIds {
    /// Nobody.
    Off,
    /// Rooms in which all other providers are gateways to Matrix by our settings.
    #[default]
    Gateways,
    /// Everybody.
    All,
}

/// What is seen of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sight {
    heads: Vec<MessageId>,
    coming: VecDeque<Coming>,
}

/// A message whose event is not in the Matrix room yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Coming {
    id: MessageId,
    /// What its sender had seen, of what is known here; `None`: all before it, as they do not say.
    after: Option<Vec<MessageId>>,
}

impl Sight {
    /// A message of somebody else was accepted.
    pub(super) fn comes(&mut self, id: MessageId, seen: Option<LastSeen>) {
        if self.heads.contains(&id) || self.coming().any(|known| known == id) {
            return;
        }
        let after = match seen {
            Some(LastSeen::Messages(ids)) => {
                let known = |id: &MessageId| self.heads.contains(id) || self.coming.iter().any(|other| other.id == *id);
                Some(ids.into_iter().filter(known).collect())
            }
            // By the ids of another system they say nothing that could be compared.
            Some(LastSeen::External(_)) | None => None,
        };
        self.coming.push_back(Coming { id, after });
        if self.coming.len() > MAX_COMING {
            self.coming.pop_front();
        }
    }

    /// Messages whose events may be there by now.
    pub fn coming(&self) -> impl Iterator<Item = MessageId> {
        self.coming.iter().map(|coming| coming.id)
    }

    /// The events of these are there.
    pub fn shown(&mut self, is_there: impl Fn(&MessageId) -> bool) {
        let mut overtaken = Vec::new();
        let mut place = 0;
        while let Some(coming) = self.coming.get(place) {
            if !is_there(&coming.id) {
                overtaken.push(coming.id);
                place += 1;
                continue;
            }
            let Some(Coming { id, after }) = self.coming.remove(place) else { return };
            match after {
                Some(after) => self.heads.retain(|head| !after.contains(head)),
                None => self.heads.clear(),
            }
            // Those before it that come later do not take its place.
            for waiting in self.coming.iter_mut().filter(|waiting| overtaken.contains(&waiting.id)) {
                waiting.after.get_or_insert_default();
            }
            self.heads.push(id);
            if self.heads.len() > MAX_HEADS {
                self.heads.remove(0);
            }
        }
    }

    /// One of ours said this, and had seen all that was there.
    fn said(&mut self, id: MessageId) {
        self.heads = vec![id];
        // Nor do those that were not there yet.
        for waiting in &mut self.coming {
            waiting.after.get_or_insert_default();
        }
    }
}

impl Step<'_> {
    /// A message with what its sender had seen, encoded, and its id. What others can do without makes no message too long.
    pub(super) fn with_sight(
        &mut self,
        user: &UserUri,
        event: &ruma::EventId,
        content: &mut MimiContent,
    ) -> Result<(Vec<u8>, MessageId), ContentError> {
        if !self.room.sight.heads.is_empty() {
            content.set_last_seen(&LastSeen::Messages(self.room.sight.heads.clone()));
        }
        if self.tells_event_ids() {
            let scope = IdScope::Domain(self.names.domain().to_string());
            content.set_external_message_id(&ExternalMessageId { id: event.as_bytes().to_vec(), scope });
        }
        let mut encoded = content.encode_with_id(user, &self.room.uri);
        for extra in [ExtensionKey::EXTERNAL_MESSAGE_ID, ExtensionKey::LAST_SEEN] {
            if !matches!(encoded, Err(ContentError::TooLong)) {
                break;
            }
            content.extensions.remove(&extra);
            encoded = content.encode_with_id(user, &self.room.uri);
        }
        if let Ok((_, id)) = &encoded {
            self.room.sight.said(*id);
        }
        encoded
    }

    fn tells_event_ids(&self) -> bool {
        match self.names.telling().event_ids {
            EventIds::Off => false,
            EventIds::All => true,
            EventIds::Gateways => {
                let peers = self.peers();
                !peers.is_empty() && peers.iter().all(|peer| self.names.is_gateway(peer))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> MessageId {
        MessageId([number; 32])
    }

    fn named(ids: &[u8]) -> LastSeen {
        LastSeen::Messages(ids.iter().map(|number| id(*number)).collect())
    }

    fn heads(sight: &Sight) -> Vec<u8> {
        sight.heads.iter().map(|head| head.0[0]).collect()
    }

    #[test]
    fn the_draft_s_pizza() {
        let mut sight = Sight::default();
        sight.comes(id(1), Some(named(&[])));
        sight.shown(|_| true);
        // Bob and Cathy answer Alice at the same time.
        sight.comes(id(2), Some(named(&[1])));
        sight.comes(id(3), Some(named(&[1])));
        sight.shown(|_| true);
        assert_eq!(heads(&sight), [2, 3]);
        // Doug has seen both.
        sight.said(id(4));
        assert_eq!(heads(&sight), [4]);
    }

    #[test]
    fn what_is_not_in_the_matrix_room_was_not_seen() {
        let mut sight = Sight::default();
        sight.said(id(1));
        sight.comes(id(2), Some(named(&[1])));
        sight.shown(|_| false);
        assert_eq!(heads(&sight), [1]);
        sight.said(id(3));
        sight.shown(|_| true);
        assert_eq!(heads(&sight), [3, 2], "neither had seen the other");
        assert_eq!(sight.coming().count(), 0);
    }

    #[test]
    fn who_says_nothing_of_what_they_saw_saw_what_was_accepted_before() {
        let mut sight = Sight::default();
        sight.said(id(1));
        sight.comes(id(2), None);
        let external = ExternalMessageId { id: vec![1], scope: IdScope::Enterprise(1) };
        sight.comes(id(3), Some(LastSeen::External(vec![external])));
        sight.shown(|_| true);
        assert_eq!(heads(&sight), [3]);
        // One that waits for long takes nobody's place.
        sight.comes(id(4), None);
        sight.comes(id(5), None);
        sight.shown(|shown| *shown == id(5));
        sight.shown(|_| true);
        assert_eq!(heads(&sight), [5, 4]);
        sight.comes(id(6), None);
        sight.said(id(7));
        sight.shown(|_| true);
        assert_eq!(heads(&sight), [7, 6]);
    }

    #[test]
    fn a_flood_takes_no_more_room_than_a_crowd() {
        let mut sight = Sight::default();
        for number in 1..=200 {
            sight.comes(id(number), Some(named(&[250, 251, 252])));
        }
        assert_eq!(sight.coming.len(), MAX_COMING);
        assert!(sight.coming.iter().all(|coming| coming.after.as_ref().is_some_and(Vec::is_empty)));
        sight.shown(|_| true);
        assert_eq!((sight.heads.len(), sight.heads.last()), (MAX_HEADS, Some(&id(200))));
    }
}
