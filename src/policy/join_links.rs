//! Joining links: how they behave (0x0029), and those that count (0x002a); draft-ietf-mimi-room-policy-03 section 6.2.
//!
//! The draft's `opaque join_link` and `Uri join_link` are read as vectors with a length, `JoinLinksData<V>` as one of links.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::bytes::{Read, Result, all, checked, list, refused, uri, written};
use crate::{
    ident::MimiUri,
    wire::codec::{Reader, Writer},
};

const MAX_LINKS: usize = 4096;

/// `JoinLinkPolicy`. An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinLinkPolicy {
    /// At most one link is kept in the room; the next is only made when this one was fetched.
    pub on_request: bool,
    /// Where to ask for a link, or empty.
    pub join_link: String,
    /// A link may be for several users.
    pub multiuser: bool,
    /// How long a new link counts, in seconds.
    pub expiration: u32,
}

impl JoinLinkPolicy {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            Ok(Self {
                on_request: r.bool("on_request")?,
                join_link: uri(r, "join_link", true)?,
                multiuser: r.bool("multiuser")?,
                expiration: r.u32("expiration")?,
            })
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("join link policy", |w| {
            w.bool(self.on_request);
            w.opaque(self.join_link.as_bytes());
            w.bool(self.multiuser);
            w.u32(self.expiration);
        })?;
        checked("join link policy", self, bytes, Self::decode)
    }

    /// Whether a room with this policy may have these links.
    #[must_use]
    pub fn allows(&self, links: &JoinLinks) -> bool {
        !self.on_request || links.0.len() <= 1
    }
}

/// `JoinLink`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinLink {
    /// The link, as its maker wrote it.
    #[serde(with = "crate::wire::json::text_or_hex")]
    pub join_link: Vec<u8>,
}

/// `JoinLinksData`: the links that count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JoinLinks(pub Vec<JoinLink>);

fn read_links(reader: &mut Reader<'_>, field: &'static str) -> Read<Vec<JoinLink>> {
    list(reader, field, MAX_LINKS, |r| Ok(JoinLink { join_link: r.opaque("join_link", MimiUri::MAX_LEN)?.to_vec() }))
}

fn write_links(writer: &mut Writer, links: &[JoinLink]) {
    writer.each(links, |w, link| w.opaque(&link.join_link));
}

impl JoinLinks {
    /// Reads the component's data.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| Ok(Self(read_links(r, "JoinLinksData")?)))
    }

    /// Writes the component's data.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("join links", |w| write_links(w, &self.0))
    }

    /// The links after an update: without those of the indices, with the others at the end. `None` if an index is past the end.
    #[must_use]
    pub fn updated(&self, update: &JoinLinksUpdate) -> Option<Self> {
        let removed: BTreeSet<usize> =
            update.removed.iter().map(|index| usize::try_from(*index).unwrap_or(usize::MAX)).collect();
        if removed.last().is_some_and(|last| *last >= self.0.len()) {
            return None;
        }
        let kept = self.0.iter().enumerate().filter(|(index, _)| !removed.contains(index)).map(|(_, link)| link);
        Some(Self(kept.chain(&update.added).cloned().collect()))
    }
}

/// `JoinLinksUpdate`: the content of an AppDataUpdate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinLinksUpdate {
    /// Indices in the list before the update, each once.
    #[serde(rename = "removedIndices")]
    pub removed: Vec<u32>,
    /// Appended in this order.
    #[serde(rename = "added_links")]
    pub added: Vec<JoinLink>,
}

impl JoinLinksUpdate {
    /// Reads an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |r| {
            let at = r.clone();
            let removed = list(r, "removedIndices", MAX_LINKS, |r| r.u32("removedIndices"))?;
            if removed.iter().collect::<BTreeSet<_>>().len() != removed.len() {
                return refused(&at, "removedIndices", "the same index twice");
            }
            Ok(Self { removed, added: read_links(r, "added_links")? })
        })
    }

    /// Writes an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes = written("join links", |w| {
            w.each(&self.removed, |w, index| w.u32(*index));
            write_links(w, &self.added);
        })?;
        checked("join links", self, bytes, Self::decode)
    }
}
