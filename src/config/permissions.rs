//! `[permissions]`: who may do what with the gateway, and how much of it.

use std::{collections::BTreeMap, fmt};

use ruma::{OwnedRoomId, ServerName};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value},
};

use super::error::ConfigError;
use crate::{
    engine::rights::{Act, Limits, Rights, Rule, Who},
    ident::Pattern,
};

/// A Matrix user id in which `*` stands for any text: `@*:matrix.example`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserPattern(Who);

impl TryFrom<String> for UserPattern {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match Who::read(&text).filter(|_| text.starts_with('@')) {
            Some(who) => Ok(Self(who)),
            None => Err(
                "must be a Matrix user id, in which * stands for any text: \"@alice:matrix.example\" or \"@*:matrix.example\"",
            ),
        }
    }
}

impl fmt::Debug for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a rule permits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleTable {
    /// What they may do; nothing: they are not shown what other providers' users ask, either.
    pub may: Vec<Act>,
    /// The providers with whose users they may have to do. Default: all peers.
    #[serde(default)]
    pub peers: Option<Vec<Pattern>>,
    /// Rooms that each of them may have. Default: `max_rooms_per_user`.
    #[serde(default)]
    pub max_rooms: Option<u32>,
    /// Invitations of each of them. Default: `max_invitations_per_user_per_hour`.
    #[serde(default)]
    pub max_invitations_per_hour: Option<u32>,
}

/// A rule: what may be done, as a list, or a table with more about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleConfig(pub RuleTable);

impl<'de> Deserialize<'de> for RuleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RuleTable;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list such as [\"invite\", \"follow\"], or a table with `may`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<RuleTable, A::Error> {
                let may = Vec::deserialize(value::SeqAccessDeserializer::new(list))?;
                Ok(RuleTable { may, ..RuleTable::default() })
            }
            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RuleTable, A::Error> {
                RuleTable::deserialize(value::MapAccessDeserializer::new(table))
            }
        }
        deserializer.deserialize_any(Either).map(Self)
    }
}

/// Who may do what with the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermissionsConfig {
    /// Who may do what is ordinary. Default: every user of the own homeserver.
    pub users: Option<Vec<UserPattern>>,
    /// Who may do everything. Default: nobody.
    pub admins: Vec<UserPattern>,
    /// More about some of them: a user id, a server's name, or a pattern of either.
    pub rules: BTreeMap<String, RuleConfig>,
    /// Rooms that one user may have mirrored, begun or joined at one time.
    pub max_rooms_per_user: u32,
    /// Invitations that one user may make within an hour.
    pub max_invitations_per_user_per_hour: u32,
    /// Look-ups of users of other providers by clients of the homeserver, within a minute. Zero: none.
    pub max_lookups_per_minute: u32,
    /// The Matrix room in which reports of abuse appear. Default: none, they are only listed.
    pub admin_room: Option<OwnedRoomId>,
}

impl Default for PermissionsConfig {
    fn default() -> Self {
        Self {
            users: None,
            admins: Vec::new(),
            rules: BTreeMap::new(),
            max_rooms_per_user: 500,
            max_invitations_per_user_per_hour: 200,
            max_lookups_per_minute: 60,
            admin_room: None,
        }
    }
}

