//! Who waits for what before it is shown: an edit, a reaction or a vote for its message, an answer for what it answers, and
//! what the sender of such an answer says next for that one, so that nobody's messages change their order.
//!
//! ```text
//!  answer to X, X is not here   -> waits for X, a few seconds
//!  next message of its sender   -> waits for the answer
//!  X is shown                   -> the answer is, pointing at X -> the next message is
//!  X does not come              -> the answer is, with a quotation that says so; the next answer to X waits no more
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    core::{Engine, lock},
    ports::Millis,
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

#[derive(Debug, Clone, Copy)]
struct Last {
    id: [u8; 32],
    /// When the hub accepted it.
    accepted: Millis,
    /// It waits until then.
    until: Millis,
}

/// What is remembered of waiting, in memory alone: after a start answers to the same message wait once more.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The last message of each sender in each room that waits.
    last: BTreeMap<(String, UserUri), Last>,
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

    /// Lets go of those whose time is over once they are many: who says nothing more never asks for theirs.
    fn forget_old(&mut self, now: Millis) {
        if self.last.len() >= VAIN {
            self.last.retain(|_, last| last.until > now);
        }
    }

    /// The message behind which one of its sender stands that the hub accepted then.
    fn before(&mut self, room: &str, sender: &UserUri, accepted: Millis, now: Millis) -> Option<[u8; 32]> {
        if self.last.is_empty() {
            return None;
        }
        let key = (room.to_owned(), sender.clone());
        let last = *self.last.get(&key)?;
        if last.until <= now {
            self.last.remove(&key);
            return None;
        }
        // What was said before it comes late itself, and may be what it waits for.
        (last.accepted < accepted).then_some(last.id)
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
    pub(super) fn waits(&self, room: &str, showing: &Showing, until: Millis) {
        if is_said(showing) {
            let key = (room.to_owned(), showing.earlier.sender.clone());
            let last = Last { id: showing.message_id, accepted: showing.accepted, until };
            let mut patience = lock(&self.0.patience);
            patience.forget_old(super::core::now());
            if patience.last.get(&key).is_none_or(|before| before.accepted <= last.accepted) {
                patience.last.insert(key, last);
            }
        }
    }

    /// The message of the same sender that has to be shown first.
    pub(super) async fn stands_behind(&self, room: &str, showing: &Showing) -> Result<Option<MessageId>, StoreError> {
        if !is_said(showing) {
            return Ok(None);
        }
        let sender = &showing.earlier.sender;
        let before = lock(&self.0.patience).before(room, sender, showing.accepted, super::core::now());
        let Some(before) = before else { return Ok(None) };
        if before == showing.message_id || self.event_of(room, MessageId(before)).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(MessageId(before)))
    }

    /// The message that an answer waits for: it is not here, and nothing waited for it before.
    pub(super) async fn awaits_answered(
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
    use super::*;

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

    #[test]
    fn who_waited_and_says_nothing_more_is_forgotten() {
        let mut patience = Patience::default();
        let alice = UserUri::parse("mimi://a.example/u/alice").unwrap();
        for number in 0..VAIN as u64 {
            let last = Last { id: [1; 32], accepted: 1, until: number };
            patience.last.insert((number.to_string(), alice.clone()), last);
        }
        patience.forget_old(10);
        assert_eq!(patience.last.len(), VAIN - 11);
    }

    #[test]
    fn nobody_waits_behind_a_message_without_end() {
        let mut patience = Patience::default();
        let alice = UserUri::parse("mimi://a.example/u/alice").unwrap();
        patience.last.insert(("r".to_owned(), alice.clone()), Last { id: [1; 32], accepted: 500, until: 1000 });
        assert_eq!(patience.before("r", &alice, 501, 999), Some([1; 32]));
        assert_eq!(patience.before("r", &alice, 499, 999), None, "it was said before");
        assert_eq!(patience.before("other", &alice, 501, 999), None);
        assert_eq!(patience.before("r", &alice, 501, 1000), None);
        assert_eq!(patience.last.len(), 0);
    }
}
