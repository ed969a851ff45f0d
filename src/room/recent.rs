//! What a room keeps in mind and can do without.

use std::collections::{BTreeSet, VecDeque};

use super::effect::Millis;

/// What a room keeps in mind and can do without: message ids that were shown or logged lately, of which a second copy is not
/// shown again.
#[derive(Debug, Default, Clone)]
pub struct Recent {
    order: VecDeque<[u8; 32]>,
    set: BTreeSet<[u8; 32]>,
    /// Messages that wait for long are not looked for before.
    pub(super) looks_at: Millis,
}

impl Recent {
    const KEEP: usize = 4096;

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
