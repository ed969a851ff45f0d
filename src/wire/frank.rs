//! Message franking (draft-ietf-mimi-protocol-06 section 5.4.1): what a hub stamps on a message, what the stamp covers,
//! and who stamps. The `FrankAAD` of section 10.1 is the 32 bytes of the franking tag, nothing else.

use super::{
    codec::{DecodeError, Reader, Wire, Writer},
    common::read_uri,
    limits,
    mls::Credential,
};
use crate::ident::{RoomUri, UserUri};

/// The hub's stamp on an accepted message. Not verified here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frank {
    /// HMAC that only the hub can check.
    pub server_frank: [u8; 32],
    /// Cipher suite of the signature.
    pub signature_ciphersuite: u16,
    /// The hub's signature over server frank and context.
    pub integrity_signature: Vec<u8>,
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

/// What the hub vouches for besides the franking tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrankingContext {
    /// Who sent the message, by word of the sender's provider.
    pub sender: UserUri,
    /// The room.
    pub room: RoomUri,
    /// When the hub accepted it, in milliseconds since the UNIX epoch.
    pub accepted_timestamp: u64,
}

impl Wire for ServerFrankingContext {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sender: read_uri(reader, "sender_uri", UserUri::from_bytes)?,
            room: read_uri(reader, "room_uri", RoomUri::from_bytes)?,
            accepted_timestamp: reader.u64("accepted_timestamp")?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(self.sender.as_str().as_bytes());
        writer.opaque(self.room.as_str().as_bytes());
        writer.u64(self.accepted_timestamp);
    }
}

/// What the hub's signature covers, under the label `FrankingIntegrityTBS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrankingIntegrityTbs {
    /// HMAC that only the hub can check.
    pub server_frank: [u8; 32],
    /// Cipher suite of the signature.
    pub signature_ciphersuite: u16,
    /// What the hub vouches for.
    pub context: ServerFrankingContext,
}

impl Wire for FrankingIntegrityTbs {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            server_frank: reader.array("server_frank")?,
            signature_ciphersuite: reader.u16("franking_signature_ciphersuite")?,
            context: ServerFrankingContext::read(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.server_frank);
        writer.u16(self.signature_ciphersuite);
        self.context.write(writer);
    }
}

/// The component `franking_agent` (0x0021) of a room, and its update: who stamps there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrankingAgentData {
    /// The key of the hub's signatures.
    pub signature_key: Vec<u8>,
    /// Names the hub.
    pub credential: Credential,
}

impl Wire for FrankingAgentData {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            signature_key: reader.opaque("franking_signature_key", limits::KEY_OR_TAG)?.to_vec(),
            credential: Credential::read(reader)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.signature_key);
        self.credential.write(writer);
    }
}
