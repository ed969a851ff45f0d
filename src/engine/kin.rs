//! Who takes part in rooms on which others of this hub depend: a row for each of them, written in the batch of the step that changes
//! it, with an item for the inbox of each child. A crash in between leaves both or neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use ruma::OwnedRoomId;

use super::{
    actor::{Actor, After},
    core::{Engine, lock},
    mail::Mail,
    tables::{INBOX, InboxItem, KIN, ROSTERED, ROSTERS, SEEKERS},
};
use crate::{
    ident::{RoomUri, UserUri},
    policy::Parents,
    room::{Effect, Kin, Names as _, Room, group::Group as _},
    store::{Batch, Database, StoreError},
};

/// Rows that are read at once.
const PAGE: usize = 1000;

/// Who takes part in a room.
pub(super) type Roster = Arc<BTreeSet<UserUri>>;

/// What is stored of a room; `None`: nothing is.
#[derive(Debug, Clone)]
struct Known(Option<Roster>);

/// What is stored of rooms, as far as it was read.
#[derive(Debug, Default)]
pub(super) struct Rosters(Mutex<BTreeMap<String, Known>>);

/// What a step has to say to rooms that depend on this one, or on which it depends.
#[derive(Default)]
pub(super) struct Related {
    /// Rooms that asked.
    asking: BTreeSet<String>,
    /// Items for inboxes of other rooms.
    items: Vec<(String, u64, InboxItem)>,
    /// Who takes part in this room, if that changed.
    roster: Option<Known>,
    /// Rooms that depend on this one, and want to know which Matrix room it is.
    pub(super) below: BTreeSet<RoomUri>,
}

async fn load(db: &Database, uri: &str) -> Result<Option<BTreeSet<UserUri>>, StoreError> {
    if ROSTERS.get(db, &uri.to_owned()).await?.is_none() {
        return Ok(None);
    }
    let (mut users, mut after) = (BTreeSet::new(), None);
    loop {
        let page = ROSTERED.scan(db, &uri.to_owned(), after, PAGE).await?;
        if let Some(key) = page.damaged.first() {
            // Who is left out would be put out of the rooms that depend on this one.
            return Err(StoreError::Corrupt(format!("who takes part in {uri}: {}", key.escape_ascii())));
        }
        users.extend(page.rows.into_iter().map(|((_, user), ())| user));
        after = page.next;
        if after.is_none() {
            return Ok(Some(users));
        }
    }
}

/// Stores what changed of who takes part in a room.
fn put(
    db: &Database,
    batch: &mut Batch,
    uri: &str,
    before: Option<&BTreeSet<UserUri>>,
    now: Option<&BTreeSet<UserUri>>,
) -> Result<(), StoreError> {
    match (before, now) {
        (None, Some(_)) => ROSTERS.put(db, batch, &uri.to_owned(), &())?,
        (Some(_), None) => ROSTERS.delete(batch, &uri.to_owned()),
        _ => {}
    }
    let nobody = BTreeSet::new();
    let (before, now) = (before.unwrap_or(&nobody), now.unwrap_or(&nobody));
    for user in before.difference(now) {
        ROSTERED.delete(batch, &(uri.to_owned(), user.clone()));
    }
    for user in now.difference(before) {
        ROSTERED.put(db, batch, &(uri.to_owned(), user.clone()), &())?;
    }
    Ok(())
}

impl Engine {
    async fn roster(&self, uri: &str) -> Result<Option<Roster>, StoreError> {
        if let Some(known) = lock(&self.0.rosters.0).get(uri) {
            return Ok(known.0.clone());
        }
        let stored = load(&self.0.db, uri).await?.map(Arc::new);
        // What was written meanwhile is newer.
        Ok(lock(&self.0.rosters.0).entry(uri.to_owned()).or_insert(Known(stored)).0.clone())
    }
}

