//! `POST /reportAbuse/{roomId}` (draft-ietf-mimi-protocol-06 section 5.9). The answer has no body.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, Reader, Wire, Writer, octet_enum},
    common::{AppDataDictionary, read_uri, read_uri_or_empty},
    franking::Frank,
    limits,
};
use crate::ident::UserUri;

octet_enum!(
    /// What kind of abuse it is. The draft has no kinds yet.
    AbuseType, "reasonCode", {
        /// The only value there is.
        Reserved = 0,
    }
);

/// A message that is said to be abusive, with what proves that the hub accepted it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbusiveMessage {
    /// The application data, byte for byte as it was decrypted: the franking tag covers exactly these bytes. In a group
    /// with `content_media_types` that is an [`ApplicationFraming`](super::ApplicationFraming).
    #[serde(with = "super::json::hex_bytes")]
    pub message_content: Vec<u8>,
    /// The hub's frank, unchecked.
    pub frank: Frank,
    /// When the hub accepted it, in milliseconds since the UNIX epoch.
    pub accepted_timestamp: u64,
}

impl Wire for AbusiveMessage {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            message_content: reader.opaque("message_content", limits::APPLICATION_DATA)?.to_vec(),
            frank: reader.inside("frank", Frank::read)?,
            accepted_timestamp: reader.u64("accepted_timestamp")?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.message_content);
        self.frank.write(writer);
        writer.u64(self.accepted_timestamp);
    }
}

/// A report to the hub of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbuseReport {
    /// Who reports; an empty URI on the wire for nobody.
    pub reporting_user: Option<UserUri>,
    /// Who is said to have sent the messages.
    #[serde(rename = "allegedAbuserUri")]
    pub alleged_abuser: UserUri,
    /// What kind of abuse it is.
    #[serde(rename = "reasonCode")]
    pub reason: AbuseType,
    /// For people; may be empty.
    pub note: String,
    /// The messages; may be none.
    pub messages: Vec<AbusiveMessage>,
    /// Data of application components.
    #[serde(rename = "abuse_extensions")]
    pub extensions: AppDataDictionary,
}

impl Wire for AbuseReport {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            reporting_user: read_uri_or_empty(reader, "reportingUser", UserUri::from_bytes)?,
            alleged_abuser: read_uri(reader, "allegedAbuserUri", UserUri::from_bytes)?,
            reason: AbuseType::read(reader)?,
            note: reader.text("note", limits::NOTE)?,
            messages: reader.list("messages", limits::MLS_OBJECT, limits::ABUSIVE_MESSAGES, AbusiveMessage::read)?,
            extensions: reader.inside("abuse_extensions", AppDataDictionary::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.reporting_user.as_ref().map(UserUri::as_str).unwrap_or_default().as_bytes());
        writer.opaque(self.alleged_abuser.as_str().as_bytes());
        self.reason.write(writer);
        writer.opaque(self.note.as_bytes());
        writer.list(&self.messages);
        self.extensions.write(writer);
    }
}
