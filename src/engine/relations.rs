//! Which event stands for which message, for those that refer to it (`translate::relation`). From Matrix the messages are
//! looked up before a room works on an event; from MIMI the events are looked up when the message's turn comes in the room's
//! lane: by then all before it are there.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::PoisonError,
};

use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId};
use serde_json::Value;

use super::{
    core::Engine,
    ports::{CallError, MatrixAction, MatrixDone, Millis, Retry},
    tables::{EVENTS, SHOWN, Shown, TOPICS},
};
use crate::{
    content::MessageId,
    room::{Names as _, Showing, Sight},
    store::{Batch, StoreError},
    translate::{self, Act, Earlier, Found, Kind, Refers, Resolved, RoomEvent},
};

/// Known longer than the batches take that store them.
const KEEP: usize = 4096;
/// So many topics are looked through that are about a message of another topic.
const MAX_WITHIN: usize = 32;

/// The newest of a kind.
#[derive(Debug)]
struct Newest<K, V> {
    order: VecDeque<K>,
    map: BTreeMap<K, V>,
}

impl<K, V> Default for Newest<K, V> {
    fn default() -> Self {
        Self { order: VecDeque::new(), map: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V> Newest<K, V> {
    fn put(&mut self, key: K, value: V) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > KEEP {
            if let Some(oldest) = self.order.pop_front() {
                self.map.remove(&oldest);
            }
        }
    }
}

/// What was noted lately and is perhaps not stored yet.
#[derive(Debug, Default)]
pub(super) struct Lately {
    messages: Newest<(OwnedRoomId, OwnedEventId), Earlier>,
    events: Newest<(String, [u8; 32]), OwnedEventId>,
    roots: Newest<(String, Vec<u8>), OwnedEventId>,
}

/// A room on both sides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    /// The MIMI room's URI.
    pub(super) room: &'a str,
    /// Its Matrix room.
    pub(super) matrix: &'a RoomId,
}

/// A row could not be read: the call is made again.
pub(super) fn lookup_failed(error: &StoreError) -> CallError {
    CallError {
        what: format!("looking up what a message refers to: {error}"),
        retry: Retry::Retriable(None),
        status: None,
        errcode: None,
    }
}

impl Engine {
    fn lately<T>(&self, what: impl FnOnce(&mut Lately) -> T) -> T {
        what(&mut self.0.lately.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The messages of the events that this one refers to.
    pub(super) async fn past(&self, event: &RoomEvent) -> Result<Vec<(OwnedEventId, Earlier)>, StoreError> {
        let mut past = Vec::new();
        for named in translate::named(event) {
            if let Some(earlier) = self.message_of(&event.room_id, &named).await? {
                past.push((named, earlier));
            }
        }
        Ok(past)
    }

    /// Whether nothing is known of what an event removes, and something was forgotten already: others may have it.
    pub(super) async fn may_be_forgotten(&self, event: &RoomEvent) -> Result<bool, StoreError> {
        let Some(target) = event.redacts.as_ref().filter(|_| self.0.today.forgotten_before() > 0) else {
            return Ok(false);
        };
        let row = EVENTS.get(&self.0.db, &(event.room_id.to_string(), target.to_string())).await?;
        Ok(row.is_none())
    }

    pub(super) async fn message_of(&self, matrix: &RoomId, event: &EventId) -> Result<Option<Earlier>, StoreError> {
        let key = (matrix.to_owned(), event.to_owned());
        if let Some(earlier) = self.lately(|lately| lately.messages.map.get(&key).cloned()) {
            return Ok(Some(earlier));
        }
        let row = EVENTS.get(&self.0.db, &(matrix.to_string(), event.to_string())).await?;
        Ok(row.and_then(|row| row.value))
    }

    pub(super) async fn event_of(&self, room: &str, id: MessageId) -> Result<Option<OwnedEventId>, StoreError> {
        let key = (room.to_owned(), id.0);
        if let Some(event) = self.lately(|lately| lately.events.map.get(&key).cloned()) {
            return Ok(Some(event));
        }
        let row = SHOWN.get(&self.0.db, &key).await?;
        Ok(row.and_then(|row| OwnedEventId::try_from(row.value.event).ok()))
    }

    /// Which of the messages that came for a room are in its Matrix room by now, as far as memory says.
    pub(super) fn sees(&self, room: &str, sight: &mut Sight) {
        if sight.coming().next().is_some() {
            self.lately(|lately| sight.shown(|id| lately.events.map.contains_key(&(room.to_owned(), id.0))));
        }
    }

    /// The same after a start.
    pub(super) async fn sees_stored(&self, room: &str, sight: &mut Sight) -> Result<(), StoreError> {
        let mut there = BTreeSet::new();
        for id in sight.coming() {
            if self.event_of(room, id).await?.is_some() {
                there.insert(id);
            }
        }
        sight.shown(|id| there.contains(id));
        Ok(())
    }

    /// The event that stands for a message; of an edit, the one that shows its first version.
    async fn found(&self, place: Place<'_>, id: Option<MessageId>) -> Result<Option<Found>, StoreError> {
        let Place { room, matrix } = place;
        let Some(id) = id else { return Ok(None) };
        let Some(event) = self.event_of(room, id).await? else { return Ok(None) };
        let earlier = self.message_of(matrix, &event).await?;
        if earlier.is_none() && self.is_before(matrix) {
            // It stands in the Matrix room before this one.
            return Ok(None);
        }
        if let Some(earlier) = &earlier
            && earlier.first != id
            && let Some(first) = self.event_of(room, earlier.first).await?
        {
            let earlier = self.message_of(matrix, &first).await?;
            return Ok(Some(Found { event: first, earlier }));
        }
        Ok(Some(Found { event, earlier }))
    }

    pub(super) async fn resolve(&self, place: Place<'_>, refers: &Refers) -> Result<Resolved, StoreError> {
        let root = if refers.topic.is_empty() { None } else { self.root(place, &refers.topic).await? };
        let reply = self.found(place, refers.reply).await?;
        let answered = reply.as_ref().and_then(|found| found.earlier.as_ref()).map(|earlier| &earlier.sender);
        let names = &self.0.names;
        let ours = answered.filter(|user| user.provider() == *names.domain());
        Ok(Resolved {
            rings: ours.and_then(|user| names.matrix_id(user)),
            reply,
            replaced: self.found(place, refers.replaces).await?,
            root,
        })
    }

    /// The event whose thread a topic is. Homeservers let no thread begin at an event that itself relates to another: what is
    /// about a message within a thread is in that thread, and what is about a reaction begins one of its own.
    async fn root(&self, place: Place<'_>, topic: &[u8]) -> Result<Option<OwnedEventId>, StoreError> {
        let mut topic = topic.to_vec();
        for _ in 0..MAX_WITHIN {
            let id = <[u8; 32]>::try_from(topic.as_slice()).ok().map(MessageId);
            let Some(Found { event, earlier }) = self.found(place, id).await? else {
                return self.root_here(place, &topic).await;
            };
            match earlier {
                Some(earlier) if !earlier.may_begin_thread() => return self.root_here(place, &topic).await,
                Some(earlier) if !earlier.topic.is_empty() => topic = earlier.topic,
                _ => return Ok(Some(event)),
            }
        }
        Ok(None)
    }

    /// The first event with this topic that stands in this Matrix room.
    async fn root_here(&self, place: Place<'_>, topic: &[u8]) -> Result<Option<OwnedEventId>, StoreError> {
        let Some(root) = self.root_of(place.room, topic).await? else { return Ok(None) };
        let here = !self.is_before(place.matrix) || self.message_of(place.matrix, &root).await?.is_some();
        Ok(here.then_some(root))
    }

    /// The first event with this topic.
    async fn root_of(&self, room: &str, topic: &[u8]) -> Result<Option<OwnedEventId>, StoreError> {
        let key = (room.to_owned(), topic.to_vec());
        if let Some(root) = self.lately(|lately| lately.roots.map.get(&key).cloned()) {
            return Ok(Some(root));
        }
        let row = TOPICS.get(&self.0.db, &key).await?;
        Ok(row.and_then(|row| OwnedEventId::try_from(row.value).ok()))
    }

    /// Notes that an event stands for a message.
    pub(super) fn note_event(
        &self,
        place: Place<'_>,
        event: &OwnedEventId,
        id: [u8; 32],
        earlier: &Earlier,
        accepted: Option<Millis>,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let (db, today, Place { room, matrix }) = (&self.0.db, &self.0.today, place);
        EVENTS.put(db, batch, &(matrix.to_string(), event.to_string()), &today.dated(Some(earlier.clone())))?;
        let shown = Shown { event: event.to_string(), accepted };
        SHOWN.put(db, batch, &(room.to_owned(), id), &today.dated(shown))?;
        self.lately(|lately| {
            lately.messages.put((matrix.to_owned(), event.clone()), earlier.clone());
            lately.events.put((room.to_owned(), id), event.clone());
        });
        self.arrived(room, id);
        Ok(())
    }

    /// What a remote message stands for here ([`Earlier::behind`]).
    pub(super) async fn standing(&self, place: Place<'_>, earlier: &Earlier) -> Result<Earlier, StoreError> {
        if earlier.first == earlier.id {
            return Ok(earlier.clone());
        }
        let first = self.found(place, Some(earlier.first)).await?.and_then(|found| found.earlier);
        Ok(earlier.clone().behind(first.as_ref()))
    }

    /// A new version of a poll has other answers: votes for them are understood.
    pub(super) async fn note_version(
        &self,
        place: Place<'_>,
        version: &Earlier,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        if version.kind.is_none() || version.first == version.id {
            return Ok(());
        }
        let Some(Found { event, earlier: Some(first) }) = self.found(place, Some(version.first)).await? else {
            return Ok(());
        };
        if let Some(kind) = Kind::with_version(&first, version) {
            let first = first.with_kind(Some(kind));
            let key = (place.matrix.to_string(), event.to_string());
            EVENTS.put(&self.0.db, batch, &key, &self.0.today.dated(Some(first.clone())))?;
            self.lately(|lately| lately.messages.put((place.matrix.to_owned(), event), first));
        }
        Ok(())
    }

    /// Notes the event that shows a remote message.
    pub(super) async fn note_shown(
        &self,
        room: &str,
        showing: &Showing,
        event: &OwnedEventId,
        batch: &mut Batch,
    ) -> Result<(), StoreError> {
        let MatrixAction::Send { room: matrix, .. } = &showing.action else { return Ok(()) };
        let (topic, place) = (&showing.refers.topic, Place { room, matrix });
        let earlier = self.standing(place, &showing.earlier).await?;
        self.note_event(place, event, showing.message_id, &earlier, Some(showing.accepted), batch)?;
        self.note_version(place, &earlier, batch).await?;
        let begins = !topic.is_empty() && earlier.may_begin_thread();
        if begins && self.root_here(place, topic).await?.is_none() {
            let key = (room.to_owned(), topic.clone());
            TOPICS.put(&self.0.db, batch, &key, &self.0.today.dated(event.to_string()))?;
            self.lately(|lately| lately.roots.put(key, event.clone()));
        }
        Ok(())
    }

    /// Shows a message with what it refers to. Sent again it has no second effect: each event has its own transaction id.
    /// `patient`: if it makes no sense without a message that is not there, answers one, or stands behind one that waits, it is
    /// not shown yet, and that message's id comes back.
    pub(super) async fn show(
        &self,
        room: &str,
        showing: &Showing,
        patient: bool,
    ) -> Result<Result<MatrixDone, MessageId>, CallError> {
        let homeserver = &self.0.homeserver;
        let MatrixAction::Send { room: matrix, actor, event_type, content, ts, txn_id } = &showing.action else {
            return homeserver.perform(&showing.action).await.map(Ok);
        };
        if patient && let Some(target) = self.waits_for(room, showing).await? {
            return Ok(Err(target));
        }
        if showing.refers.is_nothing() {
            return homeserver.perform(&showing.action).await.map(Ok);
        }
        let resolved =
            self.resolve(Place { room, matrix }, &showing.refers).await.map_err(|error| lookup_failed(&error))?;
        let (sender, moderates) = (&showing.earlier.sender, showing.keeper.is_some());
        let acts = |resolved: &Resolved| {
            let content: Value = serde_json::from_str(content).unwrap_or_default();
            translate::relate(event_type, content, &showing.refers, resolved, sender, moderates)
        };
        let related = acts(&resolved);
        let deletes = related.iter().all(|act| act.event_type == "m.room.redaction");
        let deletes = deletes && matches!(showing.refers.form, translate::Form::Deletion(_));
        let mut done = MatrixDone::Done;
        for (index, act) in related.into_iter().enumerate() {
            let send = |Act { event_type, content, by_keeper }| MatrixAction::Send {
                room: matrix.clone(),
                actor: showing.keeper.as_ref().filter(|_| by_keeper).unwrap_or(actor).clone(),
                event_type,
                content: content.to_string(),
                ts: *ts,
                txn_id: if index == 0 { txn_id.clone() } else { format!("{txn_id}.{index}") },
            };
            let action = send(act);
            if let (true, MatrixAction::Send { actor, .. }) = (deletes, &action) {
                self.delete_rest(room, showing, actor).await?;
            }
            done = match homeserver.perform(&action).await {
                // This ghost's same reaction is there already: the homeserver takes no second one, and nothing is missing.
                Err(error)
                    if matches!(showing.refers.form, translate::Form::Reaction(_))
                        && error.errcode.as_deref() == Some("M_DUPLICATE_ANNOTATION") =>
                {
                    MatrixDone::Done
                }
                // What it says counts more than what it refers to. Under the same transaction id it is there once.
                // Where it lacks the power for something it says nothing else instead.
                Err(error)
                    if error.retry == Retry::Permanent
                        && error.status.is_none_or(|status| status == 400)
                        && !deletes =>
                {
                    let bare = acts(&showing.refers.without_relation(resolved)).into_iter().next_back();
                    let Some(bare) = bare.map(send).filter(|bare| *bare != action) else { return Err(error) };
                    tracing::info!(room, %error, "a message is shown without what it refers to");
                    return match homeserver.perform(&bare).await {
                        Err(again) if again.retry == Retry::Permanent => Err(error),
                        answer => answer.map(Ok),
                    };
                }
                answer => answer?,
            };
        }
        Ok(Ok(done))
    }
}
