//! Finding somebody of another provider (draft-ietf-mimi-protocol-06 section 5.8, as the one who asks), and beginning a
//! direct chat with them.
//!
//! ```text
//!  start-chat handle:bob@b.example --identifierQuery--> b.example
//!     nobody: that is said    several: they are listed    one: a Matrix room with the bot; its ghost is asked in as ever
//! ```

use std::fmt::Write as _;

use ruma::{OwnedRoomId, OwnedUserId};
use sha2::{Digest as _, Sha256};

use super::{
    chats::Chat,
    core::{Engine, lock, now},
    lobby::{LobbyError, create},
    mail::NewRoom,
    orders::{Asker, Told, refused},
    ports::{Actor, Endpoint, InboundError, MatrixAction, MatrixDone, PathTarget, Retry},
};
use crate::{
    ident::{GHOST_PREFIX, ProviderDomain, RoomUri, UserUri, display_name, shown},
    room::{
        Cause, Names as _, Refusal,
        seek::{self, Whom},
    },
    store::StoreError,
    wire::{
        AppDataDictionary, FieldSource, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, QueryElement,
        SearchField, UserProfile, Wire as _,
    },
};

/// Matches that are listed.
const LISTED: usize = 10;
/// Of a name that another provider tells, so many characters are shown.
const NAME: usize = 60;

/// Somebody whom a provider found.
struct Match {
    user: UserUri,
    /// As that provider has it: untrusted.
    name: Option<String>,
}

