//! What the operator of a provider lets its rooms be, whatever their own policy (draft-ietf-mimi-room-policy-03 leaves that to
//! providers): a hub refuses commits that lead beyond it, a follower does not come into such a room, or leaves it.

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

use super::{
    assets::AssetPolicy,
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
    /// Largest file that a room's asset policy may take, in bytes; larger ones are not carried.
    pub max_asset_bytes: Option<u64>,
    /// Hosts besides the own provider's on which assets of rooms may lie, if not all; from others nothing is fetched.
    pub asset_hosts: Option<Vec<Pattern>>,
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
            max_asset_bytes: None,
            asset_hosts: None,
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
    /// Files of so many bytes are taken, where so many are allowed.
    AssetBytes(u64, u64),
    /// Assets are to lie on this host.
    AssetHost(ProviderDomain),
    /// What it says of assets does not read.
    Assets,
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
            Self::AssetBytes(have, most) => write!(f, "files of {have} bytes are taken where {most} are allowed"),
            Self::AssetHost(host) => write!(f, "files are to lie on {host}"),
            Self::Assets => f.write_str("what it says of files cannot be read"),
        }
    }
}

impl Excess {
    /// Whether `before` was this, or more of it.
    fn is_covered_by(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Participants(now, _), Self::Participants(then, _)) => now <= then,
            (Self::AssetBytes(now, _), Self::AssetBytes(then, _)) => now <= then,
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

    /// The most participants that there may be, if these are more.
    #[must_use]
    pub fn exceeded_by(&self, participants: usize) -> Option<u32> {
        self.max_participants.filter(|most| u32::try_from(participants).unwrap_or(u32::MAX) > *most)
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

    /// Whether assets may lie on this host. `own`: the own provider.
    #[must_use]
    pub fn takes_from(&self, host: &ProviderDomain, own: &ProviderDomain) -> bool {
        let below = host.as_str().strip_suffix(own.as_str());
        let is_own = below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        let named = |patterns: &Vec<Pattern>| patterns.iter().any(|pattern| pattern.matches(host.as_str()));
        is_own || self.asset_hosts.as_ref().is_none_or(named)
    }

    /// In what a room's asset policy goes beyond it.
    fn asset_excesses(&self, bytes: &[u8], own: &ProviderDomain) -> Vec<Excess> {
        if self.max_asset_bytes.is_none() && self.asset_hosts.is_none() {
            return Vec::new();
        }
        let Ok(policy) = AssetPolicy::decode(bytes) else { return vec![Excess::Assets] };
        let AssetPolicy { max_image, max_audio, max_video, max_attachment, upload_domains, .. } = policy;
        let largest = max_image.max(max_audio).max(max_video).max(max_attachment);
        let most = self.max_asset_bytes.filter(|most| largest > *most);
        let mut found: Vec<Excess> = most.map(|most| Excess::AssetBytes(largest, most)).into_iter().collect();
        let hosts = upload_domains.into_iter().flat_map(|domains| domains.asset_upload_destinations);
        let outside: BTreeSet<ProviderDomain> = hosts.filter(|host| !self.takes_from(host, own)).collect();
        found.extend(outside.into_iter().map(Excess::AssetHost));
        found
    }

    /// In what a room of the provider `own` goes beyond it.
    #[must_use]
    pub fn excesses(&self, state: &RoomState, own: &ProviderDomain) -> Vec<Excess> {
        let mut found = Vec::new();
        let takes_part = |(_, role): &&(UserUri, u32)| !state.is_banned_role(*role);
        let people = state.participants.iter().filter(takes_part);
        let many = people.clone().count();
        if let Some(most) = self.exceeded_by(many) {
            found.push(Excess::Participants(u32::try_from(many).unwrap_or(u32::MAX), most));
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
        found.extend(component(component::ASSET_POLICY).into_iter().flat_map(|bytes| self.asset_excesses(bytes, own)));
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
        policy::{
            AssetUploadLocation, Capability, DownloadPrivacy, DownloadPrivacyType, Preset, ProviderAssetUploadDomains,
            initial, role,
        },
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
    fn files_of_a_room_are_bounded_in_size_and_place() {
        let policy = |max_video: u64, hosts: &[&str]| AssetPolicy {
            asset_upload_location: AssetUploadLocation::LocalProvider,
            upload_domains: vec![ProviderAssetUploadDomains {
                provider: ProviderDomain::parse("b.example").unwrap(),
                asset_upload_destinations: hosts.iter().map(|host| ProviderDomain::parse(host).unwrap()).collect(),
            }],
            download_privacy: DownloadPrivacy {
                allowed_download_types: vec![],
                forbidden_download_types: vec![],
                default_download_type: DownloadPrivacyType::HubProxy,
            },
            max_image: 10,
            max_audio: 10,
            max_video,
            max_attachment: 10,
            forbidden_media_types: vec![],
            permitted_media_types: None,
        };
        let room = |policy: AssetPolicy| with(component::ASSET_POLICY, &policy.encode().unwrap());
        let envelope = Envelope { max_asset_bytes: Some(100), ..Envelope::default() };
        assert!(!envelope.is_unbounded());
        assert_eq!(envelope.excesses(&room(policy(100, &["x.example"])), &own()), []);
        let beyond = room(policy(101, &[]));
        assert_eq!(envelope.excesses(&beyond, &own()), [Excess::AssetBytes(101, 100)]);
        assert_eq!(envelope.newly(&beyond, &room(policy(101, &["x.example"])), &own()), None, "it grew no more");
        assert_eq!(envelope.newly(&beyond, &room(policy(102, &[])), &own()), Some(Excess::AssetBytes(102, 100)));

        let envelope = Envelope { asset_hosts: Some(vec![Pattern::new("*.b.example")]), ..Envelope::default() };
        assert_eq!(envelope.excesses(&room(policy(1 << 40, &["cdn.b.example", "files.a.example"])), &own()), []);
        let host = ProviderDomain::parse("b.example.evil.example").unwrap();
        assert_eq!(envelope.excesses(&room(policy(1, &[host.as_str()])), &own()), [Excess::AssetHost(host.clone())]);
        assert!(envelope.takes_from(&own(), &own()) && !envelope.takes_from(&host, &own()));
        let alike = ProviderDomain::parse("not-a.example").unwrap();
        assert!(!envelope.takes_from(&alike, &own()));
        // What does not read is not trusted; rooms that say nothing of files are bound file by file.
        assert_eq!(envelope.excesses(&with(component::ASSET_POLICY, b"?"), &own()), [Excess::Assets]);
        assert_eq!(envelope.excesses(&three(), &own()), []);
        assert_eq!(Envelope::default().excesses(&with(component::ASSET_POLICY, b"?"), &own()), []);
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
