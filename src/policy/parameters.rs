//! The MLS operational policy's wire format (0x0024): `OperationalParameters` (draft-ietf-mimi-room-policy-03 section 7.1).

use serde::{Deserialize, Serialize};

use super::bytes::{Read, Result, all, list, refused, written};
use crate::wire::{
    DecodeErrorKind, MediaType, Wire as _,
    codec::{Reader, Writer},
    limits,
};

const MAX_CODE_POINTS: usize = limits::CODE_POINTS;

/// `ExtendedCapabilities`: code points of the MLS registries, and media types.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendedCapabilities {
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
    /// Wire formats.
    pub wire_formats: Vec<u16>,
    /// Components of the `GroupContext`.
    pub component_ids: Vec<u16>,
    /// Components of the authenticated data.
    pub safe_aad_types: Vec<u16>,
    /// Media types of application data.
    pub media_types: Vec<MediaType>,
    /// MLS content types; one octet each.
    pub content_types: Vec<u8>,
}

fn code_points(reader: &mut Reader<'_>, field: &'static str) -> Read<Vec<u16>> {
    list(reader, field, MAX_CODE_POINTS, |r| r.u16(field))
}

impl ExtendedCapabilities {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            versions: code_points(reader, "versions")?,
            cipher_suites: code_points(reader, "cipher_suites")?,
            extensions: code_points(reader, "extensions")?,
            proposals: code_points(reader, "proposals")?,
            credentials: code_points(reader, "credentials")?,
            wire_formats: code_points(reader, "wire_formats")?,
            component_ids: code_points(reader, "component_ids")?,
            safe_aad_types: code_points(reader, "safe_aad_types")?,
            media_types: list(reader, "media_types", limits::MEDIA_TYPES, MediaType::read)?,
            content_types: list(reader, "content_types", MAX_CODE_POINTS, |r| r.u8("content_types"))?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        for codes in [
            &self.versions,
            &self.cipher_suites,
            &self.extensions,
            &self.proposals,
            &self.credentials,
            &self.wire_formats,
            &self.component_ids,
            &self.safe_aad_types,
        ] {
            writer.each(codes, |w, code| w.u16(*code));
        }
        writer.list(&self.media_types);
        writer.opaque(&self.content_types);
    }
}

/// When members commit what others proposed. The draft's `extension` strategy has no value of its own, and is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PendingProposalPolicy {
    /// The room does not say.
    #[default]
    Unspecified,
    /// At once.
    ImmediateCommit,
    /// After a time that is drawn between two bounds, in milliseconds.
    RandomDelay {
        /// The shortest.
        minimum_delay_ms: u64,
        /// The longest; not less than the shortest.
        maximum_delay_ms: u64,
    },
}

impl PendingProposalPolicy {
    pub(super) fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let at = reader.clone();
        match reader.u8("pending_proposal_strategy")? {
            0 => Ok(Self::Unspecified),
            1 => Ok(Self::ImmediateCommit),
            2 => {
                let minimum_delay_ms = reader.u64("minimum_delay_ms")?;
                let at = reader.clone();
                let maximum_delay_ms = reader.u64("maximum_delay_ms")?;
                if maximum_delay_ms < minimum_delay_ms {
                    return refused(&at, "maximum_delay_ms", "less than the minimum");
                }
                Ok(Self::RandomDelay { minimum_delay_ms, maximum_delay_ms })
            }
            other => Err(at.error("pending_proposal_strategy", DecodeErrorKind::Unknown(other.into()))),
        }
    }

    fn write(self, writer: &mut Writer) {
        match self {
            Self::Unspecified => writer.u8(0),
            Self::ImmediateCommit => writer.u8(1),
            Self::RandomDelay { minimum_delay_ms, maximum_delay_ms } => {
                writer.u8(2);
                writer.u64(minimum_delay_ms);
                writer.u64(maximum_delay_ms);
            }
        }
    }
}

/// Three times in the unit of their field; the draft names none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinDefaultMaxTime {
    /// The shortest.
    pub minimum_time: u64,
    /// The usual one.
    pub default_time: u64,
    /// The longest.
    pub maximum_time: u64,
}

impl MinDefaultMaxTime {
    fn read(reader: &mut Reader<'_>) -> Read<Self> {
        Ok(Self {
            minimum_time: reader.u64("minimum_time")?,
            default_time: reader.u64("default_time")?,
            maximum_time: reader.u64("maximum_time")?,
        })
    }

    fn write(self, writer: &mut Writer) {
        writer.u64(self.minimum_time);
        writer.u64(self.default_time);
        writer.u64(self.maximum_time);
    }
}

