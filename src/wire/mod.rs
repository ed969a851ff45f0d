//! MIMI protocol bytes to types and back (draft-ietf-mimi-protocol-06), one file an endpoint.
//!
//! Every structure is a [`Wire`]: `encode()` and `decode()` are byte-exact and inverse to each other. Decoding consumes
//! all input, allocates no more than a small multiple of it, and names field and offset in its errors. What a signature
//! or hash covers is kept as received. MLS objects stay bytes ([`mls`]).

mod aad;
pub mod codec;
mod common;
pub mod consent;
pub mod directory;
pub mod fanout;
mod framing;
pub mod franking;
pub mod group_info;
pub mod identifier;
pub(crate) mod json;
pub mod key_material;
pub mod limits;
pub mod mls;
pub mod path;
pub mod problem;
mod pseudonym;
pub mod report;
pub mod submit;
pub mod tree;
pub mod update;

pub use aad::{MESSAGE_ID, SafeAad};
pub use codec::{DecodeError, DecodeErrorKind, Wire};
pub use common::{AppDataDictionary, Protocol};
pub use consent::{ConsentAction, ConsentEntry, ConsentScope};
pub use directory::Directory;
pub use fanout::{FanoutContent, FanoutMessage};
pub use framing::{ApplicationFraming, MediaType, MediaTypeList, MediaTypeParameter};
pub use franking::{
    FRANK_AAD, FRANKING_AGENT, Frank, FrankingAgent, FrankingIntegrityTbs, FrankingTag, ServerFrankingContext,
};
pub use group_info::{
    GroupInfoRatchetTree, GroupInfoRequest, GroupInfoRequestTbs, GroupInfoResponse, GroupInfoResponseTbs,
    PendingProposal, SignedGroupInfo,
};
pub use identifier::{
    FieldSource, IdentifierQueryCode, IdentifierRequest, IdentifierResponse, ProfileField, QueryElement, SearchField,
    UserProfile,
};
pub use key_material::{
    ClientKeyMaterial, ClientMaterial, KeyMaterialRequest, KeyMaterialRequestTbs, KeyMaterialResponse,
    KeyMaterialUserCode,
};
pub use mls::{
    Capabilities, ContentType, Credential, Extension, ExternalSender, HpkeCiphertext, MlsMessage, MlsMessageFields,
    Proposal, ProposalOrRef, PublicFields, RawGroupInfo, RawKeyPackage, RawRatchetTree, RawWelcome,
    RequiredCapabilities, Sender,
};
pub use problem::{ProblemDocument, ProblemType};
pub use pseudonym::{IdentityLink, PseudonymousCredential, PseudonymousCredentialTbs};
pub use report::{AbuseReport, AbuseType, AbusiveMessage};
pub use submit::{SubmitMessageRequest, SubmitMessageResponse};
pub use tree::{GroupInfoOption, PartialGroupInfo, RatchetTreeOption, RatchetTreePresence};
pub use update::{CommitBundle, HandshakeBundle, UpdateOutcome, UpdateRequest, UpdateRoomResponse};

#[cfg(test)]
mod tests;
