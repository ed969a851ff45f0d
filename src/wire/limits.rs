//! Bounds that the decoders enforce before they allocate. Sizes in bytes, counts in items.
//!
//! The drafts name no limits; these are ours. Each is well above what a room at our participant cap (5,000) needs.

/// A whole request or response body.
pub const BODY: usize = 16 << 20;
/// One MLS object: message, group info, ratchet tree, extension, update.
pub const MLS_OBJECT: usize = 16 << 20;
/// A public key, signature, tag, hash, hash reference or nonce.
pub const KEY_OR_TAG: usize = 8 << 10;
/// An MLS group id.
pub const GROUP_ID: usize = 2 << 10;
/// The identity in a basic credential, or one X.509 certificate.
pub const CREDENTIAL: usize = 16 << 10;
/// Certificates in an X.509 credential.
pub const CERTIFICATES: usize = 16;
/// `errorDescription`.
pub const DESCRIPTION: usize = 4 << 10;
/// `ratchet_tree_url`.
pub const TREE_URL: usize = 2 << 10;
/// `joiningCode`.
pub const JOINING_CODE: usize = 2 << 10;
/// Code points in one list of cipher suites, extension, proposal or credential types.
pub const CODE_POINTS: usize = 1024;
/// Extensions in one MLS object.
pub const EXTENSIONS: usize = 256;
/// Clients of one user in a `KeyMaterialResponse`, or KeyPackages in a grant.
pub const CLIENTS: usize = 1024;
/// New members in one Welcome.
pub const NEW_MEMBERS: usize = 20_000;
/// Proposals (or references) in one commit, list of further proposals, or list of invalid ones.
pub const PROPOSALS: usize = 20_000;
/// Nodes in a ratchet tree, blank ones included.
pub const TREE_NODES: usize = 1 << 17;
/// Messages in one notify body.
pub const FANOUT_MESSAGES: usize = 4096;
/// Components in one `AppDataDictionary`.
pub const COMPONENTS: usize = 256;
/// A directory document.
pub const DIRECTORY: usize = 64 << 10;
/// One URL template of a directory.
pub const TEMPLATE: usize = 2 << 10;
