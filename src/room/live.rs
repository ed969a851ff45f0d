//! Live locations of our users: others get one message, edited at most every half minute, with the first place, places now and
//! then, and the last one (`translate::Live`).
//!
//! ```text
//!  begins        --> a message; before it the end of the one that it replaces, since each user has one at a time
//!  place         --> the message is edited, if that is not too soon; else it is kept for the next edit
//!  ends          --> the message is edited a last time
//!  is taken back --> the message is deleted, and nothing more is said of it, whatever its app goes on to tell
//!  a place is    --> if others have it: the message is deleted, and said anew without; else it is forgotten
//!  who leaves    --> the message is edited a last time, if they can still speak; nothing is kept
//! ```
//!
//! A place that was not said yet is kept in a sealed row until it is over. Of those that are over their events alone are kept.

use std::collections::VecDeque;

use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use super::{
    cow_map::CowMap,
    effect::Millis,
    people::People,
    state::{Intent, Phase},
    step::{Step, hash},
};
use crate::{
    content::MessageId,
    ident::UserUri,
    translate::{self, Earlier, Live, Loss, NotCarried, Past as _, RoomEvent, is_live_info, is_live_place},
};

/// The least time between two edits, in milliseconds.
const EVERY: Millis = 30_000;
/// One of which nothing was heard for so long is over: two days. Clients share for some hours.
const SILENT: Millis = 2 * 86_400_000;
/// Users of whom something is kept in a room.
const MOST: usize = 2000;
/// Of each user so many that are over are known.
const MOST_OVER: usize = 16;

/// The live locations of each user.
pub(super) type AllShared = CowMap<UserUri, Shared>;

/// Live locations of one user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    going: Option<Going>,
    over: VecDeque<Over>,
}

/// One that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Going {
    /// The event that began it.
    start: OwnedEventId,
    /// Whether that event was seen. If not, it is only what the sender says, and may be somebody else's message.
    #[serde(default)]
    seen_start: bool,
    live: Live,
    /// The event with the newest place.
    place_by: Option<OwnedEventId>,
    /// The message that began it.
    first: Option<MessageId>,
    /// When it was last said, and by which event.
    said: Millis,
    by: OwnedEventId,
}

/// One of which nothing more is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Over {
    start: OwnedEventId,
    /// Whether the event that began it was seen.
    #[serde(default)]
    seen_start: bool,
    first: Option<MessageId>,
    /// The event with the place that others were told last.
    last: Option<OwnedEventId>,
    at: Millis,
}

impl Over {
    /// One that was over before anything was said of it.
    fn unsaid(start: &OwnedEventId, at: Millis) -> Self {
        Self { start: start.clone(), seen_start: true, first: None, last: None, at }
    }
}

impl Shared {
    /// Ends the one that goes on.
    fn end(&mut self, now: Millis) -> Option<Going> {
        let going = self.going.take()?;
        let (start, seen_start, last) = (going.start.clone(), going.seen_start, going.place_by.clone());
        self.is_over(Over { start, seen_start, first: going.first, last, at: now });
        Some(going)
    }

    fn is_over(&mut self, over: Over) {
        while self.over.len() >= MOST_OVER {
            self.over.pop_front();
        }
        self.over.push_back(over);
    }

    /// Those that go on stay longest, and of each kind the newest.
    fn worth(&self) -> (bool, Millis) {
        let newest = self.over.back().map_or(0, |over| over.at);
        self.going.as_ref().map_or((false, newest), |going| (true, going.said))
    }
}

/// What becomes of an event.
pub(super) enum Turn {
    /// It is none of a live location.
    Other,
    /// Nothing is said.
    Quiet,
    /// These are said, in this order.
    Say(Vec<Word>),
}

/// One message of a live location.
pub(super) struct Word {
    /// What it says.
    pub(super) live: Live,
    /// The message that it edits.
    pub(super) replaces: Option<MessageId>,
    /// The event that began what it is about.
    pub(super) start: OwnedEventId,
    /// The events that stand for it.
    pub(super) events: Vec<OwnedEventId>,
}

/// What else is to be done when something is taken back.
#[derive(Default)]
pub(super) struct TakenBack {
    /// The message that goes, if the event's own is not it.
    pub(super) target: Option<Earlier>,
    /// Whose live location is said anew.
    pub(super) again: Option<UserUri>,
}

