//! Senders are told what of their messages others do not get, and readers what of others' messages they do not see: once for each
//! room, sender and kind, whatever happens between.

use ruma::OwnedEventId;
use sha2::{Digest as _, Sha256};

use super::{
    actor::{Actor, After},
    tables::TOLD,
};
use crate::{
    ident::UserUri,
    room::{Effect, Names as _, Room, Step},
    store::{Batch, StoreError},
    translate::{self, Earlier, Loss, RoomEvent},
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
            Effect::Detail(text) => {
                tracing::debug!(room = %self.uri, "{text}");
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
        let ours = user.provider() == *engine.0.names.domain();
        for loss in losses {
            let words = if ours { loss.told() } else { loss.told_to_readers() };
            let Some(words) = words else { continue };
            let kind = (user.clone(), words);
            if self.told_losses.contains(&kind) {
                continue;
            }
            let key = (self.uri.clone(), user.to_string(), words.to_owned());
            if TOLD.get(db, &key).await?.is_none() {
                TOLD.put(db, batch, &key, &())?;
                new.push(words);
            }
            self.told_losses.insert(kind);
        }
        if new.is_empty() {
            return Ok(());
        }
        let text = if ours {
            let name = engine.0.names.matrix_id(user).map_or_else(|| user.to_string(), |id| id.to_string());
            format!(
                "{name}: of what you send, not all reaches the MIMI users of this room. They do not get {}. (This is said once.)",
                new.join("; nor ")
            )
        } else {
            format!(
                "Of what {} sends, not all is shown here. You do not see {}. (This is said once.)",
                engine.0.names.display(user),
                new.join("; nor ")
            )
        };
        self.say(|step| step.notice(&text), batch, after)
    }

    /// Whoever removes what nothing is known of any more, so that others who have it keep it.
    pub(super) async fn forgotten(
        &mut self,
        event: &RoomEvent,
        past: &[(OwnedEventId, Earlier)],
    ) -> Result<Option<UserUri>, StoreError> {
        let tells = self.engine.0.names.telling.losses;
        let known = past.iter().any(|(known, _)| Some(known) == event.redacts.as_ref());
        if !tells || known || !self.is_carried(event) || !self.engine.may_be_forgotten(event).await? {
            return Ok(None);
        }
        Ok(self.engine.0.names.uri(&event.sender))
    }

    /// Clients hear once what crosses, when this version carries other things than the one that told them last.
    pub(super) async fn renew_features(&mut self, batch: &mut Batch, after: &mut After) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.told_features, true) || !self.room.as_ref().is_some_and(Room::tells_features) {
            return Ok(());
        }
        let digest = Sha256::digest(translate::room_features().to_string());
        let key = (self.uri.clone(), String::new(), format!("features {}", hex::encode(digest)));
        if TOLD.get(&self.engine.0.db, &key).await?.is_some() {
            return Ok(());
        }
        TOLD.put(&self.engine.0.db, batch, &key, &())?;
        self.say(|step: &mut Step<'_>| step.tell_features(), batch, after)
    }
}
