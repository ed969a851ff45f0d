//! The components' wire formats: participant list (0x0022), room metadata (0x0023), roles (0x0025), base room policy (0x0027).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    capability::Capability,
    codec::{CodecError, Reader, Result, Writer},
    role,
};
use crate::ident::{MimiUri, RoomUri, UserUri};

/// Most entries of a participant list. Local policy: the list is part of every epoch's `GroupContext`.
pub const MAX_PARTICIPANTS: usize = 20_000;
const MAX_ROLES: usize = 256;
const MAX_CAPABILITIES: usize = 1024;
const MAX_NAME: usize = 4096;
const MAX_DESCRIPTIONS: usize = 64;
const MAX_DESCRIPTION: usize = 32 * 1024;
const MAX_POLICY_COMPONENTS: usize = 1024;

fn user(reader: &mut Reader<'_>) -> Result<UserUri> {
    UserUri::from_bytes(reader.opaque("user")?).map_err(|_| CodecError::Value("user"))
}

// ------------------------------------------------------------------------------------------------ participant list

/// `ParticipantListData` (protocol-06 section 7.5): who is in the room, with which role, in list order.
///
/// Only user URIs are read: pseudonyms (`/p/`) are not supported yet, and a list that holds one is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParticipantList(pub Vec<(UserUri, u32)>);

fn read_participants(reader: &mut Reader<'_>) -> Result<Vec<(UserUri, u32)>> {
    reader.vector("participants", MAX_PARTICIPANTS, |reader| Ok((user(reader)?, reader.u32()?)))
}

fn write_participants(writer: &mut Writer, participants: &[(UserUri, u32)]) -> Result<()> {
    writer.vector(participants, |writer, (user, role)| {
        writer.opaque(user.as_str().as_bytes())?;
        writer.u32(*role);
        Ok(())
    })
}

impl ParticipantList {
    /// Reads the component's data. The same user twice, or role 0, is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let participants = Reader::all(bytes, read_participants)?;
        let unique: BTreeMap<_, _> = participants.iter().map(|(user, role)| (user, *role)).collect();
        if unique.len() != participants.len() || unique.values().any(|role| *role == role::NONE) {
            return Err(CodecError::Value("participants"));
        }
        Ok(Self(participants))
    }

    /// Writes the component's data.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if self.0.len() > MAX_PARTICIPANTS {
            return Err(CodecError::TooLong("participants"));
        }
        Writer::all(|writer| write_participants(writer, &self.0))
    }
}

/// `ParticipantListUpdate` (protocol-06 section 7.5): the content of an AppDataUpdate. Indices count in the list as it is
/// at the start of the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParticipantListUpdate {
    /// (index, new role).
    pub changed: Vec<(u32, u32)>,
    /// Indices.
    pub removed: Vec<u32>,
    /// Appended in this order.
    pub added: Vec<(UserUri, u32)>,
}

impl ParticipantListUpdate {
    /// Reads an update. Whether it fits a list is [`judge`](super::judge())'s question.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Reader::all(bytes, |reader| {
            Ok(Self {
                changed: reader.vector("changedRoleParticipants", MAX_PARTICIPANTS, |r| Ok((r.u32()?, r.u32()?)))?,
                removed: reader.vector("removedIndices", MAX_PARTICIPANTS, Reader::u32)?,
                added: read_participants(reader)?,
            })
        })
    }

    /// Writes an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Writer::all(|writer| {
            writer.vector(&self.changed, |w, (index, role)| {
                w.u32(*index);
                w.u32(*role);
                Ok(())
            })?;
            writer.vector(&self.removed, |w, index| {
                w.u32(*index);
                Ok(())
            })?;
            write_participants(writer, &self.added)
        })
    }
}

// --------------------------------------------------------------------------------------------------- room metadata

/// A description in one language and media type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RichDescription {
    /// Empty for `text/plain;charset=utf-8`.
    pub media_type: String,
    /// BCP 47, or empty.
    pub language: String,
    /// The description.
    pub content: Vec<u8>,
}

/// `RoomMetaData` (protocol-06 section 7.6). An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomMetadata {
    /// The room. Never changes.
    pub room_uri: RoomUri,
    /// The name, or empty.
    pub name: String,
    /// Longer descriptions.
    pub descriptions: Vec<RichDescription>,
    /// An https URI, or empty.
    pub avatar: String,
    /// The subject (in Matrix: the topic), or empty.
    pub subject: String,
    /// The mood, or empty.
    pub mood: String,
}

