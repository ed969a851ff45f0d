//! Many people, kept twice at little cost: a room is copied before each step, to see what changed and to undo it.

use std::{
    collections::{BTreeSet, btree_set},
    ops::Deref,
    sync::Arc,
};

use crate::ident::UserUri;

/// A set of people. A copy of it costs nothing until one of the two is changed.
#[derive(Debug, Clone, Default)]
pub struct Crowd(Arc<BTreeSet<UserUri>>);

impl Crowd {
    /// Puts somebody in. False: they are in already.
    pub fn insert(&mut self, user: UserUri) -> bool {
        !self.0.contains(&user) && Arc::make_mut(&mut self.0).insert(user)
    }

    /// Takes somebody out. False: they were not in.
    pub fn remove(&mut self, user: &UserUri) -> bool {
        self.0.contains(user) && Arc::make_mut(&mut self.0).remove(user)
    }

    /// Keeps those of whom this holds.
    pub fn retain(&mut self, keep: impl FnMut(&UserUri) -> bool) {
        Arc::make_mut(&mut self.0).retain(keep);
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.0 = Arc::default();
    }

    /// Whether both are the same set, without a look at who is in them: false says nothing.
    #[must_use]
    pub fn is_copy_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Deref for Crowd {
    type Target = BTreeSet<UserUri>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl PartialEq for Crowd {
    fn eq(&self, other: &Self) -> bool {
        self.is_copy_of(other) || self.0 == other.0
    }
}

impl Eq for Crowd {}

impl FromIterator<UserUri> for Crowd {
    fn from_iter<I: IntoIterator<Item = UserUri>>(users: I) -> Self {
        Self(Arc::new(users.into_iter().collect()))
    }
}

impl Extend<UserUri> for Crowd {
    fn extend<I: IntoIterator<Item = UserUri>>(&mut self, users: I) {
        for user in users {
            self.insert(user);
        }
    }
}

impl<'a> IntoIterator for &'a Crowd {
    type Item = &'a UserUri;
    type IntoIter = btree_set::Iter<'a, UserUri>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Crowd {
    type Item = UserUri;
    type IntoIter = btree_set::IntoIter<UserUri>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}
