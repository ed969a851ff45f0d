//! Which Matrix ids the gateway acts under.

use std::sync::Arc;

use ruma::{OwnedRoomAliasId, OwnedUserId, RoomAliasId, ServerName, UserId};

use crate::{
    engine::ports::Actor,
    ident::{GHOST_PREFIX, IdentityMap, MappingError, display_name},
};

/// The names of this gateway on its homeserver. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Names {
    map: Arc<IdentityMap>,
    bot: OwnedUserId,
    bot_name: Arc<str>,
}

impl Names {
    /// The bot is `@sender_localpart:server`; fails if that is no Matrix user id.
    pub fn new(map: Arc<IdentityMap>, sender_localpart: &str, bot_name: &str) -> Result<Self, ruma::IdParseError> {
        let bot = UserId::parse(format!("@{sender_localpart}:{}", map.server_name()))?;
        Ok(Self { map, bot, bot_name: bot_name.into() })
    }

    /// The mapping between Matrix and MIMI identifiers.
    #[must_use]
    pub fn map(&self) -> &IdentityMap {
        &self.map
    }

    /// The homeserver's name.
    #[must_use]
    pub fn server(&self) -> &ServerName {
        self.map.server_name()
    }

    /// The bridge bot's id.
    #[must_use]
    pub fn bot(&self) -> &UserId {
        &self.bot
    }

    /// The id under which an actor acts. Permanent error: the actor is no other provider's user.
    pub fn user_id(&self, actor: &Actor) -> Result<OwnedUserId, MappingError> {
        match actor {
            Actor::Bot => Ok(self.bot.clone()),
            Actor::Ghost(user) => self.map.ghost(user),
        }
    }

    /// As [`Names::user_id`]; for an actor that cannot be, the id of a ghost of nobody, which is in no room.
    #[must_use]
    pub fn user_id_or_nobody(&self, actor: &Actor) -> OwnedUserId {
        self.user_id(actor).unwrap_or_else(|error| {
            tracing::error!(?actor, %error, "an actor without a ghost");
            let nobody = UserId::parse(format!("@{GHOST_PREFIX}:{}", self.server()));
            nobody.unwrap_or_else(|_| self.bot.clone())
        })
    }

    /// The full alias for a localpart; `None` if that makes no valid alias.
    #[must_use]
    pub fn alias(&self, localpart: &str) -> Option<OwnedRoomAliasId> {
        RoomAliasId::parse(format!("#{localpart}:{}", self.server())).ok()
    }

    /// What people see as the actor's name.
    #[must_use]
    pub fn display_name(&self, actor: &Actor) -> String {
        match actor {
            Actor::Bot => self.bot_name.to_string(),
            Actor::Ghost(user) => display_name(user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::{ProviderDomain, UserUri};

    fn names() -> Names {
        let map =
            IdentityMap::new(ProviderDomain::parse("mimi.a.example").unwrap(), ServerName::parse("a.example").unwrap());
        Names::new(Arc::new(map), "mimi_bot", "MIMI bridge").unwrap()
    }

    #[test]
    fn bot_and_ghosts_have_their_ids_and_names() {
        let ghost = Actor::Ghost(UserUri::parse("mimi://b.example/u/bob").unwrap());
        assert_eq!(names().user_id(&ghost).unwrap(), "@_mimi_b.example=2fbob:a.example");
        assert_eq!(names().display_name(&ghost), "bob (b.example)");
        assert_eq!(names().user_id(&Actor::Bot).unwrap(), "@mimi_bot:a.example");
        assert_eq!(names().display_name(&Actor::Bot), "MIMI bridge");
        assert_eq!(names().alias("_mimi_x").unwrap(), "#_mimi_x:a.example");
    }

    #[test]
    fn our_own_users_have_no_ghost_and_nobody_acts_in_their_place() {
        let own = Actor::Ghost(UserUri::parse("mimi://mimi.a.example/u/alice").unwrap());
        assert!(names().user_id(&own).is_err());
        let nobody = names().user_id_or_nobody(&own);
        assert_ne!(nobody, names().bot());
        assert_eq!(names().map().ghost_of(&nobody), None);
    }
}