impl RoomMetadata {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Reader::all(bytes, |reader| {
            Ok(Self {
                room_uri: RoomUri::from_bytes(reader.opaque("room_uri")?).map_err(|_| CodecError::Value("room_uri"))?,
                name: reader.text("room_name", MAX_NAME)?,
                descriptions: reader.vector("room_descriptions", MAX_DESCRIPTIONS, |reader| {
                    let media_type = reader.text("media_type", MAX_NAME)?;
                    let language = reader.text("language_tag", MAX_NAME)?;
                    let content = reader.opaque("description_content")?;
                    if content.len() > MAX_DESCRIPTION {
                        return Err(CodecError::TooLong("description_content"));
                    }
                    Ok(RichDescription { media_type, language, content: content.to_vec() })
                })?,
                avatar: reader.text("room_avatar", MimiUri::MAX_LEN)?,
                subject: reader.text("room_subject", MAX_NAME)?,
                mood: reader.text("room_mood", MAX_NAME)?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        if [&self.name, &self.subject, &self.mood].iter().any(|text| text.len() > MAX_NAME || text.contains('\0')) {
            return Err(CodecError::Value("room metadata"));
        }
        Writer::all(|writer| {
            writer.opaque(self.room_uri.as_str().as_bytes())?;
            writer.opaque(self.name.as_bytes())?;
            writer.vector(&self.descriptions, |writer, description| {
                writer.opaque(description.media_type.as_bytes())?;
                writer.opaque(description.language.as_bytes())?;
                writer.opaque(&description.content)
            })?;
            writer.opaque(self.avatar.as_bytes())?;
            writer.opaque(self.subject.as_bytes())?;
            writer.opaque(self.mood.as_bytes())
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleChanges {
    /// The user's present role; 0 for somebody who is not in the list.
    pub from: u32,
    /// The roles it may get; 0 for removal.
    pub to: Vec<u32>,
}

/// One role (room-policy-03 section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// How the participant list names it.
    pub index: u32,
    /// For humans; `banned` on role 1 has a meaning.
    pub name: String,
    /// For humans.
    pub description: String,
    /// Capability numbers, as received.
    pub capabilities: Vec<u16>,
    /// Least participants; 0 for no bound.
    pub min_participants: u32,
    /// Most participants.
    pub max_participants: Option<u32>,
    /// Least participants with a client.
    pub min_active: u32,
    /// Most participants with a client; 0 means that the role's holders may have none.
    pub max_active: Option<u32>,
    /// Which role changes its holders may make.
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoleList(pub Vec<Role>);

impl RoleList {
    /// The role with this index.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Role> {
        self.0.iter().find(|role| role.index == index)
    }

    /// Reads the component's data, or an update. The same index twice is refused, and canOpenJoin on another role than 0.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let roles = Reader::all(bytes, |reader| {
            reader.vector("roles", MAX_ROLES, |reader| {
                Ok(Role {
                    index: reader.u32()?,
                    name: reader.text("role_name", MAX_NAME)?,
                    description: reader.text("role_description", MAX_NAME)?,
                    capabilities: reader.vector("role_capabilities", MAX_CAPABILITIES, Reader::u16)?,
                    min_participants: reader.u32()?,
                    max_participants: reader.optional_u32("maximum_participants_constraint")?,
                    min_active: reader.u32()?,
                    max_active: reader.optional_u32("maximum_active_participants_constraint")?,
                    changes: reader.vector("authorized_role_changes", MAX_ROLES, |reader| {
                        let from = reader.u32()?;
                        Ok(RoleChanges { from, to: reader.vector("target_role_indexes", MAX_ROLES, Reader::u32)? })
                    })?,
                })
            })
        })?;
        let unique: BTreeSet<u32> = roles.iter().map(|role| role.index).collect();
        if unique.len() != roles.len() || roles.iter().any(|role| role.index != 0 && role.can(Capability::OpenJoin)) {
            return Err(CodecError::Value("roles"));
        }
        Ok(Self(roles))
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Writer::all(|writer| {
            writer.vector(&self.0, |writer, role| {
                writer.u32(role.index);
                writer.opaque(role.name.as_bytes())?;
                writer.opaque(role.description.as_bytes())?;
                writer.vector(&role.capabilities, |w, capability| {
                    w.u16(*capability);
                    Ok(())
                })?;
                writer.u32(role.min_participants);
                writer.optional_u32(role.max_participants);
                writer.u32(role.min_active);
                writer.optional_u32(role.max_active);
                writer.vector(&role.changes, |w, change| {
                    w.u32(change.from);
                    w.vector(&change.to, |w, to| {
                        w.u32(*to);
                        Ok(())
                    })
                })
            })
        })
    }
}

// ------------------------------------------------------------------------------------------------ base room policy

/// `BaseRoomPolicy` (room-policy-03 section 5). An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the draft's structure")]
pub struct BaseRoomPolicy {
    /// The participants are fixed when the room is made: direct chats.
    pub fixed_membership: bool,
    /// Participants are a subset of the parent room's.
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
    pub policy_components: Vec<u16>,
}

impl BaseRoomPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Reader::all(bytes, |reader| {
            let policy = Self {
                fixed_membership: reader.bool("fixed_membership")?,
                parent_dependent: reader.bool("parent_dependant")?,
                parent_room: reader.vector("parent_room", 1, |reader| reader.text("parent_room", MimiUri::MAX_LEN))?,
                multi_device: reader.bool("multi_device")?,
                max_clients: reader.optional_u32("max_clients")?,
                max_users: reader.optional_u32("max_users")?,
                pseudonyms_allowed: reader.bool("pseudonyms_allowed")?,
                persistent_room: reader.bool("persistent_room")?,
                discoverable: reader.bool("discoverable")?,
                policy_components: reader.vector("policy_component_ids", MAX_POLICY_COMPONENTS, Reader::u16)?,
            };
            if policy.parent_dependent == policy.parent_room.is_empty() {
                return Err(CodecError::Value("parent_room"));
            }
            Ok(policy)
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        Writer::all(|writer| {
            writer.bool(self.fixed_membership);
            writer.bool(self.parent_dependent);
            writer.vector(&self.parent_room, |w, uri| w.opaque(uri.as_bytes()))?;
            writer.bool(self.multi_device);
            writer.optional_u32(self.max_clients);
            writer.optional_u32(self.max_users);
            writer.bool(self.pseudonyms_allowed);
            writer.bool(self.persistent_room);
            writer.bool(self.discoverable);
            writer.vector(&self.policy_components, |w, id| {
                w.u16(*id);
                Ok(())
            })
        })
    }
}

/// `ComponentsList` (draft-ietf-mls-extensions section 4): the data of `app_components` and `safe_aad`.
pub fn encode_component_ids(ids: &[u16]) -> Result<Vec<u8>> {
    Writer::all(|writer| {
        writer.vector(ids, |w, id| {
            w.u16(*id);
            Ok(())
        })
    })
}
