//! The `update` fields of AppDataUpdate proposals.

use super::{
    bytes::CodecError,
    capability::Capability,
    components::{BaseRoomPolicy, ParticipantListUpdate, Role, RoleChanges, RoleList, RoomMetadata},
    role,
    state::RoomState,
};
use crate::ident::{RoomUri, UserUri};

fn index_of(state: &RoomState, user: &UserUri) -> Option<u32> {
    let index = state.participants.iter().position(|(listed, _)| listed == user)?;
    u32::try_from(index).ok()
}

/// Adds users to the participant list (component 0x0022).
pub fn update_add(_state: &RoomState, users: &[(UserUri, u32)]) -> Result<Vec<u8>, CodecError> {
    ParticipantListUpdate { added: users.to_vec(), ..ParticipantListUpdate::default() }.encode()
}

/// Lets outsiders come in by a joining code, with this role (component 0x0025).
pub fn update_join_codes(state: &RoomState, to: u32) -> Result<Vec<u8>, CodecError> {
    let mut roles = state.roles.clone();
    for outsider in roles.0.iter_mut().filter(|other| other.index == role::NONE) {
        let_come(outsider, Capability::UseJoinCode, to);
    }
    roles.encode()
}

/// Lets anybody come in with this role, or nobody any more (component 0x0025). What the one adds the other takes away, and
/// nothing else is touched.
pub fn update_open_join(state: &RoomState, to: u32, open: bool) -> Result<Vec<u8>, CodecError> {
    let mut roles = state.roles.clone();
    if open {
        roles.open(to);
    } else {
        roles.close(to);
    }
    roles.encode()
}

/// Outsiders may come in this way, with this role.
fn let_come(outsider: &mut Role, by: Capability, to: u32) {
    outsider.capabilities.push(by.code());
    outsider.capabilities.sort_unstable();
    outsider.capabilities.dedup();
    if outsider.may_change(role::NONE, to) {
        return;
    }
    match outsider.changes.iter_mut().find(|change| change.from == role::NONE) {
        Some(change) => change.to.push(to),
        None => outsider.changes.push(RoleChanges { from: role::NONE, to: vec![to] }),
    }
}

impl RoleList {
    /// Anybody may come in with this role.
    pub fn open(&mut self, to: u32) {
        for outsider in self.0.iter_mut().filter(|other| other.index == role::NONE) {
            let_come(outsider, Capability::OpenJoin, to);
        }
    }

    /// Nobody may come in just so any more. The role that joining codes lead to stays allowed.
    pub fn close(&mut self, to: u32) {
        for outsider in self.0.iter_mut().filter(|other| other.index == role::NONE) {
            outsider.capabilities.retain(|code| *code != Capability::OpenJoin.code());
            if outsider.can(Capability::UseJoinCode) {
                continue;
            }
            for change in outsider.changes.iter_mut().filter(|change| change.from == role::NONE) {
                change.to.retain(|index| *index != to);
            }
            outsider.changes.retain(|change| !change.to.is_empty());
        }
    }
}

/// Removes users from the participant list (component 0x0022). Those who are not in it are left out.
pub fn update_remove(state: &RoomState, users: &[UserUri]) -> Result<Vec<u8>, CodecError> {
    let removed = users.iter().filter_map(|user| index_of(state, user)).collect();
    ParticipantListUpdate { removed, ..ParticipantListUpdate::default() }.encode()
}

/// Changes users' roles (component 0x0022). Those who are not in the list are left out.
pub fn update_roles(state: &RoomState, users: &[(UserUri, u32)]) -> Result<Vec<u8>, CodecError> {
    let changed = users.iter().filter_map(|(user, role)| Some((index_of(state, user)?, *role))).collect();
    ParticipantListUpdate { changed, ..ParticipantListUpdate::default() }.encode()
}

/// Changes name or topic, or both (component 0x0023); `None` leaves it. Cut to what the component can hold.
pub fn update_metadata(state: &RoomState, name: Option<&str>, topic: Option<&str>) -> Result<Vec<u8>, CodecError> {
    let mut metadata = state.metadata.clone();
    if let Some(name) = name {
        metadata.name = RoomMetadata::fit(name);
    }
    if let Some(topic) = topic {
        metadata.subject = RoomMetadata::fit(topic);
    }
    metadata.encode()
}

/// Has the room depend on another one, or on none any more (component 0x0027).
pub fn update_parent(state: &RoomState, parent: Option<&RoomUri>) -> Result<Vec<u8>, CodecError> {
    BaseRoomPolicy {
        parent_dependent: parent.is_some(),
        parent_room: parent.iter().map(ToString::to_string).collect(),
        ..state.base_policy.clone()
    }
    .encode()
}

/// Changes the room's picture (component 0x0023): an https URI, or empty.
pub fn update_avatar(state: &RoomState, url: &str) -> Result<Vec<u8>, CodecError> {
    RoomMetadata { avatar: url.to_owned(), ..state.metadata.clone() }.encode()
}
