//! What a consent request says about its room (draft-ietf-mimi-protocol-06 section 5.7, `consent_extensions`).

use crate::policy::{self, BaseRoomPolicy, RoomMetadata};

/// What a consent request says about its room, in `consent_extensions`: components of the room as it is (our own use of
/// that extension point; requests without it work as well).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The room's name; empty if unknown.
    pub name: String,
    /// A room of fixed membership: a direct chat.
    pub direct: bool,
    /// Other rooms stand in it, and nobody talks there.
    pub space: bool,
}

impl About {
    /// Reads the components that came with a request; what does not decode counts as absent.
    #[must_use]
    pub fn read(extensions: &std::collections::BTreeMap<u16, Vec<u8>>) -> Self {
        let metadata = extensions.get(&policy::component::ROOM_METADATA);
        let base = extensions.get(&policy::component::BASE_ROOM_POLICY);
        Self {
            name: metadata.and_then(|bytes| RoomMetadata::decode(bytes).ok()).map(|m| m.name).unwrap_or_default(),
            direct: base.and_then(|bytes| BaseRoomPolicy::decode(bytes).ok()).is_some_and(|base| base.fixed_membership),
            space: extensions.contains_key(&policy::component::SPACE),
        }
    }
}
