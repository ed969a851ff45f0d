//! Who waits for what before it is shown: an edit, a reaction or a vote for its message, an answer for what it answers, and
//! what the sender of such an answer says next for that one, so that nobody's messages change their order.
//!
//! ```text
//!  answer to X, X is not here   -> waits for X, a few seconds
//!  next message of its sender   -> waits for the answer
//!  X is shown                   -> the answer is, pointing at X -> the next message is
//!  X does not come              -> the answer is, with a quotation that says so -> the next message is
//!                                  the next answer to X waits no more
//! ```
//!
//! A message counts as waiting until it is shown or refused, whatever the clock says: its time may be over long before its room's
//! lane comes to it. What is remembered of that mirrors the rows of `EARLY`, and those of the outbox that waited.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    core::{Engine, lock, now},
    ports::{CallError, MatrixAction, Millis},
    relations::{Place, lookup_failed},
    tables::{EARLY, OutRow},
};
use crate::{
    content::MessageId,
    ident::UserUri,
    room::Showing,
    store::StoreError,
    translate::{Form, Resolved},
};

/// So many messages that did not come are remembered.
const VAIN: usize = 4096;
/// So much later what stands behind a message looks again whether that has gone on, in milliseconds.
const AGAIN: Millis = 1000;

/// So long after its time a message that did not go on may have been lost, in milliseconds.
const LOST: Millis = 60_000;

/// A message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    /// What it waits for, as far as that is known.
    target: Option<[u8; 32]>,
    /// Until when, in its row of `EARLY`; `None`: its time is over, and it is in its room's lane.
    until: Option<Millis>,
}

/// Messages of one sender in one room that wait: when the hub accepted them, and their ids.
type Waiters = BTreeMap<(Millis, [u8; 32]), Waiter>;

/// What is remembered of waiting. What was waited for in vain is in memory alone: after a start answers to it wait once more.
#[derive(Debug, Default)]
pub(super) struct Patience {
    waiting: BTreeMap<(String, UserUri), Waiters>,
    /// What was waited for in vain, and in what order.
    vain: BTreeSet<(String, [u8; 32])>,
    order: VecDeque<(String, [u8; 32])>,
}

impl Patience {
    /// It did not come: answers to it wait no more.
    fn give_up(&mut self, room: &str, target: [u8; 32]) {
        let key = (room.to_owned(), target);
        if self.vain.insert(key.clone()) {
            self.order.push_back(key);
        }
        while self.order.len() > VAIN {
            if let Some(oldest) = self.order.pop_front() {
                self.vain.remove(&oldest);
            }
        }
    }

    fn of(&self, room: &str, sender: &UserUri) -> Option<&Waiters> {
        if self.waiting.is_empty() {
            return None;
        }
        self.waiting.get(&(room.to_owned(), sender.clone()))
    }

    fn waits(&mut self, room: &str, showing: &Showing, waiter: Waiter) {
        let own = self.waiting.entry((room.to_owned(), showing.earlier.sender.clone())).or_default();
        own.insert((showing.accepted, showing.message_id), waiter);
    }

    /// It waits no more. Whether it did.
    fn is_over(&mut self, room: &str, showing: &Showing) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let key = (room.to_owned(), showing.earlier.sender.clone());
        let Some(own) = self.waiting.get_mut(&key) else { return false };
        let waited = own.remove(&(showing.accepted, showing.message_id)).is_some();
        if own.is_empty() {
            self.waiting.remove(&key);
        }
        waited
    }

    /// Nothing is left of it.
    fn lose(&mut self, room: &str, sender: &UserUri, id: [u8; 32]) {
        if let Some(own) = self.waiting.get_mut(&(room.to_owned(), sender.clone())) {
            own.retain(|(_, other), _| *other != id);
        }
    }

    /// The message behind which this one of its sender stands. What was said before that comes late itself, and may be what it
    /// waits for.
    fn before(&self, room: &str, showing: &Showing) -> Option<[u8; 32]> {
        let own = self.of(room, &showing.earlier.sender)?;
        let (id, accepted) = (showing.message_id, showing.accepted);
        let mut earlier = own.range(..=(accepted, [u8::MAX; 32])).rev();
        earlier.find(|((_, other), waiter)| *other != id && waiter.target != Some(id)).map(|((_, other), _)| *other)
    }

    /// Until when the message waits behind which this one stands, if its own time is not over.
    fn waits_before(&self, room: &str, showing: &Showing, target: [u8; 32]) -> Option<Millis> {
        let own = self.of(room, &showing.earlier.sender)?;
        let mut earlier = own.range(..=(showing.accepted, [u8::MAX; 32])).rev();
        earlier.find(|((_, other), _)| *other == target).and_then(|(_, waiter)| waiter.until)
    }

    /// The same, when the message's own time is over. What it answers and was accepted at the same moment may stand behind it, by
    /// way of others: for that one it waits no longer.
    fn still_waits_before(&self, room: &str, showing: &Showing, target: [u8; 32]) -> Option<Millis> {
        let own = self.of(room, &showing.earlier.sender)?;
        let at_once = own.contains_key(&(showing.accepted, target));
        if at_once && showing.refers.reply == Some(MessageId(target)) {
            return None;
        }
        self.waits_before(room, showing, target)
    }
}

