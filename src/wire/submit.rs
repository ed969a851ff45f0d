//! `POST /submitMessage/{roomId}` (draft-ietf-mimi-protocol-06 section 5.4).

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    common::{Protocol, read_uri},
    franking::Frank,
    mls::MlsMessage,
};
use crate::ident::UserUri;

/// An application message for the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubmitMessageRequest {
    /// A PrivateMessage with application data.
    pub app_message: MlsMessage,
    /// Who sends it, by word of the sender's provider.
    #[serde(rename = "sendingUri")]
    pub sending_user: UserUri,
}

/// Reads a PrivateMessage with application data.
fn read_application(reader: &mut Reader<'_>, field: &'static str) -> Result<MlsMessage, DecodeError> {
    let at = reader.clone();
    let message = MlsMessage::read(reader)?;
    if !message.is_application() {
        let why = DecodeErrorKind::NotAllowed("a PrivateMessage with application data is wanted here");
        return Err(at.error(field, why));
    }
    Ok(message)
}

impl Wire for SubmitMessageRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Protocol::read(reader)?;
        Ok(Self {
            app_message: reader.inside("appMessage", |r| read_application(r, "appMessage"))?,
            sending_user: read_uri(reader, "sendingUri", UserUri::from_bytes)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        Protocol::Mls10.write(writer);
        self.app_message.write(writer);
        writer.opaque(self.sending_user.as_str().as_bytes());
    }
}

octet_enum!(
    /// How a submission went.
    SubmitResponseCode, "statusCode", {
        /// Accepted; it will be distributed.
        Accepted = 0,
        /// Policy forbids it, or it makes no sense.
        NotAllowed = 1,
        /// The hub is in a later epoch.
        EpochTooOld = 2,
    }
);

/// The answer to a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum SubmitMessageResponse {
    /// Accepted.
    Accepted {
        /// When, in milliseconds since the UNIX epoch.
        accepted_timestamp: u64,
        /// The hub's frank, if the message had a franking tag.
        frank: Option<Frank>,
    },
    /// Forbidden. Permanent until policy or membership change.
    NotAllowed,
    /// Seal the same content again in the current epoch.
    EpochTooOld {
        /// The hub's epoch.
        #[serde(rename = "currentEpoch")]
        current_epoch: u64,
    },
}

impl Wire for SubmitMessageResponse {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Protocol::read(reader)?;
        Ok(match SubmitResponseCode::read(reader)? {
            SubmitResponseCode::Accepted => Self::Accepted {
                accepted_timestamp: reader.u64("accepted_timestamp")?,
                frank: reader.optional("frank", |r| r.inside("frank", Frank::read))?,
            },
            SubmitResponseCode::NotAllowed => Self::NotAllowed,
            SubmitResponseCode::EpochTooOld => Self::EpochTooOld { current_epoch: reader.u64("currentEpoch")? },
        })
    }

    fn write(&self, writer: &mut Writer) {
        Protocol::Mls10.write(writer);
        match self {
            Self::Accepted { accepted_timestamp, frank } => {
                SubmitResponseCode::Accepted.write(writer);
                writer.u64(*accepted_timestamp);
                writer.optional(frank.as_ref(), |w, frank| frank.write(w));
            }
            Self::NotAllowed => SubmitResponseCode::NotAllowed.write(writer),
            Self::EpochTooOld { current_epoch } => {
                SubmitResponseCode::EpochTooOld.write(writer);
                writer.u64(*current_epoch);
            }
        }
    }
}
