//! `SafeAAD` (draft-ietf-mls-extensions section 4.9): what components put into the authenticated data of a message, and the
//! two that MIMI has: the franking tag (0x0020) and the message id (0x0040, draft-mahy-mimi-msgid-aad-02).
//!
//! Where a group has the component `safe_aad`, the whole authenticated data is a `SafeAAD`, so [`Wire::decode`] refuses
//! bytes behind it. [`SafeAad::decode_front`] hands them out instead, for peers that still append data of their own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, Reader, Wire, Writer},
    common::{read_components, write_components},
    franking::{FRANK_AAD, FrankingTag},
    limits,
};

/// Component id of `message_id`. Its data are the 32 bytes of the MIMI message id.
pub const MESSAGE_ID: u16 = 0x0040;

/// Authenticated data by component id: sorted, each id once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SafeAad(#[serde(with = "super::json::components")] pub BTreeMap<u16, Vec<u8>>);

impl SafeAad {
    /// The authenticated data of a message: with its tag if it is to be franked, with its id if the room wants that.
    #[must_use]
    pub fn new(tag: Option<FrankingTag>, message_id: Option<[u8; 32]>) -> Self {
        let tag = tag.map(|tag| (FRANK_AAD, tag.0.to_vec()));
        let message_id = message_id.map(|id| (MESSAGE_ID, id.to_vec()));
        Self(tag.into_iter().chain(message_id).collect())
    }

    /// Reads a `SafeAAD` from the front of authenticated data, and answers what follows it.
    pub fn decode_front(authenticated_data: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut reader = Reader::for_body(authenticated_data)?;
        let value = Self::read(&mut reader)?;
        Ok((value, authenticated_data.get(reader.offset()..).unwrap_or_default()))
    }

    /// The franking tag, if there is one. An item of another length is an error.
    pub fn franking_tag(&self) -> Result<Option<FrankingTag>, DecodeError> {
        self.0.get(&FRANK_AAD).map(|data| FrankingTag::decode(data)).transpose()
    }

    /// The message id, if there is one; it has to be the one that the content gives. An item of another length is an
    /// error.
    pub fn message_id(&self) -> Result<Option<[u8; 32]>, DecodeError> {
        let read = |data: &Vec<u8>| {
            let mut reader = Reader::new(data);
            let id = reader.array("message_id")?;
            reader.finish("message_id").map(|()| id)
        };
        self.0.get(&MESSAGE_ID).map(read).transpose()
    }
}

impl Wire for SafeAad {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        read_components(reader, "aad_items", "aad_item_data", limits::AAD_ITEMS).map(Self)
    }

    fn write(&self, writer: &mut Writer) {
        write_components(writer, &self.0);
    }
}
