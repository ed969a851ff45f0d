//! The state of a new room that this gateway hosts.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::{
    capability::Capability,
    component,
    components::{BaseRoomPolicy, Role, RoleChanges, RoleList, RoomMetadata},
    examples, role,
    state::RoomState,
};
use crate::ident::{RoomUri, UserUri};

/// What kind of room to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// A room that people join and leave.
    Group {
        /// Ordinary participants may add others (Matrix: the power level to invite is 0).
        members_may_add: bool,
    },
    /// A direct chat: its participants never change.
    Direct,
    /// The draft's cooperatively administered room (A.1); its users have role 2, its admins 3 and 4.
    Cooperative,
    /// The draft's strictly administered room (A.2); roles as in the first.
    Strict,
    /// The draft's moderated room (A.3): 2 guest, 3 attendee, 4 speaker, 5 moderator, 6 admin.
    Moderated,
    /// The draft's room of several organisations (A.4): 2 to 4 users, 5 to 7 admins of A, B and C; 8 admin.
    MultiOrganization,
    /// Anybody comes in and listens: 2 audience, 3 moderator, 4 admin, 5 speaker.
    Auditorium,
}

/// A word that names no preset. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of room; there are {all}", all = Preset::NAMED.map(|(name, _)| name).join(", "))]
pub struct UnknownPreset(pub String);

impl Preset {
    /// Those that a provider with rooms of its own offers by name: the draft's examples, and the auditorium.
    pub const NAMED: [(&'static str, Self); 5] = [
        ("cooperative", Self::Cooperative),
        ("strict", Self::Strict),
        ("moderated", Self::Moderated),
        ("multi-organization", Self::MultiOrganization),
        ("auditorium", Self::Auditorium),
    ];

    /// The role of whoever makes such a room: the highest one that has a client.
    #[must_use]
    pub fn role_of_creator(self) -> u32 {
        match self {
            Self::Direct => role::MEMBER,
            Self::Group { .. } | Self::Cooperative | Self::Strict | Self::Auditorium => role::ADMIN,
            Self::Moderated => 6,
            Self::MultiOrganization => 8,
        }
    }

    /// Whether anybody may come in.
    #[must_use]
    pub fn is_open(self) -> bool {
        self == Self::Auditorium
    }
}

impl FromStr for Preset {
    type Err = UnknownPreset;

