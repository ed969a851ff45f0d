//! How a ratchet tree and a GroupInfo are handed over: `RatchetTreeOption` and `PartialGroupInfo`
//! (draft-ietf-mls-ratchet-tree-options-00), `GroupInfoOption` (draft-ietf-mimi-protocol-06 section 5.3).
//!
//! `full` carries `optional<Node>` like RFC 9420's `ratchet_tree` extension, although the draft writes `Node`.

use serde::{Deserialize, Serialize};

use super::{
    codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer, octet_enum},
    limits,
    mls::{Extension, RawGroupInfo, RawRatchetTree},
};

octet_enum!(
    /// Discriminator of [`RatchetTreeOption`].
    RatchetTreeRepresentation, "representation", {
        /// The tree itself.
        Full = 1,
        /// A URL to fetch it from.
        HttpsUri = 2,
        /// Known from elsewhere.
        OutOfBand = 3,
        /// The distribution service has it.
        DistributionService = 4,
    }
);

/// Where a group's ratchet tree is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RatchetTreeOption {
    /// Here.
    Full(RawRatchetTree),
    /// At this URL. Not fetched by anybody before its host was checked.
    HttpsUri(String),
    /// Known from elsewhere.
    OutOfBand,
    /// The distribution service has it.
    DistributionService,
}

impl Wire for RatchetTreeOption {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match RatchetTreeRepresentation::read(reader)? {
            RatchetTreeRepresentation::Full => Self::Full(reader.inside("ratchet_tree", RawRatchetTree::read)?),
            RatchetTreeRepresentation::HttpsUri => {
                let at = reader.clone();
                let url = reader.text("ratchet_tree_url", limits::TREE_URL)?;
                if !url.starts_with("https://") {
                    return Err(at.error("ratchet_tree_url", DecodeErrorKind::NotAllowed("not an https URL")));
                }
                Self::HttpsUri(url)
            }
            RatchetTreeRepresentation::OutOfBand => Self::OutOfBand,
            RatchetTreeRepresentation::DistributionService => Self::DistributionService,
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Full(tree) => {
                RatchetTreeRepresentation::Full.write(writer);
                tree.write(writer);
            }
            Self::HttpsUri(url) => {
                RatchetTreeRepresentation::HttpsUri.write(writer);
                writer.opaque(url.as_bytes());
            }
            Self::OutOfBand => RatchetTreeRepresentation::OutOfBand.write(writer),
            Self::DistributionService => RatchetTreeRepresentation::DistributionService.write(writer),
        }
    }
}

octet_enum!(
    /// Whether the GroupInfo that was signed has a `ratchet_tree` extension, seen from the GroupInfo before it.
    RatchetTreePresence, "ratchet_tree_presence", {
        /// It has none.
        NoRatchetTree = 0,
        /// It has one.
        Present = 1,
        /// It has none any more.
        Removed = 2,
        /// It has one now.
        Added = 3,
    }
);

/// What a distribution service cannot work out itself to rebuild a GroupInfo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialGroupInfo {
    /// Whether the signed GroupInfo has a `ratchet_tree` extension.
    pub ratchet_tree_presence: RatchetTreePresence,
    /// The GroupInfo's extensions without `ratchet_tree`; usually `external_pub`.
    pub group_info_extensions: Vec<Extension>,
    /// The signer's signature over the whole GroupInfo, unchecked.
    #[serde(with = "super::json::hex_bytes")]
    pub signature: Vec<u8>,
}

impl Wire for PartialGroupInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            ratchet_tree_presence: RatchetTreePresence::read(reader)?,
            group_info_extensions: reader.list(
                "group_info_extensions",
                limits::MLS_OBJECT,
                limits::EXTENSIONS,
                Extension::read,
            )?,
            signature: reader.opaque("signature", limits::KEY_OR_TAG)?.to_vec(),
        })
    }

    fn write(&self, writer: &mut Writer) {
        self.ratchet_tree_presence.write(writer);
        writer.list(&self.group_info_extensions);
        writer.opaque(&self.signature);
    }
}

octet_enum!(
    /// Discriminator of [`GroupInfoOption`].
    GroupInfoRepresentation, "representation", {
        /// The whole GroupInfo.
        Full = 1,
        /// What is needed to rebuild it.
        Partial = 2,
    }
);

/// The GroupInfo of the epoch that a commit enters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum GroupInfoOption {
    /// Whole, without ratchet tree.
    Full(RawGroupInfo),
    /// To be rebuilt by the hub.
    Partial(PartialGroupInfo),
}

impl Wire for GroupInfoOption {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match GroupInfoRepresentation::read(reader)? {
            GroupInfoRepresentation::Full => Self::Full(reader.inside("groupInfo", RawGroupInfo::read)?),
            GroupInfoRepresentation::Partial => {
                Self::Partial(reader.inside("partialGroupInfo", PartialGroupInfo::read)?)
            }
        })
    }

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Full(group_info) => {
                GroupInfoRepresentation::Full.write(writer);
                group_info.write(writer);
            }
            Self::Partial(partial) => {
                GroupInfoRepresentation::Partial.write(writer);
                partial.write(writer);
            }
        }
    }
}
