//! `POST /keyMaterial/{targetUser}` (draft-ietf-mimi-protocol-06 section 5.2).

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    common::{Protocol, read_code_points, read_uri, read_uri_or_empty, write_code_points},
    json::Signed,
    limits,
    mls::{Capabilities, Credential, RawKeyPackage, RequiredCapabilities},
};
use crate::ident::{MimiUri, RoomUri, UserUri};

/// Asks for KeyPackages of all clients of a user: what the requester signs (`KeyMaterialRequestTBS`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyMaterialRequestTbs {
    /// Who asks.
    pub requesting_user: UserUri,
    /// Whose KeyPackages are wanted.
    pub target_user: UserUri,
    /// The room that they are for; an empty URI on the wire if there is none.
    #[serde(rename = "roomId")]
    pub room: Option<RoomUri>,
    /// Cipher suites that will do, best first; not empty.
    pub acceptable_ciphersuites: Vec<u16>,
    /// What the clients must support.
    pub required_capabilities: RequiredCapabilities,
    /// The key that signs the request.
    #[serde(with = "super::json::hex_bytes")]
    pub requester_signature_key: Vec<u8>,
    /// Whose key that is.
    pub requester_credential: Credential,
}

impl KeyMaterialRequestTbs {
    /// Label for `SignWithLabel`.
    pub const LABEL: &'static str = "KeyMaterialRequestTBS";
}

impl Wire for KeyMaterialRequestTbs {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Protocol::read(reader)?;
        let requesting_user = read_uri(reader, "requestingUser", UserUri::from_bytes)?;
        let target_user = read_uri(reader, "targetUser", UserUri::from_bytes)?;
        let room = read_uri_or_empty(reader, "roomId", RoomUri::from_bytes)?;
        let at = reader.clone();
        let acceptable_ciphersuites = read_code_points(reader, "acceptableCiphersuites")?;
        if acceptable_ciphersuites.is_empty() {
            let why = DecodeErrorKind::NotAllowed("at least one cipher suite must be acceptable");
            return Err(at.error("acceptableCiphersuites", why));
        }
        Ok(Self {
            requesting_user,
            target_user,
            room,
            acceptable_ciphersuites,
            required_capabilities: reader.inside("requiredCapabilities", RequiredCapabilities::read)?,
            requester_signature_key: reader.opaque("requesterSignatureKey", limits::KEY_OR_TAG)?.to_vec(),
            requester_credential: reader.inside("requesterCredential", Credential::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        Protocol::Mls10.write(writer);
        writer.opaque(self.requesting_user.as_str().as_bytes());
        writer.opaque(self.target_user.as_str().as_bytes());
        writer.opaque(self.room.as_ref().map(RoomUri::as_str).unwrap_or_default().as_bytes());
        write_code_points(writer, &self.acceptable_ciphersuites);
        self.required_capabilities.write(writer);
        writer.opaque(&self.requester_signature_key);
        self.requester_credential.write(writer);
    }
}

/// A signed request. The signature is not checked here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Signed<KeyMaterialRequestTbs>", into = "Signed<KeyMaterialRequestTbs>")]
pub struct KeyMaterialRequest {
    tbs: KeyMaterialRequestTbs,
    tbs_bytes: Vec<u8>,
    signature: Vec<u8>,
}

impl KeyMaterialRequest {
    /// Puts a request together; `signature` is `SignWithLabel` over `tbs.encode()`.
    #[must_use]
    pub fn new(tbs: KeyMaterialRequestTbs, signature: Vec<u8>) -> Self {
        Self { tbs_bytes: tbs.encode(), tbs, signature }
    }

    /// What was asked.
    #[must_use]
    pub fn tbs(&self) -> &KeyMaterialRequestTbs {
        &self.tbs
    }

    /// The bytes that the signature covers, as received.
    #[must_use]
    pub fn tbs_bytes(&self) -> &[u8] {
        &self.tbs_bytes
    }

    /// The signature, unchecked.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl From<Signed<KeyMaterialRequestTbs>> for KeyMaterialRequest {
    fn from(signed: Signed<KeyMaterialRequestTbs>) -> Self {
        Self::new(signed.tbs, signed.signature)
    }
}

impl From<KeyMaterialRequest> for Signed<KeyMaterialRequestTbs> {
    fn from(request: KeyMaterialRequest) -> Self {
        Self { tbs: request.tbs, signature: request.signature }
    }
}

impl Wire for KeyMaterialRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.offset();
        let tbs = KeyMaterialRequestTbs::read(reader)?;
        let tbs_bytes = reader.since(start).to_vec();
        let signature = reader.opaque("key_material_request_signature", limits::KEY_OR_TAG)?.to_vec();
        Ok(Self { tbs, tbs_bytes, signature })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.tbs_bytes);
        writer.opaque(&self.signature);
    }
}