    fn from_str(word: &str) -> Result<Self, UnknownPreset> {
        let found = Self::NAMED.into_iter().find(|(name, _)| *name == word);
        found.map(|(_, preset)| preset).ok_or_else(|| UnknownPreset(word.to_owned()))
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().find(|(_, preset)| preset == self);
        f.write_str(match self {
            Self::Direct => "direct",
            _ => named.map_or("group", |(name, _)| name),
        })
    }
}

impl Default for Preset {
    fn default() -> Self {
        Self::Group { members_may_add: true }
    }
}

/// The state of a new room. Roles of `participants` are those of [`role`] or of the preset; in a direct chat everybody is a
/// member whatever is said. Name and topic are cut to what the component can hold.
#[must_use]
pub fn initial(
    room_uri: RoomUri,
    name: &str,
    topic: &str,
    participants: Vec<(UserUri, u32)>,
    preset: Preset,
) -> RoomState {
    let direct = preset == Preset::Direct;
    let participants =
        if direct { participants.into_iter().map(|(user, _)| (user, role::MEMBER)).collect() } else { participants };
    RoomState {
        participants,
        metadata: RoomMetadata {
            room_uri,
            name: RoomMetadata::fit(name),
            descriptions: vec![],
            avatar: String::new(),
            subject: RoomMetadata::fit(topic),
            mood: String::new(),
        },
        roles: match preset {
            Preset::Direct => direct_roles(),
            Preset::Group { members_may_add } => group_roles(members_may_add),
            Preset::Cooperative => examples::cooperative(),
            Preset::Strict => examples::strict(),
            Preset::Moderated => examples::moderated(),
            Preset::MultiOrganization => examples::multi_organization(),
            Preset::Auditorium => examples::auditorium(),
        },
        base_policy: BaseRoomPolicy {
            fixed_membership: direct,
            parent_dependent: false,
            parent_room: vec![],
            multi_device: true,
            max_clients: None,
            max_users: None,
            pseudonyms_allowed: false,
            // With the last client gone a direct chat is over: so there is never a second one of the same participants.
            persistent_room: !direct,
            discoverable: preset == Preset::Auditorium,
            policy_components: vec![component::ROLES_LIST],
        },
        other: BTreeMap::new(),
    }
}

/// What every participant may do.
pub(super) const TALK: &[Capability] = &[
    Capability::AddOwnClient,
    Capability::RemoveOwnClient,
    Capability::SendMessage,
    Capability::ReceiveMessage,
    Capability::CopyMessage,
    Capability::ReportAbuse,
    Capability::ReplyToMessage,
    Capability::ReactToMessage,
    Capability::EditReaction,
    Capability::DeleteOwnReaction,
    Capability::EditOwnMessage,
    Capability::DeleteOwnMessage,
    Capability::StartTopic,
    Capability::ReplyInTopic,
    Capability::EditOwnTopic,
    Capability::UploadImage,
    Capability::UploadAudio,
    Capability::UploadVideo,
    Capability::UploadAttachment,
    Capability::DownloadImage,
    Capability::DownloadAudio,
    Capability::DownloadVideo,
    Capability::DownloadAttachment,
    Capability::SendLink,
    Capability::SendLinkPreview,
    Capability::FollowLink,
    Capability::CopyLink,
];
const ADD: &[Capability] = &[Capability::AddParticipant];
pub(super) const LEAVE: &[Capability] = &[Capability::RemoveSelf];
pub(super) const METADATA: &[Capability] = &[
    Capability::ChangeRoomName,
    Capability::ChangeRoomDescription,
    Capability::ChangeRoomAvatar,
    Capability::ChangeRoomSubject,
    Capability::ChangeRoomMood,
];
pub(super) const MODERATE: &[Capability] = &[
    Capability::RemoveParticipant,
    Capability::Kick,
    Capability::Ban,
    Capability::Unban,
    Capability::DeleteOtherMessage,
    Capability::DeleteOtherReaction,
    Capability::ChangeUserRole,
];
const ADMINISTER: &[Capability] = &[
    Capability::ChangeRoomMembershipStyle,
    Capability::ChangeRoleDefinitions,
    Capability::ChangePreauthorizedUserList,
    Capability::DestroyRoom,
    Capability::SendMlsReinitProposal,
];

pub(super) fn role_of(index: u32, name: &str, capabilities: &[&[Capability]], changes: &[(u32, &[u32])]) -> Role {
    let mut capabilities: Vec<u16> = capabilities.iter().copied().flatten().map(|c| c.code()).collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    Role {
        index,
        name: name.to_owned(),
        description: String::new(),
        capabilities,
        min_participants: 0,
        max_participants: None,
        min_active: 0,
        max_active: (index <= role::BANNED).then_some(0),
        changes: changes.iter().map(|(from, to)| RoleChanges { from: *from, to: to.to_vec() }).collect(),
    }
}

/// The roles' indices stay the same in every room, so that they can be compared. A moderator may bring moderators to 0:
/// without that entry it could not leave, since leaving and removing share it.
fn group_roles(members_may_add: bool) -> RoleList {
    let capabilities: &[&[Capability]] = if members_may_add { &[TALK, LEAVE, ADD] } else { &[TALK, LEAVE] };
    let changes: &[(u32, &[u32])] = if members_may_add { &[(0, &[2]), (2, &[0])] } else { &[(2, &[0])] };
    RoleList(vec![
        role_of(role::NONE, "no_role", &[], &[]),
        role_of(role::BANNED, "banned", &[], &[]),
        role_of(role::MEMBER, "member", capabilities, changes),
        role_of(
            role::MODERATOR,
            "moderator",
            &[TALK, LEAVE, ADD, METADATA, MODERATE],
            &[(0, &[1, 2, 3]), (1, &[0, 2, 3]), (2, &[0, 1, 3]), (3, &[0])],
        ),
        role_of(
            role::ADMIN,
            "admin",
            &[TALK, LEAVE, ADD, METADATA, MODERATE, ADMINISTER],
            &[(0, &[1, 2, 3, 4]), (1, &[0, 2, 3, 4]), (2, &[0, 1, 3, 4]), (3, &[0, 1, 2, 4]), (4, &[0, 1, 2, 3])],
        ),
    ])
}

fn direct_roles() -> RoleList {
    RoleList(vec![role_of(role::NONE, "no_role", &[], &[]), role_of(role::MEMBER, "member", &[TALK, METADATA], &[])])
}
