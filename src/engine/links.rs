//! Followed rooms that depend on others (`room::links`): which Matrix room each of the two is gets into the other's inbox. A row
//! stays of each that depends on one that is not followed here, or not yet.

use super::{
    actor::{Actor, After},
    tables::{DEPENDENTS, InboxItem},
};
use crate::{
    ident::RoomUri,
    room::{Input, Links, Names as _},
    store::{Batch, StoreError},
};

impl Actor {
    /// [`InboxItem::Below`].
    pub(super) async fn below(
        &mut self,
        child: &RoomUri,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let row = (self.uri.clone(), child.to_string());
        let matrix = DEPENDENTS.get(&self.engine.0.db, &row).await?;
        if matrix.is_some() {
            after.related.below.insert(child.clone());
        }
        self.run(Input::Below { room: child.clone(), matrix }, batch, after).await.map(drop)
    }

    /// As follower: tells the room on which this one depends, and those that depend on this one, what changed.
    pub(super) async fn note_links(&mut self, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let mut asking = std::mem::take(&mut after.related.below);
        let (db, state) = (self.engine.0.db.clone(), self.group_state());
        let Some(room) = self.room.as_mut().filter(|room| room.uri.hub() != *self.engine.0.names.domain()) else {
            return Ok(());
        };
        let (uri, here) = (room.uri.clone(), room.portal().cloned());
        let depends = state.and_then(|state| room.depends_on(&state)).zip(here.clone());
        let Links { told, said, below, .. } = &mut room.kin.links;
        let mut items = Vec::new();
        if *told != depends {
            let row = |parent: &RoomUri| (parent.to_string(), uri.to_string());
            let before = std::mem::replace(told, depends.clone());
            let parent = depends.as_ref().map(|(parent, _)| parent);
            if let Some((before, _)) = before.as_ref().filter(|(before, _)| Some(before) != parent) {
                DEPENDENTS.delete(batch, &row(before));
            }
            if let Some((parent, matrix)) = &depends {
                DEPENDENTS.put(&db, batch, &row(parent), matrix)?;
            }
            let mut parents: Vec<RoomUri> = before.into_iter().chain(depends).map(|(parent, _)| parent).collect();
            parents.dedup();
            items.extend(parents.into_iter().map(|parent| (parent, InboxItem::Below { room: uri.clone() })));
        }
        if *said != here {
            said.clone_from(&here);
            asking.extend(below.keys().cloned());
            if here.is_some() {
                // Those that were here first.
                for ((_, child), _) in DEPENDENTS.scan_all(&db, &uri.to_string()).await? {
                    if let Ok(child) = RoomUri::parse(&child)
                        && !below.contains_key(&child)
                    {
                        items.push((uri.clone(), InboxItem::Below { room: child }));
                    }
                }
            }
        }
        items.extend(
            asking.into_iter().map(|child| (child, InboxItem::Above { room: uri.clone(), matrix: here.clone() })),
        );
        for (to, item) in items {
            self.tell_room(to.as_str(), item, batch, after)?;
        }
        Ok(())
    }
}
