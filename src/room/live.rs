//! Live locations of our users: others get one message, edited at most every half minute, with the first place, places now and
//! then, and the last one (`translate::Live`). What is kept of them is in memory alone: after a start the message that began
//! one is found by its event.

use std::collections::BTreeMap;

use ruma::OwnedEventId;

use super::{effect::Millis, state::Intent, step::Step};
use crate::{
    content::MessageId,
    ident::UserUri,
    translate::{Earlier, Live, NotCarried, Past as _, RoomEvent, is_live_info, is_live_place},
};

/// The least time between two edits, in milliseconds.
const EVERY: Millis = 30_000;
/// So many are kept in mind in a room.
const MOST: usize = 512;

/// A live location that was said.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    live: Live,
    /// The message that began it.
    first: Option<MessageId>,
    /// When it was last said, and by which event.
    said: Millis,
    by: OwnedEventId,
}

/// By whose they are, and the event that began them.
pub(super) type AllShared = BTreeMap<(UserUri, OwnedEventId), Shared>;

/// What becomes of an event.
pub(super) enum Turn {
    /// It is none of a live location.
    Other,
    /// Nothing is said.
    Quiet,
    /// This is said, in place of the message that began it.
    Say(Live, Option<MessageId>),
}

impl Step<'_> {
    /// What is to be said for an event of a live location.
    pub(super) fn live_turn(
        &mut self,
        event: &RoomEvent,
        user: &UserUri,
        past: &Vec<(OwnedEventId, Earlier)>,
    ) -> Result<Turn, NotCarried> {
        let (begins, goes_on) = (is_live_info(&event.event_type), is_live_place(&event.event_type));
        let is_empty = event.content.as_object().is_some_and(serde_json::Map::is_empty);
        if is_empty || !begins && !goes_on {
            return Ok(Turn::Other);
        }
        let live = Live::read(&event.event_type, &event.content, event.origin_server_ts)
            .ok_or(NotCarried::Malformed("the live location"))?;
        if !goes_on {
            return Ok(self.live_begins_or_ends(event, user, live));
        }
        let named = event.content.get("m.relates_to").and_then(|relation| relation.get("event_id")?.as_str());
        let start =
            named.and_then(|id| OwnedEventId::try_from(id).ok()).ok_or(NotCarried::Malformed("m.relates_to"))?;
        let waits = |step: &Self, by: &OwnedEventId| {
            let room = &*step.room;
            let waiting = room.submitted.iter().map(|sent| &sent.intent).chain(&room.again).chain(&room.queue);
            waiting.take(1000).any(|intent| matches!(intent, Intent::Say { event, .. } if event == by))
        };
        let key = (user.clone(), start);
        if let Some(known) = self.recent.live.get(&key).cloned() {
            // The first place is said at once, and the last one when it ends.
            let soon = self.now < known.said.saturating_add(EVERY);
            if known.live.over {
                return Ok(Turn::Quiet);
            }
            let quiet = known.live.place.is_some() && (soon || waits(self, &known.by));
            let live = Live { place: live.place, ..known.live };
            let (said, by) = if quiet { (known.said, known.by) } else { (self.now, event.event_id.clone()) };
            self.recent.live.insert(key, Shared { live: live.clone(), first: known.first, said, by });
            return Ok(if quiet { Turn::Quiet } else { Turn::Say(live, known.first) });
        }
        // It began before the gateway started, or before the room was mirrored.
        let first = past.of(&key.1).filter(|earlier| earlier.sender == *user).map(|earlier| earlier.first);
        self.share(key, live.clone(), first, event);
        Ok(Turn::Say(live, first))
    }

    fn live_begins_or_ends(&mut self, event: &RoomEvent, user: &UserUri, live: Live) -> Turn {
        let mut before: Option<Shared> = None;
        // There is one of each user at a time.
        for (_, shared) in self.recent.live.iter_mut().filter(|((of, _), shared)| of == user && !shared.live.over) {
            shared.live.over = true;
            if before.as_ref().is_none_or(|other| other.said <= shared.said) {
                before = Some(shared.clone());
            }
        }
        if !live.over {
            self.share((user.clone(), event.event_id.clone()), live.clone(), None, event);
            return Turn::Say(live, None);
        }
        match before {
            Some(shared) => Turn::Say(shared.live, shared.first),
            // Others heard already that it is over.
            None if self.recent.live.keys().any(|(of, _)| of == user) => Turn::Quiet,
            None => Turn::Say(live, None),
        }
    }

    fn share(&mut self, key: (UserUri, OwnedEventId), live: Live, first: Option<MessageId>, event: &RoomEvent) {
        while self.recent.live.len() >= MOST {
            self.recent.live.pop_first();
        }
        self.recent.live.insert(key, Shared { live, first, said: self.now, by: event.event_id.clone() });
    }

    /// An event became this message: if it begins a live location, that is the one to edit.
    pub(super) fn live_said(&mut self, event: &OwnedEventId, id: MessageId) {
        let begun = self.recent.live.values_mut().find(|shared| shared.by == *event && shared.first.is_none());
        if let Some(shared) = begun {
            shared.first = Some(id);
        }
    }
}
