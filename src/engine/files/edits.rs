//! New versions of messages that several events show: the first event becomes the first of the new version, and the others give
//! way to its others.

use ruma::OwnedEventId;

use super::inward::stored;
use crate::{
    engine::{
        Engine,
        ports::{CallError, MatrixAction},
        tables::MORE,
    },
    room::Showing,
    store::Batch,
    translate::Form,
};

impl Engine {
    /// `showing` is shown, by one event and these: if it is a new version of a message, what else showed that goes.
    pub(in crate::engine) async fn replace_rest(
        &self,
        room: &str,
        showing: &Showing,
        rest: &[OwnedEventId],
    ) -> Result<(), CallError> {
        let (Form::Message, Some(first)) = (&showing.refers.form, showing.refers.replaces) else { return Ok(()) };
        let key = (room.to_owned(), first.0);
        let before = self.more_of(&key).await.map_err(stored)?;
        if before.is_empty() && rest.is_empty() {
            return Ok(());
        }
        let MatrixAction::Send { room: matrix, actor, .. } = &showing.action else { return Ok(()) };
        let Some(event) = self.event_of(room, first).await.map_err(stored)? else { return Ok(()) };
        let said = self.message_of(matrix, &event).await.map_err(stored)?;
        if said.is_none_or(|said| said.sender != showing.earlier.sender) {
            // It is shown as a message of its own.
            return Ok(());
        }
        let now: Vec<String> = rest.iter().map(ToString::to_string).collect();
        let gone = before.into_iter().filter(|event| !now.contains(event));
        let gone: Vec<OwnedEventId> = gone.filter_map(|event| OwnedEventId::try_from(event).ok()).collect();
        self.redact_all(showing, actor, &gone).await?;
        // They are deleted with the message.
        let mut batch = Batch::new("a new version of a message with files");
        MORE.put(&self.0.db, &mut batch, &key, &self.0.today.dated(now)).map_err(stored)?;
        self.0.db.commit(batch).await.map(drop).map_err(stored)
    }
}
