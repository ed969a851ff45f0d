//! Rooms' records. What is in one changes with every message; who is in the room rarely does, and may be thousands: people have
//! rows of their own, of which those are written that changed.

use serde::{Serialize, de::DeserializeOwned};

use super::core::Engine;
use crate::{
    ident::UserUri,
    room::{CowMap, Crowd, Face, Own, Phase, Portrait, PortraitSheet, Room, Shared, Sheet, Sitter},
    store::{Batch, Database, StoreError, Table},
    translate::profile::Picture,
};

/// Rooms by URI, without their people. Sealed: a record may hold a staged commit.
const ROOMS: Table<String, Room> = Table::sealed("room");
/// Who is in a Matrix room: room, `PRESENT` or `GHOST`, user.
const PEOPLE: Table<(String, u32, UserUri), ()> = Table::new("people");
/// A user of ours.
const PRESENT: u32 = 0;
/// A remote user whose ghost is there.
const GHOST: u32 = 1;
/// What our users call themselves in a room, and what others were told: room, user.
const OWN_FACES: Table<(String, UserUri), Own> = Table::new("ownface");
/// What remote users call themselves: room, user.
const FACES: Table<(String, UserUri), Face> = Table::new("face");
/// What concerns all names of a room.
const SHEETS: Table<String, Sheet> = Table::new("facesheet");
/// Live locations of our users: room, user. Sealed: the last place of those that go on.
const LIVE: Table<(String, UserUri), Shared> = Table::sealed("live");
/// What our users look like in a room, and what others were told: room, user.
const SITTERS: Table<(String, UserUri), Sitter> = Table::new("sitter");
/// What remote users look like: room, user.
const PORTRAITS: Table<(String, UserUri), Portrait> = Table::new("portrait");
/// What concerns all pictures of people in a room.
const PORTRAIT_SHEETS: Table<String, PortraitSheet> = Table::new("portraitsheet");
/// Rows that are read at once.
const PAGE: usize = 1000;

/// Whether a room is there, and not over.
pub(super) async fn lives(db: &Database, uri: &str) -> Result<bool, StoreError> {
    Ok(ROOMS.get(db, &uri.to_owned()).await?.is_some_and(|room| room.phase != Phase::Left))
}

/// Whether the others in a room are to have this picture of one of ours: one row of a room that may be large.
pub(super) async fn shows_picture(db: &Database, uri: &str, user: &UserUri, place: &str) -> Result<bool, StoreError> {
    let sitter = SITTERS.get(db, &(uri.to_owned(), user.clone())).await?;
    Ok(sitter.is_some_and(|sitter| sitter.sits_at(place)))
}

/// Whether a ghost that is in a room is to have this picture.
pub(super) async fn wants_picture(
    db: &Database,
    uri: &str,
    user: &UserUri,
    picture: &Picture,
) -> Result<bool, StoreError> {
    let portrait = PORTRAITS.get(db, &(uri.to_owned(), user.clone())).await?;
    let wanted = portrait.is_some_and(|portrait| portrait.wants(picture));
    Ok(wanted && PEOPLE.get(db, &(uri.to_owned(), GHOST, user.clone())).await?.is_some())
}

/// Some rooms, as they are read one page after the other.
#[derive(Debug)]
pub(super) struct Page {
    /// URIs and records.
    pub(super) rooms: Vec<(String, Room)>,
    /// Go on behind this place; `None` at the end.
    pub(super) next: Option<Vec<u8>>,
}

/// One room.
pub(super) async fn load(db: &Database, uri: &str) -> Result<Option<Room>, StoreError> {
    let Some(mut room) = ROOMS.get(db, &uri.to_owned()).await? else { return Ok(None) };
    fill(db, uri, &mut room).await?;
    Ok(Some(room))
}

/// Up to `limit` rooms behind a place, in the order of their URIs. Those that do not read back are logged and left out.
pub(super) async fn page(db: &Database, after: Option<Vec<u8>>, limit: usize) -> Result<Page, StoreError> {
    let found = ROOMS.scan(db, &(), after, limit).await?;
    for key in &found.damaged {
        tracing::error!(key = %key.escape_ascii(), "a room's record does not read back");
    }
    let mut rooms = Vec::with_capacity(found.rows.len());
    for (uri, mut room) in found.rows {
        match fill(db, &uri, &mut room).await {
            Ok(()) => rooms.push((uri, room)),
            Err(StoreError::Corrupt(error)) => tracing::error!(error, "who is in a room does not read back"),
            Err(error) => return Err(error),
        }
    }
    Ok(Page { rooms, next: found.next })
}

