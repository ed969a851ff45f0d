//! A room's state as its components say it.

use std::collections::BTreeMap;

use super::{
    bytes::CodecError,
    component,
    components::{BaseRoomPolicy, ParticipantList, RoleList, RoomMetadata},
    role,
};
use crate::ident::UserUri;

/// Why components are no room. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A MIMI room has this component, this group has not.
    #[error("component {0:#06x} is missing")]
    Missing(u16),
    /// A component's data does not decode.
    #[error("component {0:#06x}: {1}")]
    Malformed(u16, CodecError),
    /// A participant has a role that the roles list does not define.
    #[error("a participant has the undefined role {0}")]
    UndefinedRole(u32),
}

/// A room's state: the components that this gateway understands, decoded, and the others as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomState {
    /// Users and their roles, in list order.
    pub participants: Vec<(UserUri, u32)>,
    /// Name, topic ...
    pub metadata: RoomMetadata,
    /// What each role may do.
    pub roles: RoleList,
    /// Membership style.
    pub base_policy: BaseRoomPolicy,
    /// Components that are carried along as received.
    pub other: BTreeMap<u16, Vec<u8>>,
}

impl RoomState {
    /// Reads the components of a `GroupContext`'s `app_data_dictionary`.
    pub fn from_components(components: &BTreeMap<u16, Vec<u8>>) -> Result<Self, StateError> {
        fn read<T>(
            components: &BTreeMap<u16, Vec<u8>>,
            id: u16,
            decode: impl FnOnce(&[u8]) -> Result<T, CodecError>,
        ) -> Result<T, StateError> {
            let bytes = components.get(&id).ok_or(StateError::Missing(id))?;
            decode(bytes).map_err(|error| StateError::Malformed(id, error))
        }
        let mut other = components.clone();
        other.retain(|id, _| !DECODED.contains(id));
        let state = Self {
            participants: read(components, component::PARTICIPANT_LIST, ParticipantList::decode)?.0,
            metadata: read(components, component::ROOM_METADATA, RoomMetadata::decode)?,
            roles: read(components, component::ROLES_LIST, RoleList::decode)?,
            base_policy: read(components, component::BASE_ROOM_POLICY, BaseRoomPolicy::decode)?,
            other,
        };
        state.checked()
    }

    /// Writes the components; what was read from components gives the same bytes again.
    pub fn to_components(&self) -> Result<BTreeMap<u16, Vec<u8>>, CodecError> {
        let mut components = self.other.clone();
        components.insert(component::PARTICIPANT_LIST, ParticipantList(self.participants.clone()).encode()?);
        components.insert(component::ROOM_METADATA, self.metadata.encode()?);
        components.insert(component::ROLES_LIST, self.roles.encode()?);
        components.insert(component::BASE_ROOM_POLICY, self.base_policy.encode()?);
        Ok(components)
    }

    /// The state after [`judge`](super::judge()) has answered `changed`.
    pub fn with(&self, changed: &BTreeMap<u16, Vec<u8>>) -> Result<Self, StateError> {
        let mut next = self.clone();
        for (id, bytes) in changed {
            next.set(*id, bytes).map_err(|error| StateError::Malformed(*id, error))?;
        }
        next.checked()
    }

    fn set(&mut self, id: u16, bytes: &[u8]) -> Result<(), CodecError> {
        match id {
            component::PARTICIPANT_LIST => self.participants = ParticipantList::decode(bytes)?.0,
            component::ROOM_METADATA => self.metadata = RoomMetadata::decode(bytes)?,
            component::ROLES_LIST => self.roles = RoleList::decode(bytes)?,
            component::BASE_ROOM_POLICY => self.base_policy = BaseRoomPolicy::decode(bytes)?,
            _ => drop(self.other.insert(id, bytes.to_vec())),
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, StateError> {
        match self.participants.iter().find(|(_, role)| self.roles.get(*role).is_none()) {
            Some((_, role)) => Err(StateError::UndefinedRole(*role)),
            None => Ok(self),
        }
    }

    /// The user's role, `None` if it is not in the list. A banned user has a role.
    #[must_use]
    pub fn role_of(&self, user: &UserUri) -> Option<u32> {
        self.participants.iter().find(|(listed, _)| listed == user).map(|(_, role)| *role)
    }

    /// Whether the user takes part: in the list and not banned.
    #[must_use]
    pub fn takes_part(&self, user: &UserUri) -> bool {
        self.role_of(user).is_some_and(|role| !self.is_banned_role(role))
    }

    /// Whether the user has a capability by its role. Role 0 counts for those who are not in the list.
    #[must_use]
    pub fn can(&self, user: &UserUri, capability: super::Capability) -> bool {
        self.roles.get(self.role_of(user).unwrap_or(role::NONE)).is_some_and(|role| role.can(capability))
    }

    /// Whether outsiders may come in by a joining code.
    #[must_use]
    pub fn takes_codes(&self) -> bool {
        self.roles.get(role::NONE).is_some_and(|role| role.can(super::Capability::UseJoinCode))
    }

    /// Whether anybody may come in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.roles.get(role::NONE).is_some_and(|role| role.can(super::Capability::OpenJoin))
    }

    /// Whether this is the role of the banned (index 1, named `banned`).
    #[must_use]
    pub fn is_banned_role(&self, index: u32) -> bool {
        index == role::BANNED && self.roles.get(index).is_some_and(|role| role.name == "banned")
    }
}

/// The components that [`RoomState`] decodes, and that a room must have.
pub(super) const DECODED: [u16; 4] =
    [component::PARTICIPANT_LIST, component::ROOM_METADATA, component::ROLES_LIST, component::BASE_ROOM_POLICY];