impl PermissionsConfig {
    /// What the gateway goes by.
    #[must_use]
    pub fn rights(&self, own_server: &ServerName) -> Rights {
        let limits = Limits { rooms: self.max_rooms_per_user, invitations: self.max_invitations_per_user_per_hour };
        // Of two rules about the same the first one counts.
        let mut rules: Vec<Rule> = self
            .rules
            .iter()
            .filter_map(|(who, RuleConfig(table))| {
                Some(Rule {
                    who: Who::read(who)?,
                    may: table.may.iter().copied().collect(),
                    peers: table.peers.clone(),
                    rooms: table.max_rooms,
                    invitations: table.max_invitations_per_hour,
                })
            })
            .collect();
        rules.extend(self.admins.iter().map(|UserPattern(who)| Rule::new(who.clone(), [Act::Admin])));
        match &self.users {
            Some(users) => {
                rules.extend(users.iter().map(|UserPattern(who)| Rule::new(who.clone(), Act::ORDINARY)));
                rules.push(Rights::everybody());
            }
            None => rules.extend(Rights::usual(own_server)),
        }
        Rights::new(rules, limits)
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if self.users.as_ref().is_some_and(Vec::is_empty) {
            faults.push(ConfigError::invalid(
                "permissions.users",
                "is empty, so that nobody could use the bot; name somebody or remove the key",
            ));
        }
        for who in self.rules.keys() {
            let key = format!("permissions.rules.{who}");
            match Who::read(who) {
                None => faults.push(ConfigError::invalid(
                    &key,
                    "is about nobody: a rule is named by \"*\", a server's name, or a Matrix user id; * stands for any text",
                )),
                Some(same) => {
                    let twice = |list: &[UserPattern]| list.iter().any(|UserPattern(other)| *other == same);
                    let other = if twice(&self.admins) {
                        Some("admins")
                    } else if twice(self.users.as_deref().unwrap_or_default()) {
                        Some("users")
                    } else {
                        None
                    };
                    if let Some(other) = other {
                        let why = format!("is in `permissions.{other}`, too; keep one of the two");
                        faults.push(ConfigError::invalid(&key, why));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    fn read(text: &str) -> PermissionsConfig {
        toml::from_str(text).unwrap()
    }

    fn may(config: &PermissionsConfig, user: &str, act: Act) -> bool {
        config.rights(server_name!("a.example")).may(&ruma::UserId::parse(user).unwrap(), act)
    }

    #[test]
    fn without_settings_local_users_are_obeyed_and_others_are_not() {
        let config = PermissionsConfig::default();
        assert!(may(&config, "@alice:a.example", Act::Bridge) && may(&config, "@alice:a.example", Act::Follow));
        assert!(!may(&config, "@alice:a.example", Act::Admin) && !may(&config, "@alice:b.example", Act::Bridge));
    }

    #[test]
    fn users_and_admins_replace_the_default() {
        let config = read("users = ['@*-staff:a.example']\nadmins = ['@ops:a.example']");
        assert!(may(&config, "@bob-staff:a.example", Act::Bridge) && !may(&config, "@bob:a.example", Act::Bridge));
        assert!(may(&config, "@ops:a.example", Act::Admin) && !may(&config, "@bob-staff:a.example", Act::Admin));
        // In a room that is mirrored whoever may invite may invite.
        assert!(may(&config, "@bob:a.example", Act::Invite));
        assert!(
            UserPattern::try_from("*".to_owned()).is_err() && UserPattern::try_from("a.example".to_owned()).is_err()
        );
    }

    #[test]
    fn rules_go_over_the_default() {
        let config = read(
            "[rules]\n'*' = []\n'a.example' = ['invite']\n'@vip:a.example' = { may = ['bridge', 'chat'], peers = ['b.example'], max_rooms = 3 }",
        );
        assert!(!may(&config, "@x:c.example", Act::Invite));
        assert!(may(&config, "@x:a.example", Act::Invite) && !may(&config, "@x:a.example", Act::Bridge));
        let rights = config.rights(server_name!("a.example"));
        let vip = user_id!("@vip:a.example");
        assert_eq!((rights.rooms(vip), rights.rooms(user_id!("@x:a.example"))), (3, 500));
        let domain = |name| crate::ident::ProviderDomain::parse(name).unwrap();
        assert!(rights.may_meet(vip, &domain("b.example")) && !rights.may_meet(vip, &domain("c.example")));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let faults = |text: &str| {
            let mut faults = Vec::new();
            read(text).validate(&mut faults);
            faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(faults("[rules]\n'a.example' = ['invite']"), "");
        assert!(faults("users = []").contains("nobody could use the bot"));
        assert!(faults("[rules]\n'alice at home' = []").contains("is about nobody"));
        assert!(
            faults("admins = ['@o:a.example']\n[rules]\n'@o:a.example' = []").contains("in `permissions.admins`, too")
        );
        for wrong in ["[rules]\n'*' = ['dance']", "[rules]\n'*' = 3", "[rules]\n'*' = { peers = [] }", "admins = ['x']"]
        {
            assert!(toml::from_str::<PermissionsConfig>(wrong).is_err(), "{wrong}");
        }
    }
}
