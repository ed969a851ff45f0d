//! Ghosts that come into large rooms bit by bit ([`crate::room`], `trickle`): which rooms wait is on disk, and all of them share
//! one rate, so that a homeserver is not flooded by one room, nor a small room made to wait behind a large one.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use tokio::sync::Notify;

use super::{
    actor::{Actor, After},
    core::{Engine, lock},
    mail::Mail,
    tables::{OUTBOX, TRICKLING},
};
use crate::store::{Batch, StoreError};

/// Ghosts that come in at once. What is said waits for no more than these.
const BUNCH: usize = 5;
/// A room with so many things on their way to the homeserver waits with its ghosts.
const BUSY: usize = 40;

/// The rooms whose ghosts wait.
#[derive(Debug, Default)]
pub(super) struct Trickle {
    rooms: Mutex<BTreeSet<String>>,
    wake: Notify,
}

impl Trickle {
    /// A room has ghosts that wait, or none any more.
    pub(super) fn set(&self, room: &str, waits: bool) {
        let mut rooms = lock(&self.rooms);
        if !waits {
            rooms.remove(room);
        } else if rooms.insert(room.to_owned()) {
            drop(rooms);
            self.wake.notify_one();
        }
    }

    /// The room behind this one, round and round.
    fn next(&self, last: &str) -> Option<String> {
        let rooms = lock(&self.rooms);
        let behind = rooms.range::<str, _>((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)).next();
        behind.or_else(|| rooms.first()).cloned()
    }
}

impl Engine {
    /// Rooms whose ghosts waited when the gateway stopped.
    pub(super) async fn load_trickle(&self) -> Result<(), StoreError> {
        for (room, ()) in TRICKLING.scan_all(&self.0.db, &()).await? {
            self.0.trickle.set(&room, true);
        }
        Ok(())
    }

    /// Lets ghosts in, as many a minute as the settings say, until the engine stops.
    pub(super) async fn keep_trickling(self) {
        let bunch = u32::try_from(BUNCH).unwrap_or(1);
        let pause = Duration::from_mins(1) * bunch / self.0.settings.ghosts_per_minute.max(1);
        let mut last = String::new();
        loop {
            let Some(room) = self.0.trickle.next(&last) else {
                tokio::select! {
                    () = self.0.stop.cancelled() => return,
                    () = self.0.trickle.wake.notified() => continue,
                }
            };
            match OUTBOX.count(&self.0.db, &format!("m:{room}"), BUSY).await {
                Ok(waiting) if waiting < BUSY => self.mail(&room, Mail::Trickle { most: BUNCH }),
                Ok(_) => {}
                Err(error) => tracing::debug!(room, %error, "ghosts wait: the outbox cannot be read"),
            }
            last = room;
            tokio::select! {
                () = self.0.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

impl Actor {
    /// Notes with the step that ghosts of the room wait, or that none do any more.
    pub(super) fn trickling(&self, waits: bool, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        after.trickling = Some(waits);
        if waits {
            return TRICKLING.put(&self.engine.0.db, batch, &self.uri, &());
        }
        TRICKLING.delete(batch, &self.uri);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_take_turns() {
        let trickle = Trickle::default();
        assert_eq!(trickle.next(""), None);
        for room in ["a", "b", "c"] {
            trickle.set(room, true);
        }
        trickle.set("b", false);
        let mut last = String::new();
        let turns: Vec<String> = (0..4)
            .map(|_| {
                last = trickle.next(&last).unwrap();
                last.clone()
            })
            .collect();
        assert_eq!(turns, ["a", "c", "a", "c"]);
    }
}
