//! MLS structures (RFC 9420) delimited without an MLS implementation: the exact bytes, and the few fields that
//! routing needs. Nothing here is verified: signatures, tags and trees are the MLS layer's business.

mod credential;
mod json;
mod message;
mod proposals;
mod refs;
mod walk;

pub use credential::{Capabilities, Credential, ExternalSender, HpkeCiphertext, RequiredCapabilities};
pub use json::MlsView;
pub use message::{
    ContentType, GroupInfoFields, KeyPackageFields, MlsMessage, MlsMessageFields, MlsStruct, PrivateFields,
    PublicFields, RatchetTreeFields, Raw, RawGroupInfo, RawKeyPackage, RawRatchetTree, RawWelcome, Sender,
    WelcomeFields,
};
pub use proposals::{Proposal, ProposalOrRef};
pub use walk::{Extension, Leaf};

#[cfg(test)]
mod tests;
