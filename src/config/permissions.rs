//! `[permissions]`: who may give the bot orders.

use std::fmt;

use ruma::{OwnedRoomId, ServerName, UserId};
use serde::Deserialize;

use super::error::ConfigError;

/// A Matrix user id in which `*` stands for any text: `@*:matrix.example`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct UserPattern(String);

impl UserPattern {
    /// Whether the pattern covers this user.
    #[must_use]
    pub fn matches(&self, user: &UserId) -> bool {
        wildcard(&self.0, user.as_str())
    }
}

/// Matches `text` against `pattern`, in which `*` stands for any text. Takes time linear in `text` for each `*`.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|head| text.strip_prefix(head)) else { return false };
    let Some(mut part) = parts.next() else { return rest.is_empty() };
    // Each middle part is taken at its first place; the last one has to end the text.
    for next in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
        part = next;
    }
    rest.ends_with(part)
}

impl TryFrom<String> for UserPattern {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.starts_with('@') && text.contains(':') {
            Ok(Self(text))
        } else {
            Err(
                "must be a Matrix user id, in which * stands for any text: \"@alice:matrix.example\" or \"@*:matrix.example\"",
            )
        }
    }
}

impl fmt::Debug for UserPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Who may give the bot orders.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PermissionsConfig {
    /// Whom the bot obeys. Default: every user of the own homeserver.
    pub users: Option<Vec<UserPattern>>,
    /// The Matrix room in which reports of abuse appear. Default: none, they are only listed.
    pub admin_room: Option<OwnedRoomId>,
}

impl PermissionsConfig {
    /// Whether the bot obeys this user.
    #[must_use]
    pub fn may_use_bot(&self, user: &UserId, own_server: &ServerName) -> bool {
        match &self.users {
            Some(patterns) => patterns.iter().any(|pattern| pattern.matches(user)),
            None => user.server_name() == own_server,
        }
    }

    pub(super) fn validate(&self, faults: &mut Vec<ConfigError>) {
        if self.users.as_ref().is_some_and(Vec::is_empty) {
            faults.push(ConfigError::invalid(
                "permissions.users",
                "is empty, so that nobody could use the bot; name somebody or remove the key",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{server_name, user_id};

    use super::*;

    #[test]
    fn patterns_match_whole_ids() {
        for (pattern, text, matches) in [
            ("@*:a.example", "@alice:a.example", true),
            ("@*:a.example", "@alice:a.example.evil", false),
            ("@*:a.example", "@alice:evil.a.example", false),
            ("@alice:a.example", "@alice:a.example", true),
            ("@alice:a.example", "@alice:a.example2", false),
            ("@ops-*:*", "@ops-1:b.example", true),
            ("@ops-*:*", "@dev-1:b.example", false),
            ("@a*a:x", "@a:x", false),
            ("@*a*b*:x", "@zazbz:x", true),
            ("@*a*b*:x", "@zbza:x", false),
        ] {
            assert_eq!(wildcard(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn without_patterns_local_users_are_obeyed_and_others_are_not() {
        let config = PermissionsConfig::default();
        assert!(config.may_use_bot(user_id!("@alice:a.example"), server_name!("a.example")));
        assert!(!config.may_use_bot(user_id!("@alice:b.example"), server_name!("a.example")));
    }

    #[test]
    fn patterns_replace_the_default() {
        let config = PermissionsConfig {
            users: Some(vec![UserPattern::try_from("@ops:a.example".to_owned()).unwrap()]),
            ..PermissionsConfig::default()
        };
        assert!(config.may_use_bot(user_id!("@ops:a.example"), server_name!("a.example")));
        assert!(!config.may_use_bot(user_id!("@alice:a.example"), server_name!("a.example")));
        assert!(UserPattern::try_from("*".to_owned()).is_err());
    }
}
