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
/// Elements of one identifier query.
pub const QUERY_ELEMENTS: usize = 16;
/// A value that is searched for, and the name of the field that it is searched in.
pub const SEARCH_VALUE: usize = 1 << 10;
/// Users in the answer to an identifier query.
pub const PROFILES: usize = 256;
/// Fields in one profile.
pub const PROFILE_FIELDS: usize = 64;
/// One field's value in a profile (a photo may be in it).
pub const PROFILE_VALUE: usize = 64 << 10;
/// `note` in an abuse report.
pub const NOTE: usize = 16 << 10;
/// Messages in one abuse report.
pub const ABUSIVE_MESSAGES: usize = 64;
/// One reported message: the application data as it was decrypted.
pub const APPLICATION_DATA: usize = 128 << 10;
/// Items in one SafeAAD.
pub const AAD_ITEMS: usize = 64;
/// A media type, or a name or value of its parameters.
pub const MEDIA_TYPE: usize = 1 << 10;
/// Parameters of one media type, or media types in one list.
pub const MEDIA_TYPES: usize = 64;
/// The URL of an asset.
pub const DOWNLOAD_URL: usize = 4 << 10;
