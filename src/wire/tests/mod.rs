//! The bytes of every structure, field by field, and what hostile bytes get.

use std::fmt::Debug;

use super::{codec::Reader, *};

mod codec;
mod directory;
mod endpoints;
mod franking;
mod hostile;
mod identifier;
pub(super) mod pieces;

/// The bytes of an annotated dump: hex or quoted text, and what it is.
pub(super) fn bytes(annotated: &[(&str, &str)]) -> Vec<u8> {
    annotated
        .iter()
        .flat_map(|(value, _)| match value.strip_prefix('\'') {
            Some(text) => text.as_bytes().to_vec(),
            None => hex::decode(value.replace(' ', "")).unwrap(),
        })
        .collect()
}

/// The dump is what `value` encodes to, and nothing but the dump decodes to it: not a part, not more.
pub(super) fn check<T: Wire + Debug + PartialEq>(annotated: &[(&str, &str)], value: &T) {
    let wire = bytes(annotated);
    assert_eq!(hex::encode(value.encode()), hex::encode(&wire));
    assert_eq!(&T::decode(&wire).unwrap(), value);
    exact::<T>(&wire);
}

/// With `FUZZ_SEEDS=directory`, every sample becomes a seed for the fuzz targets: `directory/<kind>/<hash>`. The kinds are
/// those of `mimi-gateway inspect`.
fn seed<T>(wire: &[u8]) {
    use sha2::Digest as _;
    const KINDS: [(&str, &str); 29] = [
        ("KeyMaterialRequest", "key-material-request"),
        ("KeyMaterialResponse", "key-material-response"),
        ("HandshakeBundle", "update-request"),
        ("UpdateRoomResponse", "update-response"),
        ("SubmitMessageRequest", "submit-request"),
        ("SubmitMessageResponse", "submit-response"),
        ("FanoutMessage", "notify"),
        ("GroupInfoRequest", "group-info-request"),
        ("GroupInfoResponse", "group-info-response"),
        ("GroupInfoRatchetTree", "group-info-tree"),
        ("ConsentEntry", "consent"),
        ("IdentifierRequest", "identifier-request"),
        ("IdentifierResponse", "identifier-response"),
        ("AbuseReport", "abuse-report"),
        ("FrankingAgent", "franking-agent"),
        ("SafeAad", "safe-aad"),
        ("AppDataDictionary", "dictionary"),
        ("MediaTypeList", "media-types"),
        ("ApplicationFraming", "application-framing"),
        ("RatchetTreeOption", "ratchet-tree-option"),
        ("GroupInfoOption", "group-info-option"),
        ("PartialGroupInfo", "partial-group-info"),
        ("PseudonymousCredential", "pseudonymous-credential"),
        ("IdentityLink", "identity-link"),
        ("MlsMessageFields>", "mls-message"),
        ("KeyPackageFields>", "key-package"),
        ("WelcomeFields>", "welcome"),
        ("GroupInfoFields>", "group-info"),
        ("RatchetTreeFields>", "ratchet-tree"),
    ];
    let Some(directory) = std::env::var_os("FUZZ_SEEDS") else { return };
    let name = std::any::type_name::<T>().rsplit("::").next().unwrap();
    if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) {
        seed_file(&std::path::Path::new(&directory).join(kind), wire, &hex::encode(sha2::Sha256::digest(wire)));
    }
}

fn seed_file(directory: &std::path::Path, wire: &[u8], hash: &str) {
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(&hash[..16]), wire).unwrap();
}

/// Every part of `wire` is refused, and so is `wire` with a byte more.
pub(super) fn exact<T: Wire + Debug>(wire: &[u8]) {
    for end in 0..wire.len() {
        T::decode(&wire[..end]).unwrap_err();
    }
    let longer = [wire, &[0]].concat();
    T::decode(&longer).unwrap_err();
    seed::<T>(wire);
}
