//! Files that come when their message's turn is over: a note stands in its place, and they are shown when they are there, unless
//! the message was deleted meanwhile.

use ruma::OwnedEventId;
use sha2::{Digest as _, Sha256};

use super::inward::{stored, unreadable};
use crate::{
    content::MessageId,
    engine::{
        Engine,
        caught::caught,
        ports::{Actor, CallError, MatrixAction, MatrixDone, Retry},
        tables::{DROPPED, LATE, MORE, Parcel},
    },
    room::Showing,
    store::{Batch, StoreError},
    translate::media::{FileSource, Moved},
};

impl Engine {
    /// Notes the events that show a message so far, beside the note that stands for it. False: it was deleted.
    pub(super) async fn note_late(
        &self,
        room: &str,
        parcel: &Parcel,
        note: &OwnedEventId,
        sent: &[OwnedEventId],
    ) -> Result<bool, CallError> {
        let key = (room.to_owned(), parcel.showing.message_id);
        // Those of an earlier life as well.
        let mut more = self.more_of(&key).await.map_err(stored)?;
        more.extend(sent.iter().filter(|event| *event != note).map(ToString::to_string));
        let mut batch = Batch::new("a file that came late");
        batch.require(LATE.present(&key));
        let more = self.0.today.dated(more.into_iter().collect());
        MORE.put(&self.0.db, &mut batch, &key, &more).map_err(stored)?;
        match self.0.db.commit(batch).await {
            Ok(_) => Ok(true),
            Err(StoreError::ConditionFailed { .. }) => Ok(false),
            Err(error) => Err(stored(error)),
        }
    }

    /// Goes on with files that came late, after a start; and deletes assets that are not deleted yet.
    pub(in crate::engine) async fn load_files(&self) -> Result<(), StoreError> {
        if self.0.files.get().is_none() {
            return Ok(());
        }
        for ((room, _), parcel) in self.all_readable(&LATE, &()).await? {
            self.go_on_late(&room, parcel);
        }
        let dropped = DROPPED.scan_all(&self.0.db, &()).await?;
        let (engine, urls) = (self.clone(), dropped.into_iter().map(|(url, ())| url).collect());
        self.0.tasks.spawn(async move { engine.delete_assets(urls).await });
        Ok(())
    }

