//! Which Matrix ids are ours, and whose MIMI users they stand for.

use std::{fmt, sync::Arc};

use percent_encoding::percent_decode_str;
use ruma::{OwnedRoomAliasId, OwnedServerName, OwnedUserId, RoomAliasId, ServerName, UserId};

use crate::{engine::ports::Actor, ident::UserUri};

/// Longest display name given to a ghost, in characters. Homeservers refuse long ones.
const DISPLAY_NAME_CHARS: usize = 120;

/// The mapping between MIMI users and ghosts. Injective and pure.
pub trait GhostMapping: Send + Sync + 'static {
    /// The ghost that stands for a MIMI user.
    fn ghost(&self, user: &UserUri) -> OwnedUserId;
    /// The MIMI user behind a ghost; `None` for an id that is no ghost, or a hashed one that cannot be reversed.
    fn mimi_user(&self, ghost: &UserId) -> Option<UserUri>;
}

/// The names of this gateway on its homeserver. Cheap to clone.
#[derive(Clone)]
pub struct Names {
    server: OwnedServerName,
    bot: OwnedUserId,
    bot_name: Arc<str>,
    mapping: Arc<dyn GhostMapping>,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("server", &self.server).field("bot", &self.bot).finish_non_exhaustive()
    }
}

impl Names {
    /// The bot is `@sender_localpart:server`; fails if that is no Matrix user id.
    pub fn new(
        server: OwnedServerName,
        sender_localpart: &str,
        bot_name: &str,
        mapping: Arc<dyn GhostMapping>,
    ) -> Result<Self, ruma::IdParseError> {
        let bot = UserId::parse(format!("@{sender_localpart}:{server}"))?;
        Ok(Self { server, bot, bot_name: bot_name.into(), mapping })
    }

    /// The homeserver's name.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The bridge bot's id.
    #[must_use]
    pub fn bot(&self) -> &UserId {
        &self.bot
    }

    /// The id under which an actor acts.
    #[must_use]
    pub fn user_id(&self, actor: &Actor) -> OwnedUserId {
        match actor {
            Actor::Bot => self.bot.clone(),
            Actor::Ghost(user) => self.mapping.ghost(user),
        }
    }

    /// The MIMI user behind a ghost of ours.
    #[must_use]
    pub fn mimi_user(&self, ghost: &UserId) -> Option<UserUri> {
        if ghost.server_name() == self.server { self.mapping.mimi_user(ghost) } else { None }
    }

    /// The full alias for a localpart; `None` if that makes no valid alias.
    #[must_use]
    pub fn alias(&self, localpart: &str) -> Option<OwnedRoomAliasId> {
        RoomAliasId::parse(format!("#{localpart}:{}", self.server)).ok()
    }

    /// What people see as the actor's name: `bob (b.example)` for a ghost.
    #[must_use]
    pub fn display_name(&self, actor: &Actor) -> String {
        match actor {
            Actor::Bot => self.bot_name.to_string(),
            Actor::Ghost(user) => {
                let provider = format!(" ({})", user.provider());
                let room = DISPLAY_NAME_CHARS.saturating_sub(provider.len().min(DISPLAY_NAME_CHARS / 2));
                let mut name: String = percent_decode_str(user.tail())
                    .decode_utf8_lossy()
                    .chars()
                    .filter(|c| !c.is_control() && !is_direction_mark(*c))
                    .take(room)
                    .collect();
                name.push_str(&provider);
                name
            }
        }
    }
}

/// Characters that turn text around: with them a name could look like another provider's.
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Plain;
    impl GhostMapping for Plain {
        fn ghost(&self, user: &UserUri) -> OwnedUserId {
            UserId::parse(format!("@_mimi_{}:a.example", user.tail())).unwrap()
        }
        fn mimi_user(&self, ghost: &UserId) -> Option<UserUri> {
            UserUri::parse(&format!("mimi://b.example/u/{}", ghost.localpart().strip_prefix("_mimi_")?)).ok()
        }
    }

    fn names() -> Names {
        Names::new(ServerName::parse("a.example").unwrap(), "mimi_bot", "MIMI bridge", Arc::new(Plain)).unwrap()
    }

    #[test]
    fn a_ghosts_name_says_who_and_where() {
        let ghost = Actor::Ghost(UserUri::parse("mimi://b.example/u/J%C3%BCrgen").unwrap());
        assert_eq!(names().display_name(&ghost), "Jürgen (b.example)");
        assert_eq!(names().display_name(&Actor::Bot), "MIMI bridge");
    }

    #[test]
    fn control_and_direction_characters_never_reach_a_name() {
        let ghost = Actor::Ghost(UserUri::parse("mimi://b.example/u/a%0A%E2%80%AEb").unwrap());
        assert_eq!(names().display_name(&ghost), "ab (b.example)");
    }

    #[test]
    fn a_long_name_is_cut_before_the_provider() {
        let ghost = Actor::Ghost(UserUri::parse(&format!("mimi://b.example/u/{}", "x".repeat(900))).unwrap());
        let name = names().display_name(&ghost);
        assert!(name.chars().count() <= DISPLAY_NAME_CHARS, "{name}");
        assert!(name.ends_with(" (b.example)"));
    }

    #[test]
    fn only_our_own_server_has_our_ghosts() {
        assert!(names().mimi_user(&UserId::parse("@_mimi_bob:a.example").unwrap()).is_some());
        assert!(names().mimi_user(&UserId::parse("@_mimi_bob:c.example").unwrap()).is_none());
    }
}
