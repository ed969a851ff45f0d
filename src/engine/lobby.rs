//! Matrix rooms that are not mirrored (yet): invitations to the bot and to ghosts, and commands.

use std::time::Duration;

use ruma::OwnedRoomId;
use tokio::sync::{mpsc, oneshot};

use super::{
    chats::Chat,
    core::{Engine, lock, random},
    discovery::FindableError,
    facts::{RoomFacts, facts},
    ingest::event_id,
    mail::{Mail, NewRoom},
    orders::{Asker, Told, refused},
    ports::{Actor, CallError, MatrixAction, Retry},
    presence::To,
    rights::Act,
    tables::{INBOX, InboxItem, LOBBY, MANAGEMENT},
};
use crate::{
    ident::{RoomUri, UserUri},
    room::{
        Cause, NOBODY, Names, Refusal,
        command::{Command, HELP, in_management, in_room, replied_to, spoken},
    },
    store::{Batch, StoreError},
    translate::RoomEvent,
};

/// The longest wait between tries, as a multiple of the first.
const LONGEST_WAIT: u32 = 50;

/// What the bot says in a chat with it that is encrypted.
const UNREADABLE: &str = "I cannot read encrypted messages. Start a chat with me in which encryption is off.";

#[derive(Debug, thiserror::Error)]
pub(super) enum LobbyError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<FindableError> for LobbyError {
    fn from(error: FindableError) -> Self {
        match error {
            FindableError::Call(error) => error.into(),
            FindableError::Store(error) => error.into(),
        }
    }
}

