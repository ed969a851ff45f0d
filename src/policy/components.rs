//! The components' wire formats: participant list (0x0022), room metadata (0x0023), roles (0x0025), base room policy (0x0027).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    bytes::{CodecError, Read, Result, all, list, optional_u32, refused, written},
    capability::Capability,
    json, role,
};
use crate::{
    ident::{MimiUri, RoomUri, UserUri},
    wire::codec::{Reader, Writer},
};

/// Most entries of a participant list. Local policy: the list is part of every epoch's `GroupContext`.
pub const MAX_PARTICIPANTS: usize = 20_000;
const MAX_ROLES: usize = 256;
const MAX_CAPABILITIES: usize = 1024;
const MAX_NAME: usize = 4096;
const MAX_DESCRIPTIONS: usize = 64;
const MAX_DESCRIPTION: usize = 32 * 1024;
const MAX_POLICY_COMPONENTS: usize = 1024;

fn user(reader: &mut Reader<'_>) -> Read<UserUri> {
    let at = reader.clone();
    UserUri::from_bytes(reader.opaque("user", MimiUri::MAX_LEN)?).map_err(|e| at.error("user", e.into()))
}

// ------------------------------------------------------------------------------------------------ participant list

/// `ParticipantListData` (protocol-06 section 7.5): who is in the room, with which role, in list order.
///
/// Only user URIs are read: pseudonyms (`/p/`) are not supported yet, and a list that holds one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ParticipantList(#[serde(with = "json::pairs")] pub Vec<(UserUri, u32)>);

fn read_participants(reader: &mut Reader<'_>, field: &'static str) -> Read<Vec<(UserUri, u32)>> {
    list(reader, field, MAX_PARTICIPANTS, |r| Ok((user(r)?, r.u32("role_index")?)))
}

fn write_participants<'a>(writer: &mut Writer, participants: impl Iterator<Item = (&'a UserUri, u32)>) {
    writer.each(participants, |w, (user, role)| {
        w.opaque(user.as_str().as_bytes());
        w.u32(role);
    });
}

fn pairs(participants: &[(UserUri, u32)]) -> impl Iterator<Item = (&UserUri, u32)> {
    participants.iter().map(|(user, role)| (user, *role))
}

/// Writes the data of a participant list with `length` entries.
pub(super) fn encode_participants<'a>(
    length: usize,
    participants: impl Iterator<Item = (&'a UserUri, u32)>,
) -> Result<Vec<u8>> {
    if length > MAX_PARTICIPANTS {
        return Err(CodecError::Encode("participants"));
    }
    written("participants", |writer| write_participants(writer, participants))
}

impl ParticipantList {
    /// Reads the component's data. The same user twice, or role 0, is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            let at = reader.clone();
            let participants = read_participants(reader, "participants")?;
            let unique: BTreeMap<_, _> = participants.iter().map(|(user, role)| (user, *role)).collect();
            if unique.len() != participants.len() || unique.values().any(|role| *role == role::NONE) {
                return refused(&at, "participants", "the same user twice, or with role 0");
            }
            Ok(Self(participants))
        })
    }

    /// Writes the component's data.
    pub fn encode(&self) -> Result<Vec<u8>> {
        encode_participants(self.0.len(), pairs(&self.0))
    }
}

/// `ParticipantListUpdate` (protocol-06 section 7.5): the content of an AppDataUpdate. Indices count in the list as it is
/// at the start of the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticipantListUpdate {
    /// (index, new role).
    #[serde(rename = "changedRoleParticipants", with = "json::index_pairs")]
    pub changed: Vec<(u32, u32)>,
    /// Indices.
    #[serde(rename = "removedIndices")]
    pub removed: Vec<u32>,
    /// Appended in this order.
    #[serde(rename = "addedParticipants", with = "json::pairs")]
    pub added: Vec<(UserUri, u32)>,
}

impl ParticipantListUpdate {
    /// Reads an update. Whether it fits a list is [`judge`](super::judge())'s question.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            Ok(Self {
                changed: list(reader, "changedRoleParticipants", MAX_PARTICIPANTS, |r| {
                    Ok((r.u32("user_index")?, r.u32("role_index")?))
                })?,
                removed: list(reader, "removedIndices", MAX_PARTICIPANTS, |r| r.u32("removedIndices"))?,
                added: read_participants(reader, "addedParticipants")?,
            })
        })
    }

    /// Writes an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("participants", |writer| {
            writer.each(&self.changed, |w, (index, role)| {
                w.u32(*index);
                w.u32(*role);
            });
            writer.each(&self.removed, |w, index| w.u32(*index));
            write_participants(writer, pairs(&self.added));
        })
    }
}

// --------------------------------------------------------------------------------------------------- room metadata

/// A description in one language and media type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RichDescription {
    /// Empty for `text/plain;charset=utf-8`.
    pub media_type: String,
    /// BCP 47, or empty.
    #[serde(rename = "language_tag")]
    pub language: String,
    /// The description.
    #[serde(rename = "description_content", with = "crate::wire::json::text_or_hex")]
    pub content: Vec<u8>,
}

