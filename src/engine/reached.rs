//! That the homeserver took a message of a remote user for ours: told a little later, with what else it took until then
//! (draft-mahy-mimi-message-status-01, "delivered").
//!
//! It is told once, and nobody waits for it: what is lost with a crash stays untold.

use std::collections::BTreeMap;

use super::{
    core::{Engine, lock},
    mail::Mail,
};
use crate::{
    content::MessageId,
    room::{Names as _, Reports, Showing},
};

/// So many messages a report names at most.
const MAX_NAMED: usize = 100;

/// What the homeserver took lately, by room.
pub(super) type Taken = BTreeMap<String, Vec<MessageId>>;

impl Engine {
    /// The homeserver has the event of a message.
    pub(super) fn is_taken(&self, room: &str, showing: &Showing) {
        let inner = &self.0;
        if inner.names.telling().delivery_reports == Reports::Off {
            return;
        }
        let mut taken = lock(&inner.taken);
        let begins = taken.is_empty();
        taken.entry(room.to_owned()).or_default().push(MessageId(showing.message_id));
        drop(taken);
        if !begins {
            return;
        }
        let engine = self.clone();
        inner.tasks.spawn(async move {
            tokio::select! {
                () = engine.0.stop.cancelled() => return,
                () = tokio::time::sleep(engine.0.names.telling.gather_reads) => {}
            }
            for (room, messages) in std::mem::take(&mut *lock(&engine.0.taken)) {
                for messages in messages.chunks(MAX_NAMED) {
                    engine.mail(&room, Mail::Reached { messages: messages.to_vec() });
                }
            }
        });
    }
}
