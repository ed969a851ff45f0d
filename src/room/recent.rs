//! What a room keeps in mind and can do without.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::effect::Millis;
use crate::ident::UserUri;

/// So long nobody hears again of a sender whose messages cannot be read, in milliseconds.
const HOUR: Millis = 3_600_000;
/// So long after one began a call further events of theirs that begin one are about the same, in milliseconds.
const ONE_CALL: Millis = 10_000;
/// So long a question counts that came before its target was heard to be out, in milliseconds.
const EARLY: Millis = 600_000;
/// So many of them are kept.
const MAX_EARLY: usize = 100;
/// Of so many senders people hear that within it.
const MAX_UNREAD: usize = 10;

/// What a room keeps in mind and can do without: message ids that were shown or logged lately, of which a second copy is not
/// shown again.
#[derive(Debug, Default, Clone)]
pub struct Recent {
    order: VecDeque<[u8; 32]>,
    set: BTreeSet<[u8; 32]>,
    /// Messages that wait for long are not looked for before.
    pub(super) looks_at: Millis,
    /// When people heard that a message of somebody cannot be read.
    unread: BTreeMap<UserUri, Millis>,
    /// Our users who were asked in while they were in, as far as was known here: by whom, and when.
    asked_early: VecDeque<(UserUri, UserUri, Millis)>,
    /// Who began a call last, and when.
    called: Option<(UserUri, Millis)>,
}

impl Recent {
    const KEEP: usize = 4096;

    /// Whether people hear now that a message of somebody cannot be read: whoever floods the room is named once an hour.
    pub(super) fn tells_unread(&mut self, sender: &UserUri, now: Millis) -> bool {
        self.unread.retain(|_, at| now.abs_diff(*at) < HOUR);
        let tells = self.unread.len() < MAX_UNREAD && !self.unread.contains_key(sender);
        if tells {
            self.unread.insert(sender.clone(), now);
        }
        tells
    }

    /// Somebody is asked in whom we take to be in.
    pub(super) fn is_asked_early(&mut self, target: UserUri, requester: UserUri, now: Millis) {
        self.asked_early.retain(|(user, _, at)| *user != target && now.abs_diff(*at) < EARLY);
        self.asked_early.truncate(MAX_EARLY - 1);
        self.asked_early.push_front((target, requester, now));
    }

    /// That was taken back.
    pub(super) fn is_asked_no_more(&mut self, target: &UserUri, requester: &UserUri) {
        self.asked_early.retain(|(user, by, _)| user != target || by != requester);
    }

    /// Who asked somebody in a moment ago, who was in then.
    pub(super) fn asked_early(&mut self, target: &UserUri, now: Millis) -> Option<UserUri> {
        let at = self.asked_early.iter().position(|(user, _, _)| user == target)?;
        let (_, requester, at) = self.asked_early.remove(at)?;
        (now.abs_diff(at) < EARLY).then_some(requester)
    }

    /// Whether this is word of a call that was told already: clients announce one call by several events.
    pub(super) fn is_told_call(&mut self, user: &UserUri, at: Millis) -> bool {
        let known = self.called.as_ref().is_some_and(|(who, since)| who == user && at.abs_diff(*since) < ONE_CALL);
        if !known {
            self.called = Some((user.clone(), at));
        }
        known
    }

    /// Notes an id; false if it was known.
    pub fn insert(&mut self, id: [u8; 32]) -> bool {
        if !self.set.insert(id) {
            return false;
        }
        self.order.push_back(id);
        while self.order.len() > Self::KEEP {
            if let Some(old) = self.order.pop_front() {
                self.set.remove(&old);
            }
        }
        true
    }
}