/// `RoomMetaData` (protocol-06 section 7.6). An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoomMetadata {
    /// The room. Never changes.
    pub room_uri: RoomUri,
    /// The name, or empty.
    #[serde(rename = "room_name")]
    pub name: String,
    /// Longer descriptions.
    #[serde(rename = "room_descriptions")]
    pub descriptions: Vec<RichDescription>,
    /// An https URI, or empty.
    #[serde(rename = "room_avatar")]
    pub avatar: String,
    /// The subject (in Matrix: the topic), or empty.
    #[serde(rename = "room_subject")]
    pub subject: String,
    /// The mood, or empty.
    #[serde(rename = "room_mood")]
    pub mood: String,
}

impl RoomMetadata {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            let at = reader.clone();
            let room_uri = reader.opaque("room_uri", MimiUri::MAX_LEN)?;
            Ok(Self {
                room_uri: RoomUri::from_bytes(room_uri).map_err(|e| at.error("room_uri", e.into()))?,
                name: reader.utf8("room_name", MAX_NAME)?,
                descriptions: list(reader, "room_descriptions", MAX_DESCRIPTIONS, |r| {
                    Ok(RichDescription {
                        media_type: r.utf8("media_type", MAX_NAME)?,
                        language: r.utf8("language_tag", MAX_NAME)?,
                        content: r.opaque("description_content", MAX_DESCRIPTION)?.to_vec(),
                    })
                })?,
                avatar: reader.utf8("room_avatar", MimiUri::MAX_LEN)?,
                subject: reader.utf8("room_subject", MAX_NAME)?,
                mood: reader.utf8("room_mood", MAX_NAME)?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if [&self.name, &self.subject, &self.mood].iter().any(|text| text.len() > MAX_NAME || text.contains('\0')) {
            return Err(CodecError::Encode("room metadata"));
        }
        written("room metadata", |writer| {
            writer.opaque(self.room_uri.as_str().as_bytes());
            writer.opaque(self.name.as_bytes());
            writer.each(&self.descriptions, |w, description| {
                w.opaque(description.media_type.as_bytes());
                w.opaque(description.language.as_bytes());
                w.opaque(&description.content);
            });
            writer.opaque(self.avatar.as_bytes());
            writer.opaque(self.subject.as_bytes());
            writer.opaque(self.mood.as_bytes());
        })
    }

    /// Text as a metadata field can hold it: without NUL and at most as long as allowed, cut between characters.
    #[must_use]
    pub fn fit(text: &str) -> String {
        let mut fitted = String::new();
        for character in text.chars().filter(|c| *c != '\0') {
            if fitted.len() + character.len_utf8() > MAX_NAME {
                break;
            }
            fitted.push(character);
        }
        fitted
    }
}

// ----------------------------------------------------------------------------------------------------------- roles

/// To which roles a holder may bring a user that has the role `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleChanges {
    /// The user's present role; 0 for somebody who is not in the list.
    #[serde(rename = "from_role_index")]
    pub from: u32,
    /// The roles it may get; 0 for removal.
    #[serde(rename = "target_role_indexes")]
    pub to: Vec<u32>,
}

/// One role (room-policy-03 section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// How the participant list names it.
    #[serde(rename = "role_index")]
    pub index: u32,
    /// For humans; `banned` on role 1 has a meaning.
    #[serde(rename = "role_name")]
    pub name: String,
    /// For humans.
    #[serde(rename = "role_description")]
    pub description: String,
    /// Capability numbers, as received.
    #[serde(rename = "role_capabilities")]
    pub capabilities: Vec<u16>,
    /// Least participants; 0 for no bound.
    #[serde(rename = "minimum_participants_constraint")]
    pub min_participants: u32,
    /// Most participants.
    #[serde(rename = "maximum_participants_constraint")]
    pub max_participants: Option<u32>,
    /// Least participants with a client.
    #[serde(rename = "minimum_active_participants_constraint")]
    pub min_active: u32,
    /// Most participants with a client; 0 means that the role's holders may have none.
    #[serde(rename = "maximum_active_participants_constraint")]
    pub max_active: Option<u32>,
    /// Which role changes its holders may make.
    #[serde(rename = "authorized_role_changes")]
    pub changes: Vec<RoleChanges>,
}

impl Role {
    /// Whether holders have this capability.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability.code())
    }

    /// Whether holders may bring a user from one role to another (0: not in the list).
    #[must_use]
    pub fn may_change(&self, from: u32, to: u32) -> bool {
        self.changes.iter().any(|change| change.from == from && change.to.contains(&to))
    }
}

/// `RoleData` (room-policy-03 section 3). An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoleList(pub Vec<Role>);

impl RoleList {
    /// The role with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Role> {
        self.0.iter().find(|role| role.index == index)
    }

    /// Reads the component's data, or an update. The same index twice is refused, and canOpenJoin on another role than 0.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            let at = reader.clone();
            let roles = list(reader, "roles", MAX_ROLES, read_role)?;
            let unique: BTreeSet<u32> = roles.iter().map(|role| role.index).collect();
            if unique.len() != roles.len() {
                return refused(&at, "roles", "the same role_index twice");
            }
            if roles.iter().any(|role| role.index != role::NONE && role.can(Capability::OpenJoin)) {
                return refused(&at, "roles", "canOpenJoin on another role than 0");
            }
            Ok(Self(roles))
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("roles", |writer| writer.each(&self.0, write_role))
    }
}

