//! Preauthorised users (0x0026, draft-ietf-mimi-room-policy-03 section 4): who may take a role by what its credential claims.
//!
//! The draft's `target_role` is a whole `Role`. We read it as a copy of the role of that index in the roles list: where one of
//! the two components changes, they have to agree afterwards, and only the index counts.

use serde::{Deserialize, Serialize};

use super::{
    bytes::{Read, Result, all, list, written},
    component,
    components::{Role, RoleList, read_role, write_role},
    state::RoomState,
};
use crate::wire::codec::{Reader, Writer};

const MAX_ENTRIES: usize = 1024;
const MAX_CLAIMS: usize = 64;
const MAX_CLAIM: usize = 4096;

/// `ClaimId`: what is claimed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimId {
    /// The MLS credential type that can claim it.
    pub credential_type: u16,
    /// An X.509 OID, the name of a JWT claim, or the key of a CWT claim.
    #[serde(with = "crate::wire::json::hex_bytes")]
    pub id: Vec<u8>,
}

/// `Claim`: something that a credential says of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What is claimed.
    pub claim_id: ClaimId,
    /// Its value; compared byte for byte.
    #[serde(with = "crate::wire::json::hex_bytes")]
    pub claim_value: Vec<u8>,
}

/// `PreAuthRoleEntry`: who claims all of this may take the role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreauthEntry {
    /// All of them are wanted; none are met by everybody.
    pub claimset: Vec<Claim>,
    /// A copy of the role in the roles list.
    pub target_role: Role,
}

/// `PreAuthData`: the entries, of which the first that matches counts. An update has the same format and replaces the whole.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PreauthList(pub Vec<PreauthEntry>);

fn read_claim(reader: &mut Reader<'_>) -> Read<Claim> {
    Ok(Claim {
        claim_id: ClaimId {
            credential_type: reader.u16("credential_type")?,
            id: reader.opaque("id", MAX_CLAIM)?.to_vec(),
        },
        claim_value: reader.opaque("claim_value", MAX_CLAIM)?.to_vec(),
    })
}

fn write_claim(writer: &mut Writer, claim: &Claim) {
    writer.u16(claim.claim_id.credential_type);
    writer.opaque(&claim.claim_id.id);
    writer.opaque(&claim.claim_value);
}

impl PreauthList {
    /// Reads the component's data, or an update.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        all(bytes, |reader| {
            let entries = list(reader, "preauthorized_entries", MAX_ENTRIES, |r| {
                let claimset = list(r, "claimset", MAX_CLAIMS, read_claim)?;
                Ok(PreauthEntry { claimset, target_role: r.inside("target_role", read_role)? })
            })?;
            Ok(Self(entries))
        })
    }

    /// Writes the component's data, or an update.
    pub fn encode(&self) -> Result<Vec<u8>> {
        written("preauthorized users", |writer| {
            writer.each(&self.0, |w, entry| {
                w.each(&entry.claimset, write_claim);
                write_role(w, &entry.target_role);
            });
        })
    }

    /// The roles of the entries that somebody with these claims matches, in their order.
    pub(super) fn matching<'a>(&'a self, claims: &'a [Claim]) -> impl Iterator<Item = u32> + 'a {
        let entries = self.0.iter();
        let matching = entries.filter(move |entry| entry.claimset.iter().all(|claim| claims.contains(claim)));
        matching.map(|entry| entry.target_role.index)
    }

    /// Whether every entry's role is that of the roles list.
    pub(super) fn agrees_with(&self, roles: &RoleList) -> bool {
        self.0.iter().all(|entry| roles.get(entry.target_role.index) == Some(&entry.target_role))
    }
}

impl RoomState {
    /// Who may take which role by its credential. What cannot be read preauthorises nobody.
    #[must_use]
    pub fn preauthorized(&self) -> PreauthList {
        let bytes = self.other.get(&component::PREAUTH_LIST);
        bytes.and_then(|bytes| PreauthList::decode(bytes).ok()).unwrap_or_default()
    }
}
