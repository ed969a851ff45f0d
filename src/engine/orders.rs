//! What our users want of the gateway, whether they say it to the bot or by the provisioning API: one place asks whether they
//! may, does it, and has the words.
//!
//! ```text
//!  bot, chat alone ---+                                  +--> a room's actor (invite, code, unbridge, status)
//!  provisioning API --+--> may they? --> Engine::order --+--> bridge, join, start-chat, discoverable, consent ...
//! ```

use std::{collections::BTreeSet, fmt::Write as _};

use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{
    actor::{Actor, After},
    core::{Engine, now, random},
    group::Bounds,
    lobby::{self, LobbyError},
    mail::Mail,
    overview::RoomSummary,
    permits::About,
    ports::Retry,
    records,
    rights::Act,
    tables::{BLOCKED, FINDABLE, MADE, ORDERED},
};
use crate::{
    ident::{ProviderDomain, RoomUri, UserUri},
    policy::Parents,
    room::{
        Cause, Code, Names as _, Orderer, Phase, Refusal, Said,
        command::{ALONE, AdminWords, Command, HELP},
        counted,
        seek::Way,
    },
    store::{Batch, StoreError},
};

/// Rooms that are read at once.
const PAGE: usize = 100;
/// Rooms that the bot lists.
const LISTED: usize = 50;

/// One of our users who wants something.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Who.
    pub user: OwnedUserId,
    /// What makes the same order the same when it comes again.
    pub key: String,
    /// The message to which theirs replies.
    pub(super) reply_to: Option<String>,
    /// Where they say it; `None`: by the provisioning API.
    pub(super) place: Option<(OwnedRoomId, OwnedEventId)>,
    /// Whether nobody else reads the answer.
    pub(super) alone: bool,
}

impl Asker {
    /// Somebody who asks by the provisioning API. `key`: the same for the same order, and no other.
    #[must_use]
    pub fn by_api(user: OwnedUserId, key: String) -> Self {
        Self { user, key, reply_to: None, place: None, alone: true }
    }
}

/// What somebody hears who got what they wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// In words. Empty where the room itself says it.
    pub text: String,
    /// The MIMI room that it is about.
    pub room: Option<RoomUri>,
    /// The Matrix room.
    pub matrix: Option<OwnedRoomId>,
    /// The joining code that was made.
    pub code: Option<Code>,
}

impl From<String> for Told {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<Said> for Told {
    fn from(Said { text, code }: Said) -> Self {
        Self { text, code, ..Self::default() }
    }
}

/// Why somebody does not get what they want.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// They do not, in words for them.
    #[error("{}", .0.text)]
    Refused(Refusal),
    /// The homeserver or the store does not do its part now. Worth another try.
    #[error("{0}")]
    NotNow(String),
    /// It cannot be done; the log says more.
    #[error("{0}")]
    Failed(String),
}

impl From<LobbyError> for OrderError {
    fn from(error: LobbyError) -> Self {
        match &error {
            LobbyError::Call(call) if call.retry == Retry::Permanent => {
                Self::Failed(format!("The homeserver refuses: {error}. Its operator has to look at that."))
            }
            LobbyError::Call(_) => Self::NotNow(format!("The homeserver does not answer: {error}.")),
            LobbyError::Store(_) => {
                tracing::error!(%error, "an order is not carried out");
                Self::NotNow("Nothing can be stored now; try again in a moment.".to_owned())
            }
        }
    }
}

impl From<StoreError> for OrderError {
    fn from(error: StoreError) -> Self {
        LobbyError::Store(error).into()
    }
}

pub(super) fn refused<T>(cause: Cause, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(cause, text))
}

impl Engine {
    /// Carries out what one of our users wants by the provisioning API. `room`: the mirrored room that it is about, by the id or
    /// alias of its Matrix room, or by its MIMI address.
    pub async fn order(&self, asker: &Asker, room: Option<&str>, command: Command) -> Result<Told, OrderError> {
        tracing::info!(user = %asker.user, room, command = command.word(), "somebody wants something by the provisioning API");
        let told = match room {
            Some(room) => self.order_in(asker, room, command).await?,
            None => self.answer(asker, command).await?,
        };
        told.map_err(OrderError::Refused)
    }