pub(super) fn read_role(reader: &mut Reader<'_>) -> Read<Role> {
    Ok(Role {
        index: reader.u32("role_index")?,
        name: reader.utf8("role_name", MAX_NAME)?,
        description: reader.utf8("role_description", MAX_NAME)?,
        capabilities: list(reader, "role_capabilities", MAX_CAPABILITIES, |r| r.u16("role_capabilities"))?,
        min_participants: reader.u32("minimum_participants_constraint")?,
        max_participants: optional_u32(reader, "maximum_participants_constraint")?,
        min_active: reader.u32("minimum_active_participants_constraint")?,
        max_active: optional_u32(reader, "maximum_active_participants_constraint")?,
        changes: list(reader, "authorized_role_changes", MAX_ROLES, |r| {
            Ok(RoleChanges {
                from: r.u32("from_role_index")?,
                to: list(r, "target_role_indexes", MAX_ROLES, |r| r.u32("target_role_indexes"))?,
            })
        })?,
    })
}

pub(super) fn write_role(writer: &mut Writer, role: &Role) {
    writer.u32(role.index);
    writer.opaque(role.name.as_bytes());
    writer.opaque(role.description.as_bytes());
    writer.each(&role.capabilities, |w, capability| w.u16(*capability));
    writer.u32(role.min_participants);
    writer.optional(role.max_participants.as_ref(), |w, most| w.u32(*most));
    writer.u32(role.min_active);
    writer.optional(role.max_active.as_ref(), |w, most| w.u32(*most));
    writer.each(&role.changes, |w, change| {
        w.u32(change.from);
        w.each(&change.to, |w, to| w.u32(*to));
    });
}

// ------------------------------------------------------------------------------------------------ base room policy

/// `BaseRoomPolicy` (room-policy-03 section 5). An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the draft's structure")]
pub struct BaseRoomPolicy {
    /// The participants are fixed when the room is made: direct chats.
    pub fixed_membership: bool,
    /// Participants are a subset of the parent room's.
    #[serde(rename = "parent_dependant")]
    pub parent_dependent: bool,
    /// The parent room's URI; at most one.
    pub parent_room: Vec<String>,
    /// A user may have several clients.
    pub multi_device: bool,
    /// Most clients.
    pub max_clients: Option<u32>,
    /// Most participants that are not banned.
    pub max_users: Option<u32>,
    /// Credentials may be pseudonymous.
    pub pseudonyms_allowed: bool,
    /// The room outlives its group.
    pub persistent_room: bool,
    /// The room can be found by searching.
    pub discoverable: bool,
    /// The other policy components of the room.
    #[serde(rename = "policy_component_ids")]
    pub policy_components: Vec<u16>,
}

impl BaseRoomPolicy {
    /// The room on which it depends, by its URI.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.parent_room.first().filter(|_| self.parent_dependent).map(String::as_str)
    }

    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            let fixed_membership = reader.bool("fixed_membership")?;
            let at = reader.clone();
            let policy = Self {
                fixed_membership,
                parent_dependent: reader.bool("parent_dependant")?,
                parent_room: list(reader, "parent_room", 1, |r| r.utf8("parent_room", MimiUri::MAX_LEN))?,
                multi_device: reader.bool("multi_device")?,
                max_clients: optional_u32(reader, "max_clients")?,
                max_users: optional_u32(reader, "max_users")?,
                pseudonyms_allowed: reader.bool("pseudonyms_allowed")?,
                persistent_room: reader.bool("persistent_room")?,
                discoverable: reader.bool("discoverable")?,
                policy_components: list(reader, "policy_component_ids", MAX_POLICY_COMPONENTS, |r| {
                    r.u16("policy_component_ids")
                })?,
            };
            if policy.parent_dependent == policy.parent_room.is_empty() {
                return refused(&at, "parent_dependant", "a dependent room has a parent, another has none");
            }
            Ok(policy)
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("base room policy", |writer| {
            writer.bool(self.fixed_membership);
            writer.bool(self.parent_dependent);
            writer.each(&self.parent_room, |w, uri| w.opaque(uri.as_bytes()));
            writer.bool(self.multi_device);
            writer.optional(self.max_clients.as_ref(), |w, most| w.u32(*most));
            writer.optional(self.max_users.as_ref(), |w, most| w.u32(*most));
            writer.bool(self.pseudonyms_allowed);
            writer.bool(self.persistent_room);
            writer.bool(self.discoverable);
            writer.each(&self.policy_components, |w, id| w.u16(*id));
        })
    }
}

/// `ComponentsList` (draft-ietf-mls-extensions section 4): the data of `app_components` and `safe_aad`.
pub fn encode_component_ids(ids: &[u16]) -> Result<Vec<u8>> {
    written("component ids", |writer| writer.each(ids, |w, id| w.u16(*id)))
}