/// Stores what changed of a room.
pub(super) fn put(
    db: &Database,
    batch: &mut Batch,
    uri: &str,
    before: Option<&Room>,
    room: &Room,
) -> Result<(), StoreError> {
    ROOMS.put(db, batch, &uri.to_owned(), room)?;
    if before.map_or_else(|| room.faces.sheet != Sheet::default(), |before| before.faces.sheet != room.faces.sheet) {
        SHEETS.put(db, batch, &uri.to_owned(), &room.faces.sheet)?;
    }
    put_rows(&OWN_FACES, db, batch, uri, before.map(|before| &before.faces.ours), &room.faces.ours)?;
    put_rows(&FACES, db, batch, uri, before.map(|before| &before.faces.theirs), &room.faces.theirs)?;
    put_rows(&LIVE, db, batch, uri, before.map(|before| &before.live), &room.live)?;
    put_rows(&SITTERS, db, batch, uri, before.map(|before| &before.portraits.ours), &room.portraits.ours)?;
    put_rows(&PORTRAITS, db, batch, uri, before.map(|before| &before.portraits.theirs), &room.portraits.theirs)?;
    let (none, sheet) = (PortraitSheet::default(), &room.portraits.sheet);
    if *sheet != *before.map_or(&none, |before| &before.portraits.sheet) {
        PORTRAIT_SHEETS.put(db, batch, &uri.to_owned(), sheet)?;
    }
    let nobody = Crowd::default();
    let (present, ghosts) = before.map_or((&nobody, &nobody), |before| (&before.present, &before.ghosts));
    for (side, before, now) in [(PRESENT, present, &room.present), (GHOST, ghosts, &room.ghosts)] {
        if now.is_copy_of(before) {
            continue;
        }
        for user in before.difference(now) {
            PEOPLE.delete(batch, &(uri.to_owned(), side, user.clone()));
        }
        for user in now.difference(before) {
            PEOPLE.put(db, batch, &(uri.to_owned(), side, user.clone()), &())?;
        }
    }
    Ok(())
}

/// Writes those rows that changed.
fn put_rows<V: Clone + PartialEq + Serialize + DeserializeOwned>(
    table: &Table<(String, UserUri), V>,
    db: &Database,
    batch: &mut Batch,
    uri: &str,
    before: Option<&CowMap<UserUri, V>>,
    rows: &CowMap<UserUri, V>,
) -> Result<(), StoreError> {
    let none = CowMap::default();
    for (user, value) in rows.changes(before.unwrap_or(&none)) {
        let key = (uri.to_owned(), user.clone());
        match value {
            Some(value) => table.put(db, batch, &key, value)?,
            None => table.delete(batch, &key),
        }
    }
    Ok(())
}

async fn rows<V: Clone + PartialEq + Serialize + DeserializeOwned>(
    table: &Table<(String, UserUri), V>,
    db: &Database,
    uri: &str,
) -> Result<CowMap<UserUri, V>, StoreError> {
    let rows = table.scan_all(db, &uri.to_owned()).await?;
    Ok(rows.into_iter().map(|((_, user), value)| (user, value)).collect())
}

async fn fill(db: &Database, uri: &str, room: &mut Room) -> Result<(), StoreError> {
    room.present = people(db, uri, PRESENT).await?;
    room.ghosts = people(db, uri, GHOST).await?;
    room.live = rows(&LIVE, db, uri).await?;
    room.faces.ours = rows(&OWN_FACES, db, uri).await?;
    room.faces.theirs = rows(&FACES, db, uri).await?;
    room.faces.sheet = SHEETS.get(db, &uri.to_owned()).await?.unwrap_or_default();
    room.portraits.ours = rows(&SITTERS, db, uri).await?;
    room.portraits.theirs = rows(&PORTRAITS, db, uri).await?;
    room.portraits.sheet = PORTRAIT_SHEETS.get(db, &uri.to_owned()).await?.unwrap_or_default();
    Ok(())
}