    /// The MIMI room of a Matrix room, or itself.
    pub(super) async fn room_named(&self, name: &str) -> Result<Option<String>, LobbyError> {
        if name.starts_with('#') {
            let room = lobby::resolve(self, name).await?;
            return Ok(room.and_then(|room| self.linked(room.as_str())));
        }
        if name.starts_with('!') {
            return Ok(self.linked(name));
        }
        let known = RoomUri::parse(name).ok().filter(|room| self.knows_room(room));
        Ok(known.map(|room| room.to_string()))
    }

    async fn order_in(&self, asker: &Asker, name: &str, command: Command) -> Result<Result<Told, Refusal>, LobbyError> {
        if let Some(refusal) = self.0.settings.rights.refusal(&asker.user, &command, About::Room) {
            return Ok(Err(refusal));
        }
        let Some(uri) = self.room_named(name).await? else {
            return Ok(refused(Cause::NotFound, "I know no such room in which you are."));
        };
        let admin = self.0.settings.rights.may(&asker.user, Act::Admin);
        let (reply, answer) = oneshot::channel();
        self.mail(&uri, Mail::Order { by: asker.user.clone(), admin, command, reply });
        let said = answer.await.map_err(|_| StoreError::Closed("the room's task ended".to_owned()))?;
        Ok(said.map(|said| Told { room: RoomUri::parse(&uri).ok(), ..Told::from(said) }))
    }

    /// What is answered to something that is not said in a mirrored room.
    pub(super) async fn answer(&self, asker: &Asker, command: Command) -> Result<Result<Told, Refusal>, LobbyError> {
        if let Some(refusal) = self.0.settings.rights.refusal(&asker.user, &command, About::Gateway) {
            return Ok(Err(refusal));
        }
        let Some(user) = self.0.names.uri(&asker.user) else {
            return Ok(refused(Cause::NotPermitted, super::rights::NOT_PERMITTED));
        };
        let text = match command {
            Command::Help => HELP.to_owned(),
            Command::Status if asker.alone => self.overview(&asker.user).await?,
            Command::Rooms if asker.alone => self.rooms_in_words(&user).await?,
            Command::Report { openly, note } if asker.alone => self.complain_quietly(user, &note, openly).await?,
            Command::Status | Command::Code(_) | Command::Report { .. } => {
                return Ok(refused(Cause::NotFound, "This room is not mirrored."));
            }
            Command::Bridge(target) => return lobby::bridge_named(self, asker, target.as_deref()).await,
            Command::StartChat(_) | Command::Discoverable(_) | Command::Rooms | Command::Admin(_) if !asker.alone => {
                return Ok(refused(Cause::Conflict, ALONE));
            }
            Command::StartChat(whom) => return self.start_chat(asker, whom).await,
            Command::Discoverable(wish) => self.be_findable(&asker.user, &wish).await?,
            Command::Rooms => ALONE.to_owned(),
            Command::Admin(words) => return Ok(self.administrate(&asker.user, words).await?),
            Command::Join(uri, code) => return Ok(self.join(&asker.user, &uri, code).await?),
            Command::Invite(_) => {
                let text = "This room is not mirrored. Say `!mimi bridge` in the room that they are to join, then invite them there.";
                return Ok(refused(Cause::NotFound, text));
            }
            Command::Consent(words) => {
                let (mut batch, mut rows) = (Batch::new("a user's word about consent"), super::desk::Rows::new());
                let reply_to = asker.reply_to.as_deref();
                let told = self.consent_word(&user, &words, reply_to, &mut batch, &mut rows).await?;
                self.commit_rows(batch, rows).await?;
                told
            }
            Command::Unbridge => {
                let text = "This room is not mirrored. Say this in the room that is to be let go.";
                return Ok(refused(Cause::NotFound, text));
            }
            Command::Unknown(text) => return Ok(refused(Cause::Invalid, text)),
        };
        Ok(Ok(text.into()))
    }

