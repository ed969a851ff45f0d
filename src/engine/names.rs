//! The names of the two worlds, from the settings: what `room` asks of [`Names`].

use std::sync::Arc;

use ruma::{OwnedUserId, UserId};
use serde_json::value::RawValue;

use super::{
    permits::About,
    ports::{Peers, Shut},
    rights::{Act, Rights},
};
use crate::{
    ident::{GhostOf, IdentityMap, ProviderDomain, RoomUri, UserUri, display_name, is_ghost_pattern},
    policy::Envelope,
    room::{Names, Refusal, Telling, command::Command},
    translate::RoomEvent,
};

/// [`Names`] of this gateway.
#[derive(Clone)]
pub struct GatewayNames {
    /// The mapping.
    pub map: IdentityMap,
    /// The bridge bot.
    pub bot: OwnedUserId,
    /// Up to how many Matrix members all are listed as participants.
    pub list_all_up_to: usize,
    /// Up to how many ghosts come into a Matrix room at once.
    pub ghosts_at_once: usize,
    /// What people are told of their messages.
    pub telling: Telling,
    domain: ProviderDomain,
    /// Who can be asked, once the engine is loaded.
    pub(super) peers: Option<Arc<dyn Peers>>,
    /// Who may do what, once the engine is loaded.
    pub(super) rights: Option<Arc<Rights>>,
    /// What rooms may be.
    pub(super) envelope: Arc<Envelope>,
}

impl std::fmt::Debug for GatewayNames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayNames").field("map", &self.map).field("bot", &self.bot).finish_non_exhaustive()
    }
}

impl GatewayNames {
    /// From the mapping and the bot's id.
    #[must_use]
    pub fn new(map: IdentityMap, bot: OwnedUserId, list_all_up_to: usize) -> Self {
        let domain = map.provider().clone();
        let (peers, rights, envelope) = (None, None, Arc::default());
        let telling = Telling::default();
        Self { map, bot, list_all_up_to, ghosts_at_once: 50, telling, domain, peers, rights, envelope }
    }
}

impl GatewayNames {
    /// Those of a Matrix room's members who take part in the MIMI room: neither the bot nor ghosts.
    pub(super) fn participants<'a>(&self, joined: impl IntoIterator<Item = &'a UserId>) -> Vec<UserUri> {
        joined.into_iter().filter_map(|user| self.uri(user)).collect()
    }

    /// Whether the bot or a ghost sent this event, so that it says nothing new. What does not read is none of theirs.
    ///
    /// That they put somebody out does say something: where it stands among what that one did. Who came in before it was
    /// carried out is out again, and nobody else says so.
    pub(super) fn is_echo(&self, event: &RawValue) -> bool {
        #[derive(serde::Deserialize)]
        struct Sent<'a> {
            #[serde(borrow)]
            sender: std::borrow::Cow<'a, str>,
            state_key: Option<String>,
        }
        let Ok(sent) = serde_json::from_str::<Sent<'_>>(event.get()) else { return false };
        let is_bridged = |user: &str| <&UserId>::try_from(user).is_ok_and(|user| self.is_bridged(user));
        if !is_bridged(&sent.sender) {
            return false;
        }
        let is_news = |target: String| target.starts_with('@') && !is_bridged(&target) && puts_out(event);
        !sent.state_key.is_some_and(is_news)
    }
}

/// Whether this takes somebody's membership away.
fn puts_out(event: &RawValue) -> bool {
    RoomEvent::parse(event).is_ok_and(|event| {
        let membership = event.content.get("membership").and_then(serde_json::Value::as_str);
        event.event_type == "m.room.member" && matches!(membership, Some("leave" | "ban"))
    })
}

