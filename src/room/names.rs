//! How the two worlds name each other.

use ruma::{OwnedUserId, UserId};

use super::{Refusal, command::Command, telling::Telling};
use crate::{
    ident::{ProviderDomain, UserUri},
    policy::Envelope,
};

/// What rooms may be where nothing is said.
static UNBOUNDED: std::sync::LazyLock<Envelope> = std::sync::LazyLock::new(Envelope::default);

/// How the two worlds name each other; made once from the settings.
pub trait Names: Send + Sync {
    /// Our domain.
    fn domain(&self) -> &ProviderDomain;
    /// The MIMI user that a Matrix user is. `None` for our ghosts and the bot.
    fn uri(&self, user: &UserId) -> Option<UserUri>;
    /// The remote MIMI user behind one of our ghosts. `None` for anybody else.
    fn ghost_uri(&self, user: &UserId) -> Option<UserUri>;
    /// Whether this is an id among those of our ghosts that stands for no remote user (as far as one can read it).
    fn is_stray(&self, user: &UserId) -> bool;
    /// Whether somebody of this provider can be asked.
    fn is_peer(&self, provider: &ProviderDomain) -> bool;
    /// Why nobody of this provider can be asked, in a sentence for this user of ours; `None`: they can be.
    fn not_reached(&self, provider: &ProviderDomain, _by: Option<&UserUri>) -> Option<String> {
        (!self.is_peer(provider)).then(|| format!("{provider} is no peer of this gateway. Its operator can add it."))
    }
    /// Whether what goes to this provider waits until it is no longer denied.
    fn is_denied(&self, _provider: &ProviderDomain) -> bool {
        false
    }
    /// Whether this provider is a gateway to Matrix by our settings.
    fn is_gateway(&self, _provider: &ProviderDomain) -> bool {
        false
    }
    /// Whether this is a ghost of any gateway, or our bot: its events are never carried.
    fn is_bridged(&self, user: &UserId) -> bool;
    /// The Matrix user that a MIMI user is: one of ours, or a ghost.
    fn matrix_id(&self, user: &UserUri) -> Option<OwnedUserId>;
    /// The bridge bot.
    fn bot(&self) -> OwnedUserId;
    /// Whether this is the bridge bot.
    fn is_bot(&self, user: &UserId) -> bool;
    /// How people read a remote user's name.
    fn display(&self, user: &UserUri) -> String;
    /// Localpart of the alias of the portal of this room.
    fn portal_alias(&self, room: &crate::ident::RoomUri) -> String;
    /// Why this user of ours may not ask users of this provider, or of any if none is named, into rooms: in words for them.
    fn not_to_invite(&self, _by: &UserUri, _provider: Option<&ProviderDomain>) -> Option<String> {
        None
    }
    /// Why this user of ours may not have this done in a room, by the rules of the gateway.
    fn refusal(&self, _by: &UserUri, _command: &Command) -> Option<Refusal> {
        None
    }
    /// Counts an invitation of this user of ours; the seconds until there may be one, if there were too many.
    fn too_many_invitations(&self, _by: &UserUri) -> Option<u32> {
        None
    }
    /// What this user of ours may do with the gateway, in a sentence; empty if that is not told.
    fn allowance(&self, _user: &UserUri) -> String {
        String::new()
    }
    /// What rooms may be, whatever their own policy.
    fn envelope(&self) -> &Envelope {
        &UNBOUNDED
    }
    /// Up to how many Matrix members all are listed as participants; above it only those who act.
    fn list_all_up_to(&self) -> usize;
    /// Up to how many ghosts come into a Matrix room at once; if more are missing, they come bit by bit.
    fn ghosts_at_once(&self) -> usize {
        50
    }
    /// What people are told of what becomes of their messages.
    fn telling(&self) -> Telling {
        Telling::default()
    }
}
