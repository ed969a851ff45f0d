//! Messages by the ids that draft-ietf-mimi-content-07 gave them: peers of that age refer to messages by these.
//!
//! No message has a second id stored. The first reference of a room that finds nothing has the log of its newest messages read,
//! which holds what they say; later ones read what came since. So who refers to nothing unknown pays nothing.
//!
//! An alias counts only where no message has the id itself, and it cannot be another one's: what a -07 id is the hash of begins
//! with a URI, what an id is the hash of with a length. Two messages with the same -07 id are found by neither.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::Mutex;

use super::{
    core::{Engine, lock, now},
    ports::Millis,
    tables::{LOG, SHOWN},
};
use crate::{
    content::{MessageId, message_id_v07, salt_of},
    ident::RoomUri,
    room::{Franked, Showing},
    store::StoreError,
};

/// So many messages of a room are known by such ids, the newest ones.
const KEEP: usize = 4096;
/// In so many rooms at once.
const ROOMS: usize = 1024;
/// And in all of them together.
const ALL: usize = 32 * KEEP;
/// So long after a room's log was read from far back it is not read so again, in milliseconds.
const PAUSE: Millis = 60_000;
/// So far back, in milliseconds: the first in which there are not too many.
const BACK: [Millis; 4] = [30 * 24 * 3_600_000, 24 * 3_600_000, 3_600_000, 300_000];
/// A message may get its line in the log so much later than one that was accepted after it, in milliseconds.
const LATE: Millis = 2_000;
/// Rows that are read at once.
const PAGE: usize = 200;

/// The aliases of a room.
#[derive(Debug, Default)]
struct Index {
    /// `None`: several messages have it.
    ids: BTreeMap<MessageId, Option<MessageId>>,
    order: VecDeque<MessageId>,
    /// What was accepted up to then is in it.
    upto: Millis,
}

impl Index {
    fn put(&mut self, alias: MessageId, id: MessageId) {
        match self.ids.get_mut(&alias) {
            Some(known) if *known == Some(id) => {}
            Some(known) => *known = None,
            None => {
                self.ids.insert(alias, Some(id));
                self.order.push_back(alias);
            }
        }
        while self.order.len() > KEEP {
            if let Some(oldest) = self.order.pop_front() {
                self.ids.remove(&oldest);
            }
        }
    }
}

/// The aliases of one room, which one task at a time looks at, and how many they were.
#[derive(Debug, Default)]
struct Kept {
    index: Arc<Mutex<Index>>,
    len: usize,
}

/// The aliases of the rooms in which one was asked for lately.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    rooms: BTreeMap<String, Kept>,
    order: VecDeque<String>,
    /// When logs were read from far back.
    built: BTreeMap<String, Millis>,
}

impl Aliases {
    fn of(&mut self, room: &str) -> Arc<Mutex<Index>> {
        self.order.retain(|known| known != room);
        self.order.push_back(room.to_owned());
        Arc::clone(&self.rooms.entry(room.to_owned()).or_default().index)
    }

    /// A room has so many. Those go in which none was asked for the longest.
    fn measure(&mut self, room: &str, len: usize) {
        if let Some(kept) = self.rooms.get_mut(room) {
            kept.len = len;
        }
        let mut all: usize = self.rooms.values().map(|kept| kept.len).sum();
        while self.rooms.len() > ROOMS || all > ALL {
            let Some(oldest) = self.order.pop_front() else { return };
            all -= self.rooms.remove(&oldest).map_or(0, |kept| kept.len);
        }
    }

    /// Whether a room's log may be read from far back.
    fn may_build(&mut self, room: &str, now: Millis) -> bool {
        self.built.retain(|_, at| now.abs_diff(*at) < PAUSE);
        !self.built.contains_key(room)
    }
}

/// The alias of a message in the log.
fn alias_of(room: &RoomUri, message: &Franked) -> Option<MessageId> {
    Some(message_id_v07(&message.sender, room, &message.content, &salt_of(&message.content)?))
}

impl Engine {
    /// The message that has this id as alias, if no message has it as its own.
    async fn by_alias(&self, room: &RoomUri, id: MessageId) -> Result<Option<MessageId>, StoreError> {
        let uri = room.as_str();
        if self.event_of(uri, id).await?.is_some() || SHOWN.get(&self.0.db, &(uri.to_owned(), id.0)).await?.is_some() {
            return Ok(None);
        }
        let index = lock(&self.0.aliases).of(uri);
        let mut index = index.lock().await;
        // An empty one begins where the log may be long.
        let is_read = index.upto > 0 && self.read_aliases(room, &mut index).await?;
        if !is_read && lock(&self.0.aliases).may_build(uri, now()) {
            *index = self.new_aliases(room).await?;
            lock(&self.0.aliases).built.insert(uri.to_owned(), now());
        }
        lock(&self.0.aliases).measure(uri, index.order.len());
        Ok(index.ids.get(&id).copied().flatten())
    }