/// Whether it is something new that is said, and no change of or sign about something else.
fn is_said(showing: &Showing) -> bool {
    showing.refers.form == Form::Message && showing.refers.replaces.is_none()
}

impl Engine {
    /// How long it waits.
    pub(super) fn patience(&self, showing: &Showing) -> u64 {
        let telling = &self.0.names.telling;
        let wait = if is_said(showing) { telling.late_answers } else { telling.late_targets };
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2)
    }

    /// It waits until then: what its sender says next stands behind it.
    pub(super) fn waits(&self, room: &str, showing: &Showing, target: [u8; 32], until: Millis) {
        if is_said(showing) {
            lock(&self.0.patience).waits(room, showing, Waiter { target: Some(target), until: Some(until) });
        }
    }

    /// Its time is over, or what it waits for is here: it is in its room's lane.
    pub(super) fn goes_on(&self, room: &str, showing: &Showing) {
        if is_said(showing) {
            lock(&self.0.patience).waits(room, showing, Waiter { target: None, until: None });
        }
    }

    /// A row of the outbox, at the start: it may have waited before.
    pub(super) fn waited_before(&self, room: &str, row: &OutRow) {
        match row {
            OutRow::ShowNow(showing) => self.goes_on(room, showing),
            OutRow::Parcel(parcel) if parcel.now => self.goes_on(room, &parcel.showing),
            _ => {}
        }
    }

    /// It is shown, or never will be: what stands behind it goes on.
    pub(super) fn passed(&self, room: &str, showing: &Showing) {
        let waited = lock(&self.0.patience).is_over(room, showing);
        if waited {
            self.arrived(room, showing.message_id);
        }
    }

    /// Until when a message waits: what stands behind another one, longer than that.
    pub(super) fn waits_until(&self, room: &str, showing: &Showing, target: [u8; 32]) -> Millis {
        let until = now().saturating_add(self.patience(showing));
        let before = lock(&self.0.patience).waits_before(room, showing, target);
        before.map_or(until, |before| until.max(before.saturating_add(1)))
    }

    /// If the message behind which this one stands still waits: when to look again.
    pub(super) async fn still_behind(
        &self,
        room: &str,
        showing: &Showing,
        target: [u8; 32],
    ) -> Result<Option<Millis>, StoreError> {
        let before = lock(&self.0.patience).still_waits_before(room, showing, target).filter(|_| is_said(showing));
        let Some(before) = before else { return Ok(None) };
        let now = now();
        // A row that was damaged is gone.
        if before.saturating_add(LOST) <= now
            && EARLY.get(&self.0.db, &(before, room.to_owned(), target)).await?.is_none()
        {
            lock(&self.0.patience).lose(room, &showing.earlier.sender, target);
            return Ok(None);
        }
        Ok(Some(now.max(before).saturating_add(AGAIN)))
    }

    /// What a message has to wait for before its turn: one of its sender that waits, one without which it makes no sense, or
    /// what it answers.
    pub(super) async fn waits_for(&self, room: &str, showing: &Showing) -> Result<Option<MessageId>, CallError> {
        self.look_for(room, showing).await.map_err(|error| lookup_failed(&error))
    }

    async fn look_for(&self, room: &str, showing: &Showing) -> Result<Option<MessageId>, StoreError> {
        if is_said(showing)
            && let Some(before) = lock(&self.0.patience).before(room, showing)
        {
            return Ok(Some(MessageId(before)));
        }
        let MatrixAction::Send { room: matrix, .. } = &showing.action else { return Ok(None) };
        if showing.refers.is_nothing() {
            return Ok(None);
        }
        let resolved = self.resolve(Place { room, matrix }, &showing.refers).await?;
        if !self.0.names.telling.late_targets.is_zero()
            && let Some(target) = showing.refers.lacks(&resolved)
        {
            return Ok(Some(target));
        }
        self.awaits_answered(room, showing, &resolved).await
    }

    /// The message that an answer waits for: it is not here, and nothing waited for it before.
    async fn awaits_answered(
        &self,
        room: &str,
        showing: &Showing,
        resolved: &Resolved,
    ) -> Result<Option<MessageId>, StoreError> {
        let Some(target) = showing.refers.reply.filter(|_| resolved.reply.is_none() && is_said(showing)) else {
            return Ok(None);
        };
        let waits = !self.0.names.telling.late_answers.is_zero();
        if !waits || lock(&self.0.patience).vain.contains(&(room.to_owned(), target.0)) {
            return Ok(None);
        }
        // In the Matrix room before this one it is not waited for.
        Ok(self.event_of(room, target).await?.is_none().then_some(target))
    }

    /// What somebody waited for did not come in time.
    pub(super) fn came_not(&self, room: &str, showing: &Showing, target: [u8; 32]) {
        if is_said(showing) && showing.refers.reply == Some(MessageId(target)) {
            lock(&self.0.patience).give_up(room, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::ports::Actor, *};
    use crate::translate::{Earlier, Refers};

    #[test]
    fn what_was_waited_for_in_vain_is_remembered_for_a_while() {
        let mut patience = Patience::default();
        let target = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        for number in 0..=VAIN {
            patience.give_up("mimi://a.example/r/club", target(number));
            patience.give_up("mimi://a.example/r/club", target(number));
        }
        assert_eq!((patience.vain.len(), patience.order.len()), (VAIN, VAIN));
        let known = |number| patience.vain.contains(&("mimi://a.example/r/club".to_owned(), target(number)));
        assert_eq!((known(0), known(1), known(VAIN)), (false, true, true));
    }

    fn said(accepted: Millis, id: u8) -> Showing {
        let sender = UserUri::parse("mimi://a.example/u/alice").unwrap();
        let room = ruma::owned_room_id!("!club:a.test");
        let earlier = Earlier {
            id: MessageId([id; 32]),
            first: MessageId([id; 32]),
            sender: sender.clone(),
            reply: None,
            reaction: false,
            topic: Vec::new(),
            kind: None,
        };
        let action = MatrixAction::Join { room, actor: Actor::Ghost(sender) };
        let refers = Refers::default();
        Showing { action, message_id: [id; 32], accepted, earlier, refers, keeper: None }
    }

    fn waiting(all: &[(Millis, u8)]) -> Patience {
        let mut patience = Patience::default();
        for (accepted, id) in all {
            patience.waits("r", &said(*accepted, *id), Waiter { target: Some([99; 32]), until: Some(1000) });
        }
        patience
    }

    #[test]
    fn a_message_stands_behind_the_last_one_before_it_that_waits() {
        let mut patience = waiting(&[(500, 1), (600, 2)]);
        assert_eq!(patience.before("r", &said(700, 3)), Some([2; 32]));
        assert_eq!(patience.before("r", &said(550, 3)), Some([1; 32]));
        assert_eq!(patience.before("r", &said(500, 3)), Some([1; 32]), "at the same time, and looked at later");
        assert_eq!(patience.before("r", &said(499, 3)), None, "it was said before");
        assert_eq!(patience.before("r", &said(700, 99)), None, "it is what they wait for");
        assert_eq!(patience.before("r", &said(500, 1)), None, "nothing stands behind itself");
        assert_eq!(patience.before("other", &said(700, 3)), None);
        // It waits until it is shown, whatever the clock says.
        patience.waits("r", &said(600, 2), Waiter { target: None, until: None });
        assert_eq!(patience.before("r", &said(700, 3)), Some([2; 32]));
        assert_eq!((patience.is_over("r", &said(600, 2)), patience.is_over("r", &said(600, 2))), (true, false));
        assert_eq!(patience.before("r", &said(700, 3)), Some([1; 32]));
        assert!(patience.is_over("r", &said(500, 1)));
        assert!(patience.waiting.is_empty());
    }

    #[test]
    fn messages_of_one_moment_do_not_wait_for_each_other_for_ever() {
        // The first answers the third, the third stands behind the second, and that behind the first.
        let mut patience = Patience::default();
        let mut first = said(500, 1);
        first.refers.reply = Some(MessageId([3; 32]));
        for (showing, target) in [(&first, 3), (&said(500, 2), 1), (&said(500, 3), 2)] {
            assert_eq!(patience.waits_before("r", showing, [target; 32]), (target != 3).then_some(1000));
            patience.waits("r", showing, Waiter { target: Some([target; 32]), until: Some(1000) });
        }
        assert_eq!(patience.still_waits_before("r", &first, [3; 32]), None);
        assert_eq!(patience.still_waits_before("r", &said(500, 2), [1; 32]), Some(1000));
        assert_eq!(patience.still_waits_before("r", &said(500, 3), [2; 32]), Some(1000));
        // What was said before cannot stand behind it: its turn comes first, even if it is what is answered.
        let mut answer = said(600, 4);
        answer.refers.reply = Some(MessageId([3; 32]));
        assert_eq!(patience.still_waits_before("r", &answer, [3; 32]), Some(1000));
    }

    #[test]
    fn what_stands_behind_a_message_waits_for_its_turn_alone() {
        let mut patience = waiting(&[(500, 1)]);
        assert_eq!(patience.waits_before("r", &said(600, 2), [1; 32]), Some(1000));
        assert_eq!(patience.waits_before("r", &said(600, 2), [7; 32]), None, "that is what it answers");
        assert_eq!(patience.waits_before("r", &said(400, 2), [1; 32]), None);
        // In the lane it comes before what follows it there.
        patience.waits("r", &said(500, 1), Waiter { target: None, until: None });
        assert_eq!(patience.waits_before("r", &said(600, 2), [1; 32]), None);
    }
}
