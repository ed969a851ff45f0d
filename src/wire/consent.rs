//! `POST /requestConsent/{targetDomain}` and `POST /updateConsent/{requesterDomain}` (draft-ietf-mimi-protocol-06
//! section 5.7): both bodies are a `ConsentEntry`.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, Reader, Wire, Writer, octet_enum},
    common::{AppDataDictionary, read_optional_room, read_uri},
    limits,
    mls::RawKeyPackage,
};
use crate::ident::{RoomUri, UserUri};

octet_enum!(
    /// Discriminator of [`ConsentAction`].
    ConsentOperation, "consentOperation", {
        /// Takes a request back.
        Cancel = 0,
        /// Asks.
        Request = 1,
        /// Allows.
        Grant = 2,
        /// Forbids.
        Revoke = 3,
    }
);

/// What is done about consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ConsentAction {
    /// Takes a request back (requestConsent).
    Cancel,
    /// Asks (requestConsent).
    Request,
    /// Allows (updateConsent).
    Grant {
        /// KeyPackages of the target's clients, to be used once each.
        #[serde(rename = "clientKeyPackages")]
        key_packages: Vec<RawKeyPackage>,
    },
    /// Forbids, or takes a grant back (updateConsent).
    Revoke,
}

/// One act about consent. Unsigned: only as good as the connection that it came over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentEntry {
    /// What is done.
    #[serde(rename = "consentOperation")]
    pub action: ConsentAction,
    /// Who will ask for KeyPackages later.
    #[serde(rename = "requesterUri")]
    pub requester: UserUri,
    /// Whose KeyPackages.
    #[serde(rename = "targetUri")]
    pub target: UserUri,
    /// The only room that it is about; every room if there is none.
    #[serde(rename = "roomId")]
    pub room: Option<RoomUri>,
    /// Data of application components.
    #[serde(rename = "consent_extensions")]
    pub extensions: AppDataDictionary,
}

/// What a consent is about: the same scope takes a request back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentScope {
    /// Who will ask for KeyPackages later.
    #[serde(rename = "requesterUri")]
    pub requester: UserUri,
    /// Whose KeyPackages.
    #[serde(rename = "targetUri")]
    pub target: UserUri,
    /// The only room that it is about; every room if there is none.
    #[serde(rename = "roomId")]
    pub room: Option<RoomUri>,
}

impl ConsentEntry {
    /// What it is about.
    #[must_use]
    pub fn scope(&self) -> ConsentScope {
        ConsentScope { requester: self.requester.clone(), target: self.target.clone(), room: self.room.clone() }
    }
}

impl Wire for ConsentScope {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            requester: read_uri(reader, "requesterUri", UserUri::from_bytes)?,
            target: read_uri(reader, "targetUri", UserUri::from_bytes)?,
            room: read_optional_room(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.requester.as_str().as_bytes());
        writer.opaque(self.target.as_str().as_bytes());
        writer.optional(self.room.as_ref(), |w, room| w.opaque(room.as_str().as_bytes()));
    }
}

impl Wire for ConsentEntry {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let operation = ConsentOperation::read(reader)?;
        let ConsentScope { requester, target, room } = ConsentScope::read(reader)?;
        let action = match operation {
            ConsentOperation::Cancel => ConsentAction::Cancel,
            ConsentOperation::Request => ConsentAction::Request,
            ConsentOperation::Grant => ConsentAction::Grant {
                key_packages: reader.list(
                    "clientKeyPackages",
                    limits::MLS_OBJECT,
                    limits::CLIENTS,
                    RawKeyPackage::read,
                )?,
            },
            ConsentOperation::Revoke => ConsentAction::Revoke,
        };
        Ok(Self {
            action,
            requester,
            target,
            room,
            extensions: reader.inside("consent_extensions", AppDataDictionary::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        let operation = match &self.action {
            ConsentAction::Cancel => ConsentOperation::Cancel,
            ConsentAction::Request => ConsentOperation::Request,
            ConsentAction::Grant { .. } => ConsentOperation::Grant,
            ConsentAction::Revoke => ConsentOperation::Revoke,
        };
        operation.write(writer);
        self.scope().write(writer);
        if let ConsentAction::Grant { key_packages } = &self.action {
            writer.list(key_packages);
        }
        self.extensions.write(writer);
    }
}
