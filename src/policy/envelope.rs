//! What the operator of a provider lets its rooms be, whatever their own policy (draft-ietf-mimi-room-policy-03 leaves that to
//! providers): a hub refuses commits that lead beyond it, a follower does not come into such a room, or leaves it.

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

use super::{
    component,
    features::{HistoryPolicy, LoggingPolicy, Optionality},
    state::RoomState,
};
use crate::ident::{Pattern, ProviderDomain, UserUri};

/// The bounds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "bounds that do not depend on each other")]
pub struct Envelope {
    /// Most participants that are not banned.
    pub max_participants: Option<u32>,
    /// Whether anybody may be able to come in.
    pub open_rooms: bool,
    /// Whether a joining code may let people in.
    pub joining_codes: bool,
    /// Whether newcomers may be given what was said before.
    pub history: bool,
    /// Whether what is said may be recorded by clients that are there for it.
    pub logging: bool,
    /// The providers whose users may be there, if not all.
    pub providers: Option<Vec<Pattern>>,
    /// Providers whose users may not.
    pub deny_providers: Vec<Pattern>,
    /// Media types of files that are not carried.
    pub deny_media_types: Vec<Pattern>,
}

impl Default for Envelope {
    fn default() -> Self {
        Self {
            max_participants: None,
            open_rooms: true,
            joining_codes: true,
            history: true,
            logging: true,
            providers: None,
            deny_providers: Vec::new(),
            deny_media_types: Vec::new(),
        }
    }
}

/// In what a room goes beyond the envelope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excess {
    /// Too many participants: so many, of at most so many.
    Participants(u32, u32),
    /// Anybody may come in.
    Open,
    /// A joining code lets people in.
    Codes,
    /// Newcomers may be given what was said before.
    History,
    /// What is said is recorded.
    Logging,
    /// Users of this provider are there.
    Provider(ProviderDomain),
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Participants(have, most) => write!(f, "{have} participants where {most} are allowed"),
            Self::Open => f.write_str("anybody may come in"),
            Self::Codes => f.write_str("a joining code lets people in"),
            Self::History => f.write_str("newcomers may be given what was said before"),
            Self::Logging => f.write_str("what is said may be recorded"),
            Self::Provider(provider) => write!(f, "users of {provider} take part"),
        }
    }
}

impl Excess {
    /// Whether `before` was this, or more of it.
    fn is_covered_by(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Participants(now, _), Self::Participants(then, _)) => now <= then,
            (now, then) => now == then,
        }
    }
}

