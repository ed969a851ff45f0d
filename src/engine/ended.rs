//! Matrix rooms in which somebody is left of a direct chat that is over: what they write is answered, until they leave, or
//! invite the other one again and so begin a new chat.

use std::time::{Duration, Instant};

use ruma::{OwnedRoomId, UserId};

use super::{
    core::Engine,
    lobby::LobbyError,
    ports::{Actor, CallError, MatrixAction, Retry},
    tables::{ENDED, OUTBOX},
};
use crate::{
    room::{Names as _, command::in_room, words},
    store::{Batch, StoreError},
    translate::RoomEvent,
};

/// How often it is looked whether the bot is there.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// So long what comes next in the room waits for that: a homeserver that is away is no reason to hold up an invitation.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) async fn is_ended(engine: &Engine, room: &OwnedRoomId) -> Result<bool, StoreError> {
    Ok(ENDED.get(&engine.0.db, &room.to_string()).await?.is_some())
}

/// The same, once all is done that the chat had to do here: its lane brings the bot in, which can do nothing before.
async fn is_left(engine: &Engine, room: &OwnedRoomId) -> Result<bool, StoreError> {
    let db = &engine.0.db;
    let Some(uri) = ENDED.get(db, &room.to_string()).await? else { return Ok(false) };
    // A new chat of the same two goes on in the same lane: that is not waited for.
    let (lane, now) = (format!("m:{uri}"), db.next_number());
    let since = Instant::now();
    while since.elapsed() < LONGEST
        && OUTBOX.page(db, &lane, 0, 1).await?.entries.first().is_some_and(|(number, _)| *number < now)
    {
        tokio::select! {
            () = engine.0.stop.cancelled() => return Err(StoreError::Closed("the engine stops".to_owned())),
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
    Ok(true)
}

/// Says that a message reached nobody. False: it is none of those.
pub(super) async fn answer(engine: &Engine, event: &RoomEvent) -> Result<bool, LobbyError> {
    let body = event.content.get("body").and_then(serde_json::Value::as_str).unwrap_or_default();
    if !words::wants_answer(event) || in_room(body).is_some() || !is_left(engine, &event.room_id).await? {
        return Ok(false);
    }
    let action = MatrixAction::Send {
        room: event.room_id.clone(),
        actor: Actor::Bot,
        event_type: "m.room.message".to_owned(),
        content: words::undelivered(&event.event_id),
        ts: None,
        txn_id: words::undelivered_txn(&event.event_id),
    };
    engine.0.homeserver.perform(&action).await?;
    Ok(true)
}

/// Somebody left: with the last one of ours the bot goes, too.
pub(super) async fn left(engine: &Engine, event: &RoomEvent, who: &UserId) -> Result<(), LobbyError> {
    if engine.0.names.uri(who).is_none() || !is_left(engine, &event.room_id).await? {
        return Ok(());
    }
    let members = match engine.0.homeserver.joined_members(&event.room_id).await {
        Ok(members) => members,
        // The bot is not in it any more.
        Err(CallError { retry: Retry::Permanent, .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    if members.iter().any(|member| engine.0.names.uri(&member.user).is_some()) {
        return Ok(());
    }
    withdraw(engine, &event.room_id).await?;
    let mut batch = Batch::new("an ended chat is left");
    ENDED.delete(&mut batch, &event.room_id.to_string());
    engine.0.db.commit(batch).await?;
    Ok(())
}

/// The bot leaves.
pub(super) async fn withdraw(engine: &Engine, room: &OwnedRoomId) -> Result<(), LobbyError> {
    let leave = MatrixAction::Leave { room: room.clone(), actor: Actor::Bot, reason: None };
    engine.0.homeserver.perform(&leave).await?;
    Ok(())
}