    /// The id of its own that a message has which somebody names.
    pub(super) async fn own_id(&self, room: &str, named: MessageId) -> Result<MessageId, StoreError> {
        match RoomUri::parse(room) {
            Ok(room) if named.is_sha256() => Ok(self.by_alias(&room, named).await?.unwrap_or(named)),
            _ => Ok(named),
        }
    }

    async fn new_aliases(&self, room: &RoomUri) -> Result<Index, StoreError> {
        let mut index = Index::default();
        for back in BACK {
            index = Index { upto: now().saturating_sub(back), ..Index::default() };
            if self.read_aliases(room, &mut index).await? {
                break;
            }
        }
        Ok(index)
    }

    /// Reads what the log has more. False: that is too much, and was not read to the end.
    async fn read_aliases(&self, room: &RoomUri, index: &mut Index) -> Result<bool, StoreError> {
        let uri = room.to_string();
        let from = index.upto.saturating_sub(LATE);
        let mut after = Some(LOG.key(&(uri.clone(), from, [0; 32])).as_bytes().to_vec());
        let mut read = 0;
        while after.is_some() {
            let page = LOG.scan(&self.0.db, &uri, after, PAGE).await?;
            read += page.rows.len();
            for ((_, accepted, id), row) in page.rows {
                index.upto = index.upto.max(accepted);
                if let Some(alias) = row.value.and_then(|message| alias_of(room, &message)) {
                    index.put(alias, MessageId(id));
                }
            }
            after = page.next;
            if read >= KEEP && after.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A message to show names others by their own ids from now on.
    pub(super) async fn by_own_ids(&self, room: &str, showing: &mut Showing) -> Result<(), StoreError> {
        if showing.refers.is_nothing() {
            return Ok(());
        }
        let Ok(room) = RoomUri::parse(room) else { return Ok(()) };
        let Showing { refers, earlier, .. } = showing;
        let topic = <[u8; 32]>::try_from(refers.topic.as_slice()).ok().map(MessageId);
        for named in [refers.reply, refers.replaces, topic].into_iter().flatten().filter(MessageId::is_sha256) {
            let Some(own) = self.by_alias(&room, named).await? else { continue };
            for id in [&mut refers.reply, &mut refers.replaces, &mut earlier.reply] {
                if *id == Some(named) {
                    *id = Some(own);
                }
            }
            if earlier.first == named {
                earlier.first = own;
            }
            for topic in [&mut refers.topic, &mut earlier.topic] {
                if *topic == named.0 {
                    *topic = own.0.to_vec();
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> MessageId {
        let mut id = [1; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        MessageId(id)
    }

    #[test]
    fn an_alias_of_two_messages_is_that_of_neither() {
        let mut index = Index::default();
        index.put(id(1), id(11));
        index.put(id(1), id(11));
        assert_eq!(index.ids[&id(1)], Some(id(11)), "read twice");
        index.put(id(1), id(12));
        index.put(id(1), id(11));
        assert_eq!(index.ids[&id(1)], None);
    }

    #[test]
    fn the_newest_messages_of_the_last_rooms_are_kept() {
        let mut index = Index::default();
        for number in 0..=KEEP {
            index.put(id(number), id(number));
        }
        assert_eq!((index.ids.len(), index.order.len(), index.ids.get(&id(0))), (KEEP, KEEP, None));
    }

    #[test]
    fn the_rooms_in_which_one_was_asked_for_lately_are_kept() {
        let mut aliases = Aliases::default();
        let put = |aliases: &mut Aliases, room: &str, len| {
            drop(aliases.of(room));
            aliases.measure(room, len);
        };
        for number in 0..=ROOMS {
            put(&mut aliases, &number.to_string(), 1);
            put(&mut aliases, "0", 1);
        }
        assert_eq!((aliases.rooms.len(), aliases.order.len()), (ROOMS, ROOMS));
        assert!(aliases.rooms.contains_key("0") && !aliases.rooms.contains_key("1"));
        // Few that are large, or many that are small.
        for number in 0..=ALL / KEEP {
            put(&mut aliases, &format!("large {number}"), KEEP);
        }
        assert_eq!((aliases.rooms.len(), aliases.order.len()), (ALL / KEEP, ALL / KEEP));
        assert!(!aliases.rooms.contains_key("large 0") && aliases.rooms.contains_key("large 1"));
    }

    #[test]
    fn a_long_log_is_read_again_after_a_while_alone() {
        let mut aliases = Aliases::default();
        assert!(aliases.may_build("a", 1000));
        aliases.built.insert("a".to_owned(), 1000);
        assert!(!aliases.may_build("a", 999 + PAUSE) && aliases.may_build("b", 1000));
        assert!(aliases.may_build("a", 1000 + PAUSE));
        assert!(aliases.built.is_empty());
    }
}
