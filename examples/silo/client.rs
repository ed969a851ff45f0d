//! The line-oriented client: a command a line, one JSON object as its answer; what happens meanwhile comes as objects with
//! `event` in them.

use std::sync::Arc;

use mimi_gateway::{
    engine::Engine,
    policy::{Preset, UnknownPreset},
};
use ruma::OwnedRoomId;
use serde_json::{Value, json};

use super::chat::{Chat, Refused};

/// What can be said, for `help`.
const COMMANDS: &[&str] = &[
    "user NAME",
    "room [preset=PRESET] TITLE",
    "in ROOM",
    "invite WHO",
    "invitations",
    "accept [ROOM]",
    "join ROOM [CODE]",
    "direct WHO",
    "say TEXT",
    "rename TITLE",
    "title",
    "leave",
    "remove WHO",
    "ban WHO",
    "unban WHO",
    "level WHO NUMBER",
    "open",
    "close",
    "members",
    "log",
    "fingerprint",
    "help",
];

/// A room's title, and what kind it is to be: `[preset=PRESET] TITLE`.
fn kind(words: &str) -> Result<(&str, Option<Preset>), Refused> {
    let Some(rest) = words.strip_prefix("preset=") else { return Ok((words, None)) };
    let (name, title) = rest.split_once(' ').unwrap_or((rest, ""));
    let preset = name.parse().map_err(|error: UnknownPreset| error.to_string())?;
    Ok((title.trim(), Some(preset)))
}

/// What somebody does who has several users and rooms at hand.
pub(crate) struct Client {
    pub(crate) chat: Arc<Chat>,
    pub(crate) engine: Engine,
    me: Option<String>,
    room: Option<OwnedRoomId>,
}

impl Client {
    pub(crate) fn new(chat: Arc<Chat>, engine: Engine) -> Self {
        Self { chat, engine, me: None, room: None }
    }

    fn me(&self) -> Result<&str, Refused> {
        self.me.as_deref().ok_or_else(|| "who are you? `user NAME`".to_owned())
    }

    fn room(&self) -> Result<&OwnedRoomId, Refused> {
        self.room.as_ref().ok_or_else(|| "which room? `room TITLE`, `accept` or `in ROOM`".to_owned())
    }

    /// Carries one command out.
    pub(crate) async fn obey(&mut self, line: &str) -> Result<Value, Refused> {
        let (command, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        let chat = Arc::clone(&self.chat);
        match command {
            "user" => {
                chat.register(rest)?;
                self.me = Some(rest.to_owned());
                return Ok(json!({ "user": format!("mimi://{}/u/{rest}", chat.map.provider()) }));
            }
            "room" => {
                let (title, preset) = kind(rest)?;
                self.room = Some(chat.create_room(self.me()?, title, preset)?);
            }
            "in" => self.room = Some(OwnedRoomId::try_from(rest).map_err(|error| error.to_string())?),
            "invite" => chat.invite(self.room()?, self.me()?, rest)?,
            "invitations" => return Ok(json!({ "invitations": chat.invitations(self.me()?) })),
            "accept" => {
                let room = chat.invitations(self.me()?).into_iter().find(|room| rest.is_empty() || room == rest);
                let room = room.ok_or("no such invitation")?;
                chat.accept(&room, self.me()?)?;
                self.room = Some(room);
            }
            "say" => chat.say(self.room()?, self.me()?, rest)?,
            "rename" => chat.rename(self.room()?, self.me()?, rest)?,
            "title" => return Ok(json!({ "title": chat.title(self.room()?) })),
            "leave" => chat.leave(self.room()?, self.me()?)?,
            "remove" => chat.remove(self.room()?, self.me()?, rest)?,
            "ban" => chat.ban(self.room()?, self.me()?, rest, true)?,
            "unban" => chat.ban(self.room()?, self.me()?, rest, false)?,
            "level" => {
                let (who, level) = rest.rsplit_once(' ').ok_or("whom, and which level? `level WHO NUMBER`")?;
                let level = level.parse().map_err(|_| format!("{level:?} is no level"))?;
                chat.empower(self.room()?, self.me()?, who.trim(), level)?;
            }
            "help" => return Ok(json!({ "commands": COMMANDS, "presets": Preset::NAMED.map(|(name, _)| name) })),
            "open" => chat.open_to_all(self.room()?, self.me()?, true)?,
            "close" => chat.open_to_all(self.room()?, self.me()?, false)?,
            "direct" => self.room = Some(chat.direct(self.me()?, rest)?),
            "join" => self.room = Some(chat.join(self.me()?, rest)?),
            "members" => return Ok(json!({ "members": chat.members(self.room()?) })),
            "log" => {
                let said = chat.said(self.room()?);
                let log: Vec<Value> = said.iter().map(|(from, text)| json!({ "from": from, "text": text })).collect();
                return Ok(json!({ "log": log }));
            }
            "fingerprint" => return self.fingerprint().await,
            other => return Err(format!("{other:?} is no command; see `help`")),
        }
        Ok(json!({ "room": self.room }))
    }

    /// The state of the room, to be compared with `mimi-gateway rooms --fingerprints`.
    async fn fingerprint(&self) -> Result<Value, Refused> {
        let uri = self.chat.mirrored(self.room()?).ok_or("it is not mirrored")?;
        let found = Engine::fingerprints_after(self.engine.database(), None, usize::MAX).await;
        let (rooms, _) = found.map_err(|error| error.to_string())?;
        let room = rooms.into_iter().find(|room| room.room == uri).ok_or("the engine does not know it")?;
        Ok(json!(mimi_gateway::admin::FingerprintRow::from(room)))
    }
}