/// What a match says that its name is; not to be shown as it is.
fn name_of(profile: &UserProfile) -> Option<String> {
    let named = |wanted: &[(FieldSource, &str)]| {
        let field = profile.fields.iter().find(|field| {
            wanted.iter().any(|(source, name)| field.source == *source && field.name.eq_ignore_ascii_case(name))
        })?;
        let text = std::str::from_utf8(&field.value).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    named(&[(FieldSource::OidcStdClaim, "name"), (FieldSource::VcardField, "fn")])
        .or_else(|| named(&[(FieldSource::OidcStdClaim, "nickname"), (FieldSource::VcardField, "nickname")]))
}

/// Whom an answer lists; a provider speaks for its own users only. The error is for people.
fn matches(at: &ProviderDomain, answer: &IdentifierResponse) -> Result<Vec<Match>, String> {
    match answer.code {
        IdentifierQueryCode::Success | IdentifierQueryCode::NotFound => {}
        IdentifierQueryCode::Ambiguous => {
            return Err(format!("{at} wants to know it more exactly: a whole handle, a longer part of the name."));
        }
        IdentifierQueryCode::Forbidden => return Err(format!("{at} does not let us search.")),
        IdentifierQueryCode::UnsupportedField => return Err(format!("{at} does not search by that.")),
    }
    let profiles = answer.profiles.iter().map(|profile| (profile.stable_uri.clone(), name_of(profile)));
    let mut found: Vec<Match> = Vec::new();
    for (uri, name) in profiles.chain(answer.uris.iter().map(|uri| (uri.clone(), None))) {
        match UserUri::try_from(uri.clone()) {
            Ok(user) if user.provider() == *at => {
                if found.iter().all(|known| known.user != user) {
                    found.push(Match { user, name });
                }
            }
            _ => tracing::warn!(%at, %uri, "the answer to a search names somebody who is no user of that provider"),
        }
    }
    Ok(found)
}

impl Engine {
    /// Asks a provider for a user. The error is for people.
    async fn seek(&self, at: &ProviderDomain, field: SearchField, value: String) -> Result<Vec<Match>, String> {
        if *at == *self.0.names.domain() {
            return Err("That is this server: start the chat the Matrix way.".to_owned());
        }
        if let Some(why) = self.0.names.not_reached(at, None) {
            return Err(why);
        }
        let elements = vec![QueryElement { field, value }];
        let body = IdentifierRequest { elements, extensions: AppDataDictionary::default() }.encode();
        let target = PathTarget::Domain(at.clone());
        let answer = self.0.peers.call(at, Endpoint::IdentifierQuery, &target, &body).await.map_err(|error| {
            tracing::info!(%at, %error, "a search was not answered");
            match error.status {
                Some(404) => format!("{at} offers no search."),
                Some(429) => format!("{at} has answered enough searches for now; try again later."),
                _ => format!("{at} does not answer; try again later."),
            }
        })?;
        let answer = IdentifierResponse::decode(&answer).map_err(|error| {
            tracing::warn!(%at, %error, "the answer to a search is unreadable");
            format!("The answer of {at} is unreadable.")
        })?;
        matches(at, &answer)
    }

    /// `start-chat`; what is answered.
    pub(super) async fn start_chat(&self, asker: &Asker, whom: Whom) -> Result<Result<Told, Refusal>, LobbyError> {
        let (at, field, value) = match whom {
            Whom::User(user) => return self.begin_chat(asker, &user, None).await,
            Whom::Sought { at, field, value } => (at, field, value),
        };
        let found = tokio::select! {
            // The command is obeyed at the next start.
            () = self.0.stop.cancelled() => return Err(StoreError::Closed("the engine stops".to_owned()).into()),
            found = self.seek(&at, field, value) => found,
        };
        let found = match found {
            Ok(found) => found,
            Err(why) => return Ok(refused(Cause::Unreachable, why)),
        };
        if let [one] = found.as_slice() {
            return self.begin_chat(asker, &one.user, one.name.as_deref()).await;
        }
        if found.is_empty() {
            let text = format!("Nobody at {at} matches, or nobody who wants to be found.");
            return Ok(refused(Cause::NotFound, text));
        }
        let mut text = format!("Several at {at} match. Say whom you mean:");
        for one in found.iter().take(LISTED) {
            let name = one.name.as_deref().map_or_else(|| display_name(&one.user), |name| shown(name, NAME));
            let _ = write!(text, "\n• {name}: start-chat {}", one.user);
        }
        if found.len() > LISTED {
            let _ = write!(text, "\nand {} more.", found.len() - LISTED);
        }
        Ok(refused(Cause::Conflict, text))
    }

    /// Makes a Matrix room for a user of ours and the ghost, mirrored as a direct chat, in which the other one is asked. The
    /// same command again finds the same room.
    async fn begin_chat(
        &self,
        asker: &Asker,
        remote: &UserUri,
        name: Option<&str>,
    ) -> Result<Result<Told, Refusal>, LobbyError> {
        let user = &asker.user;
        let Some(creator) = self.0.names.uri(user) else {
            return Ok(refused(Cause::NotPermitted, "You cannot begin chats."));
        };
        if remote.provider() == *self.0.names.domain() {
            let text = "That user is here on this server: start the chat the Matrix way.";
            return Ok(refused(Cause::Conflict, text));
        }
        if !self.0.peers.knows(&remote.provider()) {
            let text = format!("{} is no provider that this gateway talks to.", remote.provider());
            return Ok(refused(Cause::NotFound, text));
        }
        let digest = hex::encode(Sha256::digest(&asker.key).get(..20).unwrap_or_default());
        let alias_localpart = format!("{GHOST_PREFIX}chat_{digest}");
        let who = match name {
            Some(name) => format!("{}, {remote},", shown(name, NAME)),
            None => remote.to_string(),
        };
        let told = |text: String, room: OwnedRoomId| {
            let uri = self.linked(room.as_str()).and_then(|uri| RoomUri::parse(&uri).ok());
            Told { room: uri, matrix: Some(room), ..Told::from(text) }
        };
        match self.chat_of(&creator, remote).await? {
            Some(Chat::Open(room)) => {
                return Ok(Ok(told(format!("You have a chat with {who} already: https://matrix.to/#/{room}"), room)));
            }
            Some(Chat::Asked(room)) => {
                let text = format!(
                    "You are asked into a chat by {who} already: accept that invitation, https://matrix.to/#/{room}"
                );
                return Ok(Ok(told(text, room)));
            }
            Some(Chat::Deserted(_) | Chat::Over(_)) | None => {}
        }
        if let Some(refusal) = self.no_more_rooms(user, &creator).await? {
            return Ok(Err(refusal));
        }
        // Before the room is made: one in which nobody can be asked would be of no use.
        let invitation = match self.count_invitation(user) {
            Ok(invitation) => invitation,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let action = MatrixAction::CreateRoom {
            creator: Actor::Bot,
            alias_localpart,
            name: None,
            topic: None,
            is_direct: true,
            space: false,
            members: Vec::new(),
            invite: vec![user.clone()],
            initial_state: Vec::new(),
        };
        // What the user does in the room before it is linked waits in the lobby.
        let _held = Held::new(self, user.clone());
        let made = match self.0.homeserver.perform(&action).await {
            Err(error) if error.retry == Retry::Permanent => {
                tracing::warn!(%user, %error, "the room of a chat cannot be made");
                return Ok(refused(Cause::Conflict, "The homeserver does not let me make a room with you."));
            }
            made => made?,
        };
        let MatrixDone::Room(matrix) = made else {
            return Err(StoreError::Invalid("making a room answered no room".to_owned()).into());
        };
        let uri = if let Some(uri) = self.linked(matrix.as_str()) {
            uri
        } else {
            self.end_deserted(user, &creator, remote).await?;
            let new = NewRoom {
                matrix: matrix.clone(),
                creator: creator.clone(),
                present: vec![creator],
                name: String::new(),
                topic: String::new(),
                powers: None,
                creators: [].into(),
                preset: None,
                direct_with: Some(remote.clone()),
                speaker: Actor::Bot,
                banned: Vec::new(),
                public: false,
                lasting: [].into(),
                faces: Vec::new(),
                found: name.map(str::to_owned),
                space: None,
                is_space: false,
                counts: true,
                since: None,
            };
            let uri = create(self, new).await?;
            invitation.keep();
            uri
        };
        let text = format!(
            "{who} is asked. The room is ready: accept my invitation. What you write there is read once they agree."
        );
        Ok(Ok(Told { room: RoomUri::parse(&uri).ok(), matrix: Some(matrix), ..Told::from(text) }))
    }

    /// Third-party look-up by handle.
    pub(super) async fn look_up(&self, handle: &str) -> Result<Vec<UserUri>, InboundError> {
        let Ok(Whom::Sought { at, field, value }) = seek::handle(handle) else { return Ok(Vec::new()) };
        if self.0.settings.lookups_per_minute == 0 || !self.0.peers.knows(&at) {
            return Ok(Vec::new());
        }
        lock(&self.0.lookups).take(&(), now()).map_err(InboundError::TooMany)?;
        match self.seek(&at, field, value).await {
            Ok(found) => Ok(found.into_iter().map(|one| one.user).collect()),
            Err(why) => {
                tracing::debug!(why, "a look-up finds nobody");
                Ok(Vec::new())
            }
        }
    }
}

/// A Matrix room that is being made: meanwhile, what those who are invited do in rooms that are not mirrored waits.
struct Held<'a> {
    engine: &'a Engine,
    number: u64,
}

impl<'a> Held<'a> {
    fn new(engine: &'a Engine, invited: OwnedUserId) -> Self {
        // From the same source as the outbox' numbers, so none is used twice.
        let number = engine.0.db.next_number();
        lock(&engine.0.portals).insert(number, vec![invited]);
        Self { engine, number }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        lock(&self.engine.0.portals).remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ident::MimiUri, wire::ProfileField};

    fn b() -> ProviderDomain {
        ProviderDomain::parse("b.example").unwrap()
    }

    fn uri(text: &str) -> MimiUri {
        MimiUri::parse(text).unwrap()
    }

    fn profile(uri_text: &str, fields: &[(FieldSource, &str, &[u8])]) -> UserProfile {
        let field = |(source, name, value): &(FieldSource, &str, &[u8])| ProfileField {
            source: *source,
            name: (*name).to_owned(),
            value: value.to_vec(),
        };
        UserProfile { stable_uri: uri(uri_text), fields: fields.iter().map(field).collect() }
    }

    #[test]
    fn a_provider_speaks_for_its_own_users_only() {
        let mut answer = IdentifierResponse::found(vec![
            profile("mimi://b.example/u/bob", &[(FieldSource::OidcStdClaim, "name", b"Bob")]),
            profile("mimi://a.example/u/alice", &[]),
            profile("mimi://b.example/r/room", &[]),
        ]);
        answer.uris.extend([uri("mimi://b.example/u/bob"), uri("mimi://b.example/u/bea"), uri("mimi://c.example/u/c")]);
        let found = matches(&b(), &answer).unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.user.as_str(), one.name.as_deref())).collect();
        assert_eq!(found, [("mimi://b.example/u/bob", Some("Bob")), ("mimi://b.example/u/bea", None)]);
    }

    #[test]
    fn refusals_are_told_in_words() {
        for (code, text) in [
            (IdentifierQueryCode::Ambiguous, "more exactly"),
            (IdentifierQueryCode::Forbidden, "does not let us"),
            (IdentifierQueryCode::UnsupportedField, "does not search by that"),
        ] {
            // Whom it lists all the same is not looked at.
            let answer =
                IdentifierResponse { code, ..IdentifierResponse::found(vec![profile("mimi://b.example/u/bob", &[])]) };
            assert!(matches(&b(), &answer).err().unwrap().contains(text));
        }
        assert!(matches(&b(), &IdentifierResponse::empty(IdentifierQueryCode::NotFound)).unwrap().is_empty());
    }

    #[test]
    fn names_of_others_are_shown_without_what_deceives() {
        let named = |fields: &[(FieldSource, &str, &[u8])]| {
            name_of(&profile("mimi://b.example/u/bob", fields)).map(|name| shown(&name, NAME))
        };
        assert_eq!(
            named(&[(FieldSource::VcardField, "FN", b" Bob \xe2\x80\xae Smith\n")]).unwrap(),
            "Bob %E2%80%AE Smith"
        );
        assert_eq!(
            named(&[(FieldSource::OidcStdClaim, "nickname", b"Bobby"), (FieldSource::OidcStdClaim, "name", b"Bob")])
                .unwrap(),
            "Bob"
        );
        assert_eq!(named(&[(FieldSource::OidcStdClaim, "name", b"\xff")]), None);
        assert_eq!(named(&[(FieldSource::OidcStdClaim, "family_name", b"Smith")]), None);
        assert_eq!(named(&[(FieldSource::OidcStdClaim, "name", &[b'x'; 500])]).unwrap().chars().count(), NAME + 1);
    }
}