    async fn overview(&self, user: &UserId) -> Result<String, StoreError> {
        let (mut rooms, mut active, mut after) = (0, 0, None);
        loop {
            let page = records::page(&self.0.db, after, PAGE).await?;
            rooms += page.rooms.len();
            active += page.rooms.iter().filter(|(_, room)| room.phase == Phase::Active).count();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(format!(
            "{}, {active} of them active; {} set aside since the start. {}",
            counted(rooms as u64, "room", "rooms"),
            counted(self.quarantined(), "thing", "things"),
            self.0.settings.rights.words(user)
        ))
    }

    /// Rooms in which somebody of ours is, or all of them, behind this place in the store; and the place to go on at.
    pub async fn rooms_of(
        &self,
        user: Option<&UserId>,
        mut after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(Vec<RoomSummary>, Option<Vec<u8>>), StoreError> {
        let user = user.map(|user| self.0.names.uri(user));
        let mut rooms = Vec::new();
        loop {
            let page = records::page(&self.0.db, after, PAGE.min(limit)).await?;
            for (uri, room) in page.rooms {
                let theirs = |user: &Option<UserUri>| user.as_ref().is_some_and(|user| room.present.contains(user));
                if user.as_ref().is_none_or(theirs) && room.phase != Phase::Left {
                    rooms.push(Self::summary(&self.0.db, &self.0.names, uri, &room).await);
                }
            }
            after = page.next;
            if after.is_none() || rooms.len() >= limit {
                return Ok((rooms, after));
            }
        }
    }

    /// One room, for whoever is in it, and for those who administrate.
    pub async fn room_of(&self, user: &UserId, name: &str) -> Result<Option<RoomSummary>, OrderError> {
        let Some(uri) = self.room_named(name).await? else { return Ok(None) };
        let Some(room) = records::load(&self.0.db, &uri).await? else { return Ok(None) };
        let is_in = self.0.names.uri(user).is_some_and(|user| room.present.contains(&user));
        if !is_in && !self.0.settings.rights.may(user, Act::Admin) {
            return Ok(None);
        }
        Ok(Some(Self::summary(&self.0.db, &self.0.names, uri, &room).await))
    }

    async fn rooms_in_words(&self, user: &UserUri) -> Result<String, StoreError> {
        let Some(id) = self.0.names.matrix_id(user) else { return Ok(String::new()) };
        let (rooms, more) = self.rooms_of(Some(&id), None, LISTED).await?;
        if rooms.is_empty() {
            return Ok("You are in no room that I connect.".to_owned());
        }
        let mut text = "You are in".to_owned();
        for RoomSummary { uri, matrix, state, hub, .. } in rooms {
            let host = if hub { "hosted here" } else { "hosted elsewhere" };
            let _ = write!(text, "\n• https://matrix.to/#/{matrix} — {uri}, {state}, {host}");
        }
        if more.is_some() {
            text.push_str("\nand others.");
        }
        Ok(text)
    }

    /// What those who administrate want.
    async fn administrate(&self, user: &UserId, words: AdminWords) -> Result<Result<Told, Refusal>, StoreError> {
        Ok(match words {
            AdminWords::Providers => Ok(self.providers_in_words().into()),
            AdminWords::Deny(provider) => self.deny(&provider, user).await?.map(Told::from),
            AdminWords::Allow(provider) => self.allow(&provider, user).await?.map(Told::from),
        })
    }

    /// Why somebody may have no more rooms. Rooms that are over do not count.
    pub(super) async fn no_more_rooms(&self, id: &UserId, user: &UserUri) -> Result<Option<Refusal>, StoreError> {
        let most = self.0.settings.rights.rooms(id);
        let made = MADE.scan_all(&self.0.db, &user.to_string()).await?;
        if u32::try_from(made.len()).unwrap_or(u32::MAX) < most {
            return Ok(None);
        }
        let (mut there, mut batch) = (0_u32, Batch::new("rooms that are over"));
        for (key, _) in made {
            match records::load(&self.0.db, &key.1).await? {
                Some(room) if room.phase != Phase::Left => there += 1,
                _ => MADE.delete(&mut batch, &key),
            }
        }
        if !batch.is_empty() {
            self.0.db.commit(batch).await?;
        }
        if there < most {
            return Ok(None);
        }
        tracing::info!(user = %id, most, "somebody has as many rooms as the settings let one user have");
        Ok(Some(Refusal::new(
            Cause::TooMany(0),
            format!(
                "You have {} with users of other providers, as many as this gateway lets one user have. Unbridge \
                 or leave one of them first.",
                counted(u64::from(there), "room or chat", "rooms and chats"),
            ),
        )))
    }

    /// Notes that this user made a room of ours, or brought a followed one here.
    pub(super) fn note_made(&self, user: &UserUri, uri: &str, batch: &mut Batch) -> Result<(), StoreError> {
        MADE.put(&self.0.db, batch, &(user.to_string(), uri.to_owned()), &now())
    }

    /// What rooms may be.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            envelope: std::sync::Arc::clone(&self.0.settings.envelope),
            own: self.0.names.domain().clone(),
            parents: Parents::default(),
            lineage: std::sync::Arc::clone(&self.0.lineage),
        }
    }