octet_enum!(
    /// How the request went for the user.
    KeyMaterialUserCode, "userStatus", {
        /// Every client of the user gave key material.
        Success = 0,
        /// At least one client did.
        PartialSuccess = 1,
        /// Neither provider supports the protocol.
        IncompatibleProtocol = 2,
        /// No client could.
        NoCompatibleMaterial = 3,
        /// No such user.
        UserUnknown = 4,
        /// The user has not consented.
        NoConsent = 5,
        /// The user has not consented for this room.
        NoConsentForThisRoom = 6,
        /// The user is gone.
        UserDeleted = 7,
    }
);

impl KeyMaterialUserCode {
    /// Whether the list of clients may have entries.
    fn allows_clients(self) -> bool {
        matches!(self, Self::Success | Self::PartialSuccess | Self::NoCompatibleMaterial)
    }
}

octet_enum!(
    /// How the request went for one client.
    KeyMaterialClientCode, "clientStatus", {
        /// A KeyPackage follows.
        Success = 0,
        /// The client has none left.
        KeyMaterialExhausted = 1,
        /// None fits.
        NothingCompatible = 2,
    }
);

/// What one client gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ClientMaterial {
    /// A KeyPackage, to be used once.
    Success(RawKeyPackage),
    /// None left.
    Exhausted,
    /// None that fits, and perhaps what the client can do.
    NothingCompatible(Option<Capabilities>),
}

/// One client of the target user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientKeyMaterial {
    /// The client; not checked to belong to the user.
    #[serde(rename = "clientUri")]
    pub client: MimiUri,
    /// What it gave.
    pub material: ClientMaterial,
}

impl Wire for ClientKeyMaterial {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = KeyMaterialClientCode::read(reader)?;
        let client = read_uri(reader, "clientUri", MimiUri::from_bytes)?;
        let material = match status {
            KeyMaterialClientCode::Success => {
                ClientMaterial::Success(reader.inside("keyPackage", RawKeyPackage::read)?)
            }
            KeyMaterialClientCode::KeyMaterialExhausted => ClientMaterial::Exhausted,
            KeyMaterialClientCode::NothingCompatible => {
                ClientMaterial::NothingCompatible(reader.optional("clientCapabilities", Capabilities::read)?)
            }
        };
        Ok(Self { client, material })
    }

    fn write(&self, writer: &mut Writer) {
        let code = match &self.material {
            ClientMaterial::Success(_) => KeyMaterialClientCode::Success,
            ClientMaterial::Exhausted => KeyMaterialClientCode::KeyMaterialExhausted,
            ClientMaterial::NothingCompatible(_) => KeyMaterialClientCode::NothingCompatible,
        };
        code.write(writer);
        writer.opaque(self.client.as_str().as_bytes());
        match &self.material {
            ClientMaterial::Success(key_package) => key_package.write(writer),
            ClientMaterial::Exhausted => {}
            ClientMaterial::NothingCompatible(capabilities) => {
                writer.optional(capabilities.as_ref(), |w, c| c.write(w));
            }
        }
    }
}

/// The answer. Unsigned: only as good as the connection that it came over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyMaterialResponse {
    /// How it went.
    #[serde(rename = "userStatus")]
    pub status: KeyMaterialUserCode,
    /// The target user.
    #[serde(rename = "userUri")]
    pub user: UserUri,
    /// Its clients. Empty unless the status is success, partialSuccess or noCompatibleMaterial.
    pub clients: Vec<ClientKeyMaterial>,
}

impl KeyMaterialResponse {
    /// An answer without clients.
    #[must_use]
    pub fn refused(status: KeyMaterialUserCode, user: UserUri) -> Self {
        Self { status, user, clients: Vec::new() }
    }
}

impl Wire for KeyMaterialResponse {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Protocol::read(reader)?;
        let status = KeyMaterialUserCode::read(reader)?;
        let user = read_uri(reader, "userUri", UserUri::from_bytes)?;
        let at = reader.clone();
        let clients = reader.list("clients", limits::MLS_OBJECT, limits::CLIENTS, ClientKeyMaterial::read)?;
        if !clients.is_empty() && !status.allows_clients() {
            return Err(at.error("clients", DecodeErrorKind::NotAllowed("no clients are allowed with this userStatus")));
        }
        Ok(Self { status, user, clients })
    }

    fn write(&self, writer: &mut Writer) {
        Protocol::Mls10.write(writer);
        self.status.write(writer);
        writer.opaque(self.user.as_str().as_bytes());
        writer.list(&self.clients);
    }
}
