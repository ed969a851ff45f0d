//! Credentials of minimal metadata rooms (draft-ietf-mimi-protocol-06 section 6.1): structures only. The draft gives them no
//! credential type and no key management, so no such room is hosted or followed.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, Reader, Wire, Writer},
    common::read_uri,
    limits,
    mls::Credential,
};
use crate::ident::MimiUri;

/// What the client signs with the key of its real credential (`PseudonymousCredentialTBS`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PseudonymousCredentialTbs {
    /// Pseudonym of the client.
    pub client_pseudonym: MimiUri,
    /// Pseudonym of its user: the same for all clients of the user in the room, and in the participant list.
    pub user_pseudonym: MimiUri,
    /// The leaf's signature public key.
    #[serde(with = "super::json::hex_bytes")]
    pub signature_public_key: Vec<u8>,
}

impl PseudonymousCredentialTbs {
    /// Label for `SignWithLabel`.
    pub const LABEL: &'static str = "PseudonymousCredentialTBS";
}

impl Wire for PseudonymousCredentialTbs {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            client_pseudonym: read_uri(reader, "client_pseudonym", MimiUri::from_bytes)?,
            user_pseudonym: read_uri(reader, "user_pseudonym", MimiUri::from_bytes)?,
            signature_public_key: reader.opaque("signature_public_key", limits::KEY_OR_TAG)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.client_pseudonym.as_str().as_bytes());
        writer.opaque(self.user_pseudonym.as_str().as_bytes());
        writer.opaque(&self.signature_public_key);
    }
}

/// A credential that shows pseudonyms, and who is behind them only to the room's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PseudonymousCredential {
    /// What it shows.
    pub tbs: PseudonymousCredentialTbs,
    /// An encrypted [`IdentityLink`].
    #[serde(with = "super::json::hex_bytes")]
    pub identity_link_ciphertext: Vec<u8>,
}

impl Wire for PseudonymousCredential {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            tbs: PseudonymousCredentialTbs::read(reader)?,
            identity_link_ciphertext: reader.opaque("identity_link_ciphertext", limits::CREDENTIAL)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.tbs.write(writer);
        writer.opaque(&self.identity_link_ciphertext);
    }
}

/// Who is behind a pseudonym (`IdentityLinkTBE`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityLink {
    /// `SignWithLabel` over the TBS by the key of `client_credential`, unchecked.
    #[serde(with = "super::json::hex_bytes")]
    pub pseudonymous_credential_signature: Vec<u8>,
    /// The client's real credential.
    pub client_credential: Credential,
}

impl Wire for IdentityLink {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            pseudonymous_credential_signature: reader
                .opaque("pseudonymous_credential_signature", limits::KEY_OR_TAG)?
                .to_vec(),
            client_credential: reader.inside("client_credential", Credential::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.pseudonymous_credential_signature);
        self.client_credential.write(writer);
    }
}