async fn people(db: &Database, uri: &str, side: u32) -> Result<Crowd, StoreError> {
    let (mut users, mut after) = (Vec::new(), None);
    loop {
        let page = PEOPLE.scan(db, &(uri.to_owned(), side), after, PAGE).await?;
        if let Some(key) = page.damaged.first() {
            // Who is left out would be put out of the room.
            return Err(StoreError::Corrupt(format!("who is in {uri}: {}", key.escape_ascii())));
        }
        users.extend(page.rows.into_iter().map(|((_, _, user), ())| user));
        after = page.next;
        if after.is_none() {
            return Ok(users.into_iter().collect());
        }
    }
}

impl Engine {
    /// After a stop that may have lost what was acknowledged (DESIGN 9): every room's leaves are to be made fresh.
    pub(super) async fn distrust_rooms(&self, batch: &mut Batch) -> Result<(), StoreError> {
        let db = &self.0.db;
        for (uri, mut room) in ROOMS.scan_all(db, &()).await? {
            room.stale = true;
            room.fresh.clear();
            ROOMS.put(db, batch, &uri, &room)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::ports::Actor,
        ident::RoomUri,
        room::Phase,
        store::{MasterKey, MemoryDisk, open_memory},
    };

    const URI: &str = "mimi://a.test/r/club";

    fn user(number: u32) -> UserUri {
        UserUri::parse(&format!("mimi://a.test/u/u{number}")).unwrap()
    }

    #[tokio::test]
    async fn who_is_in_a_room_is_written_only_when_it_changes() {
        let db = open_memory(&MemoryDisk::new(), &MasterKey::from_bytes([7; 32])).unwrap().database;
        let mut room = Room::new(RoomUri::parse(URI).unwrap(), Phase::Active, Actor::Bot);
        let mut before = None;
        let mut bytes = Vec::new();
        // Thousands come, somebody speaks, one comes and one goes, some ghosts come.
        for step in 0..4 {
            match step {
                0 => room.present = (0..5_000).map(user).collect(),
                1 => room.last_accepted = 1,
                2 => assert!(room.present.insert(user(9_000)) && room.present.remove(&user(17))),
                _ => room.ghosts = (6_000..6_010).map(user).collect(),
            }
            let mut batch = Batch::new("test");
            put(&db, &mut batch, URI, before.as_ref(), &room).unwrap();
            bytes.push((batch.writes().len(), batch.bytes()));
            db.commit(batch).await.unwrap();
            assert_eq!(load(&db, URI).await.unwrap(), Some(room.clone()), "after step {step}");
            before = Some(room.clone());
        }
        let writes: Vec<usize> = bytes.iter().map(|(writes, _)| *writes).collect();
        assert_eq!(writes, [5_001, 1, 3, 11]);
        assert!(bytes[1].1 < 1_000, "{} bytes for a message", bytes[1].1);
        let page = page(&db, None, 10).await.unwrap();
        assert_eq!((page.rooms, page.next), (vec![(URI.to_owned(), room)], None));
    }

    #[tokio::test]
    async fn a_name_that_changes_is_one_small_row_among_thousands() {
        let db = open_memory(&MemoryDisk::new(), &MasterKey::from_bytes([7; 32])).unwrap().database;
        let mut room = Room::new(RoomUri::parse(URI).unwrap(), Phase::Active, Actor::Bot);
        for number in 0..5_000 {
            room.has_found(&user(number), &format!("Name {number}"));
        }
        room.is_named(&user(1), Some("One"));
        let mut before = None;
        let mut bytes = Vec::new();
        for step in 0..4 {
            match step {
                0 => {}
                1 => room.has_found(&user(9_000), "One more"),
                2 => room.is_named(&user(1), Some("Two")),
                _ => room.is_named(&user(2), Some("Three")),
            }
            let mut batch = Batch::new("test");
            put(&db, &mut batch, URI, before.as_ref(), &room).unwrap();
            bytes.push((batch.writes().len(), batch.bytes()));
            db.commit(batch).await.unwrap();
            assert_eq!(load(&db, URI).await.unwrap(), Some(room.clone()), "after step {step}");
            before = Some(room.clone());
        }
        // The room's own record is written each time.
        let writes: Vec<usize> = bytes.iter().map(|(writes, _)| *writes).collect();
        assert_eq!(writes, [5_002, 2, 2, 2]);
        assert!(bytes.iter().skip(1).all(|(_, bytes)| *bytes < 1_000), "{bytes:?}");
    }
}