/// The salt of a further message of one event, as secret as its first one's, which others see in that alone.
pub(super) fn further_salt(salt: [u8; 16], number: usize) -> [u8; 16] {
    if number == 0 {
        return salt;
    }
    let digest = hash(&[b"live".as_slice(), &number.to_be_bytes(), &salt].concat());
    digest.first_chunk().copied().unwrap_or(salt)
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
        let Some(live) = Live::read(&event.event_type, &event.content, event.origin_server_ts) else {
            if goes_on {
                // Apps send one every few seconds: who shares it hears of them once.
                self.tell_losses(user, vec![Loss::Details]);
                return Ok(Turn::Quiet);
            }
            return Err(NotCarried::Malformed("the live location"));
        };
        if !goes_on {
            return Ok(if live.over { self.live_ends(event, user, live) } else { self.live_begins(event, user, live) });
        }
        let named = event.content.get("m.relates_to").and_then(|relation| relation.get("event_id")?.as_str());
        let start =
            named.and_then(|id| OwnedEventId::try_from(id).ok()).ok_or(NotCarried::Malformed("m.relates_to"))?;
        let known = self.room.live.get(user).cloned().unwrap_or_default();
        let Some(going) = known.going else {
            if known.over.iter().any(|over| over.start == start) || past.of(&start).is_some() {
                // It is over, or was taken back.
                return Ok(Turn::Quiet);
            }
            // It began before the room was mirrored, as its sender says: what was not seen stands for nothing.
            self.share(user, (start.clone(), false), live.clone(), event);
            let events = vec![event.event_id.clone()];
            return Ok(Turn::Say(vec![Word { live, replaces: None, start, events }]));
        };
        if going.start != start {
            // Each user has one at a time: this is one from before.
            return Ok(Turn::Quiet);
        }
        // The first place is said at once, and the last one when it ends.
        let soon = self.now < going.said.saturating_add(EVERY);
        let quiet = going.live.place.is_some() && (soon || self.is_to_be_said(&going.by));
        let live = Live { place: live.place, ..going.live };
        let (said, by) = if quiet { (going.said, going.by) } else { (self.now, event.event_id.clone()) };
        let going = Going { live: live.clone(), place_by: Some(event.event_id.clone()), said, by, ..going };
        let (replaces, events) = (going.first, vec![event.event_id.clone()]);
        self.shared_by(user).going = Some(going);
        Ok(if quiet { Turn::Quiet } else { Turn::Say(vec![Word { live, replaces, start, events }]) })
    }

    /// Whether what an event says waits to be sent.
    fn is_to_be_said(&self, by: &OwnedEventId) -> bool {
        let room = &*self.room;
        let mut waiting =
            room.submitted.iter().map(|sent| &sent.intent).chain(&room.again).chain(&room.queue).take(1000);
        waiting.any(|intent| matches!(intent, Intent::Say { event, .. } if event == by))
    }

    fn live_begins(&mut self, event: &RoomEvent, user: &UserUri, live: Live) -> Turn {
        let mut words = Vec::new();
        let now = self.now;
        let before = if self.room.live.contains_key(user) { self.shared_by(user).end(now) } else { None };
        if let Some(Going { start, live, first: Some(first), .. }) = before {
            let live = Live { over: true, ..live };
            words.push(Word { live, replaces: Some(first), start, events: Vec::new() });
        }
        let start = event.event_id.clone();
        self.share(user, (start.clone(), true), live.clone(), event);
        words.push(Word { live, replaces: None, events: vec![start.clone()], start });
        Turn::Say(words)
    }

    fn live_ends(&mut self, event: &RoomEvent, user: &UserUri, live: Live) -> Turn {
        let (now, known) = (self.now, self.room.live.contains_key(user));
        let shared = self.shared_by(user);
        let events = vec![event.event_id.clone()];
        if let Some(going) = shared.end(now) {
            let live = Live { over: true, ..going.live };
            return Turn::Say(vec![Word { live, replaces: going.first, start: going.start, events }]);
        }
        if known {
            // Others heard already that it is over.
            return Turn::Quiet;
        }
        shared.is_over(Over::unsaid(&event.event_id, now));
        Turn::Say(vec![Word { live, replaces: None, start: event.event_id.clone(), events }])
    }

    /// `start`: the event that began it, and whether it was seen.
    fn share(&mut self, user: &UserUri, (start, seen_start): (OwnedEventId, bool), live: Live, event: &RoomEvent) {
        let place_by = live.place.as_ref().map(|_| event.event_id.clone());
        let (said, by) = (self.now, event.event_id.clone());
        self.shared_by(user).going = Some(Going { start, seen_start, live, place_by, first: None, said, by });
    }

    /// Messages of a live location; the first one's salt.
    pub(super) fn say_live(&mut self, event: &RoomEvent, user: &UserUri, salt: [u8; 16], words: Vec<Word>) {
        for (number, word) in words.into_iter().enumerate() {
            let mentions = &People { names: self.names, state: self.state(), room: &*self.room };
            let (salt, sent_ts) = (further_salt(salt, number), event.origin_server_ts);
            let past = &translate::NoPast;
            let context = translate::ToMimi {
                sender: user,
                room: &self.room.uri,
                salt,
                sent_ts,
                past,
                mentions,
                room_link: None,
            };
            match word.live.to_mimi(word.replaces, &context) {
                Ok(translated) => {
                    if let Some(id) = self.put_into_words(event, user, translated, &word.events) {
                        self.live_said(user, &word.start, id);
                    }
                }
                Err(reason) => self.unsaid(event, user, &reason),
            }
        }
    }

    /// What is kept of a user, to be changed.
    fn shared_by(&mut self, user: &UserUri) -> &mut Shared {
        let all = self.room.live.make_mut();
        while all.len() >= MOST && !all.contains_key(user) {
            let Some(least) = all.iter().min_by_key(|(_, shared)| shared.worth()).map(|(user, _)| user.clone()) else {
                break;
            };
            all.remove(&least);
        }
        all.entry(user.clone()).or_default()
    }

    /// A word became this message: if it begins a live location, that is the one to edit.
    pub(super) fn live_said(&mut self, user: &UserUri, start: &OwnedEventId, id: MessageId) {
        let begins = |going: &Going| going.start == *start && going.first.is_none();
        if self.room.live.get(user).and_then(|shared| shared.going.as_ref()).is_some_and(begins)
            && let Some(going) = &mut self.shared_by(user).going
        {
            going.first = Some(id);
        }
    }

    /// Somebody (`by`) takes an event back. If it is of a live location, that is over, or loses a place.
    ///
    /// Of another's nothing changes that others keep, unless they `may` delete what others say: it goes on there as here.
    pub(super) fn live_taken_back(
        &mut self,
        event: &OwnedEventId,
        past: Option<&Earlier>,
        by: &UserUri,
        may: bool,
    ) -> TakenBack {
        let now = self.now;
        // A start that was not seen may be anybody's event: only its sharer takes that back, if it is no message.
        let begun =
            |user: &UserUri, start: &OwnedEventId, seen: bool| start == event && (seen || user == by && past.is_none());
        let of = |user: &UserUri, shared: &Shared| {
            let going = shared.going.as_ref().is_some_and(|going| {
                let said = past.is_some_and(|past| Some(past.first) == going.first);
                said || begun(user, &going.start, going.seen_start) || going.place_by.as_ref() == Some(event)
            });
            let ended = |over: &Over| begun(user, &over.start, over.seen_start) || over.last.as_ref() == Some(event);
            going || shared.over.iter().any(ended)
        };
        let found = self.room.live.iter().find(|(user, shared)| of(user, shared)).map(|(user, _)| user.clone());
        let Some(user) = found else { return TakenBack::default() };
        let may = may || user == *by;
        let shared = self.shared_by(&user);
        let starts = shared.going.as_ref().filter(|going| begun(&user, &going.start, going.seen_start));
        let mut first = starts.and_then(|going| going.first);
        if starts.is_some() && may {
            shared.end(now);
        }
        let ended = |over: &&Over| begun(&user, &over.start, over.seen_start) || over.last.as_ref() == Some(event);
        first = first.or_else(|| shared.over.iter().find(ended)?.first);
        if let Some(first) = first {
            return TakenBack { target: Some(Earlier::only(first, &user)), again: None };
        }
        let Some(going) = &mut shared.going else { return TakenBack::default() };
        // A place that others do not have is theirs to keep no more than here.
        if going.place_by.as_ref() == Some(event) && (may || past.is_none()) {
            (going.live.place, going.place_by) = (None, None);
        }
        let told = past.is_some_and(|past| Some(past.first) == going.first);
        TakenBack { target: None, again: told.then_some(user) }
    }

    /// One of ours left, or was put out: no place of theirs is kept, and others see that it is over, if they can still say so.
    pub(super) fn live_left(&mut self, event: &RoomEvent, salt: [u8; 16], user: &UserUri) {
        if !self.room.live.contains_key(user) {
            return;
        }
        let speaks = self.room.phase == Phase::Active && self.will_be_participant(user) && self.group.has_leaf(user);
        let going = self.shared_by(user).going.take();
        if let Some(Going { start, live, first: first @ Some(_), .. }) = going.filter(|_| speaks) {
            let word = Word { live: Live { over: true, ..live }, replaces: first, start, events: Vec::new() };
            self.say_live(event, user, further_salt(salt, 1), vec![word]);
        }
        self.room.live.remove(user);
    }

    /// One that was taken back before it was said: nothing is said of it either if its app goes on.
    pub fn live_never_said(&mut self, event: &RoomEvent) {
        if let Some(user) = self.names.uri(&event.sender).filter(|_| is_live_info(&event.event_type)) {
            let now = self.now;
            self.shared_by(&user).is_over(Over::unsaid(&event.event_id, now));
        }
    }

    /// Others lost the message of a live location that goes on: the word that begins it anew. `by`: the event that took
    /// something back.
    pub(super) fn live_again(&mut self, user: &UserUri, by: &OwnedEventId) -> Option<Word> {
        let now = self.now;
        let going = self.room.live.contains_key(user).then(|| self.shared_by(user).going.as_mut())??;
        (going.first, going.said, going.by) = (None, now, by.clone());
        let (live, start) = (going.live.clone(), going.start.clone());
        // It says the newest place, too, which can be taken back in turn.
        let events = going.place_by.iter().chain(going.seen_start.then_some(&start)).cloned().collect();
        Some(Word { live, replaces: None, start, events })
    }

    /// Of what nobody ended, and nobody goes on with, no place is kept.
    pub(super) fn end_silent_live(&mut self) {
        let now = self.now;
        let silent =
            |shared: &Shared| shared.going.as_ref().is_some_and(|going| going.said.saturating_add(SILENT) < now);
        if self.room.live.values().any(silent) {
            for shared in self.room.live.make_mut().values_mut().filter(|shared| silent(shared)) {
                shared.end(now);
            }
        }
    }
}
