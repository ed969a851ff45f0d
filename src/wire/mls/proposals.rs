//! What a handshake in the clear proposes: a PublicMessage's proposal, or those that a commit takes in (RFC 9420 sections
//! 12.1 and 12.4; draft-ietf-mls-extensions for AppDataUpdate, `AppEphemeral` and SelfRemove).
//!
//! Read from the message's bytes when somebody asks: what routes messages does not pay for it.

use serde_json::{Value, json};

use super::{
    json::MlsView as _,
    message::{ContentType, HEADER_LEN, MlsMessage, MlsMessageFields, RawKeyPackage},
    walk,
};
use crate::wire::{
    codec::{DecodeError, DecodeErrorKind, Reader},
    limits::{EXTENSIONS, GROUP_ID, KEY_OR_TAG, MLS_OBJECT, PROPOSALS},
};

/// A proposal, or how a commit names one that was sent before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProposalOrRef {
    /// By its `ProposalRef`.
    Reference(Vec<u8>),
    /// The proposal itself.
    Proposal(Proposal),
}

/// What is proposed, as far as it can be told without keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// Add.
    Add(RawKeyPackage),
    /// Update: the proposer's new leaf.
    Update(walk::Leaf),
    /// Remove of the leaf with this index.
    Remove(u32),
    /// `PreSharedKey`.
    PreSharedKey,
    /// `ReInit`, with the new group's id.
    ReInit(Vec<u8>),
    /// `ExternalInit`.
    ExternalInit,
    /// `GroupContextExtensions`, with the types that the group then has.
    GroupContextExtensions(Vec<u16>),
    /// AppDataUpdate: what becomes of a component; `None` takes it away.
    AppDataUpdate {
        /// The component.
        component: u16,
        /// The update, in the component's own format.
        update: Option<Vec<u8>>,
    },
    /// `AppEphemeral`.
    AppEphemeral {
        /// The component.
        component: u16,
        /// Its data.
        data: Vec<u8>,
    },
    /// SelfRemove of the proposer's leaf.
    SelfRemove,
}

impl Proposal {
    /// Reads one proposal; `walk` has checked that it is well-formed, or does so again here.
    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut at = r.clone();
        let start = r.offset();
        walk::proposal(r)?;
        let kind = at.u16("proposal_type")?;
        Ok(match kind {
            0x0001 => Self::Add(RawKeyPackage::from_bytes(r.since(start).get(2..).unwrap_or_default().to_vec())?),
            0x0002 => Self::Update(walk::leaf_node(&mut at)?),
            0x0003 => Self::Remove(at.u32("removed")?),
            0x0004 => Self::PreSharedKey,
            0x0005 => Self::ReInit(at.opaque("group_id", GROUP_ID)?.to_vec()),
            0x0006 => Self::ExternalInit,
            0x0007 => Self::GroupContextExtensions(at.list("extensions", MLS_OBJECT, EXTENSIONS, |r| {
                let extension_type = r.u16("extension_type")?;
                r.opaque("extension_data", MLS_OBJECT)?;
                Ok(extension_type)
            })?),
            0x0008 => {
                let component = at.u16("component_id")?;
                let update = match at.u8("op")? {
                    1 => Some(at.opaque("update", MLS_OBJECT)?.to_vec()),
                    _ => None,
                };
                Self::AppDataUpdate { component, update }
            }
            0x0009 => {
                Self::AppEphemeral { component: at.u16("component_id")?, data: at.opaque("data", MLS_OBJECT)?.to_vec() }
            }
            0x000a => Self::SelfRemove,
            other => return Err(at.error("proposal_type", DecodeErrorKind::Unknown(other.into()))),
        })
    }

    fn view(&self) -> Value {
        match self {
            Self::Add(package) => {
                let told = package.fields().view(package.as_bytes()).into_iter();
                json!({"add": told.map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>()})
            }
            Self::Update(leaf) => json!({"update": view_leaf(leaf)}),
            Self::Remove(leaf) => json!({"remove": {"leaf": leaf}}),
            Self::PreSharedKey => json!("preSharedKey"),
            Self::ReInit(group) => json!({"reInit": {"groupId": super::json::readable(group)}}),
            Self::ExternalInit => json!("externalInit"),
            Self::GroupContextExtensions(types) => json!({"groupContextExtensions": {"types": types}}),
            Self::AppDataUpdate { component, update } => json!({"appDataUpdate": {
                "componentId": format!("{component:#06x}"),
                "update": update.as_ref().map(hex::encode),
            }}),
            Self::AppEphemeral { component, data } => {
                json!({"appEphemeral": {"componentId": format!("{component:#06x}"), "data": hex::encode(data)}})
            }
            Self::SelfRemove => json!("selfRemove"),
        }
    }
}

fn view_leaf(leaf: &walk::Leaf) -> Value {
    json!({"signatureKey": hex::encode(&leaf.signature_key), "credential": leaf.credential})
}

/// What a PublicMessage does, from its bytes behind the `MLSMessage` header.
struct Content {
    proposals: Vec<ProposalOrRef>,
    /// The committer's new leaf, if the commit has a path.
    path: Option<walk::Leaf>,
}

fn content(inner: &[u8]) -> Result<Content, DecodeError> {
    let mut r = Reader::new(inner);
    r.opaque("group_id", GROUP_ID)?;
    r.u64("epoch")?;
    walk::sender(&mut r)?;
    r.opaque("authenticated_data", MLS_OBJECT)?;
    if r.u8("content_type")? == ContentType::Proposal as u8 {
        return Ok(Content { proposals: vec![ProposalOrRef::Proposal(Proposal::read(&mut r)?)], path: None });
    }
    let proposals = r.list("proposals", MLS_OBJECT, PROPOSALS, |r| match r.u8("proposal_or_ref")? {
        1 => Proposal::read(r).map(ProposalOrRef::Proposal),
        _ => Ok(ProposalOrRef::Reference(r.opaque("reference", KEY_OR_TAG)?.to_vec())),
    })?;
    Ok(Content { proposals, path: r.optional("path", walk::leaf_node)? })
}

/// The fields to show of a PublicMessage's content: `proposal`, or `proposals` and `path`.
pub(super) fn view(content_type: ContentType, inner: &[u8]) -> Vec<(&'static str, Value)> {
    // What was delimited once reads again.
    let Ok(content) = content(inner) else { return Vec::new() };
    let told = content.proposals.iter().map(|proposal| match proposal {
        ProposalOrRef::Reference(reference) => json!({"reference": hex::encode(reference)}),
        ProposalOrRef::Proposal(proposal) => proposal.view(),
    });
    let told: Vec<Value> = told.collect();
    if content_type == ContentType::Proposal {
        return told.into_iter().map(|proposal| ("proposal", proposal)).collect();
    }
    vec![("proposals", json!(told)), ("path", json!(content.path.as_ref().map(view_leaf)))]
}

impl MlsMessage {
    /// What a PublicMessage proposes: one proposal, or all that its commit takes in. Others propose nothing.
    #[must_use]
    pub fn proposals(&self) -> Vec<ProposalOrRef> {
        match self.fields() {
            MlsMessageFields::Public(_) => content(self.as_bytes().get(HEADER_LEN..).unwrap_or_default())
                .map_or_else(|_| Vec::new(), |c| c.proposals),
            _ => Vec::new(),
        }
    }
}
