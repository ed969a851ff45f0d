//! Which room of this hub belongs to which (`room::kin`), for all of them together: two rooms that come to belong to each other at the
//! same moment are worked on by two tasks, and only here is that seen. What a step is about to change counts until it is durable,
//! or given up.

use std::{collections::BTreeMap, sync::Mutex};

use super::{core::lock, tables::KIN};
use crate::store::{Database, StoreError};

/// Parents, by child.
#[derive(Debug, Default)]
pub(crate) struct Lineage(Mutex<BTreeMap<String, String>>);

/// Whether whoever belongs to `parent` belongs to `child`, at whatever remove.
fn leads_back(known: &BTreeMap<String, String>, child: &str, parent: &str) -> bool {
    let above = std::iter::successors(Some(parent), |room| known.get(*room).map(String::as_str));
    // What is stored may be a circle from elsewhere: no walk is longer than there are rooms.
    above.take(known.len() + 1).any(|room| room == child)
}

impl Lineage {
    /// As it is stored.
    pub(super) async fn load(db: &Database) -> Result<Self, StoreError> {
        let rows = KIN.scan_all(db, &()).await?.into_iter();
        Ok(Self(Mutex::new(rows.filter_map(|(child, kin)| Some((child, kin.belongs?))).collect())))
    }

    /// Whether the one may belong to the other.
    pub(super) fn may_belong(&self, child: &str, parent: &str) -> bool {
        !leads_back(&lock(&self.0), child, parent)
    }

    /// The one is about to belong to the other. The error is for people.
    pub(super) fn claim(&self, child: &str, parent: &str) -> Result<(), String> {
        let mut known = lock(&self.0);
        if leads_back(&known, child, parent) {
            return Err(format!("{parent} belongs to this room, or to one that does"));
        }
        known.insert(child.to_owned(), parent.to_owned());
        Ok(())
    }

    /// That is how it is.
    pub(super) fn settle(&self, child: &str, parent: Option<&str>) {
        let mut known = lock(&self.0);
        match parent {
            Some(parent) if known.get(child).is_some_and(|known| known == parent) => {}
            Some(parent) => drop(known.insert(child.to_owned(), parent.to_owned())),
            None => drop(known.remove(child)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_room_belongs_to_itself_at_any_remove() {
        let lineage = Lineage::default();
        lineage.claim("kitchen", "house").unwrap();
        lineage.claim("house", "street").unwrap();
        for parent in ["kitchen", "house", "street"] {
            assert!(parent == "street" || lineage.claim("street", parent).is_err());
            assert!(!lineage.may_belong("street", parent), "{parent}");
        }
        assert!(lineage.may_belong("kitchen", "street") && lineage.may_belong("street", "town"));
        // What did not come about is in nobody's way.
        lineage.settle("house", None);
        lineage.claim("street", "kitchen").unwrap();
        assert!(!lineage.may_belong("house", "street"));
        lineage.settle("street", Some("kitchen"));
        assert!(lineage.claim("house", "kitchen").is_err());
    }
}