    /// Why this provider may have no more rooms that we follow, beside this one.
    pub(super) fn no_more_rooms_of(&self, hub: &ProviderDomain, room: &str) -> Option<Refusal> {
        let most = self.0.settings.rooms_per_peer;
        let begins = format!("mimi://{hub}/");
        let rooms = super::core::lock(&self.0.rooms);
        let theirs = rooms.range(begins.clone()..).take_while(|uri| uri.starts_with(&begins));
        let many = theirs.filter(|uri| *uri != room).count();
        (many >= most).then(|| {
            tracing::warn!(%hub, most, "a provider has as many rooms here as limits.max_rooms_per_peer allows");
            Refusal::new(
                Cause::TooMany(0),
                format!("This gateway is in as many rooms of {hub} as its operator allows."),
            )
        })
    }
}

/// An order of the provisioning API that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// SHA-256 of what was asked.
    pub request: [u8; 32],
    /// The answer's HTTP status.
    pub status: u16,
    /// The answer's body.
    pub answer: Vec<u8>,
}

/// What the provisioning API asks beside orders.
impl Engine {
    /// Whether this is a Matrix user, and no ghost or the bot.
    #[must_use]
    pub fn is_person(&self, user: &UserId) -> bool {
        self.0.names.uri(user).is_some()
    }

    /// What this user may do.
    #[must_use]
    pub fn may(&self, user: &UserId) -> Vec<Act> {
        let all = Act::ORDINARY.into_iter().chain([Act::Admin]);
        all.filter(|act| self.0.settings.rights.may(user, *act)).collect()
    }

    /// Why this user may not say this to the bot alone, and so may not have the same in another way.
    pub fn permits(&self, user: &UserId, command: &Command) -> Result<(), Refusal> {
        self.0.settings.rights.refusal(user, command, About::Gateway).map_or(Ok(()), Err)
    }

    /// Why this user may not do this: in words for them.
    pub fn check(&self, user: &UserId, act: Act) -> Result<(), String> {
        self.0.settings.rights.check(user, act, None)
    }

    /// By what other providers' users find this one.
    pub async fn ways_of(&self, user: &UserId) -> Result<BTreeSet<Way>, StoreError> {
        Ok(FINDABLE.get(&self.0.db, &user.to_string()).await?.map(|row| row.ways).unwrap_or_default())
    }

    /// Whom this user blocks.
    pub async fn blocked_by(&self, user: &UserId) -> Result<Vec<String>, StoreError> {
        let Some(user) = self.0.names.uri(user) else { return Ok(Vec::new()) };
        let blocked = BLOCKED.scan_all(&self.0.db, &user.to_string()).await?;
        Ok(blocked.into_iter().map(|((_, other), ())| other).collect())
    }

    /// What came of the order of this user and key, if there was one.
    pub async fn ordered_before(&self, key: &(String, String)) -> Result<Option<Ordered>, StoreError> {
        Ok(ORDERED.get(&self.0.db, key).await?.map(|row| row.value))
    }

    /// Notes what came of an order.
    pub async fn note_ordered(&self, key: &(String, String), row: Ordered) -> Result<(), StoreError> {
        let mut batch = Batch::new("an order was carried out");
        ORDERED.put(&self.0.db, &mut batch, key, &self.0.today.dated(row))?;
        self.0.db.commit(batch).await.map(drop)
    }
}

impl Actor {
    /// Does what somebody wants of the room who does not say it there.
    pub(super) async fn order(
        &mut self,
        by: &UserId,
        admin: bool,
        command: &Command,
        batch: &mut Batch,
        after: &mut After,
    ) -> Result<Result<Said, Refusal>, StoreError> {
        let mut said = refused(Cause::NotFound, "I know no such room in which you are.");
        let Some(user) = self.engine.0.names.uri(by) else { return Ok(said) };
        let random = random()?;
        let step = |step: &mut crate::room::Step<'_>| {
            said = step.order(Orderer { id: by, user: &user, admin }, command, random);
            step.pump();
        };
        self.guarded(step, batch, after).await?;
        Ok(said)
    }
}
