//! Message franking (draft-ietf-mimi-protocol-06 section 5.4.1): the sender's tag, the hub's stamp on it, and what the hub
//! signs. The computations are pure; keys and signatures are the caller's business.
//!
//! ```text
//!  sender:   franking_tag = HMAC(salt, application data)  --> SafeAAD component 0x0020 of the PrivateMessage
//!  hub:      server_frank = HMAC(hub_key, franking_tag || ServerFrankingContext)
//!            signature    = SignWithLabel(key of the franking agent, LABEL, FrankingIntegrityTbs) --> Frank
//!  receiver: checks the tag by the content, the signature by component 0x0021 of the GroupContext, and keeps the Frank
//!  reporter: AbusiveMessage { application data, Frank, time } --> the hub computes server_frank again
//! ```

use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::{
    codec::{DecodeError, Reader, Wire, Writer},
    common::read_uri,
    limits,
    mls::Credential,
};
use crate::ident::{RoomUri, UserUri};

/// Component id of `frank_aad` in a SafeAAD. Its data are the tag's 32 bytes.
pub const FRANK_AAD: u16 = 0x0020;
/// Component id of `franking_agent` in the `GroupContext`. Its data are a [`FrankingAgent`].
pub const FRANKING_AGENT: u16 = 0x0021;

/// The sender's commitment to the content, `FrankAAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FrankingTag(#[serde(with = "super::json::hex_array")] pub [u8; 32]);

impl FrankingTag {
    /// The tag of a message: `application_data` is what MLS encrypts, framing included; `salt` is the content's.
    #[must_use]
    pub fn of(salt: &[u8; 16], application_data: &[u8]) -> Self {
        Self(keyed(salt, &[application_data]).finalize().into_bytes().into())
    }

    /// Whether this is the message's tag; in constant time.
    #[must_use]
    pub fn fits(&self, salt: &[u8; 16], application_data: &[u8]) -> bool {
        keyed(salt, &[application_data]).verify_slice(&self.0).is_ok()
    }
}

impl Wire for FrankingTag {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array("franking_tag").map(Self)
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

#[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
fn keyed(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac
}

/// Whose signature a room's franks carry: `FrankingAgentData`, and the update of its component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrankingAgent {
    /// Its public key, of the group's signature scheme.
    #[serde(with = "super::json::hex_bytes")]
    pub franking_signature_key: Vec<u8>,
    /// Its credential; its domain has to be the hub's.
    pub credential: Credential,
}

impl Wire for FrankingAgent {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            franking_signature_key: reader.opaque("franking_signature_key", limits::KEY_OR_TAG)?.to_vec(),
            credential: reader.inside("credential", Credential::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.franking_signature_key);
        self.credential.write(writer);
    }
}

/// What the hub stamps beside the tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFrankingContext {
    /// Who sent it, by word of the sender's provider.
    pub sender_uri: UserUri,
    /// The room.
    pub room_uri: RoomUri,
    /// When the hub accepted it, in milliseconds since the UNIX epoch.
    pub accepted_timestamp: u64,
}

impl ServerFrankingContext {
    /// `server_frank` for a tag. `hub_key` is secret and the hub's own.
    #[must_use]
    pub fn server_frank(&self, hub_key: &[u8; 32], tag: &FrankingTag) -> [u8; 32] {
        keyed(hub_key, &[&tag.0, &self.encode()]).finalize().into_bytes().into()
    }

    /// Whether `server_frank` was made with this key for this tag and context; in constant time.
    #[must_use]
    pub fn is_of(&self, hub_key: &[u8; 32], tag: &FrankingTag, server_frank: &[u8; 32]) -> bool {
        keyed(hub_key, &[&tag.0, &self.encode()]).verify_slice(server_frank).is_ok()
    }
}

impl Wire for ServerFrankingContext {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sender_uri: read_uri(reader, "sender_uri", UserUri::from_bytes)?,
            room_uri: read_uri(reader, "room_uri", RoomUri::from_bytes)?,
            accepted_timestamp: reader.u64("accepted_timestamp")?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.sender_uri.as_str().as_bytes());
        writer.opaque(self.room_uri.as_str().as_bytes());
        writer.u64(self.accepted_timestamp);
    }
}

/// What the hub signs with the franking agent's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrankingIntegrityTbs {
    /// The stamp.
    #[serde(with = "super::json::hex_array")]
    pub server_frank: [u8; 32],
    /// Cipher suite of the signature.
    pub franking_signature_ciphersuite: u16,
    /// What was stamped beside the tag.
    pub context: ServerFrankingContext,
}

impl FrankingIntegrityTbs {
    /// Label for `SignWithLabel`.
    pub const LABEL: &'static str = "FrankingIntegrityTBS";
}

impl Wire for FrankingIntegrityTbs {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            server_frank: reader.array("server_frank")?,
            franking_signature_ciphersuite: reader.u16("franking_signature_ciphersuite")?,
            context: reader.inside("context", ServerFrankingContext::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.server_frank);
        writer.u16(self.franking_signature_ciphersuite);
        self.context.write(writer);
    }
}

/// The hub's stamp on an accepted message. Not verified here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frank {
    /// HMAC that only the hub can check.
    #[serde(with = "super::json::hex_array")]
    pub server_frank: [u8; 32],
    /// Cipher suite of the signature.
    #[serde(rename = "franking_signature_ciphersuite")]
    pub signature_ciphersuite: u16,
    /// The hub's signature over server frank and context.
    #[serde(rename = "franking_integrity_signature", with = "super::json::hex_bytes")]
    pub integrity_signature: Vec<u8>,
}

impl Frank {
    /// What the signature covers; `context` is from the message and its accepted timestamp.
    #[must_use]
    pub fn tbs(&self, context: ServerFrankingContext) -> FrankingIntegrityTbs {
        FrankingIntegrityTbs {
            server_frank: self.server_frank,
            franking_signature_ciphersuite: self.signature_ciphersuite,
            context,
        }
    }
}

impl Wire for Frank {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            server_frank: reader.array("server_frank")?,
            signature_ciphersuite: reader.u16("franking_signature_ciphersuite")?,
            integrity_signature: reader.opaque("franking_integrity_signature", limits::KEY_OR_TAG)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.server_frank);
        writer.u16(self.signature_ciphersuite);
        writer.opaque(&self.integrity_signature);
    }
}
