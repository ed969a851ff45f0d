//! Room policy (draft-ietf-mimi-protocol-06 sections 7.5 and 7.6, draft-ietf-mimi-room-policy-03): participant list, roles,
//! metadata; is a change allowed, and what is the state after it.
//!
//! ```text
//!  components of the GroupContext --> RoomState --+
//!  a commit's adds, removes, AppDataUpdates ------+--> judge --> new component values, or the reason why not
//! ```
//!
//! The hub judges every commit before it accepts it; a follower judges its own users' acts before it submits them, and the
//! hub's commits on arrival.

mod build;
mod bytes;
mod capability;
mod change;
mod components;
mod json;
mod judge;
mod operational;
mod parameters;
mod presets;
mod state;

#[cfg(test)]
mod tests;

pub use build::{update_add, update_join_codes, update_metadata, update_remove, update_roles};
pub use bytes::CodecError;
pub use capability::Capability;
pub use change::{ChangeSet, ComponentOp, ComponentUpdate, LeafAdd, LeafRemove, Refusal};
pub use components::{
    BaseRoomPolicy, MAX_PARTICIPANTS, ParticipantList, ParticipantListUpdate, RichDescription, Role, RoleChanges,
    RoleList, RoomMetadata, encode_component_ids,
};
pub use judge::judge;
pub use operational::Delay;
pub use parameters::{
    AppMessagePolicy, ExtendedCapabilities, MinDefaultMaxTime, OperationalParameters, PendingProposalPolicy,
};
pub use presets::{Preset, initial};
pub use state::{RoomState, StateError};

/// Component ids of the `app_data_dictionary` (draft-ietf-mls-extensions, protocol-06 section 10, room-policy-03 section 10).
pub mod component {
    /// Required components, as a list of ids.
    pub const APP_COMPONENTS: u16 = 0x0001;
    /// Components allowed in the authenticated data.
    pub const SAFE_AAD: u16 = 0x0002;
    /// Media types of the framed application data.
    pub const CONTENT_MEDIA_TYPES: u16 = 0x0003;
    pub use crate::wire::FRANKING_AGENT;
    /// Who is in the room, with which role.
    pub const PARTICIPANT_LIST: u16 = 0x0022;
    /// Name, topic, avatar ...
    pub const ROOM_METADATA: u16 = 0x0023;
    /// How members use MLS.
    pub const OPERATIONAL_POLICY: u16 = 0x0024;
    /// What each role may do.
    pub const ROLES_LIST: u16 = 0x0025;
    /// Who may take a role by credential.
    pub const PREAUTH_LIST: u16 = 0x0026;
    /// Membership style.
    pub const BASE_ROOM_POLICY: u16 = 0x0027;
}

/// Role indices. 0 and 1 have their meaning from room-policy-03, the others from [`initial`].
pub mod role {
    /// Not in the participant list.
    pub const NONE: u32 = 0;
    /// Banned.
    pub const BANNED: u32 = 1;
    /// An ordinary participant.
    pub const MEMBER: u32 = 2;
    /// May remove and ban ordinary participants.
    pub const MODERATOR: u32 = 3;
    /// May do everything.
    pub const ADMIN: u32 = 4;
}
