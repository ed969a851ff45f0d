//! Small MLS structures that are read whole: Credential (RFC 9420 section 5.3), Capabilities (7.2),
//! `RequiredCapabilities` (11.1), `ExternalSender` (12.1.8.1), `HPKECiphertext` (7.6).

use serde::{Deserialize, Serialize};

use crate::wire::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer},
    common::{read_code_points, write_code_points},
    limits,
};

/// Who a key belongs to. Other credential types cannot be delimited and are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Credential {
    /// A bare identity; in MIMI a client or user URI.
    Basic {
        /// The identity's bytes, as received.
        #[serde(with = "crate::wire::json::text_or_hex")]
        identity: Vec<u8>,
    },
    /// A certificate chain, leaf first.
    X509 {
        /// DER certificates, unread.
        #[serde(rename = "certificates", with = "crate::wire::json::hex_list")]
        chain: Vec<Vec<u8>>,
    },
}

impl Wire for Credential {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.clone();
        match reader.u16("credential_type")? {
            1 => Ok(Self::Basic { identity: reader.opaque("identity", limits::CREDENTIAL)?.to_vec() }),
            2 => {
                let bytes = limits::CREDENTIAL * limits::CERTIFICATES;
                let chain = reader.list("certificates", bytes, limits::CERTIFICATES, |r| {
                    r.opaque("cert_data", limits::CREDENTIAL).map(<[u8]>::to_vec)
                })?;
                Ok(Self::X509 { chain })
            }
            other => Err(at.error("credential_type", DecodeErrorKind::Unknown(other.into()))),
        }
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Basic { identity } => {
                writer.u16(1);
                writer.opaque(identity);
            }
            Self::X509 { chain } => {
                writer.u16(2);
                writer.vector(|w| chain.iter().for_each(|cert| w.opaque(cert)));
            }
        }
    }
}

/// What a client can do, as code points of the MLS registries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Protocol versions.
    pub versions: Vec<u16>,
    /// Cipher suites.
    pub cipher_suites: Vec<u16>,
    /// Extension types.
    pub extensions: Vec<u16>,
    /// Proposal types.
    pub proposals: Vec<u16>,
    /// Credential types.
    pub credentials: Vec<u16>,
}

impl Wire for Capabilities {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            versions: read_code_points(reader, "versions")?,
            cipher_suites: read_code_points(reader, "cipher_suites")?,
            extensions: read_code_points(reader, "extensions")?,
            proposals: read_code_points(reader, "proposals")?,
            credentials: read_code_points(reader, "credentials")?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        for list in [&self.versions, &self.cipher_suites, &self.extensions, &self.proposals, &self.credentials] {
            write_code_points(writer, list);
        }
    }
}

/// What every client of a group must support beyond the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequiredCapabilities {
    /// Extension types.
    pub extensions: Vec<u16>,
    /// Proposal types.
    pub proposals: Vec<u16>,
    /// Credential types.
    pub credentials: Vec<u16>,
}

impl Wire for RequiredCapabilities {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            extensions: read_code_points(reader, "extension_types")?,
            proposals: read_code_points(reader, "proposal_types")?,
            credentials: read_code_points(reader, "credential_types")?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        for list in [&self.extensions, &self.proposals, &self.credentials] {
            write_code_points(writer, list);
        }
    }
}

/// A party outside the group that may propose: in MIMI the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalSender {
    /// Its signature public key.
    #[serde(with = "crate::wire::json::hex_bytes")]
    pub signature_key: Vec<u8>,
    /// Its credential.
    pub credential: Credential,
}

impl Wire for ExternalSender {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            signature_key: reader.opaque("signature_key", limits::KEY_OR_TAG)?.to_vec(),
            credential: reader.inside("credential", Credential::read)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.signature_key);
        self.credential.write(writer);
    }
}

/// An HPKE encapsulation with its ciphertext.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HpkeCiphertext {
    /// The encapsulated key.
    #[serde(with = "crate::wire::json::hex_bytes")]
    pub kem_output: Vec<u8>,
    /// The ciphertext with its tag.
    #[serde(with = "crate::wire::json::hex_bytes")]
    pub ciphertext: Vec<u8>,
}

impl Wire for HpkeCiphertext {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kem_output: reader.opaque("kem_output", limits::KEY_OR_TAG)?.to_vec(),
            ciphertext: reader.opaque("ciphertext", limits::MLS_OBJECT)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.opaque(&self.kem_output);
        writer.opaque(&self.ciphertext);
    }
}