/// How application messages are sent and taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppMessagePolicy {
    /// How many epochs old a message may be.
    pub epoch_tolerance: u8,
    /// To a multiple of how many bytes messages are padded.
    pub pad_to_size: u16,
    /// How many messages of a sender may be missing before one.
    pub max_generations_skipahead: u32,
}

/// `OperationalParameters`: how members use MLS. An update has the same format and replaces the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationalParameters {
    /// What every client has to be able to do.
    pub mandatory_capabilities: ExtendedCapabilities,
    /// What is used where nothing else is said.
    pub default_capabilities: ExtendedCapabilities,
    /// What nobody may use.
    pub forbidden_capabilities: ExtendedCapabilities,
    /// Wire formats of handshakes.
    pub handshake_formats: Vec<u16>,
    /// Proposals from outside of the group are allowed.
    pub external_proposal_allowed: bool,
    /// External commits are allowed.
    pub external_commit_allowed: bool,
    /// When members commit what others proposed.
    pub pending_proposal_policy: PendingProposalPolicy,
    /// How often leaves are refreshed.
    #[serde(rename = "LeafNode_update_time")]
    pub leaf_node_update_time: MinDefaultMaxTime,
    /// Application messages.
    pub app_message_policy: AppMessagePolicy,
    /// How long KeyPackages may live.
    pub max_kp_lifetime: u64,
    /// How long credentials may live.
    pub max_credential_lifetime: u64,
    /// How long resumption secrets are kept.
    pub resumption_psk_lifetime: u64,
    /// How long unused keys of a sender are kept.
    pub sender_nonce_keypair_lifetime: MinDefaultMaxTime,
    /// How many of them.
    pub max_keypairs: u32,
    /// How long messages that come too early are kept.
    pub buffer_incoming_message_time: MinDefaultMaxTime,
    /// How many of them.
    pub max_buffered_messages: u32,
}