/// Works on the events of one unmirrored room, in order, and ends when there are none.
pub(super) async fn run(engine: Engine, room: String, mut events: mpsc::UnboundedReceiver<(u64, String)>) {
    loop {
        let (number, raw) = match events.try_recv() {
            Ok(event) => event,
            Err(mpsc::error::TryRecvError::Empty) => {
                if engine.close_lobby(&room, &mut events) {
                    return;
                }
                continue;
            }
            Err(mpsc::error::TryRecvError::Disconnected) => return,
        };
        let mut wait = engine.0.settings.retry;
        let mut refused: Option<String> = None;
        let mut waits = false;
        loop {
            let done = match &refused {
                None => one(&engine, &room, number, &raw).await,
                Some(why) => set_aside(&engine, &room, number, &raw, why).await,
            };
            let Err(error) = done else {
                if std::mem::take(&mut waits) {
                    engine.call_answered(To::Homeserver, &room);
                }
                break;
            };
            match &error {
                LobbyError::Call(call) if call.retry != Retry::Permanent => {
                    tracing::debug!(room, %error, "an event of an unmirrored room is not handled yet");
                    engine.call_failed(To::Homeserver, &room, call).await;
                    waits = true;
                }
                _ => tracing::warn!(room, %error, "an event of an unmirrored room could not be handled"),
            }
            match &error {
                LobbyError::Call(call) if refused.is_none() && call.retry == Retry::Permanent => {
                    refused = Some(error.to_string());
                }
                LobbyError::Store(StoreError::Invalid(why)) if refused.is_none() => refused = Some(why.clone()),
                LobbyError::Call(_) | LobbyError::Store(_) => {
                    tokio::select! {
                        () = engine.0.stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                    wait = (wait * 2).min(engine.0.settings.retry * LONGEST_WAIT);
                }
            }
        }
        if engine.0.stop.is_cancelled() {
            return;
        }
    }
}

async fn finish(engine: &Engine, room: &str, number: u64) -> Result<(), StoreError> {
    let mut batch = Batch::new("lobby event done");
    LOBBY.remove(&mut batch, &room.to_owned(), number);
    engine.0.db.commit(batch).await.map(drop)
}

/// It will never be handled: the operator can see it, and the room's other events go on.
async fn set_aside(engine: &Engine, room: &str, number: u64, raw: &str, why: &str) -> Result<(), LobbyError> {
    let mut batch = Batch::new("lobby event set aside");
    LOBBY.remove(&mut batch, &room.to_owned(), number);
    let raw = serde_json::value::RawValue::from_string(raw.to_owned()).ok();
    let event = raw.and_then(|raw| super::aside::named(&raw).0);
    engine.put_aside(&mut batch, room, event, why, None)?;
    engine.0.db.commit(batch).await?;
    Ok(())
}

async fn one(engine: &Engine, room: &str, number: u64, raw: &str) -> Result<(), LobbyError> {
    // A portal whose room id we do not know yet may be this one.
    let event =
        serde_json::value::RawValue::from_string(raw.to_owned()).ok().and_then(|raw| RoomEvent::parse(&raw).ok());
    let invited = |portals: &std::collections::BTreeMap<u64, Vec<ruma::OwnedUserId>>| {
        event.as_ref().is_some_and(|event| portals.values().flatten().any(|user| *user == event.sender))
    };
    // Or the one that takes a Matrix room's place.
    let mut awaited = false;
    let asks_bot_in = |event: &RoomEvent| {
        event.event_type == "m.room.member"
            && event.state_key.as_deref() == Some(engine.0.names.bot.as_str())
            && event.content.get("membership").and_then(serde_json::Value::as_str) == Some("invite")
    };
    if event.as_ref().is_some_and(asks_bot_in) {
        // Somebody mirrors the room just now: then it is known whose the invitation is, and what it is for.
        awaited |= tokio::select! {
            () = engine.0.stop.cancelled() => return Ok(()),
            brought = engine.0.mirroring.released(room) => brought,
        };
    }
    while engine.linked(room).is_none() && (engine.awaits(room).is_some() || invited(&lock(&engine.0.portals))) {
        awaited |= engine.awaits(room).is_some();
        tokio::select! {
            () = engine.0.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    if let Some(uri) = engine.linked(room) {
        let item = InboxItem::Event(raw.to_owned());
        let mut batch = Batch::new("from lobby to room");
        LOBBY.remove(&mut batch, &room.to_owned(), number);
        let number = INBOX.append(&engine.0.db, &mut batch, &uri, &item)?;
        engine.0.db.commit(batch).await?;
        engine.mail(&uri, Mail::Item { number, item });
        return Ok(());
    }
    // Who asked the bot in for that has had an answer.
    let answered = |event: &RoomEvent| awaited && event.state_key.as_deref() == Some(engine.0.names.bot.as_str());
    if let Some(event) = event.filter(|event| !answered(event)) {
        handle(engine, &event, shows_encryption(raw)).await?;
    }
    Ok(finish(engine, room, number).await?)
}

/// `encrypted`: what an invitation shows of its room says so.
async fn handle(engine: &Engine, event: &RoomEvent, encrypted: bool) -> Result<(), LobbyError> {
    let names = &engine.0.names;
    if event.event_type == "m.room.member" {
        let target = event.state_key.as_deref().and_then(|key| ruma::UserId::parse(key).ok());
        let membership = event.content.get("membership").and_then(serde_json::Value::as_str);
        if let (Some(target), Some("leave" | "ban")) = (&target, membership) {
            return super::ended::left(engine, event, target).await;
        }
        let (Some(target), Some("invite")) = (target, membership) else { return Ok(()) };
        if names.is_bot(&target) {
            return bot_invited(engine, event).await;
        }
        if let Some(remote) = names.ghost_uri(&target) {
            return ghost_invited(engine, event, remote, encrypted).await;
        }
        if names.is_stray(&target) {
            return stray_invited(engine, event, target).await;
        }
        return Ok(());
    }
    if super::ended::answer(engine, event).await? {
        return Ok(());
    }
    if event.event_type == "m.room.encrypted"
        && MANAGEMENT.get(&engine.0.db, &event.room_id.to_string()).await?.is_some()
    {
        return say(engine, &event.room_id, &event.event_id, UNREADABLE).await;
    }
    if event.event_type != "m.room.message" || event.state_key.is_some() {
        return Ok(());
    }
    let body = spoken(&event.content);
    if event.content.get("msgtype").and_then(serde_json::Value::as_str) != Some("m.text") {
        return Ok(());
    }
    let management = MANAGEMENT.get(&engine.0.db, &event.room_id.to_string()).await?.is_some();
    let command = if management { Some(in_management(body)) } else { in_room(body) };
    match command {
        Some(command) => obey(engine, event, command, management).await,
        None => Ok(()),
    }
}

/// Whether an invitation shows that its room is encrypted (`unsigned.invite_room_state`).
fn shows_encryption(raw: &str) -> bool {
    let event: serde_json::Value = serde_json::from_str(raw).unwrap_or_default();
    let state = event.pointer("/unsigned/invite_room_state").and_then(serde_json::Value::as_array);
    let kind =
        |event: &serde_json::Value| event.get("type").and_then(serde_json::Value::as_str) == Some("m.room.encryption");
    state.is_some_and(|state| state.iter().any(kind))
}

async fn bot_invited(engine: &Engine, event: &RoomEvent) -> Result<(), LobbyError> {
    if !engine.0.settings.rights.may_talk(&event.sender) {
        let leave = MatrixAction::Leave {
            room: event.room_id.clone(),
            actor: Actor::Bot,
            reason: Some("The gateway's settings do not let you use this bot.".to_owned()),
        };
        engine.0.homeserver.perform(&leave).await?;
        tracing::info!(sender = %event.sender, "an invitation of the bot was declined: not permitted");
        return Ok(());
    }
    let join = MatrixAction::Join { room: event.room_id.clone(), actor: Actor::Bot };
    engine.0.homeserver.perform(&join).await?;
    let direct = event.content.get("is_direct").and_then(serde_json::Value::as_bool).unwrap_or_default();
    let facts = facts_of(engine, event).await?;
    if direct {
        engine.note_desk(&event.sender, &event.room_id).await?;
        let text = if facts.is_some_and(|facts| facts.encrypted) { UNREADABLE } else { HELP };
        return say(engine, &event.room_id, &event.event_id, text).await;
    }
    if engine.0.settings.admin_room.as_ref() == Some(&event.room_id) {
        return Ok(());
    }
    let Some(facts) = facts else { return Ok(()) };
    let text = match engine.0.settings.rights.check(&event.sender, Act::Bridge, None) {
        Err(why) => why,
        Ok(()) => in_the_way(&facts, "This room", "say `!mimi bridge`").map_or_else(
            || {
                "Say `!mimi bridge` to mirror this room to MIMI, or `!mimi help`. Nothing is mirrored before that."
                    .to_owned()
            },
            |refusal| refusal.text,
        ),
    };
    say(engine, &event.room_id, &event.event_id, &text).await
}

/// What a room into which the bot came looks like to it, for whoever asked it in; `None`: it cannot see that (any more).
async fn facts_of(engine: &Engine, event: &RoomEvent) -> Result<Option<RoomFacts>, LobbyError> {
    match engine.0.homeserver.room_state(&event.room_id).await {
        Ok(state) => Ok(Some(facts(engine, &state, &event.sender))),
        Err(error) if error.retry == Retry::Permanent => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why a room cannot be mirrored as it is, by its state: in words for whoever asks. `room`: how it is called; `then`: what to do when
/// the bot has what it lacks.
fn in_the_way(facts: &RoomFacts, room: &str, then: &str) -> Option<Refusal> {
    if let Some(other) = &facts.other_bridge {
        let text = format!("{room} is mirrored to MIMI by {other} already. Two bridges would double every message.");
        return Some(Refusal::new(Cause::Conflict, text));
    }
    if facts.encrypted {
        let text = format!(
            "{room} is encrypted. Encrypted Matrix rooms cannot be mirrored yet, and I cannot read what is said in them. Encryption \
             cannot be switched off: make another room without it."
        );
        return Some(Refusal::new(Cause::Conflict, text));
    }
    if !facts.may {
        let text = "You need the power to change the room's settings to mirror it.";
        return Some(Refusal::new(Cause::NotPermitted, text));
    }
    if !facts.missing.is_empty() {
        let what = facts.missing.join(", ");
        let text =
            format!("I lack the power to {what} in {}. Give me power level 100, then {then}.", room.to_lowercase());
        return Some(Refusal::new(Cause::Conflict, text));
    }
    None
}

/// Somebody invites a MIMI user into a room that is not mirrored: it becomes a MIMI room of ours.
async fn ghost_invited(engine: &Engine, event: &RoomEvent, remote: UserUri, encrypted: bool) -> Result<(), LobbyError> {
    let Some(creator) = engine.0.names.uri(&event.sender) else { return Ok(()) };
    let room = event.room_id.clone();
    let ghost = Actor::Ghost(remote.clone());
    let direct = event.content.get("is_direct").and_then(serde_json::Value::as_bool).unwrap_or_default();
    let permitted = engine.0.settings.rights.check(&event.sender, Act::Chat, Some(&remote.provider()));
    let mut invitation = None;
    let refusal = if let Some(why) = engine.0.names.not_reached(&remote.provider(), Some(&creator)) {
        Some(why)
    } else if let Err(why) = permitted {
        Some(why)
    } else if let Some(refusal) = engine.no_more_rooms(&event.sender, &creator).await? {
        Some(refusal.text)
    } else if encrypted {
        Some("Encrypted rooms cannot be carried to MIMI yet. Start the chat with encryption off.".to_owned())
    } else if !direct && !alone(engine, event, &ghost).await? {
        let bot = engine.0.names.bot();
        Some(format!(
            "Several people are in this room. Invite the bot {bot}, say “!mimi bridge” here, then invite me again."
        ))
    } else if let Some(instead) = engine.chat_of(&creator, &remote).await?.and_then(|chat| chat.instead()) {
        // One chat for the two of them.
        Some(instead)
    } else {
        // The last of all: who is refused for something else has invited nobody.
        engine
            .count_invitation(&event.sender)
            .map(|counted| invitation = Some(counted))
            .err()
            .map(|refusal| refusal.text)
    };
    if let Some(why) = refusal {
        tracing::info!(sender = %event.sender, %remote, why, "an invitation of a MIMI user was declined");
        // A ghost that the homeserver does not know cannot decline.
        engine.0.homeserver.ensure_ghost(&remote).await?;
        engine.0.homeserver.perform(&MatrixAction::Leave { room, actor: ghost, reason: Some(why) }).await?;
        return Ok(());
    }
    engine.end_deserted(&event.sender, &creator, &remote).await?;
    let new = NewRoom {
        matrix: room,
        creator: creator.clone(),
        present: vec![creator],
        name: String::new(),
        topic: String::new(),
        powers: None,
        creators: [].into(),
        preset: None,
        direct_with: Some(remote),
        speaker: ghost,
        banned: Vec::new(),
        public: false,
        lasting: [].into(),
        faces: engine.own_face(&event.sender).await,
        found: None,
        space: None,
        is_space: false,
        counts: true,
        // What was said before the invitation is not for the one who is invited.
        since: Some(event.event_id.to_string()),
    };
    let again = super::ended::is_ended(engine, &new.matrix).await?;
    let room = new.matrix.clone();
    create(engine, new).await?;
    if let Some(invitation) = invitation {
        invitation.keep();
    }
    if again {
        // The ghost speaks from now on; a chat of two has no third member.
        super::ended::withdraw(engine, &room).await?;
    }
    Ok(())
}

/// Whether the room has nobody but the inviter and the ghost. An invited one does not see that, so the ghost joins.
async fn alone(engine: &Engine, event: &RoomEvent, ghost: &Actor) -> Result<bool, LobbyError> {
    let homeserver = &engine.0.homeserver;
    homeserver.perform(&MatrixAction::Join { room: event.room_id.clone(), actor: ghost.clone() }).await?;
    let me = homeserver.user_id(ghost);
    // There the bot stands in for the ghost of a chat that is over.
    let stands_in = super::ended::is_ended(engine, &event.room_id).await?;
    let members = match homeserver.members(&event.room_id, ghost).await {
        Ok(members) => members,
        Err(error) if error.retry == Retry::Permanent => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    let counts = |member: &ruma::OwnedUserId| !(stands_in && engine.0.names.is_bot(member));
    Ok(members.iter().filter(|member| counts(member)).all(|member| *member == event.sender || *member == me))
}

/// An id among those of our ghosts is invited that stands for nobody.
async fn stray_invited(engine: &Engine, event: &RoomEvent, target: ruma::OwnedUserId) -> Result<(), LobbyError> {
    tracing::info!(sender = %event.sender, %target, "an invitation of nobody was declined");
    let decline = MatrixAction::Decline { room: event.room_id.clone(), target, reason: NOBODY.to_owned() };
    engine.0.homeserver.perform(&decline).await?;
    Ok(())
}

pub(super) async fn create(engine: &Engine, new: NewRoom) -> Result<String, LobbyError> {
    let before = match &new.direct_with {
        Some(remote) => engine.chat_of(&new.creator, remote).await?,
        None => None,
    };
    let uri = match before {
        Some(Chat::Over(uri)) => uri,
        _ => new_uri(engine)?,
    };
    create_as(engine, uri.clone(), new).await?;
    Ok(uri)
}

/// An address for a room of ours.
pub(super) fn new_uri(engine: &Engine) -> Result<String, StoreError> {
    let uri = RoomUri::from_random(engine.0.names.domain(), &random()?);
    uri.map(|uri| uri.to_string()).map_err(|error| StoreError::Invalid(error.to_string()))
}

/// The same with an address that was drawn before. It is made once, however often this is asked for.
pub(super) async fn create_as(engine: &Engine, uri: String, new: NewRoom) -> Result<(), LobbyError> {
    let (reply, done) = oneshot::channel();
    engine.mail(&uri, Mail::Create { new: Box::new(new), reply });
    match done.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(StoreError::Invalid(why).into()),
        // The event stays in the lobby, for the next start.
        Err(_) => Err(StoreError::Closed("the room's task ended".to_owned()).into()),
    }
}

/// The bot answers; once for each event it answers.
async fn say(engine: &Engine, room: &OwnedRoomId, to: &ruma::EventId, text: &str) -> Result<(), LobbyError> {
    let content = serde_json::json!({
        "msgtype": "m.notice",
        "body": text,
        crate::translate::CONTENT_KEY: {},
    });
    let action = MatrixAction::Send {
        room: room.clone(),
        actor: Actor::Bot,
        event_type: "m.room.message".to_owned(),
        content: content.to_string(),
        ts: None,
        txn_id: format!("bot-{}", hex::encode(to.as_str())),
    };
    engine.0.homeserver.perform(&action).await?;
    Ok(())
}

async fn obey(engine: &Engine, event: &RoomEvent, command: Command, management: bool) -> Result<(), LobbyError> {
    let (room, id) = (&event.room_id, &event.event_id);
    let asker = Asker {
        user: event.sender.clone(),
        key: id.to_string(),
        reply_to: replied_to(&event.content).map(String::from),
        place: Some((room.clone(), id.clone())),
        alone: management,
    };
    match engine.answer(&asker, command).await? {
        // The room itself says it.
        Ok(told) if told.text.is_empty() => Ok(()),
        Ok(Told { text, .. }) | Err(Refusal { text, .. }) => say(engine, room, id, &text).await,
    }
}

/// Mirrors the room that somebody names, or in which they say it.
pub(super) async fn bridge_named(
    engine: &Engine,
    asker: &Asker,
    target: Option<&str>,
) -> Result<Result<Told, Refusal>, LobbyError> {
    let here = asker.place.as_ref().map(|(room, _)| room);
    let target = match (target, here) {
        (None, Some(room)) if !asker.alone => room.clone(),
        (None, _) => return Ok(refused(Cause::Invalid, "Which room? Say: bridge ROOM-ID. I have to be in it.")),
        (Some(id), _) if id.starts_with('#') => match resolve(engine, id).await? {
            Some(id) => id,
            None => {
                return Ok(refused(
                    Cause::NotFound,
                    "There is no such room, or the server of its address cannot be asked now.",
                ));
            }
        },
        (Some(id), _) => match OwnedRoomId::try_from(id) {
            Ok(id) => id,
            Err(_) => return Ok(refused(Cause::Invalid, "That is no room id or alias.")),
        },
    };
    if let Some(user) = engine.0.names.uri(&asker.user)
        && let Some(refusal) = engine.no_more_rooms(&asker.user, &user).await?
    {
        return Ok(Err(refusal));
    }
    let in_place = here == Some(&target);
    Ok(bridge(engine, asker, target.clone()).await?.map(|uri| {
        tracing::info!(room = %target, uri, sender = %asker.user, "mirrored");
        // The room itself says so.
        let text = if in_place { String::new() } else { format!("Mirrored as {uri}.") };
        Told { room: RoomUri::parse(&uri).ok(), matrix: Some(target), ..Told::from(text) }
    }))
}

pub(super) async fn resolve(engine: &Engine, alias: &str) -> Result<Option<OwnedRoomId>, LobbyError> {
    match ruma::OwnedRoomAliasId::try_from(alias) {
        Ok(alias) => Ok(engine.0.homeserver.resolve_alias(&alias).await?),
        Err(_) => Ok(None),
    }
}

/// Mirrors a room; the inner error is for the one who asked.
async fn bridge(engine: &Engine, asker: &Asker, target: OwnedRoomId) -> Result<Result<String, Refusal>, LobbyError> {
    if let Some(uri) = engine.linked(target.as_str()) {
        return Ok(refused(Cause::Conflict, format!("That room is mirrored already, as {uri}.")));
    }
    let homeserver = &engine.0.homeserver;
    let members = match homeserver.joined_members(&target).await {
        Ok(members) => members,
        Err(error) if error.retry == Retry::Permanent => {
            return Ok(refused(Cause::NotFound, "I cannot see that room. Invite me first."));
        }
        Err(error) => return Err(error.into()),
    };
    if !members.iter().any(|member| member.user == asker.user) {
        return Ok(refused(Cause::NotFound, "You are not in that room."));
    }
    let present = engine.0.names.participants(members.iter().map(|member| &*member.user));
    if let Some(most) = engine.0.settings.envelope.exceeded_by(present.len()) {
        let text = format!(
            "That room has {} members, more than the {most} that the operator of this server allows.",
            present.len()
        );
        return Ok(refused(Cause::Conflict, text));
    }
    let state = homeserver.room_state(&target).await?;
    let facts = facts(engine, &state, &asker.user);
    if let Some(refusal) = in_the_way(&facts, "That room", "try again") {
        return Ok(Err(refusal));
    }
    let Some(creator) = engine.0.names.uri(&asker.user) else {
        return Ok(refused(Cause::NotPermitted, "You cannot mirror rooms."));
    };
    // The newest event that is there: what came before is not mirrored.
    let newest = homeserver.timeline(&target, &Actor::Bot, None, 1).await?;
    let since = match &asker.place {
        Some((room, event)) if *room == target => Some(event.to_string()),
        _ => newest.events.last().and_then(|raw| event_id(raw)),
    };
    let Some(_claim) = engine.0.mirroring.claim(target.as_str()) else {
        return Ok(refused(Cause::Conflict, "That room is just being mirrored."));
    };
    if let Some(uri) = engine.linked(target.as_str()) {
        return Ok(refused(Cause::Conflict, format!("That room is mirrored already, as {uri}.")));
    }
    let chosen = homeserver.preset(&target);
    Ok(Ok(create(engine, NewRoom { preset: chosen, ..facts.into_room(target, creator, present, since) }).await?))
}

#[cfg(test)]
mod tests {
    use super::shows_encryption;

    #[test]
    fn an_invitation_shows_whether_its_room_is_encrypted() {
        let plain = r#"{"type":"m.room.member","unsigned":{"invite_room_state":[{"type":"m.room.name"},{"type":7}]}}"#;
        assert!(!shows_encryption(plain));
        assert!(!shows_encryption(r#"{"unsigned":3}"#) && !shows_encryption("{"));
        let encrypted = r#"{"unsigned":{"invite_room_state":[{"type":"m.room.name"},{"type":"m.room.encryption"}]}}"#;
        assert!(shows_encryption(encrypted));
    }
}
