//! Senders are told what of their messages others do not get: once for each room, sender and kind, whatever happens between.

use super::{
    actor::{Actor, After},
    tables::TOLD,
};
use crate::{
    ident::UserUri,
    room::{Effect, Names as _},
    store::{Batch, StoreError},
    translate::Loss,
};

impl Actor {
    /// What people and the operator are told, and what time does.
    pub(super) async fn told(
        &mut self,
        effect: Effect,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        match effect {
            Effect::Expires { message_id, sender, expires, actor } => {
                self.expires(message_id, sender, expires, actor, batch, after)
            }
            Effect::Reported { by, report } => self.reported(by, report, batch, after).await,
            Effect::Lost { user, losses } => self.tell_losses(&user, &losses, batch, after).await,
            Effect::Report(text) => {
                tracing::warn!(room = %self.uri, "{text}");
                Ok(())
            }
            Effect::Note(text) => {
                tracing::info!(room = %self.uri, "{text}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Says what was not said before, in the batch that notes it.
    pub(super) async fn tell_losses(
        &mut self,
        user: &UserUri,
        losses: &[Loss],
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<(), StoreError> {
        let engine = self.engine.clone();
        let db = &engine.0.db;
        let mut new = Vec::new();
        for loss in losses {
            let Some(words) = loss.told() else { continue };
            let kind = (user.clone(), loss.feature());
            if self.told_losses.contains(&kind) {
                continue;
            }
            let key = (self.uri.clone(), user.to_string(), loss.feature().to_owned());
            if TOLD.get(db, &key).await?.is_none() {
                TOLD.put(db, batch, &key, &())?;
                new.push(words);
            }
            self.told_losses.insert(kind);
        }
        if new.is_empty() {
            return Ok(());
        }
        let name = engine.0.names.matrix_id(user).map_or_else(|| user.to_string(), |id| id.to_string());
        let text = format!(
            "{name}: of what you send, not all reaches the MIMI users of this room. They do not get {}. (This is said once.)",
            new.join("; nor ")
        );
        self.say(|step| step.notice(&text), batch, after)
    }
}