impl OperationalParameters {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            Ok(Self {
                mandatory_capabilities: r.inside("mandatory_capabilities", ExtendedCapabilities::read)?,
                default_capabilities: r.inside("default_capabilities", ExtendedCapabilities::read)?,
                forbidden_capabilities: r.inside("forbidden_capabilities", ExtendedCapabilities::read)?,
                handshake_formats: code_points(r, "handshake_formats")?,
                external_proposal_allowed: r.bool("external_proposal_allowed")?,
                external_commit_allowed: r.bool("external_commit_allowed")?,
                pending_proposal_policy: PendingProposalPolicy::read(r)?,
                leaf_node_update_time: r.inside("LeafNode_update_time", MinDefaultMaxTime::read)?,
                app_message_policy: AppMessagePolicy {
                    epoch_tolerance: r.u8("epoch_tolerance")?,
                    pad_to_size: r.u16("pad_to_size")?,
                    max_generations_skipahead: r.u32("max_generations_skipahead")?,
                },
                max_kp_lifetime: r.u64("max_kp_lifetime")?,
                max_credential_lifetime: r.u64("max_credential_lifetime")?,
                resumption_psk_lifetime: r.u64("resumption_psk_lifetime")?,
                sender_nonce_keypair_lifetime: r.inside("sender_nonce_keypair_lifetime", MinDefaultMaxTime::read)?,
                max_keypairs: r.u32("max_keypairs")?,
                buffer_incoming_message_time: r.inside("buffer_incoming_message_time", MinDefaultMaxTime::read)?,
                max_buffered_messages: r.u32("max_buffered_messages")?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("operational policy", |w| {
            self.mandatory_capabilities.write(w);
            self.default_capabilities.write(w);
            self.forbidden_capabilities.write(w);
            w.each(&self.handshake_formats, |w, format| w.u16(*format));
            w.bool(self.external_proposal_allowed);
            w.bool(self.external_commit_allowed);
            self.pending_proposal_policy.write(w);
            self.leaf_node_update_time.write(w);
            w.u8(self.app_message_policy.epoch_tolerance);
            w.u16(self.app_message_policy.pad_to_size);
            w.u32(self.app_message_policy.max_generations_skipahead);
            w.u64(self.max_kp_lifetime);
            w.u64(self.max_credential_lifetime);
            w.u64(self.resumption_psk_lifetime);
            self.sender_nonce_keypair_lifetime.write(w);
            w.u32(self.max_keypairs);
            self.buffer_incoming_message_time.write(w);
            w.u32(self.max_buffered_messages);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CodecError;

    /// Written field by field as the draft has them.
    const ANNOTATED: &[(&str, &str)] = &[
        ("02 0001", "mandatory versions: mls10"),
        ("02 0001", "cipher_suites: 1"),
        ("02 0006", "extensions: app_data_dictionary"),
        ("04 0008 000a", "proposals: app_data_update, self_remove"),
        ("02 0001", "credentials: basic"),
        ("02 0001", "wire_formats: mls_public_message"),
        ("02 0022", "component_ids: participant_list"),
        ("02 0020", "safe_aad_types: frank_aad"),
        ("0c 0a 746578742f706c61696e 00", "media_types: text/plain without parameters"),
        ("02 01 03", "content_types: application, commit"),
        ("00 00 00 00 00 00 00 00 00 00", "default_capabilities"),
        ("00 00 00 00 00 00 00 00 00 00", "forbidden_capabilities"),
        ("04 0001 0002", "handshake_formats"),
        ("00", "external_proposal_allowed"),
        ("01", "external_commit_allowed"),
        ("02 000000000000000a 00000000000001f4", "pending_proposal_policy: random_delay, 10 to 500 ms"),
        ("0000000000000001 0000000000000002 0000000000000003", "LeafNode_update_time"),
        ("01 0020 000003e8", "app_message_policy: one epoch, 32 bytes, 1,000 generations"),
        ("0000000000000004", "max_kp_lifetime"),
        ("0000000000000005", "max_credential_lifetime"),
        ("0000000000000006", "resumption_psk_lifetime"),
        ("0000000000000007 0000000000000008 0000000000000009", "sender_nonce_keypair_lifetime"),
        ("0000000a", "max_keypairs"),
        ("000000000000000b 000000000000000c 000000000000000d", "buffer_incoming_message_time"),
        ("0000000e", "max_buffered_messages"),
    ];

    fn annotated() -> Vec<u8> {
        let hex: String = ANNOTATED.iter().map(|(hex, _)| hex.replace(' ', "")).collect();
        hex::decode(hex).unwrap()
    }

    #[test]
    fn operational_parameters_bytes() {
        let time = |first| MinDefaultMaxTime { minimum_time: first, default_time: first + 1, maximum_time: first + 2 };
        let parameters = OperationalParameters {
            mandatory_capabilities: ExtendedCapabilities {
                versions: vec![1],
                cipher_suites: vec![1],
                extensions: vec![6],
                proposals: vec![8, 10],
                credentials: vec![1],
                wire_formats: vec![1],
                component_ids: vec![0x22],
                safe_aad_types: vec![0x20],
                media_types: vec![MediaType { essence: "text/plain".to_owned(), parameters: vec![] }],
                content_types: vec![1, 3],
            },
            handshake_formats: vec![1, 2],
            external_commit_allowed: true,
            pending_proposal_policy: PendingProposalPolicy::RandomDelay { minimum_delay_ms: 10, maximum_delay_ms: 500 },
            leaf_node_update_time: time(1),
            app_message_policy: AppMessagePolicy {
                epoch_tolerance: 1,
                pad_to_size: 32,
                max_generations_skipahead: 1000,
            },
            max_kp_lifetime: 4,
            max_credential_lifetime: 5,
            resumption_psk_lifetime: 6,
            sender_nonce_keypair_lifetime: time(7),
            max_keypairs: 10,
            buffer_incoming_message_time: time(11),
            max_buffered_messages: 14,
            ..OperationalParameters::default()
        };
        assert_eq!(OperationalParameters::decode(&annotated()), Ok(parameters.clone()));
        assert_eq!(parameters.encode(), Ok(annotated()));
    }

    #[test]
    fn what_is_cut_off_too_long_or_unknown_has_its_place() {
        let whole = annotated();
        for length in 0..whole.len() {
            assert!(OperationalParameters::decode(&whole[..length]).is_err(), "{length}");
        }
        assert!(OperationalParameters::decode(&[&whole[..], &[0]].concat()).is_err());
        let at: usize = ANNOTATED[..15].iter().map(|(hex, _)| hex.replace(' ', "").len() / 2).sum();
        let mut unknown = whole.clone();
        unknown[at] = 3;
        let Err(CodecError::Decode(error)) = OperationalParameters::decode(&unknown) else { panic!() };
        assert_eq!((error.field, error.offset), ("pending_proposal_strategy", at));
        let mut backwards = whole;
        backwards[at + 1] = 9;
        let Err(CodecError::Decode(error)) = OperationalParameters::decode(&backwards) else { panic!() };
        assert_eq!((error.field, error.offset), ("maximum_delay_ms", at + 9));
    }
}