    pub(super) fn go_on_late(&self, room: &str, parcel: Parcel) {
        let (engine, room) = (self.clone(), room.to_owned());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = engine.0.stop.cancelled() => {}
                () = engine.late(&room, &parcel) => {}
            }
        });
    }

    /// Shows files when they come, unless their message was deleted meanwhile.
    async fn late(&self, room: &str, parcel: &Parcel) {
        let id = parcel.showing.message_id;
        let key = (room.to_owned(), id);
        let Some(job) = self.job(room, parcel) else { return };
        let mut done = job.done.clone();
        let Some(files) = done.wait_for(Option::is_some).await.ok().and_then(|files| files.clone()) else { return };
        let mut wait = self.0.settings.retry;
        loop {
            let shown = caught(self.show_late(&key, parcel, &files)).await;
            match shown.unwrap_or_else(|_| Err(unreadable(&"the gateway panicked"))) {
                Ok(()) => return self.end_job(room, id),
                Err(error) if error.retry == Retry::Permanent => {
                    tracing::warn!(room, %error, "files that came late are not shown");
                    let mut batch = Batch::new("files that are not shown");
                    LATE.delete(&mut batch, &key);
                    let why = format!("showing files of {}: {error}", parcel.showing.earlier.sender);
                    let aside = self.put_aside(&mut batch, room, None, &why, None);
                    // What else it says is not lost with them.
                    if let Ok(Ok(Ok(MatrixDone::Event(event)))) = caught(self.show(room, &parcel.showing, false)).await
                    {
                        let noted = self.note_shown(room, &parcel.showing, &event, &mut batch).await;
                        if let Err(error) = noted {
                            tracing::warn!(room, %error, "an event id is not kept");
                        }
                    }
                    if let (Ok(()), Ok(_)) = (aside, self.0.db.commit(batch).await) {
                        return self.end_job(room, id);
                    }
                }
                Err(error) => tracing::debug!(room, %error, "files that came late are not shown yet"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(self.0.settings.retry * super::LONGEST_WAIT);
        }
    }

    async fn show_late(
        &self,
        key: &(String, [u8; 32]),
        parcel: &Parcel,
        files: &[Moved<FileSource>],
    ) -> Result<(), CallError> {
        if LATE.get(&self.0.db, key).await.map_err(stored)?.is_none() {
            return Ok(());
        }
        let note = self.event_of(&key.0, MessageId(key.1)).await.map_err(stored)?;
        let events = self.show_files(&key.0, parcel, files, note.as_ref()).await?;
        self.replace_rest(&key.0, &parcel.showing, events.get(1..).unwrap_or_default()).await?;
        let mut batch = Batch::new("files that came late");
        batch.require(LATE.present(key));
        LATE.delete(&mut batch, key);
        // The note goes with the rest when the message is deleted.
        let all: Vec<OwnedEventId> = events.iter().cloned().chain(note).collect();
        self.note_files(&key.0, parcel, &all, &mut batch).await.map_err(stored)?;
        match self.0.db.commit(batch).await {
            Ok(_) => {
                self.is_taken(&key.0, &parcel.showing);
                Ok(())
            }
            // Deleted just now: nothing else remembers these events.
            Err(StoreError::ConditionFailed { .. }) => {
                let mut wait = self.0.settings.retry;
                loop {
                    match self.unshow(parcel, &events).await {
                        Err(error) if error.retry != Retry::Permanent => {
                            tracing::debug!(room = %key.0, %error, "files of a deleted message are not removed yet");
                        }
                        ended => return ended,
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.0.settings.retry * super::LONGEST_WAIT);
                }
            }
            Err(error) => Err(stored(error)),
        }
    }

    /// Redacts events of a message that was deleted.
    async fn unshow(&self, parcel: &Parcel, events: &[OwnedEventId]) -> Result<(), CallError> {
        let MatrixAction::Send { actor, .. } = &parcel.showing.action else { return Ok(()) };
        self.redact_all(&parcel.showing, actor, events).await
    }

    pub(super) async fn redact_all(
        &self,
        showing: &Showing,
        actor: &Actor,
        events: &[OwnedEventId],
    ) -> Result<(), CallError> {
        let MatrixAction::Send { room, txn_id, .. } = &showing.action else { return Ok(()) };
        for event in events {
            // The same message may have others redacted at another time.
            let digest = Sha256::digest(event.as_str());
            let content = serde_json::json!({ "redacts": event }).to_string();
            let action = MatrixAction::Send {
                room: room.clone(),
                actor: actor.clone(),
                event_type: "m.room.redaction".to_owned(),
                content,
                ts: None,
                txn_id: format!("{txn_id}.x{}", hex::encode(digest.get(..8).unwrap_or_default())),
            };
            self.0.homeserver.perform(&action).await?;
        }
        Ok(())
    }

    /// A message is deleted by `actor`: so are the other events that show it, and what was still to come of it.
    pub(in crate::engine) async fn delete_rest(
        &self,
        room: &str,
        deletion: &Showing,
        actor: &Actor,
    ) -> Result<(), CallError> {
        let Some(id) = deletion.refers.replaces else { return Ok(()) };
        let key = (room.to_owned(), id.0);
        if LATE.get(&self.0.db, &key).await.map_err(stored)?.is_some() {
            let mut batch = Batch::new("files of a deleted message");
            LATE.delete(&mut batch, &key);
            self.0.db.commit(batch).await.map_err(stored)?;
        }
        let Some(more) = MORE.get(&self.0.db, &key).await.map_err(stored)? else { return Ok(()) };
        let events: Vec<OwnedEventId> =
            more.value.into_iter().filter_map(|event| OwnedEventId::try_from(event).ok()).collect();
        self.redact_all(deletion, actor, &events).await
    }
}
