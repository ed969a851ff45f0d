//! Which room of this hub belongs to which (`room::kin`), for all of them together: two rooms that come to belong to each other at the
//! same moment are worked on by two tasks, and only here is that seen. What a step is about to change counts until it is durable,
//! or given up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use super::{core::lock, tables::KIN};
use crate::store::{Database, StoreError};

/// Which room belongs to which.
#[derive(Debug, Default)]
pub(crate) struct Lineage(Mutex<Edges>);

/// Parents, by child. Both count: a claim may come to nothing, and then what is durable holds on.
#[derive(Debug, Default)]
struct Edges {
    durable: BTreeMap<String, String>,
    claimed: BTreeMap<String, String>,
}

impl Edges {
    /// Whether whoever belongs to `parent` belongs to `child`, at whatever remove.
    fn leads_back(&self, child: &str, parent: &str) -> bool {
        // What is stored may be a circle from elsewhere: no room is walked through twice.
        let (mut above, mut seen) = (vec![parent], BTreeSet::new());
        while let Some(room) = above.pop() {
            if room == child {
                return true;
            }
            if seen.insert(room) {
                above.extend(self.durable.get(room).into_iter().chain(self.claimed.get(room)).map(String::as_str));
            }
        }
        false
    }
}

impl Lineage {
    /// As it is stored.
    pub(super) async fn load(db: &Database) -> Result<Self, StoreError> {
        let rows = KIN.scan_all(db, &()).await?.into_iter();
        let durable = rows.filter_map(|(child, kin)| Some((child, kin.belongs?))).collect();
        Ok(Self(Mutex::new(Edges { durable, claimed: BTreeMap::new() })))
    }

    /// Whether the one may belong to the other.
    pub(super) fn may_belong(&self, child: &str, parent: &str) -> bool {
        !lock(&self.0).leads_back(child, parent)
    }

    /// The rooms that belong to this one, or are about to.
    pub(super) fn children(&self, parent: &str) -> BTreeSet<String> {
        let edges = lock(&self.0);
        let all = edges.durable.iter().chain(&edges.claimed);
        all.filter(|(_, above)| *above == parent).map(|(child, _)| child.clone()).collect()
    }

    /// The one is about to belong to the other. The error is for people.
    pub(super) fn claim(&self, child: &str, parent: &str) -> Result<(), String> {
        let mut edges = lock(&self.0);
        if edges.leads_back(child, parent) {
            return Err(format!("{parent} belongs to this room, or to one that does"));
        }
        edges.claimed.insert(child.to_owned(), parent.to_owned());
        Ok(())
    }

    /// That is how it is.
    pub(super) fn settle(&self, child: &str, parent: Option<&str>) {
        let mut edges = lock(&self.0);
        edges.claimed.remove(child);
        match parent {
            Some(parent) if edges.durable.get(child).is_some_and(|known| known == parent) => {}
            Some(parent) => drop(edges.durable.insert(child.to_owned(), parent.to_owned())),
            None => drop(edges.durable.remove(child)),
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
    #[test]
    fn what_is_durable_counts_until_it_is_settled_otherwise() {
        let lineage = Lineage::default();
        lineage.settle("kitchen", Some("house"));
        lineage.claim("kitchen", "barn").unwrap();
        // That step may fail.
        assert!(lineage.claim("house", "kitchen").is_err() && lineage.claim("barn", "kitchen").is_err());
        assert!(lineage.children("house").contains("kitchen") && lineage.children("barn").contains("kitchen"));
        lineage.settle("kitchen", Some("house"));
        assert!(lineage.claim("house", "kitchen").is_err());
        lineage.claim("barn", "kitchen").unwrap();
        lineage.settle("kitchen", Some("house"));
        assert!(lineage.children("barn").is_empty());
    }
}