impl Actor {
    /// The room's record comes with what it has to do with others.
    pub(super) async fn load_kin(&mut self) -> Result<(), StoreError> {
        self.published = None;
        if let Some(room) = &mut self.room {
            room.kin = KIN.get(&self.engine.0.db, &self.uri).await?.unwrap_or_default();
        }
        self.settle_lineage();
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
    pub(super) fn has_child(&mut self, child: &RoomUri, question: u64, after: &mut After) {
        if let Some(room) = &mut self.room {
            let last = room.kin.children.entry(child.clone()).or_default();
            *last = question.max(*last);
            after.related.asking.insert(child.to_string());
        }
    }

    pub(super) fn tell_room(
        &self,
        to: &str,
        item: InboxItem,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let number = INBOX.append(&self.engine.0.db, batch, &to.to_owned(), &item)?;
        after.related.items.push((to.to_owned(), number, item));
        Ok(())
    }

    /// [`Effect::FindParent`].
    pub(super) fn find_parent(
        &mut self,
        effect: Effect,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let (Effect::FindParent { parent, space }, Some(room)) = (effect, &mut self.room) else { return Ok(()) };
        let linked = space.as_ref().and_then(|space| self.engine.linked(space.as_str()));
        let known = parent.into_iter().chain(linked.and_then(|uri| RoomUri::parse(&uri).ok()));
        let parents: BTreeSet<RoomUri> =
            known.filter(|parent| parent.hub() == room.uri.hub() && *parent != room.uri).collect();
        let mut items = Vec::new();
        for parent in parents {
            let asked = room.kin.asked.entry(parent.clone()).or_default();
            *asked += 1;
            items.push((parent, InboxItem::Child { room: room.uri.clone(), question: *asked }));
        }
        for (parent, item) in items {
            self.tell_room(parent.as_str(), item, batch, after)?;
        }
        Ok(())
    }

    /// Whether this room depends on that one, or its join rule names it.
    pub(super) fn looks_to(&self, parent: &RoomUri, spaces: &BTreeSet<OwnedRoomId>) -> bool {
        let Some(room) = self.room.as_ref().filter(|room| room.has_kin()) else { return false };
        self.belongs().as_deref() == Some(parent.as_str())
            || room.kin.space.as_ref().is_some_and(|space| spaces.contains(space))
    }

    /// Whoever told that takes this room for one that depends on it.
    pub(super) fn is_no_child(&self, parent: &RoomUri, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        let Ok(room) = RoomUri::parse(&self.uri) else { return Ok(()) };
        let asked = self.room.as_ref().and_then(|room| room.kin.asked.get(parent));
        let question = asked.copied().unwrap_or_default();
        self.tell_room(parent.as_str(), InboxItem::NoChild { room, question }, batch, after)
    }

    pub(super) fn is_hub(&self) -> bool {
        self.room.as_ref().is_some_and(|room| room.uri.hub() == *self.engine.0.names.domain())
    }

    /// As hub: the room on which this one depends.
    fn belongs(&self) -> Option<String> {
        self.room.as_ref().filter(|room| room.has_kin() && self.is_hub())?;
        self.group_state()?.base_policy.parent().map(str::to_owned)
    }

    fn settle_lineage(&self) {
        if self.is_hub() {
            self.engine.0.lineage.settle(&self.uri, self.belongs().as_deref());
        }
    }

    /// What this room has to do with others, and who hears when the Matrix room that its join rule names is mirrored.
    async fn note_kin(
        &mut self,
        before: Option<&Room>,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        self.note_links(batch, after).await?;
        let (db, belongs, is_hub) = (self.engine.0.db.clone(), self.belongs(), self.is_hub());
        let Some(room) = &mut self.room else { return Ok(()) };
        let sought = room.kin.space.clone().filter(|_| is_hub && room.has_kin());
        if room.kin.sought != sought {
            if let Some(space) = &room.kin.sought {
                SEEKERS.delete(batch, &(space.to_string(), self.uri.clone()));
            }
            if let Some(space) = &sought {
                SEEKERS.put(&db, batch, &(space.to_string(), self.uri.clone()), &())?;
            }
        }
        (room.kin.belongs, room.kin.sought) = (belongs, sought);
        // A Matrix room was just mirrored, or is what another was upgraded to: those that let its members in hear of it.
        let moved = before.and_then(|before| before.matrix.as_ref()) != room.matrix.as_ref();
        if let Some(matrix) = room.matrix.as_ref().filter(|_| moved && is_hub && room.has_kin()) {
            for ((_, child), ()) in SEEKERS.scan_all(&db, &matrix.to_string()).await? {
                if let Ok(child) = RoomUri::parse(&child) {
                    after.related.asking.insert(child.to_string());
                    room.kin.children.entry(child).or_default();
                }
            }
        }
        if before.map_or_else(Kin::default, |before| before.kin.clone()) != room.kin {
            KIN.put(&db, batch, &self.uri, &room.kin)?;
        }
        Ok(())
    }

    /// Who takes part: the participants, and our users who are there and get on the list once they act.
    fn roster_now(&self) -> Option<BTreeSet<UserUri>> {
        let room = self.room.as_ref().filter(|room| room.has_kin() && !room.kin.children.is_empty())?;
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
        self.note_kin(before, batch, after).await?;
        let Some(room) = &self.room else { return Ok(()) };
        let epoch = self.group.epoch();
        let asking = std::mem::take(&mut after.related.asking);
        let had = |before: &Room| !before.kin.children.is_empty();
        if asking.is_empty() && room.kin.children.is_empty() && !before.is_some_and(had) {
            return Ok(());
        }
        // What children have to know beside who takes part.
        let same = before.is_some_and(|before| {
            before.has_kin() == room.has_kin()
                && before.kin.belongs == room.kin.belongs
                && before.matrix == room.matrix
                && before.awaited() == room.awaited()
                && before.kin.children.is_empty() == room.kin.children.is_empty()
        });
        let crowd = before.is_some_and(|before| before.present == room.present) && self.published == Some(epoch);
        if asking.is_empty() && same && crowd {
            return Ok(());
        }
        let (now, old) = (self.roster_now().map(Arc::new), self.engine.roster(&self.uri).await?);
        let mut to = asking;
        if !same || now != old {
            to.extend(room.kin.children.keys().map(ToString::to_string));
        }
        if now != old {
            put(&self.engine.0.db, batch, &self.uri, old.as_deref(), now.as_deref())?;
            after.related.roster = Some(Known(now));
        }
        let (parent, spaces, awaited) = (room.uri.clone(), room.spaces(), room.awaited());
        let questions: BTreeMap<String, u64> =
            room.kin.children.iter().map(|(child, question)| (child.to_string(), *question)).collect();
        self.published = Some(epoch);
        for child in to {
            let answers = questions.get(&child).copied().unwrap_or_default();
            let (parent, spaces, awaited) = (parent.clone(), spaces.clone(), awaited.clone());
            let item = InboxItem::Kin { parent, spaces, awaited, answers };
            self.tell_room(&child, item, batch, after)?;
        }
        Ok(())
    }

    /// It is durable.
    pub(super) fn related(&self, related: Related) {
        self.settle_lineage();
        if let Some(roster) = related.roster {
            lock(&self.engine.0.rosters.0).insert(self.uri.clone(), roster);
        }
        let is_question = |item: &InboxItem| matches!(item, InboxItem::Child { .. } | InboxItem::NoChild { .. });
        let (questions, others): (Vec<_>, Vec<_>) =
            related.items.into_iter().partition(|(_, _, item)| is_question(item));
        for (uri, number, item) in others {
            self.engine.mail(&uri, Mail::Item { number, item });
        }
        if questions.is_empty() {
            return;
        }
        // What one transaction brings is handed to several rooms at once: who joined a space and a room of it is asked about here
        // only when the space has heard of it.
        let engine = self.engine.clone();
        self.engine.0.tasks.spawn(async move {
            for (uri, _, item) in &questions {
                if matches!(item, InboxItem::Child { .. }) {
                    engine.look_first(uri).await;
                }
            }
            drop(engine.0.ingest.lock().await);
            for (uri, number, item) in questions {
                engine.mail(&uri, Mail::Item { number, item });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MasterKey, MemoryDisk, open_memory};

    const URI: &str = "mimi://a.test/r/house";

    fn users(numbers: std::ops::Range<u32>) -> BTreeSet<UserUri> {
        numbers.map(|number| UserUri::parse(&format!("mimi://a.test/u/u{number}")).unwrap()).collect()
    }

    #[tokio::test]
    async fn who_takes_part_is_written_only_when_it_changes() {
        let db = open_memory(&MemoryDisk::new(), &MasterKey::from_bytes([7; 32])).unwrap().database;
        // Another room, whose address begins alike, is none of it.
        let mut batch = Batch::new("test");
        put(&db, &mut batch, "mimi://a.test/r/house2", None, Some(&users(0..3))).unwrap();
        db.commit(batch).await.unwrap();
        // Thousands come, one comes and one goes, all leave, and the room is over.
        let steps = [Some(users(0..5_000)), Some(users(1..5_001)), Some(BTreeSet::new()), None];
        let (mut before, mut writes) = (None, Vec::new());
        for now in steps {
            let mut batch = Batch::new("test");
            put(&db, &mut batch, URI, before.as_ref(), now.as_ref()).unwrap();
            writes.push(batch.writes().len());
            db.commit(batch).await.unwrap();
            assert_eq!(load(&db, URI).await.unwrap(), now);
            before = now;
        }
        assert_eq!(writes, [5_001, 2, 5_000, 1]);
        assert_eq!(load(&db, "mimi://a.test/r/house2").await.unwrap(), Some(users(0..3)));
    }
}