impl Names for GatewayNames {
    fn domain(&self) -> &ProviderDomain {
        &self.domain
    }
    fn uri(&self, user: &UserId) -> Option<UserUri> {
        if self.is_bridged(user) { None } else { self.map.user_uri(user).ok() }
    }
    fn ghost_uri(&self, user: &UserId) -> Option<UserUri> {
        match self.map.ghost_of(user) {
            Some(GhostOf::User(uri)) => Some(uri),
            Some(_) | None => None,
        }
    }
    fn is_stray(&self, user: &UserId) -> bool {
        let among_ours = is_ghost_pattern(user) && user.server_name() == self.map.server_name();
        among_ours && !self.is_bot(user) && self.ghost_uri(user).is_none()
    }
    fn is_peer(&self, provider: &ProviderDomain) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.knows(provider))
    }
    fn not_reached(&self, provider: &ProviderDomain, by: Option<&UserUri>) -> Option<String> {
        if self.is_peer(provider) {
            return None;
        }
        let administrates = || {
            let id = by.and_then(|by| self.map.matrix_user(by));
            id.is_some_and(|id| self.rights.as_ref().is_some_and(|rights| rights.may(&id, Act::Admin)))
        };
        Some(match self.peers.as_ref().and_then(|peers| peers.shut(provider)) {
            Some(Shut::Administrator) if administrates() => format!(
                "{provider} is denied by an administrator. “allow {provider}”, said in a chat with me alone, ends that."
            ),
            Some(Shut::Administrator) => format!(
                "{provider} is denied by an administrator of this gateway for now: nobody there can be reached. Ask them."
            ),
            Some(Shut::Settings) => {
                format!(
                    "{provider} is denied by the settings of this gateway ([envelope]). Its operator can permit it."
                )
            }
            None => format!("{provider} is no peer of this gateway. Its operator can add it."),
        })
    }
    fn is_denied(&self, provider: &ProviderDomain) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.shut(provider).is_some())
    }
    fn is_gateway(&self, provider: &ProviderDomain) -> bool {
        self.peers.as_ref().is_some_and(|peers| peers.is_gateway(provider))
    }
    fn is_bridged(&self, user: &UserId) -> bool {
        self.is_bot(user) || is_ghost_pattern(user)
    }
    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId> {
        if user.provider() == self.domain { self.map.matrix_user(user) } else { self.map.ghost(user).ok() }
    }
    fn bot(&self) -> OwnedUserId {
        self.bot.clone()
    }
    fn is_bot(&self, user: &UserId) -> bool {
        self.bot == *user
    }
    fn display(&self, user: &UserUri) -> String {
        display_name(user)
    }
    fn portal_alias(&self, room: &RoomUri) -> String {
        self.map.portal_localpart(room).map(|localpart| localpart.text).unwrap_or_default()
    }
    fn list_all_up_to(&self) -> usize {
        self.list_all_up_to
    }
    fn ghosts_at_once(&self) -> usize {
        self.ghosts_at_once
    }
    fn telling(&self) -> Telling {
        self.telling
    }
    fn not_to_invite(&self, by: &UserUri, provider: Option<&ProviderDomain>) -> Option<String> {
        let (rights, id) = (self.rights.as_ref()?, self.map.matrix_user(by)?);
        rights.check(&id, Act::Invite, provider).err()
    }
    fn refusal(&self, by: &UserUri, command: &Command) -> Option<Refusal> {
        let (rights, id) = (self.rights.as_ref()?, self.map.matrix_user(by)?);
        rights.refusal(&id, command, About::Room)
    }
    fn too_many_invitations(&self, by: &UserUri) -> Option<u32> {
        let (rights, id) = (self.rights.as_ref()?, self.map.matrix_user(by)?);
        rights.take_invitation(&id).err()
    }
    fn allowance(&self, user: &UserUri) -> String {
        let known = self.rights.as_ref().zip(self.map.matrix_user(user));
        known.map(|(rights, id)| rights.words(&id)).unwrap_or_default()
    }
    fn envelope(&self) -> &Envelope {
        &self.envelope
    }
}
