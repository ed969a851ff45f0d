//! Where the bot writes to one of our users alone: in the chat that they began with it, or in one that it begins.
//!
//! What it has to say stands in the outbox (lanes `m:desk:…`), so nothing is lost and nothing said twice: the transaction ids
//! are fixed, and the chat that the bot begins is found again by its alias.

use ruma::{OwnedRoomId, OwnedUserId};
use sha2::{Digest, Sha256};

use super::{
    core::Engine,
    ports::{Actor, CallError, MatrixAction, MatrixDone, Retry},
    tables::{DESKS, MANAGEMENT, OUTBOX, OutRow},
};
use crate::{
    ident::{GHOST_PREFIX, UserUri},
    room::Names as _,
    store::{Batch, StoreError},
    translate::CONTENT_KEY,
};

/// The lane of what our users are told.
const TOLD: &str = "m:desk:told";

/// Rows of the outbox that a batch has, for their lanes once it is durable.
pub(super) type Rows = Vec<(String, u64, OutRow)>;

pub(super) fn hex_of(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.join("\n"));
    hex::encode(digest.get(..20).unwrap_or(&digest))
}

#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
/// The store did not answer: the row stays, and is tried again.
pub(super) fn again(error: StoreError) -> CallError {
    CallError { what: error.to_string(), retry: Retry::Retriable(None), status: None, errcode: None }
}

impl Engine {
    /// Tells one of our users something, where nobody else reads it.
    pub(super) fn tell(
        &self,
        user: &UserUri,
        text: &str,
        batch: &mut Batch,
        rows: &mut Rows,
    ) -> Result<(), StoreError> {
        let number = self.0.db.next_number();
        let txn_id = format!("t{}", hex_of(&[user.as_str(), text, &number.to_string()]));
        let row = OutRow::Tell { user: user.clone(), text: text.to_owned(), txn_id };
        self.row(TOLD, row, batch, rows)
    }

    /// Puts a row into the outbox.
    pub(super) fn row(&self, lane: &str, row: OutRow, batch: &mut Batch, rows: &mut Rows) -> Result<(), StoreError> {
        let number = OUTBOX.append(&self.0.db, batch, &lane.to_owned(), &row)?;
        rows.push((lane.to_owned(), number, row));
        Ok(())
    }

    /// Commits, and hands the rows to their lanes.
    pub(super) async fn commit_rows(&self, batch: Batch, rows: Rows) -> Result<(), StoreError> {
        let engine = self.clone();
        let done = async move {
            engine.0.db.commit(batch).await?;
            for (lane, number, row) in rows {
                engine.hand_to_lane(&lane, number, row);
            }
            Ok(())
        };
        self.unbroken(done).await
    }

    /// Says something to one of our users alone: the event. `None`: there is no such user.
    pub(super) async fn say_to(
        &self,
        user: &UserUri,
        text: &str,
        txn_id: &str,
    ) -> Result<Option<ruma::OwnedEventId>, CallError> {
        let Some(id) = self.0.names.matrix_id(user) else { return Ok(None) };
        let room = self.desk_of(&id).await?;
        let content = serde_json::json!({ "msgtype": "m.notice", "body": text, CONTENT_KEY: {} });
        let action = MatrixAction::Send {
            room,
            actor: Actor::Bot,
            event_type: "m.room.message".to_owned(),
            content: content.to_string(),
            ts: None,
            txn_id: txn_id.to_owned(),
        };
        match self.0.homeserver.perform(&action).await? {
            MatrixDone::Event(event) => Ok(Some(event)),
            MatrixDone::Room(_) | MatrixDone::Done => Ok(None),
        }
    }

    async fn desk_of(&self, user: &OwnedUserId) -> Result<OwnedRoomId, CallError> {
        let known = DESKS.get(&self.0.db, &user.to_string()).await.map_err(again)?;
        if let Some(room) = known.and_then(|room| OwnedRoomId::try_from(room).ok()) {
            // Who left it is asked back.
            let (actor, target) = (Actor::Bot, user.clone());
            let invite = MatrixAction::Invite { room: room.clone(), actor, target, is_direct: true };
            match self.0.homeserver.perform(&invite).await {
                Ok(_) => return Ok(room),
                Err(error) if error.retry == Retry::Permanent => {
                    tracing::info!(%user, %room, %error, "the bot cannot write there any more, and begins another chat");
                }
                Err(error) => return Err(error),
            }
        }
        let begin = MatrixAction::CreateRoom {
            creator: Actor::Bot,
            alias_localpart: format!("{GHOST_PREFIX}desk={}", hex_of(&[user.as_str()])),
            name: None,
            topic: None,
            is_direct: true,
            space: false,
            members: Vec::new(),
            invite: vec![user.clone()],
            // What the bot came to say is there before they join.
            initial_state: vec![(
                "m.room.history_visibility".to_owned(),
                String::new(),
                serde_json::json!({ "history_visibility": "shared" }).to_string(),
            )],
        };
        let MatrixDone::Room(room) = self.0.homeserver.perform(&begin).await? else {
            return Err(again(StoreError::Invalid("the homeserver names no room".to_owned())));
        };
        self.note_desk(user, &room).await.map_err(again)?;
        Ok(room)
    }

    /// From now on the bot writes to the user there, and what they say there is for the bot.
    pub(super) async fn note_desk(&self, user: &ruma::UserId, room: &OwnedRoomId) -> Result<(), StoreError> {
        let mut batch = Batch::new("management room");
        MANAGEMENT.put(&self.0.db, &mut batch, &room.to_string(), &user.to_string())?;
        DESKS.put(&self.0.db, &mut batch, &user.to_string(), &room.to_string())?;
        self.0.db.commit(batch).await.map(drop)
    }
}
