//! The components that MLS itself knows (draft-ietf-mls-extensions, "Negotiating Extensions and Components" and "Safe
//! Additional Authenticated Data"): what our leaves list, what our groups ask of a leaf, and what messages carry beside
//! their content.

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::{
    AppDataDictionary, AppDataDictionaryExtension, Extension, Extensions, LeafNode, SafeAadItem,
    tls_codec::DeserializeBytes as _,
};

use super::MlsError;
use crate::{
    policy::component::{
        APP_COMPONENTS, BASE_ROOM_POLICY, OPERATIONAL_POLICY, PARTICIPANT_LIST, ROLES_LIST, ROOM_METADATA, SAFE_AAD,
    },
    wire::{FRANK_AAD, FRANKING_AGENT, MESSAGE_ID, SafeAad},
};

/// Components of the `GroupContext` that our leaves understand: franking agent, participant list, room metadata, MLS
/// operational policy, roles, base policy.
const SUPPORTED: [u16; 10] = [
    APP_COMPONENTS,
    SAFE_AAD,
    FRANK_AAD,
    FRANKING_AGENT,
    PARTICIPANT_LIST,
    ROOM_METADATA,
    OPERATIONAL_POLICY,
    ROLES_LIST,
    BASE_ROOM_POLICY,
    MESSAGE_ID,
];
/// Those that a member of a room of ours has to understand: who does not would judge commits otherwise.
const REQUIRED: [u16; 4] = [PARTICIPANT_LIST, ROOM_METADATA, ROLES_LIST, BASE_ROOM_POLICY];

/// `ComponentsList`: ids, behind their length in bytes.
fn list(ids: &[u16]) -> Vec<u8> {
    // At most 31 ids: the length is one octet (RFC 9420 section 2.1.2).
    let length = u8::try_from(ids.len() * 2).unwrap_or(u8::MAX);
    std::iter::once(length).chain(ids.iter().flat_map(|id| id.to_be_bytes())).collect()
}

fn read_list(bytes: &[u8]) -> Result<BTreeSet<u16>, MlsError> {
    let ids = Vec::<u16>::tls_deserialize_exact_bytes(bytes).map_err(MlsError::malformed)?;
    Ok(ids.into_iter().collect())
}

/// What the `GroupContext` of a new group of ours has besides the room's components.
pub(super) fn for_new_group() -> [(u16, Vec<u8>); 2] {
    [(APP_COMPONENTS, list(&REQUIRED)), (SAFE_AAD, list(&[FRANK_AAD]))]
}

/// What our leaves say of themselves.
pub(super) fn of_our_leaves() -> Result<Extensions<LeafNode>, MlsError> {
    let mut dictionary = AppDataDictionary::new();
    dictionary.insert(APP_COMPONENTS, list(&SUPPORTED));
    dictionary.insert(SAFE_AAD, list(&[FRANK_AAD, MESSAGE_ID]));
    let extension = Extension::AppDataDictionary(AppDataDictionaryExtension::new(dictionary));
    Extensions::single(extension).map_err(MlsError::invalid)
}

/// Whether a leaf may come into a group with these components: it lists whatever the group requires.
pub(super) fn check_leaf(node: &LeafNode, group: &BTreeMap<u16, Vec<u8>>) -> Result<(), MlsError> {
    for component in [APP_COMPONENTS, SAFE_AAD] {
        let Some(required) = group.get(&component) else { continue };
        let required = read_list(required)?;
        let dictionary = node.extensions().app_data_dictionary().map(AppDataDictionaryExtension::dictionary);
        let listed = dictionary.and_then(|dictionary| dictionary.get(&component));
        let listed = listed.map(read_list).transpose()?.unwrap_or_default();
        if let Some(missing) = required.difference(&listed).next() {
            let what = if component == SAFE_AAD { "in safe_aad" } else { "in app_components" };
            return Err(MlsError::Refused(format!(
                "the room requires component {missing:#06x}, which the client does not list {what}"
            )));
        }
    }
    Ok(())
}

/// Safe AAD items for OpenMLS.
pub(super) fn items(aad: &SafeAad) -> Vec<SafeAadItem> {
    aad.0.iter().map(|(component, data)| SafeAadItem::new(*component, data.clone())).collect()
}

/// Safe AAD as OpenMLS read it; none is an empty one.
pub(super) fn read(aad: Option<&openmls::prelude::SafeAad>) -> SafeAad {
    let items = aad.map(openmls::prelude::SafeAad::items).unwrap_or_default();
    SafeAad(items.iter().map(|item| (item.component_id(), item.data().to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes as the draft has them: a vector of 16-bit ids.
    #[test]
    fn lists_of_components() {
        assert_eq!(list(&[0x20, 0x40]), [4, 0, 0x20, 0, 0x40]);
        assert_eq!(read_list(&[4, 0, 0x20, 0, 0x40]).unwrap(), BTreeSet::from([0x20, 0x40]));
        assert!(read_list(&[4, 0, 0x20]).is_err());
    }
}