impl Envelope {
    /// Whether a room could go beyond it at all.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        let Self { deny_media_types, .. } = Self::default();
        Self { deny_media_types, ..self.clone() } == Self::default()
    }

    /// Whether users of this provider may be there.
    #[must_use]
    pub fn admits(&self, provider: &ProviderDomain) -> bool {
        let is_in = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(provider.as_str()));
        !is_in(&self.deny_providers) && self.providers.as_deref().is_none_or(is_in)
    }

    /// Whether files of this media type are carried.
    #[must_use]
    pub fn takes(&self, media_type: &str) -> bool {
        let media_type = media_type.to_ascii_lowercase();
        !self.deny_media_types.iter().any(|pattern| pattern.matches(&media_type))
    }

    /// In what a room of the provider `own` goes beyond it.
    #[must_use]
    pub fn excesses(&self, state: &RoomState, own: &ProviderDomain) -> Vec<Excess> {
        let mut found = Vec::new();
        let takes_part = |(_, role): &&(UserUri, u32)| !state.is_banned_role(*role);
        let people = state.participants.iter().filter(takes_part);
        let many = u32::try_from(people.clone().count()).unwrap_or(u32::MAX);
        if let Some(most) = self.max_participants.filter(|most| many > *most) {
            found.push(Excess::Participants(many, most));
        }
        if !self.open_rooms && state.is_open() {
            found.push(Excess::Open);
        }
        if !self.joining_codes && state.takes_codes() {
            found.push(Excess::Codes);
        }
        let component = |id: u16| state.other.get(&id);
        // What does not read is not trusted.
        let shares = |bytes: &Vec<u8>| {
            HistoryPolicy::decode(bytes).map_or(true, |policy| policy.history_sharing != Optionality::Forbidden)
        };
        if !self.history && component(component::CHAT_HISTORY_POLICY).is_some_and(shares) {
            found.push(Excess::History);
        }
        let records = |bytes: &Vec<u8>| LoggingPolicy::decode(bytes).map_or(true, |policy| policy.is_active());
        if !self.logging && component(component::LOGGING_POLICY).is_some_and(records) {
            found.push(Excess::Logging);
        }
        if self.providers.is_some() || !self.deny_providers.is_empty() {
            let providers: BTreeSet<ProviderDomain> = people.map(|(user, _)| user.provider()).collect();
            let outside = providers.into_iter().filter(|provider| provider != own && !self.admits(provider));
            found.extend(outside.map(Excess::Provider));
        }
        found
    }

    /// In what the state after a change goes further beyond it than the one before: what is too much already may shrink, and
    /// must not grow.
    #[must_use]
    pub fn newly(&self, before: &RoomState, after: &RoomState, own: &ProviderDomain) -> Option<Excess> {
        let was = self.excesses(before, own);
        self.excesses(after, own).into_iter().find(|now| !was.iter().any(|then| now.is_covered_by(then)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ident::RoomUri,
        policy::{Capability, Preset, initial, role},
    };

    fn own() -> ProviderDomain {
        ProviderDomain::parse("a.example").unwrap()
    }

    fn room(people: &[&str]) -> RoomState {
        let uri = RoomUri::parse("mimi://a.example/r/one").unwrap();
        let people = people.iter().map(|user| (UserUri::parse(&format!("mimi://{user}")).unwrap(), role::MEMBER));
        initial(uri, "", "", people.collect(), Preset::default())
    }

    fn three() -> RoomState {
        room(&["a.example/u/a", "b.example/u/b", "c.example/u/c"])
    }

    fn with(component: u16, bytes: &[u8]) -> RoomState {
        let mut state = three();
        state.other.insert(component, bytes.to_vec());
        state
    }

    #[test]
    fn by_default_nothing_is_beyond_it() {
        let envelope = Envelope::default();
        assert!(envelope.is_unbounded() && envelope.excesses(&three(), &own()).is_empty());
        assert!(!Envelope { history: false, ..Envelope::default() }.is_unbounded());
    }

    #[test]
    fn each_bound_is_looked_at() {
        let envelope = Envelope { max_participants: Some(2), ..Envelope::default() };
        assert_eq!(envelope.excesses(&three(), &own()), [Excess::Participants(3, 2)]);
        let mut banned = three();
        banned.participants[2].1 = role::BANNED;
        assert_eq!(envelope.excesses(&banned, &own()), []);

        let opened = |capability: Capability| {
            let mut state = three();
            state.roles.0[0].capabilities.push(capability.code());
            state
        };
        let envelope = Envelope { open_rooms: false, joining_codes: false, ..Envelope::default() };
        assert_eq!(envelope.excesses(&opened(Capability::OpenJoin), &own()), [Excess::Open]);
        assert_eq!(envelope.excesses(&opened(Capability::UseJoinCode), &own()), [Excess::Codes]);

        let envelope = Envelope { history: false, logging: false, ..Envelope::default() };
        assert_eq!(envelope.excesses(&with(component::CHAT_HISTORY_POLICY, b"?"), &own()), [Excess::History]);
        assert_eq!(envelope.excesses(&with(component::LOGGING_POLICY, b"?"), &own()), [Excess::Logging]);
        let recorded = LoggingPolicy {
            logging: Optionality::Optional,
            logging_clients: vec!["mimi://b.example/d/log/one".to_owned()],
            machine_readable_policy: String::new(),
            human_readable_policy: String::new(),
        };
        let bytes = recorded.encode().unwrap();
        assert_eq!(envelope.excesses(&with(component::LOGGING_POLICY, &bytes), &own()), [Excess::Logging]);
        let bytes = LoggingPolicy { logging_clients: vec![], ..recorded }.encode().unwrap();
        assert_eq!(envelope.excesses(&with(component::LOGGING_POLICY, &bytes), &own()), []);

        let only = |pattern: &str| Some(vec![Pattern::new(pattern)]);
        let envelope = Envelope { providers: only("b.*"), ..Envelope::default() };
        let c = ProviderDomain::parse("c.example").unwrap();
        assert_eq!(envelope.excesses(&three(), &own()), [Excess::Provider(c.clone())]);
        let envelope = Envelope { deny_providers: vec![Pattern::new("c.*")], ..Envelope::default() };
        assert_eq!(envelope.excesses(&three(), &own()), [Excess::Provider(c)]);
        let envelope = Envelope { deny_media_types: vec![Pattern::new("application/*")], ..Envelope::default() };
        assert!(!envelope.takes("Application/zip") && envelope.takes("image/png") && envelope.is_unbounded());
    }

    #[test]
    fn what_is_too_much_may_shrink_and_not_grow() {
        let envelope = Envelope { max_participants: Some(1), ..Envelope::default() };
        let (two, three) = (room(&["a.example/u/a", "b.example/u/b"]), three());
        assert_eq!(envelope.newly(&three, &two, &own()), None);
        assert_eq!(envelope.newly(&two, &two, &own()), None);
        assert_eq!(envelope.newly(&two, &three, &own()), Some(Excess::Participants(3, 1)));
    }
}
