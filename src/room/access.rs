//! The server access list of a hosted Matrix room (`m.room.server_acl`), and providers: who is kept out there by their server's
//! name is kept out of the MIMI room by their provider's. Its participants get the role "banned"; who was put out that way is let
//! in again with the list.

use std::fmt::Write as _;

use ruma::UserId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    effect::StateNow,
    state::{Intent, Phase, Room},
    step::Step,
};
use crate::{
    ident::{ProviderDomain, UserUri},
    policy::role,
};

/// Patterns that are read of each list.
const MOST: usize = 5_000;
/// So many of those who cannot be taken out are named.
const NAMED: usize = 10;
/// What becomes of who is kept out and cannot be taken out.
pub(super) const NOT_SENT: &str = "They stay listed there, and hear nothing more of what is said.";

/// Whom `m.room.server_acl` keeps out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessList {
    allow: Vec<String>,
    deny: Vec<String>,
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut place) = (0, 0);
    // Where the last `*` stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(b'?') => (at, place) = (at + 1, place + 1),
            Some(byte) if Some(byte) == name.get(place) => (at, place) = (at + 1, place + 1),
            _ => match star {
                Some((before, taken)) => {
                    star = Some((before, taken + 1));
                    (at, place) = (before + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

impl AccessList {
    /// Reads the content of the state event. A list that is no list is empty, as the specification has it: without `allow`
    /// nobody may come.
    #[must_use]
    pub fn read(content: &Value) -> Self {
        let list = |key: &str| -> Vec<String> {
            let entries = content.get(key).and_then(Value::as_array).into_iter().flatten();
            entries.filter_map(Value::as_str).take(MOST).map(str::to_ascii_lowercase).collect()
        };
        Self { allow: list("allow"), deny: list("deny") }
    }

    /// Whether it keeps this provider out.
    #[must_use]
    pub fn bars(&self, provider: &ProviderDomain) -> bool {
        let name = provider.as_str().to_ascii_lowercase();
        let in_list = |list: &[String]| list.iter().any(|pattern| fits(pattern, &name));
        in_list(&self.deny) || !in_list(&self.allow)
    }
}

impl Room {
    /// As hub: whether the Matrix room's server access list keeps a provider out. Never our own.
    #[must_use]
    pub fn bars(&self, provider: &ProviderDomain) -> bool {
        *provider != self.uri.hub() && self.access.as_ref().is_some_and(|list| list.bars(provider))
    }
}

impl Step<'_> {
    /// The server access list that stands there now.
    pub(super) fn on_access(&mut self, now: Option<&StateNow>) {
        if !self.is_hub() || self.room.direct || self.room.phase != Phase::Active {
            return;
        }
        let list = now.map(|now| AccessList::read(&now.content));
        if std::mem::replace(&mut self.room.access, list.clone()) == list {
            return;
        }
        // It is a new question whom it takes out.
        self.room.stuck.clear();
        let sender = now.and_then(|now| self.names.uri(&now.sender));
        let first = self.group.local_users().into_iter().next();
        let Some(by) = sender.or(first) else { return };
        let asked: Vec<UserUri> =
            self.room.asking.keys().filter(|user| self.room.bars(&user.provider())).cloned().collect();
        for user in asked {
            self.stop_asking(&user);
        }
        let Some(state) = self.state() else { return };
        let listed = state.participants.iter().filter(|(user, index)| {
            self.room.bars(&user.provider()) && *index != role::BANNED && !state.is_banned_role(*index)
        });
        let out: Vec<UserUri> = listed.map(|(user, _)| user.clone()).collect();
        self.bar(&by, &out, now.map(|now| now.sender.as_ref()));
        let back: Vec<UserUri> =
            self.room.barred.iter().filter(|user| !self.room.bars(&user.provider())).cloned().collect();
        for user in back {
            self.room.barred.remove(&user);
            if !self.room.banned.contains(&user) {
                self.want(Intent::Unban { by: by.clone(), user });
            }
        }
    }

    fn bar(&mut self, by: &UserUri, out: &[UserUri], sender: Option<&UserId>) {
        if out.is_empty() {
            return;
        }
        let mut providers: Vec<String> = out.iter().map(|user| user.provider().to_string()).collect();
        providers.sort_unstable();
        providers.dedup();
        let (out, stuck): (Vec<&UserUri>, Vec<&UserUri>) = out.iter().partition(|user| self.can_put_out(by, user));
        let who = sender.map_or_else(|| "Somebody".to_owned(), ToString::to_string);
        let providers = providers.join(", ");
        let mut text = format!("{who} keeps {providers} out of this room by its server access list");
        if !out.is_empty() {
            let _ = write!(text, ": {} of the MIMI users are removed", out.len());
        }
        text.push('.');
        if !stuck.is_empty() {
            let names: Vec<String> = stuck.iter().take(NAMED).map(|user| self.names.display(user)).collect();
            let more = stuck.len().saturating_sub(NAMED);
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let names = names.join(", ");
            let _ = write!(text, " Nobody here may take out of the MIMI room: {names}{more}. {NOT_SENT}");
        }
        self.notice(&text);
        self.room.barred.extend(stuck.into_iter().cloned());
        for user in out {
            self.room.barred.insert(user.clone());
            self.want(Intent::Ban { by: by.clone(), user: user.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bars(list: &Value, name: &str) -> bool {
        AccessList::read(list).bars(&ProviderDomain::parse(name).unwrap())
    }

    #[test]
    fn patterns_are_those_of_the_specification() {
        for (pattern, name, fit) in [
            ("*", "b.example", true),
            ("b.example", "b.example", true),
            ("b.example", "bb.example", false),
            ("*.example", "b.example", true),
            ("*.example", "example", false),
            ("?.example", "b.example", true),
            ("?.example", "bb.example", false),
            ("*b*e", "a.b.example", true),
            ("**", "b.example", true),
            ("b.example*x", "b.example", false),
            ("", "b.example", false),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_denied_or_not_allowed_is_out() {
        let open = json!({ "allow": ["*"], "deny": ["B.example", "*.evil"] });
        assert!(bars(&open, "b.example") && bars(&open, "x.evil") && !bars(&open, "c.example"));
        assert!(bars(&json!({ "allow": ["c.example"] }), "b.example"));
        assert!(!bars(&json!({ "allow": ["c.example"] }), "c.example"));
        // A list without `allow` lets nobody in.
        assert!(bars(&json!({}), "c.example") && bars(&json!({ "allow": "*" }), "c.example"));
    }
}
