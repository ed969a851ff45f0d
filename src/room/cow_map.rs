//! Rows of a room, kept twice at little cost: a room is copied before each step, to see what changed and to undo it.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

/// A map. A copy of it costs nothing until one of the two is changed.
#[derive(Debug, Clone)]
pub struct CowMap<K, V>(Arc<BTreeMap<K, V>>);

impl<K: Ord + Clone, V: Clone + PartialEq> CowMap<K, V> {
    /// To be changed: who only looks does without, since this makes a copy.
    pub(super) fn make_mut(&mut self) -> &mut BTreeMap<K, V> {
        Arc::make_mut(&mut self.0)
    }

    /// Takes a row out, if it is there.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        if self.0.contains_key(key) { self.make_mut().remove(key) } else { None }
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.0 = Arc::default();
    }

    /// What has to be written for a store that has `before` to have this: keys and new values, none of those that go.
    #[must_use]
    pub fn changes<'a>(&'a self, before: &'a Self) -> Vec<(&'a K, Option<&'a V>)> {
        if Arc::ptr_eq(&self.0, &before.0) {
            return Vec::new();
        }
        let gone = before.keys().filter(|key| !self.contains_key(*key)).map(|key| (key, None));
        let new = self.iter().filter(|(key, value)| before.get(*key) != Some(*value));
        gone.chain(new.map(|(key, value)| (key, Some(value)))).collect()
    }
}

impl<K, V> Default for CowMap<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> Deref for CowMap<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for CowMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl<K: Eq, V: Eq> Eq for CowMap<K, V> {}

impl<K: Ord, V> FromIterator<(K, V)> for CowMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        Self(Arc::new(rows.into_iter().collect()))
    }
}
