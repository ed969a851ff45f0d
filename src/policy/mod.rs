//! Room policy (draft-ietf-mimi-protocol-06 sections 7.5 and 7.6, draft-ietf-mimi-room-policy-03): participant list, roles,
//! metadata; is a change allowed, and what is the state after it.
//!
//! ```text
//!  components of the GroupContext --> RoomState --+
//!  a commit's adds, removes, AppDataUpdates ------+--> judge --> new component values, or the reason why not
//! ```
//!
//! The hub judges every commit before it accepts it; a follower judges its own users' acts before it submits them, and the
//! hub's commits on arrival. Between an accepted change and the commit that makes it part of the group, [`Pending`] says who
//! may do what already.

mod assets;
mod build;
mod bytes;
mod capability;
mod change;
mod components;
mod envelope;
mod examples;
mod features;
mod join_links;
mod json;
mod judge;
mod lasting;
mod operational;
mod parameters;
mod pending;
mod powers;
mod preauth;
mod presets;
mod state;
mod thresholds;

#[cfg(test)]
mod tests;

pub use assets::{AssetPolicy, AssetUploadLocation, DownloadPrivacy, DownloadPrivacyType, ProviderAssetUploadDomains};
pub use build::{
    update_add, update_avatar, update_join_codes, update_metadata, update_open_join, update_parent, update_remove,
    update_roles,
};
pub use bytes::CodecError;
pub use capability::Capability;
pub use change::{ChangeSet, Code, ComponentOp, ComponentUpdate, LeafAdd, LeafRemove, Parents, Refusal};
pub use components::{
    BaseRoomPolicy, MAX_PARTICIPANTS, ParticipantList, ParticipantListUpdate, RichDescription, Role, RoleChanges,
    RoleList, RoomMetadata, encode_component_ids,
};
pub use envelope::{Envelope, Excess};
pub use examples::SPEAKER;
pub use features::{
    Bot, BotPolicy, HistoryPolicy, LinkPreviewPolicy, LoggingPolicy, MessageExpiration, Optionality,
    StatusNotificationPolicy,
};
pub use join_links::{JoinLink, JoinLinkPolicy, JoinLinks, JoinLinksUpdate};
pub use judge::{Standing, judge};
pub use lasting::lasting;
pub use operational::Delay;
pub use parameters::{
    AppMessagePolicy, ExtendedCapabilities, MinDefaultMaxTime, OperationalParameters, PendingProposalPolicy,
};
pub use pending::Pending;
pub use powers::{ABOVE_ALL, KNOWN_LOSSES, MAX_LEVELS, Powers};
pub use preauth::{Claim, ClaimId, PreauthEntry, PreauthList};
pub use presets::{Preset, UnknownPreset, initial};
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
    /// Delivery notifications and read receipts.
    pub const STATUS_NOTIFICATION_POLICY: u16 = 0x0028;
    /// How joining links behave.
    pub const JOIN_LINK_POLICY: u16 = 0x0029;
    /// The joining links that count.
    pub const JOIN_LINKS: u16 = 0x002a;
    /// Links in texts, and their previews.
    pub const LINK_PREVIEW_POLICY: u16 = 0x002b;
    /// Attached files.
    pub const ASSET_POLICY: u16 = 0x002c;
    /// Whether messages are recorded.
    pub const LOGGING_POLICY: u16 = 0x002d;
    /// What newcomers see of the past.
    pub const CHAT_HISTORY_POLICY: u16 = 0x002e;
    /// Which bots may be there.
    pub const BOT_POLICY: u16 = 0x002f;
    /// When messages expire.
    pub const MESSAGE_EXPIRATION_POLICY: u16 = 0x0030;
    /// Of the private range, and in consent requests alone: the room is a space. Its value is empty.
    pub const SPACE: u16 = 0xf5ac;
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
