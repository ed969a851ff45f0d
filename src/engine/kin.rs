//! Who takes part in rooms on which others of this hub depend: one row a parent, written in the batch of the step that changes it,
//! with an item for the inbox of each child. A crash in between leaves both or neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use super::{
    actor::{Actor, After},
    core::{Engine, lock},
    mail::Mail,
    tables::{INBOX, InboxItem, KIN, ROSTERS, SEEKERS},
};
use crate::{
    ident::{RoomUri, UserUri},
    policy::Parents,
    room::{Effect, Kin, Names as _, Phase, Room, group::Group as _},
    store::{Batch, StoreError},
};

/// Who takes part in a room.
pub(super) type Roster = Arc<BTreeSet<UserUri>>;

/// A room's row as it is known here; `None`: there is none.
#[derive(Debug, Clone)]
struct Row(Option<Roster>);

/// The rows as they are known here.
#[derive(Debug, Default)]
pub(super) struct Rosters(Mutex<BTreeMap<String, Row>>);

/// What a step has to say to rooms that depend on this one, or on which it depends.
#[derive(Default)]
pub(super) struct Related {
    /// Rooms that asked.
    asking: BTreeSet<String>,
    /// Items for inboxes of other rooms.
    items: Vec<(String, u64, InboxItem)>,
    /// The row of this room, if it changed.
    roster: Option<Row>,
}

impl Engine {
    async fn roster(&self, uri: &str) -> Result<Option<Roster>, StoreError> {
        if let Some(known) = lock(&self.0.rosters.0).get(uri) {
            return Ok(known.0.clone());
        }
        let stored = ROSTERS.get(&self.0.db, &uri.to_owned()).await?.map(Arc::new);
        // What was written meanwhile is newer.
        Ok(lock(&self.0.rosters.0).entry(uri.to_owned()).or_insert(Row(stored)).0.clone())
    }
}

impl Actor {
    /// The room's record comes with what it has to do with others.
    pub(super) async fn load_kin(&mut self) -> Result<(), StoreError> {
        self.published = None;
        if let Some(room) = &mut self.room {
            room.kin = KIN.get(&self.engine.0.db, &self.uri).await?.unwrap_or_default();
        }
        self.know_parents(None).await
    }

    /// As hub: who takes part in the room on which this one depends or may come to depend, for what the step judges.
    pub(super) async fn know_parents(&mut self, also: Option<&RoomUri>) -> Result<(), StoreError> {
        let Some(room) = self.room.as_ref().filter(|room| room.uri.hub() == *self.engine.0.names.domain()) else {
            return Ok(());
        };
        let mut parents: BTreeSet<String> = also.map(ToString::to_string).into_iter().collect();
        parents.extend(self.group_state().and_then(|state| state.base_policy.parent().map(str::to_owned)));
        parents.extend(room.kin.space.as_ref().and_then(|space| self.engine.linked(space.as_str())));
        let mut hosted = BTreeMap::new();
        for parent in parents {
            if let Some(roster) = self.engine.roster(&parent).await? {
                hosted.insert(parent, roster);
            }
        }
        if let Some(bounds) = &mut self.group.bounds {
            bounds.parents = Parents::Hosted(hosted);
        }
        Ok(())
    }

    /// A room of ours asks who takes part in this one.
    pub(super) fn has_child(&mut self, child: &RoomUri, after: &mut After) {
        if let Some(room) = &mut self.room {
            room.kin.children.insert(child.clone());
            after.related.asking.insert(child.to_string());
        }
    }

    fn tell_room(&self, to: &str, item: InboxItem, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let number = INBOX.append(&self.engine.0.db, batch, &to.to_owned(), &item)?;
        after.related.items.push((to.to_owned(), number, item));
        Ok(())
    }

    /// [`Effect::FindParent`].
    pub(super) fn find_parent(&self, effect: Effect, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let (Effect::FindParent { parent, space }, Some(room)) = (effect, &self.room) else { return Ok(()) };
        let linked = space.as_ref().and_then(|space| self.engine.linked(space.as_str()));
        if let Some(space) = &space {
            SEEKERS.put(&self.engine.0.db, batch, &(space.to_string(), self.uri.clone()), &())?;
        }
        let known = parent.into_iter().chain(linked.and_then(|uri| RoomUri::parse(&uri).ok()));
        let parents: BTreeSet<RoomUri> =
            known.filter(|parent| parent.hub() == room.uri.hub() && *parent != room.uri).collect();
        for parent in parents {
            self.tell_room(parent.as_str(), InboxItem::Child { room: room.uri.clone() }, batch, after)?;
        }
        Ok(())
    }

    /// A Matrix room was just mirrored: those that let its members in hear of it.
    pub(super) async fn tell_seekers(&mut self, matrix: &str, after: &mut After) -> Result<(), StoreError> {
        for ((_, child), ()) in SEEKERS.scan_all(&self.engine.0.db, &matrix.to_owned()).await? {
            if let Ok(child) = RoomUri::parse(&child) {
                self.has_child(&child, after);
            }
        }
        Ok(())
    }

    /// Who takes part: the participants, and our users who are there and get on the list once they act.
    fn roster_now(&self) -> Option<BTreeSet<UserUri>> {
        let room = self.room.as_ref().filter(|room| room.phase == Phase::Active && !room.unbridging && !room.direct)?;
        let state = self.group_state()?;
        let listed = state.participants.iter().filter(|(_, role)| !state.is_banned_role(*role));
        Some(listed.map(|(user, _)| user).chain(&room.present).cloned().collect())
    }

    /// Puts what changed for other rooms into the step's batch. `before`: the record before the step.
    pub(super) async fn publish(
        &mut self,
        before: Option<&Room>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let Some(room) = &self.room else { return Ok(()) };
        let db = &self.engine.0.db;
        if before.map_or_else(Kin::default, |before| before.kin.clone()) != room.kin {
            KIN.put(db, batch, &self.uri, &room.kin)?;
        }
        let epoch = self.group.epoch();
        let same = before.is_some_and(|before| {
            before.present == room.present && before.phase == room.phase && before.unbridging == room.unbridging
        });
        let asking = std::mem::take(&mut after.related.asking);
        if asking.is_empty() && (room.kin.children.is_empty() || (same && self.published == Some(epoch))) {
            return Ok(());
        }
        let (now, old) = (self.roster_now().map(Arc::new), self.engine.roster(&self.uri).await?);
        let mut to = asking;
        if now != old {
            match &now {
                Some(roster) => ROSTERS.put(db, batch, &self.uri, roster.as_ref())?,
                None => ROSTERS.delete(batch, &self.uri),
            }
            after.related.roster = Some(Row(now));
            to.extend(room.kin.children.iter().map(ToString::to_string));
        }
        let (parent, space) = (room.uri.clone(), room.matrix.clone());
        self.published = Some(epoch);
        for child in to {
            let item = InboxItem::Kin { parent: parent.clone(), space: space.clone() };
            self.tell_room(&child, item, batch, after)?;
        }
        Ok(())
    }

    /// It is durable.
    pub(super) fn related(&self, related: Related) {
        if let Some(roster) = related.roster {
            lock(&self.engine.0.rosters.0).insert(self.uri.clone(), roster);
        }
        for (uri, number, item) in related.items {
            self.engine.mail(&uri, Mail::Item { number, item });
        }
    }
}
